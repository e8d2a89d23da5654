package serde

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// message writes fields one behind the other: a number, then an int for a varint, a string or []byte for bytes.
func message(pairs ...any) []byte {
	var out []byte
	for i := 0; i < len(pairs); i += 2 {
		number := protowire.Number(as[int](pairs[i]))
		switch value := pairs[i+1].(type) {
		case int:
			out = protowire.AppendVarint(protowire.AppendTag(out, number, protowire.VarintType), uint64(value))
		case string:
			out = protowire.AppendString(protowire.AppendTag(out, number, protowire.BytesType), value)
		case []byte:
			out = protowire.AppendBytes(protowire.AppendTag(out, number, protowire.BytesType), value)
		case uint32:
			out = protowire.AppendFixed32(protowire.AppendTag(out, number, protowire.Fixed32Type), value)
		default:
			panic(fmt.Sprintf("%T", value))
		}
	}
	return out
}

func proto3(body string) string { return `syntax = "proto3"; package p; ` + body }

func TestProtobufEvolution(t *testing.T) {
	t.Parallel()
	m := func(fields string) string { return proto3("message M { " + fields + " }") }
	cases := map[string]struct {
		writer, reader string
		payload        []byte
		want           string
		unresolvable   string
		undecodable    string
	}{
		"renamed":             {m("int32 a = 1;"), m("int32 b = 1;"), message(1, 7), "b int32 = 7", "", ""},
		"added":               {m("int32 a = 1;"), m("int32 a = 1; string s = 2; optional string o = 3; M2 m = 4; repeated int32 r = 5; map<string, int32> x = 6;") + "message M2 { int32 a = 1; }", message(1, 7), "a int32 = 7\ns utf8 = \"\"\no utf8 = NULL\nm struct<a: int32> = NULL\nr list<item: int32, nullable> = []\nx map<utf8, int32, items_nullable> = <>", "", ""},
		"removed":             {m("int32 a = 1; string s = 2;"), m("int32 a = 1;"), message(2, "gone", 1, 7), "a int32 = 7", "", ""},
		"int32 to int64":      {m("int32 a = 1;"), m("int64 a = 1;"), message(1, -7), "a int64 = -7", "", ""},
		"int64 to int32":      {m("int64 a = 1;"), m("int32 a = 1;"), message(1, 7), "a int32 = 7", "", ""},
		"int64 that is large": {m("int64 a = 1;"), m("int32 a = 1;"), message(1, 1<<40), "", "", "a: the number has more than 32 bits"},
		"uint64 to uint32":    {m("uint64 a = 1;"), m("uint32 a = 1;"), message(1, 1<<40), "", "", "a: the number has more than 32 bits"},
		"bool to enum":        {m("bool a = 1;"), m("E a = 1;") + "enum E { NO = 0; YES = 1; }", message(1, 1), `a utf8 = "YES"`, "", ""},
		"string to bytes":     {m("string a = 1;"), m("bytes a = 1;"), message(1, "ab"), "a binary = 6162", "", ""},
		"bytes to string":     {m("bytes a = 1;"), m("string a = 1;"), message(1, "\xff"), "", "", "a: the text is not UTF-8"},
		"enum grown":          {m("E a = 1;") + "enum E { NO = 0; NEW = 5; }", m("E a = 1;") + "enum E { NO = 0; }", message(1, 5), `a utf8 = "5"`, "", ""},
		"int32 to sint32":     {m("int32 a = 1;"), m("sint32 a = 1;"), message(1, 7), "", "field 1, a: int32 was written, sint32 is read", ""},
		"int32 to string":     {m("int32 a = 1;"), m("string a = 1;"), message(1, 7), "", "int32 was written, string is read", ""},
		"made repeated":       {m("int32 a = 1;"), m("repeated int32 a = 1;"), message(1, 7), "", "int32 was written, repeated int32 is read", ""},
		"nested apart":        {m("N n = 1;") + "message N { int32 a = 1; }", m("N n = 1;") + "message N { float a = 1; }", nil, "", "n: field 1, a: int32 was written, float is read", ""},
		"another package":     {strings.Replace(m("int32 a = 1;"), "package p", "package q", 1), m("int32 a = 1;"), message(1, 7), "", "it has no message p.M", ""},
		"moved in the file":   {proto3("message First { int32 z = 1; message M {} } message M { int32 a = 1; }"), m("int32 a = 1;"), message(1, 7), "a int32 = 7", "", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := newFakeRegistry()
			id := fake.add("t-value", "PROTOBUF", c.writer)
			fake.add("t-value", "PROTOBUF", c.reader)
			decoder := newDecoder(t, Options{Format: Protobuf, Registry: fake.client(t, RegistryOptions{}), Topic: "t"})
			index := []byte{0}
			if name == "moved in the file" {
				index = []byte{2, 2} // one level, place 1, as zigzag
			}
			payload := append(framed(id, index...), c.payload...)
			if c.want != "" {
				compare(t, decoded(t, decoder, payload), c.want+"\n")
				return
			}
			rows, errs := decodeAll(t, decoder, payload)
			defer rows.Release()
			if c.unresolvable != "" {
				wantUndecodable(t, errs[0], fmt.Sprintf("schema %d (t-value version 1) cannot be read as t-value version 2: ", id))
			}
			wantUndecodable(t, errs[0], c.unresolvable+c.undecodable)
		})
	}
}

func TestProtobufMessageIndex(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	id := fake.add("t-value", "PROTOBUF", proto3("message A { int32 a = 1; } message B { message C { int32 c = 1; } message D { int32 d = 1; } }"))
	registry := fake.client(t, RegistryOptions{})
	decoder := newDecoder(t, Options{Format: Protobuf, Registry: registry, Topic: "t", Message: "p.B.D"})
	compare(t, decoded(t, decoder, append(framed(id, 4, 2, 2), message(1, 7)...)), "d int32 = 7\n")
	compare(t, decoded(t, newDecoder(t, Options{Format: Protobuf, Registry: registry, Topic: "t", Message: "p.B.C"}), append(framed(id, 4, 2, 0), message(1, 7)...)), "c int32 = 7\n")
	rows, errs := decodeAll(t, decoder, framed(id, 0), framed(id, 2, 2), framed(id, 4, 2, 0), framed(id), framed(id, 4, 2), framed(id, 0x80), framed(id, 1), framed(id, 0xfe, 0xff, 0xff, 0xff, 0x0f))
	defer rows.Release()
	for i := range 3 {
		wantUndecodable(t, errs[i], "it is another message of schema 100 than p.B.D")
	}
	for i := range 5 {
		wantUndecodable(t, errs[3+i], "nothing says which message")
	}
	first := newDecoder(t, Options{Format: Protobuf, Registry: registry, Topic: "t"})
	for _, index := range [][]byte{{0}, {2, 0}} { // both forms of the first message
		compare(t, decoded(t, first, append(framed(id, index...), message(1, 7)...)), "a int32 = 7\n")
	}
	for want, name := range map[string]string{"it has no message p.X": "p.X", "name one of its messages: p.A, p.B": "A"} {
		_, err := NewDecoder(t.Context(), Options{Format: Protobuf, Registry: registry, Topic: "t", Message: name})
		wantInvalid(t, err, want)
	}
}

// TestProtobufMerging: fields may come twice, in parts and in any order.
func TestProtobufMerging(t *testing.T) {
	t.Parallel()
	schema := proto3(`message M { N n = 1; repeated int32 r = 2; map<string, int32> m = 3; oneof o { int32 i = 4; N other = 5; } repeated N ns = 6; map<uint64, N> nm = 7; map<bool, string> bm = 8; repeated float f = 9; }
		message N { int32 a = 1; repeated string s = 2; }`)
	decoder := newDecoder(t, Options{Format: Protobuf, Schema: schema})
	payload := message(
		1, message(1, 3, 2, "x"), 2, 1, 2, []byte{2, 3}, 3, message(1, "k", 2, 1), 3, message(2, 5, 1, "j"), 4, 9, 5, message(1, 1),
		1, message(2, "y"), 3, message(1, "k", 2, 7), 6, message(), 6, message(1, 2), 7, message(1, -1), 8, message(2, "no"), 9, uint32(0x3f800000), 9, []byte{0, 0, 0, 0x40})
	compare(t, decoded(t, decoder, payload), `
n struct<a: int32, s: list<item: utf8, nullable>> = {3, ["x", "y"]}
r list<item: int32, nullable> = [1, 2, 3]
m map<utf8, int32, items_nullable> = <"k": 7, "j": 5>
i int32 = NULL
other struct<a: int32, s: list<item: utf8, nullable>> = {1, []}
ns list<item: struct<a: int32, s: list<item: utf8, nullable>>, nullable> = [{0, []}, {2, []}]
nm map<utf8, struct<a: int32, s: list<item: utf8, nullable>>, items_nullable> = <"18446744073709551615": {0, []}>
bm map<utf8, utf8, items_nullable> = <"false": "no">
f list<item: float32, nullable> = [1, 2]
`)
}

func TestProtobuf2(t *testing.T) {
	t.Parallel()
	schema := `syntax = "proto2"; message M { required int32 a = 1; optional int64 b = 2 [default = -5]; optional string s = 3 [default = "d"]; optional E e = 4 [default = TWO];
		optional double d = 5 [default = 0.5]; optional bytes x = 6 [default = "\001"]; optional bool t = 7 [default = true]; optional uint64 u = 8 [default = 18446744073709551615];
		optional group G = 9 { optional int32 g = 1; } repeated int32 r = 10; repeated int32 packed = 11 [packed = true]; optional int32 none = 12; }
		enum E { ONE = 1; TWO = 2; }`
	decoder := newDecoder(t, Options{Format: Protobuf, Schema: schema})
	compare(t, decoded(t, decoder, message(10, 4, 11, []byte{1, 2})), `
a int32 = NULL
b int64 = -5
s utf8 = "d"
e utf8 = "TWO"
d float64 = 0.5
x binary = 01
t bool = true
u decimal(20, 0) = 18446744073709551615
g struct<g: int32> = NULL
r list<item: int32, nullable> = [4]
packed list<item: int32, nullable> = [1, 2]
none int32 = NULL
`)
	group := protowire.AppendTag(nil, 9, protowire.StartGroupType)
	group = append(group, message(1, 6)...)
	group = protowire.AppendTag(group, 9, protowire.EndGroupType)
	if got := decoded(t, decoder, group); !strings.Contains(got, "= {6}") {
		t.Error(got)
	}
}

func TestProtobufWellKnown(t *testing.T) {
	t.Parallel()
	schema := `syntax = "proto3"; import "google/protobuf/wrappers.proto"; import "google/protobuf/struct.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto";
		import "google/type/date.proto"; import "confluent/type/decimal.proto"; import "confluent/meta.proto";
		message M { google.protobuf.BoolValue b = 1; google.protobuf.UInt32Value u = 2; google.protobuf.UInt64Value ul = 3; google.protobuf.FloatValue f = 4; google.protobuf.DoubleValue d = 5;
		google.protobuf.BytesValue x = 6; google.protobuf.Int32Value i = 7; google.protobuf.ListValue l = 8; google.protobuf.Value v = 9; google.type.Date day = 10; confluent.type.Decimal raw = 11;
		confluent.type.Decimal n = 12 [(confluent.field_meta) = {doc: "money", params: [{key: "scale", value: "2"}, {key: "precision", value: "5"}]}]; repeated google.protobuf.Timestamp at = 13; map<string, google.protobuf.Duration> took = 14; }`
	decoder := newDecoder(t, Options{Format: Protobuf, Schema: schema})
	compare(t, decoded(t, decoder, message(
		1, message(), 2, message(1, 4_000_000_000), 3, message(1, -1), 4, message(1, uint32(0x3f800000)), 6, message(1, "x"), 7, message(1, -1),
		8, message(1, message(3, "a")), 9, message(3, "t"), 10, message(1, 2024, 2, 2, 3, 29), 11, message(1, "\x01", 2, 3, 3, 1), 12, message(1, "\xff\x00", 2, 5, 3, 2),
		13, message(), 13, message(1, -1, 2, 999_999_999), 14, message(1, "k", 2, message(1, -1, 2, -500_000_000)))), `
b bool = false
u int64 = 4000000000
ul decimal(20, 0) = 18446744073709551615
f float32 = 1
d float64 = NULL
x binary = 78
i int32 = -1
l utf8 = "[\"a\"]"
v utf8 = "\"t\""
day date32 = 2024-02-29
raw struct<value: binary, precision: int64, scale: int32> = {01, 3, 1}
n decimal(5, 2) = -2.56
at list<item: timestamp[us, tz=UTC], nullable> = [1970-01-01 00:00:00Z, 1969-12-31 23:59:59.999999Z]
took map<utf8, decimal(21, 9), items_nullable> = <"k": -1.500000000>
`)
	for want, payload := range map[string][]byte{
		"day: the date is not a whole one":      message(10, message(1, 2023, 2, 2, 3, 29)),
		"at: the time is outside of the years":  message(13, message(1, 1<<60)),
		"at: the time is outside":               message(13, message(2, 1_000_000_000)),
		"took: value: the duration is out":      message(14, message(2, message(1, 1<<60))),
		"n: a decimal of another scale than 2":  message(12, message(1, "\x01", 3, 3)),
		"n: the number has more than the 5 dig": message(12, message(1, "\x7f\xff\xff", 3, 2)),
		"l: the bytes are not Protobuf":         message(8, message(1, "\xff")),
	} {
		rows, errs := decodeAll(t, decoder, payload)
		rows.Release()
		wantUndecodable(t, errs[0], want)
	}
	notANumber := protowire.AppendFixed64(protowire.AppendTag(nil, 2, protowire.Fixed64Type), 0x7ff8000000000000)
	if got := decoded(t, decoder, message(9, notANumber)); !strings.Contains(got, `v utf8 = "\"NaN\""`) {
		t.Error(got)
	}
	top := newDecoder(t, Options{Format: Protobuf, Schema: proto3("message Empty {}"), Key: true})
	compare(t, decoded(t, top, []byte{}), "key bool = true\n")
}

// TestProtobufOfRegistry compares two versions that hold messages which hold themselves, as Struct does.
func TestProtobufOfRegistry(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	id := fake.add("t-value", "PROTOBUF", testText(t, "ticket.proto"))
	fake.add("t-value", "PROTOBUF", strings.Replace(testText(t, "ticket.proto"), "int64 id = 1;", "int32 id = 1;", 1))
	decoder := newDecoder(t, Options{Format: Protobuf, Registry: fake.client(t, RegistryOptions{}), Topic: "t"})
	if got := decoded(t, decoder, append(framed(id, 0), golden(t, "ticket.pb.hex")...)); !strings.HasPrefix(got, "id int32 = -5\n") {
		t.Error(got)
	}
}

func TestProtobufHostile(t *testing.T) {
	t.Parallel()
	decoder := newDecoder(t, Options{Format: Protobuf, Schema: proto3("message M { int32 a = 1; string s = 2; repeated M2 m = 3; repeated bool b = 4; } message M2 { " + manyFields(500) + " }")})
	groups := strings.Repeat("3b", 100_000) // start of group 7, over and over
	for want, payload := range map[string]string{
		"it ends too early":          "0a05",
		"a: it ends too early":       "08ff",
		"s: the text is not UTF-8":   "1201ff",
		"the bytes are not Protobuf": "07",
		"b: it ends too early":       "220180",
		"s: it ends too early":       "12ffffffff07",
		"not Protobuf":               groups,
		"m: it holds far more":       strings.Repeat("1a00", 100_000),
	} {
		data, err := hex.DecodeString(payload)
		if err != nil {
			t.Fatal(err)
		}
		rows, errs := decodeAll(t, decoder, data)
		rows.Release()
		wantUndecodable(t, errs[0], want)
	}
	// Another type under a field's number is no field of ours, as everywhere in Protobuf.
	if got := decoded(t, decoder, message(1, "text", 2, 7, 3, 1)); !strings.HasPrefix(got, "a int32 = 0\ns utf8 = \"\"\n") {
		t.Error(got)
	}
}

func manyFields(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "optional int32 f%d = %d; ", i, i+1)
	}
	return out.String()
}

func TestProtobufRefused(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		proto3("message M { repeated M m = 1; }"):                            "m: the message p.M holds itself",
		proto3("message M { N n = 1; } message N { map<string, M> m = 1; }"): "n: m: the message p.M holds itself",
		proto3("message M { int32 _key = 1; }"):                              "metadata",
		proto3("enum E { A = 0; }"):                                          "it has no message",
		proto3(`import "google/type/money.proto"; message M {}`):             "google/type/money.proto",
		proto3(`import "/etc/passwd"; message M {}`):                         "/etc/passwd",
		"message {": "the given schema of the values",
	} {
		_, err := NewDecoder(t.Context(), Options{Format: Protobuf, Schema: schema})
		wantInvalid(t, err, want)
	}
}
