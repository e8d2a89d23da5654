package schemas_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

// TestAppendJSON: no digit and no instant is lost on the way into JSON, whatever the type.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	nested := arrow.StructOf(
		arrow.Field{Name: "a \"b\"", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		arrow.Field{Name: "list", Type: arrow.ListOf(arrow.PrimitiveTypes.Float64), Nullable: true},
	)
	for _, each := range []struct {
		of      arrow.DataType
		written string // as Arrow reads JSON
		want    string
	}{
		{arrow.PrimitiveTypes.Int8, `-128`, `-128`},
		{arrow.PrimitiveTypes.Uint8, `255`, `255`},
		{arrow.PrimitiveTypes.Uint32, `4294967295`, `4294967295`},
		{arrow.PrimitiveTypes.Int64, `9007199254740993`, `9007199254740993`},
		{arrow.PrimitiveTypes.Uint64, `18446744073709551615`, `18446744073709551615`},
		{arrow.PrimitiveTypes.Float32, `0.1`, `0.1`},
		{arrow.PrimitiveTypes.Float64, `0.1`, `0.1`},
		{arrow.PrimitiveTypes.Float64, `1e300`, `1e+300`},
		{arrow.PrimitiveTypes.Float64, `null`, `null`},
		{arrow.FixedWidthTypes.Float16, `0.5`, `0.5`},
		{&arrow.Decimal256Type{Precision: 50, Scale: 1}, `"1.5"`, `1.5`},
		{&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.PrimitiveTypes.Int64}, `7`, `7`},
		{arrow.ListOf(arrow.PrimitiveTypes.Uint8), `[255]`, `[255]`},
		{arrow.FixedWidthTypes.Boolean, `true`, `true`},
		{arrow.BinaryTypes.String, `"a \"b\"\n\u0001é"`, `"a \"b\"\n\u0001é"`},
		{arrow.BinaryTypes.LargeString, `"x"`, `"x"`},
		{arrow.BinaryTypes.Binary, `"AP8="`, `"AP8="`},
		{arrow.FixedWidthTypes.Date32, `"2026-01-31"`, `"2026-01-31"`},
		{&arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, `"2026-01-31T23:59:59.000001Z"`, `"2026-01-31T23:59:59.000001"`},
		{&arrow.TimestampType{Unit: arrow.Nanosecond}, `"2026-01-31T23:59:59.000000001"`, `"2026-01-31T23:59:59.000000001"`},
		{&arrow.TimestampType{Unit: arrow.Second}, `"2026-01-31T23:59:59"`, `"2026-01-31T23:59:59"`},
		{&arrow.Decimal128Type{Precision: 38, Scale: 2}, `"-123456789012345678901234567890.10"`, `-123456789012345678901234567890.10`},
		{&arrow.Decimal128Type{Precision: 5, Scale: 0}, `"7"`, `7`},
		{arrow.ListOf(arrow.PrimitiveTypes.Int32), `[1,null,3]`, `[1,null,3]`},
		{arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Int32), `[1,2]`, `[1,2]`},
		{nested, `{"a \"b\"":1,"list":[0.5]}`, `{"a \"b\"":1,"list":[0.5]}`},
		{nested, `{"a \"b\"":null,"list":null}`, `{"a \"b\"":null,"list":null}`},
		{arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), `[{"key":"x","value":1},{"key":"y","value":null}]`, `{"x":1,"y":null}`},
	} {
		column, _, err := array.FromJSON(memory.DefaultAllocator, each.of, strings.NewReader("[null,"+each.written+"]"), array.WithUseNumber())
		if err != nil {
			t.Fatalf("%s: %v", each.of, err)
		}
		got, err := schemas.AppendJSON([]byte("x"), column, 1)
		if err != nil || string(got) != "x"+each.want || !json.Valid(got[1:]) {
			t.Errorf("%s: got %s %v, want %s", each.of, got, err, each.want)
		}
		if got, err := schemas.AppendJSON(nil, column, 0); err != nil || string(got) != "null" {
			t.Errorf("%s: NULL is %s %v", each.of, got, err)
		}
		column.Release()
	}

	clock, _, err := array.FromJSON(memory.DefaultAllocator, arrow.FixedWidthTypes.Time32s, strings.NewReader(`["01:02:03"]`))
	if err != nil {
		t.Fatal(err)
	}
	defer clock.Release()
	if got, err := schemas.AppendJSON(nil, clock, 0); err == nil {
		t.Errorf("a type that nobody thought of is %s", got)
	}

	floats := array.NewFloat64Builder(memory.DefaultAllocator)
	defer floats.Release()
	floats.AppendValues([]float64{math.NaN(), math.Inf(1), math.Copysign(0, -1), math.MaxFloat64, math.SmallestNonzeroFloat64}, nil)
	column := floats.NewFloat64Array()
	defer column.Release()
	if got, err := schemas.AppendJSON(nil, column, 0); err != nil || string(got) != "null" {
		t.Errorf("NaN is %s %v", got, err)
	}
	if _, err := schemas.AppendJSON(nil, column, 1); err == nil {
		t.Error("an infinity has JSON")
	}
	for row := 2; row < column.Len(); row++ {
		text, err := schemas.AppendJSON(nil, column, row)
		var back float64
		if err != nil || json.Unmarshal(text, &back) != nil || math.Float64bits(back) != math.Float64bits(column.Value(row)) {
			t.Errorf("%g is %s %v", column.Value(row), text, err)
		}
	}
}

// TestEmbeddingType: a vector comes out of the ledger's bytes as it went in.
func TestEmbeddingType(t *testing.T) {
	t.Parallel()
	kind := schemas.EmbeddingType{}
	builder := array.NewBuilder(memory.DefaultAllocator, kind.Arrow())
	defer builder.Release()
	for _, vector := range [][]float32{{0.1, -2, float32(math.Inf(1))}, {7}} {
		if err := kind.Append(builder, &schemas.Answer{Vector: schemas.EncodeVector(vector)}); err != nil {
			t.Fatal(err)
		}
	}
	builder.AppendNull()
	for _, vector := range [][]byte{{1, 2, 3}, nil} {
		if err := kind.Append(builder, &schemas.Answer{Vector: vector}); err == nil {
			t.Errorf("%d bytes are a vector", len(vector))
		}
	}
	column := builder.NewArray()
	defer column.Release()
	if got := column.ValueStr(0) + column.ValueStr(1) + column.ValueStr(2); column.Len() != 3 || !strings.HasPrefix(got, "[0.1,-2,") || !strings.HasSuffix(got, "[7](null)") {
		t.Errorf("got %s", got)
	}
}
