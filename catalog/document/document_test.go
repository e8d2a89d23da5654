package document

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/schemas"
)

const anything = `{"type": "object"}`

func parseWith(t *testing.T, schema, text string) (*Document, error) {
	t.Helper()
	compiled, err := Compile([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	return Parse("a.yaml", []byte(text), compiled)
}

func TestPositions(t *testing.T) {
	t.Parallel()
	doc, err := parseWith(t, anything, "job: a\nlist:\n  - x: 1\n    \"y.z\": é\n")
	if err != nil || doc.Err() != nil {
		t.Fatal(err, doc.Err())
	}
	for _, test := range []struct {
		path         string
		line, column int
		label        string
	}{
		{"", 1, 1, ""},
		{"job", 1, 6, "job"},
		{"list 0 x", 3, 8, "list[0].x"},
		{"list 0 y.z", 4, 12, `list[0]["y.z"]`},
		{"list 0 none", 3, 5, "list[0].none"},
		{"list 7", 3, 3, "list[7]"},
		{"none deeper", 1, 1, "none.deeper"},
	} {
		fault := doc.Fault("wrong", "", strings.Fields(test.path)...)
		if fault.Line != test.line || fault.Column != test.column || fault.Path != test.label {
			t.Errorf("%q: got %+v, want %+v", test.path, fault, test)
		}
	}
	if line, column := doc.KeyPosition("list", "0", "y.z"); line != 4 || column != 5 {
		t.Errorf("the key stands at %d:%d", line, column)
	}
}

// TestOneFaultAValue keeps a consequence from being reported beside its cause.
func TestOneFaultAValue(t *testing.T) {
	t.Parallel()
	const schema = `{"properties": {"a": {"type": "object", "properties": {"b": {"type": "integer"}}}}}`
	doc, err := parseWith(t, schema, "a: {b: x, c: y}\n")
	if err != nil {
		t.Fatal(err)
	}
	doc.Add("a second fault of b", "", "a", "b")
	doc.Add("a fault of c", "mend it", "a", "c")
	doc.Add("a fault of what holds b", "", "a")
	doc.Add("a fault inside of it", "", "a", "d")
	const want = "a.yaml:1:4: a fault of what holds b\n" +
		"a.yaml:1:8: `a.b` is \"x\", expected a whole number\n" +
		"a.yaml:1:14: a fault of c, mend it"
	if err := doc.Err(); err == nil || err.Error() != want || !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestWriteOnlyIsNotShown(t *testing.T) {
	t.Parallel()
	const secret = "SENSITIVE"
	for _, rule := range []string{`"type": "integer"`, `"enum": ["a"]`, `"type": "string", "pattern": "^a$"`, `"const": "a"`, `"maxLength": 1`} {
		doc, err := parseWith(t, `{"properties": {"key": {"writeOnly": true, `+rule+`}}}`, "key: "+secret+"\n")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(doc.Err()) //nolint:errchkjson // strings and numbers
		if err := doc.Err(); err == nil || strings.Contains(err.Error()+string(text), secret) {
			t.Errorf("%s: got %v", rule, err)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"source", "sink", "state", "requests_per_minute"}
	for word, want := range map[string]string{
		"sorce": "source", "suorce": "source", "Source": "source", "snik": "sink", "request_per_minute": "requests_per_minute",
		"follow": "", "": "", "x": "", strings.Repeat("s", 1000): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%.20q) is %q, want %q", word, got, want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{`{`, `{"type": 5}`, `{"$ref": "file:///etc/passwd"}`, `{"$ref": "http://127.0.0.1:1/x.json"}`} {
		if _, err := Compile([]byte(schema)); err == nil {
			t.Errorf("compiled %s", schema)
		}
	}
}

// FuzzParse looks for files that break the parser itself, or whose faults do not stand in the file.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"a: 1\nb: [x, {c: 2024-01-01}]\n", "a: &x 1\nb: *x\n", "<<: {a: 1}\n", "a: {{ b }}\n", "? [a]\n: b\n", "a: !!binary x\n",
		"---\n---\n", "\xef\xbb\xbfa: 1\n", "a: .inf\nb: 0x1F\nc: 1_000\n", "a:\n\tb: 1\n", "a: |\n  x\n b", "%YAML 1.2\n---\na: b\n",
	} {
		f.Add([]byte(text))
	}
	schema, err := Compile([]byte(`{"type": "object", "additionalProperties": false, "required": ["a"],
		"properties": {"a": {"type": "string"}, "b": {"type": "array", "uniqueItems": true, "items": {"type": ["string", "object"]}}}}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Parse("a.yaml", data, schema)
		if err == nil {
			err = doc.Err()
		}
		if err == nil {
			var into struct {
				A string `yaml:"a"`
				B []any  `yaml:"b"`
			}
			if err := doc.Decode(&into); err != nil {
				t.Fatalf("fits the schema, and cannot be decoded: %v", err)
			}
			return
		}
		faults, ok := errors.AsType[*Faults](err)
		if !ok || len(faults.List) == 0 {
			t.Fatalf("got %v", err)
		}
		for _, fault := range faults.List {
			if fault.Line < 0 || fault.Line > strings.Count(string(data), "\n")+strings.Count(string(data), "\r")+
				strings.Count(string(data), "\u0085")+strings.Count(string(data), "\u2028")+strings.Count(string(data), "\u2029")+2 ||
				fault.Message == "" {
				t.Fatalf("a fault that is nowhere: %+v", fault)
			}
		}
	})
}
