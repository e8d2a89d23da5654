package serde

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// jsonRows writes an object a row.
type jsonRows struct {
	fields []arrow.Field
	finite bool // numbers that are none have no place in the schema
}

func (j jsonRows) appendRow(buf []byte, columns []arrow.Array, row int) ([]byte, error) {
	buf = append(buf, '{')
	for i, column := range columns {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendQuoted(buf, j.fields[i].Name)
		buf = append(buf, ':')
		var err error
		if buf, err = j.appendValue(buf, column, row); err != nil {
			return nil, fmt.Errorf("%s: %w", j.fields[i].Name, err)
		}
	}
	return append(buf, '}'), nil
}

func (j jsonRows) appendValue(buf []byte, column arrow.Array, row int) ([]byte, error) {
	if column.IsNull(row) {
		return append(buf, "null"...), nil
	}
	switch typed := column.(type) {
	case *array.String, *array.LargeString:
		value, err := checkedText(column, row)
		return appendQuoted(buf, value), err
	case *array.Binary, *array.LargeBinary:
		buf = append(buf, '"')
		buf = base64.StdEncoding.AppendEncode(buf, []byte(textAt(column, row)))
		return append(buf, '"'), nil
	case *array.Date32, *array.Timestamp:
		buf = append(buf, '"')
		buf, err := appendScalar(buf, column, row)
		return append(buf, '"'), err
	case *array.Float32:
		return j.appendFloat(buf, float64(typed.Value(row)), 32)
	case *array.Float64:
		return j.appendFloat(buf, typed.Value(row), 64)
	case *array.Struct:
		return j.appendStruct(buf, typed, row)
	case *array.Map: // before the lists, which it also is
		return j.appendMap(buf, typed, row)
	case *array.List:
		buf = append(buf, '[')
		start, end := typed.ValueOffsets(row)
		for at := start; at < end; at++ {
			if at > start {
				buf = append(buf, ',')
			}
			var err error
			if buf, err = j.appendValue(buf, typed.ListValues(), int(at)); err != nil {
				return nil, err
			}
		}
		return append(buf, ']'), nil
	}
	return appendScalar(buf, column, row)
}

func (j jsonRows) appendFloat(buf []byte, value float64, size int) ([]byte, error) {
	var name string
	switch {
	case math.IsNaN(value):
		name = textNaN
	case math.IsInf(value, 1):
		name = textInfinity
	case math.IsInf(value, -1):
		name = "-" + textInfinity
	default:
		return strconv.AppendFloat(buf, value, 'g', -1, size), nil
	}
	if j.finite {
		return nil, errors.New("JSON has no number " + name)
	}
	return appendQuoted(buf, name), nil
}

func (j jsonRows) appendStruct(buf []byte, column *array.Struct, row int) ([]byte, error) {
	structure, ok := column.DataType().(*arrow.StructType)
	if !ok {
		return buf, nil
	}
	buf = append(buf, '{')
	for i, field := range structure.Fields() {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendQuoted(buf, field.Name)
		buf = append(buf, ':')
		var err error
		if buf, err = j.appendValue(buf, column.Field(i), row); err != nil {
			return nil, fmt.Errorf("%s: %w", field.Name, err)
		}
	}
	return append(buf, '}'), nil
}

func (j jsonRows) appendMap(buf []byte, column *array.Map, row int) ([]byte, error) {
	buf = append(buf, '{')
	start, end := column.ValueOffsets(row)
	for at := start; at < end; at++ {
		if at > start {
			buf = append(buf, ',')
		}
		key, err := checkedText(column.Keys(), int(at))
		if err != nil {
			return nil, err
		}
		buf = appendQuoted(buf, key)
		buf = append(buf, ':')
		if buf, err = j.appendValue(buf, column.Items(), int(at)); err != nil {
			return nil, err
		}
	}
	return append(buf, '}'), nil
}

// appendScalar writes what is neither text nor nested, without quotes.
func appendScalar(buf []byte, column arrow.Array, row int) ([]byte, error) {
	switch typed := column.(type) {
	case *array.Boolean:
		return strconv.AppendBool(buf, typed.Value(row)), nil
	case *array.Float32:
		return strconv.AppendFloat(buf, float64(typed.Value(row)), 'g', -1, 32), nil
	case *array.Float64:
		return strconv.AppendFloat(buf, typed.Value(row), 'g', -1, 64), nil
	case *array.Decimal128:
		decimalType, ok := typed.DataType().(*arrow.Decimal128Type)
		if !ok {
			return buf, nil
		}
		return appendDecimal(buf, typed.Value(row), decimalType.Scale), nil
	case *array.Date32:
		return appendTime(buf, int64(typed.Value(row))*secondsPerDay*1_000_000, dateForm)
	case *array.Timestamp:
		micros, err := microsAt(typed, row)
		if err != nil {
			return nil, err
		}
		if isLocal(typed.DataType()) {
			return appendTime(buf, micros, localForm)
		}
		return appendTime(buf, micros, zonedForm)
	}
	return strconv.AppendInt(buf, integerAt(column, row), 10), nil
}

// appendQuoted writes a string of JSON. The value is UTF-8.
func appendQuoted(buf []byte, value string) []byte {
	const hexDigits = "0123456789abcdef"
	buf = append(buf, '"')
	start := 0
	for i := range len(value) {
		c := value[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		buf = append(buf, value[start:i]...)
		switch c {
		case '"', '\\':
			buf = append(buf, '\\', c)
		case '\n':
			buf = append(buf, '\\', 'n')
		case '\r':
			buf = append(buf, '\\', 'r')
		case '\t':
			buf = append(buf, '\\', 't')
		default:
			buf = append(buf, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
		}
		start = i + 1
	}
	buf = append(buf, value[start:]...)
	return append(buf, '"')
}

// writeJSONSchema says in JSON Schema what jsonRows writes.
func writeJSONSchema(fields []arrow.Field) string {
	buf := []byte(`{"$schema":"http://json-schema.org/draft-07/schema#",`)
	return string(appendObjectSchema(buf, fields, false)) + "}"
}

// appendObjectSchema leaves the closing brace to the caller.
func appendObjectSchema(buf []byte, fields []arrow.Field, null bool) []byte {
	buf = append(buf, `"type":`...)
	buf = appendTypeName(buf, "object", null)
	buf = append(buf, `,"properties":{`...)
	for i, field := range fields {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendQuoted(buf, field.Name)
		buf = append(buf, ':')
		buf = appendTypeSchema(buf, field.Type, true)
	}
	return append(buf, '}')
}

func appendTypeName(buf []byte, name string, null bool) []byte {
	if null {
		return fmt.Appendf(buf, `[%q,"null"]`, name)
	}
	return strconv.AppendQuote(buf, name)
}

func appendTypeSchema(buf []byte, dataType arrow.DataType, null bool) []byte {
	name, more := "string", ""
	switch typed := dataType.(type) {
	case *arrow.BooleanType:
		name = "boolean"
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type:
		name, more = "integer", `,"format":"int32"`
	case *arrow.Int64Type:
		name, more = "integer", `,"format":"int64"`
	case *arrow.Float32Type:
		name, more = "number", `,"format":"float"`
	case *arrow.Float64Type:
		name, more = "number", `,"format":"double"`
	case *arrow.Decimal128Type:
		name, more = "number", fmt.Sprintf(`,"format":"decimal(%d,%d)"`, typed.Precision, typed.Scale)
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		more = `,"contentEncoding":"base64"`
	case *arrow.Date32Type:
		more = `,"format":"date"`
	case *arrow.TimestampType:
		more = `,"format":"date-time"`
		if isLocal(typed) {
			more = `,"format":"date-time-local"`
		}
	case *arrow.StructType:
		return append(appendObjectSchema(append(buf, '{'), typed.Fields(), null), '}')
	case *arrow.MapType: // before the lists, which it also is
		buf = appendTypeName(append(buf, `{"type":`...), "object", null)
		return append(appendTypeSchema(append(buf, `,"additionalProperties":`...), typed.ItemType(), true), '}')
	case *arrow.ListType:
		buf = appendTypeName(append(buf, `{"type":`...), "array", null)
		return append(appendTypeSchema(append(buf, `,"items":`...), typed.Elem(), true), '}')
	}
	buf = appendTypeName(append(buf, `{"type":`...), name, null)
	return append(append(buf, more...), '}')
}
