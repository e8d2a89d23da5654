//go:build integration

package integration

import (
	"maps"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestSecondRunIsRefused: while a run holds the state, a second one ends at once and says who holds it.
func TestSecondRunIsRefused(t *testing.T) {
	t.Parallel()
	const rows = 300
	server := startModelServer(t, "-latency", "100ms")
	w := newWorkspace(t, "id", served(server.url))
	w.save(t)
	w.rows(t, 0, rows, 1)

	first := w.begin(t.Context(), t, "run", "job.yaml")
	until(t, "the first run's calls", func() bool { return first.over() || server.received(t) > 0 })
	second := w.run(t, "run", "job.yaml")
	if first.over() {
		t.Fatal("the first run was over before the second began")
	}
	if second.code != 1 {
		t.Errorf("the second run ends with exit %d, want 1", second.code)
	}
	if pid := strconv.Itoa(first.cmd.Process.Pid); !strings.Contains(second.stderr, pid) {
		t.Errorf("the second run does not say that process %s holds the job:\n%s", pid, second.stderr)
	}
	if got := first.wait(t); got.code != 0 {
		t.Fatalf("the first run: exit %d\n%s", got.code, got.stderr)
	}
	checkExactlyOnce(t, w.results(t), rows)
	if calls := server.received(t); calls != rows {
		t.Errorf("the server was asked %d times for %d rows: the second run paid", calls, rows)
	}
}

// TestTwoStatesOneSink: two runs that know nothing of each other are fenced by the sink's own transactions.
func TestTwoStatesOneSink(t *testing.T) {
	t.Parallel()
	const rows = 600
	server := startModelServer(t, "-latency", "20ms", "-jitter", "20ms")
	w := newWorkspace(t, "id", served(server.url))
	w.set(map[string]any{"rows": 100}, "commit")
	w.set("state-a", "state")
	w.save(t)
	w.rows(t, 0, rows, 12)
	// The twin shares everything but the state.
	twin := *w
	twin.dir, twin.job = t.TempDir(), maps.Clone(w.job)
	twin.set("state-b", "state")
	twin.save(t)

	a := w.begin(t.Context(), t, "run", "job.yaml")
	b := twin.begin(t.Context(), t, "run", "job.yaml")
	outcomes := []outcome{a.wait(t), b.wait(t)}
	won := 0
	for _, got := range outcomes {
		switch {
		case got.code == 0:
			won++
		case got.code != 1 || !strings.Contains(got.stderr, "another run"):
			t.Errorf("the loser ends with exit %d and does not say that another run went ahead:\n%s", got.code, got.stderr)
		}
	}
	t.Logf("exits %d and %d", outcomes[0].code, outcomes[1].code)
	if won == 2 {
		t.Error("both runs claim to have done the work")
	}
	// Whoever lost goes on from where the other is, and brings its bill to the usage table.
	w.mustRun(t)
	twin.mustRun(t)
	checkExactlyOnce(t, w.results(t), rows)
	checkBill(t, w.usage(t), server.calls(t))
}

// TestInterrupt: the first SIGINT ends a run in good order, and the next run goes on from there.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	const rows = 1000
	server := startModelServer(t, "-latency", "20ms", "-jitter", "20ms")
	w := newWorkspace(t, "id", served(server.url))
	w.set(map[string]any{"rows": 200}, "commit")
	w.save(t)
	w.rows(t, 0, rows, 20)

	p := w.begin(t.Context(), t, "run", "job.yaml")
	until(t, "some calls", func() bool { return p.over() || server.received(t) > 150 })
	p.signal(t, syscall.SIGINT)
	got := p.wait(t)
	if got.code != 130 {
		t.Fatalf("exit %d, want 130\n%s", got.code, got.stderr)
	}
	if !strings.Contains(got.stderr, "inflow run job.yaml") {
		t.Errorf("it does not say how to resume:\n%s", got.stderr)
	}
	asked := server.received(t)
	committed := len(w.results(t))
	if asked == rows || committed == 0 || committed > asked {
		t.Errorf("it had asked %d of %d rows and committed %d", asked, rows, committed)
	}
	for _, call := range server.calls(t) {
		if !call.CompletelyWritten {
			t.Errorf("call %s was cut off, not drained", call.ID)
		}
	}

	w.mustRun(t)
	checkExactlyOnce(t, w.results(t), rows)
	if calls := server.received(t); calls != rows {
		t.Errorf("the server was asked %d times for %d rows", calls, rows)
	}
	checkBill(t, w.usage(t), server.calls(t))
}
