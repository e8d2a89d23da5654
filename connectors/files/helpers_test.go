package files

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func equal[T comparable](tb testing.TB, got, want T) {
	tb.Helper()
	if got != want {
		tb.Fatalf("got  %v\nwant %v", got, want)
	}
}

func contains(tb testing.TB, err error, words ...string) {
	tb.Helper()
	if err == nil {
		tb.Fatalf("no error, want one that says %q", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			tb.Fatalf("the error %q does not say %q", err, word)
		}
	}
}

func folder(tb testing.TB) store.Store {
	tb.Helper()
	return store.NewLocal(tb.TempDir())
}

// put writes a file, compressed as its name says.
func put(tb testing.TB, st store.Store, name, data string) {
	tb.Helper()
	w, err := st.Create(tb.Context(), name)
	must(tb, err)
	_, err = w.Write(compress(tb, name, data))
	must(tb, err)
	must(tb, w.Commit(tb.Context()))
}

func compress(tb testing.TB, name, data string) []byte {
	tb.Helper()
	switch _, compression := cutCompression(name); compression {
	case ".gz":
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, err := w.Write([]byte(data))
		must(tb, err)
		must(tb, w.Close())
		return out.Bytes()
	case ".zst":
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		must(tb, err)
		return w.EncodeAll([]byte(data), nil)
	}
	return []byte(data)
}

func putParquet(tb testing.TB, st store.Store, name string, records ...arrow.Record) {
	tb.Helper()
	object, err := st.Create(tb.Context(), name)
	must(tb, err)
	w, err := parquet.NewWriter(object, records[0].Schema(), parquet.WriterOptions{})
	must(tb, err)
	for _, record := range records {
		must(tb, w.Write(record))
		record.Release()
	}
	_, err = w.Close()
	must(tb, err)
	must(tb, object.Commit(tb.Context()))
}

// record makes one of JSON: one object a row.
func record(tb testing.TB, mem memory.Allocator, schema *arrow.Schema, rows string) arrow.Record {
	tb.Helper()
	made, _, err := array.RecordFromJSON(mem, schema, strings.NewReader("["+rows+"]"))
	must(tb, err)
	return made
}

func idsSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
}

// ids is a record of rows first to before last.
func ids(tb testing.TB, first, last int) arrow.Record {
	tb.Helper()
	rows := make([]string, 0, last-first)
	for id := first; id < last; id++ {
		rows = append(rows, fmt.Sprintf(`{"id": %d, "text": "row %d"}`, id, id))
	}
	return record(tb, memory.DefaultAllocator, idsSchema(), strings.Join(rows, ","))
}

// content is ids as the text of a file, with a blank line in it.
func content(format Format, first, last int) string {
	var out strings.Builder
	if format == CSV {
		out.WriteString("id,text\n")
	}
	for id := first; id < last; id++ {
		if format == CSV {
			fmt.Fprintf(&out, "%d,row %d\n", id, id)
		} else {
			fmt.Fprintf(&out, "\n{\"id\": %d, \"text\": \"row %d\"}\n", id, id)
		}
	}
	return out.String()
}

func open(tb testing.TB, st store.Store, options SourceOptions) *Source {
	tb.Helper()
	s, err := tryOpen(tb, st, options)
	must(tb, err)
	return s
}

func tryOpen(tb testing.TB, st store.Store, options SourceOptions) (*Source, error) {
	tb.Helper()
	options.Store = st
	if options.Patterns == nil {
		options.Patterns = []string{"**"}
	}
	return NewSource(tb.Context(), options)
}

// drained is what a source gave: a line a row with its coordinates, the marks behind each batch, and its error.
type drained struct {
	rows  []string
	marks []schemas.Marks
	err   error
}

// drain reads a source to its end and checks what every batch promises.
func drain(tb testing.TB, s *Source, from schemas.Marks) (out drained) {
	tb.Helper()
	kept := from.Clone()
	next := from.Clone()
	for batch, err := range s.Read(tb.Context(), from) {
		if err != nil {
			out.err = err
			continue
		}
		if out.err != nil {
			tb.Fatal("a batch behind an error")
		}
		if rows := batch.Record.NumRows(); rows < 1 || rows > int64(s.options.BatchRows) {
			tb.Fatalf("a batch of %d rows, at most %d are wanted", rows, s.options.BatchRows)
		}
		for _, column := range batch.Record.Columns() {
			equal(tb, int64(column.Len()), batch.Record.NumRows())
		}
		if !batch.Record.Schema().Equal(s.Schema()) {
			tb.Fatalf("a batch of %v from a source of %v", batch.Record.Schema(), s.Schema())
		}
		equal(tb, batch.Version, -1)
		equal(tb, batch.Offset, next[batch.Partition])
		if next == nil {
			next = make(schemas.Marks)
		}
		next[batch.Partition] += batch.Record.NumRows()
		equal(tb, batch.Marks.String(), next.String())
		for i, line := range lines(tb, batch.Record) {
			out.rows = append(out.rows, fmt.Sprintf("%s %d %s", batch.Partition, batch.Offset+int64(i), line))
		}
		out.marks = append(out.marks, batch.Marks)
		batch.Record.Release()
	}
	if !kept.Equal(from) {
		tb.Fatal("the caller's marks were changed")
	}
	for i := 1; i < len(out.marks); i++ {
		if out.marks[i-1].Equal(out.marks[i]) {
			tb.Fatal("two batches share their marks")
		}
	}
	return out
}

func read(tb testing.TB, s *Source, from schemas.Marks) []string {
	tb.Helper()
	out := drain(tb, s, from)
	must(tb, out.err)
	return out.rows
}

// lines shows each row as a JSON object whose keys are in the order of the columns.
func lines(tb testing.TB, r arrow.Record) []string {
	tb.Helper()
	out := make([]string, 0, r.NumRows())
	for i := range int(r.NumRows()) {
		var cells []string
		for j, field := range r.Schema().Fields() {
			value, err := json.Marshal(r.Column(j).GetOneForMarshal(i))
			must(tb, err)
			cells = append(cells, fmt.Sprintf("%q:%s", field.Name, value))
		}
		out = append(out, "{"+strings.Join(cells, ",")+"}")
	}
	return out
}

func names(tb testing.TB, st store.Store) string {
	tb.Helper()
	var out []string
	for object, err := range st.List(tb.Context(), "", "") {
		must(tb, err)
		out = append(out, object.Name)
	}
	return strings.Join(out, " ")
}

// columns shows a schema as "id BIGINT, text utf8".
func columns(s *arrow.Schema) string {
	out := make([]string, 0, s.NumFields())
	for _, field := range s.Fields() {
		out = append(out, field.Name+" "+sqlType(field.Type))
	}
	return strings.Join(out, ", ")
}

func join(rows []string) string { return strings.Join(rows, "\n") }
