package serde

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/hamba/avro/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// tried decodes twice into one record: whatever the bytes, the builders stay as long as each other, what was decoded
// makes a valid record, and the second time is as the first.
func tried(t *testing.T, decoder Decoder, data []byte) (decoded bool) {
	t.Helper()
	if data == nil {
		data = []byte{}
	}
	before := bytes.Clone(data)
	record, errs := decodeAll(t, decoder, data, data)
	defer record.Release()
	if !bytes.Equal(data, before) {
		t.Fatal("the record's bytes were changed")
	}
	if (errs[0] == nil) != (errs[1] == nil) {
		t.Fatalf("first %v, then %v", errs[0], errs[1])
	}
	if errs[0] != nil {
		wantUndecodable(t, errs[0], "")
		return false
	}
	if first, second := rowText(t, record, 0), rowText(t, record, 1); first != second {
		t.Fatalf("first %s then %s", first, second)
	}
	for _, column := range record.Columns() {
		if full, ok := column.(interface{ ValidateFull() error }); ok {
			if err := full.ValidateFull(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return true
}

// FuzzAvro decodes what it may, and agrees with another decoder on what that is.
func FuzzAvro(f *testing.F) {
	schema := testText(f, "ticket.avsc")
	f.Add(golden(f, "ticket.avro.hex"))
	f.Add([]byte{})
	parsed, err := avro.ParseWithCache(schema, "", &avro.SchemaCache{})
	if err != nil {
		f.Fatal(err)
	}
	decoder := newDecoder(f, Options{Format: Avro, Schema: schema})
	other := avro.Config{MaxByteSliceSize: 1 << 16, MaxSliceAllocSize: 1 << 16}.Freeze()
	f.Fuzz(func(t *testing.T, data []byte) {
		if !tried(t, decoder.Clone(), data) {
			return
		}
		var value map[string]any
		if err := other.Unmarshal(parsed, data, &value); err != nil {
			t.Fatalf("decoded what the library does not: %v", err)
		}
		record, _ := decodeAll(t, decoder.Clone(), data)
		defer record.Release()
		for i, name := range []string{"id", "small"} {
			want, err := json.Marshal(value[name])
			if err != nil || record.Column(i).ValueStr(0) != string(want) {
				t.Fatalf("%s is %s, not %s", name, record.Column(i).ValueStr(0), want)
			}
		}
	})
}

// FuzzAvroSchema resolves any two schemas, and reads with them.
func FuzzAvroSchema(f *testing.F) {
	f.Add(testText(f, "ticket.avsc"), testText(f, "ticket.avsc"), golden(f, "ticket.avro.hex"))
	f.Add(record(`{"name":"a","type":"int"}`), record(`{"name":"a","type":["null","long"]},{"name":"b","type":{"type":"map","values":"int"},"default":{"k":1}}`), []byte{2})
	f.Add(`{"type":"array","items":"null"}`, `{"type":"array","items":["null","string"]}`, []byte{2, 0})
	f.Add(`"string"`, `["bytes","string"]`, []byte{2, 65})
	f.Fuzz(func(t *testing.T, writer, reader string, data []byte) {
		if len(writer)+len(reader) > 1<<14 {
			return
		}
		fake := newFakeRegistry()
		id := fake.add("t-value", "AVRO", writer)
		fake.add("reader", "AVRO", reader)
		decoder, err := NewDecoder(t.Context(), Options{Format: Avro, Registry: fake.client(t, RegistryOptions{}), Subject: "reader"})
		if err != nil {
			wantInvalid(t, err, "")
			return
		}
		tried(t, decoder, append(framed(id), data...))
	})
}

// FuzzProtobuf decodes what it may, and agrees with the official decoder on whether that can be.
func FuzzProtobuf(f *testing.F) {
	schema := testText(f, "ticket.proto")
	f.Add(golden(f, "ticket.pb.hex"))
	f.Add(message(300, message(1, "x"), 15, []byte{1, 2}))
	file, err := compileProto(f.Context(), &document{text: schema})
	if err != nil {
		f.Fatal(err)
	}
	decoder := newDecoder(f, Options{Format: Protobuf, Schema: schema})
	f.Fuzz(func(t *testing.T, data []byte) {
		if !tried(t, decoder.Clone(), data) {
			return
		}
		other, err := official(file.Messages().Get(0), data)
		if err != nil {
			// What is unknown to us is not looked into.
			if !strings.Contains(err.Error(), "UTF-8") && !strings.Contains(err.Error(), "panics") {
				t.Fatalf("decoded what the library does not: %v", err)
			}
			return
		}
		record, _ := decodeAll(t, decoder.Clone(), data)
		defer record.Release()
		fields := other.Descriptor().Fields()
		for i := range fields.Len() {
			if field := fields.Get(i); field.Kind() == protoreflect.Int64Kind && !field.IsList() && field.ContainingOneof() == nil {
				if got := as[*array.Int64](record.Column(i)).Value(0); got != other.Get(field).Int() {
					t.Fatalf("%s is %d, not %d", field.Name(), got, other.Get(field).Int())
				}
			}
		}
	})
}

// official decodes by the official library, which panics at some of what it refuses: a map's key of another type.
func official(descriptor protoreflect.MessageDescriptor, data []byte) (message *dynamicpb.Message, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("the library panics: %v", fault)
		}
	}()
	message = dynamicpb.NewMessage(descriptor)
	return message, proto.Unmarshal(data, message)
}

func FuzzProtobufSchema(f *testing.F) {
	f.Add(testText(f, "ticket.proto"), golden(f, "ticket.pb.hex"))
	f.Add(`syntax = "proto2"; message M { optional group G = 1 { required int32 a = 2 [default = 1]; } extensions 10 to max; }`, []byte{0x0b, 0x0c})
	f.Fuzz(func(t *testing.T, schema string, data []byte) {
		if len(schema) > 1<<13 {
			return
		}
		decoder, err := NewDecoder(t.Context(), Options{Format: Protobuf, Schema: schema})
		if err != nil {
			wantInvalid(t, err, "")
			return
		}
		tried(t, decoder, data)
	})
}

// FuzzJSON takes exactly what encoding/json takes, and reads typed columns from it.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"s":"a\u00e9\ud83d\ude00","i":1.0e1,"d":"NaN","n":"1.50","at":"2026-11-25T10:00:00Z","x":"AA==","a":[1,null],"m":{"k":{}},"r":{"p":true}}`,
		`[1,-0.5E+3,"\\",{"":null}]`, `"\ud800"`, ` 1 `, `{"a":[1,]}`, "\"\x01\"", `{"m":{"a":1,"a":2}}`, `1e999999999999999999999`,
	} {
		f.Add([]byte(seed))
	}
	anything := newDecoder(f, Options{Format: JSON})
	typed := newDecoder(f, Options{Format: JSON, Schema: "s STRING, i BIGINT, d DOUBLE, n DECIMAL(10,3), at TIMESTAMP, day DATE, x BINARY, a ARRAY<INT>, m MAP<STRING,STRING>, r STRUCT<p: BOOLEAN, q: ARRAY<STRUCT<z: FLOAT>>>"})
	f.Fuzz(func(t *testing.T, data []byte) {
		taken := tried(t, anything.Clone(), data)
		if want := json.Valid(data) && utf8.Valid(data); taken != want && bytes.Count(data, []byte("["))+bytes.Count(data, []byte("{")) < maxJSONDepth {
			t.Fatalf("taken: %t, by encoding/json: %t", taken, want)
		}
		if !tried(t, typed.Clone(), data) {
			return
		}
		if !taken {
			t.Fatal("columns were read from what is no JSON")
		}
		var want struct {
			S json.RawMessage `json:"s"`
		}
		record, _ := decodeAll(t, typed.Clone(), data)
		defer record.Release()
		var text string
		if json.Unmarshal(data, &want) == nil && json.Unmarshal(want.S, &text) == nil && bytes.Count(data, []byte(`"s"`)) == 1 && !bytes.ContainsAny(data, `\S`) {
			if got := as[*array.String](record.Column(0)); got.IsValid(0) && got.Value(0) != text {
				t.Fatalf("s is %q, not %q", got.Value(0), text)
			}
		}
	})
}

func FuzzJSONSchema(f *testing.F) {
	f.Add(`{"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"$ref":"#/definitions/b"}},"definitions":{"b":{"type":"array","items":{"type":"string","format":"date"}}}}`, `{"a":2,"b":["2026-11-25"]}`)
	f.Add(`{"type":"object","additionalProperties":{"type":"number","multipleOf":0.1}}`, `{"k":1e3}`)
	f.Add(`true`, `[]`)
	f.Fuzz(func(t *testing.T, schema, data string) {
		if len(schema) > 1<<12 {
			return
		}
		decoder, err := NewDecoder(t.Context(), Options{Format: JSONSchema, Schema: schema})
		if err != nil {
			wantInvalid(t, err, "")
			return
		}
		tried(t, decoder, []byte(data))
	})
}

// FuzzWireFormat has every format meet any beginning.
func FuzzWireFormat(f *testing.F) {
	fake := newFakeRegistry()
	ids := map[Format]int{
		Avro:       fake.add("avro", "AVRO", longSchema),
		Protobuf:   fake.add("protobuf", "PROTOBUF", proto3("message A { message B { int64 n = 1; } }")),
		JSONSchema: fake.add("json_schema", "JSON", `{"type":"object"}`),
	}
	registry := fake.client(f, RegistryOptions{})
	f.Add(framed(ids[Avro], 84))
	f.Add(framed(ids[Protobuf], 4, 0, 0, 8, 7))
	f.Add(framed(ids[JSONSchema], '{', '}'))
	var decoders []Decoder
	for format := range ids {
		o := Options{Format: format, Registry: registry, Subject: string(format)}
		if format == Protobuf {
			o.Message = "p.A.B"
		}
		decoders = append(decoders, newDecoder(f, o))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, decoder := range decoders {
			if tried(t, decoder.Clone(), data) && data[0] != 0 {
				t.Fatal("decoded without the wire format")
			}
		}
	})
}

// FuzzDDL: what is taken is written and read again as the same.
func FuzzDDL(f *testing.F) {
	f.Add("ticket_id BIGINT, subject STRING, tags ARRAY<STRING>")
	f.Add("`a``b` MAP<STRING, STRUCT<x: DECIMAL(10, 2) NOT NULL COMMENT 'it''s', y TIMESTAMP_NTZ>>")
	f.Fuzz(func(t *testing.T, text string) {
		fields, err := parseDDL(text)
		if err != nil {
			return
		}
		again, err := parseDDL(quotedDDL(fields))
		if err != nil {
			t.Fatalf("%q: %v", quotedDDL(fields), err)
		}
		if !arrow.TypeEqual(arrow.StructOf(fields...), arrow.StructOf(again...)) {
			t.Fatalf("%v became %v", fields, again)
		}
		if decoder, err := NewDecoder(t.Context(), Options{Format: JSON, Schema: text}); err == nil {
			builder := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(decoder.Fields(), nil))
			defer builder.Release()
			if err := decoder.Append(t.Context(), []byte("{}"), builder.Fields()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func quotedDDL(fields []arrow.Field) string {
	parts := make([]string, len(fields))
	for i, field := range fields {
		dataType := ddlOf(field.Type)
		switch typed := field.Type.(type) {
		case *arrow.StructType:
			dataType = "STRUCT<" + quotedDDL(typed.Fields()) + ">"
		case *arrow.MapType:
			inner := quotedDDL([]arrow.Field{{Name: "x", Type: typed.ItemType()}})
			dataType = "MAP<STRING, " + strings.TrimPrefix(inner, "`x` ") + ">"
		case *arrow.ListType:
			inner := quotedDDL([]arrow.Field{{Name: "x", Type: typed.Elem()}})
			dataType = "ARRAY<" + strings.TrimPrefix(inner, "`x` ") + ">"
		}
		parts[i] = "`" + strings.ReplaceAll(field.Name, "`", "``") + "` " + dataType
	}
	return strings.Join(parts, ", ")
}
