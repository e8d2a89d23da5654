package serde

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
)

// written encodes a value by the library, which is not what reads it.
func written(tb testing.TB, schema string, value any) []byte {
	tb.Helper()
	parsed, err := avro.ParseWithCache(schema, "", &avro.SchemaCache{})
	if err != nil {
		tb.Fatal(err)
	}
	data, err := avro.Marshal(parsed, value)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func record(fields string) string {
	return `{"type":"record","name":"R","namespace":"ns","fields":[` + fields + `]}`
}

func TestAvroEvolution(t *testing.T) {
	t.Parallel()
	type row = map[string]any
	field := func(schema string) string { return record(`{"name":"f","type":` + schema + `}`) }
	one := func(value any) row { return row{"f": value} }
	const same = ""
	cases := map[string]struct {
		writer, reader string
		value          any
		want           string // of the columns
		unresolvable   string
		undecodable    string
	}{
		"same":                {field(`"int"`), same, one(7), "f int32 = 7", "", ""},
		"int to long":         {field(`"int"`), field(`"long"`), one(-7), "f int64 = -7", "", ""},
		"int to float":        {field(`"int"`), field(`"float"`), one(7), "f float32 = 7", "", ""},
		"int to double":       {field(`"int"`), field(`"double"`), one(7), "f float64 = 7", "", ""},
		"long to float":       {field(`"long"`), field(`"float"`), one(int64(16777217)), "f float32 = 1.6777216e+07", "", ""},
		"long to double":      {field(`"long"`), field(`"double"`), one(int64(7)), "f float64 = 7", "", ""},
		"float to double":     {field(`"float"`), field(`"double"`), one(float32(0.5)), "f float64 = 0.5", "", ""},
		"string to bytes":     {field(`"string"`), field(`"bytes"`), one("ab"), "f binary = 6162", "", ""},
		"bytes to string":     {field(`"bytes"`), field(`"string"`), one([]byte("ab")), `f utf8 = "ab"`, "", ""},
		"bytes that no text":  {field(`"bytes"`), field(`"string"`), one([]byte{0xff}), "", "", "f: the text is not UTF-8"},
		"long to int":         {field(`"long"`), field(`"int"`), one(int64(7)), "", "f: long was written, int is read", ""},
		"double to float":     {field(`"double"`), field(`"float"`), one(0.5), "", "f: double was written, float is read", ""},
		"int to string":       {field(`"int"`), field(`"string"`), one(7), "", "f: int was written, string is read", ""},
		"boolean to int":      {field(`"boolean"`), field(`"int"`), one(true), "", "boolean was written", ""},
		"array of promotions": {field(`{"type":"array","items":"int"}`), field(`{"type":"array","items":"long"}`), one([]any{1, 2}), "f list<item: int64, nullable> = [1, 2]", "", ""},
		"map of promotions":   {field(`{"type":"map","values":"int"}`), field(`{"type":"map","values":"double"}`), one(row{"a": 1}), `f map<utf8, float64, items_nullable> = <"a": 1>`, "", ""},
		"added with default": {
			record(`{"name":"a","type":"int"}`), record(`{"name":"b","type":"string","default":"x"},{"name":"a","type":"int"}`),
			row{"a": 1},
			"b utf8 = \"x\"\na int32 = 1", "", "",
		},
		"added without default": {record(`{"name":"a","type":"int"}`), record(`{"name":"b","type":"string"}`), row{"a": 1}, "", "b: it was not written, and has no default", ""},
		"removed": {
			record(`{"name":"gone","type":{"type":"array","items":{"type":"map","values":["null","bytes"]}}},{"name":"a","type":"int"}`), record(`{"name":"a","type":"int"}`),
			row{"gone": []any{row{"k": row{"bytes": []byte("v")}}, row{}}, "a": 3},
			"a int32 = 3", "", "",
		},
		"reordered": {
			record(`{"name":"a","type":"int"},{"name":"b","type":"string"}`), record(`{"name":"b","type":"string"},{"name":"a","type":"int"}`),
			row{"a": 1, "b": "x"},
			"b utf8 = \"x\"\na int32 = 1", "", "",
		},
		"renamed":                  {record(`{"name":"old","type":"int"}`), record(`{"name":"new","type":"int","aliases":["old"]}`), row{"old": 5}, "new int32 = 5", "", ""},
		"renamed record":           {record(`{"name":"a","type":"int"}`), `{"type":"record","name":"other.New","aliases":["ns.R"],"fields":[{"name":"a","type":"int"}]}`, row{"a": 1}, "a int32 = 1", "", ""},
		"moved record":             {record(`{"name":"a","type":"int"}`), `{"type":"record","name":"elsewhere.R","fields":[{"name":"a","type":"int"}]}`, row{"a": 1}, "a int32 = 1", "", ""},
		"another record":           {record(`{"name":"a","type":"int"}`), `{"type":"record","name":"ns.Other","fields":[{"name":"a","type":"int"}]}`, row{"a": 1}, "", "record ns.R was written, record ns.Other is read", ""},
		"enum grown":               {field(`{"type":"enum","name":"E","symbols":["A","B"]}`), field(`{"type":"enum","name":"E","symbols":["B","A","C"]}`), one("B"), `f utf8 = "B"`, "", ""},
		"enum default":             {field(`{"type":"enum","name":"E","symbols":["A","NEW"]}`), field(`{"type":"enum","name":"E","symbols":["A","OTHER"],"default":"OTHER"}`), one("NEW"), `f utf8 = "OTHER"`, "", ""},
		"enum without default":     {field(`{"type":"enum","name":"E","symbols":["A","NEW"]}`), field(`{"type":"enum","name":"E","symbols":["A"]}`), one("NEW"), "", "", "f: an enum's symbol is not among the reader's"},
		"fixed of another size":    {field(`{"type":"fixed","name":"F","size":2}`), field(`{"type":"fixed","name":"F","size":3}`), one([2]byte{1, 2}), "", "fixed ns.F was written", ""},
		"fixed of another name":    {field(`{"type":"fixed","name":"F","size":2}`), field(`{"type":"fixed","name":"G","size":2}`), one([2]byte{1, 2}), "", "fixed ns.F was written", ""},
		"union of the same":        {field(`"int"`), field(`["null","long","int"]`), one(7), "f struct<member0: int64, member1: int32> = {NULL, 7}", "", ""},
		"made nullable":            {field(`"int"`), field(`["null","long"]`), one(7), "f int64 = 7", "", ""},
		"made required":            {field(`["null","int"]`), field(`"long"`), one(row{"int": 7}), "f int64 = 7", "", ""},
		"null for required":        {field(`["null","int"]`), field(`"int"`), one(nil), "", "", "f: null was written, int is read"},
		"union reordered":          {field(`["null","string"]`), field(`["string","null"]`), one(row{"string": "x"}), `f utf8 = "x"`, "", ""},
		"union grown":              {field(`["null","int"]`), field(`["null","string","int"]`), one(row{"int": 7}), "f struct<member0: utf8, member1: int32> = {NULL, 7}", "", ""},
		"union promoted":           {field(`"int"`), field(`["null","string","double","long"]`), one(7), "f struct<member0: utf8, member1: float64, member2: int64> = {NULL, 7, NULL}", "", ""},
		"union shrunk":             {field(`["null","int","string"]`), field(`["null","int"]`), one(row{"string": "x"}), "", "", "f: string was written, union is read"},
		"union apart":              {field(`["boolean","bytes"]`), field(`["null","int"]`), one(row{"boolean": true}), "", "boolean was written", ""},
		"null only":                {field(`"null"`), same, one(nil), "f utf8 = NULL", "", ""},
		"empty record":             {field(`{"type":"record","name":"E","fields":[]}`), field(`["null",{"type":"record","name":"E","fields":[]}]`), one(row{}), "f bool = true", "", ""},
		"decimal of another scale": {field(`{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}`), field(`{"type":"bytes","logicalType":"decimal","precision":10,"scale":3}`), nil, "", "decimal(10, 2) was written, decimal(10, 3) is read", ""},
		"nested": {
			record(`{"name":"in","type":{"type":"record","name":"I","fields":[{"name":"x","type":"int"},{"name":"y","type":"int"}]}}`),
			record(`{"name":"in","type":{"type":"record","name":"I","fields":[{"name":"z","type":["null","int"],"default":null},{"name":"y","type":"long"}]}}`),
			row{"in": row{"x": 1, "y": 2}},
			"in struct<z: int32, y: int64> = {NULL, 2}", "", "",
		},
		"passing over what holds itself": {
			`{"type":"record","name":"R","fields":[{"name":"list","type":["null",{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}]},{"name":"a","type":"int"}]}`,
			`{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}`,
			row{"list": row{"Node": row{"next": row{"Node": row{"next": nil}}}}, "a": 9},
			"a int32 = 9", "", "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := newFakeRegistry()
			id := fake.add("t-value", "AVRO", c.writer)
			if c.reader != same {
				fake.add("t-value", "AVRO", c.reader)
			}
			decoder := newDecoder(t, Options{Format: Avro, Registry: fake.client(t, RegistryOptions{}), Topic: "t"})
			payload := framed(id, 0)
			if c.value != nil {
				payload = framed(id, written(t, c.writer, c.value)...)
			}
			if c.want != "" {
				compare(t, decoded(t, decoder, payload), c.want+"\n")
				return
			}
			for range 2 { // the second time from memory
				rows, errs := decodeAll(t, decoder, payload)
				rows.Release()
				if c.unresolvable != "" {
					wantUndecodable(t, errs[0], fmt.Sprintf("schema %d (t-value version 1) cannot be read as t-value version 2: ", id))
				}
				wantUndecodable(t, errs[0], c.unresolvable+c.undecodable)
			}
		})
	}
}

func TestAvroUnitsAndDefaults(t *testing.T) {
	t.Parallel()
	logical := func(base, name string) string { return fmt.Sprintf(`{"type":%q,"logicalType":%q}`, base, name) }
	writer := record(`{"name":"at","type":` + logical("long", "timestamp-millis") + `},{"name":"fine","type":` + logical("long", "timestamp-nanos") +
		`},{"name":"bare","type":"long"},{"name":"time","type":` + logical("int", "time-millis") + `},{"name":"id","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}}`)
	reader := record(`{"name":"at","type":` + logical("long", "timestamp-micros") + `},{"name":"fine","type":` + logical("long", "timestamp-nanos") +
		`},{"name":"bare","type":` + logical("long", "local-timestamp-millis") + `},{"name":"time","type":` + logical("long", "time-micros") +
		`},{"name":"id","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}}` +
		`,{"name":"d1","type":` + logical("long", "timestamp-millis") + `,"default":1000}` +
		`,{"name":"d2","type":{"type":"fixed","name":"F","size":2},"default":"\u0001\u00ff"}` +
		`,{"name":"d3","type":{"type":"array","items":["null","int"]},"default":[null]}` +
		`,{"name":"d4","type":{"type":"map","values":"boolean"},"default":{"b":true,"a":false}}` +
		`,{"name":"d5","type":{"type":"record","name":"D","fields":[{"name":"x","type":"float","default":1.5},{"name":"y","type":["int","string"]}]},"default":{"y":7}}` +
		`,{"name":"d6","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2},"default":"\u00ff\u0000"}` +
		`,{"name":"d8","type":["string","null"],"default":null},{"name":"d9","type":["null","long"],"default":9007199254740993}` +
		`,{"name":"d7","type":{"type":"enum","name":"E","symbols":["A","B"]},"default":"B"}`)
	fake := newFakeRegistry()
	id := fake.add("t-value", "AVRO", writer)
	fake.add("t-value", "AVRO", reader)
	payload := framed(id)
	for _, value := range []int64{1500, -1500, 1500, 2} { // what is before a microsecond is of the one before
		payload = binary.AppendVarint(payload, value)
	}
	payload = append(payload, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255)
	compare(t, decoded(t, newDecoder(t, Options{Format: Avro, Registry: fake.client(t, RegistryOptions{}), Topic: "t"}), payload), `
at timestamp[us, tz=UTC] = 1970-01-01 00:00:01.5Z
fine timestamp[us, tz=UTC] = 1969-12-31 23:59:59.999998Z
bare timestamp[us] = 1970-01-01 00:00:01.5Z
time int64 = 2000
id utf8 = "00010203-0405-0607-0809-0a0b0c0d0eff"
d1 timestamp[us, tz=UTC] = 1970-01-01 00:00:01Z
d2 binary = 01ff
d3 list<item: int32, nullable> = [NULL]
d4 map<utf8, bool, items_nullable> = <"a": false, "b": true>
d5 struct<x: float32, y: struct<member0: int32, member1: utf8>> = {1.5, {7, NULL}}
d6 decimal(4, 2) = -2.56
d8 utf8 = NULL
d9 int64 = 9007199254740993
d7 utf8 = "B"
`)
}

// TestAvroHostile: what a record costs is bounded by its size, and no builder is left with half of it.
func TestAvroHostile(t *testing.T) {
	t.Parallel()
	many := binary.AppendVarint(nil, 1<<60)
	for name, c := range map[string]struct {
		schema  string
		payload []byte
		want    string
	}{
		"endless nulls":         {`{"type":"array","items":"null"}`, many, "far more values than bytes"},
		"endless empty records": {`{"type":"array","items":{"type":"record","name":"E","fields":[]}}`, many, "far more values than bytes"},
		"long bytes":            {`"bytes"`, many, "ends too early"},
		"negative bytes":        {`"bytes"`, binary.AppendVarint(nil, -1), "ends too early"},
		"large block":           {`{"type":"array","items":"int"}`, binary.AppendVarint(nil, -1<<63), "ends too early"},
		"boolean of 2":          {`"boolean"`, []byte{2}, "neither true nor false"},
		"int of 33 bits":        {`"int"`, binary.AppendVarint(nil, 1<<32), "more than 32 bits"},
		"varint without end":    {`"long"`, []byte(strings.Repeat("\xff", 11)), "more than 64 bits"},
		"union":                 {`["null","int"]`, []byte{8}, "no such branch"},
		"enum":                  {`{"type":"enum","name":"E","symbols":["A"]}`, []byte{4}, "no such symbol"},
		"large decimal":         {`{"type":"bytes","logicalType":"decimal","precision":2,"scale":0}`, []byte{2, 100}, "more than the 2 digits"},
		"least decimal":         {`{"type":"bytes","logicalType":"decimal","precision":38,"scale":0}`, append([]byte{32, 0x80}, make([]byte, 15)...), "more than the 38 digits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, schema := range []string{c.schema, record(`{"name":"first","type":"null"},{"name":"f","type":` + c.schema + `}`)} {
				rows, errs := decodeAll(t, newDecoder(t, Options{Format: Avro, Schema: schema}), c.payload)
				rows.Release()
				wantUndecodable(t, errs[0], c.want)
			}
			// Passed over, it is bounded as well.
			fake := newFakeRegistry()
			id := fake.add("t-value", "AVRO", record(`{"name":"f","type":`+c.schema+`}`))
			fake.add("t-value", "AVRO", record(`{"name":"other","type":"int","default":1}`))
			rows, errs := decodeAll(t, newDecoder(t, Options{Format: Avro, Registry: fake.client(t, RegistryOptions{}), Topic: "t"}), framed(id, c.payload...))
			defer rows.Release()
			if !strings.Contains(name, "decimal") {
				wantUndecodable(t, errs[0], c.want)
			}
		})
	}
}

func TestAvroRefused(t *testing.T) {
	t.Parallel()
	double := `"int"`
	for i := range 20 {
		double = fmt.Sprintf(`{"type":"record","name":"D%d","fields":[{"name":"a","type":%s},{"name":"b","type":"%s"}]}`, i, double, map[bool]string{true: "int", false: fmt.Sprint("D", i-1)}[i == 0])
	}
	for schema, want := range map[string]string{
		`{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}`:                                       "next: the record Node holds itself",
		record(`{"name":"_Key","type":"int"}`):                                                                                    "has the name of a record's metadata",
		record(`{"name":"a","type":"int"},{"name":"A","type":"int"}`):                                                             `the column "A" stands twice`,
		record(`{"name":"s","type":{"type":"record","name":"S","fields":[{"name":"a","type":"int"},{"name":"A","type":"int"}]}}`): `column s: the column "A" stands twice`,
		record(`{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":39,"scale":0}}`):                           "d: a decimal has more than the 38 digits",
		`{"type":"record"}`: "the given schema of the values",
		`nonsense`:          "nonsense",
		double:              "more than 10000 columns",
	} {
		_, err := NewDecoder(t.Context(), Options{Format: Avro, Schema: schema})
		wantInvalid(t, err, want)
	}
	compare(t, decoded(t, newDecoder(t, Options{Format: Avro, Schema: record(`{"name":"_key","type":"int"}`), Key: true}), []byte{2}), "_key int32 = 1\n")
	compare(t, decoded(t, newDecoder(t, Options{Format: Avro, Schema: "long", Key: true}), []byte{2}), "key int64 = 1\n")
}
