package serde

import (
	"errors"
	"fmt"
	"slices"

	"github.com/hamba/avro/v2"
)

// maxNodes bounds what two schemas resolve to.
const maxNodes = 10 * maxColumns

// resolveAvro applies Avro's rules: what was written is read by the names, promotions and defaults of the reader's schema.
func resolveAvro(writer, reader avro.Schema) (*avroNode, error) {
	r := &avroResolver{passed: map[string]*avroNode{}}
	return r.resolve(writer, reader)
}

type avroResolver struct {
	nodes  int
	passed map[string]*avroNode // records that are only passed over, which may hold themselves
}

func (r *avroResolver) count() error {
	if r.nodes++; r.nodes > maxNodes {
		return errors.New("the schemas resolve to too many fields")
	}
	return nil
}

// mismatchError is a writer's type that the reader's cannot be read from.
type mismatchError struct{ writer, reader avro.Schema }

func (e mismatchError) Error() string {
	return fmt.Sprintf("%s was written, %s is read", typeName(e.writer), typeName(e.reader))
}

func typeName(schema avro.Schema) string {
	if schema = deref(schema); schema == nil {
		return "nothing"
	}
	name := string(schema.Type())
	if named, ok := schema.(avro.NamedSchema); ok {
		name += " " + named.FullName()
	}
	return name
}

func (r *avroResolver) resolve(writer, reader avro.Schema) (*avroNode, error) {
	if err := r.count(); err != nil {
		return nil, err
	}
	writer, reader = deref(writer), deref(reader)
	if union, ok := writer.(*avro.UnionSchema); ok {
		return r.union(union, reader)
	}
	others, null, ok := branches(reader)
	if !ok {
		return r.one(writer, reader)
	}
	if writer.Type() == avro.Null {
		if null {
			return &avroNode{op: avroNull}, nil
		}
		return nil, mismatchError{writer, reader}
	}
	// The branch that is the same, else the first that it can become.
	for _, promote := range []bool{false, true} {
		for i, branch := range others {
			if !promote && !sameType(writer, branch) {
				continue
			}
			node, err := r.one(writer, branch)
			if err != nil {
				continue
			}
			if len(others) > 1 {
				wrapped := *node
				wrapped.member, wrapped.members = i, len(others)
				return &wrapped, nil
			}
			return node, nil
		}
	}
	return nil, mismatchError{writer, reader}
}

// sameType is what finds a union's branch before any promotion.
func sameType(writer, reader avro.Schema) bool {
	if writer.Type() != reader.Type() {
		return false
	}
	w, named := writer.(avro.NamedSchema)
	if !named {
		return true
	}
	r, named := reader.(avro.NamedSchema)
	return named && w.FullName() == r.FullName()
}

func (r *avroResolver) union(writer *avro.UnionSchema, reader avro.Schema) (*avroNode, error) {
	out := &avroNode{op: avroUnion}
	var first error
	possible := len(writer.Types()) == 0
	for _, branch := range writer.Types() {
		node, err := r.resolve(branch, reader)
		switch {
		case err == nil:
			possible = true
		case r.nodes > maxNodes:
			return nil, err
		default:
			first = errors.Join(first, err)
			node = &avroNode{op: avroFault, fault: err}
		}
		out.branches = append(out.branches, node)
	}
	if !possible {
		return nil, first
	}
	return out, nil
}

// one resolves schemas that are no unions.
func (r *avroResolver) one(writer, reader avro.Schema) (*avroNode, error) {
	mismatch := mismatchError{writer, reader}
	switch typed := writer.(type) {
	case *avro.NullSchema:
		if reader.Type() == avro.Null {
			return &avroNode{op: avroNull}, nil
		}
	case *avro.PrimitiveSchema:
		return primitiveNode(typed, reader)
	case *avro.FixedSchema:
		into, ok := reader.(*avro.FixedSchema)
		if !ok || !r.sameName(typed, into) || typed.Size() != into.Size() {
			return nil, mismatch
		}
		node := &avroNode{op: avroFixed, size: typed.Size()}
		return node, textForm(node, writer, reader)
	case *avro.EnumSchema:
		if into, ok := reader.(*avro.EnumSchema); ok && r.sameName(typed, into) {
			return enumNode(typed, into), nil
		}
	case *avro.ArraySchema:
		if into, ok := reader.(*avro.ArraySchema); ok {
			item, err := r.resolve(typed.Items(), into.Items())
			return &avroNode{op: avroArray, item: item}, err
		}
	case *avro.MapSchema:
		if into, ok := reader.(*avro.MapSchema); ok {
			item, err := r.resolve(typed.Values(), into.Values())
			return &avroNode{op: avroMap, item: item}, err
		}
	case *avro.RecordSchema:
		if into, ok := reader.(*avro.RecordSchema); ok && r.sameName(typed, into) {
			return r.record(typed, into)
		}
	}
	return nil, mismatch
}

// sameName compares without namespaces, as the specification does, and knows the reader's aliases.
func (*avroResolver) sameName(writer, reader avro.NamedSchema) bool {
	return writer.Name() == reader.Name() || slices.Contains(reader.Aliases(), writer.FullName())
}

// unitOf is how many nanoseconds the unit of a time has; 0: it is no time.
func unitOf(schema avro.Schema) int64 {
	switch logicalType(schema) {
	case string(avro.TimeMillis), string(avro.TimestampMillis), string(avro.LocalTimestampMillis):
		return 1_000_000
	case string(avro.TimeMicros), string(avro.TimestampMicros), string(avro.LocalTimestampMicros):
		return 1000
	case timestampNanos, localTimestampNanos:
		return 1
	}
	return 0
}

// columnUnit is the unit of the column: of timestamps always the microsecond.
func columnUnit(schema avro.Schema) int64 {
	switch logicalType(schema) {
	case string(avro.TimeMillis), string(avro.TimeMicros):
		return unitOf(schema)
	}
	return min(1000, 1000*unitOf(schema)) // 0 stays 0
}

func primitiveNode(writer *avro.PrimitiveSchema, reader avro.Schema) (*avroNode, error) {
	mismatch := mismatchError{writer, reader}
	into, ok := reader.(*avro.PrimitiveSchema)
	if !ok {
		return nil, mismatch
	}
	from, to := writer.Type(), into.Type()
	node := &avroNode{}
	switch from { //nolint:exhaustive // the primitive ones
	case avro.Boolean:
		node.op = avroBoolean
	case avro.Int:
		node.op = avroInt
	case avro.Long:
		node.op = avroLong
	case avro.Float:
		node.op = avroFloat
	case avro.Double:
		node.op = avroDouble
	case avro.String, avro.Bytes:
		node.op = avroBytes
		if to != avro.String && to != avro.Bytes {
			return nil, mismatch
		}
		return node, textForm(node, writer, reader)
	}
	switch {
	case from == to, from == avro.Float && to == avro.Double:
	case (from == avro.Int || from == avro.Long) && to == avro.Float:
		node.form = formFloat32
	case (from == avro.Int || from == avro.Long) && to == avro.Double:
		node.form = formFloat
	case from == avro.Int && to == avro.Long:
	default:
		return nil, mismatch
	}
	if unit := columnUnit(into); unit > 0 {
		written := unitOf(writer)
		if written == 0 { // a bare number is of the reader's unit
			written = unitOf(into)
		}
		if written > unit {
			node.form, node.multiply = formTime, written/unit
		} else if written < unit {
			node.form, node.divide = formTime, unit/written
		}
	}
	return node, nil
}

// textForm is what becomes of bytes.
func textForm(node *avroNode, writer, reader avro.Schema) error {
	precision, scale, isDecimal := decimalOf(reader)
	wrotePrecision, wroteScale, wasDecimal := decimalOf(writer)
	switch {
	case isDecimal:
		if wasDecimal && (scale != wroteScale || precision != wrotePrecision) {
			return fmt.Errorf("decimal(%d, %d) was written, decimal(%d, %d) is read", wrotePrecision, wroteScale, precision, scale)
		}
		node.form, node.precision = formDecimal, precision
	case reader.Type() == avro.String:
		node.form = formText
	case logicalType(reader) == string(avro.UUID):
		node.form = formUUID
	}
	return nil
}

func enumNode(writer, reader *avro.EnumSchema) *avroNode {
	node := &avroNode{op: avroEnum}
	for _, symbol := range writer.Symbols() {
		switch {
		case slices.Contains(reader.Symbols(), symbol):
			node.symbols = append(node.symbols, []byte(symbol))
		case reader.HasDefault():
			node.symbols = append(node.symbols, []byte(reader.Default()))
		default:
			node.symbols = append(node.symbols, nil)
		}
	}
	return node
}

func (r *avroResolver) record(writer, reader *avro.RecordSchema) (*avroNode, error) {
	node := &avroNode{op: avroRecord, columns: len(reader.Fields())}
	if node.columns == 0 {
		node.form = formThere
	}
	taken := make([]bool, node.columns)
	for _, field := range writer.Fields() {
		column := readerField(reader, field.Name(), taken)
		var inner *avroNode
		var err error
		if column >= 0 {
			taken[column] = true
			inner, err = r.resolve(field.Type(), reader.Fields()[column].Type())
		} else {
			inner, err = r.pass(field.Type())
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field.Name(), err)
		}
		node.steps = append(node.steps, avroStep{node: inner, column: column, name: field.Name()})
	}
	for column, field := range reader.Fields() {
		if taken[column] {
			continue
		}
		written, ok := defaultOfField(field)
		if !ok {
			return nil, fmt.Errorf("%s: it was not written, and has no default", field.Name())
		}
		value, cost, err := defaultCell(field.Type(), written)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field.Name(), err)
		}
		node.defaults = append(node.defaults, avroDefault{column, value, cost})
	}
	return node, nil
}

// readerField finds a writer's field by its name, or by an alias of the reader's.
func readerField(reader *avro.RecordSchema, name string, taken []bool) int {
	for i, field := range reader.Fields() {
		if field.Name() == name {
			return i
		}
	}
	for i, field := range reader.Fields() {
		if !taken[i] && slices.Contains(field.Aliases(), name) {
			return i
		}
	}
	return -1
}

// pass reads what the reader has no column for.
func (r *avroResolver) pass(writer avro.Schema) (*avroNode, error) {
	if err := r.count(); err != nil {
		return nil, err
	}
	switch typed := deref(writer).(type) {
	case *avro.PrimitiveSchema:
		return primitiveNode(typed, typed)
	case *avro.FixedSchema:
		return &avroNode{op: avroFixed, size: typed.Size()}, nil
	case *avro.EnumSchema:
		return enumNode(typed, typed), nil
	case *avro.ArraySchema:
		item, err := r.pass(typed.Items())
		return &avroNode{op: avroArray, item: item}, err
	case *avro.MapSchema:
		item, err := r.pass(typed.Values())
		return &avroNode{op: avroMap, item: item}, err
	case *avro.UnionSchema:
		node := &avroNode{op: avroUnion}
		for _, branch := range typed.Types() {
			inner, err := r.pass(branch)
			if err != nil {
				return nil, err
			}
			node.branches = append(node.branches, inner)
		}
		return node, nil
	case *avro.RecordSchema:
		if node, ok := r.passed[typed.FullName()]; ok {
			return node, nil
		}
		node := &avroNode{op: avroRecord}
		r.passed[typed.FullName()] = node
		for _, field := range typed.Fields() {
			inner, err := r.pass(field.Type())
			if err != nil {
				return nil, err
			}
			node.steps = append(node.steps, avroStep{node: inner, column: -1, name: field.Name()})
		}
		return node, nil
	}
	return &avroNode{op: avroNull}, nil
}
