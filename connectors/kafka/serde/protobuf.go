package serde

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/bufbuild/protocompile"
	"github.com/twmb/franz-go/pkg/sr"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// protobufCodec reads messages by the numbers of their fields.
type protobufCodec struct {
	columns []arrow.Field
	single  bool // the message is one value
	root    *protoMessage
	special protoFinish
	writers *writers[protoWriter] // nil: bare
	message protoreflect.MessageDescriptor
}

func newProtobufCodec(ctx context.Context, o *Options) (codec, error) {
	doc, err := readerSchema(ctx, o, sr.TypeProtobuf)
	if err != nil {
		return nil, err
	}
	file, err := compileProto(ctx, doc)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, invalid("", "%s of the %s: %w", doc.name, o.what(), err)
	}
	message, err := findMessage(file, o.Message)
	if err != nil {
		return nil, invalid("name one of its messages: "+strings.Join(messageNames(file.Messages()), ", "), "%s of the %s: %w", doc.name, o.what(), err)
	}
	shape, err := (&protoColumns{}).field(message, 0)
	if err != nil {
		return nil, invalid("give a .proto to be read under schema, without those fields", "%s of the %s: %w", doc.name, o.what(), err)
	}
	out := &protobufCodec{root: shape.message, special: shape.finish, message: message}
	if structure, ok := shape.arrow.(*arrow.StructType); ok && shape.finish == nil {
		out.columns = structure.Fields()
	} else {
		out.columns, out.single = []arrow.Field{nullable(o.column(), shape.arrow)}, true
	}
	if o.Registry != nil {
		out.writers = &writers[protoWriter]{registry: o.Registry, kind: sr.TypeProtobuf, reader: doc.name, resolve: out.resolve}
	}
	return out, nil
}

func (c *protobufCodec) fields() []arrow.Field { return c.columns }

// protoWriter is where the reader's message stands in a writer's file.
type protoWriter struct{ index []int }

// resolve finds the reader's message in a writer's schema, and makes sure that its fields are of types which read alike.
func (c *protobufCodec) resolve(ctx context.Context, doc *document) (protoWriter, error) {
	file, err := compileProto(context.WithoutCancel(ctx), doc) // it does no I/O, and half an answer would be kept
	if err != nil {
		return protoWriter{}, err
	}
	message := messageByName(file.Messages(), c.message.FullName())
	if message == nil {
		return protoWriter{}, fmt.Errorf("it has no message %s", c.message.FullName())
	}
	if err := compatible(message, c.message, map[[2]protoreflect.FullName]bool{}); err != nil {
		return protoWriter{}, err
	}
	var index []int
	for at := protoreflect.Descriptor(message); at != nil && at != protoreflect.Descriptor(file); at = at.Parent() {
		index = append(index, at.Index())
	}
	slices.Reverse(index)
	return protoWriter{index}, nil
}

func (c *protobufCodec) read(ctx context.Context, a *arena, data []byte) ([]cell, error) {
	if c.writers != nil {
		id, payload, err := unframe(data)
		if err != nil {
			return nil, err
		}
		writer, err := c.writers.find(ctx, id)
		if err != nil {
			return nil, err
		}
		var same bool
		if same, data, err = unframeMessage(payload, writer.index); err != nil {
			return nil, err
		}
		if !same {
			return nil, fmt.Errorf("it is another message of schema %d than %s", id, c.message.FullName())
		}
	}
	cells, err := c.root.take(a)
	if err != nil {
		return nil, err
	}
	if err := c.root.read(a, data, cells, 0); err != nil {
		return nil, err
	}
	if !c.single {
		return cells, nil
	}
	row, err := a.take(1)
	if err != nil {
		return nil, err
	}
	row[0] = boolean(true)
	if c.special != nil {
		row[0], err = c.special(a, data, cells)
	}
	return row, err
}

// unframeMessage reads which message of the schema follows: how many numbers, then for each level the message's place in
// it; a lone zero is the first message. It reports whether that is the message of index.
func unframeMessage(data []byte, index []int) (same bool, payload []byte, err error) {
	count, n := binary.Varint(data)
	if n <= 0 || count < 0 || count > maxDepth {
		return false, nil, errors.New("nothing says which message of the schema it is")
	}
	data = data[n:]
	if count == 0 {
		return len(index) == 1 && index[0] == 0, data, nil
	}
	same = int(count) == len(index)
	for level := range int(count) {
		at, n := binary.Varint(data)
		if n <= 0 {
			return false, nil, errors.New("nothing says which message of the schema it is")
		}
		data = data[n:]
		same = same && at == int64(index[level])
	}
	return same, data, nil
}

// protoMain is what a schema is called where it has no name of its own.
const protoMain = "schema.proto"

// compileProto links a schema with what it imports: from the registry's references, Protobuf's own files, and the few of
// others that registries know without being told.
func compileProto(ctx context.Context, doc *document) (protoreflect.FileDescriptor, error) {
	files, err := named(doc)
	if err != nil {
		return nil, err
	}
	main := protoMain
	for files[main] != "" {
		main = "_" + main
	}
	files[main] = doc.text
	known := knownProtos()
	compiler := protocompile.Compiler{
		MaxParallelism: 1,
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{
			Accessor: func(path string) (io.ReadCloser, error) {
				text, ok := files[path]
				if !ok {
					text, ok = known[path]
				}
				if !ok {
					return nil, fs.ErrNotExist
				}
				return io.NopCloser(strings.NewReader(text)), nil
			},
		}),
	}
	compiled, err := compiler.Compile(ctx, main)
	if err != nil {
		return nil, err
	}
	return compiled[0], nil
}

const (
	protoMeta    = "confluent/meta.proto"
	protoDecimal = "confluent/type/decimal.proto"
	protoDate    = "google/type/date.proto"
)

// knownProtos declares what is needed of the files that registries know without being told.
func knownProtos() map[string]string {
	return map[string]string{
		protoMeta: `syntax = "proto3"; package confluent; import "google/protobuf/descriptor.proto";
			message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
			extend google.protobuf.FileOptions { Meta file_meta = 1088; }
			extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
			extend google.protobuf.FieldOptions { Meta field_meta = 1088; }
			extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
			extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }`,
		protoDecimal: `syntax = "proto3"; package confluent.type;
			message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }`,
		protoDate: `syntax = "proto3"; package google.type;
			message Date { int32 year = 1; int32 month = 2; int32 day = 3; }`,
	}
}

func findMessage(file protoreflect.FileDescriptor, name string) (protoreflect.MessageDescriptor, error) {
	switch {
	case file.Messages().Len() == 0:
		return nil, errors.New("it has no message")
	case name == "":
		return file.Messages().Get(0), nil
	}
	if found := messageByName(file.Messages(), protoreflect.FullName(name)); found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("it has no message %s", name)
}

func messageByName(messages protoreflect.MessageDescriptors, name protoreflect.FullName) protoreflect.MessageDescriptor {
	for i := range messages.Len() {
		message := messages.Get(i)
		if message.FullName() == name {
			return message
		}
		if strings.HasPrefix(string(name), string(message.FullName())+".") {
			return messageByName(message.Messages(), name)
		}
	}
	return nil
}

func messageNames(messages protoreflect.MessageDescriptors) []string {
	names := make([]string, 0, messages.Len())
	for i := range messages.Len() {
		names = append(names, string(messages.Get(i).FullName()))
	}
	return names
}

// compatible fails where a field of both schemas is written in a way that does not read as the other's type.
func compatible(writer, reader protoreflect.MessageDescriptor, seen map[[2]protoreflect.FullName]bool) error {
	pair := [2]protoreflect.FullName{writer.FullName(), reader.FullName()}
	if seen[pair] {
		return nil
	}
	seen[pair] = true
	for i := range reader.Fields().Len() {
		into := reader.Fields().Get(i)
		from := writer.Fields().ByNumber(into.Number())
		if from == nil {
			continue
		}
		if wireGroup(from.Kind()) != wireGroup(into.Kind()) || from.IsList() != into.IsList() || from.IsMap() != into.IsMap() {
			return fmt.Errorf("field %d, %s: %s was written, %s is read", into.Number(), into.Name(), describe(from), describe(into))
		}
		if into.Message() != nil {
			if err := compatible(from.Message(), into.Message(), seen); err != nil {
				return fmt.Errorf("%s: %w", into.Name(), err)
			}
		}
	}
	return nil
}

func describe(field protoreflect.FieldDescriptor) string {
	name := field.Kind().String()
	if field.Message() != nil {
		name = string(field.Message().FullName())
	}
	switch {
	case field.IsMap():
		return "a map"
	case field.IsList():
		return "repeated " + name
	}
	return name
}

// wireGroup is the same for kinds that read as each other.
func wireGroup(kind protoreflect.Kind) int {
	switch kind {
	case protoreflect.BoolKind, protoreflect.EnumKind, protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Int64Kind, protoreflect.Uint64Kind:
		return 0
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return 1
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return 2
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return 3
	case protoreflect.StringKind, protoreflect.BytesKind:
		return 4
	case protoreflect.FloatKind:
		return 5
	case protoreflect.DoubleKind:
		return 6
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return 7
	}
	return -1
}

// protoShape is a field's type, before the field is known.
type protoShape struct {
	arrow   arrow.DataType
	message *protoMessage // of messages
	finish  protoFinish   // of messages that are one value
	there   bool          // a message without fields: BOOLEAN
}

// protoColumns turns descriptors into types.
type protoColumns struct {
	path    []protoreflect.FullName // the messages around
	columns int
}

func (r *protoColumns) count(depth int) error {
	if r.columns++; r.columns > maxColumns || depth > maxDepth {
		return fmt.Errorf("it has more than %d columns, or nests deeper than %d", maxColumns, maxDepth)
	}
	return nil
}

// field describes a message as the type of a field.
func (r *protoColumns) field(message protoreflect.MessageDescriptor, depth int) (protoShape, error) {
	if shape, ok := wellKnown(message.FullName()); ok {
		return shape, nil
	}
	if slices.Contains(r.path, message.FullName()) {
		return protoShape{}, fmt.Errorf("the message %s holds itself, so its columns have no end", message.FullName())
	}
	r.path = append(r.path, message.FullName())
	defer func() { r.path = r.path[:len(r.path)-1] }()
	out := &protoMessage{}
	fields := make([]arrow.Field, message.Fields().Len())
	byName := map[protoreflect.Name]int{}
	for i := range message.Fields().Len() {
		descriptor := message.Fields().Get(i)
		byName[descriptor.Name()] = i
		field, dataType, err := r.member(descriptor, depth+1)
		if err != nil {
			return protoShape{}, fmt.Errorf("%s: %w", descriptor.Name(), err)
		}
		fields[i] = nullable(string(descriptor.Name()), dataType)
		out.add(field)
	}
	for i := range message.Fields().Len() {
		descriptor := message.Fields().Get(i)
		if oneof := descriptor.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
			for j := range oneof.Fields().Len() {
				if other := byName[oneof.Fields().Get(j).Name()]; other != i {
					out.fields[i].rivals = append(out.fields[i].rivals, other)
				}
			}
		}
	}
	if len(fields) == 0 {
		return protoShape{arrow: arrow.FixedWidthTypes.Boolean, message: out, there: true}, nil
	}
	return protoShape{arrow: arrow.StructOf(fields...), message: out}, nil
}

func (r *protoColumns) member(descriptor protoreflect.FieldDescriptor, depth int) (protoField, arrow.DataType, error) {
	if err := r.count(depth); err != nil {
		return protoField{}, nil, err
	}
	field := protoField{number: descriptor.Number(), name: string(descriptor.Name())}
	if descriptor.IsMap() {
		key, _, err := r.value(descriptor.MapKey(), nil, depth)
		if err != nil {
			return field, nil, err
		}
		item, itemType, err := r.value(descriptor.MapValue(), fieldParameters(descriptor), depth)
		if err != nil {
			return field, nil, err
		}
		key.initial, item.initial = zeroOf(&key), zeroOf(&item)
		entry := &protoMessage{}
		entry.add(key)
		entry.add(item)
		field.entry, field.initial = entry, cell{valid: true}
		return field, mapType(itemType), nil
	}
	field, dataType, err := r.value(descriptor, fieldParameters(descriptor), depth)
	if err != nil {
		return field, nil, err
	}
	switch {
	case descriptor.IsList():
		field.repeated, field.initial = true, cell{valid: true}
		return field, arrow.ListOf(dataType), nil
	case descriptor.HasDefault() && descriptor.ContainingOneof() == nil:
		field.initial = defaultOf(descriptor, &field)
	case !descriptor.HasPresence():
		field.initial = zeroOf(&field)
	}
	return field, dataType, nil
}

// value describes one value of a field, whatever its cardinality. The parameters are the whole field's.
func (r *protoColumns) value(descriptor protoreflect.FieldDescriptor, parameters map[string]string, depth int) (protoField, arrow.DataType, error) {
	field := protoField{number: descriptor.Number(), name: string(descriptor.Name()), kind: descriptor.Kind()}
	switch descriptor.Kind() {
	case protoreflect.BoolKind:
		return field, arrow.FixedWidthTypes.Boolean, nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return field, arrow.PrimitiveTypes.Int32, nil
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return field, arrow.PrimitiveTypes.Int64, nil
	case protoreflect.Int64Kind:
		if parameters[localTimeParameter] == localTimeValue {
			return field, localTimestampType(), nil
		}
		return field, arrow.PrimitiveTypes.Int64, nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return field, decimalType(20, 0), nil
	case protoreflect.FloatKind:
		return field, arrow.PrimitiveTypes.Float32, nil
	case protoreflect.DoubleKind:
		return field, arrow.PrimitiveTypes.Float64, nil
	case protoreflect.StringKind:
		return field, arrow.BinaryTypes.String, nil
	case protoreflect.BytesKind:
		return field, arrow.BinaryTypes.Binary, nil
	case protoreflect.EnumKind:
		field.symbols = map[int32][]byte{}
		values := descriptor.Enum().Values()
		for i := range values.Len() {
			if number := int32(values.Get(i).Number()); field.symbols[number] == nil { // others are aliases
				field.symbols[number] = []byte(values.Get(i).Name())
			}
		}
		return field, arrow.BinaryTypes.String, nil
	case protoreflect.MessageKind, protoreflect.GroupKind:
	}
	shape, ok := confluentDecimal(descriptor, parameters)
	if !ok {
		var err error
		if shape, err = r.field(descriptor.Message(), depth); err != nil {
			return field, nil, err
		}
	}
	field.message, field.finish, field.there = shape.message, shape.finish, shape.there
	return field, shape.arrow, nil
}

// The parameters of confluent.field_meta that say what a field's own type does not.
const (
	precisionParameter = "precision"
	scaleParameter     = "scale"
	localTimeParameter = "logicalType"
	localTimeValue     = "local-timestamp-micros"
	metaNumber         = 1088
)

// fieldParameters reads them from the bytes of the options, since nothing generated knows the extension.
func fieldParameters(descriptor protoreflect.FieldDescriptor) map[string]string {
	options, err := proto.Marshal(descriptor.Options())
	if err != nil || len(options) == 0 {
		return nil
	}
	out := map[string]string{}
	eachField(options, func(number protowire.Number, meta []byte) {
		if number != metaNumber {
			return
		}
		eachField(meta, func(number protowire.Number, entry []byte) {
			if number != 2 {
				return
			}
			var pair [3]string
			eachField(entry, func(number protowire.Number, value []byte) {
				if number <= 2 {
					pair[number] = string(value)
				}
			})
			out[pair[1]] = pair[2]
		})
	})
	return out
}

// eachField visits the fields that have a length.
func eachField(data []byte, visit func(protowire.Number, []byte)) {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return
		}
		data = data[n:]
		if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
			return
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(data)
			visit(number, value)
		}
		data = data[n:]
	}
}

func confluentDecimal(descriptor protoreflect.FieldDescriptor, parameters map[string]string) (protoShape, bool) {
	if descriptor.Message().FullName() != "confluent.type.Decimal" {
		return protoShape{}, false
	}
	precision, err1 := strconv.ParseInt(parameters[precisionParameter], 10, 32)
	scale, err2 := strconv.ParseInt(parameters[scaleParameter], 10, 32)
	if err1 != nil || err2 != nil || precision < 1 || precision > maxPrecision || scale < 0 || scale > precision {
		return protoShape{}, false // its members, then
	}
	return decimalShape(int32(precision), int32(scale)), true
}
