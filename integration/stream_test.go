//go:build integration

package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/inflowhq/inflow/integration/peers"
)

// TestStreamFromKafka: three members of a group read a real broker's topic; one is killed and comes back, and one leaves in
// order. Every record comes out once, and the bill is the server's.
func TestStreamFromKafka(t *testing.T) { //nolint:paralleltest // a broker takes the disk, at whose speed others look
	const records, partitions = 15_000, 6
	broker, err := peers.StartKafka(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := broker.CreateTopic(t.Context(), "tickets", partitions, nil); err != nil {
		t.Fatal(err)
	}
	server := startModelServer(t, "-latency", "20ms", "-jitter", "20ms", "-faults", "429:0.01,500:0.01")
	w := newWorkspace(t, "ticket_id", served(server.url))
	w.set(map[string]any{
		"kafka": map[string]any{
			"brokers": broker.Addr, "topics": "tickets", "key": map[string]any{"format": "text"},
			"value": map[string]any{"format": "json", "schema": "ticket_id BIGINT, body STRING"},
		},
	}, "source")
	w.set([]any{map[string]any{"role": "user", "content": "[key={{ ticket_id }}] {{ body }}"}}, "request", "messages")
	w.set(32, "limits", "concurrency")
	members := []string{"a", "b", "c"}
	begin := func(name string) *process {
		w.set("state-"+name, "state")
		w.save(t)
		if err := os.Rename(w.path("job.yaml"), w.path(name+".yaml")); err != nil {
			t.Fatal(err)
		}
		return w.begin(t.Context(), t, "run", "-o", "json", name+".yaml")
	}
	produce := func(from, until int64) {
		if err := broker.Produce(t.Context(), "tickets", from, until); err != nil {
			t.Fatal(err)
		}
	}
	produce(0, records/3)
	running := map[string]*process{}
	for _, name := range members {
		running[name] = begin(name)
	}
	visible := func(least int64) {
		t.Helper()
		deadline := time.Now().Add(3 * time.Minute)
		for count := int64(-1); count < least; {
			if w.latest(t, "results") >= 0 {
				if _, err := fmt.Sscan(fmt.Sprint(w.query(t, "select count(*) as n from results", "results")[0]["n"]), &count); err != nil {
					t.Fatal(err)
				}
			}
			for name, p := range running {
				if p.over() {
					t.Fatalf("member %s has ended:\n%s", name, p.wait(t).stderr)
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d records came out", count, least)
			}
			select {
			case <-t.Context().Done():
			case <-time.After(time.Second):
			}
		}
	}
	visible(records / 10)
	running["a"].signal(t, syscall.SIGKILL)
	running["a"].wait(t)
	delete(running, "a")
	running["b"].signal(t, syscall.SIGTERM)
	if got := running["b"].wait(t); got.code != 130 {
		t.Errorf("exit %d\n%s", got.code, got.stderr)
	}
	delete(running, "b")
	produce(records/3, records)
	running["a"], running["b"] = begin("a"), begin("b")
	visible(records)
	for _, name := range members {
		running[name].signal(t, syscall.SIGTERM)
	}
	for _, name := range members {
		if got := running[name].wait(t); got.code != 130 {
			t.Errorf("member %s: exit %d\n%s", name, got.code, got.stderr)
		} else if strings.Contains(got.stderr, "secret-of-the-test") {
			t.Error("the key is in the log")
		}
	}
	wrong := w.query(t, `select count(*) as n, count(distinct ticket_id) as distinct_n,
		count(*) filter (where _partition <> ticket_id % 6 or _offset <> ticket_id // 6) as misplaced,
		count(*) filter (where error is not null) as failed from results`, "results")[0]
	if got := fmt.Sprintf("%v %v %v %v", wrong["n"], wrong["distinct_n"], wrong["misplaced"], wrong["failed"]); got != fmt.Sprint(records, records, 0, 0) {
		t.Errorf("records, tickets, misplaced, failed: %s", got)
	}
	usage, calls := w.usage(t), server.calls(t)
	checkBill(t, usage, calls)
	paid := map[string]int{}
	for _, call := range calls {
		if call.Status == 200 {
			paid[call.Key]++
		}
	}
	twice := 0
	for _, times := range paid {
		twice += times - 1
	}
	t.Logf("%d calls for %d records, %d paid twice by the kill", len(calls), records, twice)
	if twice > 8192 {
		t.Errorf("%d records were paid twice: more than a window", twice)
	}
}
