//go:build integration

package integration

import (
	"slices"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/integration/modelserver/chatserver"
)

// rssLimit bounds the binary's memory in every case, an answer of 10 GB included.
const rssLimit = 400 << 20

// faultCase is a broken provider and what becomes of the rows.
type faultCase struct {
	fault    chatserver.Fault
	share    string   // of the calls
	always   bool     // every attempt is struck, not only the first
	args     []string // of the model server
	rows     int
	code     int    // exit
	failed   bool   // the rows that were struck hold an error; otherwise they are right
	class    string // of the errors; empty: not looked at
	says     string // on stderr
	retries  int
	failOver string // on_error.fail_above; default 100%
}

func faultCases() map[string]faultCase {
	return map[string]faultCase{
		"429 with Retry-After":       {fault: chatserver.Throttle, share: "0.1", rows: 60},
		"429 without Retry-After":    {fault: chatserver.ThrottleSilent, share: "0.1", rows: 60},
		"500 once":                   {fault: chatserver.ServerError, share: "0.3", rows: 60},
		"503 once":                   {fault: chatserver.Unavailable, share: "0.3", rows: 60},
		"reset before the headers":   {fault: chatserver.ResetHeaders, share: "0.3", rows: 60},
		"reset in the body":          {fault: chatserver.ResetBody, share: "0.3", rows: 60},
		"truncated JSON":             {fault: chatserver.TruncatedJSON, share: "0.3", rows: 60},
		"a login page with 200":      {fault: chatserver.HTML, share: "0.3", rows: 60},
		"an empty body":              {fault: chatserver.EmptyBody, share: "0.3", rows: 60},
		"no choices":                 {fault: chatserver.NoChoices, share: "0.3", rows: 60},
		"hang":                       {fault: chatserver.Hang, share: "0.2", rows: 40},
		"10 GB":                      {fault: chatserver.Huge, share: "0.1", rows: 40},
		"10 GB always":               {fault: chatserver.Huge, share: "0.4", rows: 40, always: true, failed: true, retries: 1},
		"500 always":                 {fault: chatserver.ServerError, share: "0.7", rows: 60, always: true, failed: true, class: "TRANSIENT", retries: 2},
		"resets always":              {fault: chatserver.ResetHeaders, share: "0.7", rows: 60, always: true, failed: true, class: "AMBIGUOUS", retries: 2},
		"hang always":                {fault: chatserver.Hang, share: "0.2", rows: 20, always: true, failed: true, class: "AMBIGUOUS", retries: 1},
		"login pages always":         {fault: chatserver.HTML, share: "0.3", rows: 60, always: true, failed: true, retries: 1},
		"context length":             {fault: chatserver.ContextLength, share: "0.3", rows: 60, always: true, failed: true, class: "REJECTED"},
		"content filter":             {fault: chatserver.ContentFilter, share: "0.3", rows: 60, always: true, failed: true, class: "REJECTED"},
		"too many errors":            {fault: chatserver.ContextLength, share: "0.5", rows: 400, always: true, code: 4, failOver: "5%", says: "fail_above"},
		"the key is not accepted":    {fault: chatserver.Unauthorised, share: "1", rows: 20, always: true, code: 1, says: "openai_api_key"},
		"the server's own rate wall": {args: []string{"-requests-per-minute", "40"}, rows: 45},
	}
}

// TestFaults meets the binary with every fault of the model server. Whatever happens, each row comes out once,
// right or with its error, the bill agrees with the server's, and memory stays bounded.
func TestFaults(t *testing.T) {
	t.Parallel()
	covered := map[chatserver.Fault]bool{}
	for name, test := range faultCases() {
		covered[test.fault] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testFault(t, &test)
		})
	}
	for _, fault := range chatserver.Faults() {
		if !covered[fault] {
			t.Errorf("fault %s is not met by any case", fault)
		}
	}
}

func testFault(t *testing.T, test *faultCase) {
	t.Helper()
	const seed = 7
	args := slices.Clone(test.args)
	var schedule chatserver.Schedule
	if test.fault != "" {
		attempts, flag := 1, "1"
		if test.always {
			attempts, flag = 0, "0"
		}
		rule := string(test.fault) + ":" + test.share
		var err error
		if schedule, err = chatserver.ParseSchedule(rule, attempts); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-faults", rule, "-fault-attempts", flag, "-seed", "7")
	}
	server := startModelServer(t, args...)
	w := newWorkspace(t, "id", served(server.url))
	if test.fault == chatserver.Hang {
		w.set("1s", "request", "timeout")
	}
	failAbove, retries := test.failOver, test.retries
	if failAbove == "" {
		failAbove = "100%"
	}
	if retries == 0 {
		retries = 5
	}
	w.set(map[string]any{"retries": retries, "fail_above": failAbove}, "on_error")
	w.save(t)
	w.rows(t, 0, test.rows, 1)

	got := w.run(t, "run", "job.yaml")
	if got.code != test.code || !strings.Contains(got.stderr, test.says) {
		t.Fatalf("exit %d, want %d and %q on stderr:\n%s", got.code, test.code, test.says, got.stderr)
	}
	if got.peakRSS > rssLimit {
		t.Errorf("peak memory is %d MB, want at most %d MB", got.peakRSS>>20, rssLimit>>20)
	}
	if strings.Contains(got.stdout+got.stderr, "secret-of-the-test") {
		t.Error("the API key is in the output")
	}
	checkBill(t, w.usage(t), server.calls(t))
	if test.code != 0 {
		return // nothing more is promised about the rows
	}
	rows := w.results(t)
	struck := 0
	for i := range rows {
		row := &rows[i]
		if schedule.Strikes(seed, row.ID.String(), 1) == "" || !test.failed {
			if row.Error != nil {
				t.Errorf("id %s holds the error %+v", row.ID, *row.Error)
			}
			continue
		}
		// A fault of every attempt draws anew for each: a retry may have been luckier.
		if row.Error == nil {
			continue
		}
		struck++
		if test.class != "" && row.Error.Class != test.class {
			t.Errorf("id %s has the error class %s, want %s: %+v", row.ID, row.Error.Class, test.class, *row.Error)
		}
		if row.Error.Code == "" || row.Error.Message == "" {
			t.Errorf("id %s has an error that says nothing: %+v", row.ID, *row.Error)
		}
	}
	checkExactlyOnce(t, rows, test.rows)
	if test.failed && struck == 0 {
		t.Error("no row was struck by the fault: the case shows nothing")
	}
}
