package document

import (
	"bytes"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Schema is a compiled JSON Schema, draft 2020-12. It is not safe for concurrent use.
type Schema struct {
	compiler *jsonschema.Compiler
	root     *jsonschema.Schema
	rootURL  string
}

// Compile compiles a schema that stands alone: it may refer to nothing outside itself.
func Compile(data []byte) (*Schema, error) {
	const url = "schema:///document.json"
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("compiling the schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{})
	if err := compiler.AddResource(url, parsed); err != nil {
		return nil, fmt.Errorf("compiling the schema: %w", err)
	}
	root, err := compiler.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("compiling the schema: %w", err)
	}
	return &Schema{compiler: compiler, root: root, rootURL: url}, nil
}

// check adds every way in which value does not fit the schema to the document's faults.
func (s *Schema) check(doc *Document, value any) {
	err := s.root.Validate(value)
	if err == nil {
		return
	}
	if invalid, ok := err.(*jsonschema.ValidationError); ok { //nolint:errorlint // Validate's only error type, never wrapped
		s.report(doc, value, invalid)
	}
}

func (s *Schema) report(doc *Document, root any, e *jsonschema.ValidationError) {
	switch e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
		for _, cause := range e.Causes {
			s.report(doc, root, cause)
		}
		return
	}
	if doc.full() {
		return
	}
	path := e.InstanceLocation
	subject := subjectOf(doc, path)
	value, schema := valueAt(root, path), s.at(e.SchemaURL)
	add := func(message, mend string) { doc.Add(message, mend, path...) }
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		s.reportType(doc, path, value, schema)
	case *kind.Enum:
		words := make([]string, 0, len(k.Want))
		for _, want := range k.Want {
			if want != nil { // what an API writes for an absent value; nobody has to
				words = append(words, render(want))
			}
		}
		mend := ""
		if text, ok := value.(string); ok {
			if near := Nearest(text, words); near != "" {
				mend = "did you mean `" + near + "`?"
			}
		}
		add(subject+" is "+show(value, schema)+", expected one of `"+strings.Join(words, "`, `")+"`", mend)
	case *kind.Required:
		for _, name := range k.Missing {
			s.reportMissing(doc, path, name, schema, value)
		}
	case *kind.AdditionalProperties:
		s.reportUnknown(doc, path, schema)
	case *kind.OneOf:
		s.reportOneOf(doc, path, schema, value)
	case *kind.Pattern:
		add(subject+" is "+show(value, schema)+", expected "+nounOf(schema), example(schema, last(path)))
	case *kind.MinLength, *kind.MinItems, *kind.MinProperties:
		add(subject+" is empty", example(schema, last(path)))
	case *kind.MaxLength:
		add(fmt.Sprintf("%s is %d characters long, at most %d are allowed", subject, k.Got, k.Want), "")
	case *kind.MaxItems:
		add(fmt.Sprintf("%s has %d items, at most %d are allowed", subject, k.Got, k.Want), "")
	case *kind.UniqueItems:
		doc.Add(fmt.Sprintf("item %d of %s is the same as item %d", k.Duplicates[1]+1, subject, k.Duplicates[0]+1),
			"remove one", step(path, strconv.Itoa(k.Duplicates[1]))...)
	case *kind.Minimum:
		add(subject+" is "+show(value, schema)+", expected at least "+number(k.Want), "")
	case *kind.Maximum:
		add(subject+" is "+show(value, schema)+", expected at most "+number(k.Want), "")
	case *kind.ExclusiveMinimum:
		add(subject+" is "+show(value, schema)+", expected more than "+number(k.Want), "")
	default:
		// A keyword that no phrase was written for still refuses the value.
		add(subject+" is not valid, expected "+nounOf(schema), example(schema, last(path)))
	}
}

// reportUnknown names every key that a closed mapping does not know: by its properties, or by the pattern
// that its keys follow. (propertyNames would not do: its faults do not say where they are.)
func (*Schema) reportUnknown(doc *Document, path []string, schema *jsonschema.Schema) {
	known := slices.Collect(maps.Keys(schema.Properties))
	pairs := doc.node(path).Content
	for i := 0; i+1 < len(pairs); i += 2 {
		name := pairs[i].Value
		if schema.Properties[name] != nil || matches(schema.PatternProperties, name) || doc.full() {
			continue
		}
		message, mend := "unknown key `"+shorten(name)+"`", DidYouMean(name, known)
		if len(schema.PatternProperties) > 0 {
			message, mend = "`"+shorten(name)+"` is no key of "+nounOf(schema), example(schema, last(path))
		}
		doc.addAt(pairs[i], step(path, name), message, mend)
	}
}

func matches(patterns map[jsonschema.Regexp]*jsonschema.Schema, name string) bool {
	for pattern := range patterns {
		if pattern.MatchString(name) {
			return true
		}
	}
	return false
}

func (*Schema) reportType(doc *Document, path []string, value any, schema *jsonschema.Schema) {
	subject, noun := subjectOf(doc, path), nounOf(schema)
	if value == nil {
		doc.Add(subject+" is empty, expected "+noun, example(schema, last(path)), path...)
		return
	}
	mend := example(schema, last(path))
	if slices.Contains(schema.Types.ToStrings(), "string") && schema.Pattern == nil && !schema.WriteOnly {
		if text, ok := doc.Text(path...); ok {
			mend = "quote it: " + strconv.Quote(shorten(text))
		}
	}
	doc.Add(subject+" is "+show(value, schema)+", expected "+noun, mend, path...)
}

// reportMissing names a key that is not there, unless one that is there is plainly the same key misspelt:
// that one is reported as unknown, and one mend is enough.
func (*Schema) reportMissing(doc *Document, path []string, name string, schema *jsonschema.Schema, value any) {
	if misspelt(value, schema, []string{name}) {
		return
	}
	mend := ""
	if property := schema.Properties[name]; property != nil {
		mend = strings.Replace(example(property, name), "for example", "add", 1)
	}
	doc.addAbsent(path, name, subjectOf(doc, path)+" has no `"+name+"`", mend)
}

// reportOneOf speaks of the one use that these schemas make of oneOf: alternatives that each require a key.
func (*Schema) reportOneOf(doc *Document, path []string, schema *jsonschema.Schema, value any) {
	given, _ := value.(map[string]any) // a value that is no mapping has none of the keys
	var names, present []string
	for _, alternative := range schema.OneOf {
		for _, name := range alternative.Required {
			names = append(names, name)
			if _, ok := given[name]; ok {
				present = append(present, name)
			}
		}
	}
	if len(present) > 1 {
		doc.Add(subjectOf(doc, path)+" has both `"+strings.Join(present, "` and `")+"`", "keep one", step(path, present[1])...)
		return
	}
	if misspelt(value, schema, names) {
		return
	}
	mend := ""
	for _, name := range names {
		if property := schema.Properties[name]; property != nil && mend == "" {
			mend = example(property, name)
		}
	}
	doc.addAbsent(path, "", subjectOf(doc, path)+" needs one of `"+strings.Join(names, "`, `")+"`", mend)
}

// misspelt reports whether a key that the schema does not know is nearest to one of names.
func misspelt(value any, schema *jsonschema.Schema, names []string) bool {
	if open, ok := schema.AdditionalProperties.(bool); !ok || open {
		return false // an unknown key is not reported here, so that the missing one must be
	}
	given, _ := value.(map[string]any) // a value that is no mapping has no keys
	if len(given) > maxFaults {
		return false // nobody misspells one key in so many; do not compare them all
	}
	known := slices.Collect(maps.Keys(schema.Properties))
	for key := range given {
		if schema.Properties[key] == nil && slices.Contains(names, Nearest(key, known)) {
			return true
		}
	}
	return false
}

// at returns the part of the schema that a fault came from. The compiler has it already.
func (s *Schema) at(url string) *jsonschema.Schema {
	found, err := s.compiler.Compile(url)
	if err != nil {
		return s.root
	}
	return found
}

func subjectOf(doc *Document, path []string) string {
	if len(path) == 0 {
		return "the file"
	}
	return "`" + doc.label(path) + "`"
}

func valueAt(root any, path []string) any {
	for _, name := range path {
		switch value := root.(type) {
		case map[string]any:
			root = value[name]
		case []any:
			index, err := strconv.Atoi(name)
			if err != nil || index < 0 || index >= len(value) {
				return nil
			}
			root = value[index]
		default:
			return nil
		}
	}
	return root
}

// nounOf is what a schema expects, in words: its title, or else its types.
func nounOf(schema *jsonschema.Schema) string {
	if schema.Title != "" {
		return schema.Title
	}
	if schema.Types == nil {
		return "another value"
	}
	nouns := map[string]string{
		"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
		"object": "a mapping", "array": "a list", "null": "nothing",
	}
	var words []string
	for _, name := range schema.Types.ToStrings() {
		if name != "null" {
			words = append(words, nouns[name])
		}
	}
	return strings.Join(words, " or ")
}

// example renders a schema's first example under its key.
func example(schema *jsonschema.Schema, key string) string {
	if len(schema.Examples) == 0 {
		return ""
	}
	if key == "" {
		return "for example `" + render(schema.Examples[0]) + "`"
	}
	return "for example `" + key + ": " + render(schema.Examples[0]) + "`"
}

// last is the key that a value stands under, empty for an item of a list.
func last(path []string) string {
	if len(path) == 0 {
		return ""
	}
	name := path[len(path)-1]
	if _, err := strconv.Atoi(name); err == nil {
		return ""
	}
	return name
}

// show describes a value that is there but wrong. A writeOnly value is never shown.
func show(value any, schema *jsonschema.Schema) string {
	switch value := value.(type) {
	case nil:
		return "empty"
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case string:
		if schema.WriteOnly {
			return "some other text"
		}
		return strconv.Quote(shorten(value))
	default:
		if schema.WriteOnly {
			return "not text"
		}
		return fmt.Sprint(value)
	}
}

// render writes a value of the schema as YAML on one line.
func render(value any) string {
	switch value := value.(type) {
	case map[string]any:
		pairs := make([]string, 0, len(value))
		for _, key := range slices.Sorted(maps.Keys(value)) {
			pairs = append(pairs, key+": "+render(value[key]))
		}
		return "{" + strings.Join(pairs, ", ") + "}"
	case []any:
		items := make([]string, 0, len(value))
		for _, item := range value {
			items = append(items, render(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case string:
		if !regexp.MustCompile(`^[A-Za-z0-9./_-][A-Za-z0-9./_@ %-]*$`).MatchString(value) {
			return strconv.Quote(value)
		}
	case nil:
		return "null"
	}
	return fmt.Sprint(value)
}

// number prints a bound without a needless fraction.
func number(value *big.Rat) string {
	if value.IsInt() {
		return value.Num().String()
	}
	return value.RatString()
}
