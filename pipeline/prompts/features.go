package prompts

import (
	"encoding/json"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/schemas"
)

// Feature is an input of a model that predicts, and the column that it comes from.
type Feature struct {
	Name   string // empty: the model's only input has no name; it is the column's array, or an array of all columns
	Column string
}

// Features are bound to the columns of one source. They are immutable and safe for concurrent use.
type Features struct {
	names   []string
	columns []int
	nested  bool // one input without a name has all columns, as an array
}

// Bind finds the columns of features. It reports every one that is not there, by its place in the list.
func Bind(features []Feature, schema *arrow.Schema) (*Features, []Problem) {
	out := &Features{}
	var problems []Problem
	for i, each := range features {
		if each.Name != "" || i == 0 {
			out.names = append(out.names, each.Name)
		}
		indices := schema.FieldIndices(each.Column)
		if len(indices) == 0 {
			problems = append(problems, Problem{
				Message: i, Part: -1, Column: each.Column, Text: "the source has no column `" + each.Column + "`",
			})
			continue
		}
		out.columns = append(out.columns, indices[0])
	}
	if len(features) > 0 && features[0].Name == "" && len(problems) == 0 {
		out.nested = len(features) > 1 || !arrow.IsListLike(schema.Field(out.columns[0]).Type.ID())
	}
	return out, problems
}

// Names are those of the model's inputs, in order.
func (f *Features) Names() []string { return slices.Clone(f.names) }

// Render is the JSON array of a row's features. It fails where a value has no JSON.
func (f *Features) Render(record arrow.Record, row int) (json.RawMessage, error) {
	out := []byte{'['}
	if f.nested {
		out = append(out, '[')
	}
	for i, column := range f.columns {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = schemas.AppendJSON(out, record.Column(column), row); err != nil {
			return nil, err //nolint:wrapcheck // it names the column's type
		}
	}
	if f.nested {
		out = append(out, ']')
	}
	return append(out, ']'), nil
}
