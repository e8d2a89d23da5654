package main

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// shownRun is the summary as a program reads it, which knows the dollars as text.
type shownRun struct {
	summary

	CostUSD string `json:"cost_usd"`
}

func TestRunCommitsOnceAndThenDoesNothing(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, nil)
	w := asking(t, server)
	golden(t, w.dir, ends(t, exitDone, "run", w.job()).stdout,
		"review_mood: 40 rows committed · 40 calls · 800 tokens in, 40 out · $0.000144 · TOOK\n")
	golden(t, w.dir, ends(t, exitDone, "run", w.job()).stdout,
		"review_mood: nothing to do: every row of the source is done\n")
	if calls := server.calls.Load(); calls != 40 {
		t.Errorf("%d calls, want 40", calls)
	}
}

func TestRunInJSONIsOneObject(t *testing.T) {
	t.Parallel()
	w := asking(t, newModelServer(t, nil))
	got := decode[shownRun](t, ends(t, exitDone, "run", "-v", "-o", "json", w.job()).stdout)
	if got.Job != "review_mood" || !got.OK || got.Rows != 40 || got.Committed != 40 || got.Commits != 1 || got.Invocations != 40 ||
		got.InputTokens != 800 || got.OutputTokens != 40 || got.CostUSD != "0.000144000000000000" || !got.CostComplete || got.RunID == "" {
		t.Errorf("got %+v", got)
	}
}

func TestMissingPrivilegesEndBeforeAnyCall(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, nil)
	w := asking(t, server)
	w.edit(t, starterCatalog, "# grants:\n#   - ", "grants:\n  - ")
	for _, command := range []string{"check", "plan", "run", "run -v -o json"} {
		out := ends(t, exitPermission, append(strings.Fields(command), w.job())...)
		contains(t, out.stderr, "GRANT MODIFY ON TABLE main.shop.reviews_mood TO `etl@example.com`;",
			"GRANT MODIFY ON TABLE main.ops.inference_usage TO `etl@example.com`;",
			"GRANT CAN QUERY ON SERVING ENDPOINT mood TO `etl@example.com`;")
		if strings.Contains(out.stderr, "GRANT SELECT") {
			t.Errorf("SELECT is granted already:\n%s", out.stderr)
		}
	}
	if server.calls.Load() != 0 {
		t.Error("the model was asked")
	}
}

func TestAFatalAnswerEndsWithOneAndKeepsTheSecret(t *testing.T) {
	t.Parallel()
	// As the provider does, it repeats the key.
	w := asking(t, newModelServer(t, refusing(http.StatusUnauthorized, "invalid_api_key", "Incorrect API key provided: "+theKey+"\x1b[2J")))
	out := ends(t, exitFailed, "run", "-v", w.job())
	contains(t, out.stderr, "inflow: ", "401", "Incorrect API key provided")
	if strings.Contains(out.stderr, "\x1b") {
		t.Error("a server's control characters reach the terminal")
	}
	got := decode[shownRun](t, ends(t, exitFailed, "run", "-v", "-o", "json", w.job()).stdout)
	if got.OK || got.Committed != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestTheSecretIsInNoOutputOfAWholeJob(t *testing.T) {
	t.Parallel()
	// A row error's text is data: it goes into the tables, so the key must not be in it.
	w := asking(t, newModelServer(t, refusing(http.StatusBadRequest, "content_filter", "not with "+theKey)))
	w.edit(t, starterJob, "fail_above: 5%", "fail_above: 100%")
	for _, line := range []string{"check", "plan", "run -v", "run -v -o json"} {
		ends(t, exitDone, append(strings.Fields(line), w.job())...)
	}
	for _, table := range []string{starterResults, starterUsage} {
		for _, line := range []string{"table show", "table log", "table head -n 40", "table head -n 40 -o json"} {
			ends(t, exitDone, append(strings.Fields(line), w.path(table))...)
		}
	}
	ends(t, exitDone, "usage", w.path(starterUsage))
}

func TestTooManyRowErrorsEndWithFour(t *testing.T) {
	t.Parallel()
	w := asking(t, newModelServer(t, refusing(http.StatusBadRequest, "context_length_exceeded", "too long\x1b[2J")))
	out := ends(t, exitRowErrors, "run", w.job())
	contains(t, out.stdout, " rows  error                    class     for example", "   40  context_length_exceeded  REJECTED")
	contains(t, out.stderr, "too many rows failed", "raise on_error.fail_above, and: inflow run "+w.job())
	if strings.Contains(out.stdout+out.stderr, "\x1b") {
		t.Error("a server's control characters reach the terminal")
	}
	got := decode[shownRun](t, ends(t, exitRowErrors, "run", "-o", "json", w.job()).stdout)
	if got.OK || got.Errors != 40 || got.ErrorsByCode["context_length_exceeded"] != 40 || got.Committed != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestTheBudgetEndsWithFiveAndIsResumed(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, nil)
	w := asking(t, server)
	w.edit(t, starterJob, "# budget_usd: 25", "budget_usd: 0.0001")
	out := ends(t, exitBudget, "run", w.job())
	contains(t, out.stderr, "the budget is used up", "raise limits.budget_usd and: inflow run "+w.job())
	if calls := server.calls.Load(); calls == 0 || calls >= 40 {
		t.Errorf("%d calls within a budget for some", calls)
	}
	w.edit(t, starterJob, "budget_usd: 0.0001", "budget_usd: 25")
	ends(t, exitDone, "run", w.job())
	if calls := server.calls.Load(); calls != 40 {
		t.Errorf("%d calls, want 40: none twice", calls)
	}
}

func TestRowErrorsAreListedTheMostFrequentFirst(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	w := asking(t, newModelServer(t, func(rw http.ResponseWriter, r *http.Request) {
		code := "content_filter"
		if calls.Add(1)%4 == 0 {
			code = "context_length_exceeded"
		}
		refusing(http.StatusBadRequest, code, "no")(rw, r)
	}))
	w.edit(t, starterJob, "fail_above: 5%", "fail_above: 100%")
	out := ends(t, exitDone, "run", w.job()).stdout
	contains(t, out, "review_mood: 40 rows committed · 40 calls", "   30  content_filter ", "   10  context_length_exceeded ")
	if strings.Index(out, "content_filter") > strings.Index(out, "context_length_exceeded") {
		t.Errorf("the rarer error comes first:\n%s", out)
	}
}

func TestSecretThatIsNotSetEndsWithTwo(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, nil)
	w := asking(t, server)
	w.edit(t, starterCatalog, "{env: OPENAI_API_KEY}", "{env: OPENAI_KEY}")
	contains(t, ends(t, exitUsage, "run", w.job()).stderr, "OPENAI_KEY is not set", "export OPENAI_KEY=")
	if server.calls.Load() != 0 {
		t.Error("the model was asked")
	}
}
