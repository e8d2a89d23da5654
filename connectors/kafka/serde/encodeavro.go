package serde

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/hamba/avro/v2"
)

// avroRows writes a record a row.
type avroRows struct{ fields []arrow.Field }

func newAvroRows(o *Options, fields []arrow.Field) (rows, string, error) {
	schema, err := json.Marshal(avroRecordOf(recordName(o), "", fields))
	if err != nil {
		return nil, "", invalid("", "the columns' Avro schema: %w", err)
	}
	// The library knows best which names there can be.
	if _, err := parseAvro(&document{text: string(schema)}); err != nil {
		return nil, "", invalid("Avro's names are of letters, digits and _: rename the column, leave it out, or use json", "the %s' Avro schema: %w", o.column(), err)
	}
	return avroRows{fields}, string(schema), nil
}

// recordName is what the record is called: the topic, in the letters that there are.
func recordName(o *Options) string {
	name := strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, o.Topic)
	switch {
	case name == "":
		return o.column()
	case name[0] >= '0' && name[0] <= '9':
		name = "_" + name
	}
	if o.Key {
		return name + "_key"
	}
	return name
}

// avroRecordOf names nested records by their fields, in a namespace of the record around them: no two have one name.
func avroRecordOf(name, namespace string, fields []arrow.Field) map[string]any {
	inner := name
	if namespace != "" {
		inner = namespace + "." + name
	}
	list := make([]any, len(fields))
	for i, field := range fields {
		entry := map[string]any{"name": field.Name}
		if entry["type"] = avroTypeOf(field, field.Name, inner); field.Nullable {
			entry["default"] = nil // so that readers of another version need not have it
		}
		list[i] = entry
	}
	out := map[string]any{"type": "record", "name": name, "fields": list}
	if namespace != "" {
		out["namespace"] = namespace
	}
	return out
}

func avroTypeOf(field arrow.Field, name, namespace string) any {
	logical := func(base avro.Type, name avro.LogicalType) any {
		return map[string]any{"type": base, "logicalType": name}
	}
	var out any
	switch typed := field.Type.(type) {
	case *arrow.BooleanType:
		out = avro.Boolean
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type:
		out = avro.Int
	case *arrow.Int64Type:
		out = avro.Long
	case *arrow.Float32Type:
		out = avro.Float
	case *arrow.Float64Type:
		out = avro.Double
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		out = avro.Bytes
	case *arrow.Date32Type:
		out = logical(avro.Int, avro.Date)
	case *arrow.TimestampType:
		out = logical(avro.Long, avro.TimestampMicros)
		if isLocal(typed) {
			out = logical(avro.Long, avro.LocalTimestampMicros)
		}
	case *arrow.Decimal128Type:
		out = map[string]any{"type": avro.Bytes, "logicalType": avro.Decimal, "precision": typed.Precision, "scale": typed.Scale}
	case *arrow.StructType:
		out = avroRecordOf(name, namespace, typed.Fields())
	case *arrow.MapType: // before the lists, which it also is
		out = map[string]any{"type": avro.Map, "values": avroTypeOf(typed.ItemField(), name, namespace)}
	case *arrow.ListType:
		out = map[string]any{"type": avro.Array, "items": avroTypeOf(typed.ElemField(), name, namespace)}
	default:
		out = avro.String
	}
	if field.Nullable {
		return []any{avro.Null, out}
	}
	return out
}

func (r avroRows) appendRow(buf []byte, columns []arrow.Array, row int) ([]byte, error) {
	var err error
	for i := range columns {
		if buf, err = appendAvro(buf, &r.fields[i], columns[i], row); err != nil {
			return nil, fmt.Errorf("%s: %w", r.fields[i].Name, err)
		}
	}
	return buf, nil
}

func appendAvro(buf []byte, field *arrow.Field, column arrow.Array, row int) ([]byte, error) {
	switch null := column.IsNull(row); {
	case null && field.Nullable:
		return binary.AppendVarint(buf, 0), nil
	case null:
		return nil, errNull()
	case field.Nullable:
		buf = binary.AppendVarint(buf, 1)
	}
	switch typed := column.(type) {
	case *array.Boolean:
		if typed.Value(row) {
			return append(buf, 1), nil
		}
		return append(buf, 0), nil
	case *array.Float32:
		return binary.LittleEndian.AppendUint32(buf, math.Float32bits(typed.Value(row))), nil
	case *array.Float64:
		return binary.LittleEndian.AppendUint64(buf, math.Float64bits(typed.Value(row))), nil
	case *array.String, *array.LargeString:
		value, err := checkedText(column, row)
		return appendSized(buf, value), err
	case *array.Binary, *array.LargeBinary:
		return appendSized(buf, textAt(column, row)), nil
	case *array.Decimal128:
		var digits [16]byte
		return appendSized(buf, string(bytesOfDecimal(digits[:0], typed.Value(row)))), nil
	case *array.Timestamp:
		micros, err := microsAt(typed, row)
		return binary.AppendVarint(buf, micros), err
	case *array.Struct:
		return appendAvroStruct(buf, typed, row)
	case *array.Map: // before the lists, which it also is
		return appendAvroMap(buf, typed, row)
	case *array.List:
		return appendAvroList(buf, typed, row)
	}
	return binary.AppendVarint(buf, integerAt(column, row)), nil
}

func appendSized(buf []byte, value string) []byte {
	return append(binary.AppendVarint(buf, int64(len(value))), value...)
}

func appendAvroStruct(buf []byte, column *array.Struct, row int) ([]byte, error) {
	structure, ok := column.DataType().(*arrow.StructType)
	if !ok {
		return buf, nil
	}
	for i := range structure.NumFields() {
		field := structure.Field(i)
		var err error
		if buf, err = appendAvro(buf, &field, column.Field(i), row); err != nil {
			return nil, fmt.Errorf("%s: %w", field.Name, err)
		}
	}
	return buf, nil
}

func appendAvroMap(buf []byte, column *array.Map, row int) ([]byte, error) {
	mapping, ok := column.DataType().(*arrow.MapType)
	if !ok {
		return buf, nil
	}
	item := mapping.ItemField()
	start, end := column.ValueOffsets(row)
	if end > start {
		buf = binary.AppendVarint(buf, end-start)
	}
	for at := start; at < end; at++ {
		key, err := checkedText(column.Keys(), int(at))
		if err != nil {
			return nil, err
		}
		if buf, err = appendAvro(appendSized(buf, key), &item, column.Items(), int(at)); err != nil {
			return nil, err
		}
	}
	return append(buf, 0), nil
}

func appendAvroList(buf []byte, column *array.List, row int) ([]byte, error) {
	list, ok := column.DataType().(*arrow.ListType)
	if !ok {
		return buf, nil
	}
	element := list.ElemField()
	start, end := column.ValueOffsets(row)
	if end > start {
		buf = binary.AppendVarint(buf, end-start)
	}
	for at := start; at < end; at++ {
		var err error
		if buf, err = appendAvro(buf, &element, column.ListValues(), int(at)); err != nil {
			return nil, err
		}
	}
	return append(buf, 0), nil
}
