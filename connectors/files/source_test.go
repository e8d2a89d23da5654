package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/storetest"
	"github.com/inflowhq/inflow/schemas"
)

// mixed is a folder with 16 rows in files of every format, one of them without rows.
func mixed(t *testing.T) store.Store {
	t.Helper()
	st := folder(t)
	put(t, st, "a/one.jsonl", content(JSONL, 0, 3))
	put(t, st, "a/two.ndjson.gz", content(JSONL, 3, 5))
	put(t, st, "b.csv", content(CSV, 5, 9))
	put(t, st, "c/deep/er/x.CSV.ZST", content(CSV, 9, 10))
	put(t, st, "d.json.zst", content(JSONL, 10, 12))
	put(t, st, "e.csv", content(CSV, 0, 0))
	put(t, st, "f.csv", "")
	putParquet(t, st, "g.parquet", ids(t, 12, 14), ids(t, 14, 16))
	return st
}

// The rows, their order and their places are the same at every batch size, and from every row on the rest is the
// rest: whatever was the batch size before.
func TestResumesAtEveryRow(t *testing.T) {
	t.Parallel()
	st := mixed(t)
	whole := read(t, open(t, st, SourceOptions{}), nil)
	equal(t, len(whole), 16)
	equal(t, whole[0], `a/one.jsonl 0 {"id":0,"text":"row 0"}`)
	equal(t, whole[15], `g.parquet 3 {"id":15,"text":"row 15"}`)
	steps := drain(t, open(t, st, SourceOptions{BatchRows: 1}), nil).marks
	equal(t, len(steps), 16)
	equal(t, steps[15].String(), "a/one.jsonl=3 a/two.ndjson.gz=2 b.csv=4 c/deep/er/x.CSV.ZST=1 d.json.zst=2 g.parquet=4")
	for _, batchRows := range []int{1, 2, 3, 5, 100} {
		s := open(t, st, SourceOptions{BatchRows: batchRows})
		all := drain(t, s, nil)
		equal(t, join(all.rows), join(whole))
		equal(t, all.marks[len(all.marks)-1].String(), steps[15].String())
		for done, from := range steps {
			rest := drain(t, s, from)
			must(t, rest.err)
			equal(t, join(rest.rows), join(whole[done+1:]))
			total, have, err := s.Count(t.Context(), from)
			must(t, err)
			equal(t, total, -1)
			equal(t, have, int64(done+1))
		}
	}
}

// Reading one source again, or from two places at once, gives the same.
func TestReadsConcurrently(t *testing.T) {
	t.Parallel()
	s := open(t, mixed(t), SourceOptions{BatchRows: 2})
	want := join(read(t, s, nil))
	for range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			equal(t, join(read(t, s, nil)), want)
		})
	}
}

func TestFolderChanges(t *testing.T) {
	t.Parallel()
	for _, format := range []Format{JSONL, CSV, Parquet} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			st := folder(t)
			file := func(name string, first, last int) {
				t.Helper()
				if format == Parquet {
					putParquet(t, st, name+".parquet", ids(t, first, last))
				} else {
					put(t, st, name+"."+string(format), content(format, first, last))
				}
			}
			file("m", 0, 3)
			file("n", 3, 5)
			first := drain(t, open(t, st, SourceOptions{}), nil)
			equal(t, len(first.rows), 5)
			marks := first.marks[len(first.marks)-1]
			ext := "." + string(format)

			// New files before, between and after those that were read, one that grew, one that has gone.
			file("a", 10, 11)
			file("ma", 11, 12)
			file("z", 12, 13)
			file("m", 0, 4)
			must(t, st.Delete(t.Context(), "n"+ext))
			s := open(t, st, SourceOptions{BatchRows: 1})
			second := drain(t, s, marks)
			must(t, second.err)
			row := `%s %d {"id":%d,"text":"row %[3]d"}`
			equal(t, join(second.rows), strings.Join([]string{
				fmt.Sprintf(row, "a"+ext, 0, 10), fmt.Sprintf(row, "m"+ext, 3, 3), fmt.Sprintf(row, "ma"+ext, 0, 11), fmt.Sprintf(row, "z"+ext, 0, 12),
			}, "\n"))
			marks = second.marks[len(second.marks)-1]
			equal(t, marks["n"+ext], 2) // should it come back, it is not asked again
			total, done, err := s.Count(t.Context(), marks)
			must(t, err)
			equal(t, done, 7)
			equal(t, total, map[Format]int64{Parquet: 7, JSONL: -1, CSV: -1}[format])
			equal(t, len(read(t, s, marks)), 0)

			// A source is of the files that it found when it was made.
			file("b", 20, 21)
			equal(t, len(read(t, s, marks)), 0)
			must(t, st.Delete(t.Context(), "z"+ext))
			gone := drain(t, s, marks)
			contains(t, gone.err, "z"+ext, "has gone since it was listed")
			if !errors.Is(gone.err, fs.ErrNotExist) {
				t.Fatalf("%v is not fs.ErrNotExist", gone.err)
			}

			file("m", 0, 2)
			shrunk := drain(t, open(t, st, SourceOptions{}), marks)
			contains(t, shrunk.err, "m"+ext+" has 2 rows, but 4 were done", "give new data a new name")
			if !errors.Is(shrunk.err, schemas.ErrInvalid) {
				t.Fatalf("%v is not schemas.ErrInvalid", shrunk.err)
			}
			equal(t, len(shrunk.rows), 1) // of b, which stands before it
		})
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	st := folder(t)
	for _, name := range []string{
		"a.csv", "b.csv", "x/a.csv", "x/y/a.csv", "x/y/z/b.csv", "xy/a.csv", "x/[1].csv", ".hidden.csv", ".git/a.csv", "x/.env/a.csv", "x/._a.csv",
	} {
		put(t, st, name, "n\n1\n")
	}
	put(t, st, "x/README", "no rows")
	for patterns, want := range map[string]string{
		"*.csv":                 "a.csv b.csv",
		"?.csv":                 "a.csv b.csv",
		"x/*.jsonl":             "",
		"[^a].csv":              "b.csv",
		"a.csv":                 "a.csv",
		"x/a.csv x/*.csv":       "x/[1].csv x/a.csv",
		"x/*/*.csv":             "x/y/a.csv",
		"**/a.csv":              "a.csv x/a.csv x/y/a.csv xy/a.csv",
		"x/**/b.csv":            "x/y/z/b.csv",
		"x/**/*.csv x/a.csv":    "x/[1].csv x/a.csv x/y/a.csv x/y/z/b.csv",
		"**/y/**":               "x/y/a.csv x/y/z/b.csv",
		"x*/a.csv x/a.csv":      "x/a.csv xy/a.csv",
		`x/\[1\].csv`:           "x/[1].csv",
		".*.csv":                ".hidden.csv",
		"**/.env/*.csv":         "x/.env/a.csv",
		"b.csv a.csv":           "a.csv b.csv",
		"x/y/**/**/*.csv b.csv": "b.csv x/y/a.csv x/y/z/b.csv",
	} {
		s, err := tryOpen(t, st, SourceOptions{Patterns: strings.Split(patterns, " ")})
		if want == "" {
			contains(t, err, "no file matches", patterns, "correct the pattern")
			continue
		}
		must(t, err)
		var got []string
		for _, object := range s.files {
			got = append(got, object.name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", patterns, got, want)
		}
	}
	equal(t, strings.Join(prefixes([]string{"x/*", "x/y/*", "x/a", "w", "x/y/z", "x[1]/a"}), " "), "w x")
}

func TestRefusesOptions(t *testing.T) {
	t.Parallel()
	st := folder(t)
	put(t, st, "a.csv", "a,b\n1,2\n")
	put(t, st, "rows", "a,b\n1,2\n")
	put(t, st, "x.parquet.gz", "")
	put(t, st, "x.csv.zst.gz", "")
	put(t, st, "empty.csv", "")
	put(t, st, "empty.jsonl", "\n \n")
	twice, err := st.Create(t.Context(), "twice.parquet")
	must(t, err)
	must(t, twice.Abort())
	for name, c := range map[string]struct {
		options SourceOptions
		says    []string
	}{
		"no pattern":        {SourceOptions{Patterns: []string{}}, []string{"at least one pattern"}},
		"negative batch":    {SourceOptions{BatchRows: -1}, []string{"no negative batch size"}},
		"a bad pattern":     {SourceOptions{Patterns: []string{"nowhere/[a"}}, []string{`"nowhere/[a"`, "syntax error", "close the ["}},
		"no file":           {SourceOptions{Patterns: []string{"*.json", "b/*"}}, []string{`["*.json" "b/*"]`, "correct the pattern"}},
		"no format":         {SourceOptions{Patterns: []string{"rows"}}, []string{"rows: the name does not tell the format", "or give a format"}},
		"a wrong format":    {SourceOptions{Patterns: []string{"a.csv"}, Format: "xml"}, []string{"give a format"}},
		"packed parquet":    {SourceOptions{Patterns: []string{"x.parquet.gz"}}, []string{"the name does not tell the format"}},
		"packed twice":      {SourceOptions{Patterns: []string{"x.csv.zst.gz"}}, []string{"the name does not tell the format"}},
		"no rows":           {SourceOptions{Patterns: []string{"empty.*"}}, []string{"no rows, so nothing tells the columns"}},
		"an unknown column": {SourceOptions{Patterns: []string{"a.csv"}, Columns: []string{"a", "c"}}, []string{`no column "c", but a, b`}},
		"a column twice":    {SourceOptions{Patterns: []string{"a.csv"}, Columns: []string{"a", "a"}}, []string{`more than one column "a"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := tryOpen(t, st, c.options)
			contains(t, err, c.says...)
			if !errors.Is(err, schemas.ErrInvalid) {
				t.Fatalf("%v is not schemas.ErrInvalid", err)
			}
		})
	}
	given := open(t, st, SourceOptions{Patterns: []string{"rows"}, Format: CSV, Columns: []string{"b", "a"}})
	equal(t, join(read(t, given, nil)), `rows 0 {"b":2,"a":1}`)
}

func TestTooManyFiles(t *testing.T) {
	t.Parallel()
	s := &crowd{Store: folder(t), files: maxFiles + 1}
	_, err := tryOpen(t, s, SourceOptions{Patterns: []string{"*.csv"}})
	contains(t, err, "more than 100000 files match", "split the job by folder")
}

// crowd is a store with more files than a test should make.
type crowd struct {
	store.Store
	files int
}

func (c *crowd) List(context.Context, string, string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for i := range c.files {
			if !yield(store.Object{Name: fmt.Sprintf("%09d.csv", i)}, nil) {
				return
			}
		}
	}
}

func everyType() *arrow.Schema {
	var fields []arrow.Field
	for i, dataType := range []arrow.DataType{
		arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64,
		arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Timestamp_us,
		&arrow.TimestampType{Unit: arrow.Microsecond}, arrow.BinaryTypes.String, arrow.BinaryTypes.Binary,
		&arrow.Decimal128Type{Precision: 38, Scale: 9},
		arrow.ListOfField(arrow.Field{Name: "element", Type: arrow.BinaryTypes.String, Nullable: true}),
		arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true}),
		arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64),
	} {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("c%d", i), Type: dataType, Nullable: true})
	}
	return arrow.NewSchema(fields, nil)
}

// What a sink writes a source reads, of every type, NULL too.
func TestEveryTypeComesBack(t *testing.T) {
	t.Parallel()
	schema := everyType()
	rows := fmt.Sprintf(`{"c0":true,"c1":-128,"c2":32767,"c3":-5,"c4":%d,"c5":1.5,"c6":-2.5e300,"c7":"1969-12-31","c8":"2024-02-29T12:00:00.000001Z","c9":"1900-01-01T00:00:00Z",
		"c10":"grüße 👋 \u0000 \"q\"","c11":"AAEC","c12":"-12345678901234567890123456789.123456789","c13":["a",null,""],"c14":{"a":1,"b":null},"c15":[{"key":"k","value":1},{"key":"l","value":null}]}`, math.MinInt64)
	full := record(t, memory.DefaultAllocator, schema, rows+",{},"+rows)
	defer full.Release()
	st := folder(t)
	sink := NewSink(SinkOptions{Store: st, Schema: schema})
	must(t, sink.Write(t.Context(), full))
	must(t, sink.Commit(t.Context(), nil, schemas.Marks{"x": 3}, nil))

	s := open(t, st, SourceOptions{BatchRows: 2})
	equal(t, columns(s.Schema()), columns(schema))
	var got []string
	for batch, err := range s.Read(t.Context(), schemas.Marks{}) {
		must(t, err)
		got = append(got, lines(t, batch.Record)...)
		batch.Record.Release()
	}
	equal(t, join(got), join(lines(t, full)))
}

func TestParquetFilesDiffer(t *testing.T) {
	t.Parallel()
	other := arrow.NewSchema([]arrow.Field{
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "id", Type: arrow.PrimitiveTypes.Float64, Nullable: true},
		{Name: "more", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil)
	st := folder(t)
	putParquet(t, st, "a.parquet", ids(t, 0, 2))
	putParquet(t, st, "b.parquet", record(t, memory.DefaultAllocator, other, `{"text": "other", "id": 0.5, "more": 1}`))
	out := drain(t, open(t, st, SourceOptions{}), nil)
	equal(t, len(out.rows), 2)
	contains(t, out.err, "b.parquet differs", `"id" is float64, not int64`, `"more" is new`, "name columns that all have")
	// What is done is not judged, and what is not read neither.
	equal(t, len(read(t, open(t, st, SourceOptions{}), schemas.Marks{"b.parquet": 1})), 2)
	equal(t, join(read(t, open(t, st, SourceOptions{Columns: []string{"text"}}), schemas.Marks{"a.parquet": 1})),
		"a.parquet 1 {\"text\":\"row 1\"}\nb.parquet 0 {\"text\":\"other\"}")

	put(t, st, "c.jsonl", `{"id": 1, "text": 2}`)
	tail := drain(t, open(t, st, SourceOptions{Patterns: []string{"[ac].*"}}), nil)
	must(t, tail.err)
	equal(t, tail.rows[2], `c.jsonl 0 {"id":1,"text":"2"}`) // Parquet's types hold for the texts after it
	narrow := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true}}, nil)
	putParquet(t, st, "n.parquet", record(t, memory.DefaultAllocator, narrow, `{"n": 1}`))
	put(t, st, "o.jsonl", `{"n": 1}`)
	contains(t, drain(t, open(t, st, SourceOptions{Patterns: []string{"[no].*"}}), nil).err, `o.jsonl:1:7: column "n": type int32 is not read from text`)
}

// Every cut of a Parquet file is refused by name, when it is opened or when it is read.
func TestCorruptParquet(t *testing.T) {
	t.Parallel()
	sound := folder(t)
	putParquet(t, sound, "x.parquet", ids(t, 0, 10))
	reader, err := sound.Open(t.Context(), "x.parquet")
	must(t, err)
	data := make([]byte, reader.Size())
	_, err = reader.ReadAt(data, 0)
	must(t, err)
	must(t, reader.Close())
	st := folder(t)
	putParquet(t, st, "a.parquet", ids(t, 0, 1))
	s := open(t, st, SourceOptions{Columns: []string{"id", "text"}})
	for length := range len(data) {
		put(t, st, "x.parquet", string(data[:length]))
		s.files = []found{{name: "a.parquet", format: Parquet}, {name: "x.parquet", format: Parquet}}
		out := drain(t, s, nil)
		equal(t, len(out.rows), 1)
		contains(t, out.err, "files: x.parquet: parquet: ")
		if !errors.Is(out.err, schemas.ErrInvalid) {
			t.Fatalf("%d bytes: %v is not schemas.ErrInvalid", length, out.err)
		}
		if _, _, err := s.Count(t.Context(), nil); err == nil {
			t.Fatalf("%d bytes can be counted", length)
		}
	}
}

// A failure of the store is told as such, at every operation: never as a fault of the data, never as the end.
func TestReadFailsAtEveryOperation(t *testing.T) {
	t.Parallel()
	st := mixed(t)
	failure := errors.New("disk on fire")
	for n := 1; ; n++ {
		faulty := storetest.FailNth(st, n, failure)
		s, err := tryOpen(t, faulty, SourceOptions{BatchRows: 2})
		rows := 0
		if err == nil {
			out := drain(t, s, nil)
			rows, err = len(out.rows), out.err
		}
		if !faulty.Failed() {
			must(t, err)
			equal(t, rows, 16)
			return
		}
		if !errors.Is(err, failure) || errors.Is(err, schemas.ErrInvalid) || rows == 16 {
			t.Fatalf("operation %d: %d rows and %v", n, rows, err)
		}
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"x.jsonl", "x.csv", "x.jsonl.gz", "x.csv.zst"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := folder(t)
			format := formatOf(name)
			// Behind the first row stands what is no row: a decoder that looks for one must not go on for ever.
			put(t, st, name, content(format, 0, 1)+strings.Repeat("\n", 1<<20)+strings.TrimPrefix(content(format, 1, 2), "id,text\n"))
			s := open(t, st, SourceOptions{BatchRows: 1, Patterns: []string{"*"}, Columns: []string{"id"}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var last error
			batches := 0
			for batch, err := range s.Read(ctx, nil) {
				if last = err; err == nil {
					batches++
					batch.Record.Release()
				}
				cancel()
			}
			equal(t, batches, 1)
			if !errors.Is(last, context.Canceled) || errors.Is(last, schemas.ErrInvalid) {
				t.Fatalf("the reading ended with %v", last)
			}
		})
	}
	st := folder(t)
	putParquet(t, st, "x.parquet", ids(t, 0, 10))
	s := open(t, st, SourceOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Read(ctx, nil) {
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("the reading ended with %v", err)
		}
	}
}

// The consumer owns the batches, and nothing else is left: at the end, after a break and behind an error.
func TestReadLeaksNothing(t *testing.T) {
	t.Parallel()
	st := folder(t)
	put(t, st, "a.jsonl", content(JSONL, 0, 10))
	put(t, st, "b.csv", content(CSV, 10, 20))
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	s := open(t, st, SourceOptions{BatchRows: 3})
	put(t, st, "b.csv", content(CSV, 10, 20)+"none,x\n")
	s.memory = mem
	var kept []arrow.Record
	out := 0
	for batch, err := range s.Read(t.Context(), nil) {
		if err != nil {
			contains(t, err, `b.csv:12:1: column "id"`)
			break
		}
		out += int(batch.Record.NumRows())
		kept = append(kept, batch.Record)
	}
	equal(t, out, 20)
	for i, record := range kept { // they are still what they were: no two share memory
		ids, ok := record.Column(0).(*array.Int64)
		equal(t, ok, true)
		equal(t, ids.Value(0), []int64{0, 3, 6, 9, 10, 13, 16, 19}[i])
		record.Release()
	}
	for batch, err := range s.Read(t.Context(), nil) {
		must(t, err)
		batch.Record.Release()
		break
	}
	put(t, st, "b.csv", "text,id\nx,none\n") // its first column is taken already when the second fails
	contains(t, drain(t, s, schemas.Marks{"a.jsonl": 10}).err, `b.csv:2:3: column "id"`)
}
