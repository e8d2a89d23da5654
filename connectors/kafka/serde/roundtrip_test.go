package serde

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

// randomRecords makes columns of any type and fills them.
type randomRecords struct {
	*rand.Rand
	protobuf bool // no lists of lists, no NULL in them
	finite   bool // no NaN
}

func (r *randomRecords) fields(depth int) []arrow.Field {
	fields := make([]arrow.Field, 1+r.IntN(6))
	for i := range fields {
		fields[i] = arrow.Field{Name: fmt.Sprintf("column_%d", i), Type: r.dataType(depth), Nullable: r.IntN(4) > 0}
	}
	return fields
}

func (r *randomRecords) dataType(depth int) arrow.DataType {
	kinds := 14
	if depth > 0 {
		kinds = 18
	}
	switch r.IntN(kinds) {
	case 0:
		return arrow.FixedWidthTypes.Boolean
	case 1:
		return arrow.PrimitiveTypes.Int8
	case 2:
		return arrow.PrimitiveTypes.Int16
	case 3:
		return arrow.PrimitiveTypes.Int32
	case 4, 5:
		return arrow.PrimitiveTypes.Int64
	case 6:
		return arrow.PrimitiveTypes.Float32
	case 7:
		return arrow.PrimitiveTypes.Float64
	case 8:
		return arrow.BinaryTypes.Binary
	case 9:
		return arrow.FixedWidthTypes.Date32
	case 10:
		return arrow.FixedWidthTypes.Timestamp_us
	case 11:
		return localTimestampType()
	case 12:
		precision := int32(1 + r.IntN(maxPrecision))
		return decimalType(precision, r.Int32N(precision+1))
	case 14:
		return arrow.StructOf(r.fields(depth - 1)...)
	case 15, 16:
		return arrow.ListOf(r.element(depth))
	case 17:
		return arrow.MapOf(arrow.BinaryTypes.String, r.element(depth))
	}
	return arrow.BinaryTypes.String
}

func (r *randomRecords) element(depth int) arrow.DataType {
	for {
		element := r.dataType(depth - 1)
		if !r.protobuf || !arrow.IsNested(element.ID()) || element.ID() == arrow.STRUCT {
			return element
		}
	}
}

func (r *randomRecords) integer() int64 {
	return int64(r.Uint64()) >> r.IntN(64)
}

func (r *randomRecords) text() string {
	letters := []rune("ab \"\\\n\x00\x1fé漢😀</>")
	var out strings.Builder
	for range r.IntN(8) {
		out.WriteRune(letters[r.IntN(len(letters))])
	}
	return out.String()
}

func (r *randomRecords) float() float64 {
	switch r.IntN(8) {
	case 0:
		if r.finite {
			return 0
		}
		return []float64{math.NaN(), math.Inf(1), math.Inf(-1)}[r.IntN(3)]
	case 1:
		return float64(r.IntN(10))
	case 2:
		return math.Copysign(0, -1)
	}
	return (r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(76)-38))
}

// fill appends a value; nullable says whether that may be NULL.
func (r *randomRecords) fill(builder array.Builder, nullable bool) {
	if nullable && r.IntN(4) == 0 {
		builder.AppendNull()
		return
	}
	const years = 62_000_000_000_000_000 // microseconds either way of 1970
	switch b := builder.(type) {
	case *array.BooleanBuilder:
		b.Append(r.IntN(2) == 0)
	case *array.Int8Builder:
		b.Append(int8(r.Uint64()))
	case *array.Int16Builder:
		b.Append(int16(r.Uint64()))
	case *array.Int32Builder:
		b.Append(int32(r.integer()))
	case *array.Int64Builder:
		b.Append(r.integer())
	case *array.Float32Builder:
		b.Append(float32(r.float()))
	case *array.Float64Builder:
		b.Append(r.float())
	case *array.StringBuilder:
		b.Append(r.text())
	case *array.BinaryBuilder:
		data := make([]byte, r.IntN(5))
		for i := range data {
			data[i] = byte(r.Uint64())
		}
		b.Append(data)
	case *array.Date32Builder:
		b.Append(arrow.Date32(r.IntN(1_400_000) - 700_000))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(r.Int64N(2*years) - years))
	case *array.Decimal128Builder:
		precision := as[*arrow.Decimal128Type](b.Type()).Precision
		for {
			value := decimal128.New(r.integer(), r.Uint64()>>r.IntN(64))
			if r.IntN(2) == 0 {
				value = decimal128.FromI64(r.integer())
			}
			if fits(value, precision) {
				b.Append(value)
				return
			}
		}
	case *array.StructBuilder:
		b.Append(true)
		for i, field := range as[*arrow.StructType](b.Type()).Fields() {
			r.fill(b.FieldBuilder(i), field.Nullable)
		}
	case *array.ListBuilder:
		b.Append(true)
		for range r.IntN(4) {
			r.fill(b.ValueBuilder(), !r.protobuf)
		}
	case *array.MapBuilder:
		b.Append(true)
		for i := range r.IntN(4) {
			as[*array.StringBuilder](b.KeyBuilder()).Append(fmt.Sprint(r.text(), i))
			r.fill(b.ItemBuilder(), !r.protobuf)
		}
	default:
		panic(fmt.Sprintf("%T", builder))
	}
}

func ddlOf(dataType arrow.DataType) string {
	switch typed := dataType.(type) {
	case *arrow.BooleanType:
		return "boolean"
	case *arrow.Int8Type:
		return "TINYINT"
	case *arrow.Int16Type:
		return "SMALLINT"
	case *arrow.Int32Type:
		return "INT"
	case *arrow.Int64Type:
		return "BIGINT"
	case *arrow.Float32Type:
		return "FLOAT"
	case *arrow.Float64Type:
		return "DOUBLE"
	case *arrow.BinaryType:
		return "BINARY"
	case *arrow.Date32Type:
		return "DATE"
	case *arrow.TimestampType:
		if typed.TimeZone == "" {
			return "TIMESTAMP_NTZ"
		}
		return "TIMESTAMP"
	case *arrow.Decimal128Type:
		return fmt.Sprintf("DECIMAL(%d, %d)", typed.Precision, typed.Scale)
	case *arrow.StructType:
		return "STRUCT<" + columnsDDL(typed.Fields()) + ">"
	case *arrow.MapType:
		return "MAP<STRING, " + ddlOf(typed.ItemType()) + ">"
	case *arrow.ListType:
		return "ARRAY<" + ddlOf(typed.Elem()) + ">"
	}
	return "STRING"
}

func columnsDDL(fields []arrow.Field) string {
	parts := make([]string, len(fields))
	for i, field := range fields {
		parts[i] = "`" + field.Name + "` " + ddlOf(field.Type)
	}
	return strings.Join(parts, ", ")
}

// readBack is the type that a column comes back as: small integers have 32 bits, and everything may be NULL.
func readBack(dataType arrow.DataType) arrow.DataType {
	switch typed := dataType.(type) {
	case *arrow.Int8Type, *arrow.Int16Type:
		return arrow.PrimitiveTypes.Int32
	case *arrow.StructType:
		fields := typed.Fields()
		for i := range fields {
			fields[i] = nullable(fields[i].Name, readBack(fields[i].Type))
		}
		return arrow.StructOf(fields...)
	case *arrow.MapType:
		return mapType(readBack(typed.ItemType()))
	case *arrow.ListType:
		return arrow.ListOf(readBack(typed.Elem()))
	}
	return dataType
}

// withoutNullLists is a row as Protobuf has it: a NULL list or map is an empty one.
func withoutNullLists(column arrow.Array, row int) string {
	switch typed := column.(type) {
	case *array.Struct:
		if typed.IsNull(row) {
			return "NULL"
		}
		parts := []string{}
		for i := range typed.NumField() {
			parts = append(parts, withoutNullLists(typed.Field(i), row))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case *array.Map:
		parts := []string{}
		if typed.IsValid(row) {
			start, end := typed.ValueOffsets(row)
			for at := start; at < end; at++ {
				parts = append(parts, valueText(typed.Keys(), int(at))+": "+withoutNullLists(typed.Items(), int(at)))
			}
		}
		return "<" + strings.Join(parts, ", ") + ">"
	case *array.List:
		parts := []string{}
		if typed.IsValid(row) {
			start, end := typed.ValueOffsets(row)
			for at := start; at < end; at++ {
				parts = append(parts, withoutNullLists(typed.ListValues(), int(at)))
			}
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return valueText(column, row)
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, format := range []Format{JSON, JSONSchema, Avro, Protobuf} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(60) {
				r := &randomRecords{rand.New(rand.NewPCG(seed, 7)), format == Protobuf, format == JSONSchema}
				schema := arrow.NewSchema(r.fields(3), nil)
				builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
				for range 20 {
					for i, field := range schema.Fields() {
						r.fill(builder.Field(i), field.Nullable)
					}
				}
				record := builder.NewRecord()
				builder.Release()
				roundTrip(t, format, record, fmt.Sprintf("seed %d", seed))
				slice := record.NewSlice(5, 15) // values that do not begin where their buffers do
				roundTrip(t, format, slice, fmt.Sprintf("seed %d, sliced", seed))
				slice.Release()
				record.Release()
				if t.Failed() {
					return
				}
			}
		})
	}
}

func roundTrip(t *testing.T, format Format, record arrow.Record, label string) {
	t.Helper()
	registry := newFakeRegistry()
	o := Options{Format: format, Topic: "out.topic-1", Registry: registry.client(t, RegistryOptions{})}
	encoder, err := NewEncoder(t.Context(), o, record.Schema(), nil)
	if err != nil {
		t.Fatalf("%s: %v", label, err)
	}
	if format == JSON {
		o.Schema = columnsDDL(record.Schema().Fields())
	}
	decoder := newDecoder(t, o)
	payloads := make([][]byte, record.NumRows())
	for row := range payloads {
		if payloads[row], err = encoder.Encode(t.Context(), record, row); err != nil {
			t.Fatalf("%s, row %d: %v", label, row, err)
		}
	}
	back, failures := decodeAll(t, decoder, payloads...)
	defer back.Release()
	for row, failure := range failures {
		if failure != nil {
			t.Fatalf("%s, row %d: %v\n%q", label, row, failure, payloads[row])
		}
	}
	for i, field := range record.Schema().Fields() {
		if want := readBack(field.Type); back.ColumnName(i) != field.Name || !arrow.TypeEqual(back.Column(i).DataType(), want) {
			t.Fatalf("%s: column %s is %s %s, not %s", label, field.Name, back.ColumnName(i), back.Column(i).DataType(), want)
		}
		for row := range payloads {
			got, want := valueText(back.Column(i), row), valueText(record.Column(i), row)
			if format == Protobuf {
				want = withoutNullLists(record.Column(i), row)
			}
			if got != want {
				t.Fatalf("%s, row %d, column %s %s: got %s, want %s\n%q", label, row, field.Name, field.Type, got, want, payloads[row])
			}
		}
	}
}

// TestResultsRoundTrip sends the engine's own columns through, with each type of answer.
func TestResultsRoundTrip(t *testing.T) {
	t.Parallel()
	input := arrow.NewSchema([]arrow.Field{nullable("ticket_id", arrow.PrimitiveTypes.Int64), nullable("subject", arrow.BinaryTypes.String)}, nil)
	for name, answer := range map[string]schemas.ResponseType{
		"text": nil, "struct": structAnswer{}, "vector": schemas.EmbeddingType{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema, err := schemas.ResultSchema(input, answer)
			if err != nil {
				t.Fatal(err)
			}
			for _, format := range []Format{JSON, JSONSchema, Avro, Protobuf} {
				r := &randomRecords{rand.New(rand.NewPCG(1, 2)), true, true}
				builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
				for range 30 {
					for i, field := range schema.Fields() {
						r.fill(builder.Field(i), field.Nullable)
					}
				}
				record := builder.NewRecord()
				builder.Release()
				roundTrip(t, format, record, string(format))
				record.Release()
			}
		})
	}
}

type structAnswer struct{}

func (structAnswer) Arrow() arrow.DataType {
	return arrow.StructOf(nullable("severity", arrow.BinaryTypes.String), nullable("confidence", arrow.PrimitiveTypes.Float64),
		nullable("due", arrow.FixedWidthTypes.Date32), nullable("tags", arrow.ListOf(arrow.BinaryTypes.String)))
}

func (structAnswer) Append(array.Builder, *schemas.Answer) error { return nil }
