package answers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/pipeline/answers"
	"github.com/inflowhq/inflow/schemas"
)

func node(tb testing.TB, text string) *yaml.Node {
	tb.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		tb.Fatal(err)
	}
	return document.Content[0]
}

func parse(t *testing.T, text string) *answers.Type {
	t.Helper()
	made, problems := answers.Parse(node(t, text))
	if len(problems) > 0 {
		t.Fatalf("%s: %v", text, problems)
	}
	return made
}

func TestParse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ written, arrow, schema string }{
		"short": {
			`{severity: "enum(low, high)", team: string, confidence: double, tags: [string], due: "date?", place: {city: string, "zip?": int}}`,
			"struct<severity: utf8, team: utf8, confidence: float64, tags: list<item: utf8, nullable>, due: date32, place: struct<city: utf8, zip: int32>>",
			`{"type":"object","properties":{"severity":{"type":"string","enum":["low","high"]},"team":{"type":"string"},"confidence":{"type":"number"},` +
				`"tags":{"type":"array","items":{"type":"string"}},"due":{"type":["string","null"],"format":"date"},` +
				`"place":{"type":"object","properties":{"city":{"type":"string"},"zip":{"type":["integer","null"]}},"required":["city","zip"],"additionalProperties":false}},` +
				`"required":["severity","team","confidence","tags","due","place"],"additionalProperties":false}`,
		},
		"ddl": {
			`"STRUCT<label: STRING NOT NULL COMMENT 'one word', price DECIMAL(10, 2), seen TIMESTAMP, ok BOOLEAN NOT NULL, scores ARRAY<FLOAT>>"`,
			"struct<label: utf8, price: decimal(10, 2), seen: timestamp[us, tz=UTC], ok: bool, scores: list<item: float32, nullable>>",
			`{"type":"object","properties":{"label":{"type":"string","description":"one word"},"price":{"type":["string","null"],"pattern":"^-?[0-9]{1,8}(\\.[0-9]{1,2})?$"},` +
				`"seen":{"type":["string","null"],"format":"date-time"},"ok":{"type":"boolean"},"scores":{"type":["array","null"],"items":{"type":"number"}}},` +
				`"required":["label","price","seen","ok","scores"],"additionalProperties":false}`,
		},
		"json schema": {
			`{type: object, properties: {z: {type: integer, minimum: 3}, a: {anyOf: [{type: string}, {type: "null"}]}}, required: [z]}`,
			"struct<z: int64, a: utf8>",
			`{"type":"object","properties":{"z":{"type":"integer","minimum":3},"a":{"anyOf":[{"type":"string"},{"type":"null"}]}},"required":["z"]}`,
		},
		"openai's wrapping": {
			`{type: json_schema, json_schema: {name: x, schema: {type: object, properties: {a: {type: string}}}}}`,
			"struct<a: utf8>", `{"type":"object","properties":{"a":{"type":"string"}}}`,
		},
		"a field called type": {`{type: string}`, "struct<type: utf8>", `{"type":"object","properties":{"type":{"type":"string"}},"required":["type"],"additionalProperties":false}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := parse(t, c.written)
			if got := strings.ReplaceAll(made.Arrow().String(), ", nullable>", ", nullable>"); !sameType(got, c.arrow) {
				t.Errorf("got  %s\nwant %s", got, c.arrow)
			}
			if got := string(made.Format().Schema); got != c.schema {
				t.Errorf("got  %s\nwant %s", got, c.schema)
			}
		})
	}
}

// sameType compares without what Arrow says of every field.
func sameType(got, want string) bool {
	clean := func(text string) string { return strings.ReplaceAll(text, " ", "") }
	return clean(got) == clean(want)
}

// TestStrict: a provider's strict mode is asked for only where it takes the schema.
func TestStrict(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]bool{
		`{a: string}`: true, `"STRUCT<a: STRING>"`: true,
		`{type: object, properties: {a: {type: string}}, required: [a], additionalProperties: false}`:                                                        true,
		`{type: object, properties: {a: {type: string}}, required: [a]}`:                                                                                     false,
		`{type: object, properties: {a: {type: string}}, required: [a], additionalProperties: true}`:                                                         false,
		`{type: object, properties: {a: {type: string}, b: {type: string}}, required: [a], additionalProperties: false}`:                                     false,
		`{type: object, properties: {a: {type: array, items: {type: object, properties: {b: {type: string}}}}}, required: [a], additionalProperties: false}`: false,
	} {
		if got := parse(t, written).Format().Strict; got != want {
			t.Errorf("%s: got %t", written, got)
		}
	}
	typed := parse(t, `{type: object, properties: {a: {enum: [1, 2, null]}, b: {const: true}}}`).Arrow().String()
	if !sameType(typed, "struct<a: int64, b: bool>") {
		t.Errorf("an enum and a const without type have not the type of their values: %s", typed)
	}
}

func TestBadFormats(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		`{a: strin}`:             "there is no type `strin`",
		`{a: "enum()"}`:          "empty value",
		`{a: "enum(x, x)"}`:      "one twice",
		`{a: "decimal(50, 2)"}`:  "no decimal",
		`{a: "array<string"}`:    "not closed",
		`{a: "string string"}`:   "follows the type",
		`{a: string, A: string}`: "another field `a`",
		`{"a b": string}`:        "no name of a column",
		`{}`:                     "no fields",
		`[string]`:               "a mapping of fields",
		`"STRING"`:               "a STRUCT",
		`"STRUCT<a: STRING"`:     "is missing",
		`{a: [string, int]}`:     "one type of element",
		`{type: object, properties: {a: {oneOf: []}}}`:                  "`oneOf`",
		`{type: object, properties: {a: {type: [string, number]}}}`:     "one type",
		`{type: object, properties: {a: {type: array}}}`:                "items are",
		`{type: object, properties: {a: {type: string, pattern: "("}}}`: "no JSON Schema",
		`{type: object, properties: {a: {type: string, enum: [1, 2]}}}`: "no answer can be both",
		`{type: object, properties: {a: {enum: [1, x]}}}`:               "one type",
		`{a: "` + strings.Repeat("array<", 40) + `"}`:                   "nested more",
	} {
		_, problems := answers.Parse(node(t, written))
		found := false
		for _, problem := range problems {
			found = found || strings.Contains(problem.Text, want)
		}
		if !found {
			t.Errorf("%s: got %v, want %q", written, problems, want)
		}
	}
}

func TestCheckAndAppend(t *testing.T) {
	t.Parallel()
	made := parse(t, `{label: "enum(low, high)", n: int, big: bigint, x: float, ok: boolean, day: date, at: timestamp, price: "decimal(6, 2)",
		list: [{name: "string?"}], maybe: "double?"}`)
	const good = `{"label":"low","n":-3,"big":9007199254740993,"x":0.5,"ok":true,"day":"2026-01-31","at":"2026-01-31T01:00:00+01:00",` +
		`"price":"1234.5","list":[{"name":"a"},{"name":null}],"maybe":null}`
	for text, want := range map[string]string{
		good:                         "",
		"```json\n" + good + "\n```": "",
		strings.Replace(good, `"n":-3`, `"n":-3.0`, 1):                          "",
		strings.Replace(good, `"n":-3`, `"n":3000000000`, 1):                    "answer.n: must be an integer of 32 bits",
		strings.Replace(good, `"n":-3`, `"n":1e999999999`, 1):                   "out of range",
		strings.Replace(good, `"n":-3`, `"n":0.5`, 1):                           "answer.n: must be integer",
		strings.Replace(good, `"label":"low"`, `"label":"mid"`, 1):              "answer.label: must be one of low, high",
		strings.Replace(good, `"day":"2026-01-31"`, `"day":"soon"`, 1):          "answer.day: must be of the form date",
		strings.Replace(good, `"price":"1234.5"`, `"price":"1.234"`, 1):         "answer.price: must match",
		strings.Replace(good, `"ok":true`, `"ok":"SECRET"`, 1):                  "answer.ok: must be boolean",
		strings.Replace(good, `"ok":true,`, ``, 1):                              "answer: lacks ok",
		strings.Replace(good, `"ok":true`, `"ok":true,"SECRET":1`, 1):           "answer: has properties",
		strings.Replace(good, `"name":"a"`, `"name":7`, 1):                      "answer.list.0.name: must be null or string",
		strings.Replace(good, `"x":0.5`, `"x":1e300`, 1):                        "answer.x: is out of range",
		strings.Replace(good, `"x":0.5`, `"x":0.`+strings.Repeat("1", 1000), 1): "out of range",
		strings.Replace(good, `"x":0.5`, `"x":1e1000001`, 1):                    "out of range",
		`not json`: "it is not JSON", `{"label":"low"`: "it is not JSON", ``: "it is not JSON",
	} {
		err := made.Check(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", text, err, want)
		case err != nil && strings.Contains(err.Error(), "SECRET"):
			t.Errorf("the fault quotes the answer: %v", err)
		}
	}
	memory := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer memory.AssertSize(t, 0)
	builder := array.NewBuilder(memory, made.Arrow())
	defer builder.Release()
	builder.AppendNull()
	if err := made.Append(builder, &schemas.Answer{Text: good}); err != nil {
		t.Fatal(err)
	}
	column := builder.NewArray()
	defer column.Release()
	const want = `{"at":"2026-01-31T00:00:00Z","big":9007199254740993,"day":"2026-01-31","label":"low","list":[{"name":"a"},{"name":null}],` +
		`"maybe":null,"n":-3,"ok":true,"price":"1234.50","x":0.5}`
	if got := column.ValueStr(1); column.IsValid(0) || !strings.Contains(got, "9007199254740993") || !strings.Contains(got, "2026-01-31") {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestValues: a prediction has any type, and its floats need not be finite.
func TestValues(t *testing.T) {
	t.Parallel()
	for _, each := range []struct{ written, text, want, fault string }{
		{`DOUBLE`, `0.1`, `0.1`, ""},
		{`DOUBLE`, `null`, `NaN`, ""},
		{`FLOAT`, `"-Infinity"`, `-Inf`, ""},
		{`DOUBLE`, `"1"`, "", "answer: must be a number"},
		{`BIGINT`, `9007199254740993`, `9007199254740993`, ""},
		{`BIGINT`, `null`, "", "answer: must be integer"},
		{`ARRAY<DOUBLE>`, `[1,null,"Infinity"]`, `[1 NaN +Inf]`, ""},
		{`"STRUCT<label: STRING, score: DOUBLE>"`, `{"label":null,"score":null}`, `map[label:<nil> score:NaN]`, ""},
		{`{score: "double?", sure: double}`, `{"score":null,"sure":null}`, `map[score:<nil> sure:NaN]`, ""},
		{`"STRUCT<label: STRING, score: DOUBLE>"`, `{"label":"a"}`, "", "answer: lacks score"},
	} {
		made, problems := answers.ParseValue(node(t, each.written))
		if len(problems) > 0 {
			t.Fatalf("%s: %v", each.written, problems)
		}
		err := made.Check(each.text)
		if each.fault != "" || err != nil {
			if err == nil || err.Error() != each.fault {
				t.Errorf("%s of %s: got %v, want %s", each.text, each.written, err, each.fault)
			}
			continue
		}
		builder := array.NewBuilder(memory.DefaultAllocator, made.Arrow())
		if err := made.Append(builder, &schemas.Answer{Text: each.text}); err != nil {
			t.Fatal(err)
		}
		column := builder.NewArray()
		builder.Release()
		if got := fmt.Sprint(schemas.Value(column, 0)); got != each.want {
			t.Errorf("%s of %s: got %s, want %s", each.text, each.written, got, each.want)
		}
		column.Release()
	}
}

// TestFormats: a schema of the user's own may ask for texts of a form that no column has; it counts all the same.
func TestFormats(t *testing.T) {
	t.Parallel()
	made := parse(t, `{type: object, properties: {to: {type: string, format: email}}, required: [to], additionalProperties: false}`)
	if err := made.Check(`{"to":"a@example.com"}`); err != nil {
		t.Error(err)
	}
	if err := made.Check(`{"to":"nobody"}`); err == nil || err.Error() != "answer.to: must be of the form email" {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{a: string}`, `"STRUCT<a: ARRAY<STRUCT<b: DECIMAL(3,1)>> NOT NULL COMMENT 'x'>"`, `{type: object, properties: {a: {type: [string, "null"]}}}`, `[[a]]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var document yaml.Node
		if yaml.Unmarshal([]byte(text), &document) != nil || len(document.Content) == 0 {
			return
		}
		made, problems := answers.Parse(document.Content[0])
		if (made == nil) != (len(problems) > 0) {
			t.Fatalf("got %v and %v", made, problems)
		}
	})
}

func FuzzCheck(f *testing.F) {
	made, problems := answers.Parse(node(f, `{a: string, n: int, d: "decimal(6, 2)", l: [{x: "date?"}], at: timestamp}`))
	if len(problems) > 0 {
		f.Fatal(problems)
	}
	f.Add(`{"a":"x","n":1,"d":"1.5","l":[{"x":null}],"at":"2026-01-01T00:00:00Z"}`)
	f.Add(`{"n":1e400}`)
	f.Fuzz(func(t *testing.T, text string) {
		if made.Check(text) != nil {
			return
		}
		builder := array.NewBuilder(memory.DefaultAllocator, made.Arrow())
		defer builder.Release()
		if err := made.Append(builder, &schemas.Answer{Text: text}); err != nil {
			t.Fatalf("an answer passes the check and not the column: %v", err)
		}
	})
}
