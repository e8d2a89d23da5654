package signatures

import (
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/schemas"
)

// OpenAPI reads what GET /api/2.0/serving-endpoints/{name}/openapi gives, bare or in the field "contents"
// (docs.databricks.com/machine-learning/model-serving/manage-serving-endpoints, "get the schema"). What the document does
// not say stays empty, as does what several served models of an endpoint do not agree on. Errors are schemas.ErrInvalid.
func OpenAPI(data []byte) (*schemas.Signature, error) {
	const place = "the OpenAPI document"
	if len(data) > maxBytes {
		return nil, invalid("%s is larger than %d bytes", place, maxBytes)
	}
	root, err := parse(string(data), place)
	if err != nil {
		return nil, err
	}
	if contents := root.Get("contents"); contents.Type == gjson.String {
		if root, err = parse(contents.Str, place); err != nil {
			return nil, err
		}
	}
	paths := root.Get("paths")
	if !root.IsObject() || !paths.IsObject() {
		return nil, invalid("%s has no paths", place)
	}
	var out *schemas.Signature
	paths.ForEach(func(path, operations gjson.Result) bool {
		if !strings.HasSuffix(path.Str, "/invocations") {
			return true
		}
		next := &schemas.Signature{
			Inputs: inputsOf(operations.Get("post.requestBody.content.application/json.schema")),
			Output: outputOf(operations.Get("post.responses.200.content.application/json.schema.properties.predictions")),
		}
		if out == nil {
			out = next
			return true
		}
		if !slices.Equal(out.Inputs, next.Inputs) {
			out.Inputs = nil
		}
		if out.Output != next.Output {
			out.Output = ""
		}
		return true
	})
	if out == nil {
		return nil, invalid("%s has no path that ends in /invocations", place)
	}
	return out, nil
}

// inputsOf reads the layouts that a request may have. They say the same; records say most of it.
func inputsOf(schema gjson.Result) []schemas.Feature {
	layouts := map[string]gjson.Result{}
	add := func(_, choice gjson.Result) bool {
		choice.Get("properties").ForEach(func(name, layout gjson.Result) bool {
			layouts[name.Str] = layout
			return true
		})
		return true
	}
	if add(gjson.Result{}, schema); schema.Get("oneOf").IsArray() {
		schema.Get("oneOf").ForEach(add)
	}
	for _, read := range []func() []schemas.Feature{
		func() []schemas.Feature { return records(layouts[string(schemas.LayoutRecords)].Get("items"), false) },
		func() []schemas.Feature { return split(layouts[string(schemas.LayoutSplit)]) },
		func() []schemas.Feature { return records(layouts[string(schemas.LayoutInstances)].Get("items"), true) },
		func() []schemas.Feature { return columns(layouts[string(schemas.LayoutInputs)]) },
	} {
		if features := read(); features != nil {
			return features
		}
	}
	return nil
}

// records reads one row as an object, or as a value without a name, which only tensors have.
func records(row gjson.Result, tensors bool) []schemas.Feature {
	if !row.Exists() {
		return nil
	}
	if !row.Get("properties").IsObject() {
		if dtype := dtypeOf(row, 0); tensors && dtype != "" {
			return []schemas.Feature{{Type: dtype}}
		}
		return nil
	}
	var out []schemas.Feature
	required, listed := map[string]bool{}, row.Get("required")
	listed.ForEach(func(_, name gjson.Result) bool {
		required[name.Str] = true
		return true
	})
	row.Get("properties").ForEach(func(name, schema gjson.Result) bool {
		each := schemas.Feature{Name: name.Str, Type: kindOf(schema, 0).name}
		if tensors {
			each.Type = dtypeOf(schema, 0)
		}
		// Without a list of what is required nothing is known to be optional.
		each.Optional = listed.IsArray() && !required[name.Str]
		out = append(out, each)
		return name.Str != "" // else it is no feature
	})
	if slices.ContainsFunc(out, func(each schemas.Feature) bool { return each.Name == "" || each.Type == "" }) {
		return nil
	}
	return out
}

// split reads the names and the types, which stand in two lists.
func split(frame gjson.Result) []schemas.Feature {
	names := frame.Get("properties.columns.items.enum").Array()
	kinds := frame.Get("properties.data.items.prefixItems").Array()
	if len(names) == 0 || len(names) != len(kinds) {
		return nil
	}
	var out []schemas.Feature
	for i, name := range names {
		if name.Str == "" {
			return nil
		}
		out = append(out, schemas.Feature{Name: name.Str, Type: kindOf(kinds[i], 0).name})
	}
	return out
}

// columns reads tensors by their names, or the only one.
func columns(inputs gjson.Result) []schemas.Feature {
	if rows := inputs.Get("items"); rows.Exists() {
		return records(rows, true)
	}
	var out []schemas.Feature
	inputs.Get("properties").ForEach(func(name, rows gjson.Result) bool {
		out = append(out, schemas.Feature{Name: name.Str, Type: dtypeOf(rows.Get("items"), 0)})
		return true
	})
	if slices.ContainsFunc(out, func(each schemas.Feature) bool { return each.Name == "" || each.Type == "" }) {
		return nil
	}
	return out
}

// outputOf is the type of one prediction. Predictions that are an object are columns, which come as records.
func outputOf(predictions gjson.Result) string {
	if predictions.Get("type").Str == "array" {
		return column(kindOf(predictions.Get("items"), 0).ddl)
	}
	var fields []field
	predictions.Get("properties").ForEach(func(name, rows gjson.Result) bool {
		each := field{name: name.Str}
		if rows.Get("type").Str == "array" {
			each.kind = kindOf(rows.Get("items"), 0)
		}
		fields = append(fields, each)
		return true
	})
	return column(structure(fields))
}

// kindOf is the type of a schema; "any" where it is none of MLflow's.
func kindOf(schema gjson.Result, depth int) kind {
	if depth > maxDepth {
		return kind{name: "any"}
	}
	format := schema.Get("format").Str
	switch name := schema.Get("type").Str; {
	case name == "boolean":
		return kind{"boolean", "BOOLEAN"}
	case name == "integer" && format == "int32":
		return kind{"integer", "INT"}
	case name == "integer":
		return kind{"long", "BIGINT"}
	case name == "number" && format == "float":
		return kind{"float", "FLOAT"}
	case name == "number":
		return kind{"double", "DOUBLE"}
	case name == "string" && format == "":
		return kind{"string", "STRING"}
	case name == "string" && format == "date-time":
		return kind{name: "datetime"}
	case name == "string" && (format == "binary" || format == "byte"):
		return kind{name: "binary"}
	case name == "array":
		items := kindOf(schema.Get("items"), depth+1)
		return kind{"array(" + items.name + ")", array(items.ddl, 1)}
	case name == "object" && schema.Get("additionalProperties").IsObject():
		return kind{name: "map(" + kindOf(schema.Get("additionalProperties"), depth+1).name + ")"}
	case name == "object" && schema.Get("properties").IsObject():
		var fields []field
		schema.Get("properties").ForEach(func(name, inner gjson.Result) bool {
			fields = append(fields, field{name.Str, kindOf(inner, depth+1)})
			return true
		})
		return kind{"object", structure(fields)}
	}
	return kind{name: "any"}
}

// dtypeOf is the tensor that a schema describes, by the type of its elements; empty where it is none.
func dtypeOf(schema gjson.Result, depth int) string {
	if depth > maxDepth {
		return ""
	}
	if schema.Get("type").Str == "array" {
		return dtypeOf(schema.Get("items"), depth+1)
	}
	switch kindOf(schema, 0).name {
	case "boolean":
		return "tensor(bool)"
	case "integer":
		return "tensor(int32)"
	case "long":
		return "tensor(int64)"
	case "float":
		return "tensor(float32)"
	case "double":
		return "tensor(float64)"
	case "string":
		return "tensor(str)"
	}
	return ""
}
