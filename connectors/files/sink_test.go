package files

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/parquet/file"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/storetest"
	"github.com/inflowhq/inflow/schemas"
)

func sink(st store.Store, prefix string) *Sink {
	return NewSink(SinkOptions{Store: st, Prefix: prefix, Schema: idsSchema()})
}

func write(t *testing.T, s *Sink, first, last int) {
	t.Helper()
	record := ids(t, first, last)
	defer record.Release()
	must(t, s.Write(t.Context(), record))
}

func marksOf(t *testing.T, s *Sink) string {
	t.Helper()
	marks, err := s.Marks(t.Context())
	must(t, err)
	return marks.String()
}

// written are the rows that a reader of the folder sees.
func written(t *testing.T, st store.Store) []string {
	t.Helper()
	if !strings.Contains(names(t, st), partPrefix) {
		return nil
	}
	return read(t, open(t, st, SourceOptions{Patterns: []string{"*.parquet"}}), nil)
}

func TestSinkEpochs(t *testing.T) {
	t.Parallel()
	st := folder(t)
	s := sink(st, "job/0/")
	marks, err := s.Marks(t.Context())
	must(t, err)
	if marks != nil {
		t.Fatalf("marks %v before the first commit", marks)
	}
	for i := range 12 {
		write(t, s, 3*i, 3*i+1)
		write(t, s, 3*i+1, 3*i+3)
		equal(t, len(written(t, st)), 3*i) // not yet
		equal(t, marksOf(t, s), marks.String())
		next := schemas.Marks{"data/ä 1.jsonl": int64(3*i + 3), "b": 7}
		must(t, s.Commit(t.Context(), marks, next, nil))
		marks = next
		equal(t, len(written(t, st)), 3*i+3)
		equal(t, marksOf(t, sink(st, "job/0/")), marks.String())
	}
	before := names(t, st)
	must(t, s.Commit(t.Context(), marks, marks, nil)) // nothing to say
	equal(t, names(t, st), before)
	write(t, s, 1000, 1001)
	must(t, s.Close(t.Context()))
	must(t, s.Close(t.Context()))
	equal(t, names(t, st), before)

	empty := schemas.Marks{"data/ä 1.jsonl": 99, "b": 7} // all rows were filtered out
	must(t, s.Commit(t.Context(), marks, empty, nil))
	equal(t, marksOf(t, sink(st, "job/0/")), empty.String())
	rows := written(t, st)
	equal(t, len(rows), 36)
	equal(t, rows[35], `part-00000000000000000012.parquet 2 {"id":35,"text":"row 35"}`)
	equal(t, strings.Count(names(t, st), " ")+1, 13)
}

// The jobs of one folder keep their marks apart, and every file holds all of them.
func TestSinkPrefixes(t *testing.T) {
	t.Parallel()
	st := folder(t)
	a, b := sink(st, "a/0/"), sink(st, "b/0/")
	write(t, a, 0, 1)
	must(t, a.Commit(t.Context(), nil, schemas.Marks{"x": 1}, nil))
	write(t, b, 1, 2)
	must(t, b.Commit(t.Context(), nil, schemas.Marks{"x": 5, "y": 6}, nil))
	write(t, a, 2, 3)
	must(t, a.Commit(t.Context(), schemas.Marks{"x": 1}, schemas.Marks{"x": 2}, nil))
	must(t, b.Commit(t.Context(), schemas.Marks{"x": 5, "y": 6}, schemas.Marks{"x": 6}, nil)) // y stays
	equal(t, marksOf(t, a), "x=2")
	equal(t, marksOf(t, b), "x=6 y=6")
	equal(t, marksOf(t, sink(st, "c/0/")), "the start")
	equal(t, len(written(t, st)), 3)
}

// Two runs of one job: whoever commits second from the same marks is refused, nothing of it is visible, and it
// can go on from the new marks.
func TestSinkFences(t *testing.T) {
	t.Parallel()
	one := schemas.Marks{"x": 1}
	for name, c := range map[string]struct {
		prefix string
		rows   bool
		says   string
	}{
		"rows":              {"job/0/", true, "the folder is at x=1, this run continues from the start"},
		"marks alone":       {"job/0/", false, "the folder is at x=1, this run continues from the start"},
		"rows of other job": {"other/0/", true, "another run writes to this folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := folder(t)
			winner, loser := sink(st, "job/0/"), sink(st, c.prefix)
			if c.rows {
				write(t, loser, 10, 12)
			}
			write(t, winner, 0, 1)
			must(t, winner.Commit(t.Context(), nil, one, nil))
			err := loser.Commit(t.Context(), nil, schemas.Marks{"x": 2}, nil)
			contains(t, err, c.says)
			if !errors.Is(err, schemas.ErrFenced) {
				t.Fatalf("%v is not schemas.ErrFenced", err)
			}
			equal(t, len(written(t, st)), 1)
			from, err := loser.Marks(t.Context())
			must(t, err)
			write(t, loser, 10, 12)
			must(t, loser.Commit(t.Context(), from, schemas.Marks{"x": 2}, nil))
			equal(t, len(written(t, st)), 3)
			// A zombie that comes back with old marks is refused too.
			write(t, winner, 20, 21)
			if err := winner.Commit(t.Context(), nil, schemas.Marks{"x": 9}, nil); !errors.Is(err, schemas.ErrFenced) {
				t.Fatalf("a zombie got %v", err)
			}
			equal(t, len(written(t, st)), 3)
		})
	}
}

// late is a store in which another run commits just before this one takes its name.
type late struct {
	store.Store
	before func()
}

func (l *late) Create(ctx context.Context, name string) (store.Writer, error) {
	writer, err := l.Store.Create(ctx, name)
	return lateWriter{writer, l}, err
}

type lateWriter struct {
	store.Writer
	late *late
}

func (w lateWriter) CommitIfAbsent(ctx context.Context) error {
	w.late.before()
	return w.Writer.CommitIfAbsent(ctx)
}

func TestSinkFencesAtTheLastMoment(t *testing.T) {
	t.Parallel()
	st := folder(t)
	winner := sink(st, "job/0/")
	write(t, winner, 0, 1)
	loser := sink(&late{st, func() { must(t, winner.Commit(t.Context(), nil, schemas.Marks{"x": 1}, nil)) }}, "job/0/")
	write(t, loser, 10, 12)
	err := loser.Commit(t.Context(), nil, schemas.Marks{"x": 2}, nil)
	contains(t, err, "part-00000000000000000001.parquet", "another run was faster")
	if !errors.Is(err, schemas.ErrFenced) {
		t.Fatalf("%v is not schemas.ErrFenced", err)
	}
	equal(t, len(written(t, st)), 1)
	equal(t, marksOf(t, loser), "x=1")
}

// A run that was killed leaves a temporary file. Nobody sees it, and the next run goes on from the marks.
func TestSinkResumesAfterACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st := store.NewLocal(dir)
	s := sink(st, "job/0/")
	write(t, s, 0, 2)
	must(t, s.Commit(t.Context(), nil, schemas.Marks{"x": 2}, nil))
	killed := sink(st, "job/0/")
	write(t, killed, 2, 4)
	defer func() { must(t, killed.Close(t.Context())) }() // long after
	must(t, os.WriteFile(filepath.Join(dir, ".tmp-part-00000000000000000002.parquet"), []byte("PAR1 half"), 0o600))
	for _, stranger := range []string{"part-2.parquet", "part-00000000000000000009.parquet.crc", "part-+0000000000000000009.parquet", "part-0000000000000000000x.parquet"} {
		put(t, st, stranger, "no part of the sink")
		_, ours := partNumber(stranger)
		equal(t, ours, false)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	equal(t, len(entries), 7)

	next := sink(st, "job/0/")
	must(t, next.Check(t.Context()))
	equal(t, marksOf(t, next), "x=2")
	write(t, next, 2, 3)
	must(t, next.Commit(t.Context(), schemas.Marks{"x": 2}, schemas.Marks{"x": 3}, nil))
	parts := read(t, open(t, st, SourceOptions{Patterns: []string{"part-" + strings.Repeat("[0-9]", 20) + ".parquet"}}), nil)
	equal(t, len(parts), 3)
}

func TestSinkChecks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st := store.NewLocal(dir)
	must(t, sink(st, "job/0/").Check(t.Context()))
	s := sink(st, "job/0/")
	write(t, s, 0, 1)
	must(t, s.Commit(t.Context(), nil, schemas.Marks{"x": 1}, nil))
	must(t, s.Check(t.Context()))
	entries, err := os.ReadDir(dir)
	must(t, err)
	equal(t, len(entries), 1) // the part alone, no hidden file either

	other := NewSink(SinkOptions{Store: st, Schema: arrow.NewSchema([]arrow.Field{
		{Name: "more", Type: arrow.FixedWidthTypes.Boolean}, {Name: "id", Type: arrow.BinaryTypes.String},
	}, nil)})
	record := record(t, memory.DefaultAllocator, other.options.Schema, `{"more": true, "id": "x"}`)
	defer record.Release()
	_, marksErr := other.Marks(t.Context())
	for _, err := range []error{other.Check(t.Context()), other.Write(t.Context(), record), other.Commit(t.Context(), nil, schemas.Marks{"x": 1}, nil), marksErr} {
		contains(t, err, "the rows differ from those of part-00000000000000000001.parquet, write them to a new folder",
			`column "id" is int64 in the folder and would be utf8`, `column "text" of the folder is not written`, `column "more" is not in the folder`)
		if !errors.Is(err, schemas.ErrInvalid) {
			t.Fatalf("%v is not schemas.ErrInvalid", err)
		}
	}
	must(t, other.Close(t.Context()))

	// Columns in another order are the same columns.
	swapped := NewSink(SinkOptions{Store: st, Prefix: "job/0/", Schema: arrow.NewSchema([]arrow.Field{idsSchema().Field(1), idsSchema().Field(0)}, nil)})
	must(t, swapped.Check(t.Context()))

	unfit := NewSink(SinkOptions{Store: folder(t), Schema: arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Uint64}}, nil)})
	contains(t, unfit.Check(t.Context()), "files: parquet: column n", "uint64")

	put(t, st, "plain", "a file")
	contains(t, sink(store.NewLocal(dir+"/plain"), "").Check(t.Context()), "the folder does not take files")
	put(t, st, "part-00000000000000000002.parquet", "PAR1 cut off in the middle")
	contains(t, s.Check(t.Context()), "part-00000000000000000002.parquet", "cut off, or no Parquet file")
}

func TestSinkRefusesBrokenMarks(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "x", "-1", "9223372036854775808", "1.0"} {
		st := folder(t)
		s := sink(st, "job/0/")
		var err error
		s.open, err = s.begin(t.Context(), 1)
		must(t, err)
		s.open.rows.SetMetadata("inflow.mark:job/0/x", value)
		_, err = s.open.rows.Close()
		must(t, err)
		must(t, s.open.object.Commit(t.Context()))
		must(t, s.Close(t.Context()))
		_, err = s.Marks(t.Context())
		contains(t, err, `part-00000000000000000001.parquet: mark "x" is no count of rows`)
		write(t, s, 0, 1)
		contains(t, s.Commit(t.Context(), nil, schemas.Marks{"x": 1}, nil), "no count of rows")
		equal(t, marksOf(t, sink(st, "other/0/")), "the start") // another job's marks are not ours to judge
	}
}

// A footer that could not be read again would be the folder's end.
func TestSinkBoundsMarks(t *testing.T) {
	t.Parallel()
	st := folder(t)
	s := sink(st, "job/0/")
	many := make(schemas.Marks)
	for i := range maxMarksBytes >> 16 {
		many[fmt.Sprintf("%s%d", strings.Repeat("x", 1<<16), i)] = 1
	}
	contains(t, s.Commit(t.Context(), nil, many, nil), "the marks take", "begin a new folder under a new job name")
	equal(t, names(t, st), "")
	delete(many, strings.Repeat("x", 1<<16)+"0")
	delete(many, strings.Repeat("x", 1<<16)+"1")
	must(t, s.Commit(t.Context(), nil, many, nil))
	got, err := s.Marks(t.Context())
	must(t, err)
	equal(t, got.Equal(many), true)
}

// The values of such columns are nowhere but in the pages: no footer and no index tells them.
func TestSinkHidesStatistics(t *testing.T) {
	t.Parallel()
	st := folder(t)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "answer", Type: arrow.BinaryTypes.String},
		{Name: "parts", Type: arrow.StructOf(arrow.Field{Name: "text", Type: arrow.BinaryTypes.String})},
	}, nil)
	s := NewSink(SinkOptions{Store: st, Schema: schema, NoStatistics: func(column string) bool { return column != "id" }})
	rows := record(t, memory.DefaultAllocator, schema, `{"id": "open-1", "answer": "secret-1", "parts": {"text": "secret-2"}}`)
	defer rows.Release()
	must(t, s.Write(t.Context(), rows))
	must(t, s.Commit(t.Context(), nil, schemas.Marks{"x": 1}, nil))
	reader, err := st.Open(t.Context(), partName(1))
	must(t, err)
	defer func() { must(t, reader.Close()) }()
	data := make([]byte, reader.Size())
	_, err = reader.ReadAt(data, 0)
	must(t, err)
	opened, err := file.NewParquetReader(bytes.NewReader(data))
	must(t, err)
	group := opened.MetaData().RowGroup(0)
	pages := int64(0)
	for i, hidden := range []bool{false, true, true} {
		chunk, err := group.ColumnChunk(i)
		must(t, err)
		statistics, err := chunk.Statistics()
		must(t, err)
		equal(t, statistics != nil && statistics.HasMinMax(), !hidden)
		pages = max(pages, chunk.DataPageOffset()+chunk.TotalCompressedSize())
	}
	if tail := data[pages:]; bytes.Contains(tail, []byte("secret")) || !bytes.Contains(tail, []byte("open-1")) {
		t.Errorf("behind the pages stands %q", tail)
	}
	equal(t, binary.LittleEndian.Uint32(data[len(data)-8:]) > 0, true)
}

// scribbler spoils what it gets back, so that whoever still looks at it is found out.
type scribbler struct{ memory.Allocator }

func (s scribbler) Free(b []byte) {
	for i := range b {
		b[i] = 0xAA
	}
	s.Allocator.Free(b)
}

func TestSinkKeepsNoReference(t *testing.T) {
	t.Parallel()
	st := folder(t)
	mem := memory.NewCheckedAllocator(scribbler{memory.NewGoAllocator()})
	s := sink(st, "")
	for range 3 {
		rows := record(t, mem, idsSchema(), `{"id": 1, "text": "one"}, {"id": null, "text": "two"}`)
		must(t, s.Write(t.Context(), rows))
		rows.Release()
		mem.AssertSize(t, 0)
	}
	must(t, s.Commit(t.Context(), nil, schemas.Marks{"x": 1}, nil))
	rows := written(t, st)
	equal(t, len(rows), 6)
	equal(t, rows[4], `part-00000000000000000001.parquet 4 {"id":1,"text":"one"}`)
	equal(t, rows[5], `part-00000000000000000001.parquet 5 {"id":null,"text":"two"}`)
}

// After a failed write the epoch is lost as a whole, and the sink works again.
func TestSinkRecoversFromAFailedWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st := store.NewLocal(dir)
	s := sink(st, "")
	write(t, s, 0, 1)
	alien := record(t, memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int64}}, nil), `{"x": 1}`)
	defer alien.Release()
	contains(t, s.Write(t.Context(), alien), "files: parquet: the record has 1 columns, the file 2")
	must(t, s.Close(t.Context()))
	entries, err := os.ReadDir(dir)
	must(t, err)
	equal(t, len(entries), 0) // no hidden file either
	write(t, s, 5, 6)
	must(t, s.Commit(t.Context(), nil, schemas.Marks{"x": 1}, nil))
	equal(t, len(written(t, st)), 1)

	ctx, cancel := context.WithCancel(t.Context())
	write(t, s, 6, 7)
	cancel()
	if err := s.Commit(ctx, schemas.Marks{"x": 1}, schemas.Marks{"x": 2}, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("a commit under an ended context: %v", err)
	}
	equal(t, len(written(t, st)), 1)
	equal(t, marksOf(t, s), "x=1")
}

// twoEpochs is a run: check, two epochs of five rows, the second behind a step without rows.
func twoEpochs(t *testing.T, st store.Store) (err error) {
	t.Helper()
	ctx := t.Context()
	s := sink(st, "job/0/")
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	if err := s.Check(ctx); err != nil {
		return err
	}
	from, err := s.Marks(ctx)
	if err != nil {
		return err
	}
	for i := range 2 {
		for _, part := range [][2]int{{0, 2}, {2, 5}} {
			rows := ids(t, 5*i+part[0], 5*i+part[1])
			err := s.Write(ctx, rows)
			rows.Release()
			if err != nil {
				return err
			}
		}
		to := schemas.Marks{"row": int64(5*i + 5)}
		if err := s.Commit(ctx, from, to, nil); err != nil {
			return err
		}
		from = to
	}
	return nil
}

func TestSinkFailsAtEveryOperation(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct{ after, lasting, ambiguous bool }{
		{false, false, false},
		{true, false, false},
		{false, true, false},
		{true, true, false},
		{false, false, true},
		{true, false, true},
		{false, true, true},
		{true, true, true},
	} {
		t.Run(fmt.Sprintf("%+v", kind), func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				inner := folder(t)
				failure := errors.New("disk on fire")
				if kind.ambiguous {
					failure = &schemas.Error{Class: schemas.Ambiguous, Err: failure}
				}
				faulty := storetest.FailNth(inner, n, failure)
				faulty.AfterEffect, faulty.Lasting = kind.after, kind.lasting
				err := twoEpochs(t, faulty)

				// Whatever failed, rows and marks are those of whole epochs.
				rows := written(t, inner)
				next := sink(inner, "job/0/")
				from, marksErr := next.Marks(t.Context())
				must(t, marksErr)
				if count := len(rows); count%5 != 0 || int64(count) != from["row"] {
					t.Fatalf("operation %d: %d rows, marks %v", n, count, from)
				}
				if err == nil && len(rows) != 10 {
					t.Fatalf("operation %d: no error, %d rows", n, len(rows))
				}
				if err != nil && len(rows) == 10 && schemas.ClassOf(err) != schemas.Ambiguous {
					t.Fatalf("operation %d: both epochs stand, and yet: %v", n, err)
				}
				for name := range strings.FieldsSeq(names(t, inner)) {
					if _, part := partNumber(name); !part && !kind.lasting && !strings.Contains(err.Error(), "deleted") {
						t.Fatalf("operation %d leaves %s behind", n, name)
					}
				}
				// The next run goes on.
				write(t, next, 100, 101)
				must(t, next.Commit(t.Context(), from, schemas.Marks{"row": 100}, nil))
				equal(t, len(written(t, inner)), len(rows)+1)
				if !faulty.Failed() {
					must(t, err)
					return
				}
				if err != nil && !errors.Is(err, failure) {
					t.Fatalf("operation %d: the cause is not in %v", n, err)
				}
			}
		})
	}
}
