package main

import (
	"math"
	"strings"
	"testing"
)

func TestTableShow(t *testing.T) {
	t.Parallel()
	w := started(t)
	ends(t, exitDone, "run", w.job())
	out := ends(t, exitDone, "table", "show", w.path(starterResults)).stdout
	contains(t, out, w.path(starterResults)+" · version 0 · 40 rows in 1 file, ", " review_id  BIGINT\n", " response   STRING\n",
		" review_mood/0/row          40\n", " review_mood/0/version       0\n")
	got := decode[shownTable](t, ends(t, exitDone, "table", "show", "-o", "json", w.path(starterResults)).stdout)
	if got.Version != 0 || got.Rows != 40 || got.Files != 1 || len(got.Columns) != 6 || len(got.Transactions) != 3 {
		t.Errorf("got %+v", got)
	}
}

func TestTableLogIsNewestFirst(t *testing.T) {
	t.Parallel()
	w := workspace{t.TempDir()}
	ends(t, exitDone, "demo", "--dir", w.dir)
	ends(t, exitDone, "demo", "--dir", w.dir)
	golden(t, w.dir, ends(t, exitDone, "table", "log", w.path(starterTable)).stdout,
		` version  time                  operation  rows  files +  files -  writer  marks
─
       1  TIME  WRITE         8        1        0  inflow  load/0/reviews-0000.jsonl=40 load/0/reviews-0001.jsonl=8
       0  TIME  WRITE        40        1        0  inflow  load/0/reviews-0000.jsonl=40
`)
	got := decode[[]shownCommit](t, ends(t, exitDone, "table", "log", "-n", "1", "-o", "json", w.path(starterTable)).stdout)
	if len(got) != 1 || got[0].Version != 1 || got[0].RowsAdded != 8 || len(got[0].Transactions) != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestTableHeadTakesColumnsInTheirOrder(t *testing.T) {
	t.Parallel()
	w := started(t)
	golden(t, w.dir, ends(t, exitDone, "table", "head", "-n", "2", "-c", "product,review_id", w.path(starterTable)).stdout,
		" product  review_id\n─\n kettle           1\n kettle           2\n")
	golden(t, w.dir, ends(t, exitDone, "table", "head", "-n", "1", "-c", "product,review_id", "-o", "json", w.path(starterTable)).stdout,
		"[\n  {\n    \"product\": \"kettle\",\n    \"review_id\": 1\n  }\n]\n")
	if rows := w.rows(t, starterTable); len(rows) != 40 {
		t.Errorf("%d rows, want 40", len(rows))
	}
	contains(t, ends(t, exitUsage, "table", "head", "-c", "bdy", w.path(starterTable)).stderr, `no column "bdy"`, "body, product, review_id")
}

func TestAnObjectHoldsWhatJSONHasNoNumberFor(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	value := object{
		{"b", math.NaN()}, {"a", []any{math.Inf(1), 1.5, map[string]any{"x": math.Inf(-1)}}}, {"c", "1 < 2 & 3"},
	}
	if err := encodeJSON(&out, value, ""); err != nil {
		t.Fatal(err)
	}
	if want := `{"b":"NaN","a":["+Inf",1.5,{"x":"-Inf"}],"c":"1 < 2 & 3"}` + "\n"; out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}
