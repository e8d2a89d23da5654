//go:build integration

package peers_test

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inflowhq/inflow/integration/peers"
)

// TestBento lets Bento carry tickets to Parquet files, and DuckDB count them there.
func TestBento(t *testing.T) {
	t.Parallel()
	const partitions, count, group = 6, 120_000, "bento"
	bento, err := peers.InstallBento(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kafka := startKafka(t)
	createTopic(t, kafka, "tickets", partitions)
	if err := kafka.Produce(t.Context(), "tickets", 0, count); err != nil {
		t.Fatal(err)
	}
	stream := peers.BentoStream{
		Brokers: kafka.Addr, Topic: "tickets", Group: group,
		Folder: t.TempDir(), BatchRows: 4096, BatchAge: time.Second,
	}
	config := filepath.Join(t.TempDir(), "bento.yaml")
	if err := stream.WriteConfig(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), consumeTimeout)
	defer cancel()
	run := exec.CommandContext(ctx, bento.Path, "-c", config)
	var output strings.Builder
	run.Stdout, run.Stderr = &output, &output
	start := time.Now()
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ticks := time.NewTicker(50 * time.Millisecond)
	defer ticks.Stop()
	for {
		committed, err := kafka.Committed(ctx, group, "tickets")
		if err != nil {
			t.Fatal(errors.Join(err, run.Process.Kill(), run.Wait()))
		}
		var done int64
		for _, offset := range committed {
			done += offset
		}
		if done == count {
			break
		}
		<-ticks.C
	}
	t.Logf("%d tickets in %s", count, time.Since(start))
	if err := errors.Join(run.Process.Signal(syscall.SIGTERM), run.Wait()); err != nil {
		t.Fatalf("%v\n%s", err, output.String())
	}

	python, err := peers.Install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var answers struct{ Answers [][]map[string]json.Number }
	err = python.Call(t.Context(), "sql", map[string]any{
		"tables":     map[string]string{},
		"statements": []string{"SELECT count(DISTINCT ticket_id) AS tickets, sum(ticket_id) AS total FROM read_parquet('" + stream.Folder + "/*.parquet')"},
	}, &answers)
	if err != nil {
		t.Fatal(err)
	}
	if got := answers.Answers[0][0]; got["tickets"] != "120000" || got["total"] != "7199940000" {
		t.Errorf("DuckDB finds %v", got)
	}
}
