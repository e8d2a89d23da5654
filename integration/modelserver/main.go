// Command modelserver is a strict OpenAI chat-completions server in a process of its own, for tests that kill
// its clients and for benchmarks. It prints its base URL as its first line and ends when its standard input
// does, so that it never outlives the test that started it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/inflowhq/inflow/integration/modelserver/chatserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "modelserver:", err)
		os.Exit(1) //nolint:gocritic,forbidigo // main decides the exit code
	}
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("modelserver", flag.ContinueOnError)
	var (
		options  chatserver.Options
		address  = flags.String("listen", "127.0.0.1:0", "address to listen on")
		path     = flags.String("ledger", "", "append-only file of every call; empty: none")
		faults   = flags.String("faults", "", "FAULT:SHARE,..., see the package chatserver")
		attempts = flags.Int("fault-attempts", 1, "strike only the first so many calls of a row; 0: all")
	)
	flags.DurationVar(&options.Latency, "latency", 0, "time before every answer")
	flags.DurationVar(&options.Jitter, "jitter", 0, "at most this much more")
	flags.Uint64Var(&options.Seed, "seed", 1, "of the fault schedule")
	flags.IntVar(&options.RequestsPerMinute, "requests-per-minute", 0, "answer 429 beyond; 0: not limited")
	flags.StringVar(&options.APIKey, "api-key", "", "the only key that is accepted; empty: any")
	if err := flags.Parse(args); err != nil {
		return err
	}
	schedule, err := chatserver.ParseSchedule(*faults, *attempts)
	if err != nil {
		return err
	}
	options.Faults = schedule
	var ledger *chatserver.Ledger
	if *path != "" {
		if ledger, err = chatserver.OpenLedger(*path); err != nil {
			return err
		}
		defer ledger.Close() //nolint:errcheck // every line was written through already
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *address)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "http://%s/v1\n", listener.Addr()); err != nil {
		return err
	}

	server := &http.Server{Handler: chatserver.New(options, ledger), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	orphaned := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // whichever way it ends, the parent is gone
		close(orphaned)
	}()
	select {
	case <-ctx.Done():
	case <-orphaned:
	case err := <-served:
		return err
	}
	if err := server.Close(); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
