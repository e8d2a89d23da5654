// Command inflow runs inference over lakehouse tables.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/schemas"
)

// Exit codes, as documented in docs/commands.md.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPermission  = 3
	exitRowErrors   = 4
	exitBudget      = 5
	exitInterrupted = 130
)

func main() {
	// A reader of our output that goes away must not end a run that has paid for answers.
	signal.Ignore(syscall.SIGPIPE)
	// The scheduler's processors are held for as long as a sync takes, and up to 10 ms by compression, while answers
	// wait to be read. With twice as many the kernel shares the cores out, which it does in smaller pieces.
	if _, chosen := os.LookupEnv("GOMAXPROCS"); !chosen {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, os.LookupEnv))
}

// run is main with its surroundings as arguments.
func run(args []string, stdout, stderr io.Writer, lookupEnv func(string) (string, bool)) int {
	// The first signal asks for an orderly end; from then on a second one has its ordinary effect.
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore)

	app := &app{
		name: calledAs(os.Args[0]), stdout: &printer{out: stdout}, stderr: &screen{out: stderr},
		lookupEnv: lookupEnv, restoreSignals: restore,
	}
	root := app.root()
	root.SetArgs(args)
	err := errors.Join(root.ExecuteContext(ctx), app.stopProfile())
	if err == nil {
		err = app.stdout.err
	}
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	app.printError(err, code)
	return code
}

// calledAs is what a person types to call this binary: the path where they gave one, its name where the shell
// found it.
func calledAs(path string) string {
	if filepath.Base(path) != "inflow" || path == filepath.Base(path) {
		return "inflow"
	}
	return quote(path)
}

// exitCode is the one place where an error becomes a number.
func exitCode(err error) int {
	switch {
	case errors.Is(err, pipeline.ErrInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, limits.ErrBudget):
		return exitBudget
	case errors.Is(err, pipeline.ErrTooManyErrors):
		return exitRowErrors
	case errors.Is(err, schemas.ErrPermission):
		return exitPermission
	case errors.Is(err, schemas.ErrInvalid), errors.Is(err, errUsage):
		return exitUsage
	}
	return exitFailed
}

// errUsage is a command line that cannot work as written.
var errUsage = errors.New("wrong usage")

// usageError is an errUsage that says no more than its text.
type usageError string

func (e usageError) Error() string { return string(e) }

// Is makes it an errUsage.
func (usageError) Is(target error) bool { return target == errUsage }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// printError says what went wrong: for a program on one line, as all that it finds on stderr.
func (a *app) printError(err error, code int) {
	message := err.Error()
	if code == exitInterrupted && !errors.Is(err, pipeline.ErrInterrupted) {
		message = "interrupted" // before anything had begun that could be resumed
	}
	if a.output == outputJSON {
		line := struct {
			Error    string `json:"error"`
			ExitCode int    `json:"exit_code"`
		}{message, code}
		_ = encodeJSON(a.stderr, line, "") // nowhere is left to say that stderr is gone
		return
	}
	_, _ = fmt.Fprintln(a.stderr, "inflow:", printable(message))
}
