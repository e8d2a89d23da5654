package answers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing wrong with a response_format.
type Problem struct {
	Path []string // below response_format
	Text string
	Mend string
}

const (
	maxDepth  = 16
	maxFields = 1000
)

// Parse reads a response_format: the short form ({severity: "enum(low, high)", score: double}), a JSON Schema, or the
// DDL of a STRUCT. Every problem is reported; the type is of use only where there is none.
func Parse(node *yaml.Node) (*Type, []Problem) { return parse(node, false) }

// ParseValue is Parse for predictions. One need not be a STRUCT, but may be a DOUBLE or an ARRAY<DOUBLE>; and a float may
// be NaN, written as null, or "Infinity" or "-Infinity".
func ParseValue(node *yaml.Node) (*Type, []Problem) { return parse(node, true) }

func parse(node *yaml.Node, anyType bool) (*Type, []Problem) {
	r := &reader{}
	var root *field
	var schema any
	switch {
	case node.Kind == yaml.ScalarNode:
		root = r.ddl(node.Value, nil, true)
		if root != nil && root.kind != kindStruct && !anyType {
			r.fault(nil, "an answer is a STRUCT", "write it as `STRUCT<label: STRING, score: DOUBLE>`")
		}
	case node.Kind == yaml.MappingNode && isSchema(node):
		node = unwrap(node)
		root, schema = r.schema(node, nil, false), plain(node)
		if root != nil && root.kind != kindStruct && !anyType {
			r.fault(nil, "the schema of an answer is that of an object", "put what it is into a property")
		}
	case node.Kind == yaml.MappingNode:
		root = r.short(node, nil, 0)
	default:
		r.fault(nil, "it is a mapping of fields, a JSON Schema, or the text of a STRUCT", "")
	}
	if root != nil {
		root.nullable = false // a row has an answer or an error
	}
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	if anyType && schema == nil {
		root.unbound(node.Kind == yaml.ScalarNode)
	}
	strict := schema == nil || isStrict(node)
	if schema == nil {
		schema = root.schema()
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(schema); err != nil {
		return nil, []Problem{{Text: "it cannot be written as JSON: " + err.Error()}}
	}
	made, err := newType(root, bytes.TrimSpace(text.Bytes()))
	if err != nil {
		return nil, []Problem{{Text: err.Error()}}
	}
	made.strict = strict
	return made, nil
}

// isStrict reports whether every object of a schema requires all of its properties and has no others.
func isStrict(node *yaml.Node) bool {
	if properties := get(node, "properties"); properties != nil {
		more, required := get(node, "additionalProperties"), get(node, "required")
		if more == nil || more.Value != "false" || required == nil {
			return false
		}
		for name := range pairs(properties) {
			if !slices.ContainsFunc(required.Content, func(each *yaml.Node) bool { return each.Value == name }) {
				return false
			}
		}
	}
	for _, inner := range node.Content {
		if !isStrict(inner) {
			return false
		}
	}
	return true
}

// reader gathers problems.
type reader struct {
	problems []Problem
	fields   int
}

func (r *reader) fault(path []string, text, mend string) {
	r.problems = append(r.problems, Problem{Path: slices.Clone(path), Text: text, Mend: mend})
}

// count bounds the number of fields; a column of thousands is a mistake or an attack.
func (r *reader) count(path []string) bool {
	if r.fields++; r.fields > maxFields {
		if r.fields == maxFields+1 {
			r.fault(path, fmt.Sprintf("there are more than %d fields", maxFields), "")
		}
		return false
	}
	return true
}

// pairs are a mapping's keys and values, in order.
func pairs(node *yaml.Node) func(yield func(key string, value *yaml.Node) bool) {
	return func(yield func(string, *yaml.Node) bool) {
		for i := 0; i+1 < len(node.Content); i += 2 {
			if !yield(node.Content[i].Value, node.Content[i+1]) {
				return
			}
		}
	}
}

func get(node *yaml.Node, key string) *yaml.Node {
	for name, value := range pairs(node) {
		if name == key {
			return value
		}
	}
	return nil
}

// short reads {name: type}, where a type is its text, a mapping of fields, or a list with the type of its elements.
func (r *reader) short(node *yaml.Node, path []string, depth int) *field {
	if depth > maxDepth {
		r.fault(path, fmt.Sprintf("it is nested more than %d deep", maxDepth), "")
		return nil
	}
	switch node.Kind {
	case yaml.ScalarNode:
		return r.ddl(node.Value, path, false)
	case yaml.SequenceNode:
		if len(node.Content) != 1 {
			r.fault(path, "a list has one type of element", "write it as `[string]`")
			return nil
		}
		if element := r.short(node.Content[0], path, depth+1); element != nil {
			return &field{kind: kindList, element: element}
		}
		return nil
	case yaml.MappingNode:
		out := &field{kind: kindStruct}
		for name, value := range pairs(node) {
			inner := append(slices.Clip(path), name)
			if !r.count(inner) {
				return nil
			}
			optional := strings.HasSuffix(name, "?")
			if each := r.short(value, inner, depth+1); each != nil {
				each.name, each.nullable = strings.TrimSuffix(name, "?"), each.nullable || optional
				out.add(r, each, inner)
			}
		}
		if len(out.fields) == 0 && len(r.problems) == 0 {
			r.fault(path, "there are no fields", "name one, as `label: string`")
		}
		return out
	case yaml.DocumentNode, yaml.AliasNode:
	}
	r.fault(path, "it is no type", "write it as `string`")
	return nil
}

// add adds a field, whose name must be a column's and its own.
func (f *field) add(r *reader, added *field, path []string) {
	if added.name == "" || strings.ContainsAny(added.name, " ,;{}()\n\t=.") {
		r.fault(path, fmt.Sprintf("%q is no name of a column", added.name), "use letters, digits and _")
	}
	for _, each := range f.fields {
		if strings.EqualFold(each.name, added.name) { // tables do not tell them apart
			r.fault(path, "there is another field `"+each.name+"`", "rename one")
		}
	}
	f.fields = append(f.fields, added)
}

// isSchema tells a JSON Schema, also in OpenAI's wrapping, from fields that happen to be called "type".
func isSchema(node *yaml.Node) bool {
	kind := get(node, "type")
	if kind == nil || kind.Kind != yaml.ScalarNode {
		return false
	}
	return kind.Value == "object" && (get(node, "properties") != nil) || kind.Value == "json_schema" && get(node, "json_schema") != nil
}

// unwrap returns the schema in {type: json_schema, json_schema: {schema: ...}}.
func unwrap(node *yaml.Node) *yaml.Node {
	if inner := get(node, "json_schema"); inner != nil {
		if schema := get(inner, "schema"); schema != nil {
			return schema
		}
	}
	return node
}

// plain is a node as JSON has it, its keys in order.
func plain(node *yaml.Node) any {
	switch node.Kind {
	case yaml.MappingNode:
		out := object{}
		for key, value := range pairs(node) {
			out = append(out, member{key, plain(value)})
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, 0, len(node.Content))
		for _, each := range node.Content {
			out = append(out, plain(each))
		}
		return out
	case yaml.ScalarNode, yaml.DocumentNode, yaml.AliasNode:
	}
	var value any
	if node.Decode(&value) != nil {
		return nil
	}
	return value
}

// schema reads the types out of a JSON Schema. What a column cannot be made of is refused; rules on values are the
// validator's.
func (r *reader) schema(node *yaml.Node, path []string, nullable bool) *field {
	if len(path) > 2*maxDepth {
		r.fault(path, fmt.Sprintf("it is nested more than %d deep", maxDepth), "")
		return nil
	}
	if node.Kind != yaml.MappingNode {
		r.fault(path, "a schema is a mapping", "write it as `{type: string}`")
		return nil
	}
	for _, word := range []string{"$ref", "oneOf", "allOf", "not", "if", "patternProperties"} {
		if get(node, word) != nil {
			r.fault(path, "a column cannot be made of `"+word+"`", "write the type out")
			return nil
		}
	}
	if either := get(node, "anyOf"); either != nil {
		return r.anyOf(either, path)
	}
	kinds := []string{}
	if kind := get(node, "type"); kind != nil && kind.Kind == yaml.SequenceNode {
		for _, each := range kind.Content {
			kinds = append(kinds, each.Value)
		}
	} else if kind != nil {
		kinds = append(kinds, kind.Value)
	} else {
		kinds = kindsOf(listed(node))
	}
	if i := slices.Index(kinds, "null"); i >= 0 {
		kinds, nullable = slices.Delete(kinds, i, i+1), true
	}
	if len(kinds) != 1 {
		r.fault(path, "a column has one type", "write `type: string`, or `type: [string, \"null\"]`")
		return nil
	}
	for _, kind := range kindsOf(listed(node)) {
		if kind != kinds[0] && kind != "null" && (kind != "integer" || kinds[0] != "number") {
			r.fault(path, "a value of its enum or const is "+kind+", and its type "+kinds[0]+": no answer can be both", "quote the value, or change the type")
			return nil
		}
	}
	out := &field{nullable: nullable, bits: 64}
	switch kinds[0] {
	case "string":
		if format := get(node, "format"); format != nil {
			switch format.Value {
			case "date":
				out.kind = kindDate
			case "date-time":
				out.kind = kindTimestamp
			}
		}
	case "integer":
		out.kind = kindInteger
	case "number":
		out.kind = kindFloat
	case "boolean":
		out.kind = kindBoolean
	case "array":
		items := get(node, "items")
		if items == nil {
			r.fault(path, "an array says what its items are", "add `items: {type: string}`")
			return nil
		}
		out.kind, out.element = kindList, r.schema(items, append(slices.Clip(path), "items"), false)
		if out.element == nil {
			return nil
		}
	case "object":
		return r.object(node, path, out)
	default:
		r.fault(path, "there is no type `"+kinds[0]+"`", "use string, integer, number, boolean, array or object")
		return nil
	}
	return out
}

// listed are the values of a schema's enum and const.
func listed(node *yaml.Node) []*yaml.Node {
	var values []*yaml.Node
	if enum := get(node, "enum"); enum != nil {
		values = enum.Content
	}
	if constant := get(node, "const"); constant != nil {
		values = append(slices.Clip(values), constant)
	}
	return values
}

// kindsOf are the different JSON types of values.
func kindsOf(values []*yaml.Node) []string {
	kinds := []string{}
	for _, value := range values {
		kind := map[string]string{
			"!!str": "string", "!!int": "integer", "!!float": "number", "!!bool": "boolean", "!!null": "null", "!!timestamp": "string",
		}[value.ShortTag()]
		if kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func (r *reader) object(node *yaml.Node, path []string, out *field) *field {
	out.kind = kindStruct
	properties := get(node, "properties")
	if properties == nil || properties.Kind != yaml.MappingNode || len(properties.Content) == 0 {
		r.fault(path, "an object names its properties", "add `properties: {label: {type: string}}`")
		return nil
	}
	for name, value := range pairs(properties) {
		inner := append(slices.Clip(path), "properties", name)
		if !r.count(inner) {
			return nil
		}
		if each := r.schema(value, inner, false); each != nil {
			each.name = name
			out.add(r, each, inner)
		}
	}
	return out
}

// anyOf reads the one composition that has a type: something, or null.
func (r *reader) anyOf(either *yaml.Node, path []string) *field {
	var some *yaml.Node
	nulls := 0
	for _, each := range either.Content {
		if kind := get(each, "type"); kind != nil && kind.Value == "null" {
			nulls++
		} else {
			some = each
		}
	}
	if len(either.Content) != nulls+1 || some == nil {
		r.fault(path, "a column cannot be made of `anyOf` but with one type beside null", "write the type out")
		return nil
	}
	return r.schema(some, path, nulls > 0)
}
