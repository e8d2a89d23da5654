package parquet_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// random draws schemas and values; one seed is one story.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 7))} }

func (r random) schema() *arrow.Schema {
	return arrow.NewSchema(r.fields("c", 1+r.IntN(8), 3), nil)
}

func (r random) fields(prefix string, count, depth int) []arrow.Field {
	fields := make([]arrow.Field, count)
	for i := range fields {
		fields[i] = arrow.Field{Name: fmt.Sprintf("%s%d", prefix, count-i), Type: r.dataType(depth), Nullable: r.IntN(4) > 0}
	}
	return fields
}

func (r random) dataType(depth int) arrow.DataType {
	flat := []arrow.DataType{
		arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32,
		arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Date32,
		arrow.FixedWidthTypes.Timestamp_us, &arrow.TimestampType{Unit: arrow.Microsecond}, arrow.BinaryTypes.String,
		arrow.BinaryTypes.Binary, nil,
	}
	kinds := len(flat)
	if depth > 0 {
		kinds += 3
	}
	switch kind := r.IntN(kinds); kind {
	case len(flat) - 1:
		precision := 1 + r.Int32N(38)
		return &arrow.Decimal128Type{Precision: precision, Scale: r.Int32N(precision + 1)}
	case len(flat):
		return arrow.StructOf(r.fields("f", 1+r.IntN(3), depth-1)...)
	case len(flat) + 1:
		return arrow.ListOfField(arrow.Field{Name: "element", Type: r.dataType(depth - 1), Nullable: r.IntN(3) > 0})
	case len(flat) + 2:
		mapped := arrow.MapOf(arrow.BinaryTypes.String, r.dataType(depth-1))
		mapped.SetItemNullable(r.IntN(3) > 0)
		return mapped
	default:
		return flat[kind]
	}
}

func (r random) record(mem memory.Allocator, schema *arrow.Schema, rows int) arrow.Record {
	builder := array.NewRecordBuilder(mem, schema)
	defer builder.Release()
	for i, field := range schema.Fields() {
		// Some columns are NULL throughout, some never, as in real tables.
		share := []float64{0, 0.1, 0.9, 1}[r.IntN(4)]
		for range rows {
			r.append(builder.Field(i), field.Type, field.Nullable, share)
		}
	}
	return builder.NewRecord()
}

func (r random) append(builder array.Builder, dataType arrow.DataType, nullable bool, share float64) {
	if nullable && r.Float64() < share {
		builder.AppendNull()
		return
	}
	switch b := builder.(type) {
	case *array.BooleanBuilder:
		b.Append(r.IntN(2) == 0)
	case *array.Int8Builder:
		b.Append(int8(r.IntN(256)))
	case *array.Int16Builder:
		b.Append(int16(r.IntN(1 << 16)))
	case *array.Int32Builder:
		b.Append(int32(r.Uint32()))
	case *array.Int64Builder:
		b.Append(int64(r.Uint64()))
	case *array.Float32Builder:
		b.Append(float32(r.NormFloat64()))
	case *array.Float64Builder:
		b.Append([]float64{r.NormFloat64(), -math.MaxFloat64, math.MaxFloat64, 0}[r.IntN(4)])
	case *array.Date32Builder:
		b.Append(arrow.Date32(r.IntN(40000) - 20000))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(r.Int64N(4e15) - 2e15))
	case *array.StringBuilder:
		b.Append(r.text())
	case *array.BinaryBuilder:
		b.Append([]byte("b" + r.text())) // an empty one and NULL look alike in JSON
	case *array.Decimal128Builder:
		precision := dataType.(*arrow.Decimal128Type).Precision //nolint:errcheck // the schema beside it fixes the type
		limit := decimal128.GetMaxValue(precision)
		_, num := decimal128.New(r.Int64N(math.MaxInt64), r.Uint64()).Div(limit.Add(decimal128.FromI64(1)))
		num = []decimal128.Num{num, num.Negate(), limit, limit.Negate(), decimal128.FromI64(0)}[r.IntN(5)]
		b.Append(num)
	case *array.StructBuilder:
		b.Append(true)
		for i, field := range dataType.(*arrow.StructType).Fields() { //nolint:errcheck // the schema beside it fixes the type
			r.append(b.FieldBuilder(i), field.Type, field.Nullable, share)
		}
	case *array.ListBuilder:
		b.Append(true)
		element := dataType.(*arrow.ListType).ElemField() //nolint:errcheck // the schema beside it fixes the type
		for range r.IntN(4) {
			r.append(b.ValueBuilder(), element.Type, element.Nullable, share)
		}
	case *array.MapBuilder:
		b.Append(true)
		mapped := dataType.(*arrow.MapType) //nolint:errcheck // the schema beside it fixes the type
		for i := range r.IntN(4) {
			b.KeyBuilder().(*array.StringBuilder).Append(fmt.Sprintf("%d %s", i, r.text())) //nolint:errcheck // the schema beside it fixes the type
			r.append(b.ItemBuilder(), mapped.ItemType(), mapped.ItemField().Nullable, share)
		}
	default:
		panic(fmt.Sprintf("no values for %s", dataType))
	}
}

func (r random) text() string {
	switch r.IntN(20) {
	case 0:
		return ""
	case 1:
		return strings.Repeat("long ", 100)
	case 2:
		return "x\x00ü😀"
	default:
		return fmt.Sprintf("text %d", r.IntN(1000))
	}
}
