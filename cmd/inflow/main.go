// Command inflow runs inference over lakehouse tables.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
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
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, os.LookupEnv))
}

// run is main with its surroundings as arguments.
func run(args []string, stdout, stderr io.Writer, lookupEnv func(string) (string, bool)) int {
	// The first signal asks for an orderly end; from then on a second one has its ordinary effect.
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()
	context.AfterFunc(ctx, restore)

	app := &app{stdout: stdout, stderr: stderr, lookupEnv: lookupEnv}
	root := app.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if !errors.Is(err, errPrinted) {
		app.printError(err, code)
	}
	return code
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

var (
	// errUsage is a wrong command line.
	errUsage = errors.New("wrong usage")
	// errPrinted marks an error that the command has shown already.
	errPrinted = errors.New("shown")
)

func (a *app) printError(err error, code int) {
	if a.output == outputJSON {
		a.printJSON(a.stderr, map[string]any{"error": err.Error(), "exit_code": code})
		return
	}
	_, _ = fmt.Fprintln(a.stderr, "inflow:", err) // nowhere is left to say that stderr is gone
}
