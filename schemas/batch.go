package schemas

import "github.com/apache/arrow/go/v17/arrow"

// Batch is a run of consecutive rows of one source partition. Its columns pass through the engine untouched.
//
// Whoever receives a Batch owns one reference of Record and releases it.
type Batch struct {
	Record arrow.Record
	// Marks are the source's marks once every row of this batch, and of all batches before it, is done.
	Marks Marks
	// Partition names where the rows come from: a data file of a table, a file, a topic partition.
	Partition string
	// Offset is the position of the first row in Partition; row i stands at Offset+i.
	Offset int64
	// Version is the table version that brought the rows, -1 where the source has none.
	Version int64
}

// RecordSize is the memory that a record's buffers hold, in bytes. Slices of one record count its whole
// buffers each.
func RecordSize(record arrow.Record) int64 {
	total := uint64(0)
	for _, column := range record.Columns() {
		total += column.Data().SizeInBytes()
	}
	return int64(min(total, 1<<62))
}
