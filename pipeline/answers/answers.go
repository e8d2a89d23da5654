// Package answers gives answers a type. It owns response_format: its three ways of writing, the JSON Schema that a
// provider is handed, the check of an answer, and the answer's values in an Arrow column.
//
// It speaks to no provider, and it does not ask again: it says what is wrong, in words that a model can mend it by.
package answers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/inflowhq/inflow/schemas"
)

// formatName names the schema to providers.
const formatName = "answer"

// Type is what an answer must look like. It is immutable and safe for concurrent use.
type Type struct {
	root      *field
	schema    json.RawMessage
	validator *jsonschema.Schema
	strict    bool
}

// newType compiles the schema of a type.
func newType(root *field, schema json.RawMessage) (*Type, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("%w: response_format: %w", schemas.ErrInvalid, err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat() // to most who write one, a format is no advice
	if err := compiler.AddResource("response_format", document); err != nil {
		return nil, fmt.Errorf("%w: response_format: %w", schemas.ErrInvalid, err)
	}
	validator, err := compiler.Compile("response_format")
	if err != nil {
		return nil, fmt.Errorf("%w: response_format is no JSON Schema: %w", schemas.ErrInvalid, err)
	}
	return &Type{root: root, schema: schema, validator: validator}, nil
}

// Format is what a request carries.
func (t *Type) Format() *schemas.Format {
	return &schemas.Format{Name: formatName, Schema: t.schema, Strict: t.strict}
}

// Arrow is the type of the response column.
func (t *Type) Arrow() arrow.DataType { return t.root.arrow() }

// Check returns what is wrong with an answer, nil where nothing is. Its text names places and rules, and no value.
func (t *Type) Check(text string) error {
	value, err := decode(text)
	if err != nil {
		return err
	}
	if err := t.validator.Validate(value); err != nil {
		if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
			return errors.New(strings.Join(faults(invalid, nil), "; "))
		}
		return err //nolint:wrapcheck // it says all
	}
	return t.root.append(nil, value, "answer")
}

// Append adds an answer that Check accepts to a builder of the type's column.
func (t *Type) Append(builder array.Builder, answer *schemas.Answer) error {
	value, err := decode(answer.Text)
	if err != nil {
		return err
	}
	return t.root.append(builder, value, "answer")
}

// decode reads an answer's JSON. A fence of Markdown around it is no fault: many models cannot leave it out.
func decode(text string) (any, error) {
	text = strings.TrimSpace(text)
	if inner, ok := strings.CutPrefix(text, "```"); ok {
		inner = strings.TrimPrefix(strings.TrimSuffix(strings.TrimSpace(inner), "```"), "json")
		text = strings.TrimSpace(inner)
	}
	if !json.Valid([]byte(text)) {
		return nil, errors.New("it is not JSON")
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("it is not JSON")
	}
	if !sane(value) {
		return nil, errors.New("it has a number that is out of range")
	}
	return value, nil
}

// maxDigits bounds how a number is written. The validator makes exact fractions of numbers, which for "1e999999" is a
// second's work, and for more than that fails.
const maxDigits = 400

// sane reports whether every number is one that a column could hold.
func sane(value any) bool {
	switch value := value.(type) {
	case json.Number:
		if len(value) > maxDigits {
			return false
		}
		_, exponent, ok := strings.Cut(strings.ToLower(value.String()), "e")
		power, err := strconv.Atoi(exponent)
		return !ok || err == nil && power <= maxExponent && power >= -maxExponent
	case []any:
		return !slices.ContainsFunc(value, func(each any) bool { return !sane(each) })
	case map[string]any:
		for _, each := range value {
			if !sane(each) {
				return false
			}
		}
	}
	return true
}

// maxFaults bounds what a model is told at once.
const maxFaults = 8

// faults are the innermost faults of a validation, with their places. What would quote the answer is said without.
func faults(invalid *jsonschema.ValidationError, found []string) []string {
	if len(invalid.Causes) == 0 && len(found) < maxFaults {
		place := strings.Join(append([]string{"answer"}, invalid.InstanceLocation...), ".")
		return append(found, place+": "+rule(invalid.ErrorKind))
	}
	for _, cause := range invalid.Causes {
		found = faults(cause, found)
	}
	return found
}

// rule is what an answer must keep to. The library's own texts quote values.
func rule(broken jsonschema.ErrorKind) string {
	switch is := broken.(type) {
	case *kind.Type:
		return "must be " + strings.Join(is.Want, " or ")
	case *kind.Enum:
		want := make([]string, 0, len(is.Want))
		for _, each := range is.Want {
			want = append(want, fmt.Sprint(each))
		}
		return "must be one of " + strings.Join(want, ", ")
	case *kind.Format:
		return "must be of the form " + is.Want
	case *kind.Pattern:
		return "must match " + is.Want
	case *kind.Required:
		return "lacks " + strings.Join(is.Missing, ", ")
	case *kind.AdditionalProperties:
		return "has properties that are not in the schema"
	}
	return "breaks the schema's rule " + strings.Join(broken.KeywordPath(), "/")
}
