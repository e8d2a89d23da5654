package parquet

import (
	"bytes"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/scalar"
)

// Statistics tell what a written file holds, taken from the Arrow values and not from the file.
type Statistics struct {
	Rows int64
	// Columns holds the top-level columns by name.
	Columns map[string]ColumnStatistics
}

// ColumnStatistics are those of one column. A value is NULL also where the struct around it is.
type ColumnStatistics struct {
	// Fields holds the fields of a struct, by name; the struct itself has nothing else.
	Fields map[string]ColumnStatistics
	// NullCount is also that of a list or map, of which nothing else is told.
	NullCount int64
	// Min and Max are exact and have the column's type. They are nil where there is no value but NULL, where
	// a float is NaN, for booleans, binaries, lists and maps, and for the columns of NoStatistics.
	Min, Max scalar.Scalar
}

// statistics grows over the records of a file.
type statistics struct {
	nulls  int64
	bounds bounds // nil: only NULLs are counted
}

// bounds are the least and the greatest value seen.
type bounds interface {
	observe(values arrow.Array, parents []entry)
	scalars() (least, greatest scalar.Scalar)
}

func newStatistics(dataType arrow.DataType, silent bool) *statistics {
	if silent {
		return &statistics{}
	}
	switch dataType.ID() { //nolint:exhaustive // the other types have no bounds
	case arrow.INT8:
		return &statistics{bounds: ordered[int8, *array.Int8](dataType)}
	case arrow.INT16:
		return &statistics{bounds: ordered[int16, *array.Int16](dataType)}
	case arrow.INT32:
		return &statistics{bounds: ordered[int32, *array.Int32](dataType)}
	case arrow.INT64:
		return &statistics{bounds: ordered[int64, *array.Int64](dataType)}
	case arrow.FLOAT32:
		return &statistics{bounds: ordered[float32, *array.Float32](dataType)}
	case arrow.FLOAT64:
		return &statistics{bounds: ordered[float64, *array.Float64](dataType)}
	case arrow.DATE32:
		return &statistics{bounds: ordered[arrow.Date32, *array.Date32](dataType)}
	case arrow.TIMESTAMP:
		return &statistics{bounds: ordered[arrow.Timestamp, *array.Timestamp](dataType)}
	case arrow.DECIMAL128:
		return &statistics{bounds: &decimalBounds{dataType: dataType}}
	case arrow.STRING:
		return &statistics{bounds: &stringBounds{}}
	default:
		return &statistics{}
	}
}

func (s *statistics) observe(values arrow.Array, parents []entry) {
	nulls := values.NullN() > 0
	for _, at := range parents {
		if at.index < 0 || nulls && values.IsNull(int(at.index)) {
			s.nulls++
		}
	}
	if s.bounds != nil {
		s.bounds.observe(values, parents)
	}
}

func (s *statistics) result() ColumnStatistics {
	result := ColumnStatistics{NullCount: s.nulls}
	if s.bounds != nil {
		result.Min, result.Max = s.bounds.scalars()
	}
	return result
}

type orderedValue interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~float32 | ~float64
}

// orderedArray is an array of plain numbers.
type orderedArray[T orderedValue] interface {
	arrow.Array
	Value(i int) T
}

type orderedBounds[T orderedValue, A orderedArray[T]] struct {
	dataType        arrow.DataType
	least, greatest T
	seen, spoilt    bool // spoilt by NaN, which has no place in the order
}

func ordered[T orderedValue, A orderedArray[T]](dataType arrow.DataType) bounds {
	return &orderedBounds[T, A]{dataType: dataType}
}

func (b *orderedBounds[T, A]) observe(untyped arrow.Array, parents []entry) {
	values, ok := untyped.(A)
	if !ok {
		return // the accessor has refused it
	}
	nulls := values.NullN() > 0
	for _, at := range parents {
		if at.index < 0 || nulls && values.IsNull(int(at.index)) {
			continue
		}
		value := values.Value(int(at.index))
		switch {
		case value != value: //nolint:gocritic // NaN
			b.spoilt = true
		case !b.seen:
			b.least, b.greatest, b.seen = value, value, true
		case value < b.least:
			b.least = value
		case value > b.greatest:
			b.greatest = value
		}
	}
}

func (b *orderedBounds[T, A]) scalars() (least, greatest scalar.Scalar) {
	if !b.seen || b.spoilt {
		return nil, nil
	}
	return typedScalar(b.least, b.dataType), typedScalar(b.greatest, b.dataType)
}

func typedScalar[T orderedValue](value T, dataType arrow.DataType) scalar.Scalar {
	switch typed := any(value).(type) {
	case arrow.Timestamp:
		return scalar.NewTimestampScalar(typed, dataType)
	case arrow.Date32:
		return scalar.NewDate32Scalar(typed)
	default:
		return scalar.MakeScalar(typed)
	}
}

type decimalBounds struct {
	dataType        arrow.DataType
	least, greatest decimal128.Num
	seen            bool
}

func (b *decimalBounds) observe(untyped arrow.Array, parents []entry) {
	values, ok := untyped.(*array.Decimal128)
	if !ok {
		return // the accessor has refused it
	}
	for _, at := range parents {
		if at.index < 0 || values.IsNull(int(at.index)) {
			continue
		}
		value := values.Value(int(at.index))
		if !b.seen || value.Less(b.least) {
			b.least = value
		}
		if !b.seen || value.Greater(b.greatest) {
			b.greatest = value
		}
		b.seen = true
	}
}

func (b *decimalBounds) scalars() (least, greatest scalar.Scalar) {
	if !b.seen {
		return nil, nil
	}
	return scalar.NewDecimal128Scalar(b.least, b.dataType), scalar.NewDecimal128Scalar(b.greatest, b.dataType)
}

// stringBounds order by bytes, as Parquet and Delta do.
type stringBounds struct {
	least, greatest []byte // own copies
	seen            bool
}

func (b *stringBounds) observe(untyped arrow.Array, parents []entry) {
	values, ok := untyped.(*array.String)
	if !ok || values.Len() == 0 {
		return
	}
	nulls := values.NullN() > 0
	data, base := values.ValueBytes(), values.ValueOffset(0)
	for _, at := range parents {
		i := int(at.index)
		if i < 0 || nulls && values.IsNull(i) {
			continue
		}
		value := data[values.ValueOffset(i)-base : values.ValueOffset(i+1)-base]
		if !b.seen || bytes.Compare(value, b.least) < 0 {
			b.least = append(b.least[:0], value...)
		}
		if !b.seen || bytes.Compare(value, b.greatest) > 0 {
			b.greatest = append(b.greatest[:0], value...)
		}
		b.seen = true
	}
}

func (b *stringBounds) scalars() (least, greatest scalar.Scalar) {
	if !b.seen {
		return nil, nil
	}
	return scalar.NewStringScalar(string(b.least)), scalar.NewStringScalar(string(b.greatest))
}
