package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	pq "github.com/parquet-go/parquet-go"

	"github.com/inflowhq/inflow/schemas"
)

// leaf turns the values of one Arrow array into Parquet values.
type leaf struct {
	index  int
	silent bool // no value may reach the statistics
	// noBounds is set where parquet-go computes wrong ones.
	noBounds bool
	// values returns the accessor of one array. The value may point into the array.
	values func(arrow.Array) (func(i int) pq.Value, error)
	writer *pq.ColumnWriter
	nulls  map[uint8][]pq.Value // by level, maxPending of each
}

var errType = errors.New("the array is not of the column's type")

// accessor types the array once, so that the loop over its values need not.
func accessor[A arrow.Array](get func(array A, i int) pq.Value) func(arrow.Array) (func(int) pq.Value, error) {
	return func(untyped arrow.Array) (func(int) pq.Value, error) {
		typed, ok := untyped.(A)
		if !ok {
			return nil, errType
		}
		return func(i int) pq.Value { return get(typed, i) }, nil
	}
}

// newLeaf returns the node and the accessor of a type that has no fields.
func newLeaf(dataType arrow.DataType) (pq.Node, *leaf, error) {
	switch dataType.ID() { //nolint:exhaustive // what is not listed is refused below
	case arrow.BOOL:
		return pq.Leaf(pq.BooleanType), &leaf{values: accessor(func(a *array.Boolean, i int) pq.Value { return pq.BooleanValue(a.Value(i)) })}, nil
	case arrow.INT8:
		return pq.Int(8), &leaf{values: accessor(func(a *array.Int8, i int) pq.Value { return pq.Int32Value(int32(a.Value(i))) })}, nil
	case arrow.INT16:
		return pq.Int(16), &leaf{values: accessor(func(a *array.Int16, i int) pq.Value { return pq.Int32Value(int32(a.Value(i))) })}, nil
	case arrow.INT32:
		return pq.Int(32), &leaf{values: accessor(func(a *array.Int32, i int) pq.Value { return pq.Int32Value(a.Value(i)) })}, nil
	case arrow.INT64:
		return pq.Int(64), &leaf{values: accessor(func(a *array.Int64, i int) pq.Value { return pq.Int64Value(a.Value(i)) })}, nil
	case arrow.FLOAT32:
		return pq.Leaf(pq.FloatType), &leaf{values: accessor(func(a *array.Float32, i int) pq.Value { return pq.FloatValue(a.Value(i)) })}, nil
	case arrow.FLOAT64:
		return pq.Leaf(pq.DoubleType), &leaf{values: accessor(func(a *array.Float64, i int) pq.Value { return pq.DoubleValue(a.Value(i)) })}, nil
	case arrow.DATE32:
		return pq.Date(), &leaf{values: accessor(func(a *array.Date32, i int) pq.Value { return pq.Int32Value(int32(a.Value(i))) })}, nil
	case arrow.STRING:
		return pq.String(), &leaf{values: stringValues}, nil
	case arrow.BINARY:
		return pq.Leaf(pq.ByteArrayType), &leaf{values: accessor(func(a *array.Binary, i int) pq.Value { return pq.ByteArrayValue(a.Value(i)) })}, nil
	case arrow.TIMESTAMP:
		timestamp, ok := dataType.(*arrow.TimestampType)
		if !ok || timestamp.Unit != arrow.Microsecond {
			return nil, nil, fmt.Errorf("type %s is not written, cast it to microseconds: %w", dataType, schemas.ErrInvalid)
		}
		return pq.TimestampAdjusted(pq.Microsecond, timestamp.TimeZone != ""), &leaf{values: accessor(func(a *array.Timestamp, i int) pq.Value { return pq.Int64Value(int64(a.Value(i))) })}, nil
	case arrow.DECIMAL128:
		decimal, ok := dataType.(*arrow.Decimal128Type)
		if !ok || decimal.Precision < 1 || decimal.Precision > 38 || decimal.Scale < 0 || decimal.Scale > decimal.Precision {
			return nil, nil, fmt.Errorf("type %s is no decimal of Parquet: %w", dataType, schemas.ErrInvalid)
		}
		node, lf := decimalLeaf(int(decimal.Precision), int(decimal.Scale))
		return node, lf, nil
	default:
		return nil, nil, fmt.Errorf("type %s is not written, cast it: %w", dataType, schemas.ErrInvalid)
	}
}

func stringValues(untyped arrow.Array) (func(int) pq.Value, error) {
	typed, ok := untyped.(*array.String)
	if !ok {
		return nil, errType
	}
	if typed.Len() == 0 {
		return func(int) pq.Value { return pq.NullValue() }, nil
	}
	// The bytes behind the strings, uncopied.
	data, base := typed.ValueBytes(), typed.ValueOffset(0)
	return func(i int) pq.Value {
		return pq.ByteArrayValue(data[typed.ValueOffset(i)-base : typed.ValueOffset(i+1)-base])
	}, nil
}

// decimalLeaf stores a decimal as Spark does: in the smallest of INT32, INT64 and a fixed number of bytes.
func decimalLeaf(precision, scale int) (pq.Node, *leaf) {
	switch {
	case precision <= 9:
		return pq.Decimal(scale, precision, pq.Int32Type), &leaf{noBounds: true, values: accessor(func(a *array.Decimal128, i int) pq.Value {
			return pq.Int32Value(int32(a.Value(i).LowBits())) //nolint:gosec // nine digits fit
		})}
	case precision <= 18:
		return pq.Decimal(scale, precision, pq.Int64Type), &leaf{noBounds: true, values: accessor(func(a *array.Decimal128, i int) pq.Value {
			return pq.Int64Value(int64(a.Value(i).LowBits())) //nolint:gosec // eighteen digits fit
		})}
	}
	width := decimalWidth(precision)
	return pq.Decimal(scale, precision, pq.FixedLenByteArrayType(width)), &leaf{noBounds: true, values: func(untyped arrow.Array) (func(int) pq.Value, error) {
		typed, ok := untyped.(*array.Decimal128)
		if !ok {
			return nil, errType
		}
		var arena []byte
		return func(i int) pq.Value {
			if len(arena) < 16 {
				arena = make([]byte, 16<<8)
			}
			num := typed.Value(i)
			binary.BigEndian.PutUint64(arena, uint64(num.HighBits())) //nolint:gosec // the same bits, two's complement
			binary.BigEndian.PutUint64(arena[8:], num.LowBits())
			value := pq.FixedLenByteArrayValue(arena[16-width : 16 : 16])
			arena = arena[16:]
			return value
		}, nil
	}}
}

// decimalWidth is the least number of bytes that hold any number of so many digits.
func decimalWidth(precision int) int {
	// A digit takes log2(10) bits and the sign one; 3.3219281 is log2(10) rounded up.
	return (precision*33219281/10_000_000 + 1 + 1 + 7) / 8
}
