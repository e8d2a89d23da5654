package delta_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

// A sink commits rows together with the marks up to which they reach; whoever starts again asks for them first.
func ExampleSink() {
	dir, err := os.MkdirTemp("", "delta")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an example's scratch folder
	for range 2 {           // the second run finds everything done
		if err := runOnce(context.Background(), store.NewLocal(dir)); err != nil {
			panic(err)
		}
	}
	// Output:
	// from row=0
	// from row=2
}

func runOnce(ctx context.Context, st store.Store) error {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	sink, err := delta.NewSink(ctx, st, delta.SinkOptions{Prefix: "job/0/", Schema: schema})
	if err != nil {
		return err
	}
	marks, err := sink.Marks(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("from row=%d\n", marks["row"])
	if marks["row"] == 2 {
		return sink.Close(ctx)
	}
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(`[{"id":1},{"id":2}]`))
	if err != nil {
		return err
	}
	defer record.Release()
	if err := sink.Write(ctx, record); err != nil {
		return errors.Join(err, sink.Close(ctx))
	}
	commit, err := sink.Seal(ctx)
	if err == nil {
		err = commit(ctx, marks, schemas.Marks{"row": 2}, nil)
	}
	return errors.Join(err, sink.Close(ctx))
}
