package schemas

import (
	"time"

	"github.com/apache/arrow/go/v17/arrow"
)

// Batch is a run of consecutive rows of one source partition. Its columns pass through the engine untouched.
//
// Whoever receives a Batch owns one reference of Record and releases it.
type Batch struct {
	Record arrow.Record
	// Marks are those of the source's marks that have moved once every row of this batch, and of all batches before it,
	// is done.
	Marks Marks
	// Until returns what the marks are once only the rows before one are done; nil: the batch is done whole or not at all.
	Until func(row int) Marks
	// Partition names where the rows come from: a data file of a table, a file, a topic partition.
	Partition string
	// Offset is the position of the first row in Partition; row i stands at Offset+i.
	Offset int64
	// Version is the table version that brought the rows, -1 where the source has none.
	Version int64
	// Offsets are where the rows stand in Partition, where that is not one behind the other; nil: it is.
	Offsets []int64
	// Oldest and Newest are when the first and the last of the rows came into being; zero: not known.
	Oldest, Newest time.Time
	// Faults are the rows that could not be read, by their index: their columns are NULL, and nothing is asked about them.
	Faults map[int]*Error
	// Raw are the rows as they arrived, in the columns of RawSchema, where dead letters are kept; nil: they are not. It is
	// released with Record.
	Raw arrow.Record
}

// Release gives back the batch's references.
func (b *Batch) Release() {
	b.Record.Release()
	if b.Raw != nil {
		b.Raw.Release()
	}
}

// Place is where row i stands in Partition.
func (b *Batch) Place(i int) int64 {
	if b.Offsets != nil {
		return b.Offsets[i]
	}
	return b.Offset + int64(i)
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
