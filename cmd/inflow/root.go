package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const (
	outputText = "text"
	outputJSON = "json"
)

// app is what the commands share.
type app struct {
	stdout, stderr io.Writer
	lookupEnv      func(string) (string, bool)
	output         string
	verbose        bool
	cpuProfile     string
	profile        *os.File
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "inflow",
		Short: "Batch inference over lakehouse tables: every row answered once, paid once, committed once",
		Long: "Inflow reads rows from Delta tables or files, asks a model about each, and writes answers and an audit\n" +
			"of every call back as Delta. Start with: inflow demo",
		SilenceUsage:  true,
		SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{outputText, outputJSON}, a.output) {
				return fmt.Errorf("%w: --output is text or json, not %q", errUsage, a.output)
			}
			return a.startProfile()
		},
		PersistentPostRunE: func(*cobra.Command, []string) error { return a.stopProfile() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", outputText, "what to print: text or json")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log every commit and retry")
	flags.StringVar(&a.cpuProfile, "cpuprofile", "", "write a CPU profile to this file")
	cobra.CheckErr(flags.MarkHidden("cpuprofile"))
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w: %w\n  see: %s --help", errUsage, err, c.CommandPath())
	})
	root.AddCommand(a.demo(), a.init(), a.check(), a.plan(), a.runJob(), a.table(), a.usage(), a.version())
	return root
}

// exactArgs is cobra's check with an error that becomes exit code 2.
func exactArgs(count int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != count {
			return fmt.Errorf("%w: %s takes %d argument(s), got %d\n  usage: %s",
				errUsage, c.CommandPath(), count, len(args), c.UseLine())
		}
		return nil
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

// terminal reports whether somebody watches stderr.
func (a *app) terminal() bool {
	file, ok := a.stderr.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// logger writes to stderr: warnings where a progress bar is drawn, and more where nobody watches.
func (a *app) logger() *slog.Logger {
	level := slog.LevelInfo
	if a.terminal() {
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

func (a *app) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stdout, format, args...) // a reader that went away wants no more
}

func (*app) printJSON(w io.Writer, value any) {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		_, _ = fmt.Fprintln(w, `{"error": "cannot be shown as JSON"}`)
	}
}

// printTable draws rows under headers. Numbers stand to the right.
func (a *app) printTable(headers []string, rows [][]any) {
	writer := table.NewWriter()
	style := table.StyleLight
	style.Format.Header = text.FormatDefault
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	writer.SetStyle(style)
	header := make(table.Row, len(headers))
	for i, name := range headers {
		header[i] = name
	}
	writer.AppendHeader(header)
	for _, row := range rows {
		writer.AppendRow(row)
	}
	a.printf("%s\n", writer.Render())
}
