package main

import (
	"testing"

	"github.com/inflowhq/inflow/jobs"
)

func TestPlanSaysWhatARunTakes(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, nil)
	w := asking(t, server)
	w.edit(t, starterJob, "# requests_per_minute: 600", "requests_per_minute: 20")
	w.edit(t, starterJob, `where: "size(body) > 0" `, `where: "review_id > 10" `)
	golden(t, w.dir, ends(t, exitDone, "plan", w.job()).stdout, ` job                    review_mood
─
 endpoint               mood
 rows in the source     40
 rows done              0
 rows to do             30
 rows sampled           40, 10 left out by the condition
 tokens in              861
 tokens out, at most    150
 dollars                at most $0.000219 (prices of 2026-11-25)
 calls at once          16
 calls a minute         20
 time under the limits  at least 1m30s
Tokens are estimated from the sample, as characters / 4.

Next: inflow run DIR/job.yaml
`)
	got := decode[struct {
		RowsToDo          int64  `json:"rows_to_do"`
		SampledRows       int64  `json:"sampled_rows"`
		RequestsPerMinute int64  `json:"requests_per_minute"`
		Cost              string `json:"cost_usd_max"`
	}](t, ends(t, exitDone, "plan", "-o", "json", w.job()).stdout)
	if got.RowsToDo != 30 || got.SampledRows != 40 || got.RequestsPerMinute != 20 || got.Cost != "0.000219150000000000" {
		t.Errorf("got %+v", got)
	}
	if server.calls.Load() != 0 {
		t.Error("plan asked the model")
	}
}

func TestPlanOfADoneJobSuggestsNoRun(t *testing.T) {
	t.Parallel()
	w := started(t)
	ends(t, exitDone, "run", w.job())
	golden(t, w.dir, ends(t, exitDone, "plan", w.job()).stdout, ` job                    review_mood
─
 endpoint               mood
 rows in the source     40
 rows done              40
 rows to do             0
 rows sampled           0
 tokens in              0
 tokens out, at most    0
 dollars                at most $0.00 (prices of 2026-11-25)
 calls at once          16
 time under the limits  no limit but the concurrency
`)
}

func TestPlanWithoutAPriceSaysSo(t *testing.T) {
	t.Parallel()
	w := asking(t, newModelServer(t, nil))
	w.edit(t, starterCatalog, "gpt-4o-mini, provider", "nobody-knows-it, provider")
	contains(t, ends(t, exitDone, "plan", w.job()).stdout, "dollars                no price is known for this model\n")
}

// A plan of a source that was not read to its end knows the figures of a row, and claims no others.
func TestPlanOfAnUnknownNumberOfRows(t *testing.T) {
	t.Parallel()
	app, out := newTestApp()
	app.printPlan(&jobs.Plan{
		Job: "j", Endpoint: "e", SourceRows: -1, RowsToDo: -1, SampledRows: 1000, KeptRows: 1000,
		InputTokensPerRow: 12.6, OutputTokensMax: 20, Concurrency: 8, TokensPerMinute: 5000,
	})
	golden(t, "DIR", out.String(), ` job                    j
─
 endpoint               e
 rows in the source     not known before reading
 rows done              0
 rows to do             not known before reading
 rows sampled           1,000
 tokens in              about 13 a row
 tokens out, at most    20 a row
 dollars                not known before reading
 calls at once          8
 tokens a minute        5,000
 time under the limits  not known before reading
Tokens are estimated from the sample, as characters / 4.
`)
}
