package main

import (
	"testing"

	"github.com/inflowhq/inflow/jobs"
)

func TestUsageAddsUpByDayEndpointModelAndStatus(t *testing.T) {
	t.Parallel()
	w := asking(t, newModelServer(t, nil))
	ends(t, exitDone, "run", w.job())
	golden(t, w.dir, ends(t, exitDone, "usage", w.path(starterUsage)).stdout,
		` day         endpoint  model        status  calls  tokens  tokens    dollars
                                                       in     out
─
 2026-11-24  mood      gpt-4o-mini     200     40     800      40  $0.000144
`)
	got := decode[[]map[string]any](t, ends(t, exitDone, "usage", "-o", "json", w.path(starterUsage)).stdout)
	if len(got) != 1 || got[0]["endpoint"] != "mood" || got[0]["status"] != "200" || got[0]["invocations"] != 40.0 {
		t.Errorf("got %v", got)
	}
	contains(t, ends(t, exitUsage, "usage", w.path(starterTable)).stderr, "not a usage table", "audit.usage")
}

func TestUsageOfSeveralKindsHasATotal(t *testing.T) {
	t.Parallel()
	w := workspace{t.TempDir()}
	ends(t, exitDone, "demo", "--dir", w.dir)
	server := newModelServer(t, nil)
	w.edit(t, starterCatalog, "{name: vader, entity_name: embedded/sentiment}",
		`{name: mini, external_model: {name: nobody-knows-it, provider: openai, task: llm/v1/chat,
           openai_config: {openai_api_key: "{{secrets/llm/openai}}", openai_api_base: "`+server.URL+`/v1"}}}`)
	w.edit(t, starterCatalog, "# secrets:", "secrets:")
	w.edit(t, starterJob, "job: review_mood", "job: again")
	contains(t, ends(t, exitDone, "run", w.job()).stdout, "no price known")
	out := ends(t, exitDone, "usage", w.path(starterUsage)).stdout
	contains(t, out, "sentiment ", "gpt-4o-mini ", "$0.00 + 40 without a price", " total ", "80   1,175      80")
}

// Only where an answer served several rows there is a column for it.
func TestUsageCountsWhatWasReused(t *testing.T) {
	t.Parallel()
	app, out := newTestApp()
	app.printUsage([]jobs.UsageTotal{
		{Day: "2026-11-24", Endpoint: "mood", Model: "mini", Status: "200", Invocations: 1_500, Reused: 300},
		{Day: "2026-11-24", Endpoint: "mood", Model: "mini", Status: "AMBIGUOUS", Invocations: 2},
	})
	golden(t, "DIR", out.String(), ` day         endpoint  model  status     calls  tokens  tokens  dollars  reused
                                                    in     out
─
 2026-11-24  mood      mini   200        1,200       0       0    $0.00     300
 2026-11-24  mood      mini   AMBIGUOUS      2       0       0    $0.00       0
 total                                   1,202       0       0    $0.00     300
`)
}
