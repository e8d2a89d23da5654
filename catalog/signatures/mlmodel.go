package signatures

import (
	"encoding/json"
	"fmt"

	"github.com/tidwall/gjson"
	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/schemas"
)

// MLmodel reads the signature in an MLmodel file (mlflow.org/docs/latest/ml/model/signatures). A model that was logged
// without one has an empty Signature. Errors are schemas.ErrInvalid.
func MLmodel(data []byte) (*schemas.Signature, error) {
	if len(data) > maxBytes {
		return nil, invalid("MLmodel is larger than %d bytes", maxBytes)
	}
	var file struct {
		Flavors   yaml.Node
		Signature *struct{ Inputs, Outputs *string }
	}
	if yaml.Unmarshal(data, &file) != nil { // its error would quote a file that may be anything
		return nil, invalid("it is no MLmodel file")
	}
	if file.Flavors.IsZero() && file.Signature == nil {
		return nil, invalid("MLmodel has neither flavors nor a signature: it is another file")
	}
	out := &schemas.Signature{}
	if file.Signature == nil {
		return out, nil
	}
	if text := file.Signature.Inputs; text != nil {
		columns, err := readColumns(*text, "MLmodel: signature.inputs")
		if err != nil {
			return nil, err
		}
		out.Inputs = features(columns)
	}
	if text := file.Signature.Outputs; text != nil {
		columns, err := readColumns(*text, "MLmodel: signature.outputs")
		if err != nil {
			return nil, err
		}
		out.Output = output(columns)
	}
	return out, nil
}

// spec is a ColSpec or a TensorSpec.
type spec struct {
	field
	optional bool
}

// readColumns reads the JSON of a schema, a list of columns.
func readColumns(text, place string) ([]spec, error) {
	list, err := parse(text, place)
	if err != nil {
		return nil, err
	}
	if !list.IsArray() {
		return nil, invalid("%s is no list", place)
	}
	var out []spec
	list.ForEach(func(_, entry gjson.Result) bool {
		at := fmt.Sprintf("%s[%d]", place, len(out))
		each := spec{optional: entry.Get("required").Type == gjson.False || entry.Get("optional").Type == gjson.True}
		name := entry.Get("name")
		if each.name = name.Str; name.Type != gjson.String && name.Type != gjson.Null {
			err = invalid("%s.name is no text", at)
			return false
		}
		each.kind, err = readKind(entry, at, 0)
		out = append(out, each)
		return err == nil
	})
	return out, err
}

// features are the inputs; nil where there are several without a name, which a frame cannot tell apart.
func features(columns []spec) []schemas.Feature {
	var out []schemas.Feature
	for _, each := range columns {
		if each.name == "" && len(columns) > 1 {
			return nil
		}
		out = append(out, schemas.Feature{Name: each.name, Type: each.kind.name, Optional: each.optional})
	}
	return out
}

// output is the type of one prediction. A column with a name makes a record, also where it is the only one.
func output(columns []spec) string {
	if len(columns) == 1 && columns[0].name == "" {
		return column(columns[0].ddl)
	}
	fields := make([]field, 0, len(columns))
	for _, each := range columns {
		fields = append(fields, each.field)
	}
	return column(structure(fields))
}

// readKind reads a type (mlflow/types/schema.py).
func readKind(entry gjson.Result, place string, depth int) (kind, error) {
	if depth > maxDepth {
		return kind{}, invalid("%s is nested more than %d deep", place, maxDepth)
	}
	if !entry.IsObject() {
		return kind{}, invalid("%s is no object", place)
	}
	switch name := entry.Get("type").String(); name {
	case "boolean":
		return kind{name, "BOOLEAN"}, nil
	case "integer":
		return kind{name, "INT"}, nil
	case "long":
		return kind{name, "BIGINT"}, nil
	case "float":
		return kind{name, "FLOAT"}, nil
	case "double":
		return kind{name, "DOUBLE"}, nil
	case "string":
		return kind{name, "STRING"}, nil
	case "datetime", // the server writes it without a zone, so that it is no TIMESTAMP
		"binary", "any",
		"sparkml_vector":
		return kind{name: name}, nil
	case "array":
		items, err := readKind(entry.Get("items"), place+".items", depth+1)
		return kind{"array(" + items.name + ")", array(items.ddl, 1)}, err
	case "map": // of keys that are not known, which no type of an answer has
		values, err := readKind(entry.Get("values"), place+".values", depth+1)
		return kind{name: "map(" + values.name + ")"}, err
	case "object":
		return readObject(entry.Get("properties"), place+".properties", depth)
	case "tensor":
		return readTensor(entry.Get("tensor-spec"), place+".tensor-spec")
	default:
		return kind{}, invalid("%s.type: there is no type %q", place, cut(name))
	}
}

func readObject(properties gjson.Result, place string, depth int) (out kind, err error) {
	if !properties.IsObject() {
		return kind{}, invalid("%s is no object", place)
	}
	var fields []field
	properties.ForEach(func(key, value gjson.Result) bool {
		each := field{name: key.Str}
		each.kind, err = readKind(value, place+"."+cut(key.Str), depth+1)
		fields = append(fields, each)
		return err == nil
	})
	return kind{"object", structure(fields)}, err
}

// readTensor reads a TensorSpec, whose first dimension is the rows.
func readTensor(tensor gjson.Result, place string) (kind, error) {
	dtype := tensor.Get("dtype")
	if dtype.Type != gjson.String || dtype.Str == "" {
		return kind{}, invalid("%s.dtype is no text", place)
	}
	var shape []int64
	if raw := tensor.Get("shape"); !raw.IsArray() || json.Unmarshal([]byte(raw.Raw), &shape) != nil {
		return kind{}, invalid("%s.shape is no list of whole numbers", place)
	}
	out := kind{name: "tensor(" + cut(dtype.Str) + ")"}
	if len(shape) > 0 && shape[0] == -1 { // else there are no rows
		out.ddl = array(element(dtype.Str), len(shape)-1)
	}
	return out, nil
}

// element is the column of a numpy dtype; empty where a column cannot hold all of its values, or they may be anything.
func element(dtype string) string {
	switch dtype {
	case "bool":
		return "BOOLEAN"
	case "int8", "int16", "int32", "uint8", "uint16":
		return "INT"
	case "int64", "uint32":
		return "BIGINT"
	case "float16", "float32":
		return "FLOAT"
	case "float64":
		return "DOUBLE"
	case "str":
		return "STRING"
	}
	return ""
}
