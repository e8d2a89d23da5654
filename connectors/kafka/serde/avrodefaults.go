package serde

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hamba/avro/v2"
)

// asideProperty is where a field's default stands, as JSON text. The library would read its integers as floats, and
// refuse a whole schema for a default that fits another branch of a union than the first, as many have.
const asideProperty = "inflow.default"

// setDefaultsAside moves the defaults of fields there. What is no JSON is the bare name of a type.
func setDefaultsAside(text string) []byte {
	if checkJSON([]byte(text)) != nil {
		return strconv.AppendQuote(nil, text)
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var schema any
	if err := decoder.Decode(&schema); err != nil {
		return []byte(text)
	}
	setAside(schema, false)
	out, err := json.Marshal(schema)
	if err != nil {
		return []byte(text)
	}
	return out
}

// setAside walks over the types of a schema; field says that it stands at one of a record.
func setAside(schema any, field bool) {
	switch typed := schema.(type) {
	case []any: // a union
		for _, branch := range typed {
			setAside(branch, false)
		}
	case map[string]any:
		if value, ok := typed["default"]; ok && field {
			if text, err := json.Marshal(value); err == nil {
				typed[asideProperty] = string(text)
				delete(typed, "default")
			}
		}
		for _, inner := range []string{"type", "items", "values"} {
			setAside(typed[inner], false)
		}
		fields, _ := typed["fields"].([]any)
		for _, each := range fields {
			setAside(each, true)
		}
	}
}

// defaultOfField is a field's default as encoding/json reads it, numbers as they were written.
func defaultOfField(field *avro.Field) (any, bool) {
	text, ok := field.Prop(asideProperty).(string)
	if !ok {
		return nil, false
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, false
	}
	return value, true
}

// defaultCell is a default of the reader's schema, and how many cells it has.
func defaultCell(schema avro.Schema, value any) (cell, int, error) {
	schema = deref(schema)
	bad := fmt.Errorf("its default is no %s", typeName(schema))
	switch typed := schema.(type) {
	case *avro.UnionSchema:
		return defaultOfUnion(typed, value)
	case *avro.NullSchema:
		if value == nil {
			return cell{}, 1, nil
		}
	case *avro.EnumSchema:
		if symbol, ok := value.(string); ok && slices.Contains(typed.Symbols(), symbol) {
			return text([]byte(symbol)), 1, nil
		}
	case *avro.FixedSchema:
		raw, ok := latin1(value)
		if !ok || len(raw) != typed.Size() {
			return cell{}, 0, bad
		}
		out, err := defaultText(schema, raw)
		return out, 1, err
	case *avro.PrimitiveSchema:
		out, err := defaultPrimitive(typed, value)
		if err != nil {
			return cell{}, 0, errors.Join(bad, err)
		}
		return out, 1, nil
	case *avro.ArraySchema:
		list, ok := value.([]any)
		if !ok {
			return cell{}, 0, bad
		}
		out, cost := cell{valid: true}, 1
		for _, each := range list {
			inner, price, err := defaultCell(typed.Items(), each)
			if err != nil {
				return cell{}, 0, err
			}
			out.cells, cost = append(out.cells, inner), cost+price
		}
		return out, cost, nil
	case *avro.MapSchema:
		entries, ok := value.(map[string]any)
		if !ok {
			return cell{}, 0, bad
		}
		out, cost := cell{valid: true}, 1
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			inner, price, err := defaultCell(typed.Values(), entries[key])
			if err != nil {
				return cell{}, 0, err
			}
			out.cells, cost = append(out.cells, text([]byte(key)), inner), cost+price+1
		}
		return out, cost, nil
	case *avro.RecordSchema:
		return defaultRecord(typed, value)
	}
	return cell{}, 0, bad
}

// defaultOfUnion is one of the first branch that it fits.
func defaultOfUnion(schema *avro.UnionSchema, value any) (cell, int, error) {
	others, null, _ := branches(schema)
	if value == nil && null {
		return cell{}, 1, nil
	}
	for i, branch := range others {
		out, cost, err := defaultCell(branch, value)
		if err != nil {
			continue
		}
		if len(others) == 1 {
			return out, cost, nil
		}
		members := make([]cell, len(others))
		members[i] = out
		return cell{valid: true, cells: members}, cost + len(others), nil
	}
	return cell{}, 0, errors.New("its default fits no branch of the union")
}

func defaultRecord(schema *avro.RecordSchema, value any) (cell, int, error) {
	members, ok := value.(map[string]any)
	if !ok {
		return cell{}, 0, fmt.Errorf("its default is no %s", typeName(schema))
	}
	if len(schema.Fields()) == 0 {
		return boolean(true), 1, nil
	}
	out, cost := cell{valid: true}, 1
	for _, field := range schema.Fields() {
		member, ok := members[field.Name()]
		if !ok {
			if member, ok = defaultOfField(field); !ok {
				return cell{}, 0, fmt.Errorf("its default has no %s", field.Name())
			}
		}
		inner, price, err := defaultCell(field.Type(), member)
		if err != nil {
			return cell{}, 0, err
		}
		out.cells, cost = append(out.cells, inner), cost+price
	}
	return out, cost, nil
}

func defaultPrimitive(schema *avro.PrimitiveSchema, value any) (cell, error) {
	unfit := errors.New("it is of another type")
	switch typed := value.(type) {
	case bool:
		if schema.Type() == avro.Boolean {
			return boolean(typed), nil
		}
	case string:
		if schema.Type() == avro.String {
			return text([]byte(typed)), nil
		}
		if raw, ok := latin1(typed); ok && schema.Type() == avro.Bytes {
			return defaultText(schema, raw)
		}
	case json.Number:
		switch schema.Type() { //nolint:exhaustive // those of numbers
		case avro.Int, avro.Long:
			return defaultInteger(schema, typed)
		case avro.Float, avro.Double:
			number, err := strconv.ParseFloat(typed.String(), 64)
			return float(number), err
		}
	}
	return cell{}, unfit
}

func defaultInteger(schema *avro.PrimitiveSchema, literal json.Number) (cell, error) {
	value, err := parseInteger([]byte(literal.String()))
	if err != nil {
		return cell{}, err
	}
	if schema.Type() == avro.Int && (value < math.MinInt32 || value > math.MaxInt32) {
		return cell{}, errors.New("the number has more than 32 bits")
	}
	if unit := columnUnit(schema); unit > 0 {
		value, err = scaleTime(value, unitOf(schema)/unit, unit/unitOf(schema))
	}
	return integer(value), err
}

func defaultText(schema avro.Schema, value []byte) (cell, error) {
	node := &avroNode{}
	if err := textForm(node, schema, schema); err != nil {
		return cell{}, err
	}
	var out cell
	d := avroData{arena: &arena{}}
	err := d.text(node, &out, value)
	return out, err
}

// latin1 reads bytes as defaults have them: a character for each.
func latin1(value any) ([]byte, bool) {
	written, ok := value.(string)
	if !ok {
		return nil, false
	}
	raw := make([]byte, 0, len(written))
	for _, char := range written {
		if char > math.MaxUint8 {
			return nil, false
		}
		raw = append(raw, byte(char)) //nolint:gosec // was checked
	}
	return raw, true
}
