package filters_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/pipeline/filters"
)

func schema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "status", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "age", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		{Name: "score", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "seen", Type: arrow.FixedWidthTypes.Timestamp_us, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
		{Name: "flag", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	}, nil)
}

func TestKeep(t *testing.T) {
	t.Parallel()
	full := `{"status": "open", "age": 5, "score": 0.5, "seen": "2026-01-02 03:04:05", "tags": ["a"], "flag": true}`
	empty := `{}`
	cases := []struct {
		where, row string
		keep       bool
	}{
		{"status == 'open'", full, true},
		{"status == 'closed'", full, false},
		{"status == 'open'", empty, false},
		{"status != 'open'", empty, true}, // NULL is not 'open' in CEL
		{"status.startsWith('op') && age > 3", full, true},
		{"age > 3", empty, false},
		{"score >= 0.5 || age > 100", full, true},
		{"age > 4.5", full, true},
		{"seen > timestamp('2025-12-31T00:00:00Z')", full, true},
		{"seen > timestamp('2026-12-31T00:00:00Z')", full, false},
		{"'a' in tags", full, true},
		{"size(status) == 4", full, true},
		{"flag", full, true},
		{"status == null", empty, true},
		{"status != null", full, true},
	}
	for _, c := range cases {
		t.Run(c.where, func(t *testing.T) {
			t.Parallel()
			filter, err := filters.Parse(c.where, schema())
			if err != nil {
				t.Fatal(err)
			}
			record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema(), strings.NewReader("["+c.row+"]"))
			if err != nil {
				t.Fatal(err)
			}
			defer record.Release()
			if keep, err := filter.Keep(record, 0); err != nil || keep != c.keep {
				t.Errorf("got %v, %v", keep, err)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for where, want := range map[string]string{
		"status ==":        "Syntax error",
		"nobody == 'x'":    "undeclared reference to 'nobody'",
		"status > 3":       "no matching overload",
		"status":           "must be true or false",
		"age.contains('')": "no matching overload",
	} {
		if _, err := filters.Parse(where, schema()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", where, err)
		}
	}
	if filter, err := filters.Parse("", schema()); filter != nil || err != nil {
		t.Errorf("an empty condition: %v, %v", filter, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"status == 'open'", "age > ", "[1,2].all(x, x > age)", "size(tags) > 0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, where string) {
		filter, err := filters.Parse(where, schema())
		if err != nil || filter == nil {
			return
		}
		record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema(), strings.NewReader(`[{"age": 5}]`))
		if err != nil {
			t.Fatal(err)
		}
		defer record.Release()
		_, _ = filter.Keep(record, 0) // an error is fine, a panic is not
	})
}
