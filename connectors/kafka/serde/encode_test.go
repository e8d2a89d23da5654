package serde

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

// oneRow is a record of one column with one value, in Arrow's JSON form.
func oneRow(tb testing.TB, field arrow.Field, value string) arrow.Record {
	tb.Helper()
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{field}, nil), strings.NewReader(fmt.Sprintf(`[{%q: %s}]`, field.Name, value)))
	if err != nil {
		tb.Fatal(err)
	}
	return record
}

func TestEncodedText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format   Format
		dataType arrow.DataType
		value    string
		want     string
	}{
		{Text, arrow.BinaryTypes.String, `"héllo"`, "héllo"},
		{Text, arrow.BinaryTypes.LargeString, `"x"`, "x"},
		{Text, arrow.BinaryTypes.String, `""`, ""},
		{Text, arrow.PrimitiveTypes.Int64, `-42`, "-42"},
		{Text, arrow.FixedWidthTypes.Boolean, `true`, "true"},
		{Text, decimalType(5, 3), `"-0.05"`, "-0.050"},
		{Text, arrow.FixedWidthTypes.Date32, `"2026-11-25"`, "2026-11-25"},
		{Text, arrow.FixedWidthTypes.Timestamp_us, `"2026-11-25 10:00:00.5"`, "2026-11-25T10:00:00.5Z"},
		{Text, arrow.FixedWidthTypes.Timestamp_s, `"2026-11-25 10:00:00"`, "2026-11-25T10:00:00Z"},
		{Text, arrow.FixedWidthTypes.Timestamp_ms, `"2026-11-25 10:00:00.5"`, "2026-11-25T10:00:00.5Z"},
		{Text, arrow.FixedWidthTypes.Timestamp_ns, `"1969-12-31 23:59:59.999998500"`, "1969-12-31T23:59:59.999998Z"},
		{Bytes, arrow.BinaryTypes.Binary, `"AP8="`, "\x00\xff"},
		{Bytes, arrow.BinaryTypes.LargeBinary, `"AP8="`, "\x00\xff"},
		{Bytes, arrow.BinaryTypes.String, `"x"`, "x"},
		{JSON, arrow.BinaryTypes.String, `"a\"\u0001"`, `{"c":"a\"\u0001"}`},
		{JSON, arrow.PrimitiveTypes.Float32, `0.1`, `{"c":0.1}`},
		{JSON, arrow.BinaryTypes.Binary, `"AP8="`, `{"c":"AP8="}`},
		{JSON, decimalType(38, 18), `"0.000000000000000001"`, `{"c":0.000000000000000001}`},
		{JSON, arrow.BinaryTypes.String, `null`, `{"c":null}`},
		{JSON, localTimestampType(), `"2026-11-25 10:00:00"`, `{"c":"2026-11-25T10:00:00"}`},
	} {
		record := oneRow(t, nullable("c", c.dataType), c.value)
		encoder, err := NewEncoder(t.Context(), Options{Format: c.format}, record.Schema(), []string{"c"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := encoder.Encode(t.Context(), record, 0)
		if string(got) != c.want || got == nil || err != nil {
			t.Errorf("%s of %s %s is %q (%v), want %q", c.format, c.dataType, c.value, got, err, c.want)
		}
		record.Release()
	}
	record := oneRow(t, nullable("c", arrow.BinaryTypes.String), "null")
	defer record.Release()
	for _, format := range []Format{Text, Bytes} {
		encoder, err := NewEncoder(t.Context(), Options{Format: format}, record.Schema(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := encoder.Encode(t.Context(), record, 0); got != nil || err != nil {
			t.Errorf("NULL as %s is %q (%v), not a null value", format, got, err)
		}
	}
}

func TestUnencodable(t *testing.T) {
	t.Parallel()
	list := arrow.ListOf(arrow.PrimitiveTypes.Int64)
	texts := arrow.ListOf(arrow.BinaryTypes.String)
	for _, c := range []struct {
		format Format
		field  arrow.Field
		value  string
		want   string
	}{
		{Avro, arrow.Field{Name: "c", Type: arrow.PrimitiveTypes.Int64}, "null", "c: NULL in a column that is NOT NULL"},
		{Protobuf, arrow.Field{Name: "c", Type: arrow.PrimitiveTypes.Int64}, "null", "c: NULL in a column that is NOT NULL"},
		{Protobuf, nullable("c", list), "[1, null]", "c: a NULL in a list or map"},
		{Protobuf, nullable("c", texts), `["a", null]`, "c: a NULL in a list or map"},
		{Protobuf, nullable("c", mapType(arrow.PrimitiveTypes.Int64)), `[{"key": "a", "value": null}]`, "c: a NULL in a list or map"},
		{Protobuf, nullable("c", arrow.FixedWidthTypes.Timestamp_s), `253402300800`, "outside of the years"},
		{Protobuf, nullable("c", arrow.FixedWidthTypes.Date32), `2932897`, "outside of the years"},
		{JSON, nullable("c", arrow.FixedWidthTypes.Date32), `2932897`, "outside of the years"},
		{Avro, nullable("c", arrow.FixedWidthTypes.Timestamp_s), `9223372036854775807`, "out of range"},
		{JSONSchema, nullable("c", arrow.PrimitiveTypes.Float64), `"NaN"`, "JSON has no number NaN"},
	} {
		record := oneRow(t, c.field, c.value)
		encoder, err := NewEncoder(t.Context(), Options{Format: c.format}, record.Schema(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = encoder.Encode(t.Context(), record, 0)
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != schemas.Rejected || failure.Code != CodeUnencodable || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s of %s %s: %v", c.format, c.field, c.value, err)
		}
		record.Release()
	}
	builder := array.NewStringBuilder(memory.DefaultAllocator)
	defer builder.Release()
	builder.Append("\xffSECRET")
	column := builder.NewArray()
	defer column.Release()
	record := array.NewRecord(arrow.NewSchema([]arrow.Field{nullable("c", arrow.BinaryTypes.String)}, nil), []arrow.Array{column}, 1)
	defer record.Release()
	for _, format := range []Format{Text, JSON, JSONSchema, Avro, Protobuf} {
		encoder, err := NewEncoder(t.Context(), Options{Format: format}, record.Schema(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := encoder.Encode(t.Context(), record, 0); got != nil || schemas.ClassOf(err) != schemas.Rejected || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %q, %v", format, got, err)
		}
	}
}

func TestEncoderRefused(t *testing.T) {
	t.Parallel()
	column := func(name string, dataType arrow.DataType) []arrow.Field {
		return []arrow.Field{nullable(name, dataType)}
	}
	text := column("c", arrow.BinaryTypes.String)
	for _, c := range []struct {
		o       Options
		fields  []arrow.Field
		columns []string
		want    string
	}{
		{Options{Format: JSON, Schema: "c STRING"}, text, nil, "have a schema of their own"},
		{Options{Format: "xml"}, text, nil, "no format"},
		{Options{Format: JSON}, text, []string{"d"}, `there is no column "d", or it stands twice; there are c`},
		{Options{Format: JSON}, text, []string{}, "there are no columns"},
		{Options{Format: JSON}, append(column("C", arrow.BinaryTypes.String), text...), nil, `the column "c" stands twice`},
		{Options{Format: Text}, append(column("d", arrow.BinaryTypes.String), text...), nil, "have 2 columns"},
		{Options{Format: Text}, column("c", arrow.ListOf(arrow.BinaryTypes.String)), nil, "not written as text"},
		{Options{Format: Bytes}, column("c", arrow.PrimitiveTypes.Int64), nil, "not written as bytes"},
		{Options{Format: Avro}, column("a-b", arrow.BinaryTypes.String), nil, "rename the column"},
		{Options{Format: Protobuf}, column("a-b", arrow.BinaryTypes.String), nil, "rename the column"},
		{Options{Format: Protobuf}, column("c", arrow.ListOf(arrow.ListOf(arrow.BinaryTypes.String))), nil, "no lists or maps of lists"},
		{Options{Format: Protobuf, Message: "a-b"}, text, nil, `cannot be called "a-b"`},
		{Options{Format: Protobuf}, append(column("fooBar", arrow.BinaryTypes.String), column("foo_bar", arrow.BinaryTypes.String)...), nil, "as a .proto"},
		{Options{Format: JSON}, column("c", arrow.PrimitiveTypes.Uint64), nil, "column c: the type uint64 cannot be written"},
		{Options{Format: JSON}, column("c", arrow.StructOf()), nil, "a STRUCT has no fields"},
		{Options{Format: JSON}, column("c", arrow.MapOf(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String)), nil, "keys that are not STRING"},
		{Options{Format: JSON}, column("c", arrow.StructOf(column("x", arrow.Null)...)), nil, "column c: x: the type null cannot be written"},
	} {
		_, err := NewEncoder(t.Context(), c.o, arrow.NewSchema(c.fields, nil), c.columns)
		wantInvalid(t, err, c.want)
	}
}

// TestNamesOfMessages: a message cannot have the name of a field beside it.
func TestNamesOfMessages(t *testing.T) {
	t.Parallel()
	inner := arrow.StructOf(nullable("Inner", arrow.StructOf(nullable("google", arrow.FixedWidthTypes.Date32))))
	record := oneRow(t, nullable("Error", inner), `{"Inner": {"google": "2026-11-25"}}`)
	defer record.Release()
	roundTrip(t, Protobuf, record, "names")
}

func TestShortestDecimal(t *testing.T) {
	t.Parallel()
	for value, want := range map[int64]string{0: "00", 127: "7f", 128: "0080", -128: "80", -129: "ff7f", 1 << 40: "010000000000"} {
		if got := hex.EncodeToString(bytesOfDecimal(nil, decimal128.FromI64(value))); got != want {
			t.Errorf("%d is %s, want %s", value, got, want)
		}
	}
}

// TestColumnsPicked: the named columns are written, in that order, and from no record of another schema.
func TestColumnsPicked(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{nullable("a", arrow.PrimitiveTypes.Int64), nullable("b", arrow.BinaryTypes.String), nullable("c", arrow.FixedWidthTypes.Boolean)}, nil)
	encoder, err := NewEncoder(t.Context(), Options{Format: JSON}, schema, []string{"c", "a"})
	if err != nil {
		t.Fatal(err)
	}
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(`[{"a": 1, "b": "x", "c": true}]`))
	if err != nil {
		t.Fatal(err)
	}
	defer record.Release()
	if got, err := encoder.Encode(t.Context(), record, 0); string(got) != `{"c":true,"a":1}` || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	other := oneRow(t, nullable("a", arrow.PrimitiveTypes.Int64), "1")
	defer other.Release()
	if _, err := encoder.Encode(t.Context(), other, 0); schemas.ClassOf(err) != schemas.Fatal || err == nil {
		t.Errorf("another schema: %v", err)
	}
}

// TestRegisteredSchemas pins what consumers will see: a change of it is a new version of every subject.
func TestRegisteredSchemas(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		nullable("error", arrow.StructOf(nullable("code", arrow.BinaryTypes.String), nullable("Error", arrow.FixedWidthTypes.Date32))),
		nullable("cost", decimalType(38, 18)), nullable("at", arrow.FixedWidthTypes.Timestamp_us), nullable("local", localTimestampType()),
		nullable("response", arrow.ListOf(arrow.PrimitiveTypes.Float32)), nullable("labels", mapType(arrow.StructOf(nullable("x", arrow.BinaryTypes.Binary)))),
	}, nil)
	for format, want := range map[Format]string{
		Avro: `{"fields":[{"name":"id","type":"long"},{"default":null,"name":"error","type":["null",{"fields":[{"default":null,"name":"code","type":["null","string"]},` +
			`{"default":null,"name":"Error","type":["null",{"logicalType":"date","type":"int"}]}],"name":"error","namespace":"my_results","type":"record"}]},` +
			`{"default":null,"name":"cost","type":["null",{"logicalType":"decimal","precision":38,"scale":18,"type":"bytes"}]},` +
			`{"default":null,"name":"at","type":["null",{"logicalType":"timestamp-micros","type":"long"}]},` +
			`{"default":null,"name":"local","type":["null",{"logicalType":"local-timestamp-micros","type":"long"}]},` +
			`{"default":null,"name":"response","type":["null",{"items":["null","float"],"type":"array"}]},` +
			`{"default":null,"name":"labels","type":["null",{"type":"map","values":["null",{"fields":[{"default":null,"name":"x","type":["null","bytes"]}],"name":"labels","namespace":"my_results","type":"record"}]}]}],` +
			`"name":"my_results","type":"record"}`,
		Protobuf: `syntax = "proto3";
import "confluent/meta.proto";
import "confluent/type/decimal.proto";
import "google/protobuf/timestamp.proto";
import "google/type/date.proto";
message my_results {
  int64 id = 1;
  message Error {
    optional string code = 1;
    optional .google.type.Date Error = 2;
  }
  optional .my_results.Error error = 2;
  optional .confluent.type.Decimal cost = 3 [(.confluent.field_meta) = {params: [{key: "precision", value: "38"}, {key: "scale", value: "18"}]}];
  optional .google.protobuf.Timestamp at = 4;
  optional int64 local = 5 [(.confluent.field_meta) = {params: [{key: "logicalType", value: "local-timestamp-micros"}]}];
  repeated float response = 6;
  message Labels {
    optional bytes x = 1;
  }
  map<string, .my_results.Labels> labels = 7;
}
`,
		JSONSchema: `{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"id":{"type":["integer","null"],"format":"int64"},` +
			`"error":{"type":["object","null"],"properties":{"code":{"type":["string","null"]},"Error":{"type":["string","null"],"format":"date"}}},` +
			`"cost":{"type":["number","null"],"format":"decimal(38,18)"},"at":{"type":["string","null"],"format":"date-time"},"local":{"type":["string","null"],"format":"date-time-local"},` +
			`"response":{"type":["array","null"],"items":{"type":["number","null"],"format":"float"}},"labels":{"type":["object","null"],"additionalProperties":{"type":["object","null"],"properties":{"x":{"type":["string","null"],"contentEncoding":"base64"}}}}}}`,
	} {
		fake := newFakeRegistry()
		o := Options{Format: format, Topic: "my.results", Registry: fake.client(t, RegistryOptions{})}
		for range 2 { // a second encoder finds it there
			if _, err := NewEncoder(t.Context(), o, schema, nil); err != nil {
				t.Fatal(err)
			}
		}
		if ids := fake.subjects["my.results-value"]; len(ids) != 1 {
			t.Fatalf("%s: there are versions %v", format, ids)
		}
		compare(t, fake.byID[100].Schema, want)
	}
}
