package main

import (
	"log/slog"
	"os"
	"runtime/pprof"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const (
	outputText = "text"
	outputJSON = "json"
)

// app is what the commands share.
type app struct {
	name      string // what a person types to call it
	stdout    *printer
	stderr    *screen
	lookupEnv func(string) (string, bool)
	// restoreSignals gives signals their ordinary effect back.
	restoreSignals func()

	output     string
	verbose    bool
	cpuProfile string
	profile    *os.File
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "inflow",
		Short: "Batch inference over lakehouse tables: every row answered once, paid once, committed once",
		Long: "Inflow reads rows from Delta tables or files, asks a model about each, and\n" +
			"writes answers and an audit of every call back as Delta. Start with: inflow demo",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{outputText, outputJSON}, a.output) {
				return usagef("--output is text or json, not %q", a.output)
			}
			return a.startProfile()
		},
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", outputText, "what to print: text or json")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log every commit and retry, also beside a progress bar")
	flags.StringVar(&a.cpuProfile, "cpuprofile", "", "write a CPU profile to this file")
	cobra.CheckErr(flags.MarkHidden("cpuprofile"))
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%v\n  see: %s --help", err, c.CommandPath())
	})
	root.AddCommand(a.demo(), a.init(), a.check(), a.plan(), a.runJob(), a.ask(), a.models(), a.table(), a.usage(), a.version())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = cobra.ArbitraryArgs, group
		}
	}
	return root
}

// group is a command that only holds others: it shows them, and refuses what is none of them.
func group(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	c.SuggestionsMinimumDistance = 2
	mend := "see: " + c.CommandPath() + " --help"
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		mend = "did you mean: " + c.CommandPath() + " " + strings.Join(near, ", ")
	}
	return usagef("%s has no command %q\n  %s", c.CommandPath(), args[0], mend)
}

// argCount is cobra's check of the number of arguments with an error that becomes exit code 2.
func argCount(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if least <= len(args) && len(args) <= most {
			return nil
		}
		bound := ""
		if least != most {
			bound = "at most "
		}
		return usagef("%s takes %s%s, not %d\n  usage: %s",
			c.CommandPath(), bound, counted(int64(most), "argument"), len(args), c.UseLine())
	}
}

func (a *app) startProfile() error {
	if a.cpuProfile == "" {
		return nil
	}
	file, err := os.Create(a.cpuProfile)
	if err != nil {
		return err
	}
	a.profile = file
	return pprof.StartCPUProfile(file)
}

func (a *app) stopProfile() error {
	if a.profile == nil {
		return nil
	}
	pprof.StopCPUProfile()
	return a.profile.Close()
}

// watched reports whether a person watches stderr, on something that can move its cursor.
func (a *app) watched() bool {
	kind, _ := a.lookupEnv("TERM")
	return a.stderr.width() > 0 && kind != "dumb"
}

// logger writes to stderr: warnings where a progress bar is drawn, and more where nobody watches.
func (a *app) logger() *slog.Logger {
	level := slog.LevelInfo
	if a.watched() {
		level = slog.LevelWarn
	}
	if a.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if a.output == outputJSON {
		return slog.New(slog.NewJSONHandler(a.stderr, options))
	}
	return slog.New(slog.NewTextHandler(a.stderr, options))
}
