package serde

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/sr"
)

// schemaBase is where the schema stands to itself, so that what it refers to is looked for beside it.
const schemaBase = "mem://schema/"

// jsonSchemaCodec checks a record against the schema that it was written with, and reads it as an object.
type jsonSchemaCodec struct {
	jsonCodec
	given   *jsonschema.Schema // without a registry
	writers *writers[*jsonschema.Schema]
}

func newJSONSchemaCodec(ctx context.Context, o *Options) (codec, error) {
	doc, err := readerSchema(ctx, o, sr.TypeJSON)
	if err != nil {
		return nil, err
	}
	compiled, err := compileJSONSchema(doc)
	if err != nil {
		return nil, invalid("", "%s of the %s: %w", doc.name, o.what(), err)
	}
	root, err := jsonTypeOfSchema(doc)
	if err != nil {
		return nil, invalid("give the columns to be read under schema, without those, or use json", "%s of the %s: %w", doc.name, o.what(), err)
	}
	out := &jsonSchemaCodec{jsonCodec: jsonCodec{root: root}, given: compiled}
	if structure, ok := root.arrow.(*arrow.StructType); ok {
		out.columns = structure.Fields()
	} else {
		out.columns = []arrow.Field{nullable(o.column(), root.arrow)}
	}
	if o.Registry != nil {
		out.writers = &writers[*jsonschema.Schema]{
			registry: o.Registry, kind: sr.TypeJSON, reader: doc.name,
			resolve: func(_ context.Context, doc *document) (*jsonschema.Schema, error) { return compileJSONSchema(doc) },
		}
	}
	return out, nil
}

func (c *jsonSchemaCodec) read(ctx context.Context, a *arena, data []byte) ([]cell, error) {
	schema := c.given
	if c.writers != nil {
		id, payload, err := unframe(data)
		if err != nil {
			return nil, err
		}
		if schema, err = c.writers.find(ctx, id); err != nil {
			return nil, err
		}
		data = payload
	}
	if err := (&jsonText{data: data, plain: true}).check(); err != nil {
		return nil, err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("not JSON")
	}
	if err := schema.Validate(value); err != nil {
		return nil, schemaFault(err)
	}
	return c.jsonCodec.read(ctx, a, data)
}

// schemaFault says which rule is broken, and nothing of the record: the library's own text quotes it.
func schemaFault(err error) error {
	fault, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return errors.New("it does not fit its schema")
	}
	for len(fault.Causes) > 0 {
		fault = fault.Causes[0]
	}
	_, at, _ := strings.Cut(fault.SchemaURL, "#")
	return fmt.Errorf("it does not fit its schema at #%s: %s", at, strings.Join(fault.ErrorKind.KeywordPath(), "/"))
}

func compileJSONSchema(doc *document) (*jsonschema.Schema, error) {
	all, err := named(doc)
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // the registry's
	compiler.UseLoader(schemaLoader{all})
	root, err := unmarshalSchema(doc.text)
	if err != nil {
		return nil, err
	}
	if err := compiler.AddResource(schemaBase, root); err != nil {
		return nil, err
	}
	return compiler.Compile(schemaBase)
}

func unmarshalSchema(text string) (any, error) {
	if err := checkJSON([]byte(text)); err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(strings.NewReader(text))
}

// named are the texts that a schema refers to, directly or not, by the names that it calls them.
func named(doc *document) (map[string]string, error) {
	all := map[string]string{}
	var gather func(doc *document) error
	gather = func(doc *document) error {
		for _, each := range doc.references {
			if text, ok := all[each.name]; ok {
				if text != each.to.text {
					return fmt.Errorf("two schemas are referred to as %s", each.name)
				}
				continue
			}
			all[each.name] = each.to.text
			if err := gather(each.to); err != nil {
				return err
			}
		}
		return nil
	}
	return all, gather(doc)
}

// schemaLoader finds what a schema refers to among the registry's references, and nowhere else.
type schemaLoader struct{ texts map[string]string }

func (l schemaLoader) Load(at string) (any, error) {
	if name, ok := l.find(at); ok {
		return unmarshalSchema(l.texts[name])
	}
	return nil, fmt.Errorf("%s is not among the schema's references", strings.TrimPrefix(at, schemaBase))
}

// find knows a reference by its whole name, or by the end of a URL that it was resolved to.
func (l schemaLoader) find(at string) (string, bool) {
	if _, ok := l.texts[at]; ok {
		return at, true
	}
	found, ok := "", false
	for name := range l.texts {
		if strings.HasSuffix(at, "/"+name) && len(name) >= len(found) { // b/a.json is not a.json
			found, ok = name, true
		}
	}
	return found, ok
}

// schemaObject is an object of a schema's text, its members in order: they become columns.
type schemaObject []schemaMember

type schemaMember struct {
	name  string
	value any // schemaObject, []any, string, or nil for anything else
}

func (o schemaObject) get(name string) any {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return nil
}

// parseSchemaText reads text that is JSON.
func parseSchemaText(text string) (any, error) {
	if err := checkJSON([]byte(text)); err != nil {
		return nil, err
	}
	t := &jsonText{data: []byte(text)}
	return t.schemaValue()
}

func (t *jsonText) schemaValue() (any, error) {
	switch t.next() {
	case '{':
		t.at++
		out := schemaObject{}
		for {
			more, err := t.more('}', len(out))
			if err != nil || !more {
				return out, err
			}
			raw, _, err := t.key()
			if err != nil {
				return nil, err
			}
			value, err := t.schemaValue()
			if err != nil {
				return nil, err
			}
			out = append(out, schemaMember{string(unescape(nil, raw)), value})
		}
	case '[':
		t.at++
		out := []any{}
		for {
			more, err := t.more(']', len(out))
			if err != nil || !more {
				return out, err
			}
			value, err := t.schemaValue()
			if err != nil {
				return nil, err
			}
			out = append(out, value)
		}
	case '"':
		raw, _, err := t.quoted()
		return string(unescape(nil, raw)), err
	}
	_, err := t.skip(0)
	return nil, err
}

// schemaReader turns a schema into the type of its columns.
type schemaReader struct {
	root    any
	loader  schemaLoader
	others  map[string]any // parsed, by the references' names
	path    []string       // the $refs that are being followed
	columns int
}

func jsonTypeOfSchema(doc *document) (*jsonType, error) {
	root, err := parseSchemaText(doc.text)
	if err != nil {
		return nil, err
	}
	all, err := named(doc)
	if err != nil {
		return nil, err
	}
	r := &schemaReader{root: root, loader: schemaLoader{all}, others: map[string]any{}}
	return r.read(root, "", 0)
}

func rawJSON() *jsonType { return &jsonType{kind: jsonRaw, arrow: arrow.BinaryTypes.String} }

// read describes one schema of the document in, "" for the root.
func (r *schemaReader) read(schema any, in string, depth int) (*jsonType, error) {
	if r.columns++; r.columns > maxColumns || depth > maxDepth {
		return nil, fmt.Errorf("it has more than %d columns, or nests deeper than %d", maxColumns, maxDepth)
	}
	object, ok := schema.(schemaObject)
	if !ok {
		return rawJSON(), nil
	}
	if ref, ok := object.get("$ref").(string); ok {
		return r.follow(ref, in, depth)
	}
	types := typeNames(object.get("type"))
	if len(types) == 0 {
		if only := onlyAlternative(object); only != nil {
			return r.read(only, in, depth+1)
		}
	}
	if len(types) != 1 {
		return rawJSON(), nil
	}
	format, _ := object.get("format").(string)
	switch types[0] {
	case "boolean":
		return jsonTypeOf(arrow.FixedWidthTypes.Boolean), nil
	case "integer":
		if format == "int32" {
			return jsonTypeOf(arrow.PrimitiveTypes.Int32), nil
		}
		return jsonTypeOf(arrow.PrimitiveTypes.Int64), nil
	case "number":
		return jsonTypeOf(numberType(format)), nil
	case "string":
		encoding, _ := object.get("contentEncoding").(string)
		return jsonTypeOf(stringType(format, encoding)), nil
	case "array":
		return r.array(object, in, depth)
	case "object":
		return r.object(object, in, depth)
	}
	return rawJSON(), nil
}

// typeNames are the types of a schema that are not null.
func typeNames(value any) []string {
	var names []string
	switch typed := value.(type) {
	case string:
		names = []string{typed}
	case []any:
		for _, each := range typed {
			if name, ok := each.(string); ok {
				names = append(names, name)
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "null" })
}

// onlyAlternative is the one schema beside null of a oneOf or anyOf, or the one of an allOf.
func onlyAlternative(object schemaObject) any {
	for _, keyword := range []string{"oneOf", "anyOf", "allOf"} {
		list, _ := object.get(keyword).([]any)
		var others []any
		for _, each := range list {
			if alternative, ok := each.(schemaObject); !ok || alternative.get("type") != "null" {
				others = append(others, each)
			}
		}
		if len(others) == 1 && (keyword != "allOf" || len(list) == 1) {
			return others[0]
		}
	}
	return nil
}

func numberType(format string) arrow.DataType {
	if format == "float" {
		return arrow.PrimitiveTypes.Float32
	}
	if parts := regexp.MustCompile(`^decimal\((\d{1,2}),(\d{1,2})\)$`).FindStringSubmatch(format); parts != nil {
		precision, _ := strconv.ParseInt(parts[1], 10, 32)
		scale, _ := strconv.ParseInt(parts[2], 10, 32)
		if precision >= 1 && precision <= maxPrecision && scale <= precision {
			return decimalType(int32(precision), int32(scale))
		}
	}
	return arrow.PrimitiveTypes.Float64
}

func stringType(format, encoding string) arrow.DataType {
	switch {
	case encoding == "base64":
		return arrow.BinaryTypes.Binary
	case format == "date":
		return arrow.FixedWidthTypes.Date32
	case format == "date-time":
		return timestampType()
	case format == "date-time-local":
		return localTimestampType()
	}
	return arrow.BinaryTypes.String
}

func (r *schemaReader) array(object schemaObject, in string, depth int) (*jsonType, error) {
	items, ok := object.get("items").(schemaObject)
	if !ok || object.get("prefixItems") != nil {
		return rawJSON(), nil
	}
	element, err := r.read(items, in, depth+1)
	if err != nil {
		return nil, err
	}
	return &jsonType{kind: jsonList, arrow: arrow.ListOf(element.arrow), element: element}, nil
}

func (r *schemaReader) object(object schemaObject, in string, depth int) (*jsonType, error) {
	properties, _ := object.get("properties").(schemaObject)
	if len(properties) == 0 {
		others, _ := object.get("additionalProperties").(schemaObject)
		if len(others) == 0 {
			return rawJSON(), nil
		}
		item, err := r.read(others, in, depth+1)
		if err != nil {
			return nil, err
		}
		return &jsonType{kind: jsonMap, arrow: mapType(item.arrow), element: item}, nil
	}
	out := &jsonType{kind: jsonStruct}
	fields := make([]arrow.Field, 0, len(properties))
	for _, property := range properties {
		member, err := r.read(property.value, in, depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", property.name, err)
		}
		out.add(property.name, member)
		fields = append(fields, nullable(property.name, member.arrow))
	}
	out.arrow = arrow.StructOf(fields...)
	return out, nil
}

// follow reads what a $ref names. A form that is not known here is not lost: it stays JSON text.
func (r *schemaReader) follow(ref, in string, depth int) (*jsonType, error) {
	at, pointer, _ := strings.Cut(ref, "#")
	document := r.root
	if at != "" {
		name, ok := r.loader.find(at)
		if !ok {
			name, ok = r.loader.find(schemaBase + at)
		}
		if !ok {
			return rawJSON(), nil
		}
		in = name
	}
	if in != "" {
		if _, ok := r.others[in]; !ok {
			parsed, err := parseSchemaText(r.loader.texts[in])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", in, err)
			}
			r.others[in] = parsed
		}
		document = r.others[in]
	}
	step := in + "#" + pointer
	if slices.Contains(r.path, step) {
		return nil, fmt.Errorf("the type %s holds itself, so its columns have no end", ref)
	}
	target := locate(document, pointer)
	if target == nil {
		return rawJSON(), nil
	}
	r.path = append(r.path, step)
	defer func() { r.path = r.path[:len(r.path)-1] }()
	return r.read(target, in, depth+1)
}

// locate follows a JSON pointer, as it stands in a URL, through objects.
func locate(document any, pointer string) any {
	if pointer == "" {
		return document
	}
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok {
		return nil // an anchor
	}
	for part := range strings.SplitSeq(rest, "/") {
		part, err := url.PathUnescape(part)
		if err != nil {
			return nil
		}
		part = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
		object, ok := document.(schemaObject)
		if !ok {
			return nil
		}
		document = object.get(part)
	}
	return document
}
