//go:build integration

package integration

import (
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/inflowhq/inflow/integration/peers"
)

// winesBatch is how many wines one call asks about.
const winesBatch = 500

// TestPredictions asks models of scikit-learn and Python behind MLflow's scoring server: every row has what the model says
// when it is asked directly, to the last bit, and a call for a batch of rows is one call in the usage table.
func TestPredictions(t *testing.T) {
	t.Parallel()
	server, err := peers.StartScoringServer(t.Context(), t.TempDir(), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("numbers", func(t *testing.T) {
		t.Parallel()
		testNumbers(t, server)
	})
	t.Run("a row that the model refuses", func(t *testing.T) {
		t.Parallel()
		testRefusedRow(t, server)
	})
	t.Run("frames", func(t *testing.T) {
		t.Parallel()
		testFrames(t, server)
	})
}

// predicting is a workspace whose source is the first rows of the server's wines and whose table `direct` has what the
// models say of them. request is the job's, beside endpoint and key.
func predicting(t *testing.T, model peers.ScoredModel, wines *peers.Wines, rows int, request map[string]any) *workspace {
	t.Helper()
	w := newWorkspace(t, "id", map[string]any{
		"name": "wine",
		"external_model": map[string]any{
			"name": "wine", "provider": "mlflow-model-serving", "signature": model.Folder,
			"mlflow_model_serving_config": map[string]any{"model_server_url": model.URL},
		},
	})
	job := map[string]any{"endpoint": "ask", "key": []any{"id"}, "batch_size": winesBatch}
	maps.Copy(job, request)
	w.set(job, "request")
	w.set("prices.yaml", "prices")
	must(t, os.WriteFile(w.path("prices.yaml"), []byte("version: test\nmodels: {mlflow-model-serving/wine: {input: \"0\", output: \"0\", per_request: \"0.01\"}}\n"), 0o600))
	w.save(t)

	ids := make([]int, 0, rows)
	for id := range rows {
		ids = append(ids, id)
	}
	w.peer(t, "write", map[string]any{"path": w.path("source"), "columns": map[string]any{
		"id": ids, "sugar": wines.Sugar[:rows], "year": wines.Year[:rows], "kind": wines.Kind[:rows],
	}}, nil)
	w.peer(t, "write", map[string]any{"path": w.path("direct"), "columns": map[string]any{
		"id": ids, "price": wines.Price[:rows], "label": wines.Label[:rows], "score": wines.Score[:rows],
	}}, nil)
	return w
}

// checkNone runs statements that yield a number n each, which is to be 0.
func (w *workspace) checkNone(t *testing.T, statements map[string]string, tables ...string) {
	t.Helper()
	for what, sql := range statements {
		if n := w.count(t, sql, tables...); n != 0 {
			t.Errorf("%s: %d", what, n)
		}
	}
}

// checkBatches sees to it that each of the rows has one result, that batches of results share calls, and that what the
// results cost is what the calls cost. It returns the number of calls.
func (w *workspace) checkBatches(t *testing.T, rows, batch int) int64 {
	t.Helper()
	w.checkNone(t, map[string]string{
		"ids without exactly one result":   `SELECT count(*) AS n FROM (SELECT id FROM results GROUP BY id HAVING count(*) <> 1)`,
		"results without answer and error": `SELECT count(*) AS n FROM results WHERE (response IS NULL) = (error IS NULL)`,
		"answers without their call":       `SELECT count(*) AS n FROM results r WHERE r.error IS NULL AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.invocation_id = r.inference.invocation_id)`,
		"calls that are there twice":       `SELECT count(*) - count(DISTINCT invocation_id) AS n FROM usage`,
		"tokens that are not the calls'": `SELECT (coalesce(sum(inference.input_tokens), 0) IS DISTINCT FROM (SELECT coalesce(sum(input_tokens), 0)
			FROM usage WHERE error IS NULL))::INT AS n FROM results WHERE error IS NULL`,
		"dollars that are not the calls'": `SELECT (sum(inference.cost_usd) IS DISTINCT FROM (SELECT sum(cost_usd)
			FROM usage WHERE error IS NULL))::INT AS n FROM results WHERE error IS NULL`,
		"answers without a price": `SELECT count(*) AS n FROM results WHERE error IS NULL AND inference.cost_usd IS NULL`,
	}, "results", "usage")
	if n := w.count(t, "SELECT count(*) AS n FROM results", "results"); n != int64(rows) {
		t.Errorf("%d results, want %d", n, rows)
	}
	largest := w.count(t, "SELECT max(rows) AS n FROM (SELECT count(*) AS rows FROM results WHERE error IS NULL GROUP BY inference.invocation_id)", "results")
	if largest > int64(batch) {
		t.Errorf("one call answered %d rows, no more than %d were wanted", largest, batch)
	}
	return w.count(t, "SELECT count(*) AS n FROM usage", "usage")
}

// checkColumn sees to it that the results have a column, as "name TYPE".
func (w *workspace) checkColumn(t *testing.T, column string) {
	t.Helper()
	results := w.describe(t, "results")
	if columns := results.columns(); !slices.Contains(columns, column) {
		t.Errorf("the results have the columns %q, want %q among them", columns, column)
	}
}

// testNumbers: 10,000 rows in batches of 500.
func testNumbers(t *testing.T, server *peers.ScoringServer) {
	t.Helper()
	rows := len(server.Wines.Price)
	w := predicting(t, server.Price, &server.Wines, rows, map[string]any{"features": []any{"sugar", "year", "kind"}})
	w.mustRun(t)

	w.checkColumn(t, "response DOUBLE")
	w.checkNone(t, map[string]string{
		"predictions that differ from the model's": `SELECT count(*) AS n FROM direct d LEFT JOIN results r USING (id)
			WHERE r.response IS DISTINCT FROM d.price`,
	}, "results", "direct")
	calls := w.checkBatches(t, rows, winesBatch)
	if least := int64(rows / winesBatch); calls < least || calls > least+least/5 {
		t.Errorf("%d calls for %d rows, want about %d", calls, rows, least)
	}

	w.mustRun(t)
	if again := w.count(t, "SELECT count(*) AS n FROM usage", "usage"); again != calls {
		t.Errorf("a second run made %d calls", again-calls)
	}
}

// testRefusedRow: the model was not trained on one row's kind, so MLflow refuses each batch that the row is in.
func testRefusedRow(t *testing.T, server *peers.ScoringServer) {
	t.Helper()
	const rows, refused = 1000, 637
	wines := server.Wines
	wines.Kind = slices.Clone(wines.Kind)
	wines.Kind[refused] = "orange"
	w := predicting(t, server.Price, &wines, rows, map[string]any{
		"features": []any{"sugar", "year", "kind"}, "layout": "dataframe_records", "response_format": "DOUBLE",
	})
	w.mustRun(t)

	w.checkColumn(t, "response DOUBLE")
	w.checkNone(t, map[string]string{
		"predictions that differ from the model's": `SELECT count(*) AS n FROM direct d LEFT JOIN results r USING (id)
			WHERE d.id <> 637 AND r.response IS DISTINCT FROM d.price`,
		"rows with an error beside the one": `SELECT count(*) AS n FROM results WHERE (error IS NOT NULL) <> (id = 637)`,
		"errors of another kind, or that show the row": `SELECT count(*) AS n FROM results
			WHERE error IS NOT NULL AND (error.class <> 'REJECTED' OR error.http_status IS DISTINCT FROM 400 OR error.message LIKE '%orange%')`,
	}, "results", "direct")
	// Each half of the row's batch of 500 is asked again, down to the row.
	if calls := w.checkBatches(t, rows, winesBatch); calls > 2+2*9 {
		t.Errorf("%d calls to find one row of %d", calls, rows)
	}
}

// testFrames: the features and the type of the answer come from the model's signature. A score may be NaN, which MLflow
// writes as no JSON does.
func testFrames(t *testing.T, server *peers.ScoringServer) {
	t.Helper()
	const rows = 2000
	w := predicting(t, server.Taste, &server.Wines, rows, map[string]any{"features": "all"})
	w.mustRun(t)

	w.checkColumn(t, "response STRUCT<label STRING, score DOUBLE>")
	w.checkNone(t, map[string]string{
		"predictions that differ from the model's": `SELECT count(*) AS n FROM direct d LEFT JOIN results r USING (id)
			WHERE r.response.label IS DISTINCT FROM d.label OR r.response.score IS DISTINCT FROM coalesce(d.score, 'NaN'::DOUBLE)`,
		"rows with an error": `SELECT count(*) AS n FROM results WHERE error IS NOT NULL`,
	}, "results", "direct")
	w.checkBatches(t, rows, winesBatch)
}
