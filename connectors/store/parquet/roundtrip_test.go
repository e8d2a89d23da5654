package parquet_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/apache/arrow/go/v17/arrow/scalar"
	apq "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/pqarrow"

	"github.com/inflowhq/inflow/connectors/store/parquet"
)

// object is a store.Reader of bytes.
type object struct{ *bytes.Reader }

func newObject(data []byte) object { return object{bytes.NewReader(data)} }

func (object) Close() error { return nil }

func write(tb testing.TB, options parquet.WriterOptions, records ...arrow.Record) ([]byte, parquet.Statistics) {
	tb.Helper()
	var out bytes.Buffer
	writer, err := parquet.NewWriter(&out, records[0].Schema(), options)
	if err != nil {
		tb.Fatal(err)
	}
	for _, record := range records {
		if err := writer.Write(record); err != nil {
			tb.Fatal(err)
		}
	}
	statistics, err := writer.Close()
	if err != nil {
		tb.Fatal(err)
	}
	return out.Bytes(), statistics
}

func open(tb testing.TB, data []byte) *parquet.File {
	tb.Helper()
	file, err := parquet.Open(newObject(data))
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

// rows shows the rows of records one by one, so that the cut between records does not matter.
func rows(tb testing.TB, records ...arrow.Record) []string {
	tb.Helper()
	var lines []string
	for _, record := range records {
		for i := range record.NumRows() {
			row := record.NewSlice(i, i+1)
			line, err := row.MarshalJSON()
			if err != nil {
				tb.Fatal(err)
			}
			lines = append(lines, string(line))
			row.Release()
		}
	}
	return lines
}

func read(tb testing.TB, file *parquet.File, columns []string, first int64, batchRows int) []string {
	tb.Helper()
	var lines []string
	for record, err := range file.Read(tb.Context(), columns, first, batchRows) {
		if err != nil {
			tb.Fatal(err)
		}
		if record.NumRows() > int64(batchRows) || record.NumRows() == 0 {
			tb.Fatalf("a record of %d rows, at most %d were asked for", record.NumRows(), batchRows)
		}
		if err := validate(record); err != nil {
			tb.Fatal(err)
		}
		lines = append(lines, rows(tb, record)...)
		record.Release()
	}
	return lines
}

func validate(record arrow.Record) error {
	for i, column := range record.Columns() {
		if !arrow.TypeEqual(column.DataType(), record.Schema().Field(i).Type) {
			return arrow.ErrInvalid
		}
	}
	return nil
}

func TestRoundTripOfRandomTables(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		roundTrip(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzRoundTrip(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed)
	}
	f.Fuzz(roundTrip)
}

func roundTrip(t *testing.T, seed uint64) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	r := newRandom(seed)
	schema := r.schema()
	var records []arrow.Record
	for range 1 + r.IntN(3) {
		record := r.record(mem, schema, r.IntN(60))
		defer record.Release()
		if record.NumRows() > 4 && r.IntN(2) == 0 { // an array that begins amid its buffers
			record = record.NewSlice(2, record.NumRows()-1)
			defer record.Release()
		}
		records = append(records, record)
	}
	options := parquet.WriterOptions{
		Metadata:   map[string]string{"mark": "7"},
		Dictionary: func(column string) bool { return seed%2 == 0 && column != "c1" },
	}
	data, statistics := write(t, options, records...)
	file := open(t, data)
	if !file.Schema().Equal(schema) {
		t.Errorf("schema\n%s\nwant\n%s", file.Schema(), schema)
	}
	want := rows(t, records...)
	if file.NumRows() != int64(len(want)) || statistics.Rows != int64(len(want)) || file.Metadata()["mark"] != "7" {
		t.Errorf("%d rows, statistics of %d, want %d; metadata %q", file.NumRows(), statistics.Rows, len(want), file.Metadata())
	}
	first, batchRows := r.IntN(len(want)+1), 1+r.IntN(70)
	got := read(t, file, nil, int64(first), batchRows)
	if len(got) != len(want)-first {
		t.Fatalf("%d rows from row %d, want %d", len(got), first, len(want)-first)
	}
	for i, line := range got {
		if line != want[first+i] {
			t.Fatalf("row %d reads\n%s\nwant\n%s", first+i, line, want[first+i])
		}
	}
	checkStatistics(t, statistics, records)
}

// byArrow writes files as others do: pages of version 2, every encoding that Arrow has, other compressions.
func byArrow(tb testing.TB, schema *arrow.Schema, r random, count int) map[string][]byte {
	tb.Helper()
	record := r.record(memory.NewGoAllocator(), schema, count)
	defer record.Release()
	files := make(map[string][]byte)
	for name, options := range map[string][]apq.WriterProperty{
		"snappy, dictionaries": {apq.WithCompression(compress.Codecs.Snappy)},
		"version 2, zstd":      {apq.WithDataPageVersion(apq.DataPageV2), apq.WithCompression(compress.Codecs.Zstd), apq.WithDictionaryDefault(false)},
		"gzip, small pages":    {apq.WithCompression(compress.Codecs.Gzip), apq.WithDataPageSize(100), apq.WithDictionaryDefault(false)},
		"differences": {
			apq.WithDataPageVersion(apq.DataPageV2), apq.WithDictionaryDefault(false), apq.WithEncodingFor("number", apq.Encodings.DeltaBinaryPacked),
			apq.WithEncodingFor("text", apq.Encodings.DeltaByteArray), apq.WithEncodingFor("error.text", apq.Encodings.DeltaLengthByteArray),
		},
	} {
		var out bytes.Buffer
		writer, err := pqarrow.NewFileWriter(schema, &out, apq.NewWriterProperties(options...), pqarrow.DefaultWriterProps())
		if err != nil {
			tb.Fatal(err)
		}
		if err := errors.Join(writer.Write(record), writer.Close()); err != nil {
			tb.Fatal(err)
		}
		files[name] = out.Bytes()
	}
	return files
}

func TestFilesOfArrow(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		record := newRandom(seed).record(memory.NewGoAllocator(), nested(), 300)
		want := rows(t, record)
		record.Release()
		for name, data := range byArrow(t, nested(), newRandom(seed), 300) {
			if got := read(t, open(t, data), nil, 0, 77); !slices.Equal(got, want) {
				t.Errorf("seed %d, %s: other rows were read than written", seed, name)
			}
		}
	}
}

// boundsOf compares every value of a column with every other, nil where its type has no bounds.
func boundsOf(column int, records []arrow.Record) (least, greatest scalar.Scalar) {
	for _, record := range records {
		values := record.Column(column)
		for i := range values.Len() {
			value := scalarAt(values, i)
			if value == nil {
				continue
			}
			if least == nil || less(value, least) {
				least = value
			}
			if greatest == nil || less(greatest, value) {
				greatest = value
			}
		}
	}
	return least, greatest
}

// scalarAt returns a value, nil where it is NULL or of a type without bounds.
func scalarAt(values arrow.Array, i int) scalar.Scalar {
	if values.IsNull(i) {
		return nil
	}
	switch typed := values.(type) {
	case *array.String:
		return scalar.NewStringScalar(typed.Value(i))
	case *array.Int8, *array.Int16, *array.Int32, *array.Int64, *array.Float32, *array.Float64, *array.Date32, *array.Timestamp, *array.Decimal128:
		value, err := scalar.GetScalar(values, i)
		if err != nil {
			return nil
		}
		return value
	}
	return nil
}

func less(a, b scalar.Scalar) bool {
	switch a := a.(type) {
	case *scalar.Int8:
		return a.Value < b.(*scalar.Int8).Value //nolint:errcheck // of one column
	case *scalar.Int16:
		return a.Value < b.(*scalar.Int16).Value //nolint:errcheck // of one column
	case *scalar.Int32:
		return a.Value < b.(*scalar.Int32).Value //nolint:errcheck // of one column
	case *scalar.Int64:
		return a.Value < b.(*scalar.Int64).Value //nolint:errcheck // of one column
	case *scalar.Float32:
		return a.Value < b.(*scalar.Float32).Value //nolint:errcheck // of one column
	case *scalar.Float64:
		return a.Value < b.(*scalar.Float64).Value //nolint:errcheck // of one column
	case *scalar.Date32:
		return a.Value < b.(*scalar.Date32).Value //nolint:errcheck // of one column
	case *scalar.Timestamp:
		return a.Value < b.(*scalar.Timestamp).Value //nolint:errcheck // of one column
	case *scalar.Decimal128:
		return a.Value.Less(b.(*scalar.Decimal128).Value) //nolint:errcheck // of one column
	case *scalar.String:
		return bytes.Compare(a.Data(), b.(*scalar.String).Data()) < 0 //nolint:errcheck // of one column
	}
	return false
}

// checkStatistics counts the NULLs of the top-level columns again, and looks for their bounds.
func checkStatistics(t *testing.T, statistics parquet.Statistics, records []arrow.Record) {
	t.Helper()
	for i, field := range records[0].Schema().Fields() {
		if field.Type.ID() == arrow.STRUCT {
			continue
		}
		nulls := 0
		for _, record := range records {
			nulls += record.Column(i).NullN()
		}
		if got := statistics.Columns[field.Name]; got.NullCount != int64(nulls) {
			t.Errorf("%s %s: %d NULLs, want %d", field.Name, field.Type, got.NullCount, nulls)
		}
		least, greatest := boundsOf(i, records)
		if got := statistics.Columns[field.Name]; fmt.Sprint(got.Min) != fmt.Sprint(least) || fmt.Sprint(got.Max) != fmt.Sprint(greatest) {
			t.Errorf("%s %s: from %v to %v, want from %v to %v", field.Name, field.Type, got.Min, got.Max, least, greatest)
		}
	}
}
