package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/memory"
	apq "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/schema"
)

const (
	// readLevels is how many values are decoded at once.
	readLevels = 1024
	// firstTexts is how many texts are decoded before it is known how long they are.
	firstTexts = 32
	// maxBatchLevels bounds the elements that the rows of one batch may have in one column, all lists together.
	maxBatchLevels = 64 << 20
	// maxBatchBytes is where a batch is cut before its rows are complete: Arrow's offsets are 32 bits wide.
	maxBatchBytes = 256 << 20
)

// leafReader decodes one leaf of one row group, a number of rows at a time. The rows it holds are those of
// the last load that cut has not dropped.
type leafReader interface {
	// load decodes until rows whole rows are held, or as many as fill a batch.
	load(rows int) error
	// fit is how many of the first rows stay below a number of bytes, at least one.
	fit(rows, limit int) int
	// take ends the current batch after rows rows; levels and build speak of it until the next load.
	take(rows int)
	levels() (defs, reps []int16)
	// build returns the values as an array with one element a place.
	build() (arrow.Array, error)
}

// typedLeaf is a leafReader of one physical type.
type typedLeaf[T any] struct {
	column  *readColumn
	decode  func(count int64, values []T, defs, reps []int16) (levels int64, read int, err error)
	failure func() error // why decode found no more
	size    func(T) int  // nil: values have no bytes of their own
	builder func() valueBuilder[T]

	values     []T // those that are there
	bytes      int // of values, where they have a size
	defs, reps []int16
	ended      bool
	// what the current batch takes of the above
	usedLevels, usedValues int
}

// valueBuilder appends physical values to an Arrow builder.
type valueBuilder[T any] struct {
	array.Builder
	value func(T) error
}

func (l *typedLeaf[T]) levels() (defs, reps []int16) {
	return l.defs[:l.usedLevels], l.reps[:l.usedLevels]
}

func (l *typedLeaf[T]) load(rows int) error {
	l.drop()
	held, scanned := 0, 0
	for {
		for ; scanned < len(l.reps); scanned++ {
			if l.reps[scanned] != 0 {
				continue
			}
			if held == rows {
				return nil // the next row has begun
			}
			held++
		}
		if held > 1 && l.bytes > maxBatchBytes {
			return nil // the first row is whole, and fit will cut off the last one
		}
		if held == rows && (l.ended || l.column.rep == 0) {
			return nil
		}
		if l.ended {
			if err := l.failure(); err != nil {
				return err
			}
			return errors.New("the column ends before its row group")
		}
		if len(l.defs) > maxBatchLevels {
			return fmt.Errorf("%d rows have more than %d elements, read fewer rows at once", rows, maxBatchLevels)
		}
		if err := l.more(max(rows-held, 1)); err != nil {
			return err
		}
	}
}

// drop forgets the last batch.
func (l *typedLeaf[T]) drop() {
	l.defs = l.defs[:copy(l.defs, l.defs[l.usedLevels:])]
	l.reps = l.reps[:copy(l.reps, l.reps[l.usedLevels:])]
	if l.size != nil {
		for _, value := range l.values[:l.usedValues] {
			l.bytes -= l.size(value)
		}
	}
	rest := copy(l.values, l.values[l.usedValues:])
	clear(l.values[rest:]) // they may point into pages
	l.values = l.values[:rest]
	l.usedLevels, l.usedValues = 0, 0
}

// more decodes the next values.
func (l *typedLeaf[T]) more(want int) error {
	count := readLevels
	if l.column.rep == 0 {
		count = min(count, want) // one value is one row
	}
	if l.size != nil && len(l.values) == 0 {
		count = min(count, firstTexts)
	} else if l.size != nil && l.bytes <= maxBatchBytes {
		// As many as may be expected to fill the batch.
		count = min(count, (maxBatchBytes-l.bytes)/(l.bytes/len(l.values)+1)+1)
	}
	levels, values := len(l.defs), len(l.values)
	l.defs, l.reps = extend(l.defs, count), extend(l.reps, count)
	l.values = extend(l.values, count)
	clear(l.reps[levels:])
	var reps []int16
	if l.column.rep > 0 {
		reps = l.reps[levels:]
	}
	read, got, err := l.decode(int64(count), l.values[values:], l.defs[levels:], reps)
	if err != nil {
		return err
	}
	if read < 0 || read > int64(count) || got < 0 || got > count {
		return errors.New("the page holds other values than it says")
	}
	l.defs, l.reps, l.values = l.defs[:levels+int(read)], l.reps[:levels+int(read)], l.values[:values+got]
	l.ended = read < int64(count)
	if l.column.def == 0 {
		clear(l.defs[levels:])
	}
	there := 0
	for i := levels; i < len(l.defs); i++ {
		if def, rep := int(l.defs[i]), int(l.reps[i]); def < 0 || def > l.column.def || rep < 0 || rep > l.column.rep || i == 0 && rep != 0 {
			return errors.New("a level is out of range")
		} else if def == l.column.def {
			there++
		}
	}
	if there != got {
		return errors.New("the page holds other values than its levels say")
	}
	if l.size != nil {
		for _, value := range l.values[values:] {
			l.bytes += l.size(value)
		}
	}
	return nil
}

func extend[T any](slice []T, count int) []T {
	for cap(slice)-len(slice) < count {
		slice = append(slice[:cap(slice)], make([]T, max(count, cap(slice)))...)[:len(slice)]
	}
	return slice[:len(slice)+count]
}

func (l *typedLeaf[T]) fit(rows, limit int) int {
	if l.size == nil {
		return rows
	}
	bytes, row, value := 0, 0, 0
	for i, def := range l.defs {
		if l.reps[i] == 0 {
			if row == rows {
				break
			}
			row++
		}
		if int(def) != l.column.def {
			continue
		}
		if bytes += l.size(l.values[value]); bytes > limit {
			return max(row-1, 1)
		}
		value++
	}
	return rows
}

func (l *typedLeaf[T]) take(rows int) {
	row := 0
	l.usedLevels, l.usedValues = len(l.defs), 0
	for i, def := range l.defs {
		if l.reps[i] == 0 {
			if row == rows {
				l.usedLevels = i
				break
			}
			row++
		}
		if int(def) == l.column.def {
			l.usedValues++
		}
	}
}

func (l *typedLeaf[T]) build() (arrow.Array, error) {
	builder := l.builder()
	defer builder.Release()
	builder.Reserve(l.usedLevels)
	next := 0
	for _, def := range l.defs[:l.usedLevels] {
		switch {
		case int(def) == l.column.def:
			if err := builder.value(l.values[next]); err != nil {
				return nil, err
			}
			next++
		case int(def) >= l.column.slotDef:
			builder.AppendNull()
		}
	}
	return builder.NewArray(), nil
}

// newLeafReader wraps the decoder of one column chunk.
func newLeafReader(column *readColumn, chunk file.ColumnChunkReader, mem memory.Allocator) (leafReader, error) {
	switch typed := chunk.(type) {
	case *file.BooleanColumnChunkReader:
		return &typedLeaf[bool]{column: column, decode: typed.ReadBatch, failure: typed.Err, builder: func() valueBuilder[bool] {
			b := array.NewBooleanBuilder(mem)
			return valueBuilder[bool]{b, func(v bool) error { b.Append(v); return nil }}
		}}, nil
	case *file.Int32ColumnChunkReader:
		return &typedLeaf[int32]{column: column, decode: typed.ReadBatch, failure: typed.Err, builder: func() valueBuilder[int32] { return int32Builder(column, mem) }}, nil
	case *file.Int64ColumnChunkReader:
		return &typedLeaf[int64]{column: column, decode: typed.ReadBatch, failure: typed.Err, builder: func() valueBuilder[int64] { return int64Builder(column, mem) }}, nil
	case *file.Int96ColumnChunkReader:
		return &typedLeaf[apq.Int96]{column: column, decode: typed.ReadBatch, failure: typed.Err, builder: func() valueBuilder[apq.Int96] {
			b := array.NewBuilder(mem, column.field.Type)
			return valueBuilder[apq.Int96]{b, func(v apq.Int96) error { appendTo(b, int96Micros(v)); return nil }}
		}}, nil
	case *file.Float32ColumnChunkReader:
		return &typedLeaf[float32]{column: column, decode: typed.ReadBatch, failure: typed.Err, builder: func() valueBuilder[float32] {
			b := array.NewFloat32Builder(mem)
			return valueBuilder[float32]{b, func(v float32) error { b.Append(v); return nil }}
		}}, nil
	case *file.Float64ColumnChunkReader:
		return &typedLeaf[float64]{column: column, decode: typed.ReadBatch, failure: typed.Err, builder: func() valueBuilder[float64] {
			b := array.NewFloat64Builder(mem)
			return valueBuilder[float64]{b, func(v float64) error { b.Append(v); return nil }}
		}}, nil
	case *file.ByteArrayColumnChunkReader:
		return &typedLeaf[apq.ByteArray]{column: column, decode: typed.ReadBatch, failure: typed.Err, size: func(v apq.ByteArray) int { return len(v) }, builder: func() valueBuilder[apq.ByteArray] {
			b, value := bytesBuilder(column, mem)
			return valueBuilder[apq.ByteArray]{b, func(v apq.ByteArray) error { return value(v) }}
		}}, nil
	case *file.FixedLenByteArrayColumnChunkReader:
		return &typedLeaf[apq.FixedLenByteArray]{column: column, decode: typed.ReadBatch, failure: typed.Err, size: func(v apq.FixedLenByteArray) int { return len(v) }, builder: func() valueBuilder[apq.FixedLenByteArray] {
			b, value := bytesBuilder(column, mem)
			return valueBuilder[apq.FixedLenByteArray]{b, func(v apq.FixedLenByteArray) error { return value(v) }}
		}}, nil
	}
	return nil, fmt.Errorf("type %s is not known", chunk.Type())
}

func int32Builder(column *readColumn, mem memory.Allocator) valueBuilder[int32] {
	b := array.NewBuilder(mem, column.field.Type)
	return valueBuilder[int32]{b, func(v int32) error { appendTo(b, int64(v)); return nil }}
}

func int64Builder(column *readColumn, mem memory.Allocator) valueBuilder[int64] {
	b := array.NewBuilder(mem, column.field.Type)
	value := func(v int64) error { appendTo(b, v); return nil }
	if timestamp, ok := column.node.LogicalType().(*schema.TimestampLogicalType); ok {
		switch timestamp.TimeUnit() {
		case schema.TimeUnitMillis:
			value = func(v int64) error {
				if v > math.MaxInt64/1000 || v < math.MinInt64/1000 {
					return errors.New("a timestamp in milliseconds is out of the range of microseconds")
				}
				appendTo(b, v*1000)
				return nil
			}
		case schema.TimeUnitNanos:
			value = func(v int64) error {
				micros := v / 1000
				if v%1000 < 0 {
					micros-- // earlier, as for the years after 1970
				}
				appendTo(b, micros)
				return nil
			}
		case schema.TimeUnitMicros, schema.TimeUnitUnknown:
		}
	}
	return valueBuilder[int64]{b, value}
}

// appendTo appends to a builder of any type that INT32, INT64 and INT96 may hold. Narrow types cut off what a
// file that contradicts itself would make too wide.
func appendTo(builder array.Builder, v int64) {
	switch b := builder.(type) {
	case *array.Int8Builder:
		b.Append(int8(v)) //nolint:gosec // see above
	case *array.Int16Builder:
		b.Append(int16(v)) //nolint:gosec // see above
	case *array.Int32Builder:
		b.Append(int32(v)) //nolint:gosec // see above
	case *array.Int64Builder:
		b.Append(v)
	case *array.Uint8Builder:
		b.Append(uint8(v)) //nolint:gosec // see above
	case *array.Uint16Builder:
		b.Append(uint16(v)) //nolint:gosec // see above
	case *array.Uint32Builder:
		b.Append(uint32(v)) //nolint:gosec // see above
	case *array.Uint64Builder:
		b.Append(uint64(v)) //nolint:gosec // see above
	case *array.Date32Builder:
		b.Append(arrow.Date32(v)) //nolint:gosec // see above
	case *array.Time32Builder:
		b.Append(arrow.Time32(v)) //nolint:gosec // see above
	case *array.Time64Builder:
		b.Append(arrow.Time64(v))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v))
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(v))
	}
}

// int96Micros turns nanoseconds of a Julian day into microseconds since 1970.
func int96Micros(v apq.Int96) int64 {
	const epochDay, dayMicros = 2_440_588, 86_400_000_000
	nanos := int64(binary.LittleEndian.Uint64(v[:8])) //nolint:gosec // a day has fewer
	return (int64(binary.LittleEndian.Uint32(v[8:]))-epochDay)*dayMicros + nanos/1000
}

func bytesBuilder(column *readColumn, mem memory.Allocator) (array.Builder, func([]byte) error) {
	switch column.field.Type.ID() { //nolint:exhaustive // the types that arrowType gives to bytes
	case arrow.STRING:
		b := array.NewStringBuilder(mem)
		return b, func(v []byte) error { b.BinaryBuilder.Append(v); return nil }
	case arrow.DECIMAL128:
		b := array.NewBuilder(mem, column.field.Type).(*array.Decimal128Builder) //nolint:errcheck,forcetypeassert // the case above
		return b, func(v []byte) error {
			num, err := decimalOf(v)
			if err == nil {
				b.Append(num)
			}
			return err
		}
	default:
		b := array.NewBinaryBuilder(mem, arrow.BinaryTypes.Binary)
		return b, func(v []byte) error { b.Append(v); return nil }
	}
}

// decimalOf reads two's complement, big endian, of any length that says no more than 16 bytes can.
func decimalOf(v []byte) (decimal128.Num, error) {
	var wide [16]byte
	if len(v) == 0 {
		return decimal128.Num{}, errors.New("a decimal of no bytes")
	}
	fill := byte(0)
	if v[0]&0x80 != 0 {
		fill = 0xff
	}
	for len(v) > 16 {
		if v[0] != fill || (v[1]^fill)&0x80 != 0 {
			return decimal128.Num{}, errors.New("a decimal of more than 38 digits")
		}
		v = v[1:]
	}
	for i := range 16 - len(v) {
		wide[i] = fill
	}
	copy(wide[16-len(v):], v)
	return decimal128.New(int64(binary.BigEndian.Uint64(wide[:8])), binary.BigEndian.Uint64(wide[8:])), nil //nolint:gosec // the same bits, two's complement
}
