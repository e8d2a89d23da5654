//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDeltaRsAppendsToOurs lets another writer append to tables that Inflow made, across checkpoints of both,
// and then takes away the commits that the checkpoint stands for.
func TestDeltaRsAppendsToOurs(t *testing.T) {
	t.Parallel()
	const rounds, perRound = 8, 40
	server := startModelServer(t)
	w := newWorkspace(t, "id", served(server.url))
	w.set(map[string]any{"rows": perRound / 2}, "commit")
	w.save(t)

	ours, foreign := 0, 0
	for round := range rounds {
		w.rows(t, ours, perRound, 2)
		w.mustRun(t)
		ours += perRound
		// delta-rs repeats a row of ours under an id that the source never has.
		if round%2 == 0 {
			w.peer(t, "clone_last", map[string]any{"path": w.path("results"), "column": "id"}, nil)
			foreign++
		}
		read := w.results(t)
		if len(read) != ours+foreign {
			t.Fatalf("round %d: delta-rs reads %d rows, want %d of ours and %d of its own", round, len(read), ours, foreign)
		}
		if n := w.count(t, "SELECT count(*) AS n FROM results", "results"); n != int64(ours+foreign) {
			t.Fatalf("round %d: DuckDB reads %d rows, want %d", round, n, ours+foreign)
		}
	}
	if calls := server.received(t); calls != ours {
		t.Errorf("the server was asked %d times for %d rows", calls, ours)
	}
	version := w.latest(t, "results")
	if version < 12 {
		t.Fatalf("the table is at version %d only: no checkpoint was crossed", version)
	}
	newest := dropCommitsBeforeCheckpoint(t, w, "results")
	if newest < 10 {
		t.Fatalf("the newest checkpoint is of version %d", newest)
	}
	if read := w.results(t); len(read) != ours+foreign {
		t.Errorf("from the checkpoint of version %d delta-rs reads %d rows, want %d", newest, len(read), ours+foreign)
	}

	// And so does Inflow: it knows from the checkpoint what it has done.
	w.rows(t, ours, perRound, 1)
	w.mustRun(t)
	ours += perRound
	if read := w.results(t); len(read) != ours+foreign {
		t.Errorf("after the commits were dropped: delta-rs reads %d rows, want %d", len(read), ours+foreign)
	}
	if calls := server.received(t); calls != ours {
		t.Errorf("after the commits were dropped: the server was asked %d times for %d rows", calls, ours)
	}
	checkBill(t, w.usage(t), server.calls(t))
}

// TestReadsDeltaRsCheckpoint gives Inflow a source of which nothing but a foreign checkpoint is left.
func TestReadsDeltaRsCheckpoint(t *testing.T) {
	t.Parallel()
	const rows = 60
	server := startModelServer(t)
	w := newWorkspace(t, "id", served(server.url))
	w.save(t)
	w.rows(t, 0, rows, 12)
	w.peer(t, "checkpoint", map[string]any{"path": w.path("source")}, nil)
	if newest := dropCommitsBeforeCheckpoint(t, w, "source"); newest != 11 {
		t.Fatalf("the newest checkpoint is of version %d, want 11", newest)
	}
	w.mustRun(t)
	checkExactlyOnce(t, w.results(t), rows)
}

// dropCommitsBeforeCheckpoint removes every JSON commit that a table's newest checkpoint stands for, as log
// cleanup does, and returns the checkpoint's version, -1 where there is none.
func dropCommitsBeforeCheckpoint(t *testing.T, w *workspace, table string) int64 {
	t.Helper()
	newest := ""
	for path := range w.files(t, filepath.Join(table, "_delta_log")) {
		if base := filepath.Base(path); strings.HasSuffix(base, ".checkpoint.parquet") {
			newest = max(newest, strings.TrimSuffix(base, ".checkpoint.parquet"))
		}
	}
	if newest == "" {
		return -1
	}
	version := int64(0)
	for _, digit := range newest {
		version = version*10 + int64(digit-'0')
	}
	for path := range w.files(t, filepath.Join(table, "_delta_log")) {
		base := filepath.Base(path)
		if strings.HasSuffix(base, ".json") && strings.TrimSuffix(base, ".json") <= newest {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	return version
}
