package serde

import (
	"bytes"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
)

const (
	// maxColumns bounds the columns of a schema, nested ones too: types that hold one another twice double at each level.
	maxColumns = 10_000
	// maxDepth bounds how deep types and values nest.
	maxDepth = 64
	// Cells are larger than the bytes that they are read from: an array of empty objects has a cell for each of their
	// columns. So many may come for nothing, and so many for each byte.
	freeCells    = 1 << 17
	cellsPerByte = 2
	// What an arena keeps for the next record.
	keptCells = 1 << 12
	keptText  = 1 << 16
)

// cell is a value that was read and not yet appended. The zero cell is NULL.
type cell struct {
	valid  bool
	number int64  // of a boolean, an integer, a date, a time, the bits of a float; the lower half of a decimal
	high   int64  // the upper half of a decimal
	text   []byte // of a string or binary, in the record's bytes or the arena
	cells  []cell // members of a struct, elements of a list; of a map keys and values in turn
}

func integer(value int64) cell { return cell{valid: true, number: value} }

func float(value float64) cell { return cell{valid: true, number: bitsOf(value)} }

func boolean(value bool) cell {
	if value {
		return integer(1)
	}
	return integer(0)
}

func text(value []byte) cell { return cell{valid: true, text: value} }

func decimal(value decimal128.Num) cell {
	return cell{valid: true, number: int64(value.LowBits()), high: value.HighBits()} //nolint:gosec // bits
}

func bitsOf(value float64) int64 { return int64(math.Float64bits(value)) } //nolint:gosec // bits

func (c *cell) float() float64 { return math.Float64frombits(uint64(c.number)) } //nolint:gosec // bits

func (c *cell) decimal() decimal128.Num { return decimal128.New(c.high, uint64(c.number)) } //nolint:gosec // bits

// arena holds the cells of one record, and the text that is not in its bytes.
type arena struct {
	block []cell
	used  int // of block
	spare int // cells that may still be taken
	text  []byte
}

// tooLargeError is a record that would take far more memory than its own size.
type tooLargeError struct{}

func (tooLargeError) Error() string {
	return "it holds far more values than bytes"
}

func (a *arena) reset(size int) {
	if len(a.block) > keptCells {
		a.block = nil
	}
	if cap(a.text) > keptText {
		a.text = nil
	}
	a.used, a.text, a.spare = 0, a.text[:0], freeCells+cellsPerByte*size
}

// spend pays for n cells that are not taken.
func (a *arena) spend(n int) error {
	if a.spare -= n; a.spare < 0 {
		return tooLargeError{}
	}
	return nil
}

// take returns n cells, all NULL.
func (a *arena) take(n int) ([]cell, error) {
	if err := a.spend(n); err != nil {
		return nil, err
	}
	if len(a.block)-a.used < n { // what was taken of the old block lives on in its slices
		a.block, a.used = make([]cell, max(64, 2*len(a.block), n)), 0
	}
	taken := a.block[a.used : a.used+n : a.used+n]
	a.used += n
	clear(taken)
	return taken, nil
}

// push adds a NULL cell to a list that was made by push.
func (a *arena) push(list []cell) ([]cell, error) {
	if len(list) == cap(list) {
		grown, err := a.take(max(4, 2*len(list)))
		if err != nil {
			return nil, err
		}
		copy(grown, list)
		list = grown[:len(list)]
	}
	return list[:len(list)+1], nil
}

// unique leaves the last value of each key of a map's cells.
func unique(cells []cell) []cell {
	const few = 16 // a search through these costs less than a set
	var seen map[string]int
	if len(cells) > 2*few {
		seen = make(map[string]int, len(cells)/2)
	}
	kept := cells[:0]
	for i := 0; i+1 < len(cells); i += 2 {
		at := -1
		if seen != nil {
			if earlier, ok := seen[string(cells[i].text)]; ok {
				at = earlier
			} else {
				seen[string(cells[i].text)] = len(kept)
			}
		} else {
			for j := 0; j < len(kept); j += 2 {
				if bytes.Equal(kept[j].text, cells[i].text) {
					at = j
				}
			}
		}
		if at >= 0 {
			kept[at+1] = cells[i+1]
			continue
		}
		kept = append(kept, cells[i], cells[i+1])
	}
	return kept
}

// appendCell cannot fail: the builder's type was checked, and the cell was read for it.
func appendCell(builder array.Builder, c *cell) {
	if !c.valid {
		builder.AppendNull()
		return
	}
	switch b := builder.(type) {
	case *array.StringBuilder:
		b.BinaryBuilder.Append(c.text)
	case *array.BinaryBuilder:
		b.Append(c.text)
	case *array.BooleanBuilder:
		b.Append(c.number != 0)
	case *array.Int32Builder:
		b.Append(int32(c.number)) //nolint:gosec // was checked when it was read
	case *array.Int64Builder:
		b.Append(c.number)
	case *array.Float32Builder:
		b.Append(float32(c.float()))
	case *array.Float64Builder:
		b.Append(c.float())
	case *array.Date32Builder:
		b.Append(arrow.Date32(c.number)) //nolint:gosec // was checked when it was read
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(c.number))
	case *array.Decimal128Builder:
		b.Append(c.decimal())
	case *array.StructBuilder:
		b.Append(true)
		for i := range c.cells {
			appendCell(b.FieldBuilder(i), &c.cells[i])
		}
	case *array.ListBuilder:
		b.Append(true)
		elements := b.ValueBuilder()
		for i := range c.cells {
			appendCell(elements, &c.cells[i])
		}
	case *array.MapBuilder:
		b.Append(true)
		keys, items := b.KeyBuilder(), b.ItemBuilder()
		for i := 0; i < len(c.cells); i += 2 {
			appendCell(keys, &c.cells[i])
			appendCell(items, &c.cells[i+1])
		}
	}
}

// The types that columns have.
func timestampType() arrow.DataType { return arrow.FixedWidthTypes.Timestamp_us }

func localTimestampType() arrow.DataType { return &arrow.TimestampType{Unit: arrow.Microsecond} }

func decimalType(precision, scale int32) arrow.DataType {
	return &arrow.Decimal128Type{Precision: precision, Scale: scale}
}

func mapType(item arrow.DataType) arrow.DataType { return arrow.MapOf(arrow.BinaryTypes.String, item) }

func nullable(name string, dataType arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: dataType, Nullable: true}
}
