package schemas

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// Value returns the value of a row as a Go value: nil, bool, int64, uint64, float64, string, []byte,
// time.Time, []any or map[string]any. A decimal is its text, so that no digit is lost. Strings and bytes are
// copies that outlive the array.
func Value(column arrow.Array, row int) any {
	if column.IsNull(row) {
		return nil
	}
	switch values := column.(type) {
	case *array.String:
		return string([]byte(values.Value(row)))
	case *array.LargeString:
		return string([]byte(values.Value(row)))
	case *array.Binary:
		return append([]byte(nil), values.Value(row)...)
	case *array.Boolean:
		return values.Value(row)
	case *array.Int8:
		return int64(values.Value(row))
	case *array.Int16:
		return int64(values.Value(row))
	case *array.Int32:
		return int64(values.Value(row))
	case *array.Int64:
		return values.Value(row)
	case *array.Uint8:
		return int64(values.Value(row))
	case *array.Uint16:
		return int64(values.Value(row))
	case *array.Uint32:
		return int64(values.Value(row))
	case *array.Uint64:
		return values.Value(row)
	case *array.Float32:
		return float64(values.Value(row))
	case *array.Float64:
		return values.Value(row)
	case *array.Decimal128:
		if decimal, ok := values.DataType().(*arrow.Decimal128Type); ok {
			return values.Value(row).ToString(decimal.Scale)
		}
	case *array.Date32:
		return values.Value(row).ToTime()
	case *array.Timestamp:
		if unit, ok := values.DataType().(*arrow.TimestampType); ok {
			return values.Value(row).ToTime(unit.Unit)
		}
	case *array.Map:
		return mapValue(values, row)
	case *array.Struct:
		return structValue(values, row)
	case array.ListLike:
		return listValue(values, row)
	}
	return column.ValueStr(row)
}

func mapValue(values *array.Map, row int) map[string]any {
	start, end := values.ValueOffsets(row)
	out := make(map[string]any, end-start)
	for i := start; i < end; i++ {
		out[Text(values.Keys(), int(i))] = Value(values.Items(), int(i))
	}
	return out
}

func structValue(values *array.Struct, row int) map[string]any {
	out := make(map[string]any, values.NumField())
	structure, ok := values.DataType().(*arrow.StructType)
	if !ok {
		return out
	}
	for i := range values.NumField() {
		out[structure.Field(i).Name] = Value(values.Field(i), row)
	}
	return out
}

func listValue(values array.ListLike, row int) []any {
	start, end := values.ValueOffsets(row)
	out := make([]any, 0, end-start)
	for i := start; i < end; i++ {
		out = append(out, Value(values.ListValues(), int(i)))
	}
	return out
}

// Text returns the value of a row as it stands in a prompt or a key: text as it is, numbers in decimal,
// dates and times in ISO 8601, nothing for NULL, JSON for what is nested.
func Text(column arrow.Array, row int) string {
	switch values := column.(type) {
	case *array.String:
		if values.IsNull(row) {
			return ""
		}
		return string([]byte(values.Value(row)))
	case *array.Int64:
		if values.IsNull(row) {
			return ""
		}
		return strconv.FormatInt(values.Value(row), 10)
	}
	switch value := Value(column, row).(type) {
	case nil:
		return ""
	case string:
		return value
	case []byte:
		return string(value)
	case time.Time:
		if column.DataType().ID() == arrow.DATE32 {
			return value.Format(time.DateOnly)
		}
		return value.UTC().Format(time.RFC3339Nano)
	case []any, map[string]any:
		data, err := json.Marshal(value)
		if err != nil { // an infinity or NaN inside
			return column.ValueStr(row)
		}
		return string(data)
	case float64:
		return strconv.FormatFloat(value, 'g', -1, 64)
	default:
		return fmt.Sprint(value)
	}
}
