package serde

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/sr"
)

// avroCodec reads data of a writer's schema into the columns of the reader's.
type avroCodec struct {
	columns []arrow.Field
	record  bool      // the columns are its fields
	given   *avroNode // without a registry
	writers *writers[*avroNode]
}

func newAvroCodec(ctx context.Context, o *Options) (codec, error) {
	doc, err := readerSchema(ctx, o, sr.TypeAvro)
	if err != nil {
		return nil, err
	}
	const mend = "give the schema to be read under schema, without those fields"
	schema, err := parseAvro(doc)
	if err != nil {
		return nil, invalid("", "%s of the %s: %w", doc.name, o.what(), err)
	}
	dataType, err := (&avroColumns{}).typeOf(schema, 0)
	if err != nil {
		return nil, invalid(mend, "%s of the %s: %w", doc.name, o.what(), err)
	}
	out := &avroCodec{columns: []arrow.Field{nullable(o.column(), dataType)}}
	if structure, ok := dataType.(*arrow.StructType); ok && schema.Type() == avro.Record {
		out.columns, out.record = structure.Fields(), true
	}
	if o.Registry != nil {
		out.writers = &writers[*avroNode]{
			registry: o.Registry, kind: sr.TypeAvro, reader: doc.name,
			resolve: func(_ context.Context, doc *document) (*avroNode, error) {
				writer, err := parseAvro(doc)
				if err != nil {
					return nil, err
				}
				return resolveAvro(writer, schema)
			},
		}
		return out, nil
	}
	if out.given, err = resolveAvro(schema, schema); err != nil {
		return nil, invalid(mend, "%s of the %s: %w", doc.name, o.what(), err)
	}
	return out, nil
}

func (c *avroCodec) fields() []arrow.Field { return c.columns }

func (c *avroCodec) read(ctx context.Context, a *arena, data []byte) ([]cell, error) {
	node := c.given
	if c.writers != nil {
		id, payload, err := unframe(data)
		if err != nil {
			return nil, err
		}
		if node, err = c.writers.find(ctx, id); err != nil {
			return nil, err
		}
		data = payload
	}
	row, err := a.take(1)
	if err != nil {
		return nil, err
	}
	d := avroData{data: data, arena: a}
	if err := d.read(node, &row[0], 0); err != nil {
		return nil, err
	}
	if len(d.data) > 0 {
		return nil, errors.New("bytes follow the record: it was written with another schema")
	}
	if c.record {
		return row[0].cells, nil
	}
	return row, nil
}

// parseAvro reads a schema, and before it those that it refers to.
func parseAvro(doc *document) (avro.Schema, error) {
	cache := &avro.SchemaCache{}
	seen := map[*document]bool{}
	var parse func(doc *document) (avro.Schema, error)
	parse = func(doc *document) (avro.Schema, error) {
		for _, each := range doc.references {
			if seen[each.to] {
				continue
			}
			seen[each.to] = true
			if _, err := parse(each.to); err != nil {
				return nil, err
			}
		}
		return avro.ParseBytesWithCache(setDefaultsAside(doc.text), "", cache)
	}
	return parse(doc)
}

// deref is the schema that a name stands for.
func deref(schema avro.Schema) avro.Schema {
	if ref, ok := schema.(*avro.RefSchema); ok {
		return ref.Schema()
	}
	return schema
}

// The logical types that the library does not know by itself.
const (
	timestampNanos      = "timestamp-nanos"
	localTimestampNanos = "local-timestamp-nanos"
)

// logicalType is "" where there is none that the columns tell apart.
func logicalType(schema avro.Schema) string {
	if with, ok := schema.(avro.LogicalTypeSchema); ok && with.Logical() != nil {
		return string(with.Logical().Type())
	}
	with, ok := schema.(avro.PropertySchema)
	if !ok {
		return ""
	}
	name, _ := with.Prop("logicalType").(string)
	fixed, isFixed := schema.(*avro.FixedSchema)
	switch {
	case schema.Type() == avro.Long && (name == timestampNanos || name == localTimestampNanos),
		isFixed && fixed.Size() == 16 && name == string(avro.UUID):
		return name
	}
	return ""
}

// decimalOf returns the digits of a decimal.
func decimalOf(schema avro.Schema) (precision, scale int32, ok bool) {
	with, ok := schema.(avro.LogicalTypeSchema)
	if !ok {
		return 0, 0, false
	}
	logical, ok := with.Logical().(*avro.DecimalLogicalSchema)
	if !ok {
		return 0, 0, false
	}
	return int32(min(logical.Precision(), maxPrecision+1)), int32(min(logical.Scale(), maxPrecision+1)), true //nolint:gosec // bounded
}

// branches are those of a union that are not null, whether null is one, and whether it is a union at all.
func branches(schema avro.Schema) (others []avro.Schema, null, union bool) {
	typed, union := schema.(*avro.UnionSchema)
	if !union {
		return nil, false, false
	}
	for _, branch := range typed.Types() {
		if branch = deref(branch); branch.Type() == avro.Null {
			null = true
			continue
		}
		others = append(others, branch)
	}
	return others, null, true
}

// avroColumns turns the reader's schema into types.
type avroColumns struct {
	path    []string // the records around
	columns int
}

func (r *avroColumns) typeOf(schema avro.Schema, depth int) (arrow.DataType, error) {
	if r.columns++; r.columns > maxColumns || depth > maxDepth {
		return nil, fmt.Errorf("it has more than %d columns, or nests deeper than %d", maxColumns, maxDepth)
	}
	switch typed := deref(schema).(type) {
	case *avro.NullSchema:
		return arrow.BinaryTypes.String, nil // nothing but NULL
	case *avro.PrimitiveSchema:
		return primitiveType(typed)
	case *avro.FixedSchema:
		if precision, scale, ok := decimalOf(typed); ok {
			return checkedDecimal(precision, scale)
		}
		if logicalType(typed) == string(avro.UUID) {
			return arrow.BinaryTypes.String, nil
		}
		return arrow.BinaryTypes.Binary, nil
	case *avro.EnumSchema:
		return arrow.BinaryTypes.String, nil
	case *avro.ArraySchema:
		element, err := r.typeOf(typed.Items(), depth+1)
		if err != nil {
			return nil, err
		}
		return arrow.ListOf(element), nil
	case *avro.MapSchema:
		item, err := r.typeOf(typed.Values(), depth+1)
		if err != nil {
			return nil, err
		}
		return mapType(item), nil
	case *avro.UnionSchema:
		return r.union(typed, depth)
	case *avro.RecordSchema:
		return r.record(typed, depth)
	}
	return nil, fmt.Errorf("the type %s is not known", schema.Type())
}

func primitiveType(schema *avro.PrimitiveSchema) (arrow.DataType, error) {
	switch logicalType(schema) {
	case string(avro.Decimal):
		precision, scale, _ := decimalOf(schema)
		return checkedDecimal(precision, scale)
	case string(avro.Date):
		return arrow.FixedWidthTypes.Date32, nil
	case string(avro.TimeMillis), string(avro.TimeMicros):
		return arrow.PrimitiveTypes.Int64, nil
	case string(avro.TimestampMillis), string(avro.TimestampMicros), timestampNanos:
		return timestampType(), nil
	case string(avro.LocalTimestampMillis), string(avro.LocalTimestampMicros), localTimestampNanos:
		return localTimestampType(), nil
	}
	switch schema.Type() { //nolint:exhaustive // the primitive ones
	case avro.String:
		return arrow.BinaryTypes.String, nil
	case avro.Bytes:
		return arrow.BinaryTypes.Binary, nil
	case avro.Int:
		return arrow.PrimitiveTypes.Int32, nil
	case avro.Long:
		return arrow.PrimitiveTypes.Int64, nil
	case avro.Float:
		return arrow.PrimitiveTypes.Float32, nil
	case avro.Double:
		return arrow.PrimitiveTypes.Float64, nil
	case avro.Boolean:
		return arrow.FixedWidthTypes.Boolean, nil
	}
	return nil, fmt.Errorf("the type %s is not known", schema.Type())
}

func checkedDecimal(precision, scale int32) (arrow.DataType, error) {
	if precision > maxPrecision {
		return nil, fmt.Errorf("a decimal has more than the %d digits that a table's column can have", maxPrecision)
	}
	return decimalType(precision, scale), nil
}

func (r *avroColumns) union(schema *avro.UnionSchema, depth int) (arrow.DataType, error) {
	others, _, _ := branches(schema)
	switch len(others) {
	case 0:
		return arrow.BinaryTypes.String, nil
	case 1:
		return r.typeOf(others[0], depth)
	}
	fields := make([]arrow.Field, len(others))
	for i, branch := range others {
		member, err := r.typeOf(branch, depth+1)
		if err != nil {
			return nil, err
		}
		fields[i] = nullable("member"+strconv.Itoa(i), member) // as Spark calls them
	}
	return arrow.StructOf(fields...), nil
}

func (r *avroColumns) record(schema *avro.RecordSchema, depth int) (arrow.DataType, error) {
	if slices.Contains(r.path, schema.FullName()) {
		return nil, fmt.Errorf("the record %s holds itself, so its columns have no end", schema.FullName())
	}
	r.path = append(r.path, schema.FullName())
	defer func() { r.path = r.path[:len(r.path)-1] }()
	if len(schema.Fields()) == 0 {
		return arrow.FixedWidthTypes.Boolean, nil
	}
	fields := make([]arrow.Field, len(schema.Fields()))
	for i, field := range schema.Fields() {
		member, err := r.typeOf(field.Type(), depth+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field.Name(), err)
		}
		fields[i] = nullable(field.Name(), member)
	}
	return arrow.StructOf(fields...), nil
}
