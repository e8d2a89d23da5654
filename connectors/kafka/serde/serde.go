package serde

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/inflowhq/inflow/schemas"
)

// Decoder turns keys or values into columns.
type Decoder interface {
	// Fields are the columns, all nullable.
	Fields() []arrow.Field
	// Append adds one record's fields to the builders, one for each field, or adds nothing and returns an error: Rejected
	// with the code "undecodable" where the bytes are at fault, Transient where the registry could not be asked. It blocks
	// on the registry for a schema not seen before. It keeps nothing of data. It is not safe for concurrent use.
	Append(ctx context.Context, data []byte, columns []array.Builder) error
	// Clone returns one that another goroutine may use beside it; they share what they know of schemas.
	Clone() Decoder
}

// Encoder turns a row of a record into bytes. It is safe for concurrent use.
type Encoder interface {
	// Encode fails with a Rejected error where the row has a value that the format has no form for.
	Encode(ctx context.Context, record arrow.Record, row int) ([]byte, error)
}

// Format is how keys or values are written.
type Format string

// The formats.
const (
	JSON       Format = "json"        // an object; without a Schema, any JSON text
	JSONSchema Format = "json_schema" // JSON that a schema describes
	Avro       Format = "avro"
	Protobuf   Format = "protobuf"
	Text       Format = "text" // UTF-8
	Bytes      Format = "bytes"
)

// CodeUndecodable is the code of a record whose bytes are at fault.
const CodeUndecodable = "undecodable"

// CodeUnencodable is the code of a row that the format has no form for.
const CodeUnencodable = "unencodable"

// Options say how keys or values are written.
type Options struct {
	Format Format
	// Registry holds the schemas, and makes Avro, Protobuf and JSON Schema expect its wire format. Nil: the bytes are bare,
	// and Schema says what they are. Other formats have no use for it.
	Registry *Registry
	Topic    string // for the default subject, <topic>-value or <topic>-key
	Key      bool
	Subject  string // instead of the default
	Version  int    // of the subject; 0: the latest
	// Schema says what is read, instead of the subject: columns in DDL for json ("ticket_id BIGINT, tags ARRAY<STRING>"),
	// an Avro schema, a .proto file, a JSON Schema. An Encoder makes its own.
	Schema  string
	Message string // of Protobuf, by its full name; empty: the first of the file
}

// NewDecoder asks the registry for the schema, where it is not given, and fixes the columns.
func NewDecoder(ctx context.Context, o Options) (Decoder, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var read codec
	var err error
	switch o.Format {
	case Text:
		read = textCodec{o.column()}
	case Bytes:
		read = bytesCodec{o.column()}
	case JSON:
		read, err = newJSONCodec(&o)
	case JSONSchema:
		read, err = newJSONSchemaCodec(ctx, &o)
	case Avro:
		read, err = newAvroCodec(ctx, &o)
	case Protobuf:
		read, err = newProtobufCodec(ctx, &o)
	}
	if err != nil {
		return nil, err
	}
	fields := read.fields()
	for i := range fields {
		fields[i].Nullable = true
	}
	if err := checkColumns(fields, !o.Key); err != nil {
		return nil, invalid("name the columns under schema, without those", "the %s: %w", o.what(), err)
	}
	return &decoder{codec: read, columns: fields, op: "kafka: decode the " + o.part()}, nil
}

// codec reads one payload into cells, one for each column. It is safe for concurrent use; the arena is not.
type codec interface {
	fields() []arrow.Field
	read(ctx context.Context, a *arena, data []byte) ([]cell, error)
}

type decoder struct {
	codec   codec
	columns []arrow.Field
	op      string
	arena   arena
	checked []array.Builder // are of the columns' types
}

func (d *decoder) Fields() []arrow.Field { return slices.Clone(d.columns) }

func (d *decoder) Clone() Decoder { return &decoder{codec: d.codec, columns: d.columns, op: d.op} }

func (d *decoder) Append(ctx context.Context, data []byte, columns []array.Builder) error {
	if err := d.checkBuilders(columns); err != nil {
		return err
	}
	if data == nil {
		for _, builder := range columns {
			builder.AppendNull()
		}
		return nil
	}
	d.arena.reset(len(data))
	cells, err := d.codec.read(ctx, &d.arena, data)
	if err != nil {
		if _, classified := errors.AsType[*schemas.Error](err); classified || ctx.Err() != nil {
			return err
		}
		// What is not classified comes from the reading of the bytes.
		return &schemas.Error{Op: d.op, Class: schemas.Rejected, Code: CodeUndecodable, Err: err}
	}
	for i, builder := range columns {
		appendCell(builder, &cells[i])
	}
	return nil
}

// checkBuilders makes sure that nothing can fail once the first cell is appended.
func (d *decoder) checkBuilders(columns []array.Builder) error {
	if slices.Equal(columns, d.checked) && len(columns) == len(d.columns) {
		return nil
	}
	if len(columns) != len(d.columns) {
		return fmt.Errorf("%s: %d builders for %d columns", d.op, len(columns), len(d.columns))
	}
	for i := range columns {
		if !arrow.TypeEqual(columns[i].Type(), d.columns[i].Type) {
			return fmt.Errorf("%s: the builder of column %s is of %s, not %s", d.op, d.columns[i].Name, columns[i].Type(), d.columns[i].Type)
		}
	}
	d.checked = slices.Clone(columns)
	return nil
}

func (o *Options) check() error {
	registered := o.Format == Avro || o.Format == Protobuf || o.Format == JSONSchema
	switch {
	case !registered && o.Format != JSON && o.Format != Text && o.Format != Bytes:
		return invalid("use one of json, json_schema, avro, protobuf, text, bytes", "there is no format %q", string(o.Format))
	case registered && o.Registry == nil && o.Schema == "":
		return invalid("give a schema registry, or the schema itself under schema", "nothing says what the %s hold in %s", o.what(), o.Format)
	case registered && o.Schema == "" && o.Topic == "" && o.Subject == "":
		return invalid("give the subject", "nothing says which subject of the registry the %s have", o.what())
	case (o.Format == Text || o.Format == Bytes) && o.Schema != "":
		return invalid("leave the schema out, or use json, json_schema, avro or protobuf", "the format %s has no schema", o.Format)
	case o.Version < 0:
		return invalid("use 1 or more, or leave it out for the latest", "the version %d is none", o.Version)
	case o.Message != "" && o.Format != Protobuf:
		return invalid("leave the message out", "the format %s has no messages", o.Format)
	}
	return nil
}

// column is what a single column is called.
func (o *Options) column() string {
	if o.Key {
		return "key"
	}
	return "value"
}

func (o *Options) part() string { return o.column() }

func (o *Options) what() string { return o.column() + "s" }

func (o *Options) subject() string {
	switch {
	case o.Subject != "":
		return o.Subject
	case o.Key:
		return o.Topic + "-key"
	}
	return o.Topic + "-value"
}

func invalid(mend, format string, args ...any) error {
	return &schemas.Error{
		Op: "kafka", Code: "invalid_schema", Mend: mend,
		Err: fmt.Errorf("%w: %w", schemas.ErrInvalid, fmt.Errorf(format, args...)),
	}
}

// checkColumns refuses names that tables cannot tell apart, and those of a record's metadata.
func checkColumns(fields []arrow.Field, metadata bool) error {
	seen := make(map[string]bool, len(fields))
	for _, field := range fields {
		name := strings.ToLower(field.Name)
		switch name {
		case "":
			return errors.New("a column has no name")
		case "_key", "_topic", "_partition", "_offset", "_timestamp", "_headers":
			if metadata {
				return fmt.Errorf("the column %q has the name of a record's metadata", field.Name)
			}
		}
		if seen[name] {
			return fmt.Errorf("the column %q stands twice (case does not count)", field.Name)
		}
		seen[name] = true
		if err := checkNested(field.Type); err != nil {
			return fmt.Errorf("column %s: %w", field.Name, err)
		}
	}
	return nil
}

func checkNested(dataType arrow.DataType) error {
	switch typed := dataType.(type) {
	case *arrow.StructType:
		return checkColumns(typed.Fields(), false)
	case *arrow.MapType: // before the lists, which it also is
		return checkNested(typed.ItemType())
	case *arrow.ListType:
		return checkNested(typed.Elem())
	}
	return nil
}
