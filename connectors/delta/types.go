package delta

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
)

// The type names of the protocol.
const (
	typeString       = "string"
	typeLong         = "long"
	typeInteger      = "integer"
	typeShort        = "short"
	typeByte         = "byte"
	typeFloat        = "float"
	typeDouble       = "double"
	typeDecimal      = "decimal"
	typeBoolean      = "boolean"
	typeBinary       = "binary"
	typeDate         = "date"
	typeTimestamp    = "timestamp"
	typeTimestampNTZ = "timestamp_ntz"
	typeVoid         = "void"
	typeStruct       = "struct"
	typeArray        = "array"
	typeMap          = "map"
)

const (
	maxTypeDepth        = 64
	maxDecimalPrecision = 38
)

// DataType is a column type in the protocol's own terms. A table's schema is a struct.
type DataType struct {
	Name              string // "string", "decimal", "struct", ...
	Precision, Scale  int32  // of a decimal
	Fields            []Field
	Key               *DataType // of a map
	Element           *DataType // of an array, or a map's value
	ElementsMayBeNull bool
}

// Field is a column, or a field of a struct column.
type Field struct {
	Name     string                     `json:"name"`
	Type     DataType                   `json:"type"`
	Nullable bool                       `json:"nullable"`
	Metadata map[string]json.RawMessage `json:"metadata"`
}

// ParseSchema decodes a schemaString.
func ParseSchema(text string) (*DataType, error) {
	var schema DataType
	if err := schema.decode([]byte(text), 0); err != nil {
		return nil, fmt.Errorf("delta: the table's schema: %w", err)
	}
	if schema.Name != typeStruct {
		return nil, fmt.Errorf("delta: the table's schema is of type %s, expected struct", schema.Name)
	}
	return &schema, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *DataType) UnmarshalJSON(data []byte) error { return d.decode(data, 0) }

func (d *DataType) decode(data []byte, depth int) error {
	if depth > maxTypeDepth {
		return fmt.Errorf("types nest deeper than %d", maxTypeDepth)
	}
	var name string
	if json.Unmarshal(data, &name) == nil {
		return d.decodePrimitive(name)
	}
	var nested struct {
		Type              string          `json:"type"`
		Fields            []nestedField   `json:"fields"`
		ElementType       json.RawMessage `json:"elementType"`
		ContainsNull      bool            `json:"containsNull"`
		KeyType           json.RawMessage `json:"keyType"`
		ValueType         json.RawMessage `json:"valueType"`
		ValueContainsNull bool            `json:"valueContainsNull"`
	}
	if err := json.Unmarshal(data, &nested); err != nil {
		return err
	}
	*d = DataType{Name: nested.Type}
	switch nested.Type {
	case typeStruct:
		seen := make(map[string]bool, len(nested.Fields))
		for _, inner := range nested.Fields {
			field := Field{Name: inner.Name, Nullable: inner.Nullable, Metadata: inner.Metadata}
			if lower := strings.ToLower(field.Name); field.Name == "" || seen[lower] {
				return fmt.Errorf("the column name %q is empty or stands twice", field.Name)
			}
			seen[strings.ToLower(field.Name)] = true
			if err := field.Type.decode(inner.Type, depth+1); err != nil {
				return fmt.Errorf("column %s: %w", field.Name, err)
			}
			d.Fields = append(d.Fields, field)
		}
		return nil
	case typeArray:
		d.Element, d.ElementsMayBeNull = new(DataType), nested.ContainsNull
		return d.Element.decode(nested.ElementType, depth+1)
	case typeMap:
		d.Key, d.Element, d.ElementsMayBeNull = new(DataType), new(DataType), nested.ValueContainsNull
		return errors.Join(d.Key.decode(nested.KeyType, depth+1), d.Element.decode(nested.ValueType, depth+1))
	}
	return fmt.Errorf("the type %q is not implemented", nested.Type)
}

type nestedField struct {
	Name     string                     `json:"name"`
	Type     json.RawMessage            `json:"type"`
	Nullable bool                       `json:"nullable"`
	Metadata map[string]json.RawMessage `json:"metadata"`
}

func (d *DataType) decodePrimitive(name string) error {
	*d = DataType{Name: name}
	switch name {
	case typeString, typeLong, typeInteger, typeShort, typeByte, typeFloat, typeDouble, typeBoolean, typeBinary,
		typeDate, typeTimestamp, typeTimestampNTZ, typeVoid:
		return nil
	case "null": // Spark's older name
		d.Name = typeVoid
		return nil
	case typeDecimal: // Spark's default
		d.Precision = 10
		return nil
	}
	arguments, ok := strings.CutPrefix(name, "decimal(")
	arguments, closed := strings.CutSuffix(arguments, ")")
	if ok && closed {
		precisionText, scaleText, _ := strings.Cut(arguments, ",")
		precision, err1 := strconv.ParseInt(strings.TrimSpace(precisionText), 10, 32)
		scale, err2 := strconv.ParseInt(strings.TrimSpace(scaleText), 10, 32)
		if err1 == nil && err2 == nil && precision >= 1 && precision <= maxDecimalPrecision && scale >= 0 && scale <= precision {
			d.Name, d.Precision, d.Scale = typeDecimal, int32(precision), int32(scale)
			return nil
		}
	}
	return fmt.Errorf("the type %q is not implemented", name)
}

// MarshalJSON implements json.Marshaler.
func (d DataType) MarshalJSON() ([]byte, error) {
	switch d.Name {
	case typeDecimal:
		return json.Marshal(fmt.Sprintf("decimal(%d,%d)", d.Precision, d.Scale))
	case typeStruct:
		fields := d.Fields
		if fields == nil {
			fields = []Field{}
		}
		return json.Marshal(struct {
			Type   string  `json:"type"`
			Fields []Field `json:"fields"`
		}{d.Name, fields})
	case typeArray:
		return json.Marshal(struct {
			Type         string    `json:"type"`
			ElementType  *DataType `json:"elementType"`
			ContainsNull bool      `json:"containsNull"`
		}{d.Name, d.Element, d.ElementsMayBeNull})
	case typeMap:
		return json.Marshal(struct {
			Type              string    `json:"type"`
			KeyType           *DataType `json:"keyType"`
			ValueType         *DataType `json:"valueType"`
			ValueContainsNull bool      `json:"valueContainsNull"`
		}{d.Name, d.Key, d.Element, d.ElementsMayBeNull})
	}
	return json.Marshal(d.Name)
}

// SQL returns the type as Databricks and Spark write it: "STRUCT<code: STRING, cost: DECIMAL(38,18)>".
func (d *DataType) SQL() string {
	switch d.Name {
	case typeLong:
		return "BIGINT"
	case typeInteger:
		return "INT"
	case typeShort:
		return "SMALLINT"
	case typeByte:
		return "TINYINT"
	case typeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", d.Precision, d.Scale)
	case typeStruct:
		fields := make([]string, len(d.Fields))
		for i := range d.Fields {
			fields[i] = d.Fields[i].Name + ": " + d.Fields[i].Type.SQL()
		}
		return "STRUCT<" + strings.Join(fields, ", ") + ">"
	case typeArray:
		return "ARRAY<" + d.Element.SQL() + ">"
	case typeMap:
		return "MAP<" + d.Key.SQL() + ", " + d.Element.SQL() + ">"
	}
	return strings.ToUpper(d.Name)
}

// uses reports whether d is or holds the named type.
func (d *DataType) uses(name string) bool {
	if d.Name == name || d.Key != nil && d.Key.uses(name) || d.Element != nil && d.Element.uses(name) {
		return true
	}
	return slices.ContainsFunc(d.Fields, func(f Field) bool { return f.Type.uses(name) })
}

// field finds a column as Delta does: whatever the case of its letters.
func (d *DataType) field(name string) (int, bool) {
	index := slices.IndexFunc(d.Fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	return index, index >= 0
}

// leaves is the number of primitive columns in d.
func (d *DataType) leaves() int {
	switch d.Name {
	case typeStruct:
		count := 0
		for i := range d.Fields {
			count += d.Fields[i].Type.leaves()
		}
		return count
	case typeArray:
		return d.Element.leaves()
	case typeMap:
		return d.Key.leaves() + d.Element.leaves()
	}
	return 1
}

// arrow returns the Arrow type that d is read as.
func (d *DataType) arrow() arrow.DataType {
	switch d.Name {
	case typeString:
		return arrow.BinaryTypes.String
	case typeLong:
		return arrow.PrimitiveTypes.Int64
	case typeInteger:
		return arrow.PrimitiveTypes.Int32
	case typeShort:
		return arrow.PrimitiveTypes.Int16
	case typeByte:
		return arrow.PrimitiveTypes.Int8
	case typeFloat:
		return arrow.PrimitiveTypes.Float32
	case typeDouble:
		return arrow.PrimitiveTypes.Float64
	case typeDecimal:
		return &arrow.Decimal128Type{Precision: d.Precision, Scale: d.Scale}
	case typeBoolean:
		return arrow.FixedWidthTypes.Boolean
	case typeBinary:
		return arrow.BinaryTypes.Binary
	case typeDate:
		return arrow.FixedWidthTypes.Date32
	case typeTimestamp:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	case typeTimestampNTZ:
		return &arrow.TimestampType{Unit: arrow.Microsecond}
	case typeStruct:
		return arrow.StructOf(d.arrowFields()...)
	case typeArray:
		return arrow.ListOfField(arrow.Field{Name: "element", Type: d.Element.arrow(), Nullable: d.ElementsMayBeNull})
	case typeMap:
		mapType := arrow.MapOf(d.Key.arrow(), d.Element.arrow())
		mapType.SetItemNullable(d.ElementsMayBeNull)
		return mapType
	}
	return arrow.Null // void
}

func (d *DataType) arrowFields() []arrow.Field {
	fields := make([]arrow.Field, len(d.Fields))
	for i := range d.Fields {
		fields[i] = arrow.Field{Name: d.Fields[i].Name, Type: d.Fields[i].Type.arrow(), Nullable: d.Fields[i].Nullable}
	}
	return fields
}

// SchemaOf returns the table schema that holds records of an Arrow schema. Integers without a sign, times of day,
// durations and the like have no Delta type and are refused.
func SchemaOf(schema *arrow.Schema) (*DataType, error) {
	out := &DataType{Name: typeStruct}
	for _, field := range schema.Fields() {
		dataType, err := typeOf(field.Type)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", field.Name, err)
		}
		if _, twice := out.field(field.Name); twice || field.Name == "" {
			return nil, fmt.Errorf("the column name %q is empty or stands twice (case does not count)", field.Name)
		}
		out.Fields = append(out.Fields, Field{
			Name: field.Name, Type: *dataType, Nullable: field.Nullable, Metadata: map[string]json.RawMessage{},
		})
	}
	return out, nil
}

func typeOf(dataType arrow.DataType) (*DataType, error) {
	switch typed := dataType.(type) {
	case *arrow.StringType, *arrow.LargeStringType:
		return &DataType{Name: typeString}, nil
	case *arrow.Int64Type:
		return &DataType{Name: typeLong}, nil
	case *arrow.Int32Type:
		return &DataType{Name: typeInteger}, nil
	case *arrow.Int16Type:
		return &DataType{Name: typeShort}, nil
	case *arrow.Int8Type:
		return &DataType{Name: typeByte}, nil
	case *arrow.Float32Type:
		return &DataType{Name: typeFloat}, nil
	case *arrow.Float64Type:
		return &DataType{Name: typeDouble}, nil
	case *arrow.Decimal128Type:
		return &DataType{Name: typeDecimal, Precision: typed.Precision, Scale: typed.Scale}, nil
	case *arrow.BooleanType:
		return &DataType{Name: typeBoolean}, nil
	case *arrow.BinaryType, *arrow.LargeBinaryType:
		return &DataType{Name: typeBinary}, nil
	case *arrow.Date32Type:
		return &DataType{Name: typeDate}, nil
	case *arrow.TimestampType:
		if typed.TimeZone == "" {
			return &DataType{Name: typeTimestampNTZ}, nil
		}
		return &DataType{Name: typeTimestamp}, nil
	case *arrow.NullType:
		return &DataType{Name: typeVoid}, nil
	case *arrow.StructType:
		return SchemaOf(arrow.NewSchema(typed.Fields(), nil))
	case *arrow.MapType: // before the lists, which it also is
		key, err := typeOf(typed.KeyType())
		if err != nil {
			return nil, err
		}
		value, err := typeOf(typed.ItemType())
		return &DataType{Name: typeMap, Key: key, Element: value, ElementsMayBeNull: typed.ItemField().Nullable}, err
	case *arrow.ListType:
		element, err := typeOf(typed.Elem())
		return &DataType{Name: typeArray, Element: element, ElementsMayBeNull: typed.ElemField().Nullable}, err
	}
	return nil, fmt.Errorf("the Arrow type %s has no Delta type", dataType)
}
