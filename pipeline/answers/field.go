package answers

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/shopspring/decimal"
)

// field is a value with a type: the whole answer, a field of a struct, an element of a list.
type field struct {
	name     string
	nullable bool
	kind     valueKind
	bits     int      // of an integer or a float: 32 or 64
	enum     []string // of a text; nil: any
	// precision and scale of a decimal.
	precision, scale int32
	fields           []*field // of a struct
	element          *field   // of a list
	note             string   // a description for the model
	open             bool     // of a float: it may be no finite number
}

type valueKind uint8

const (
	kindText valueKind = iota
	kindInteger
	kindFloat
	kindBoolean
	kindDate
	kindTimestamp
	kindDecimal
	kindStruct
	kindList
)

func (f *field) arrow() arrow.DataType {
	switch f.kind {
	case kindInteger:
		if f.bits == 32 {
			return arrow.PrimitiveTypes.Int32
		}
		return arrow.PrimitiveTypes.Int64
	case kindFloat:
		if f.bits == 32 {
			return arrow.PrimitiveTypes.Float32
		}
		return arrow.PrimitiveTypes.Float64
	case kindBoolean:
		return arrow.FixedWidthTypes.Boolean
	case kindDate:
		return arrow.FixedWidthTypes.Date32
	case kindTimestamp:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	case kindDecimal:
		return &arrow.Decimal128Type{Precision: f.precision, Scale: f.scale}
	case kindStruct:
		fields := make([]arrow.Field, 0, len(f.fields))
		for _, each := range f.fields {
			fields = append(fields, arrow.Field{Name: each.name, Type: each.arrow(), Nullable: true})
		}
		return arrow.StructOf(fields...)
	case kindList:
		return arrow.ListOf(f.element.arrow())
	case kindText:
	}
	return arrow.BinaryTypes.String
}

// object is a JSON object that keeps its order: models write an answer's fields in the order of the schema, and a field
// of reasons helps only before the field that it is about.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, each := range o {
		if i > 0 {
			out = append(out, ',')
		}
		key, err := json.Marshal(each.key)
		if err != nil {
			return nil, err //nolint:wrapcheck // a text always marshals
		}
		value, err := json.Marshal(each.value)
		if err != nil {
			return nil, err //nolint:wrapcheck // its caller says what it is about
		}
		out = append(append(append(out, key...), ':'), value...)
	}
	return append(out, '}'), nil
}

// schema is the field's JSON Schema, in the subset that every provider's strict mode takes: all properties required,
// none beside them, NULL as a type.
func (f *field) schema() object {
	name, rest := "string", object(nil)
	switch f.kind {
	case kindInteger:
		name = "integer"
	case kindFloat:
		name = "number"
	case kindBoolean:
		name = "boolean"
	case kindDate:
		rest = object{{"format", "date"}}
	case kindTimestamp:
		rest = object{{"format", "date-time"}}
	case kindDecimal: // a text, for a JSON number goes through a float in most hands
		rest = object{{"pattern", decimalPattern(f.precision, f.scale)}}
	case kindStruct:
		properties, required := object{}, []string{}
		for _, each := range f.fields {
			properties = append(properties, member{each.name, each.schema()})
			required = append(required, each.name)
		}
		name, rest = "object", object{{"properties", properties}, {"required", required}, {"additionalProperties", false}}
	case kindList:
		name, rest = "array", object{{"items", f.element.schema()}}
	case kindText:
		if f.enum != nil {
			values := make([]any, 0, len(f.enum)+1)
			for _, each := range f.enum {
				values = append(values, each)
			}
			if f.nullable {
				values = append(values, nil)
			}
			rest = object{{"enum", values}}
		}
	}
	out := object{{"type", name}}
	switch {
	case f.open:
		out[0].value = []string{name, "string", "null"}
	case f.nullable:
		out[0].value = []string{name, "null"}
	}
	if f.note != "" {
		out = append(out, member{"description", f.note})
	}
	return append(out, rest...)
}

func decimalPattern(precision, scale int32) string {
	if scale == 0 {
		return fmt.Sprintf(`^-?[0-9]{1,%d}$`, precision)
	}
	return fmt.Sprintf(`^-?[0-9]{1,%d}(\.[0-9]{1,%d})?$`, max(1, precision-scale), scale)
}

// append adds a decoded value to a builder, or only checks that it could where the builder is nil. at is the value's
// place.
func (f *field) append(builder array.Builder, value any, at string) error {
	if float, ok := notFinite(value); ok && f.open {
		appendFloat(builder, float)
		return nil
	}
	if value == nil {
		if !f.nullable {
			return errors.New(at + ": must not be null")
		}
		if builder != nil {
			builder.AppendNull()
		}
		return nil
	}
	switch f.kind {
	case kindStruct:
		return f.appendStruct(builder, value, at)
	case kindList:
		return f.appendList(builder, value, at)
	case kindBoolean:
		is, ok := value.(bool)
		if !ok {
			return errors.New(at + ": must be boolean")
		}
		if to, ok := builder.(*array.BooleanBuilder); ok {
			to.Append(is)
		}
		return nil
	case kindInteger, kindFloat:
		number, ok := value.(json.Number)
		if !ok {
			return errors.New(at + ": must be a number")
		}
		return f.appendNumber(builder, number, at)
	case kindText, kindDate, kindTimestamp, kindDecimal:
	}
	text, ok := value.(string)
	if number, is := value.(json.Number); is && f.kind == kindDecimal {
		text, ok = number.String(), true
	}
	if !ok {
		return errors.New(at + ": must be string")
	}
	return f.appendText(builder, text, at)
}

func (f *field) appendStruct(builder array.Builder, value any, at string) error {
	object, ok := value.(map[string]any)
	if !ok {
		return errors.New(at + ": must be object")
	}
	to, _ := builder.(*array.StructBuilder)
	if to != nil {
		to.Append(true)
	}
	for i, each := range f.fields {
		inner, there := object[each.name]
		var into array.Builder
		if to != nil {
			into = to.FieldBuilder(i)
		}
		if !there { // a schema of the user's own may leave a field out
			if into != nil {
				into.AppendNull()
			}
			continue
		}
		if err := each.append(into, inner, at+"."+each.name); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) appendList(builder array.Builder, value any, at string) error {
	list, ok := value.([]any)
	if !ok {
		return errors.New(at + ": must be array")
	}
	var into array.Builder
	if to, ok := builder.(*array.ListBuilder); ok {
		to.Append(true)
		into = to.ValueBuilder()
	}
	for i, each := range list {
		if err := f.element.append(into, each, fmt.Sprintf("%s.%d", at, i)); err != nil {
			return err
		}
	}
	return nil
}

func appendFloat(builder array.Builder, value float64) {
	switch to := builder.(type) {
	case *array.Float32Builder:
		to.Append(float32(value))
	case *array.Float64Builder:
		to.Append(value)
	}
}

// notFinite is what JSON has no number for: NaN stands there as null, as data frames know no other NULL of a float.
func notFinite(value any) (float64, bool) {
	switch value {
	case nil:
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

// unbound lets floats be NaN or infinite: all of them, or those that are not said to allow NULL, which null then is.
func (f *field) unbound(all bool) {
	f.open = f.kind == kindFloat && (all || !f.nullable)
	for _, each := range f.fields {
		each.unbound(all)
	}
	if f.element != nil {
		f.element.unbound(all)
	}
}

// maxExponent keeps "1e999999999" from becoming a number of so many digits.
const maxExponent = 400

func (f *field) appendNumber(builder array.Builder, number json.Number, at string) error {
	if f.kind == kindFloat {
		float, err := number.Float64()
		if err != nil || f.bits == 32 && math.IsInf(float64(float32(float)), 0) {
			return errors.New(at + ": is out of range")
		}
		appendFloat(builder, float)
		return nil
	}
	whole, err := number.Int64()
	if err != nil { // 1.0 and 1e2 are integers to a JSON Schema
		exact, err := decimal.NewFromString(number.String())
		if err != nil || exact.Exponent() > maxExponent || exact.Exponent() < -maxExponent || !exact.IsInteger() || !exact.BigInt().IsInt64() {
			return errors.New(at + ": must be an integer of 64 bits")
		}
		whole = exact.IntPart()
	}
	if f.bits == 32 && int64(int32(whole)) != whole { //nolint:gosec // that is what is asked
		return errors.New(at + ": must be an integer of 32 bits")
	}
	switch to := builder.(type) {
	case *array.Int32Builder:
		to.Append(int32(whole)) //nolint:gosec // looked at above
	case *array.Int64Builder:
		to.Append(whole)
	}
	return nil
}

func (f *field) appendText(builder array.Builder, text, at string) error {
	switch f.kind { //nolint:exhaustive // the others are no texts
	case kindDate:
		day, err := time.Parse(time.DateOnly, text)
		if err != nil {
			return errors.New(at + ": must be a date, as 2026-01-31")
		}
		if to, ok := builder.(*array.Date32Builder); ok {
			to.Append(arrow.Date32FromTime(day))
		}
	case kindTimestamp:
		instant, err := time.Parse(time.RFC3339Nano, strings.ToUpper(text))
		if err != nil {
			return errors.New(at + ": must be a date-time, as 2026-01-31T23:59:59Z")
		}
		if to, ok := builder.(*array.TimestampBuilder); ok {
			to.Append(arrow.Timestamp(instant.UnixMicro()))
		}
	case kindDecimal:
		number, err := decimal.NewFromString(text)
		if err != nil || number.Exponent() > maxExponent || number.Exponent() < -maxExponent ||
			!number.Shift(f.scale).IsInteger() || len(number.Shift(f.scale).Abs().BigInt().String()) > int(f.precision) {
			return fmt.Errorf("%s: must be a number of at most %d digits, %d of them after the point", at, f.precision, f.scale)
		}
		if to, ok := builder.(*array.Decimal128Builder); ok {
			to.Append(decimal128.FromBigInt(number.Shift(f.scale).BigInt()))
		}
	default:
		if to, ok := builder.(*array.StringBuilder); ok {
			to.Append(strings.ToValidUTF8(text, "\uFFFD"))
		}
	}
	return nil
}
