package serde

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/inflowhq/inflow/schemas"
)

// NewEncoder makes the format's schema of the columns, nil for all, and registers it under the subject where there is a
// registry. Column names must be ones that the format can have.
//
// Protobuf numbers fields by the order of the columns and knows no difference between a NULL list or map and an empty
// one, no NULL in them, and no list of lists.
func NewEncoder(ctx context.Context, o Options, schema *arrow.Schema, columns []string) (Encoder, error) {
	if o.Schema != "" {
		return nil, invalid("leave the schema out: what is written has the schema of the columns", "the %s have a schema of their own", o.what())
	}
	if err := o.checkWritten(); err != nil {
		return nil, err
	}
	out := &encoder{op: "kafka: encode the " + o.part()}
	if err := out.pick(schema, columns); err != nil {
		return nil, invalid("", "the %s: %w", o.what(), err)
	}
	if err := checkColumns(out.fields, false); err != nil {
		return nil, invalid("name the columns that are to be written", "the %s: %w", o.what(), err)
	}
	var kind sr.SchemaType
	var text string
	var err error
	switch o.Format {
	case Text, Bytes:
		out.rows, err = newPlainRows(&o, out.fields)
	case JSON:
		out.rows = jsonRows{out.fields, false}
	case JSONSchema:
		kind = sr.TypeJSON
		text = writeJSONSchema(out.fields)
		out.rows = jsonRows{out.fields, true}
	case Avro:
		kind = sr.TypeAvro
		out.rows, text, err = newAvroRows(&o, out.fields)
	case Protobuf:
		kind = sr.TypeProtobuf
		out.rows, text, err = newProtobufRows(ctx, &o, out.fields)
	}
	if err != nil {
		return nil, err
	}
	if o.Registry != nil && text != "" {
		id, err := o.Registry.register(ctx, o.subject(), kind, text)
		if err != nil {
			return nil, err
		}
		out.prefix = appendFrame(nil, id)
		if o.Format == Protobuf {
			out.prefix = append(out.prefix, 0) // the first message
		}
	}
	return out, nil
}

func (o *Options) checkWritten() error {
	written := *o
	if written.Registry == nil && written.Format != Text && written.Format != Bytes {
		written.Schema = "columns" // the encoder's own
	}
	return written.check()
}

// rows writes the columns of one row. It is safe for concurrent use.
type rows interface {
	appendRow(buf []byte, columns []arrow.Array, row int) ([]byte, error)
}

type encoder struct {
	op      string
	fields  []arrow.Field
	indices []int
	rows    rows
	prefix  []byte
	checked atomic.Pointer[arrow.Schema] // has these columns
}

// pick finds the columns, and that all of their types can be written.
func (e *encoder) pick(schema *arrow.Schema, columns []string) error {
	if columns == nil {
		for _, field := range schema.Fields() {
			columns = append(columns, field.Name)
		}
	}
	if len(columns) == 0 {
		return errors.New("there are no columns to write")
	}
	for _, name := range columns {
		found := schema.FieldIndices(name)
		if len(found) != 1 {
			return fmt.Errorf("there is no column %q, or it stands twice; there are %s", name, fieldNames(schema))
		}
		field := schema.Field(found[0])
		if err := checkWritable(field.Type); err != nil {
			return fmt.Errorf("column %s: %w", name, err)
		}
		e.fields, e.indices = append(e.fields, field), append(e.indices, found[0])
	}
	return nil
}

func fieldNames(schema *arrow.Schema) string {
	names := make([]string, 0, schema.NumFields())
	for _, field := range schema.Fields() {
		names = append(names, field.Name)
	}
	return strings.Join(names, ", ")
}

func checkWritable(dataType arrow.DataType) error {
	switch typed := dataType.(type) {
	case *arrow.BooleanType, *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Int64Type, *arrow.Float32Type,
		*arrow.Float64Type, *arrow.StringType, *arrow.LargeStringType, *arrow.BinaryType, *arrow.LargeBinaryType,
		*arrow.Date32Type, *arrow.TimestampType:
		return nil
	case *arrow.Decimal128Type:
		if typed.Precision < 1 || typed.Scale < 0 || typed.Scale > typed.Precision {
			return fmt.Errorf("the type %s is none that tables have", typed)
		}
		return nil
	case *arrow.StructType:
		if typed.NumFields() == 0 {
			return errors.New("a STRUCT has no fields")
		}
		for _, field := range typed.Fields() {
			if err := checkWritable(field.Type); err != nil {
				return fmt.Errorf("%s: %w", field.Name, err)
			}
		}
		return nil
	case *arrow.MapType: // before the lists, which it also is
		if key := typed.KeyType().ID(); key != arrow.STRING && key != arrow.LARGE_STRING {
			return errors.New("a MAP has keys that are not STRING")
		}
		return checkWritable(typed.ItemType())
	case *arrow.ListType:
		return checkWritable(typed.Elem())
	}
	return fmt.Errorf("the type %s cannot be written", dataType)
}

func (e *encoder) Encode(_ context.Context, record arrow.Record, row int) ([]byte, error) {
	if err := e.check(record.Schema()); err != nil {
		return nil, err
	}
	var few [32]arrow.Array
	columns := few[:0]
	for _, at := range e.indices {
		columns = append(columns, record.Column(at))
	}
	const usual = 256 // bytes: most rows need no second try
	buf := append(make([]byte, 0, len(e.prefix)+usual), e.prefix...)
	out, err := e.rows.appendRow(buf, columns, row)
	if err != nil {
		return nil, &schemas.Error{Op: e.op, Class: schemas.Rejected, Code: CodeUnencodable, Err: err}
	}
	return out, nil
}

// check makes sure that the record has the columns that the encoder was made for.
func (e *encoder) check(schema *arrow.Schema) error {
	if e.checked.Load() == schema {
		return nil
	}
	for i, at := range e.indices {
		if at >= schema.NumFields() || schema.Field(at).Name != e.fields[i].Name || !arrow.TypeEqual(schema.Field(at).Type, e.fields[i].Type) {
			return fmt.Errorf("%s: the record is not of the schema that the encoder was made for: column %s", e.op, e.fields[i].Name)
		}
	}
	e.checked.Store(schema)
	return nil
}

// textAt is a string's or a binary's bytes as a string.
func textAt(column arrow.Array, row int) string {
	switch typed := column.(type) {
	case *array.String:
		return typed.Value(row)
	case *array.LargeString:
		return typed.Value(row)
	case *array.Binary:
		return typed.ValueString(row)
	case *array.LargeBinary:
		return typed.ValueString(row)
	}
	return ""
}

// checkedText refuses text that is none.
func checkedText(column arrow.Array, row int) (string, error) {
	value := textAt(column, row)
	if !utf8.ValidString(value) {
		return "", errNotUTF8()
	}
	return value, nil
}

func isText(dataType arrow.DataType) bool {
	return dataType.ID() == arrow.STRING || dataType.ID() == arrow.LARGE_STRING
}

func isBinary(dataType arrow.DataType) bool {
	return dataType.ID() == arrow.BINARY || dataType.ID() == arrow.LARGE_BINARY
}

// integerAt is the value of an integer or date column.
func integerAt(column arrow.Array, row int) int64 {
	switch typed := column.(type) {
	case *array.Int8:
		return int64(typed.Value(row))
	case *array.Int16:
		return int64(typed.Value(row))
	case *array.Int32:
		return int64(typed.Value(row))
	case *array.Int64:
		return typed.Value(row)
	case *array.Date32:
		return int64(typed.Value(row))
	}
	return 0
}

// microsAt is a time in microseconds since 1970, whatever the column's unit.
func microsAt(column *array.Timestamp, row int) (int64, error) {
	value := int64(column.Value(row))
	timestamp, ok := column.DataType().(*arrow.TimestampType)
	if !ok {
		return value, nil
	}
	switch timestamp.Unit {
	case arrow.Second:
		return scaleTime(value, 1_000_000, 1)
	case arrow.Millisecond:
		return scaleTime(value, 1000, 1)
	case arrow.Nanosecond:
		return scaleTime(value, 1, 1000)
	case arrow.Microsecond:
	}
	return value, nil
}

func isLocal(dataType arrow.DataType) bool {
	timestamp, ok := dataType.(*arrow.TimestampType)
	return ok && timestamp.TimeZone == ""
}

// errNull is a NULL in a column that says it has none.
func errNull() error { return errors.New("NULL in a column that is NOT NULL") }

// plainRows writes one column as it is.
type plainRows struct{ text bool }

func newPlainRows(o *Options, fields []arrow.Field) (rows, error) {
	if len(fields) != 1 {
		return nil, invalid("name one column, or use json", "the %s are %s and have %d columns", o.what(), o.Format, len(fields))
	}
	dataType := fields[0].Type
	nested := arrow.IsNested(dataType.ID())
	if o.Format == Text && (nested || isBinary(dataType)) || o.Format == Bytes && !isText(dataType) && !isBinary(dataType) {
		return nil, invalid("name another column, or use json", "the column %s is of %s, which is not written as %s", fields[0].Name, dataType, o.Format)
	}
	return plainRows{o.Format == Text}, nil
}

func (p plainRows) appendRow(buf []byte, columns []arrow.Array, row int) ([]byte, error) {
	column := columns[0]
	switch {
	case column.IsNull(row):
		return nil, nil //nolint:nilnil // a null key or value
	case !p.text:
		return append(buf, textAt(column, row)...), nil
	case isText(column.DataType()):
		value, err := checkedText(column, row)
		return append(buf, value...), err
	}
	return appendScalar(buf, column, row)
}
