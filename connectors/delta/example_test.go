package delta_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/connectors/store"
)

// A table is made by the commit that brings its first rows, and read back.
func Example() {
	dir, err := os.MkdirTemp("", "delta")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an example's scratch folder
	if err := appendAndRead(context.Background(), store.NewLocal(dir)); err != nil {
		panic(err)
	}
	// Output:
	// version 0
	// {"id":1,"name":"ada"}
	// {"id":2,"name":"grace"}
	// WRITE: 2 rows in 1 files by example/1.0
}

func appendAndRead(ctx context.Context, st store.Store) error {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(`[{"id":1,"name":"ada"},{"id":2,"name":"grace"}]`))
	if err != nil {
		return err
	}
	defer record.Release()

	tx, err := delta.Begin(ctx, st, delta.AppendOptions{Create: &delta.Definition{Schema: schema}}, delta.WithEngine("example/1.0"))
	if err != nil {
		return err
	}
	if err := tx.Write(ctx, record); err != nil {
		return err
	}
	tx.SetTxn("example", 1) // in the same commit as the rows
	version, err := tx.Commit(ctx)
	if err != nil {
		return err
	}
	fmt.Println("version", version)

	table, err := delta.Open(ctx, st)
	if err != nil {
		return err
	}
	snapshot, err := table.Snapshot(ctx)
	if err != nil {
		return err
	}
	for batch, err := range snapshot.Scan(ctx, delta.ScanOptions{Columns: []string{"id", "name"}}) {
		if err != nil {
			return err
		}
		for row := range batch.Record.NumRows() {
			slice := batch.Record.NewSlice(row, row+1)
			text, err := slice.MarshalJSON()
			slice.Release()
			if err != nil {
				return err
			}
			fmt.Println(strings.Trim(string(text), "[]\n"))
		}
		batch.Record.Release()
	}
	for commit, err := range table.History(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d rows in %d files by %s\n", commit.Operation, commit.RowsAdded, commit.FilesAdded, commit.EngineInfo)
	}
	return nil
}
