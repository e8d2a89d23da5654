package schemas

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// The columns that Inflow adds behind a row's own.
const (
	ColumnResponse  = "response"
	ColumnError     = "error"
	ColumnInference = "inference"
)

// ResponseType is what the response column holds, where that is not text.
type ResponseType interface {
	// Arrow is the column's type.
	Arrow() arrow.DataType
	// Append adds an answer to a builder of that type. The answer has been checked.
	Append(builder array.Builder, answer *Answer) error
}

func resultColumns(response ResponseType) []arrow.Field {
	answer := text(ColumnResponse)
	if response != nil {
		answer = column(ColumnResponse, response.Arrow())
	}
	return []arrow.Field{
		answer,
		errorColumn(),
		column(ColumnInference, arrow.StructOf(
			text("request_id"), text("invocation_id"), text("endpoint"), text("destination"), text("model"), text("prompt_version"),
			bigint("input_tokens"), bigint("output_tokens"),
			column("cost_usd", &arrow.Decimal128Type{Precision: 38, Scale: USDScale}), bigint("latency_ms"),
			column("reused", arrow.FixedWidthTypes.Boolean), text("run_id"), column("event_time", timestamp()))),
	}
}

// ResultSchema returns the columns of a results table: the input's, then response, error and inference. It
// refuses an input that has a column of one of those names. response nil is text.
func ResultSchema(input *arrow.Schema, response ResponseType) (*arrow.Schema, error) {
	added := resultColumns(response)
	for _, field := range added {
		if input.HasField(field.Name) {
			return nil, fmt.Errorf("%w: the source has a column %q, which the results need for themselves; "+
				"leave it out under source.columns", ErrInvalid, field.Name)
		}
	}
	return arrow.NewSchema(append(slices.Clone(input.Fields()), added...), nil), nil
}

// ResultBuilder builds the columns that stand behind a batch's own. It is not safe for concurrent use.
type ResultBuilder struct {
	record   *array.RecordBuilder
	response ResponseType
}

// NewResultBuilder returns a builder whose records are allocated from mem. Release it when done. response nil is text.
func NewResultBuilder(mem memory.Allocator, response ResponseType) *ResultBuilder {
	return &ResultBuilder{record: array.NewRecordBuilder(mem, arrow.NewSchema(resultColumns(response), nil)), response: response}
}

// Release frees the builder.
func (b *ResultBuilder) Release() { b.record.Release() }

// Append adds the answer of the batch's next row.
func (b *ResultBuilder) Append(answer *Answer, runID string) error {
	row := fields{next: b.record.Field}
	inv := &answer.Invocation
	if answer.Error != nil {
		row.null()
		row.rowError(answer.Error)
	} else {
		if err := b.appendAnswer(row.builder(), answer); err != nil {
			return err
		}
		row.null()
	}
	row.structure(func(f *fields) {
		f.text(inv.RequestID)
		f.text(inv.InvocationID)
		f.text(inv.EndpointName)
		f.text(inv.DestinationName)
		f.text(inv.Model)
		f.text(inv.PromptVersion)
		f.bigint(inv.InputTokens, inv.InvocationID != "")
		f.bigint(inv.OutputTokens, inv.InvocationID != "")
		f.usd(inv.CostUSD)
		f.bigint(inv.Latency.Milliseconds(), inv.InvocationID != "")
		f.boolean(answer.Reused)
		f.text(runID)
		f.time(inv.EventTime)
	})
	return nil
}

func (b *ResultBuilder) appendAnswer(builder array.Builder, answer *Answer) error {
	if b.response != nil {
		return b.response.Append(builder, answer)
	}
	builder.(*array.StringBuilder).Append(answer.Text) //nolint:errcheck,forcetypeassert // an empty answer is an answer
	return nil
}

// NewRecord puts the answers appended so far behind the columns of input, whose rows they answer, and starts
// anew. The caller releases the record; input keeps its own reference.
func (b *ResultBuilder) NewRecord(input arrow.Record) arrow.Record {
	added := b.record.NewRecord()
	defer added.Release()
	return beside(input, added)
}

// beside puts the columns of two records of as many rows into one.
func beside(left, right arrow.Record) arrow.Record {
	names := slices.Concat(left.Schema().Fields(), right.Schema().Fields())
	columns := slices.Concat(left.Columns(), right.Columns())
	return array.NewRecord(arrow.NewSchema(names, nil), columns, right.NumRows())
}

// EncodeVector writes an embedding as an Answer keeps it.
func EncodeVector(vector []float32) []byte {
	out := make([]byte, 0, 4*len(vector))
	for _, each := range vector {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(each))
	}
	return out
}

// EmbeddingType is the ResponseType of embeddings: ARRAY<FLOAT>.
type EmbeddingType struct{}

// Arrow implements ResponseType.
func (EmbeddingType) Arrow() arrow.DataType { return arrow.ListOf(arrow.PrimitiveTypes.Float32) }

// Append implements ResponseType.
func (EmbeddingType) Append(builder array.Builder, answer *Answer) error {
	list, ok := builder.(*array.ListBuilder)
	if !ok || len(answer.Vector)%4 != 0 || len(answer.Vector) == 0 {
		return errors.New("an answer is no embedding")
	}
	list.Append(true)
	values := list.ValueBuilder().(*array.Float32Builder) //nolint:errcheck,forcetypeassert // Arrow says so
	values.Reserve(len(answer.Vector) / 4)
	for at := 0; at < len(answer.Vector); at += 4 {
		values.UnsafeAppend(math.Float32frombits(binary.LittleEndian.Uint32(answer.Vector[at:])))
	}
	return nil
}
