package delta

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

func sink(t *testing.T, st store.Store, prefix string) *Sink {
	t.Helper()
	opened, err := NewSink(t.Context(), st, SinkOptions{Prefix: prefix, Schema: idsSchema()})
	must(t, err)
	return opened
}

// commit seals an epoch and commits it.
func commit(ctx context.Context, s *Sink, from, to schemas.Marks, about *schemas.Epoch) error {
	sealed, err := s.Seal(ctx)
	if err != nil {
		return err
	}
	return sealed(ctx, from, to, about)
}

func write(t *testing.T, s *Sink, first, last int64) {
	t.Helper()
	record := ids(first, last)
	defer record.Release()
	must(t, s.Write(t.Context(), record))
}

func count(t *testing.T, st store.Store) int {
	t.Helper()
	rows, err := rowsOf(t.Context(), open(t, st), ScanOptions{})
	must(t, err)
	slices.Sort(rows)
	equal(t, len(slices.Compact(slices.Clone(rows))), len(rows))
	return len(rows)
}

func TestSinkEpochs(t *testing.T) {
	t.Parallel()
	st := local(t)
	s := sink(t, st, "job/0/")
	marks, err := s.Marks(t.Context())
	must(t, err)
	equal(t, len(marks), 0)
	must(t, s.Check(t.Context()))
	equal(t, len(listNames(t, st, "")), 0)

	for i := range int64(25) {
		write(t, s, 2*i, 2*i+1)
		write(t, s, 2*i+1, 2*i+2)
		next := schemas.Marks{"row": 2*i + 2, "version": 7}
		must(t, commit(t.Context(), s, marks, next, nil))
		marks = next
	}
	must(t, commit(t.Context(), s, marks, marks, nil)) // nothing to say
	must(t, commit(t.Context(), s, marks, schemas.Marks{"row": 0, "version": 8}, nil))
	write(t, s, 1000, 1001)
	must(t, s.Close(t.Context()))
	must(t, s.Close(t.Context()))

	equal(t, count(t, st), 50)
	equal(t, len(listNames(t, st, ".parquet")), 25)
	equal(t, open(t, st).Version(), 25) // the table was made by its first epoch
	got, err := sink(t, st, "job/0/").Marks(t.Context())
	must(t, err)
	equal(t, got.String(), "row=0 version=8")
	none, err := sink(t, st, "job/1/").Marks(t.Context())
	must(t, err)
	equal(t, len(none), 0)
}

// Two runs of one job: whoever commits second from the same marks is refused, and nothing of it is visible.
func TestSinkFences(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, st store.Store){
		"a new table":    func(*testing.T, store.Store) {},
		"an older table": func(t *testing.T, st store.Store) { t.Helper(); appendRows(t, st, ids(900, 901)) },
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := local(t)
			prepare(t, st)
			a, b, other := sink(t, st, "job/0/"), sink(t, st, "job/0/"), sink(t, st, "job/1/")
			write(t, a, 0, 5)
			write(t, b, 0, 5)
			write(t, other, 10, 15)
			must(t, commit(t.Context(), a, nil, schemas.Marks{"row": 5}, nil))
			before := count(t, st)
			err := commit(t.Context(), b, nil, schemas.Marks{"row": 5}, nil)
			equal(t, errors.Is(err, schemas.ErrFenced), true)
			equal(t, count(t, st), before)
			must(t, commit(t.Context(), other, nil, schemas.Marks{"row": 5}, nil)) // it shares the table, not the marks
			equal(t, count(t, st), before+5)

			// The second run sees where things stand and takes over.
			marks, err := b.Marks(t.Context())
			must(t, err)
			equal(t, marks.String(), "row=5")
			write(t, b, 5, 6)
			must(t, commit(t.Context(), b, marks, schemas.Marks{"row": 6}, nil))
			write(t, a, 5, 6)
			err = commit(t.Context(), a, marks, schemas.Marks{"row": 6}, nil)
			equal(t, errors.Is(err, schemas.ErrFenced), true)
			equal(t, count(t, st), before+6)
			equal(t, len(listNames(t, st, ".parquet")), len(open(t, st).Files()))
		})
	}
}

// Marks that are not the table's are refused also where nobody else is about.
func TestSinkRefusesOtherMarks(t *testing.T) {
	t.Parallel()
	st := local(t)
	s := sink(t, st, "j/")
	for _, from := range []schemas.Marks{{"row": 1}, nil, {"row": 3}, {"row": 2, "more": 1}} {
		write(t, s, 0, 1)
		to := schemas.Marks{"row": 2}
		if from["more"] > 0 {
			to["more"] = 1 // a mark that the table has not got
		}
		err := commit(t.Context(), s, from, to, nil)
		if from == nil {
			must(t, err)
			continue
		}
		equal(t, errors.Is(err, schemas.ErrFenced), true)
	}
	equal(t, count(t, st), 1)
	equal(t, len(listNames(t, st, ".parquet")), 1)
}

// A sink whose knowledge is old may commit from marks that it has not seen itself.
func TestSinkCatchesUp(t *testing.T) {
	t.Parallel()
	st := local(t)
	a, b := sink(t, st, "j/"), sink(t, st, "j/")
	write(t, a, 0, 1)
	must(t, commit(t.Context(), a, nil, schemas.Marks{"row": 1}, nil))
	write(t, b, 1, 2)
	must(t, commit(t.Context(), b, schemas.Marks{"row": 1}, schemas.Marks{"row": 2}, nil))
	equal(t, count(t, st), 2)
}

func TestSinkColumns(t *testing.T) {
	t.Parallel()
	nullable := func(name string, dataType arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: dataType, Nullable: true}
	}
	cases := []struct {
		name   string
		fields []arrow.Field
		says   []string
	}{
		{"the same in another order and case", []arrow.Field{nullable("TEXT", arrow.BinaryTypes.String), nullable("id", arrow.PrimitiveTypes.Int64)}, nil},
		{"fewer", []arrow.Field{nullable("id", arrow.PrimitiveTypes.Int64)}, nil},
		{"others", []arrow.Field{nullable("id", arrow.BinaryTypes.String), nullable("more", arrow.PrimitiveTypes.Float64)}, []string{"id is BIGINT in the table, STRING is to be written", "more DOUBLE is not in the table", "drop this one"}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := local(t)
			appendRows(t, st, ids(0, 1))
			s, err := NewSink(t.Context(), st, SinkOptions{Prefix: "p/", Schema: arrow.NewSchema(test.fields, nil)})
			if test.says != nil {
				contains(t, err, test.says...)
				equal(t, errors.Is(err, schemas.ErrInvalid), true)
				return
			}
			must(t, err)
			record := fromJSON(t, arrow.NewSchema(test.fields, nil), `[{"id":7,"TEXT":null}]`)
			defer record.Release()
			must(t, s.Write(t.Context(), record))
			must(t, commit(t.Context(), s, nil, schemas.Marks{"row": 1}, nil))
			rows, err := rowsOf(t.Context(), open(t, st), ScanOptions{})
			must(t, err)
			slices.Sort(rows)
			equal(t, strings.Join(rows, " "), `{"id":0,"text":"row 0"} {"id":7,"text":null}`)
		})
	}
}

// A sink that slept through a log cleanup must not put its rows into a version of the past.
func TestSinkOutrunByCleanup(t *testing.T) {
	t.Parallel()
	st := local(t)
	s := sink(t, st, "p/")
	write(t, s, 0, 1)
	must(t, commit(t.Context(), s, nil, schemas.Marks{"row": 1}, nil))
	write(t, s, 1, 2)
	for i := range int64(11) {
		appendRows(t, st, ids(100+i, 101+i))
	}
	for version := range int64(10) {
		must(t, st.Delete(t.Context(), commitName(version)))
	}
	s.base.seen, s.open.base.seen = time.Time{}, time.Time{}
	contains(t, commit(t.Context(), s, schemas.Marks{"row": 1}, schemas.Marks{"row": 2}, nil), "cleaned up past")
	write(t, s, 1, 2)
	must(t, commit(t.Context(), s, schemas.Marks{"row": 1}, schemas.Marks{"row": 2}, nil))
	equal(t, count(t, st), 13)
	equal(t, open(t, st).Version(), 12)
}

// A sink that found no table, and slept while one was made and its log cleaned, must not make version 0 anew.
func TestSinkOutrunBeforeItsTable(t *testing.T) {
	t.Parallel()
	st := local(t)
	s := sink(t, st, "p/")
	write(t, s, 0, 1)
	cleanedTable(t, st)
	s.open.base.seen = time.Time{}
	contains(t, commit(t.Context(), s, nil, schemas.Marks{"row": 1}, nil), "cleaned up past")
	equal(t, count(t, st), 12)
	write(t, s, 0, 1)
	must(t, commit(t.Context(), s, nil, schemas.Marks{"row": 1}, nil))
	equal(t, open(t, st).Version(), 12)
	equal(t, count(t, st), 13)
}

// cleanedTable is at version 11; its log begins at 10.
func cleanedTable(t *testing.T, st store.Store) {
	t.Helper()
	for i := range int64(12) {
		appendRows(t, st, ids(100+i, 101+i))
	}
	for version := range int64(10) {
		must(t, st.Delete(t.Context(), commitName(version)))
	}
}

// Someone changed the table's columns while the sink ran: the epoch fails whole, and the next one sees it.
func TestSinkMeetsNewColumns(t *testing.T) {
	t.Parallel()
	st := local(t)
	s := sink(t, st, "p/")
	write(t, s, 0, 1)
	must(t, commit(t.Context(), s, nil, schemas.Marks{"row": 1}, nil))
	write(t, s, 1, 2)
	logOf(t, st, 1, []string{sparkCommit, idMetadata})
	err := commit(t.Context(), s, schemas.Marks{"row": 1}, schemas.Marks{"row": 2}, nil)
	equal(t, changed("metaData")(err), true)
	record := ids(1, 2)
	defer record.Release()
	contains(t, s.Write(t.Context(), record), "text STRING is not in the table")
	contains(t, s.Check(t.Context()), "text STRING is not in the table")
}
