package serde

import (
	"fmt"
	"strings"
	"testing"
)

func TestJSONColumns(t *testing.T) {
	t.Parallel()
	const schema = "i INT, l BIGINT, f FLOAT, d DOUBLE, b BOOLEAN, s STRING, x BINARY, day DATE, at TIMESTAMP, lt TIMESTAMP_NTZ, n DECIMAL(38, 2), a ARRAY<BIGINT>, m MAP<STRING, STRING>, r STRUCT<p: BIGINT, q: STRING NOT NULL COMMENT 'it''s'>"
	decoder := newDecoder(t, Options{Format: JSON, Schema: schema})
	compare(t, decoded(t, decoder, []byte(` {"s":"a\u00e9\ud83d\ude00\n","i":-2147483648,"l":9007199254740993,"f":0.1,"d":1e300,"b":true,"x":"AP8=","day":"2026-11-25",
		"at":"2026-11-25T10:00:00.123456+01:00","lt":"2026-11-25 10:00:00","n":123456789012345678901234567890.12,"a":[1.0,2e3,null],"m":{"k":"v"},"r":{"q":{"any":[1, 2]},"p":1,"z":0},"extra":{"deep":[]}} `)), `
i int32 = -2147483648
l int64 = 9007199254740993
f float32 = 0.1
d float64 = 1e+300
b bool = true
s utf8 = "aé😀\n"
x binary = 00ff
day date32 = 2026-11-25
at timestamp[us, tz=UTC] = 2026-11-25 09:00:00.123456Z
lt timestamp[us] = 2026-11-25 10:00:00Z
n decimal(38, 2) = 123456789012345678901234567890.12
a list<item: int64, nullable> = [1, 2000, NULL]
m map<utf8, utf8, items_nullable> = <"k": "v">
r struct<p: int64, q: utf8> = {1, "{\"any\":[1, 2]}"}
`)
	if got := decoded(t, decoder, []byte(`{}`)); strings.Count(got, "= NULL") != 14 {
		t.Errorf("without anything: %s", got)
	}
	for payload, want := range map[string]string{
		`[]`:                              "not a JSON object",
		`null`:                            "not a JSON object",
		`{"i":2147483648}`:                "i: the number has more than 32 bits",
		`{"i":1.5}`:                       "i: the number has more than 0 digits behind the point",
		`{"i":"1"}`:                       "i: a string for a column of type int32",
		`{"l":9223372036854775808}`:       "l: the number has more than 64 bits",
		`{"l":1e999999999999}`:            "l: the number has more than",
		`{"d":1e400}`:                     "d: the number is too large for 64 bits",
		`{"d":"lots"}`:                    "d: a string for a column",
		`{"b":1}`:                         "b: a number for a column of type bool",
		`{"x":"?"}`:                       "x: the text is not base64",
		`{"day":"2026-02-30"}`:            "day: not a date",
		`{"at":"today"}`:                  "at: not a time",
		`{"lt":"2026-11-25T10:00:00Z"}`:   "lt: not a time without a zone",
		`{"n":0.001}`:                     "n: the number has more than 2 digits behind the point",
		`{"n":"SECRET"}`:                  "n: the text is not a number",
		`{"a":{}}`:                        "a: an object for a column",
		`{"a":[1,2`:                       "a: not JSON: it ends too early",
		`{"a":[1,]}`:                      "a: not JSON at byte 9",
		`{"m":{"SECRET":"1","SECRET":2}}`: "m: a key of the map stands twice",
		`{"r":{"p":1,"p":2}}`:             "r: p stands twice",
		`{"s":"\ud800\u00"}`:              "not JSON at byte",
		"{\"s\":\"\xff\"}":                "the text is not UTF-8",
		`{"i":1} x`:                       "not JSON at byte 9",
		`{"i":01}`:                        "not JSON at byte",
		``:                                "not a JSON object",
		`{"s":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`: "s: it is nested too deep",
	} {
		rows, errs := decodeAll(t, decoder, []byte(payload))
		rows.Release()
		wantUndecodable(t, errs[0], want)
		if strings.Contains(errs[0].Error(), "SECRET") {
			t.Errorf("the error shows the record: %v", errs[0])
		}
	}
	compare(t, decoded(t, newDecoder(t, Options{Format: JSON, Schema: "n DECIMAL(3,1), s STRING"}), []byte(`{"n":"12.50","s":"\ud800x"}`)), "n decimal(3, 1) = 12.5\ns utf8 = \"\ufffdx\"\n")
}

func TestSingleColumns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o             Options
		payload, want string
		fault         string
	}{
		{Options{Format: JSON}, ` {"a": 1.0} `, `value utf8 = " {\"a\": 1.0} "`, ""},
		{Options{Format: JSON, Key: true}, `null`, `key utf8 = "null"`, ""},
		{Options{Format: JSON}, `{`, "", "it ends too early"},
		{Options{Format: JSON}, `1 2`, "", "not JSON at byte 3"},
		{Options{Format: JSON}, strings.Repeat("[", 100_000), "", "nested too deep"},
		{Options{Format: Text}, "héllo", `value utf8 = "héllo"`, ""},
		{Options{Format: Text}, "", `value utf8 = ""`, ""},
		{Options{Format: Text, Key: true}, "\xff", "", "not UTF-8"},
		{Options{Format: Bytes}, "\xff\x00", "value binary = ff00", ""},
	} {
		decoder := newDecoder(t, c.o)
		if c.fault == "" {
			compare(t, decoded(t, decoder, []byte(c.payload)), c.want+"\n")
			continue
		}
		rows, errs := decodeAll(t, decoder, []byte(c.payload))
		rows.Release()
		wantUndecodable(t, errs[0], c.fault)
	}
	for want, o := range map[string]Options{
		`there is no format "xml"`:                  {Format: "xml"},
		"the format text has no schema":             {Format: Text, Schema: "x"},
		"nothing says what the values hold in avro": {Format: Avro, Topic: "t"},
		"the format json has no messages":           {Format: JSON, Message: "m"},
		`the column "_OFFSET" has the name`:         {Format: JSON, Schema: "_OFFSET INT"},
		"column s: the column \"A\" stands twice":   {Format: JSON, Schema: "s STRUCT<a: INT, A: INT>"},
	} {
		_, err := NewDecoder(t.Context(), o)
		wantInvalid(t, err, want)
	}
}

func TestDDL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a int":                          "a: type=int32, nullable",
		"`a b``c` varchar(10)\n, d text": "a b`c: type=utf8, nullable d: type=utf8, nullable",
		"a decimal, b DECIMAL(5), c numeric(5,5)":                              "a: type=decimal(10, 0), nullable b: type=decimal(5, 0), nullable c: type=decimal(5, 5), nullable",
		"a map<string,array<struct<x:date, y timestamp>>> comment 'not, null'": "a: type=map<utf8, list<item: struct<x: date32, y: timestamp[us, tz=UTC]>, nullable>, items_nullable>, nullable",
		"größe DOUBLE NOT NULL":                                                "größe: type=float64, nullable",
	} {
		fields, err := parseDDL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		parts := []string{}
		for _, field := range fields {
			parts = append(parts, field.String())
		}
		if got := strings.ReplaceAll(strings.Join(parts, " "), "nullablek", "nullable"); got != want {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"":                                    "name is missing",
		"a":                                   "column a: the type is missing",
		"a INT b INT":                         "a comma is missing before",
		"a INT,":                              "name is missing",
		"a DECIMAL(39)":                       "DECIMAL(39, 0)",
		"a DECIMAL(5,6)":                      "DECIMAL(5, 6)",
		"a DECIMAL(0,0)":                      "not understood",
		"a DECIMAL(1,2,3)":                    "too many numbers",
		"a DECIMAL(1":                         "a ) is missing",
		"a ARRAY":                             "ARRAY needs",
		"a ARRAY<INT":                         "a > is missing",
		"a MAP<INT, INT>":                     "MAP needs STRING keys",
		"a STRUCT<>":                          "name is missing",
		"`a INT":                              "a ` is not closed",
		"a INT COMMENT x":                     "a COMMENT is a text",
		"a INTERVAL":                          `no type "INTERVAL"`,
		"a " + strings.Repeat("ARRAY<", 1000): "nested more than 64 deep",
		"a INT" + strings.Repeat(", a INT", maxColumns): "more than 10000 columns",
	} {
		if _, err := parseDDL(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

func TestJSONSchemaTypes(t *testing.T) {
	t.Parallel()
	const schema = `{"$id":"http://example.com/ticket.json","type":"object","required":["z"],"properties":{
		"z":{"type":"integer"},"i":{"type":["integer","null"],"format":"int32"},"d":{"type":"number"},"f":{"type":"number","format":"float"},
		"n":{"type":"number","format":"decimal(38,2)"},"s":{"type":"string","maxLength":5},"at":{"type":"string","format":"date-time"},"day":{"type":"string","format":"date"},
		"x":{"type":"string","contentEncoding":"base64"},"any":{},"either":{"anyOf":[{"type":"string"},{"type":"integer"}]},"maybe":{"oneOf":[{"type":"null"},{"type":"boolean"}]},
		"list":{"type":"array","items":{"$ref":"#/definitions/point"}},"tuple":{"type":"array","items":[{"type":"string"}]},
		"map":{"type":"object","additionalProperties":{"type":"integer"}},"open":{"type":"object"},"all":{"allOf":[{"$ref":"#/definitions/point"}]},
		"kind":{"enum":["a",1]},"own":{"$ref":"#/$defs/a~1b"}},
		"definitions":{"point":{"type":"object","properties":{"y":{"type":"number"},"x":{"type":"number"}}}},"$defs":{"a/b":{"type":"string"}}}`
	decoder := newDecoder(t, Options{Format: JSONSchema, Schema: schema})
	compare(t, decoded(t, decoder, []byte(`{"z":1.0,"i":null,"d":1,"f":2.5,"n":12.34,"s":"abc","at":"2026-11-25T10:00:00Z","day":"2026-11-25","x":"AA==","any":"t","either":"u","maybe":true,
		"list":[{"x":1,"y":2}],"tuple":["a"],"map":{"k":9007199254740993},"open":{"a":1},"all":{"x":0},"kind":1,"own":"o","more":0}`)), `
z int64 = 1
i int32 = NULL
d float64 = 1
f float32 = 2.5
n decimal(38, 2) = 12.34
s utf8 = "abc"
at timestamp[us, tz=UTC] = 2026-11-25 10:00:00Z
day date32 = 2026-11-25
x binary = 00
any utf8 = "\"t\""
either utf8 = "\"u\""
maybe bool = true
list list<item: struct<y: float64, x: float64>, nullable> = [{2, 1}]
tuple utf8 = "[\"a\"]"
map map<utf8, int64, items_nullable> = <"k": 9007199254740993>
open utf8 = "{\"a\":1}"
all struct<y: float64, x: float64> = {NULL, 0}
kind utf8 = "1"
own utf8 = "o"
`)
	for payload, want := range map[string]string{
		`{}`:                   "it does not fit its schema at #: required",
		`{"z":1,"s":"SECRET"}`: "it does not fit its schema at #/properties/s: maxLength",
		`{"z":"SECRET"}`:       "it does not fit its schema at #/properties/z: type",
		`{"z":1e999999999}`:    "out of all bounds",
		`{"z":` + strings.Repeat("9", 2000) + `}`: "out of all bounds",
		`{"z":9223372036854775808}`:               "z: the number has more than 64 bits",
		`{"z":1`:                                  "ends too early",
	} {
		rows, errs := decodeAll(t, decoder, []byte(payload))
		rows.Release()
		wantUndecodable(t, errs[0], want)
		if strings.Contains(errs[0].Error(), "SECRET") {
			t.Errorf("the error shows the record: %v", errs[0])
		}
	}
	compare(t, decoded(t, newDecoder(t, Options{Format: JSONSchema, Schema: `{"type":"array","items":{"type":"integer"}}`, Key: true}), []byte(`[1]`)), "key list<item: int64, nullable> = [1]\n")
	for schema, want := range map[string]string{
		`{"type":"object","properties":{"next":{"$ref":"#"}}}`:                      "next: the type # holds itself",
		`{"type":"object","properties":{"a":{"$ref":"file:///etc/passwd"}}}`:        "file:///etc/passwd is not among the schema's references",
		`{"type":"object","properties":{"a":{"$ref":"http://127.0.0.1:1/x.json"}}}`: "is not among the schema's references",
		`{"type":"object","properties":{"a":{"type":"number","minimum":"x"}}}`:      "the given schema of the values",
		`{"type":"object","properties":{"_key":{}}}`:                                "metadata",
		`{`: "ends too early",
		`{"type":"object","properties":{"a":` + strings.Repeat(`{"type":"array","items":`, 100) + `{}` + strings.Repeat("}", 102): "nests deeper than 64",
	} {
		_, err := NewDecoder(t.Context(), Options{Format: JSONSchema, Schema: schema})
		wantInvalid(t, err, want)
	}
}

// TestJSONSchemaEvolution: a record is checked by the schema it was written with, and read by the names of the reader's.
func TestJSONSchemaEvolution(t *testing.T) {
	t.Parallel()
	fake := newFakeRegistry()
	first := fake.add("t-value", "JSON", `{"type":"object","properties":{"old":{"type":"string"},"n":{"type":["integer","string"]}}}`)
	fake.add("t-value", "JSON", `{"type":"object","required":["new"],"properties":{"n":{"type":"integer"},"new":{"type":"boolean"}}}`)
	decoder := newDecoder(t, Options{Format: JSONSchema, Registry: fake.client(t, RegistryOptions{}), Topic: "t"})
	compare(t, decoded(t, decoder, framed(first, []byte(`{"old":"x","n":3}`)...)), "n int64 = 3\nnew bool = NULL\n")
	rows, errs := decodeAll(t, decoder, framed(first, []byte(`{"n":"x"}`)...), framed(first, []byte(`{"old":1}`)...), []byte(`{"n":1}`))
	defer rows.Release()
	wantUndecodable(t, errs[0], "n: a string for a column of type int64")
	wantUndecodable(t, errs[1], "it does not fit its schema at #/properties/old: type")
	wantUndecodable(t, errs[2], "does not begin with a schema's id")
}

// TestCost bounds what one record takes: an array of empty objects has a cell for each of their columns.
func TestCost(t *testing.T) {
	t.Parallel()
	columns := make([]string, 1000)
	for i := range columns {
		columns[i] = fmt.Sprintf("c%d: INT", i)
	}
	decoder := newDecoder(t, Options{Format: JSON, Schema: "a ARRAY<STRUCT<" + strings.Join(columns, ", ") + ">>"})
	rows, errs := decodeAll(t, decoder, []byte(`{"a":[`+strings.Repeat("{},", 100_000)+`{}]}`), []byte(`{"a":[`+strings.Repeat("{},", 100)+`{}]}`))
	defer rows.Release()
	wantUndecodable(t, errs[0], "far more values than bytes")
	if errs[1] != nil {
		t.Error(errs[1])
	}
}
