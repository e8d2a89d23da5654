package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/connectors/store"
)

const (
	textBytes = 500
	fileRows  = 100_000
)

// makeTable writes a Delta table of id and text.
func makeTable(ctx context.Context, dir string, rows int) error {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	for first := 0; first < rows; first += fileRows {
		tx, err := delta.Begin(ctx, store.NewLocal(dir), delta.AppendOptions{
			Create: &delta.Definition{Schema: schema}, NoStatistics: []string{"text"},
		})
		if err != nil {
			return err
		}
		if err := fill(ctx, tx, schema, first, min(first+fileRows, rows)); err != nil {
			return errors.Join(err, tx.Abort(ctx))
		}
		if _, err := tx.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

func fill(ctx context.Context, tx *delta.Append, schema *arrow.Schema, first, end int) error {
	const step = 10_000
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	ids := builder.Field(0).(*array.Int64Builder)    //nolint:errcheck,forcetypeassert // the schema says so
	texts := builder.Field(1).(*array.StringBuilder) //nolint:errcheck,forcetypeassert // the schema says so
	for ; first < end; first += step {
		for id := first; id < min(first+step, end); id++ {
			ids.Append(int64(id))
			texts.Append(text(id))
		}
		record := builder.NewRecord()
		err := tx.Write(ctx, record)
		record.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// text is a row's own text, the same in every run.
func text(id int) string {
	words := [...]string{
		"the", "order", "arrived", "late", "and", "damaged", "please", "refund", "invoice", "customer", "support",
		"thanks", "for", "your", "help", "with", "account", "password", "reset", "never", "again", "excellent",
	}
	random := rand.New(rand.NewPCG(uint64(id), 1)) //nolint:gosec // a text, no secret
	var out strings.Builder
	out.Grow(textBytes + 16)
	for out.Len() < textBytes {
		out.WriteString(words[random.IntN(len(words))])
		out.WriteByte(' ')
	}
	return out.String()
}
