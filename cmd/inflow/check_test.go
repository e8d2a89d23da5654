package main

import (
	"strings"
	"testing"
)

func TestCheckShowsEverythingThatIsRight(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, nil)
	w := asking(t, server)
	out := ends(t, exitDone, "check", w.job()).stdout
	rows := [][]string{
		{"job file", "DIR/job.yaml: review_mood"},
		{"catalog", "DIR/catalog.yaml"},
		{"privilege", "SELECT on main.shop.reviews for etl@example.com"},
		{"privilege", "MODIFY on main.shop.reviews_mood for etl@example.com"},
		{"privilege", "MODIFY on main.ops.inference_usage for etl@example.com"},
		{"privilege", "CAN QUERY on mood for etl@example.com"},
		{"source", "main.shop.reviews: 40 rows, 0 of them done"},
		{"endpoint", "mood: gpt-4o-mini at openai, 100% of the traffic"},
		{"request", "messages, key, condition, parameters fit the source's columns and the endpoint"},
		{"results", "main.shop.reviews_mood: the schema fits, it can be written"},
		{"usage", "main.ops.inference_usage: the schema fits, it can be written"},
	}
	lines := strings.Split(out, "\n")[2:]
	for i, row := range rows {
		line := strings.TrimSpace(strings.ReplaceAll(lines[i], w.dir, "DIR"))
		if !strings.HasPrefix(line, row[0]) || !strings.Contains(line, "  "+row[1]+"  ") || !strings.HasSuffix(line, "  ok") {
			t.Errorf("line %d is %q, want %q", i, line, row)
		}
	}
	contains(t, out, "\nNext: inflow plan "+w.job())

	got := decode[checked](t, ends(t, exitDone, "check", "-o", "json", w.job()).stdout)
	if got.Job != "review_mood" || !got.OK || got.Principal != "etl@example.com" || len(got.Checks) != len(rows) {
		t.Errorf("got %+v", got)
	}
	for i, each := range got.Checks {
		if each.What != rows[i][0] || strings.ReplaceAll(each.Found, w.dir, "DIR") != rows[i][1] || !each.OK {
			t.Errorf("check %d is %+v, want %q", i, each, rows[i])
		}
	}
	if server.calls.Load() != 0 {
		t.Error("check asked the model")
	}
}

func TestCheckOfFilesNamesNoPrivilegeForThem(t *testing.T) {
	t.Parallel()
	w := started(t)
	w.edit(t, starterJob, "delta: main.shop.reviews ", "files: data/*.jsonl ")
	w.edit(t, starterJob, "{delta: main.shop.reviews_mood}", "{files: out/parquet}")
	w.edit(t, starterJob, "audit: {usage: main.ops.inference_usage}", "")
	out := ends(t, exitDone, "check", w.job()).stdout
	contains(t, out, "DIR/data/*.jsonl: it can be read"[3:], "out/parquet: the schema fits")
	if n := strings.Count(out, "privilege "); n != 1 {
		t.Errorf("%d privileges, want the endpoint's alone:\n%s", n, out)
	}
}

func TestCheckReportsEveryFaultAtItsPlace(t *testing.T) {
	t.Parallel()
	w := started(t)
	w.edit(t, starterJob, "key: [review_id]", "key: [reviewid]")
	w.edit(t, starterJob, "{{ body }}", "{{ bdy }}")
	for _, command := range []string{"check", "plan", "run"} {
		out := ends(t, exitUsage, command, w.job())
		contains(t, out.stderr, "job.yaml:", "`reviewid`", "`review_id`", "bdy", "`body`")
		if out.stdout != "" {
			t.Errorf("%s prints %q", command, out.stdout)
		}
		failed := decode[struct {
			Error string `json:"error"`
			Code  int    `json:"exit_code"`
		}](t, ends(t, exitUsage, command, "-o", "json", w.job()).stderr)
		contains(t, failed.Error, "`reviewid`")
		if failed.Code != exitUsage {
			t.Errorf("exit_code is %d", failed.Code)
		}
	}
}
