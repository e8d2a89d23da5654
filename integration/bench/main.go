// Command bench measures the built binary beside a bare loop of the same HTTP calls at the same concurrency,
// in one run, on the same machine, against the same model server, which is inside this process.
//
// It prints ratios, for absolute figures belong to the machine. What it demands is in the table limits; it ends
// with 1 where the binary misses one of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/inflowhq/inflow/integration/modelserver/chatserver"
)

// What the binary must keep.
const (
	leastOfBare      = 0.50 // rows/s, of the bare loop's, at no latency
	leastOfIdeal     = 0.97 // rows/s, of concurrency / latency
	mostMemoryGrowth = 0.15 // peak memory, from the small table to ten times as many rows
	mostColdStart    = 100 * time.Millisecond
)

type config struct {
	binary string
	rows   int // of the small table; the large one has ten times as many
	dir    string
	out    io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "bare" {
		exit(bareMain(ctx, os.Args[2:], os.Stdout))
		return
	}
	var c config
	flag.StringVar(&c.binary, "binary", "bin/inflow", "the binary to measure")
	flag.IntVar(&c.rows, "rows", 100_000, "rows of the small table; the large one has ten times as many")
	flag.Parse()
	c.out = os.Stdout
	exit(c.run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // main decides the exit code
	}
}

func (c *config) run(ctx context.Context) (err error) {
	if c.binary, err = filepath.Abs(c.binary); err != nil {
		return err
	}
	if c.dir, err = os.MkdirTemp("", "inflow-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	small, large := filepath.Join(c.dir, "small"), filepath.Join(c.dir, "large")
	c.say("making tables of %d and %d rows of about %d bytes", c.rows, 10*c.rows, textBytes)
	if err := errors.Join(makeTable(ctx, small, c.rows), makeTable(ctx, large, 10*c.rows)); err != nil {
		return err
	}
	return errors.Join(c.throughput(ctx, small, large), c.latency(ctx), c.coldStart(ctx))
}

func (c *config) say(format string, args ...any) { _, _ = fmt.Fprintf(c.out, format+"\n", args...) }

// throughput compares at no latency, where everything but the model counts, and looks at memory.
func (c *config) throughput(ctx context.Context, small, large string) error {
	const concurrency = 64
	server, err := startServer(ctx, chatserver.Options{})
	if err != nil {
		return err
	}
	defer server.close()
	c.say("\nno latency, concurrency %d, with ledger, results and usage written:\n", concurrency)
	// The two take turns, so that whatever else the machine does strikes both.
	const rounds = 3
	var bare, ours []measured
	for range rounds {
		b, err := c.bare(ctx, server.url, c.rows, concurrency)
		if err != nil {
			return err
		}
		m, err := c.inflow(ctx, server.url, small, c.rows, concurrency, "")
		if err != nil {
			return err
		}
		bare, ours = append(bare, b), append(ours, m)
	}
	big, err := c.inflow(ctx, server.url, large, 10*c.rows, concurrency, "")
	if err != nil {
		return err
	}
	profile := filepath.Join(c.dir, "cpu.pprof") // of a run of its own: to be watched costs time
	if _, err := c.inflow(ctx, server.url, small, c.rows, concurrency, profile); err != nil {
		return err
	}
	b, m := median(bare), median(ours)
	c.say("%-28s %10s %12s %14s %12s", "", "rows", "rows/s", "CPU µs a row", "peak memory")
	for _, line := range []struct {
		name string
		of   measured
	}{{"bare loop", b}, {"inflow", m}, {"inflow, ten times the rows", big}} {
		c.say("%-28s %10d %12.0f %14.1f %9d MB", line.name, line.of.rows, line.of.rate(), line.of.cpuPerRow(), line.of.rss>>20)
	}
	growth := float64(big.rss)/float64(slices.MaxFunc(ours, byMemory).rss) - 1
	c.say("\nratio to the bare loop: %.2f (at least %.2f; median of %d rounds); with ten times the rows: %.2f",
		m.rate()/b.rate(), leastOfBare, rounds, big.rate()/b.rate())
	c.say("peak memory with ten times the rows: %+.0f%% (at most %+.0f%%)", growth*100, mostMemoryGrowth*100)
	c.say("\nwhere the binary's CPU time goes:\n")
	if err := c.printProfile(profile); err != nil {
		return err
	}
	return errors.Join(
		demand(m.rate()/b.rate() >= leastOfBare, "the ratio to the bare loop is too low"),
		demand(growth <= mostMemoryGrowth, "memory grows with the table"))
}

// latency compares with what the model's own time leaves, over rows enough that start and end weigh little.
func (c *config) latency(ctx context.Context) error {
	const concurrency, latency = 1000, 200 * time.Millisecond
	table, rows := filepath.Join(c.dir, "middle"), 5*c.rows
	if err := makeTable(ctx, table, rows); err != nil {
		return err
	}
	server, err := startServer(ctx, chatserver.Options{Latency: latency})
	if err != nil {
		return err
	}
	defer server.close()
	bare, err := c.bare(ctx, server.url, rows, concurrency)
	if err != nil {
		return err
	}
	ours, err := c.inflow(ctx, server.url, table, rows, concurrency, "")
	if err != nil {
		return err
	}
	ideal := concurrency / latency.Seconds()
	c.say("\n%s latency, concurrency %d: of concurrency / latency = %.0f rows/s\n", latency, concurrency, ideal)
	c.say("%-28s %10s %12s %8s", "", "rows", "rows/s", "ratio")
	c.say("%-28s %10d %12.0f %8.3f", "bare loop", bare.rows, bare.rate(), bare.rate()/ideal)
	c.say("%-28s %10d %12.0f %8.3f (at least %.2f)", "inflow", ours.rows, ours.rate(), ours.rate()/ideal, leastOfIdeal)
	return demand(ours.rate()/ideal >= leastOfIdeal, "the calls in flight are not kept up")
}

// coldStart measures from the start of the process to the first call at the server.
func (c *config) coldStart(ctx context.Context) error {
	const runs = 11
	server, err := startServer(ctx, chatserver.Options{})
	if err != nil {
		return err
	}
	defer server.close()
	table := filepath.Join(c.dir, "few")
	if err := makeTable(ctx, table, 100); err != nil {
		return err
	}
	took := make([]time.Duration, 0, runs)
	for range runs {
		server.first.Store(0)
		began := time.Now()
		if _, err := c.inflow(ctx, server.url, table, 100, 4, ""); err != nil {
			return err
		}
		took = append(took, time.Unix(0, server.first.Load()).Sub(began))
	}
	slices.Sort(took)
	middle := took[runs/2]
	c.say("\ncold start to the first call: median %s, worst %s of %d (at most %s)", middle.Round(time.Millisecond),
		took[runs-1].Round(time.Millisecond), runs, mostColdStart)
	return demand(middle <= mostColdStart, "the start is too slow")
}

func demand(kept bool, otherwise string) error {
	if kept {
		return nil
	}
	return errors.New(otherwise)
}
