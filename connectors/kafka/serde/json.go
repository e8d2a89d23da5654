package serde

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
)

// newJSONCodec reads objects into the columns of the schema, or any JSON text into one.
func newJSONCodec(o *Options) (codec, error) {
	if o.Schema == "" {
		return jsonTextCodec{o.column()}, nil
	}
	fields, err := parseDDL(o.Schema)
	if err != nil {
		return nil, invalid("give the columns as SQL does: ticket_id BIGINT, subject STRING, tags ARRAY<STRING>", "the schema of the %s: %w", o.what(), err)
	}
	return &jsonCodec{columns: fields, root: jsonTypeOf(arrow.StructOf(fields...))}, nil
}

// jsonTextCodec keeps JSON as it is.
type jsonTextCodec struct{ column string }

func (c jsonTextCodec) fields() []arrow.Field {
	return []arrow.Field{nullable(c.column, arrow.BinaryTypes.String)}
}

func (c jsonTextCodec) read(_ context.Context, a *arena, data []byte) ([]cell, error) {
	if err := checkJSON(data); err != nil {
		return nil, err
	}
	return single(a, data)
}

// jsonCodec reads objects by the names of their members.
type jsonCodec struct {
	columns []arrow.Field
	root    *jsonType
}

func (c *jsonCodec) fields() []arrow.Field { return c.columns }

func (c *jsonCodec) read(_ context.Context, a *arena, data []byte) ([]cell, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8()
	}
	t := jsonText{data: data}
	var row cell
	if c.root.kind == jsonStruct && t.next() != '{' {
		return nil, errors.New("not a JSON object")
	}
	if err := c.root.read(a, &t, &row, 0); err != nil {
		return nil, err
	}
	if err := t.end(); err != nil {
		return nil, err
	}
	if len(c.columns) == 1 && c.root.kind != jsonStruct {
		cells, err := a.take(1)
		if err != nil {
			return nil, err
		}
		cells[0] = row
		return cells, nil
	}
	return row.cells, nil
}

type jsonKind uint8

const (
	jsonString    jsonKind = iota // a string's text, or the JSON text of anything else
	jsonRaw                       // JSON text, of strings too
	jsonBoolean                   // true or false
	jsonInt                       // 32 bits
	jsonBigint                    // 64 bits
	jsonFloat                     // 32 bits
	jsonDouble                    // 64 bits
	jsonDecimal                   // a number, or a string of one
	jsonBinary                    // base64
	jsonDate                      // ISO 8601
	jsonTimestamp                 // ISO 8601
	jsonLocal                     // ISO 8601 without a zone
	jsonList
	jsonMap
	jsonStruct
)

// jsonType is how a value is read.
type jsonType struct {
	kind             jsonKind
	arrow            arrow.DataType
	precision, scale int32
	element          *jsonType   // of a list, or a map's values
	members          []*jsonType // of a struct
	names            []string
	index            map[string]int
}

func jsonTypeOf(dataType arrow.DataType) *jsonType {
	out := &jsonType{kind: jsonString, arrow: dataType}
	switch typed := dataType.(type) {
	case *arrow.BooleanType:
		out.kind = jsonBoolean
	case *arrow.Int32Type:
		out.kind = jsonInt
	case *arrow.Int64Type:
		out.kind = jsonBigint
	case *arrow.Float32Type:
		out.kind = jsonFloat
	case *arrow.Float64Type:
		out.kind = jsonDouble
	case *arrow.Decimal128Type:
		out.kind, out.precision, out.scale = jsonDecimal, typed.Precision, typed.Scale
	case *arrow.BinaryType:
		out.kind = jsonBinary
	case *arrow.Date32Type:
		out.kind = jsonDate
	case *arrow.TimestampType:
		out.kind = jsonTimestamp
		if typed.TimeZone == "" {
			out.kind = jsonLocal
		}
	case *arrow.MapType: // before the lists, which it also is
		out.kind, out.element = jsonMap, jsonTypeOf(typed.ItemType())
	case *arrow.ListType:
		out.kind, out.element = jsonList, jsonTypeOf(typed.Elem())
	case *arrow.StructType:
		out.kind = jsonStruct
		for _, field := range typed.Fields() {
			out.add(field.Name, jsonTypeOf(field.Type))
		}
	}
	return out
}

func (j *jsonType) add(name string, member *jsonType) {
	if j.index == nil {
		j.index = map[string]int{}
	}
	j.index[name] = len(j.names)
	j.names, j.members = append(j.names, name), append(j.members, member)
}

func (j *jsonType) read(a *arena, t *jsonText, c *cell, depth int) error {
	first := t.next()
	if first == 'n' {
		return t.literal("null")
	}
	switch j.kind {
	case jsonString:
		if first == '"' {
			return t.stringCell(a, c)
		}
		return t.rawCell(c, depth)
	case jsonRaw:
		return t.rawCell(c, depth)
	case jsonBoolean:
		switch first {
		case 't':
			*c = boolean(true)
			return t.literal("true")
		case 'f':
			*c = boolean(false)
			return t.literal("false")
		}
	case jsonInt, jsonBigint, jsonFloat, jsonDouble, jsonDecimal:
		return j.number(a, t, c, first)
	case jsonBinary, jsonDate, jsonTimestamp, jsonLocal:
		if first == '"' {
			return j.written(a, t, c)
		}
	case jsonList:
		if first == '[' {
			return j.list(a, t, c, depth)
		}
	case jsonMap:
		if first == '{' {
			return j.mapping(a, t, c, depth)
		}
	case jsonStruct:
		if first == '{' {
			return j.structure(a, t, c, depth)
		}
	}
	return j.mismatch(t)
}

// mismatch says what stands there instead, but never its text.
func (j *jsonType) mismatch(t *jsonText) error {
	var found string
	switch t.next() {
	case '{':
		found = "an object"
	case '[':
		found = "an array"
	case '"':
		found = "a string"
	case 't', 'f':
		found = "a boolean"
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		found = "a number"
	default:
		return t.fault()
	}
	return fmt.Errorf("%s for a column of type %s", found, j.arrow)
}

func (t *jsonText) stringCell(a *arena, c *cell) error {
	value, err := t.text(a)
	*c = text(value)
	return err
}

// text consumes a string and returns what it stands for.
func (t *jsonText) text(a *arena) ([]byte, error) {
	raw, escaped, err := t.quoted()
	if err != nil || !escaped {
		return raw, err
	}
	return a.unescape(raw), nil
}

func (a *arena) unescape(raw []byte) []byte {
	start := len(a.text)
	a.text = unescape(a.text, raw)
	return a.text[start:len(a.text):len(a.text)]
}

func (t *jsonText) rawCell(c *cell, depth int) error {
	raw, err := t.skip(depth)
	*c = text(raw)
	return err
}

func (j *jsonType) number(a *arena, t *jsonText, c *cell, first byte) error {
	var literal []byte
	var err error
	switch {
	case first == '"' && j.kind == jsonDecimal: // many write exact numbers so
		literal, err = t.text(a)
		inner := jsonText{data: literal}
		if _, fault := inner.number(); err == nil && (fault != nil || inner.end() != nil) {
			return errors.New("the text is not a number")
		}
	case first == '"' && (j.kind == jsonFloat || j.kind == jsonDouble):
		return j.notFinite(a, t, c)
	case first == '-' || first >= '0' && first <= '9':
		literal, err = t.number()
	default:
		return j.mismatch(t)
	}
	if err != nil {
		return err
	}
	switch j.kind { //nolint:exhaustive // those of numbers
	case jsonInt, jsonBigint:
		value, err := parseInteger(literal)
		if err != nil {
			return err
		}
		if j.kind == jsonInt && value != int64(int32(value)) { //nolint:gosec // the check
			return errors.New("the number has more than 32 bits")
		}
		*c = integer(value)
	case jsonFloat, jsonDouble:
		size := 64
		if j.kind == jsonFloat {
			size = 32
		}
		value, err := strconv.ParseFloat(string(literal), size)
		if err != nil {
			return fmt.Errorf("the number is too large for %d bits", size)
		}
		*c = float(value)
	default:
		var scratch [maxPrecision + 1]byte
		parsed, err := parseNumber(literal, &scratch)
		if err != nil {
			return err
		}
		value, err := parsed.decimal(j.precision, j.scale)
		if err != nil {
			return err
		}
		*c = decimal(value)
	}
	return nil
}

// The numbers that JSON has no literals for, as Spark writes them.
const (
	textNaN      = "NaN"
	textInfinity = "Infinity"
)

func (j *jsonType) notFinite(a *arena, t *jsonText, c *cell) error {
	value, err := t.text(a)
	if err != nil {
		return err
	}
	switch string(value) {
	case textNaN:
		*c = float(math.NaN())
	case textInfinity:
		*c = float(math.Inf(1))
	case "-" + textInfinity:
		*c = float(math.Inf(-1))
	default:
		return fmt.Errorf("a string for a column of type %s", j.arrow)
	}
	return nil
}

// written reads what JSON has only text for.
func (j *jsonType) written(a *arena, t *jsonText, c *cell) error {
	value, err := t.text(a)
	if err != nil {
		return err
	}
	var at int64
	switch j.kind { //nolint:exhaustive // those of text
	case jsonBinary:
		start := len(a.text)
		a.text, err = base64.StdEncoding.AppendDecode(a.text, value)
		if err != nil {
			return errors.New("the text is not base64")
		}
		*c = text(a.text[start:len(a.text):len(a.text)])
		return nil
	case jsonDate:
		at, err = parseDate(value)
	default:
		at, err = parseTime(value, j.kind == jsonLocal)
	}
	*c = integer(at)
	return err
}

func (j *jsonType) list(a *arena, t *jsonText, c *cell, depth int) error {
	t.at++
	var list []cell
	for {
		more, err := t.more(']', len(list))
		if err != nil {
			return err
		}
		if !more {
			*c = cell{valid: true, cells: list}
			return nil
		}
		if list, err = a.push(list); err != nil {
			return err
		}
		if err := j.element.read(a, t, &list[len(list)-1], depth+1); err != nil {
			return err
		}
	}
}

func (j *jsonType) mapping(a *arena, t *jsonText, c *cell, depth int) error {
	t.at++
	var entries []cell
	for {
		more, err := t.more('}', len(entries))
		if err != nil {
			return err
		}
		if !more {
			kept := unique(entries)
			if len(kept) < len(entries) {
				return errors.New("a key of the map stands twice")
			}
			*c = cell{valid: true, cells: kept}
			return nil
		}
		raw, escaped, err := t.key()
		if err != nil {
			return err
		}
		if escaped {
			raw = a.unescape(raw)
		}
		for range 2 {
			if entries, err = a.push(entries); err != nil {
				return err
			}
		}
		entries[len(entries)-2] = text(raw)
		if err := j.element.read(a, t, &entries[len(entries)-1], depth+1); err != nil {
			return err
		}
	}
}

func (j *jsonType) structure(a *arena, t *jsonText, c *cell, depth int) error {
	t.at++
	cells, err := a.take(len(j.members))
	if err != nil {
		return err
	}
	var few [64]bool // which members there were
	seen := few[:]
	if len(j.members) > len(few) {
		seen = make([]bool, len(j.members))
	}
	for count := 0; ; count++ {
		more, err := t.more('}', count)
		if err != nil {
			return err
		}
		if !more {
			*c = cell{valid: true, cells: cells}
			return nil
		}
		raw, escaped, err := t.key()
		if err != nil {
			return err
		}
		if escaped {
			raw = a.unescape(raw)
		}
		at := j.member(raw, count)
		if at < 0 {
			if _, err := t.skip(depth + 1); err != nil {
				return err
			}
			continue
		}
		if seen[at] {
			return fmt.Errorf("%s stands twice", j.names[at])
		}
		seen[at] = true
		if err := j.members[at].read(a, t, &cells[at], depth+1); err != nil {
			return fmt.Errorf("%s: %w", j.names[at], err)
		}
	}
}

// member finds a name; most writers keep to the schema's order.
func (j *jsonType) member(name []byte, guess int) int {
	if guess < len(j.names) && j.names[guess] == string(name) {
		return guess
	}
	if at, ok := j.index[string(name)]; ok {
		return at
	}
	return -1
}
