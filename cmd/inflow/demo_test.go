package main

import (
	"strings"
	"testing"
)

func TestDemoTakesNewRowsOnly(t *testing.T) {
	t.Parallel()
	w := workspace{t.TempDir()}
	golden(t, w.dir, ends(t, exitDone, "demo", "--dir", w.dir).stdout, `A Delta table of product reviews: DIR/data/reviews

review_mood: 40 rows committed · 40 calls · 375 tokens in, 40 out · $0.00 · TOOK

Rows and answers:

 review_id  body                                              response
─
         1  Boils in two minutes and pours without a drip. …  positive
         2  The lid broke after a week and nobody answers m…  negative
         3  It is a kettle. It heats water.                   neutral
         4  Whistles so loudly that the dog hides; otherwis…  positive
         5  Arrived with a dent, was replaced the next day.…  positive
         6  The light is warm and lovely, best purchase thi…  positive
         7  Flickers. Returned it, and the second one flick…  negative
         8  The cable is two metres long.                     neutral
         9  Looks cheap and feels cheap, and the switch is …  negative
        10  My daughter reads under it every evening and ad…  positive

What it took, from the audit table:

 day         endpoint  model      status  calls  tokens  tokens  dollars
                                                     in     out
─
 2026-11-24  mood      sentiment     200     40     375      40    $0.00

`+next(w.dir))
	second := ends(t, exitDone, "demo", "--dir", w.dir)
	contains(t, second.stdout, "The demo ran before: some new reviews have arrived",
		"review_mood: 8 rows committed · 8 calls", "48     444      48")
	if lines := strings.Count(second.stderr, "\n"); lines != strings.Count(second.stderr, "msg=committed") {
		t.Errorf("stderr holds more than the commits:\n%s", second.stderr)
	}
	if rows := w.rows(t, starterResults); len(rows) != 48 {
		t.Errorf("%d rows, want 48", len(rows))
	}
	contains(t, ends(t, exitDone, "run", w.job()).stdout, "nothing to do")
}

// next is what a demo suggests, with the column of reasons where the longest command ends.
func next(dir string) string {
	commands := [][2]string{
		{"run DIR/job.yaml", "nothing new, so nothing is asked"},
		{"demo --dir DIR", "more reviews arrive, only those are asked"},
		{"table head DIR/out/reviews_mood", "the results"},
		{"usage DIR/out/inference_usage", "what was asked and what it cost"},
		{"init mine", "a job of your own to begin with"},
	}
	var out strings.Builder
	for i, each := range commands {
		lead := "      "
		if i == 0 {
			lead = "Next: "
		}
		length := len(strings.ReplaceAll(each[0], "DIR", dir))
		longest := len(strings.ReplaceAll(commands[2][0], "DIR", dir))
		out.WriteString(lead + "inflow " + each[0] + strings.Repeat(" ", longest-length+2) + each[1] + "\n")
	}
	return out.String()
}

func TestDemoInJSONIsOneObject(t *testing.T) {
	t.Parallel()
	w := workspace{t.TempDir()}
	for _, want := range []int{40, 8} {
		got := decode[struct {
			Folder string
			Run    struct {
				OK        bool
				Committed int
			}
			Rows  []map[string]any
			Usage []map[string]any
		}](t, ends(t, exitDone, "demo", "--dir", w.dir, "-o", "json").stdout)
		if got.Folder != w.dir || !got.Run.OK || got.Run.Committed != want || len(got.Rows) != demoHead || len(got.Usage) != 1 {
			t.Errorf("got %+v", got)
		}
	}
}

func TestDemoAsksNobodyOutside(t *testing.T) {
	t.Parallel()
	server := newModelServer(t, nil)
	w := asking(t, server)
	out := ends(t, exitUsage, "demo", "--dir", w.dir)
	contains(t, out.stderr, "asks gpt-4o-mini at openai: it is no demo any more", "inflow run "+w.job())
	if server.calls.Load() != 0 {
		t.Error("it was asked all the same")
	}
	if rows := w.rows(t, starterTable); len(rows) != 40 {
		t.Errorf("the source has now %d rows", len(rows))
	}
}
