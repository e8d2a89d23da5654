package parquet

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/encoding"

	"github.com/inflowhq/inflow/schemas"
)

// maxDepth bounds nesting, in written and in read schemas.
const maxDepth = 32

// column is one node of the tree of columns: a leaf, a struct, a list or a map.
type column struct {
	name     string
	path     string // dotted, "error.code", for messages
	kind     columnKind
	nullable bool
	// def and rep are the levels of a value that is there: of a list, of an element that is there.
	def, rep int
	children []*column // a list has its element, a map its key and its value
	leaf     *leaf     // of a leaf alone
	entries  []entry   // scratch for the children
	stats    *statistics
}

type columnKind uint8

const (
	leafColumn columnKind = iota
	structColumn
	listColumn
	mapColumn
)

// tree collects the leaves while a schema becomes Parquet nodes.
type tree struct {
	options WriterOptions
	leaves  []*column
	paths   [][]string // of the leaves
}

// fields turns the fields below one parent into nodes and columns.
func (t *tree) fields(fields []arrow.Field, parent []string, top string, def, rep int) (group, []*column, error) {
	if len(fields) == 0 {
		return group{}, nil, fmt.Errorf("parquet: %s has no fields, which Parquet cannot hold: %w", describe(parent), schemas.ErrInvalid)
	}
	nodes := group{fields: make([]pq.Field, 0, len(fields))}
	columns := make([]*column, 0, len(fields))
	seen := make(map[string]bool, len(fields))
	for i := range fields {
		field := &fields[i]
		if seen[field.Name] {
			return group{}, nil, fmt.Errorf("parquet: column %q stands twice in %s: %w", field.Name, describe(parent), schemas.ErrInvalid)
		}
		seen[field.Name] = true
		under := top
		if len(parent) == 0 {
			under = field.Name
		}
		node, col, err := t.field(field, field.Name, parent, parent, under, def, rep)
		if err != nil {
			return group{}, nil, err
		}
		nodes.fields = append(nodes.fields, groupField{Node: node, name: field.Name})
		columns = append(columns, col)
	}
	return nodes, columns, nil
}

// field turns one field into a node. above is the path in the Parquet schema, shown the one that people see:
// the groups between a list and its elements are left out there.
func (t *tree) field(field *arrow.Field, name string, above, shown []string, top string, def, rep int) (pq.Node, *column, error) {
	path := append(slices.Clip(above), name)
	shown = append(slices.Clip(shown), name)
	if len(path) > maxDepth {
		return nil, nil, fmt.Errorf("parquet: %s is nested deeper than %d levels: %w", describe(shown), maxDepth, schemas.ErrInvalid)
	}
	col := &column{name: name, path: dotted(shown), nullable: field.Nullable, def: def, rep: rep}
	if field.Nullable {
		col.def++
	}
	var node pq.Node
	switch dataType := field.Type.(type) {
	case *arrow.StructType:
		col.kind = structColumn
		nodes, children, err := t.fields(dataType.Fields(), path, top, col.def, rep)
		if err != nil {
			return nil, nil, err
		}
		node, col.children = nodes, children
	case *arrow.ListType:
		col.kind, col.def, col.rep = listColumn, col.def+1, rep+1
		element := dataType.ElemField()
		inner, child, err := t.field(&element, "element", append(slices.Clip(path), "list"), shown, top, col.def, col.rep)
		if err != nil {
			return nil, nil, err
		}
		node, col.children = pq.List(inner), []*column{child}
		col.stats = &statistics{}
	case *arrow.MapType:
		col.kind, col.def, col.rep = mapColumn, col.def+1, rep+1
		entries := append(slices.Clip(path), "key_value")
		keyField, valueField := dataType.KeyField(), dataType.ItemField()
		keyField.Nullable = false
		key, keyColumn, err := t.field(&keyField, "key", entries, shown, top, col.def, col.rep)
		if err != nil {
			return nil, nil, err
		}
		value, valueColumn, err := t.field(&valueField, "value", entries, shown, top, col.def, col.rep)
		if err != nil {
			return nil, nil, err
		}
		node, col.children = pq.Map(key, value), []*column{keyColumn, valueColumn}
		col.stats = &statistics{}
	default:
		leafNode, lf, err := newLeaf(field.Type)
		if err != nil {
			return nil, nil, fmt.Errorf("parquet: column %s: %w", describe(shown), err)
		}
		lf.index, lf.nulls = len(t.leaves), make(map[uint8][]pq.Value)
		lf.silent = t.options.NoStatistics != nil && t.options.NoStatistics(top)
		node, col.leaf = leafNode, lf
		if t.options.dictionary(top, field.Type) {
			node = pq.Encoded(node, &pq.RLEDictionary)
		} else {
			node = pq.Encoded(node, &pq.Plain)
		}
		t.leaves, t.paths = append(t.leaves, col), append(t.paths, path)
		col.stats = newStatistics(field.Type, lf.silent)
	}
	if rep > 0 {
		col.stats = nil // inside a list or map there is no value a row
	}
	if field.Nullable {
		node = pq.Optional(node)
	} else {
		node = pq.Required(node)
	}
	return node, col, nil
}

// SameType compares types without nullability, metadata and the names that lists and maps give their elements:
// none of them changes how a value is written.
func SameType(a, b arrow.DataType) bool {
	switch typed := a.(type) {
	case *arrow.StructType:
		other, ok := b.(*arrow.StructType)
		return ok && slices.EqualFunc(typed.Fields(), other.Fields(), func(x, y arrow.Field) bool {
			return x.Name == y.Name && SameType(x.Type, y.Type)
		})
	case *arrow.ListType:
		other, ok := b.(*arrow.ListType)
		return ok && SameType(typed.Elem(), other.Elem())
	case *arrow.MapType:
		other, ok := b.(*arrow.MapType)
		return ok && SameType(typed.KeyType(), other.KeyType()) && SameType(typed.ItemType(), other.ItemType())
	default:
		return arrow.TypeEqual(a, b)
	}
}

func dotted(path []string) string { return strings.Join(path, ".") }

func describe(path []string) string {
	if len(path) == 0 {
		return "the schema"
	}
	return dotted(path)
}

// group is a Parquet group whose fields keep their order; the library's own sorts them by name.
type group struct{ fields []pq.Field }

func (group) ID() int                     { return 0 }
func (group) String() string              { return "group" }
func (group) Type() pq.Type               { return pq.Group{}.Type() }
func (group) Optional() bool              { return false }
func (group) Repeated() bool              { return false }
func (group) Required() bool              { return true }
func (group) Leaf() bool                  { return false }
func (g group) Fields() []pq.Field        { return g.fields }
func (group) Encoding() encoding.Encoding { return nil }
func (group) Compression() compress.Codec { return nil }
func (group) GoType() reflect.Type        { return reflect.TypeFor[map[string]any]() }

type groupField struct {
	pq.Node
	name string
}

func (f groupField) Name() string { return f.name }

// Value is never called: no Go values are written.
func (groupField) Value(reflect.Value) reflect.Value { return reflect.Value{} }
