//go:build integration

package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/integration/peers"
)

// TestEmbeddings asks a real embedding model about 1,000 texts in batches of 64: every row has the vector that the model
// gives its text alone, the two rows that the server refuses have an error each, and the tokens are the server's.
func TestEmbeddings(t *testing.T) {
	t.Parallel()
	model, err := peers.StartEmbeddingModel(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := model.Stop(); err != nil {
			t.Error(err)
		}
	})
	const rows, batch, empty, long = 1000, 64, 300, 777
	things := []string{"kettle", "lamp", "vélo", "phone", "jacket", "мяч", "watch", "bag", "寿司", "radio"}
	ids, texts := make([]int, 0, rows), make([]string, 0, rows)
	for i := range rows {
		ids = append(ids, i)
		texts = append(texts, fmt.Sprintf("Order %d: the %s arrived late.", i, things[i%len(things)]))
	}
	vectors, err := model.Direct(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	texts[empty], texts[long] = "", strings.Repeat("too long ", 150)

	w := newWorkspace(t, "id", map[string]any{
		"name": "mini",
		"external_model": map[string]any{
			"name": "all-MiniLM-L6-v2", "provider": "openai", "task": "llm/v1/embeddings",
			"openai_config": map[string]any{"openai_api_key": "{{secrets/test/model}}", "openai_api_base": model.URL},
		},
	})
	w.set(map[string]any{"endpoint": "ask", "key": []any{"id"}, "input": "{{ text }}", "batch_size": batch}, "request")
	w.set("prices.yaml", "prices")
	must(t, os.WriteFile(w.path("prices.yaml"), []byte("version: test\nmodels: {openai/all-MiniLM-L6-v2: {input: \"0.02\", output: \"0\"}}\n"), 0o600))
	w.set(4, "limits", "concurrency")
	w.save(t)
	w.peer(t, "write", map[string]any{"path": w.path("source"), "columns": map[string]any{"id": ids, "text": texts}}, nil)
	w.peer(t, "write", map[string]any{"path": w.path("direct"), "columns": map[string]any{"id": ids, "vector": vectors}}, nil)
	w.mustRun(t)

	w.checkColumn(t, "response ARRAY<FLOAT>")
	w.checkNone(t, map[string]string{
		"vectors that have not 384 elements": `SELECT count(*) AS n FROM results WHERE error IS NULL AND len(response) IS DISTINCT FROM 384`,
		"elements that differ from the model's": `SELECT count(*) AS n FROM (SELECT unnest(r.response) AS got, unnest(d.vector) AS want
			FROM results r JOIN direct d USING (id) WHERE r.error IS NULL) WHERE got IS NULL OR want IS NULL OR abs(got - want) > 1e-5`,
		"rows with an error beside the two": `SELECT count(*) AS n FROM results WHERE (error IS NOT NULL) <> (id IN (300, 777))`,
		"errors of another class":           `SELECT count(*) AS n FROM results WHERE error IS NOT NULL AND error.class <> 'REJECTED'`,
	}, "results", "direct")
	calls := w.checkBatches(t, rows, batch)
	// Each half of a refused batch of 64 is asked again, down to the row.
	if least := int64(rows / batch); calls < least || calls > least+2*(1+2*6) {
		t.Errorf("%d calls for %d rows in batches of %d", calls, rows, batch)
	}

	total, err := model.Total(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := w.count(t, "SELECT sum(input_tokens)::BIGINT AS n FROM usage WHERE billable_basis = 'provider_usage'", "usage"); n != total.PromptTokens {
		t.Errorf("the usage table has %d tokens, the server counted %d", n, total.PromptTokens)
	}
	if calls < total.Answered+total.Refused {
		t.Errorf("the usage table has %d calls, the server had %d and refused %d more", calls, total.Answered, total.Refused)
	}
	w.mustRun(t)
	again, err := model.Total(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again.Answered != total.Answered {
		t.Errorf("a second run was answered %d more times", again.Answered-total.Answered)
	}
}
