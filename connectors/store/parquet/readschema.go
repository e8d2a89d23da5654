package parquet

import (
	"errors"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	apq "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/schema"
)

// readColumn is one node of the tree of columns that a file has.
type readColumn struct {
	field arrow.Field
	kind  columnKind
	// def and rep are the levels of a value that is there: of a list, of an element that is there.
	def, rep int
	// slotDef is the least definition level at which the surrounding list has a place for this column at all,
	// and slotRep that list's repetition level; both 0 outside lists.
	slotDef, slotRep int
	children         []*readColumn
	leaf             int // position among the file's leaves, of the first leaf below for a nested column
	node             *schema.PrimitiveNode
}

// schemaReader walks a file's schema.
type schemaReader struct{ leaves int }

// column reads one node. slotDef and slotRep are those of its places; def the level of its parent.
func (s *schemaReader) column(node schema.Node, def, slotDef, slotRep, depth int) (*readColumn, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("column %s is nested deeper than %d levels", node.Path(), maxDepth)
	}
	if node.RepetitionType() == apq.Repetitions.Repeated {
		// The oldest form of a list: the repeated field itself.
		element, err := s.value(node, def+1, def+1, slotRep+1, depth)
		if err != nil {
			return nil, err
		}
		return listOf(node.Name(), false, element, def+1, slotDef, slotRep), nil
	}
	if node.RepetitionType() == apq.Repetitions.Optional {
		def++
	}
	return s.value(node, def, slotDef, slotRep, depth)
}

func listOf(name string, nullable bool, element *readColumn, def, slotDef, slotRep int) *readColumn {
	return &readColumn{
		field: arrow.Field{Name: name, Nullable: nullable, Type: arrow.ListOfField(arrow.Field{Name: "element", Type: element.field.Type, Nullable: element.field.Nullable})},
		kind:  listColumn, def: def, rep: slotRep + 1, slotDef: slotDef, slotRep: slotRep,
		children: []*readColumn{element}, leaf: element.leaf,
	}
}

// value reads a node whose own optionality def counts already; its repetition is the caller's matter.
func (s *schemaReader) value(node schema.Node, def, slotDef, slotRep, depth int) (*readColumn, error) {
	col := &readColumn{
		field: arrow.Field{Name: node.Name(), Nullable: node.RepetitionType() == apq.Repetitions.Optional},
		def:   def, rep: slotRep, slotDef: slotDef, slotRep: slotRep, leaf: s.leaves,
	}
	if primitive, ok := node.(*schema.PrimitiveNode); ok {
		dataType, err := arrowType(primitive)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", node.Path(), err)
		}
		s.leaves++
		col.node, col.field.Type = primitive, dataType
		return col, nil
	}
	group, ok := node.(*schema.GroupNode)
	if !ok || group.NumFields() == 0 {
		return nil, fmt.Errorf("column %s has no fields", node.Path())
	}
	switch group.LogicalType().(type) {
	case schema.ListLogicalType, *schema.ListLogicalType:
		return s.list(group, col, depth)
	case schema.MapLogicalType, *schema.MapLogicalType:
		return s.mapping(group, col, depth)
	}
	col.kind = structColumn
	fields := make([]arrow.Field, 0, group.NumFields())
	for i := range group.NumFields() {
		child, err := s.column(group.Field(i), def, slotDef, slotRep, depth+1)
		if err != nil {
			return nil, err
		}
		col.children, fields = append(col.children, child), append(fields, child.field)
	}
	col.field.Type = arrow.StructOf(fields...)
	return col, nil
}

// list reads a LIST group: three levels, or two as older writers made them (parquet-format, LogicalTypes.md).
func (s *schemaReader) list(group *schema.GroupNode, col *readColumn, depth int) (*readColumn, error) {
	if group.NumFields() != 1 || group.Field(0).RepetitionType() != apq.Repetitions.Repeated {
		return nil, fmt.Errorf("list %s has not one repeated field", group.Path())
	}
	repeated := group.Field(0)
	var element *readColumn
	var err error
	middle, ok := repeated.(*schema.GroupNode)
	if ok && middle.NumFields() == 1 && middle.Name() != "array" && middle.Name() != group.Name()+"_tuple" {
		element, err = s.column(middle.Field(0), col.def+1, col.def+1, col.slotRep+1, depth+2)
	} else {
		element, err = s.value(repeated, col.def+1, col.def+1, col.slotRep+1, depth+1)
	}
	if err != nil {
		return nil, err
	}
	return listOf(group.Name(), col.field.Nullable, element, col.def+1, col.slotDef, col.slotRep), nil
}

func (s *schemaReader) mapping(group *schema.GroupNode, col *readColumn, depth int) (*readColumn, error) {
	if group.NumFields() != 1 || group.Field(0).RepetitionType() != apq.Repetitions.Repeated {
		return nil, fmt.Errorf("map %s has not one repeated field", group.Path())
	}
	pair, ok := group.Field(0).(*schema.GroupNode)
	if !ok || pair.NumFields() != 2 {
		return nil, fmt.Errorf("map %s has not a key and a value", group.Path())
	}
	col.kind, col.def, col.rep = mapColumn, col.def+1, col.slotRep+1
	for i := range 2 {
		child, err := s.column(pair.Field(i), col.def, col.def, col.rep, depth+2)
		if err != nil {
			return nil, err
		}
		col.children = append(col.children, child)
	}
	dataType := arrow.MapOf(col.children[0].field.Type, col.children[1].field.Type)
	dataType.SetItemNullable(col.children[1].field.Nullable)
	col.field.Type = dataType
	return col, nil
}

// arrowType is the Arrow type of a leaf: every timestamp in microseconds, no dictionary, nothing large.
func arrowType(node *schema.PrimitiveNode) (arrow.DataType, error) {
	logical := node.LogicalType()
	switch typed := logical.(type) {
	case schema.DecimalLogicalType:
		return decimalType(typed.Precision(), typed.Scale())
	case *schema.DecimalLogicalType:
		return decimalType(typed.Precision(), typed.Scale())
	case *schema.TimeLogicalType:
		return timeType(node.PhysicalType(), typed)
	case *schema.TimestampLogicalType:
		if node.PhysicalType() != apq.Types.Int64 {
			return nil, errors.New("a timestamp that is no INT64")
		}
		if !typed.IsAdjustedToUTC() {
			return &arrow.TimestampType{Unit: arrow.Microsecond}, nil
		}
		return arrow.FixedWidthTypes.Timestamp_us, nil
	case *schema.IntLogicalType:
		return intType(node.PhysicalType(), typed)
	}
	switch node.PhysicalType() {
	case apq.Types.Boolean:
		return arrow.FixedWidthTypes.Boolean, nil
	case apq.Types.Int32:
		if isDate(logical) {
			return arrow.FixedWidthTypes.Date32, nil
		}
		return arrow.PrimitiveTypes.Int32, nil
	case apq.Types.Int64:
		return arrow.PrimitiveTypes.Int64, nil
	case apq.Types.Int96: // only ever used for instants
		return arrow.FixedWidthTypes.Timestamp_us, nil
	case apq.Types.Float:
		return arrow.PrimitiveTypes.Float32, nil
	case apq.Types.Double:
		return arrow.PrimitiveTypes.Float64, nil
	case apq.Types.ByteArray:
		switch logical.(type) {
		case schema.StringLogicalType, *schema.StringLogicalType, schema.EnumLogicalType, *schema.EnumLogicalType, schema.JSONLogicalType, *schema.JSONLogicalType:
			return arrow.BinaryTypes.String, nil
		}
		return arrow.BinaryTypes.Binary, nil
	case apq.Types.FixedLenByteArray:
		return arrow.BinaryTypes.Binary, nil
	default:
		return nil, fmt.Errorf("type %s is not known", node.PhysicalType())
	}
}

func isDate(logical schema.LogicalType) bool {
	switch logical.(type) {
	case schema.DateLogicalType, *schema.DateLogicalType:
		return true
	}
	return false
}

func decimalType(precision, scale int32) (arrow.DataType, error) {
	if precision < 1 || precision > 38 || scale < 0 || scale > precision {
		return nil, fmt.Errorf("DECIMAL(%d,%d) is not supported, at most 38 digits are", precision, scale)
	}
	return &arrow.Decimal128Type{Precision: precision, Scale: scale}, nil
}

func timeType(physical apq.Type, logical *schema.TimeLogicalType) (arrow.DataType, error) {
	switch {
	case physical == apq.Types.Int32 && logical.TimeUnit() == schema.TimeUnitMillis:
		return arrow.FixedWidthTypes.Time32ms, nil
	case physical == apq.Types.Int64 && logical.TimeUnit() == schema.TimeUnitMicros:
		return arrow.FixedWidthTypes.Time64us, nil
	case physical == apq.Types.Int64 && logical.TimeUnit() == schema.TimeUnitNanos:
		return arrow.FixedWidthTypes.Time64ns, nil
	}
	return nil, fmt.Errorf("%s in %s is not known", logical, physical)
}

func intType(physical apq.Type, logical *schema.IntLogicalType) (arrow.DataType, error) {
	if physical == apq.Types.Int64 != (logical.BitWidth() == 64) || physical != apq.Types.Int64 && physical != apq.Types.Int32 {
		return nil, fmt.Errorf("%s in %s is not known", logical, physical)
	}
	signed := logical.IsSigned()
	switch logical.BitWidth() {
	case 8:
		return pick(signed, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Uint8), nil
	case 16:
		return pick(signed, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Uint16), nil
	case 32:
		return pick(signed, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Uint32), nil
	case 64:
		return pick(signed, arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint64), nil
	}
	return nil, fmt.Errorf("%s is not known", logical)
}

func pick(signed bool, yes, no arrow.DataType) arrow.DataType {
	if signed {
		return yes
	}
	return no
}
