package delta

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// drain reads a source from marks: a line a row with its coordinates, and the marks behind each batch.
func drain(t *testing.T, source *Source, from schemas.Marks) (rows []string, marks []schemas.Marks) {
	t.Helper()
	for batch, err := range source.Read(t.Context(), from) {
		must(t, err)
		for i, line := range lines(batch.Record) {
			rows = append(rows, fmt.Sprintf("%d %s %d %s", batch.Version, batch.Partition, batch.Offset+int64(i), line))
		}
		marks = append(marks, batch.Marks)
		batch.Record.Release()
	}
	return rows, marks
}

func source(t *testing.T, st store.Store, options SourceOptions) *Source {
	t.Helper()
	table, err := Open(t.Context(), st)
	must(t, err)
	opened, err := NewSource(table, options)
	must(t, err)
	return opened
}

// The rows are the same at every batch size, and from every row on the rest is the rest.
func TestSourceResumesAnywhere(t *testing.T) {
	t.Parallel()
	st := local(t)
	appendRows(t, st, ids(0, 5))
	appendRows(t, st, ids(5, 7))
	first := source(t, st, SourceOptions{})
	_, marks := drain(t, first, nil)
	equal(t, marks[len(marks)-1].String(), "row=7 snapshot=1 version=1")
	again, _ := drain(t, source(t, st, SourceOptions{}), marks[len(marks)-1])
	equal(t, len(again), 0)

	appendRows(t, st, ids(7, 10))
	logOf(t, st, 3, []string{`{"commitInfo":{"operation":"OPTIMIZE"}}`, strings.ReplaceAll(add("optimized.parquet"), `"dataChange":true`, `"dataChange":false`)}) // not read: the file is not even there
	logOf(t, st, 4, []string{sparkCommit, remove("long-gone.parquet")})
	logOf(t, st, 5, []string{`{"txn":{"appId":"x","version":1}}`})
	appendRows(t, st, ids(10, 11))

	start := schemas.Marks{MarkSnapshot: 1, MarkVersion: 1, MarkRow: 0}
	whole, _ := drain(t, source(t, st, SourceOptions{}), start)
	equal(t, len(whole), 11)
	for batchRows := 1; batchRows <= 6; batchRows++ {
		rows, marks := drain(t, source(t, st, SourceOptions{BatchRows: batchRows}), start)
		equal(t, strings.Join(rows, "\n"), strings.Join(whole, "\n"))
		equal(t, marks[len(marks)-1].String(), "row=1 snapshot=1 version=6")
	}
	_, everyRow := drain(t, source(t, st, SourceOptions{BatchRows: 1}), start)
	done := 0
	for _, from := range everyRow {
		if from[MarkRow] > 0 { // versions 3 to 5 bring none
			done++
		}
		for _, batchRows := range []int{1, 3, 100} {
			rest, _ := drain(t, source(t, st, SourceOptions{BatchRows: batchRows}), from)
			equal(t, strings.Join(rest, "\n"), strings.Join(whole[done:], "\n"))
		}
		total, have, err := source(t, st, SourceOptions{}).Count(t.Context(), from)
		must(t, err)
		equal(t, total-have, int64(len(whole)-done))
	}
}

// Files that lie before the marks are not opened: they may be gone.
func TestSourcePassesOverFiles(t *testing.T) {
	t.Parallel()
	st := local(t)
	appendRows(t, st, ids(0, 2))
	appendRows(t, st, ids(2, 4))
	must(t, st.Delete(t.Context(), open(t, st).Files()[0].Name))
	rows, _ := drain(t, source(t, st, SourceOptions{}), schemas.Marks{MarkSnapshot: 1, MarkVersion: 1, MarkRow: 2})
	equal(t, len(rows), 2)
}

func TestSourceColumns(t *testing.T) {
	t.Parallel()
	st := local(t)
	appendRows(t, st, ids(0, 1))
	opened := source(t, st, SourceOptions{Columns: []string{"TEXT"}})
	rows, _ := drain(t, opened, nil)
	contains(t, errors.New(rows[0]), `{"text":"row 0"}`)
	equal(t, opened.Schema().Field(0).Name, "text")
	table, err := Open(t.Context(), st)
	must(t, err)
	_, err = NewSource(table, SourceOptions{Columns: []string{"nope"}})
	contains(t, err, `no column "nope"`, "id, text")
}

func TestSourceRefuses(t *testing.T) {
	t.Parallel()
	start := schemas.Marks{MarkSnapshot: 0, MarkVersion: 0, MarkRow: 2}
	cases := []struct {
		name  string
		from  schemas.Marks
		build func(t *testing.T, st store.Store)
		says  []string
	}{
		{"an update", start, func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 1, []string{strings.Replace(sparkCommit, "WRITE", "MERGE", 1), remove("a"), add("b")})
		}, []string{"version 1 (MERGE) changed rows", "new job name"}},
		{"a cleaned log", start, func(t *testing.T, st store.Store) {
			t.Helper()
			for range 12 {
				appendRows(t, st, ids(0, 1))
			}
			for version := range int64(10) {
				must(t, st.Delete(t.Context(), commitName(version)))
			}
		}, []string{"no longer holds it", "begins at 10", "new job name"}},
		{"a table made anew", schemas.Marks{MarkSnapshot: 5, MarkVersion: 7, MarkRow: 0}, func(*testing.T, store.Store) {}, []string{"made anew"}},
		{"more rows than there are", schemas.Marks{MarkSnapshot: 0, MarkVersion: 0, MarkRow: 3}, func(*testing.T, store.Store) {}, []string{"has 2 rows, and 3 are marked"}},
		{"another source's marks", schemas.Marks{"0": 5}, func(*testing.T, store.Store) {}, []string{"not those of a Delta source"}},
		{"a missing file", start, func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 1, []string{add("gone.parquet")})
		}, []string{"gone.parquet", "vacuumed or deleted"}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := local(t)
			appendRows(t, st, ids(0, 2))
			test.build(t, st)
			var failure error
			for batch, err := range source(t, st, SourceOptions{}).Read(t.Context(), test.from) {
				if failure = err; err == nil {
					batch.Record.Release()
				}
			}
			contains(t, failure, test.says...)
		})
	}
}

// Other writers order the columns of a file as they like, spell them in another case, leave columns out, and
// write some that the table has no more.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	nullable := func(name string, dataType arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: dataType, Nullable: true}
	}
	st := local(t)
	_, err := Create(t.Context(), st, Definition{PartitionBy: []string{"p"}, Schema: arrow.NewSchema([]arrow.Field{
		nullable("id", arrow.PrimitiveTypes.Int64), nullable("s", arrow.StructOf(nullable("x", arrow.PrimitiveTypes.Int64), nullable("y", arrow.BinaryTypes.String))),
		nullable("p", arrow.FixedWidthTypes.Date32), nullable("late", arrow.ListOf(arrow.BinaryTypes.String)), nullable("more", arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64)),
	}, nil)})
	must(t, err)
	record := fromJSON(t, arrow.NewSchema([]arrow.Field{
		nullable("dropped", arrow.PrimitiveTypes.Float64), nullable("S", arrow.StructOf(nullable("Y", arrow.BinaryTypes.String))), nullable("ID", arrow.PrimitiveTypes.Int32),
	}, nil), `[{"dropped":1,"S":{"Y":"a"},"ID":7},{"dropped":1,"S":null,"ID":null}]`)
	defer record.Release()
	var out bytes.Buffer
	writer, err := parquet.NewWriter(&out, record.Schema(), parquet.WriterOptions{})
	must(t, err)
	must(t, writer.Write(record))
	_, err = writer.Close()
	must(t, err)
	put(t, st, "p=x y/1+2.parquet", out.String())
	logOf(t, st, 1, []string{strings.Replace(add("p=x%20y/1+2.parquet"), `"partitionValues":{}`, `"partitionValues":{"P":"2024-02-29"}`, 1)})
	for _, batchRows := range []int{1, 100} {
		rows, err := rowsOf(t.Context(), open(t, st), ScanOptions{BatchRows: batchRows})
		must(t, err)
		equal(t, strings.Join(rows, "\n"), `{"id":7,"late":null,"more":null,"p":"2024-02-29","s":{"x":null,"y":"a"}}`+"\n"+
			`{"id":null,"late":null,"more":null,"p":"2024-02-29","s":null}`)
		bare, err := rowsOf(t.Context(), open(t, st), ScanOptions{BatchRows: batchRows, Columns: []string{"late", "p"}})
		must(t, err)
		equal(t, strings.Join(bare, " "), strings.Repeat(` {"late":null,"p":"2024-02-29"}`, 2)[1:])
	}
}

// A data file that is not what the log says is refused, wherever it is damaged.
func TestDamagedDataFile(t *testing.T) {
	t.Parallel()
	st := local(t)
	appendRows(t, st, ids(0, 100))
	name := open(t, st).Files()[0].Name
	data := read(t, st, name)
	for _, damaged := range []string{"", "PAR1", data[:len(data)/2], data[:len(data)-1], strings.Repeat("x", len(data))} {
		put(t, st, name, damaged)
		_, err := rowsOf(t.Context(), open(t, st), ScanOptions{})
		contains(t, err, name)
	}
	appendRows(t, st, ids(0, 3))
	for _, file := range open(t, st).Files() {
		if file.Name != name {
			put(t, st, name, read(t, st, file.Name))
		}
	}
	_, err := rowsOf(t.Context(), open(t, st), ScanOptions{})
	contains(t, err, "it has 3 rows where the log says 100")
}
