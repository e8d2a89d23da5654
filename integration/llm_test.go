//go:build integration

package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/inflowhq/inflow/integration/peers"
)

// llmTimeout bounds the run over a model that computes on this machine.
const llmTimeout = 15 * time.Minute

// TestLanguageModel asks a real language model about 200 reviews and wants typed answers: every row comes out as a
// STRUCT that keeps to its type, or as an error that says why not, and every call is in the usage table with the
// server's own counts.
func TestLanguageModel(t *testing.T) {
	t.Parallel()
	model, err := peers.StartLanguageModel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := model.Stop(); err != nil {
			t.Error(err)
		}
	})
	const rows = 200
	things := []string{"kettle", "lamp", "chair", "phone", "jacket", "blender", "watch", "bag", "desk", "radio"}
	verdicts := []string{"is wonderful and I love it", "broke on the first day", "arrived late, but works well", "is a waste of money", "is perfect"}
	ids, texts := make([]int, 0, rows), make([]string, 0, rows)
	for i := range rows {
		ids = append(ids, i)
		texts = append(texts, fmt.Sprintf("Order %d: the %s %s.", i, things[i%len(things)], verdicts[i/len(things)%len(verdicts)]))
	}
	w := newWorkspace(t, "id", served(model.URL))
	w.peer(t, "write", map[string]any{"path": w.path("source"), "columns": map[string]any{"id": ids, "text": texts}}, nil)
	w.set([]any{map[string]any{"role": "user", "content": "Is this review good or bad? {{ text }}"}}, "request", "messages")
	w.set(map[string]any{"mood": "enum(good, bad)", "stars": "int"}, "request", "response_format")
	w.set("5m", "request", "timeout")
	w.set(2, "limits", "concurrency")
	w.set("100%", "on_error", "fail_above")
	w.save(t)

	ctx, cancel := context.WithTimeout(t.Context(), llmTimeout)
	defer cancel()
	got := w.begin(ctx, t, "run", "job.yaml").wait(t)
	if got.code != 0 {
		t.Fatalf("inflow run: exit %d\n%s", got.code, got.stderr)
	}
	for what, sql := range map[string]string{
		"rows that have not exactly one result": `SELECT count(*) AS n FROM (SELECT id FROM results GROUP BY id HAVING count(*) <> 1)`,
		"results without answer and error":      `SELECT count(*) AS n FROM results WHERE (response IS NULL) = (error IS NULL)`,
		"answers outside their type":            `SELECT count(*) AS n FROM results WHERE response IS NOT NULL AND (response.mood NOT IN ('good', 'bad') OR response.stars IS NULL)`,
		"results without their call":            `SELECT count(*) AS n FROM results r WHERE NOT EXISTS (SELECT 1 FROM usage u WHERE u.invocation_id = r.inference.invocation_id)`,
		"calls without the server's counts":     `SELECT count(*) AS n FROM usage WHERE billable_basis <> 'provider_usage' OR input_tokens < 10 OR output_tokens < 5`,
	} {
		if n := w.count(t, sql, "results", "usage"); n != 0 {
			t.Errorf("%s: %d", what, n)
		}
	}
	if n := w.count(t, "SELECT count(*) AS n FROM results", "results"); n != rows {
		t.Errorf("%d results, want %d", n, rows)
	}
	// The server keeps its answers to the schema, so that a row without one is the exception.
	if n := w.count(t, "SELECT count(*) AS n FROM results WHERE response IS NOT NULL", "results"); n < rows*9/10 {
		t.Errorf("only %d of %d rows have a typed answer", n, rows)
	}
	asked := w.count(t, "SELECT count(*) AS n FROM usage", "usage")
	again := w.begin(ctx, t, "run", "job.yaml").wait(t)
	if n := w.count(t, "SELECT count(*) AS n FROM usage", "usage"); again.code != 0 || n != asked {
		t.Errorf("a second run: exit %d, %d calls after %d", again.code, n, asked)
	}
}
