// Package filters decides which rows of a source are asked about at all, by a CEL expression over the row's
// columns.
package filters

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"

	"github.com/inflowhq/inflow/schemas"
)

// costLimit bounds the work that one row's evaluation may take, in CEL's own cost units.
const costLimit = 1_000_000

// Filter is a compiled expression. It is immutable and safe for concurrent use; a nil Filter keeps every row.
type Filter struct {
	program cel.Program
	columns map[string]int
}

// Parse compiles an expression over the columns of schema. An empty one keeps every row.
func Parse(expression string, schema *arrow.Schema) (*Filter, error) {
	if expression == "" {
		return nil, nil //nolint:nilnil // a nil Filter is a valid one
	}
	columns := make(map[string]int, schema.NumFields())
	options := []cel.EnvOption{cel.CrossTypeNumericComparisons(true)}
	for i, field := range schema.Fields() {
		columns[field.Name] = i
		options = append(options, cel.Variable(field.Name, celType(field.Type)))
	}
	environment, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("%w: where: %w", schemas.ErrInvalid, err)
	}
	tree, issues := environment.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("%w: where: %w", schemas.ErrInvalid, err)
	}
	if kind := tree.OutputType(); !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("%w: where: the expression is a %s; it must be true or false, like %q",
			schemas.ErrInvalid, kind, "status == 'open'")
	}
	program, err := environment.Program(tree, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("%w: where: %w", schemas.ErrInvalid, err)
	}
	return &Filter{program: program, columns: columns}, nil
}

// Keep reports whether the expression is true for a row. As in SQL, a row of which it is neither true nor
// false, because a column that it compares is NULL, is not kept.
func (f *Filter) Keep(record arrow.Record, row int) (bool, error) {
	if f == nil {
		return true, nil
	}
	view := &rowView{filter: f, record: record, row: row}
	result, _, err := f.program.Eval(view)
	if err != nil {
		if view.sawNull {
			return false, nil
		}
		return false, fmt.Errorf("%w: where: %w", schemas.ErrInvalid, err)
	}
	return result == types.True, nil
}

// rowView resolves names from one row and remembers whether one of them was NULL.
type rowView struct {
	filter  *Filter
	record  arrow.Record
	row     int
	sawNull bool
}

// ResolveName returns the value of a column.
func (v *rowView) ResolveName(name string) (any, bool) {
	index, ok := v.filter.columns[name]
	if !ok {
		return nil, false
	}
	value := schemas.Value(v.record.Column(index), v.row)
	if value == nil {
		v.sawNull = true
		return types.NullValue, true
	}
	return value, true
}

// Parent ends the chain of scopes.
func (*rowView) Parent() interpreter.Activation { return nil }

// celType maps a column's type. NULLs make every column dynamic at heart, but a declared type lets the
// compiler find "text > 3" before the run starts.
func celType(dataType arrow.DataType) *cel.Type {
	switch dataType.ID() { //nolint:exhaustive // everything else is dynamic
	case arrow.STRING, arrow.LARGE_STRING:
		return cel.NullableType(cel.StringType)
	case arrow.BOOL:
		return cel.NullableType(cel.BoolType)
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		return cel.NullableType(cel.IntType)
	case arrow.FLOAT32, arrow.FLOAT64:
		return cel.NullableType(cel.DoubleType)
	default:
		return cel.DynType
	}
}
