package serde

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// protobufRows writes a message a row. Field numbers are those of the columns, from 1.
type protobufRows struct{ fields []arrow.Field }

func newProtobufRows(ctx context.Context, o *Options, fields []arrow.Field) (rows, string, error) {
	name, pack := o.Message, ""
	if name == "" {
		name = recordName(o)
	}
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		pack, name = name[:dot], name[dot+1:]
	}
	if !protoreflect.FullName(name).IsValid() || pack != "" && !protoreflect.FullName(pack).IsValid() {
		return nil, "", invalid("give a full name of letters, digits, _ and dots", "the message of the %s cannot be called %q", o.what(), o.Message)
	}
	text, err := writeProto(pack, name, fields)
	if err == nil {
		// The compiler knows best which names there can be, and which are the same in Protobuf's JSON.
		_, err = compileProto(context.WithoutCancel(ctx), &document{text: text})
	}
	if err != nil {
		return nil, "", invalid("rename the column, leave it out, or use avro or json", "the columns of the %s as a .proto: %w", o.what(), err)
	}
	return protobufRows{fields}, text, nil
}

// protoFile is a .proto that is being written.
type protoFile struct {
	body    strings.Builder
	imports []string
}

func writeProto(pack, name string, fields []arrow.Field) (string, error) {
	file := &protoFile{}
	scope := "." + name
	if pack != "" {
		scope = "." + pack + scope
	}
	if err := file.message(name, scope, fields, ""); err != nil {
		return "", err
	}
	var out strings.Builder
	out.WriteString("syntax = \"proto3\";\n")
	if pack != "" {
		fmt.Fprintf(&out, "package %s;\n", pack)
	}
	slices.Sort(file.imports)
	for _, each := range slices.Compact(file.imports) {
		fmt.Fprintf(&out, "import %q;\n", each)
	}
	return out.String() + file.body.String(), nil
}

// message writes a message, and the messages of its fields into it: they share one scope with the fields.
func (f *protoFile) message(name, scope string, fields []arrow.Field, indent string) error {
	fmt.Fprintf(&f.body, "%smessage %s {\n", indent, name)
	taken := map[string]bool{}
	for _, field := range fields {
		taken[field.Name] = true
	}
	for i, field := range fields {
		if !protoreflect.Name(field.Name).IsValid() {
			return fmt.Errorf("a field cannot be called %q", field.Name)
		}
		inner := camel(field.Name)
		for taken[inner] {
			inner += "_"
		}
		if structure := structOf(field.Type); structure != nil {
			taken[inner] = true
			if err := f.message(inner, scope+"."+inner, structure.Fields(), indent+"  "); err != nil {
				return err
			}
		}
		label, dataType := "", field.Type
		switch typed := field.Type.(type) {
		case *arrow.MapType: // before the lists, which it also is
			dataType = typed.ItemType()
		case *arrow.ListType:
			label, dataType = "repeated ", typed.Elem()
		default:
			if field.Nullable {
				label = "optional "
			}
		}
		if arrow.IsNested(dataType.ID()) && dataType.ID() != arrow.STRUCT {
			return fmt.Errorf("%s: Protobuf has no lists or maps of lists or maps", field.Name)
		}
		kind := f.typeName(dataType, scope+"."+inner)
		if field.Type.ID() == arrow.MAP {
			kind = "map<string, " + kind + ">"
		}
		fmt.Fprintf(&f.body, "%s  %s%s %s = %d%s;\n", indent, label, kind, field.Name, i+1, f.options(dataType))
	}
	fmt.Fprintf(&f.body, "%s}\n", indent)
	return nil
}

// structOf is the struct that a column is, or is a list or map of.
func structOf(dataType arrow.DataType) *arrow.StructType {
	switch typed := dataType.(type) {
	case *arrow.StructType:
		return typed
	case *arrow.MapType: // before the lists, which it also is
		dataType = typed.ItemType()
	case *arrow.ListType:
		dataType = typed.Elem()
	}
	structure, _ := dataType.(*arrow.StructType)
	return structure
}

// camel is the name of a field's message: row_error, RowError.
func camel(name string) string {
	var out strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		if part != "" {
			out.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	if text := out.String(); text != "" && (text[0] < '0' || text[0] > '9') {
		return text
	}
	return "_" + out.String()
}

// typeName is the type of one value. It begins with a dot where a field could have the name of a package.
func (f *protoFile) typeName(dataType arrow.DataType, message string) string {
	switch dataType.(type) {
	case *arrow.BooleanType:
		return "bool"
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type:
		return "int32"
	case *arrow.Int64Type:
		return "int64"
	case *arrow.Float32Type:
		return "float"
	case *arrow.Float64Type:
		return "double"
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		return "bytes"
	case *arrow.Date32Type:
		f.imports = append(f.imports, protoDate)
		return ".google.type.Date"
	case *arrow.TimestampType:
		if isLocal(dataType) {
			return "int64"
		}
		f.imports = append(f.imports, "google/protobuf/timestamp.proto")
		return ".google.protobuf.Timestamp"
	case *arrow.Decimal128Type:
		f.imports = append(f.imports, protoDecimal)
		return ".confluent.type.Decimal"
	case *arrow.StructType:
		return message
	}
	return "string"
}

// options say of a field what its type does not.
func (f *protoFile) options(dataType arrow.DataType) string {
	switch typed := dataType.(type) {
	case *arrow.Decimal128Type:
		f.imports = append(f.imports, protoMeta)
		return fmt.Sprintf(` [(.confluent.field_meta) = {params: [{key: %q, value: "%d"}, {key: %q, value: "%d"}]}]`,
			precisionParameter, typed.Precision, scaleParameter, typed.Scale)
	case *arrow.TimestampType:
		if isLocal(typed) {
			f.imports = append(f.imports, protoMeta)
			return fmt.Sprintf(` [(.confluent.field_meta) = {params: [{key: %q, value: %q}]}]`, localTimeParameter, localTimeValue)
		}
	}
	return ""
}

func (r protobufRows) appendRow(buf []byte, columns []arrow.Array, row int) ([]byte, error) {
	var err error
	for i := range columns {
		if buf, err = appendProtoField(buf, i+1, &r.fields[i], columns[i], row); err != nil {
			return nil, fmt.Errorf("%s: %w", r.fields[i].Name, err)
		}
	}
	return buf, nil
}

// appendProtoField writes a column's value, and nothing where it is NULL.
func appendProtoField(buf []byte, number int, field *arrow.Field, column arrow.Array, row int) ([]byte, error) {
	if column.IsNull(row) {
		if !field.Nullable {
			return nil, errNull()
		}
		return buf, nil
	}
	tag := protowire.Number(number) //nolint:gosec // of a column
	var err error
	switch typed := column.(type) {
	case *array.Map: // before the lists, which it also is
		start, end := typed.ValueOffsets(row)
		for at := start; at < end; at++ {
			buf, err = appendNested(protowire.AppendTag(buf, tag, protowire.BytesType), func(buf []byte) ([]byte, error) {
				key, err := checkedText(typed.Keys(), int(at))
				if err != nil {
					return nil, err
				}
				buf = protowire.AppendString(protowire.AppendTag(buf, 1, protowire.BytesType), key)
				return appendProtoElement(buf, 2, typed.Items(), int(at))
			})
			if err != nil {
				return nil, err
			}
		}
		return buf, nil
	case *array.List:
		return appendProtoList(buf, tag, typed, row)
	}
	return appendProtoElement(buf, tag, column, row)
}

func appendProtoList(buf []byte, tag protowire.Number, column *array.List, row int) ([]byte, error) {
	start, end := column.ValueOffsets(row)
	elements := column.ListValues()
	if start == end {
		return buf, nil
	}
	if protoWireType(elements) != protowire.BytesType {
		return appendNested(protowire.AppendTag(buf, tag, protowire.BytesType), func(buf []byte) ([]byte, error) {
			var err error
			for at := start; at < end && err == nil; at++ {
				if elements.IsNull(int(at)) {
					return nil, errNullElement()
				}
				buf, err = appendProtoValue(buf, elements, int(at))
			}
			return buf, err
		})
	}
	var err error
	for at := start; at < end; at++ {
		if buf, err = appendProtoElement(buf, tag, elements, int(at)); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

func errNullElement() error {
	return errors.New("a NULL in a list or map, which Protobuf cannot say: use avro or json")
}

func appendProtoElement(buf []byte, tag protowire.Number, column arrow.Array, row int) ([]byte, error) {
	if column.IsNull(row) {
		return nil, errNullElement()
	}
	return appendProtoValue(protowire.AppendTag(buf, tag, protoWireType(column)), column, row)
}

func protoWireType(column arrow.Array) protowire.Type {
	switch typed := column.(type) {
	case *array.Boolean, *array.Int8, *array.Int16, *array.Int32, *array.Int64:
		return protowire.VarintType
	case *array.Float32:
		return protowire.Fixed32Type
	case *array.Float64:
		return protowire.Fixed64Type
	case *array.Timestamp:
		if isLocal(typed.DataType()) {
			return protowire.VarintType
		}
	}
	return protowire.BytesType
}

// appendProtoValue writes a value behind its tag.
func appendProtoValue(buf []byte, column arrow.Array, row int) ([]byte, error) {
	switch typed := column.(type) {
	case *array.Boolean:
		return protowire.AppendVarint(buf, protowire.EncodeBool(typed.Value(row))), nil
	case *array.Float32:
		return protowire.AppendFixed32(buf, math.Float32bits(typed.Value(row))), nil
	case *array.Float64:
		return protowire.AppendFixed64(buf, math.Float64bits(typed.Value(row))), nil
	case *array.String, *array.LargeString:
		value, err := checkedText(column, row)
		return protowire.AppendString(buf, value), err
	case *array.Binary, *array.LargeBinary:
		return protowire.AppendString(buf, textAt(column, row)), nil
	case *array.Timestamp:
		micros, err := microsAt(typed, row)
		if err != nil {
			return nil, err
		}
		if isLocal(typed.DataType()) {
			return appendSigned(buf, micros), nil
		}
		seconds := floorDivide(micros, 1_000_000)
		if _, err := finishTimestamp(nil, nil, []cell{integer(seconds), {}}); err != nil {
			return nil, err
		}
		return appendNested(buf, func(buf []byte) ([]byte, error) {
			return appendNumbers(buf, seconds, (micros-seconds*1_000_000)*1000), nil
		})
	case *array.Date32:
		at := typed.Value(row).ToTime()
		if at.Year() < 1 || at.Year() > 9999 {
			return nil, timeRangeError{}
		}
		return appendNested(buf, func(buf []byte) ([]byte, error) {
			return appendNumbers(buf, int64(at.Year()), int64(at.Month()), int64(at.Day())), nil
		})
	case *array.Decimal128:
		return appendNested(buf, func(buf []byte) ([]byte, error) { return appendProtoDecimal(buf, typed, row), nil })
	case *array.Struct:
		structure, ok := typed.DataType().(*arrow.StructType)
		if !ok {
			return buf, nil
		}
		return appendNested(buf, func(buf []byte) ([]byte, error) {
			for i := range structure.NumFields() {
				field := structure.Field(i)
				var err error
				if buf, err = appendProtoField(buf, i+1, &field, typed.Field(i), row); err != nil {
					return nil, fmt.Errorf("%s: %w", field.Name, err)
				}
			}
			return buf, nil
		})
	}
	return appendSigned(buf, integerAt(column, row)), nil
}

func appendSigned(buf []byte, value int64) []byte {
	return protowire.AppendVarint(buf, uint64(value)) //nolint:gosec // bits
}

// appendNumbers writes the fields 1, 2, ... of a message, those that are not zero.
func appendNumbers(buf []byte, values ...int64) []byte {
	for i, value := range values {
		if value != 0 {
			buf = appendSigned(protowire.AppendTag(buf, protowire.Number(i+1), protowire.VarintType), value)
		}
	}
	return buf
}

func appendProtoDecimal(buf []byte, column *array.Decimal128, row int) []byte {
	decimalType, ok := column.DataType().(*arrow.Decimal128Type)
	if !ok {
		return buf
	}
	var digits [16]byte
	buf = protowire.AppendBytes(protowire.AppendTag(buf, 1, protowire.BytesType), bytesOfDecimal(digits[:0], column.Value(row)))
	buf = appendSigned(protowire.AppendTag(buf, 2, protowire.VarintType), int64(decimalType.Precision))
	return appendSigned(protowire.AppendTag(buf, 3, protowire.VarintType), int64(decimalType.Scale))
}

// appendNested writes what body does, with its length before it.
func appendNested(buf []byte, body func([]byte) ([]byte, error)) ([]byte, error) {
	start := len(buf)
	buf, err := body(buf)
	if err != nil {
		return nil, err
	}
	length := len(buf) - start
	for range protowire.SizeVarint(uint64(length)) { //nolint:gosec // a length
		buf = append(buf, 0)
	}
	copy(buf[len(buf)-length:], buf[start:start+length])
	protowire.AppendVarint(buf[:start], uint64(length)) //nolint:gosec // a length
	return buf, nil
}
