package serde

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// protoMessage reads a message into cells, one for each field.
type protoMessage struct {
	fields []protoField
	few    []int16 // the place of the fields with small numbers, -1: none
	many   map[protowire.Number]int
	empty  []cell // of a message without any bytes
	maps   []int
}

// maxFewNumber is up to which number a field is found by an index.
const maxFewNumber = 255

// protoField is how a field is read.
type protoField struct {
	number   protowire.Number
	name     string
	kind     protoreflect.Kind
	repeated bool
	entry    *protoMessage // of a map: key and value
	message  *protoMessage
	finish   protoFinish      // of a message that is one value
	there    bool             // a message without fields: true where it is set
	symbols  map[int32][]byte // of an enum
	initial  cell             // what it holds where it is absent
	rivals   []int            // the other members of its oneof
}

// protoFinish makes one value of a message: of its bytes, or of the cells that were read from them.
type protoFinish func(a *arena, data []byte, cells []cell) (cell, error)

func (m *protoMessage) add(field protoField) {
	at := len(m.fields)
	if field.entry != nil {
		m.maps = append(m.maps, at)
	}
	m.fields, m.empty = append(m.fields, field), append(m.empty, field.initial)
	if field.number > maxFewNumber {
		if m.many == nil {
			m.many = map[protowire.Number]int{}
		}
		m.many[field.number] = at
		return
	}
	for len(m.few) <= int(field.number) {
		m.few = append(m.few, -1)
	}
	m.few[field.number] = int16(at) //nolint:gosec // at the most 255 of them
}

func (m *protoMessage) find(number protowire.Number) *protoField {
	if int(number) < len(m.few) {
		if at := m.few[number]; at >= 0 {
			return &m.fields[at]
		}
	} else if at, ok := m.many[number]; ok {
		return &m.fields[at]
	}
	return nil
}

// take returns the cells of a message without any bytes.
func (m *protoMessage) take(a *arena) ([]cell, error) {
	cells, err := a.take(len(m.fields))
	copy(cells, m.empty)
	return cells, err
}

func errWire(n int) error {
	if errors.Is(protowire.ParseError(n), protowire.ParseError(-1)) {
		return truncatedError{}
	}
	return errors.New("the bytes are not Protobuf")
}

// read merges a message into cells that take made.
func (m *protoMessage) read(a *arena, data []byte, cells []cell, depth int) error {
	if depth > maxDepth+1 {
		return errTooDeep()
	}
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errWire(n)
		}
		data = data[n:]
		field := m.find(number)
		if field == nil {
			if n = protowire.ConsumeFieldValue(number, wire, data); n < 0 {
				return errWire(n)
			}
			data = data[n:]
			continue
		}
		n, err := field.read(a, wire, data, cells, m)
		if err == nil && n == 0 {
			n, err = field.readValue(a, wire, data, cells, m, depth)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", field.name, err)
		}
		data = data[n:]
	}
	for _, at := range m.maps {
		cells[at].cells = unique(cells[at].cells)
	}
	return nil
}

// place is where the field's cell stands.
func (m *protoMessage) place(field *protoField) int {
	if int(field.number) < len(m.few) {
		return int(m.few[field.number])
	}
	return m.many[field.number]
}

// read reads packed numbers, and 0 bytes where there are none.
func (f *protoField) read(a *arena, wire protowire.Type, data []byte, cells []cell, m *protoMessage) (int, error) {
	if !f.repeated || wire != protowire.BytesType || f.wire() == protowire.BytesType {
		return 0, nil
	}
	packed, n := protowire.ConsumeBytes(data)
	if n < 0 {
		return 0, errWire(n)
	}
	into := &cells[m.place(f)]
	var err error
	for len(packed) > 0 {
		if into.cells, err = a.push(into.cells); err != nil {
			return 0, err
		}
		used, err := f.scalar(a, packed, &into.cells[len(into.cells)-1])
		if err != nil {
			return 0, err
		}
		packed = packed[used:]
	}
	return n, nil
}

func (f *protoField) readValue(a *arena, wire protowire.Type, data []byte, cells []cell, m *protoMessage, depth int) (int, error) {
	if f.entry == nil && wire != f.wire() && (f.message == nil || wire != protowire.StartGroupType) || f.entry != nil && wire != protowire.BytesType {
		// Another type under this number: not our field.
		n := protowire.ConsumeFieldValue(f.number, wire, data)
		if n < 0 {
			return 0, errWire(n)
		}
		return n, nil
	}
	into := &cells[m.place(f)]
	for _, rival := range f.rivals {
		cells[rival] = cell{}
	}
	if f.repeated {
		var err error
		if into.cells, err = a.push(into.cells); err != nil {
			return 0, err
		}
		into = &into.cells[len(into.cells)-1]
	}
	if f.entry == nil && f.message == nil && f.finish == nil {
		return f.scalar(a, data, into)
	}
	var body []byte
	var n int
	if wire == protowire.StartGroupType {
		body, n = protowire.ConsumeGroup(f.number, data)
	} else {
		body, n = protowire.ConsumeBytes(data)
	}
	if n < 0 {
		return 0, errWire(n)
	}
	if f.entry != nil {
		return n, f.readEntry(a, body, into, depth)
	}
	return n, f.nested(a, body, into, depth)
}

// readEntry reads an entry of a map. The last of those with the same key counts.
func (f *protoField) readEntry(a *arena, body []byte, into *cell, depth int) error {
	pair, err := f.entry.take(a)
	if err != nil {
		return err
	}
	if err := f.entry.read(a, body, pair, depth+1); err != nil {
		return err
	}
	if item := &f.entry.fields[1]; !pair[1].valid && item.message != nil { // its value has no bytes
		if err := item.nested(a, nil, &pair[1], depth+1); err != nil {
			return err
		}
	}
	f.entry.fields[0].keyText(a, &pair[0])
	for i := range pair {
		if into.cells, err = a.push(into.cells); err != nil {
			return err
		}
		into.cells[len(into.cells)-1] = pair[i]
	}
	return nil
}

// keyText makes a key STRING.
func (f *protoField) keyText(a *arena, key *cell) {
	if f.kind == protoreflect.StringKind {
		return
	}
	start := len(a.text)
	switch f.kind { //nolint:exhaustive // those that keys have
	case protoreflect.BoolKind:
		a.text = strconv.AppendBool(a.text, key.number != 0)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		a.text = strconv.AppendUint(a.text, uint64(key.number), 10) //nolint:gosec // bits
	default:
		a.text = strconv.AppendInt(a.text, key.number, 10)
	}
	*key = text(a.text[start:len(a.text):len(a.text)])
}

// nested reads a message, into one that is there already: parts of a message add up.
func (f *protoField) nested(a *arena, body []byte, into *cell, depth int) error {
	if f.finish != nil {
		cells, err := f.message.take(a)
		if err != nil {
			return err
		}
		if err := f.message.read(a, body, cells, depth+1); err != nil {
			return err
		}
		*into, err = f.finish(a, body, cells)
		return err
	}
	if f.there {
		*into = boolean(true)
		return f.message.read(a, body, nil, depth+1)
	}
	if !into.valid {
		cells, err := f.message.take(a)
		if err != nil {
			return err
		}
		*into = cell{valid: true, cells: cells}
	}
	return f.message.read(a, body, into.cells, depth+1)
}

// wire is how one value of the kind is written.
func (f *protoField) wire() protowire.Type {
	switch wireGroup(f.kind) {
	case 0, 1:
		return protowire.VarintType
	case 2, 5:
		return protowire.Fixed32Type
	case 3, 6:
		return protowire.Fixed64Type
	}
	return protowire.BytesType
}

// scalar reads one value that is no message, and returns how long it is.
func (f *protoField) scalar(a *arena, data []byte, into *cell) (int, error) {
	switch f.wire() { //nolint:exhaustive // those that wire returns
	case protowire.VarintType:
		value, n := protowire.ConsumeVarint(data)
		if n < 0 {
			return 0, errWire(n)
		}
		return n, f.varint(a, value, into)
	case protowire.Fixed32Type:
		value, n := protowire.ConsumeFixed32(data)
		if n < 0 {
			return 0, errWire(n)
		}
		switch f.kind { //nolint:exhaustive // those of 32 bits
		case protoreflect.FloatKind:
			*into = float(float64(math.Float32frombits(value)))
		case protoreflect.Sfixed32Kind:
			*into = integer(int64(int32(value))) //nolint:gosec // bits
		default:
			*into = integer(int64(value))
		}
		return n, nil
	case protowire.Fixed64Type:
		value, n := protowire.ConsumeFixed64(data)
		if n < 0 {
			return 0, errWire(n)
		}
		switch f.kind { //nolint:exhaustive // those of 64 bits
		case protoreflect.DoubleKind:
			*into = float(math.Float64frombits(value))
		default: // a decimal's upper half is zero
			*into = integer(int64(value)) //nolint:gosec // bits
		}
		return n, nil
	}
	value, n := protowire.ConsumeBytes(data)
	if n < 0 {
		return 0, errWire(n)
	}
	if f.kind == protoreflect.StringKind && !utf8.Valid(value) {
		return 0, errNotUTF8()
	}
	*into = text(value)
	return n, nil
}

// varint does not cut what is too large for the kind, which another version of the schema may have written.
func (f *protoField) varint(a *arena, value uint64, into *cell) error {
	signed := int64(value) //nolint:gosec // bits
	switch f.kind {        //nolint:exhaustive // those that are written so
	case protoreflect.BoolKind:
		*into = boolean(value != 0)
		return nil
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		signed = protowire.DecodeZigZag(value)
	case protoreflect.EnumKind:
		number := int32(signed) //nolint:gosec // as enums are cut
		symbol, ok := f.symbols[number]
		if !ok {
			start := len(a.text)
			a.text = strconv.AppendInt(a.text, int64(number), 10)
			symbol = a.text[start:len(a.text):len(a.text)]
		}
		*into = text(symbol)
		return nil
	case protoreflect.Uint32Kind:
		if value > math.MaxUint32 {
			return errors.New("the number has more than 32 bits")
		}
	}
	if (f.kind == protoreflect.Int32Kind || f.kind == protoreflect.Sint32Kind) && signed != int64(int32(signed)) { //nolint:gosec // the check
		return errors.New("the number has more than 32 bits")
	}
	*into = integer(signed)
	return nil
}

// zeroOf is what a field without presence holds where it is absent.
func zeroOf(field *protoField) cell {
	switch {
	case field.message != nil:
		return cell{}
	case field.kind == protoreflect.EnumKind:
		if symbol, ok := field.symbols[0]; ok {
			return text(symbol)
		}
		return text([]byte("0"))
	}
	return cell{valid: true}
}

// defaultOf is the default that a field of proto2 declares.
func defaultOf(descriptor protoreflect.FieldDescriptor, field *protoField) cell {
	value := descriptor.Default()
	switch descriptor.Kind() {
	case protoreflect.BoolKind:
		return boolean(value.Bool())
	case protoreflect.EnumKind:
		return text(field.symbols[int32(value.Enum())])
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return integer(value.Int())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return integer(int64(value.Uint())) //nolint:gosec // bits
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return float(value.Float())
	case protoreflect.StringKind:
		return text([]byte(value.String()))
	case protoreflect.BytesKind:
		return text(value.Bytes())
	case protoreflect.MessageKind, protoreflect.GroupKind:
	}
	return cell{}
}

// scalars is a message of fields 1, 2, ... with these kinds, all with zero where they are absent.
func scalars(kinds ...protoreflect.Kind) *protoMessage {
	out := &protoMessage{}
	for i, kind := range kinds {
		out.add(protoField{number: protowire.Number(i + 1), kind: kind, initial: cell{valid: true}})
	}
	return out
}

// wellKnown are the messages that are one value.
func wellKnown(name protoreflect.FullName) (protoShape, bool) {
	wrapper := func(dataType arrow.DataType, kind protoreflect.Kind) (protoShape, bool) {
		return protoShape{arrow: dataType, message: scalars(kind), finish: finishWrapper}, true
	}
	switch name {
	case "google.protobuf.Timestamp":
		return protoShape{arrow: timestampType(), message: scalars(protoreflect.Int64Kind, protoreflect.Int32Kind), finish: finishTimestamp}, true
	case "google.protobuf.Duration":
		return protoShape{arrow: decimalType(21, 9), message: scalars(protoreflect.Int64Kind, protoreflect.Int32Kind), finish: finishDuration}, true
	case "google.type.Date":
		return protoShape{
			arrow: arrow.FixedWidthTypes.Date32, message: scalars(protoreflect.Int32Kind, protoreflect.Int32Kind, protoreflect.Int32Kind), finish: finishDate,
		}, true
	case "google.protobuf.Struct":
		return protoShape{arrow: arrow.BinaryTypes.String, message: &protoMessage{}, finish: finishStruct}, true
	case "google.protobuf.Value":
		return protoShape{arrow: arrow.BinaryTypes.String, message: &protoMessage{}, finish: finishValue}, true
	case "google.protobuf.ListValue":
		return protoShape{arrow: arrow.BinaryTypes.String, message: &protoMessage{}, finish: finishList}, true
	case "google.protobuf.BoolValue":
		return wrapper(arrow.FixedWidthTypes.Boolean, protoreflect.BoolKind)
	case "google.protobuf.Int32Value":
		return wrapper(arrow.PrimitiveTypes.Int32, protoreflect.Int32Kind)
	case "google.protobuf.UInt32Value":
		return wrapper(arrow.PrimitiveTypes.Int64, protoreflect.Uint32Kind)
	case "google.protobuf.Int64Value":
		return wrapper(arrow.PrimitiveTypes.Int64, protoreflect.Int64Kind)
	case "google.protobuf.UInt64Value":
		return wrapper(decimalType(20, 0), protoreflect.Uint64Kind)
	case "google.protobuf.FloatValue":
		return wrapper(arrow.PrimitiveTypes.Float32, protoreflect.FloatKind)
	case "google.protobuf.DoubleValue":
		return wrapper(arrow.PrimitiveTypes.Float64, protoreflect.DoubleKind)
	case "google.protobuf.StringValue":
		return wrapper(arrow.BinaryTypes.String, protoreflect.StringKind)
	case "google.protobuf.BytesValue":
		return wrapper(arrow.BinaryTypes.Binary, protoreflect.BytesKind)
	}
	return protoShape{}, false
}

func finishWrapper(_ *arena, _ []byte, cells []cell) (cell, error) { return cells[0], nil }

func finishTimestamp(_ *arena, _ []byte, cells []cell) (cell, error) {
	const first, last = -62_135_596_800, 253_402_300_799 // of the years 1 to 9999
	seconds, nanos := cells[0].number, cells[1].number
	if seconds < first || seconds > last || nanos < 0 || nanos > 999_999_999 {
		return cell{}, timeRangeError{}
	}
	return integer(seconds*1_000_000 + nanos/1000), nil
}

func finishDuration(_ *arena, _ []byte, cells []cell) (cell, error) {
	const most = 315_576_000_000 // seconds, of 10,000 years
	seconds, nanos := cells[0].number, cells[1].number
	if seconds < -most || seconds > most || nanos < -999_999_999 || nanos > 999_999_999 {
		return cell{}, errors.New("the duration is out of range")
	}
	return decimal(decimal128.FromI64(seconds).Mul(decimal128.FromI64(1_000_000_000)).Add(decimal128.FromI64(nanos))), nil
}

func finishDate(_ *arena, _ []byte, cells []cell) (cell, error) {
	year, month, day := int(cells[0].number), time.Month(cells[1].number), int(cells[2].number)
	at := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	if year < 1 || year > 9999 || at.Year() != year || at.Month() != month { // a day that there is not is of another month
		return cell{}, errors.New("the date is not a whole one of the years 1 to 9999")
	}
	return integer(floorDivide(at.Unix(), secondsPerDay)), nil
}

func decimalShape(precision, scale int32) protoShape {
	return protoShape{
		arrow:   decimalType(precision, scale),
		message: scalars(protoreflect.BytesKind, protoreflect.Uint32Kind, protoreflect.Int32Kind),
		finish: func(_ *arena, _ []byte, cells []cell) (cell, error) {
			if cells[2].number != int64(scale) {
				return cell{}, fmt.Errorf("a decimal of another scale than %d", scale)
			}
			value, err := decimalOfBytes(cells[0].text, precision)
			return decimal(value), err
		},
	}
}

func finishStruct(a *arena, data []byte, _ []cell) (cell, error) {
	var value structpb.Struct
	return finishJSON(a, data, &value, func() any { return value.AsMap() })
}

func finishList(a *arena, data []byte, _ []cell) (cell, error) {
	var value structpb.ListValue
	return finishJSON(a, data, &value, func() any { return value.AsSlice() })
}

func finishValue(a *arena, data []byte, _ []cell) (cell, error) {
	var value structpb.Value
	out, err := finishJSON(a, data, &value, func() any { return value.AsInterface() })
	if string(out.text) == "null" {
		return cell{}, err
	}
	return out, err
}

// finishJSON writes what is JSON at heart as JSON text.
func finishJSON(_ *arena, data []byte, into proto.Message, plain func() any) (cell, error) {
	if err := (proto.UnmarshalOptions{RecursionLimit: maxDepth}).Unmarshal(data, into); err != nil {
		return cell{}, errors.New("the bytes are not Protobuf")
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(plain()); err != nil {
		return cell{}, errors.New("what is in it has no form in JSON")
	}
	return text(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil
}
