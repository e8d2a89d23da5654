package schemas

import (
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// HeaderReplays is the header of a record that says how often it was sent through again, a decimal number.
const HeaderReplays = "inflow-replays"

// RawSchema returns the columns of a record as it arrived: those of Spark's Kafka source, by name and type, without
// timestampType.
func RawSchema() *arrow.Schema {
	header := arrow.StructOf(text("key"), column("value", arrow.BinaryTypes.Binary))
	return arrow.NewSchema([]arrow.Field{
		column("key", arrow.BinaryTypes.Binary), column("value", arrow.BinaryTypes.Binary),
		text("topic"), integer("partition"), bigint("offset"), column("timestamp", timestamp()),
		column("headers", arrow.ListOf(header)),
	}, nil)
}

func errorColumn() arrow.Field {
	return column(ColumnError, arrow.StructOf(text("code"), text("class"), text("message"), integer("http_status"), integer("attempts")))
}

// DeadLetterSchema returns the columns of a table of dead letters: a record as it arrived, and why it has no answer.
func DeadLetterSchema() *arrow.Schema {
	return arrow.NewSchema(append(RawSchema().Fields(),
		errorColumn(), text("request_id"), text("job"), text("run_id"), column("event_time", timestamp())), nil)
}

// DeadLetterBuilder builds the columns that stand behind a record's own. It is not safe for concurrent use.
type DeadLetterBuilder struct{ record *array.RecordBuilder }

// NewDeadLetterBuilder returns a builder whose records are allocated from mem. Release it when done.
func NewDeadLetterBuilder(mem memory.Allocator) *DeadLetterBuilder {
	added := DeadLetterSchema().Fields()[len(RawSchema().Fields()):]
	return &DeadLetterBuilder{array.NewRecordBuilder(mem, arrow.NewSchema(added, nil))}
}

// Release frees the builder.
func (b *DeadLetterBuilder) Release() { b.record.Release() }

// Append adds why the next record has no answer, and when that was found.
func (b *DeadLetterBuilder) Append(answer *Answer, job, runID string, found time.Time) {
	row := fields{next: b.record.Field}
	row.rowError(answer.Error)
	row.text(answer.Invocation.RequestID)
	row.text(job)
	row.text(runID)
	row.time(found)
}

// NewRecord puts what was appended so far behind the columns of raw, and starts anew. The caller releases the record;
// raw keeps its own reference.
func (b *DeadLetterBuilder) NewRecord(raw arrow.Record) arrow.Record {
	added := b.record.NewRecord()
	defer added.Release()
	return beside(raw, added)
}
