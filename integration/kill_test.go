//go:build integration

package integration

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/inflowhq/inflow/integration/modelserver/chatserver"
)

const (
	killSeed = 20261124
	// inFlight is the job's concurrency: what one kill can lose at the most. ahead is how many more calls may have
	// been noted to be sent next.
	inFlight, ahead = 16, 8
	// durableWithin bounds how long an answered call may wait for the ledger's fsync. A call that was answered
	// longer than this before its run was killed must not be lost.
	durableWithin = 500 * time.Millisecond
	// progressWithin is how many kills in a row may pass without anything new.
	progressWithin = 15
)

// TestKill kills the binary again and again: while it starts, while calls are on the wire, right after a
// commit. In the end every row is there once, and the bill is the server's.
func TestKill(t *testing.T) {
	t.Parallel()
	const rows, kills = 3000, 50
	server := startModelServer(t, "-latency", "10ms", "-jitter", "20ms")
	w := newWorkspace(t, "id", served(server.url))
	w.set(inFlight, "limits", "concurrency")
	w.set(map[string]any{"rows": 40, "interval": "1s"}, "commit")
	w.save(t)
	w.rows(t, 0, rows, 75)

	random := rand.New(rand.NewPCG(killSeed, 0))
	t.Logf("seed %d", killSeed)
	var killed []time.Time
	stale, before := 0, 0
	for len(killed) < kills {
		p := w.begin(t.Context(), t, "run", "job.yaml")
		how := strike(t, w, server, p, random)
		p.signal(t, syscall.SIGKILL)
		got := p.wait(t)
		if got.code != -1 {
			t.Fatalf("kill %d: the run ended by itself, exit %d, before it could be killed: give it more rows\n%s",
				len(killed), got.code, got.stderr)
		}
		killed = append(killed, time.Now())
		now := server.received(t) + int(w.latest(t, "results"))
		t.Logf("kill %d: %s; %d calls, results at version %d", len(killed), how, server.received(t), w.latest(t, "results"))
		if stale++; now > before {
			stale, before = 0, now
		}
		if stale > progressWithin {
			t.Fatalf("no call and no commit in the last %d runs", stale)
		}
	}
	w.mustRun(t)

	if failed := checkExactlyOnce(t, w.results(t), rows); failed > 0 {
		t.Errorf("%d rows hold an error, and nothing had gone wrong with them", failed)
	}
	usage, calls := w.usage(t), server.calls(t)
	checkBill(t, usage, calls)
	checkNothingAskedTwice(t, usage, calls)
	checkMarkedCalls(t, usage, calls, killed)

	// Once more, with nothing to do.
	w.mustRun(t)
	if again := server.received(t); again != len(calls) {
		t.Errorf("a finished job asked %d more times", again-len(calls))
	}
	if again := len(w.usage(t)); again != len(usage) {
		t.Errorf("a finished job wrote %d more usage rows", again-len(usage))
	}
}

// strike waits for the moment of the next kill and names it.
func strike(t *testing.T, w *workspace, server *modelServer, p *process, random *rand.Rand) string {
	t.Helper()
	switch random.IntN(4) {
	case 0:
		delay := time.Duration(random.Int64N(int64(150 * time.Millisecond)))
		pause(t, delay)
		return "after " + delay.String()
	case 1:
		table := []string{"results", "usage"}[random.IntN(2)]
		was := w.latest(t, table)
		until(t, "a commit of "+table, func() bool { return p.over() || w.latest(t, table) > was })
		return "at a commit of " + table
	default:
		goal := server.received(t) + random.IntN(60)
		until(t, "the next calls", func() bool { return p.over() || server.received(t) >= goal })
		delay := time.Duration(random.Int64N(int64(30 * time.Millisecond)))
		pause(t, delay)
		return "in the middle of calls"
	}
}

// checkNothingAskedTwice: a row is asked again only where an earlier call for it was lost on the wire.
func checkNothingAskedTwice(t *testing.T, usage []usageRow, calls []*chatserver.Call) {
	t.Helper()
	keys := map[string]string{} // by request id
	asked := map[string]int{}
	for _, call := range calls {
		keys[call.ClientRequestID] = call.Key
		asked[call.Key]++
	}
	lost, answered := map[string]int{}, map[string]int{}
	for i := range usage {
		key := keys[usage[i].RequestID]
		switch {
		case usage[i].ambiguous():
			lost[key]++
		case usage[i].BillableBasis == "provider_usage":
			answered[key]++
		default:
			t.Errorf("invocation %s is neither answered nor lost: %+v", usage[i].InvocationID, usage[i])
		}
	}
	for key, times := range asked {
		if times > 1+lost[key] {
			t.Errorf("key %s was asked %d times and lost %d times: an answer that had arrived was paid again", key, times, lost[key])
		}
		if answered[key] != 1 {
			t.Errorf("key %s was answered %d times", key, answered[key])
		}
	}
}

// checkMarkedCalls: what is marked as lost was really on the wire, or not yet safe, at a kill.
func checkMarkedCalls(t *testing.T, usage []usageRow, calls []*chatserver.Call, killed []time.Time) {
	t.Helper()
	byRequest := map[string]*chatserver.Call{}
	for _, call := range calls {
		byRequest[call.ClientRequestID] = call
	}
	marked := 0
	inRun := map[string]int{}
	for i := range usage {
		row := &usage[i]
		if !row.ambiguous() {
			continue
		}
		marked++
		inRun[row.RunID]++
		if row.BillableBasis != "estimated" || row.InputTokens == 0 {
			t.Errorf("invocation %s was lost, with billable_basis %q and %d input tokens; want an estimate",
				row.InvocationID, row.BillableBasis, row.InputTokens)
		}
		call, ok := byRequest[row.RequestID]
		if !ok || !call.Answered {
			continue // noted and never sent, or never answered
		}
		// The kill that took it is the first one after its answer; one that came before the answer was written
		// left the server talking to nobody.
		before, at := time.Time{}, time.Time{}
		for _, kill := range killed {
			if kill.After(call.AnsweredAt) {
				at = kill
				break
			}
			before = kill
		}
		if call.AnsweredAt.Sub(before) > durableWithin && (at.IsZero() || at.Sub(call.AnsweredAt) > durableWithin) {
			t.Errorf("call %s was answered at %s and is marked as lost, with no kill within %s of that",
				call.ID, call.AnsweredAt, durableWithin)
		}
	}
	t.Logf("%d calls, %d of them lost on the wire in %d kills", len(calls), marked, len(killed))
	if marked == 0 {
		t.Error("no call was on the wire at any kill: the kills miss their target")
	}
	for run, lost := range inRun {
		if lost > inFlight+ahead {
			t.Errorf("run %s lost %d calls, with %d in flight and %d noted at the most", run, lost, inFlight, ahead)
		}
	}
}
