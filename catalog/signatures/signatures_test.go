package signatures_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/catalog/signatures"
	"github.com/inflowhq/inflow/schemas"
)

func load(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func check(t *testing.T, name string, got *schemas.Signature, err error, want schemas.Signature) {
	t.Helper()
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("%s: got %+v %v\nwant %+v", name, got, err, want)
	}
}

// The files are MLflow 3.17's own.
func TestMLmodelFiles(t *testing.T) {
	t.Parallel()
	frame := []schemas.Feature{{Name: "age", Type: "long"}, {Name: "income", Type: "double"}}
	for name, want := range map[string]schemas.Signature{
		"classifier.yaml": {Inputs: frame, Output: "BIGINT"},
		"frame.yaml":      {Inputs: frame, Output: "STRUCT<label: STRING, score: DOUBLE>"},
		"tensor.yaml":     {Inputs: []schemas.Feature{{Type: "tensor(float64)"}}, Output: "DOUBLE"},
		"text.yaml":       {Inputs: []schemas.Feature{{Type: "string"}}}, // a property is called "odd name"
		"named.yaml": {
			Inputs: []schemas.Feature{{Name: "features", Type: "tensor(float32)"}, {Name: "group", Type: "tensor(int64)"}},
			Output: "STRUCT<a: FLOAT, b: ARRAY<DOUBLE>>",
		},
		"rich.yaml": {
			Inputs: []schemas.Feature{
				{Name: "id", Type: "long"},
				{Name: "n", Type: "integer"},
				{Name: "f", Type: "float", Optional: true},
				{Name: "b", Type: "boolean"},
				{Name: "at", Type: "datetime"},
				{Name: "raw", Type: "binary"},
				{Name: "vector", Type: "array(double)"},
				{Name: "words", Type: "array(array(string))"},
				{Name: "place", Type: "object"},
				{Name: "tags", Type: "map(string)"},
				{Name: "rest", Type: "any", Optional: true},
			},
			Output: "ARRAY<DOUBLE>",
		},
	} {
		got, err := signatures.MLmodel(load(t, name))
		check(t, name, got, err, want)
	}
}

func mlmodel(field, columns string) []byte {
	return []byte("signature:\n  " + field + ": '" + columns + "'\n")
}

func TestMLmodelOutputs(t *testing.T) {
	t.Parallel()
	tensor := func(dtype, shape string) string {
		return `[{"type": "tensor", "tensor-spec": {"dtype": "` + dtype + `", "shape": ` + shape + `}}]`
	}
	wide := strings.Repeat(`{"type": "long", "name": "a%d"},`, 1001)
	numbers := make([]any, 1001)
	for i := range numbers {
		numbers[i] = i
	}
	for columns, want := range map[string]string{
		tensor("float64", "[-1]"):                              "DOUBLE",
		tensor("float32", "[-1, 3]"):                           "ARRAY<FLOAT>",
		tensor("bool", "[-1, 3, -1]"):                          "ARRAY<ARRAY<BOOLEAN>>",
		tensor("uint32", "[-1]"):                               "BIGINT",
		tensor("uint8", "[-1]"):                                "INT",
		tensor("str", "[-1]"):                                  "STRING",
		tensor("uint64", "[-1]"):                               "",
		tensor("object", "[-1]"):                               "",
		tensor("datetime64[ns]", "[-1]"):                       "",
		tensor("float64", "[3]"):                               "",
		tensor("float64", "[]"):                                "",
		tensor("float64", "[-1"+strings.Repeat(", 1", 17)+"]"): "",
		`[{"type": "double"}]`:                                 "DOUBLE",
		`[{"type": "string", "name": "label"}]`:                "STRUCT<label: STRING>",
		`[{"type": "float", "name": "härte"}, {"type": "integer", "name": "2nd"}]`: "STRUCT<`härte`: FLOAT, `2nd`: INT>",
		`[{"type": "float", "name": "a"}, {"type": "float", "name": "A"}]`:         "",
		`[{"type": "float", "name": "a"}, {"type": "float"}]`:                      "",
		`[{"type": "float", "name": "a"}, {"type": "datetime", "name": "b"}]`:      "",
		`[{"type": "float", "name": "a` + "`" + `b"}]`:                             "",
		`[{"type": "map", "values": {"type": "long"}}]`:                            "",
		`[{"type": "any"}]`:            "",
		`[{"type": "binary"}]`:         "",
		`[{"type": "sparkml_vector"}]`: "",
		`[]`:                           "",
		`[{"type": "array", "items": {"type": "object", "properties": {"x": {"type": "long"}}}}]`: "ARRAY<STRUCT<x: BIGINT>>",
		strings.TrimSuffix(fmt.Sprintf("["+wide, numbers...), ",") + "]":                          "",
	} {
		got, err := signatures.MLmodel(mlmodel("outputs", columns))
		check(t, columns, got, err, schemas.Signature{Output: want})
	}
}

func TestMLmodelInputs(t *testing.T) {
	t.Parallel()
	got, err := signatures.MLmodel(mlmodel("inputs", `[{"type": "long"}, {"type": "long"}]`)) // a frame cannot tell them apart
	check(t, "without names", got, err, schemas.Signature{})
	got, err = signatures.MLmodel(mlmodel("inputs", `[{"type": "long", "name": "a", "optional": true}]`)) // before MLflow 2.9
	check(t, "an old one", got, err, schemas.Signature{Inputs: []schemas.Feature{{Name: "a", Type: "long", Optional: true}}})
	for _, text := range []string{"flavors: {python_function: {}}\n", "signature: {}\n", "flavors: {}\nsignature:\n", "signature: {inputs: null, outputs: null}"} {
		got, err := signatures.MLmodel([]byte(text))
		check(t, text, got, err, schemas.Signature{})
	}
}

func TestMLmodelFaults(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"type": "array", "items": `, 40) + `{"type": "long"}` + strings.Repeat("}", 40)
	for text, want := range map[string]string{
		"":                                "neither flavors nor a signature",
		"a: b":                            "neither flavors nor a signature",
		"- a":                             "it is no MLmodel file",
		"signature: [":                    "it is no MLmodel file",
		"signature: {inputs: [1]}":        "it is no MLmodel file",
		string(mlmodel("inputs", "[")):    "signature.inputs is not JSON",
		string(mlmodel("inputs", "{}")):   "signature.inputs is no list",
		string(mlmodel("outputs", `[1]`)): "signature.outputs[0] is no object",
		string(mlmodel("outputs", `[{"type": "long", "name": "a"}, {"type": "complex"}]`)):                `signature.outputs[1].type: there is no type "complex"`,
		string(mlmodel("outputs", `[{"name": 1, "type": "long"}]`)):                                       "signature.outputs[0].name is no text",
		string(mlmodel("outputs", `[{}]`)):                                                                `there is no type ""`,
		string(mlmodel("outputs", `[{"type": "array"}]`)):                                                 "signature.outputs[0].items is no object",
		string(mlmodel("outputs", `[{"type": "map", "values": 1}]`)):                                      "signature.outputs[0].values is no object",
		string(mlmodel("outputs", `[{"type": "object"}]`)):                                                "signature.outputs[0].properties is no object",
		string(mlmodel("outputs", `[{"type": "object", "properties": {"a": {"type": "x"}}}]`)):            "signature.outputs[0].properties.a.type",
		string(mlmodel("outputs", `[{"type": "tensor"}]`)):                                                "tensor-spec.dtype is no text",
		string(mlmodel("outputs", `[{"type": "tensor", "tensor-spec": {"dtype": "a"}}]`)):                 "tensor-spec.shape is no list",
		string(mlmodel("outputs", `[{"type": "tensor", "tensor-spec": {"dtype": "a", "shape": [1.5]}}]`)): "tensor-spec.shape is no list",
		string(mlmodel("outputs", "["+deep+"]")):                                                          "nested more than 16 deep",
		strings.Repeat("#", 5<<20):                                                                        "larger than",
	} {
		_, err := signatures.MLmodel([]byte(text))
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v, want %q", text, err, want)
		}
	}
}

func wine() schemas.Signature {
	return schemas.Signature{Output: "DOUBLE", Inputs: []schemas.Feature{
		{Name: "year", Type: "long"},
		{Name: "sugar", Type: "double"},
		{Name: "kind", Type: "string", Optional: true},
		{Name: "notes", Type: "any", Optional: true},
	}}
}

func TestOpenAPIFile(t *testing.T) {
	t.Parallel()
	data := load(t, "openapi.json")
	got, err := signatures.OpenAPI(data)
	check(t, "bare", got, err, wine())

	wrapped, err := json.Marshal(map[string]string{"contents": string(data)})
	if err != nil {
		t.Fatal(err)
	}
	got, err = signatures.OpenAPI(wrapped)
	check(t, "wrapped", got, err, wine())

	want := wine()
	for i := range want.Inputs {
		want.Inputs[i].Optional = false // the split layout has no list of them
	}
	got, err = signatures.OpenAPI([]byte(strings.ReplaceAll(string(data), "dataframe_records", "other")))
	check(t, "split", got, err, want)
}

// document is an endpoint's, of one served model for each pair of a request's and the predictions' schema.
func document(pairs ...[2]string) []byte {
	var paths []string
	for i, pair := range pairs {
		paths = append(paths, fmt.Sprintf(`"/served-models/m-%d/invocations":{"post":{"requestBody":{"content":{"application/json":{"schema":%s}}},`+
			`"responses":{"200":{"content":{"application/json":{"schema":{"type":"object","properties":{"predictions":%s}}}}}}}}`, i, pair[0], pair[1]))
	}
	return []byte(`{"paths":{"/other":{},` + strings.Join(paths, ",") + `}}`)
}

func TestOpenAPI(t *testing.T) {
	t.Parallel()
	layout := func(name, schema string) string {
		return `{"oneOf":[{"type":"object","properties":{"` + name + `":` + schema + `,"params":{"type":"object"}}}]}`
	}
	const number, long = `{"type":"number","format":"double"}`, `{"type":"integer","format":"int64"}`
	arrayOf := func(items string) string { return `{"type":"array","items":` + items + `}` }
	objectOf := func(properties string) string { return `{"type":"object","properties":{` + properties + `}}` }
	a := []schemas.Feature{{Name: "a", Type: "long"}}
	for name, c := range map[string]struct {
		pairs [][2]string
		want  schemas.Signature
	}{
		"a tensor":        {[][2]string{{layout("inputs", arrayOf(arrayOf(number))), arrayOf(arrayOf(number))}}, schemas.Signature{Inputs: []schemas.Feature{{Type: "tensor(float64)"}}, Output: "ARRAY<DOUBLE>"}},
		"instances":       {[][2]string{{layout("instances", arrayOf(`{"type":"string"}`)), arrayOf(long)}}, schemas.Signature{Inputs: []schemas.Feature{{Type: "tensor(str)"}}, Output: "BIGINT"}},
		"named tensors":   {[][2]string{{layout("inputs", objectOf(`"a":`+arrayOf(long)+`,"b":`+arrayOf(arrayOf(number)))), objectOf(`"p":` + arrayOf(number) + `,"q":` + arrayOf(arrayOf(long)))}}, schemas.Signature{Inputs: []schemas.Feature{{Name: "a", Type: "tensor(int64)"}, {Name: "b", Type: "tensor(float64)"}}, Output: "STRUCT<p: DOUBLE, q: ARRAY<BIGINT>>"}},
		"named instances": {[][2]string{{layout("instances", arrayOf(objectOf(`"a":`+long))), `{}`}}, schemas.Signature{Inputs: []schemas.Feature{{Name: "a", Type: "tensor(int64)"}}}},
		"without oneOf":   {[][2]string{{objectOf(`"dataframe_records":` + arrayOf(objectOf(`"a":`+long))), arrayOf(`{"type":"boolean"}`)}}, schemas.Signature{Inputs: a, Output: "BOOLEAN"}},
		"records":         {[][2]string{{`{}`, arrayOf(objectOf(`"label":{"type":"string"},"score":{"type":"number","format":"float"},"n":{"type":"integer","format":"int32"}`))}}, schemas.Signature{Output: "STRUCT<label: STRING, score: FLOAT, n: INT>"}},
		"a map":           {[][2]string{{layout("dataframe_records", arrayOf(objectOf(`"a":{"type":"object","additionalProperties":`+long+`}`))), arrayOf(`{"type":"object","additionalProperties":{"type":"string"}}`)}}, schemas.Signature{Inputs: []schemas.Feature{{Name: "a", Type: "map(long)"}}}},
		"formats":         {[][2]string{{layout("dataframe_records", arrayOf(objectOf(`"a":{"type":"string","format":"date-time"},"b":{"type":"string","format":"binary"},"c":`+arrayOf(`{"type":"string"}`)+`,"d":`+objectOf(`"x":`+long)))), arrayOf(`{"type":"string","format":"date-time"}`)}}, schemas.Signature{Inputs: []schemas.Feature{{Name: "a", Type: "datetime"}, {Name: "b", Type: "binary"}, {Name: "c", Type: "array(string)"}, {Name: "d", Type: "object"}}}},
		"a chat":          {[][2]string{{objectOf(`"messages":` + arrayOf(`{}`)), `{"type":"string"}`}}, schemas.Signature{}},
		"no list":         {[][2]string{{`1`, `{"type":["number","null"]}`}}, schemas.Signature{}},
		"columns, a text": {[][2]string{{`{}`, objectOf(`"a":{"type":"string"}`)}}, schemas.Signature{}},
		"alike":           {[][2]string{{layout("dataframe_records", arrayOf(objectOf(`"a":`+long))), arrayOf(long)}, {layout("dataframe_records", arrayOf(objectOf(`"a":`+long))), arrayOf(long)}}, schemas.Signature{Inputs: a, Output: "BIGINT"}},
		"other outputs":   {[][2]string{{layout("dataframe_records", arrayOf(objectOf(`"a":`+long))), arrayOf(long)}, {layout("dataframe_records", arrayOf(objectOf(`"a":`+long))), arrayOf(number)}}, schemas.Signature{Inputs: a}},
		"other inputs":    {[][2]string{{layout("dataframe_records", arrayOf(objectOf(`"a":`+long))), arrayOf(long)}, {layout("dataframe_records", arrayOf(objectOf(`"b":`+long))), arrayOf(long)}}, schemas.Signature{Output: "BIGINT"}},
		"too deep":        {[][2]string{{`{}`, strings.Repeat(`{"type":"array","items":`, 60) + long + strings.Repeat("}", 60)}}, schemas.Signature{}},
	} {
		got, err := signatures.OpenAPI(document(c.pairs...))
		check(t, name, got, err, c.want)
	}
}

func TestOpenAPIFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                               "is not JSON",
		`{`:                              "is not JSON",
		"{\"paths\":\"\xff\"}":           "is not JSON",
		`[]`:                             "has no paths",
		`{"paths":[]}`:                   "has no paths",
		`{"paths":{"/x":{}}}`:            "no path that ends in /invocations",
		`{"contents":"{"}`:               "is not JSON",
		strings.Repeat("[", 100_000):     "is not JSON",
		strings.Repeat(" ", 4<<20) + "1": "larger than",
	} {
		_, err := signatures.OpenAPI([]byte(text))
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: got %v, want %q", text, err, want)
		}
	}
}

// sound is what any signature is, whatever it was read from.
func sound(t *testing.T, got *schemas.Signature, err error) {
	t.Helper()
	if err != nil {
		if !errors.Is(err, schemas.ErrInvalid) || got != nil {
			t.Errorf("got %+v %v", got, err)
		}
		return
	}
	for _, each := range got.Inputs {
		if each.Type == "" || each.Name == "" && len(got.Inputs) > 1 {
			t.Errorf("got %+v", got.Inputs)
		}
	}
	if strings.Count(got.Output, "<") != strings.Count(got.Output, ">") && !strings.Contains(got.Output, "`") {
		t.Errorf("got %s", got.Output)
	}
}

func FuzzMLmodel(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, path := range files {
		f.Add(load(f, filepath.Base(path)))
	}
	f.Add(mlmodel("outputs", `[{"type": "array", "items": {"type": "map", "values": {"type": "any"}}, "name": "<"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := signatures.MLmodel(data)
		sound(t, got, err)
	})
}

func FuzzOpenAPI(f *testing.F) {
	f.Add(load(f, "openapi.json"))
	f.Add(document([2]string{`{"properties":{"inputs":{"items":{"type":"string"}}}}`, `{"type":"array","items":{"type":"integer"}}`}))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := signatures.OpenAPI(data)
		sound(t, got, err)
	})
}
