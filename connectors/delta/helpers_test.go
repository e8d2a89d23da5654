package delta

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store"
)

const (
	protocol12  = `{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}`
	idSchema    = `{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}`
	idMetadata  = `{"metaData":{"id":"5fba94ed-9794-4965-ba6e-6ee3c0d22af9","format":{"provider":"parquet","options":{}},"schemaString":"` + idSchema + `","partitionColumns":[],"configuration":{},"createdTime":1587968585495}}`
	sparkCommit = `{"commitInfo":{"timestamp":1587968586154,"operation":"WRITE","operationParameters":{"mode":"ErrorIfExists","partitionBy":"[]"},"isBlindAppend":true,"operationMetrics":{"numFiles":"1"},"engineInfo":"Apache-Spark/3.5.0 Delta-Lake/3.2.0","txnId":"a"}}`
	// vectorAdd has every field of an add.
	vectorAdd = `{"add":{"path":"v.parquet","partitionValues":{},"size":5,"modificationTime":7,"dataChange":true,"stats":"{\"numRecords\":3}","tags":{"k":"v","n":null},"deletionVector":{"storageType":"u","pathOrInlineDv":"ab^-aqEH.-t@S}K{vb[*k^","offset":4,"sizeInBytes":40,"cardinality":2},"baseRowId":9,"defaultRowCommitVersion":1,"clusteringProvider":"liquid"}}`
)

func add(path string) string {
	return fmt.Sprintf(`{"add":{"path":%q,"partitionValues":{},"size":262,"modificationTime":1587968586000,"dataChange":true,"stats":"{\"numRecords\":2}"}}`, path)
}

func remove(path string) string {
	return fmt.Sprintf(`{"remove":{"path":%q,"deletionTimestamp":1587968596250,"dataChange":true}}`, path)
}

// logOf writes a log, one commit an argument, its lines one a string.
func logOf(t *testing.T, st store.Store, first int64, commits ...[]string) {
	t.Helper()
	for i, lines := range commits {
		put(t, st, commitName(first+int64(i)), strings.Join(lines, "\n")+"\n")
	}
}

func put(t *testing.T, st store.Store, name, data string) {
	t.Helper()
	w, err := st.Create(t.Context(), name)
	must(t, err)
	_, err = w.Write([]byte(data))
	must(t, err)
	must(t, w.Commit(t.Context()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func contains(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", words)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Fatalf("the error %q does not say %q", err, word)
		}
	}
}

func local(t *testing.T) store.Store {
	t.Helper()
	return store.NewLocal(t.TempDir())
}

func idsSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
}

// ids is a record of rows first to before last.
func ids(first, last int64) arrow.Record {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, idsSchema())
	defer builder.Release()
	for id := first; id < last; id++ {
		builder.Field(0).(*array.Int64Builder).Append(id)                         //nolint:errcheck // the schema fixes the type
		builder.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("row %d", id)) //nolint:errcheck // the schema fixes the type
	}
	return builder.NewRecord()
}

// fromJSON builds a record from a JSON array of rows.
func fromJSON(t *testing.T, schema *arrow.Schema, rows string) arrow.Record {
	t.Helper()
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	must(t, err)
	return record
}

// appendRows commits one append and returns its version.
func appendRows(t *testing.T, st store.Store, records ...arrow.Record) int64 {
	t.Helper()
	return appendTo(t, st, &Definition{Schema: records[0].Schema()}, records...)
}

func appendTo(t *testing.T, st store.Store, table *Definition, records ...arrow.Record) int64 {
	t.Helper()
	tx, err := Begin(t.Context(), st, AppendOptions{Create: table})
	must(t, err)
	for _, record := range records {
		must(t, tx.Write(t.Context(), record))
		record.Release()
	}
	version, err := tx.Commit(t.Context())
	must(t, err)
	return version
}

func open(t *testing.T, st store.Store) *Snapshot {
	t.Helper()
	table, err := Open(t.Context(), st)
	must(t, err)
	return table.loaded()
}

// rowsOf scans a snapshot into one line of JSON a row.
func rowsOf(ctx context.Context, s *Snapshot, options ScanOptions) ([]string, error) {
	var rows []string
	for batch, err := range s.Scan(ctx, options) {
		if err != nil {
			return rows, err
		}
		rows = append(rows, lines(batch.Record)...)
		batch.Record.Release()
	}
	return rows, nil
}

func lines(record arrow.Record) []string {
	var out []string
	for i := range record.NumRows() {
		row := record.NewSlice(i, i+1)
		data, err := row.MarshalJSON()
		row.Release()
		if err != nil {
			return append(out, err.Error())
		}
		text := strings.TrimSpace(string(data))
		out = append(out, strings.TrimSpace(text[1:len(text)-1]))
	}
	return out
}

func listNames(t *testing.T, st store.Store, suffix string) []string {
	t.Helper()
	var names []string
	for object, err := range st.List(t.Context(), "", "") {
		must(t, err)
		if strings.HasSuffix(object.Name, suffix) && !strings.HasPrefix(object.Name, logFolder) {
			names = append(names, object.Name)
		}
	}
	return names
}

func newRecord(fields []arrow.Field, columns []arrow.Array, rows int64) arrow.Record {
	return array.NewRecord(arrow.NewSchema(fields, nil), columns, rows)
}
