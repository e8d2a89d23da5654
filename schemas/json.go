package schemas

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// wallClock is how a time without a zone is written: ISO 8601.
const wallClock = "2006-01-02T15:04:05.999999999"

// AppendJSON appends the value of a row as JSON that loses nothing of it: null for NULL and for NaN, the digits of numbers as
// they are, base64 for bytes, ISO 8601 for dates and times (UTC, without a zone: it is what data frames hold), arrays for
// lists, objects for structs and maps. An infinity has no JSON and is an error.
func AppendJSON(out []byte, column arrow.Array, row int) ([]byte, error) {
	if column.IsNull(row) {
		return append(out, "null"...), nil
	}
	switch values := column.(type) {
	case *array.Float64:
		return appendFloat(out, values.Value(row), 64)
	case *array.Float32:
		return appendFloat(out, float64(values.Value(row)), 32)
	case *array.Float16:
		return appendFloat(out, float64(values.Value(row).Float32()), 32)
	case *array.Decimal256:
		if decimal, ok := values.DataType().(*arrow.Decimal256Type); ok {
			return append(out, values.Value(row).ToString(decimal.Scale)...), nil
		}
	case *array.Dictionary:
		return AppendJSON(out, values.Dictionary(), values.GetValueIndex(row))
	case *array.Struct:
		return appendStruct(out, values, row)
	case *array.Map:
		return appendMap(out, values, row)
	case array.ListLike:
		return appendList(out, values, row)
	}
	switch value := Value(column, row).(type) {
	case int64:
		return strconv.AppendInt(out, value, 10), nil
	case bool:
		return strconv.AppendBool(out, value), nil
	case []byte:
		out = append(out, '"')
		return append(base64.StdEncoding.AppendEncode(out, value), '"'), nil
	case time.Time:
		layout := wallClock
		if column.DataType().ID() == arrow.DATE32 {
			layout = time.DateOnly
		}
		return append(value.UTC().AppendFormat(append(out, '"'), layout), '"'), nil
	case string:
		if column.DataType().ID() == arrow.DECIMAL128 {
			return append(out, value...), nil
		}
		if id := column.DataType().ID(); id == arrow.STRING || id == arrow.LARGE_STRING {
			text, err := json.Marshal(value)
			return append(out, text...), err //nolint:wrapcheck // a text always marshals
		}
	case uint64:
		return strconv.AppendUint(out, value, 10), nil
	}
	return nil, fmt.Errorf("a value of type %s has no JSON", column.DataType())
}

func appendFloat(out []byte, value float64, bits int) ([]byte, error) {
	switch {
	case math.IsNaN(value):
		return append(out, "null"...), nil
	case math.IsInf(value, 0):
		return nil, errors.New("an infinity has no JSON")
	}
	return strconv.AppendFloat(out, value, 'g', -1, bits), nil
}

func appendStruct(out []byte, values *array.Struct, row int) (_ []byte, err error) {
	structure, ok := values.DataType().(*arrow.StructType)
	if !ok {
		return nil, fmt.Errorf("a value of type %s has no JSON", values.DataType())
	}
	out = append(out, '{')
	for i := range values.NumField() {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = appendMember(out, structure.Field(i).Name, values.Field(i), row); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

func appendMap(out []byte, values *array.Map, row int) (_ []byte, err error) {
	start, end := values.ValueOffsets(row)
	out = append(out, '{')
	for i := start; i < end; i++ {
		if i > start {
			out = append(out, ',')
		}
		if out, err = appendMember(out, Text(values.Keys(), int(i)), values.Items(), int(i)); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

func appendMember(out []byte, name string, values arrow.Array, row int) ([]byte, error) {
	key, err := json.Marshal(name)
	if err != nil {
		return nil, err //nolint:wrapcheck // a text always marshals
	}
	return AppendJSON(append(append(out, key...), ':'), values, row)
}

func appendList(out []byte, values array.ListLike, row int) (_ []byte, err error) {
	start, end := values.ValueOffsets(row)
	out = append(out, '[')
	for i := start; i < end; i++ {
		if i > start {
			out = append(out, ',')
		}
		if out, err = AppendJSON(out, values.ListValues(), int(i)); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}
