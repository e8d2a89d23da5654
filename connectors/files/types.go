package files

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/inflowhq/inflow/schemas"
)

// guess finds the types of text columns from rows.
type guess struct {
	names []string
	kinds map[string]kind
	rows  int
	bytes int
}

// kind is what a text can be read as.
type kind uint8

const (
	unknown kind = iota // only NULL so far
	boolean
	bigint
	double
	date
	timestamp // with a zone
	local     // without one
	text
)

func newGuess() *guess { return &guess{kinds: make(map[string]kind)} }

func (g *guess) full() bool { return g.rows >= sampleRows || g.bytes >= sampleBytes }

// columns makes names columns even where all their values are NULL.
func (g *guess) columns(names []string) {
	for _, name := range names {
		if _, ok := g.kinds[name]; !ok {
			g.names, g.kinds[name] = append(g.names, name), unknown
		}
	}
}

func (g *guess) observe(row textRow) {
	g.columns(row.columns)
	for i, name := range row.columns {
		g.kinds[name] = widen(g.kinds[name], kindOf(row.cells[i]))
	}
	g.rows++
	g.bytes += row.size
}

func (g *guess) schema() (*arrow.Schema, error) {
	if len(g.names) == 0 {
		return nil, fmt.Errorf("files: the files have no rows, so nothing tells the columns: %w", schemas.ErrInvalid)
	}
	fields := make([]arrow.Field, len(g.names))
	for i, name := range g.names {
		fields[i] = arrow.Field{Name: name, Type: g.kinds[name].dataType(), Nullable: true}
	}
	return arrow.NewSchema(fields, nil), nil
}

// widen is the narrowest kind that holds both.
func widen(a, b kind) kind {
	switch {
	case a == b, b == unknown:
		return a
	case a == unknown:
		return b
	case a == bigint && b == double, a == double && b == bigint:
		return double
	}
	return text
}

func (k kind) dataType() arrow.DataType {
	switch k {
	case boolean:
		return arrow.FixedWidthTypes.Boolean
	case bigint:
		return arrow.PrimitiveTypes.Int64
	case double:
		return arrow.PrimitiveTypes.Float64
	case date:
		return arrow.FixedWidthTypes.Date32
	case timestamp:
		return arrow.FixedWidthTypes.Timestamp_us
	case local:
		return &arrow.TimestampType{Unit: arrow.Microsecond}
	case unknown, text:
	}
	return arrow.BinaryTypes.String
}

func kindOf(c cell) kind {
	switch c.kind {
	case nullCell:
		return unknown
	case literalCell:
		return literalKind(c.text)
	case stringCell:
		return timeKind(c.text)
	case fieldCell:
		if k := literalKind(c.text); k != text {
			return k
		}
		return timeKind(c.text)
	}
	return text
}

// literalKind takes only numbers that read back the same: a postal code "01234" or an account of 30 digits is
// no number.
func literalKind(literal string) kind {
	if literal == "true" || literal == "false" {
		return boolean
	}
	if !isNumber(literal) {
		return text
	}
	if _, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return bigint
	}
	if _, err := strconv.ParseFloat(literal, 64); err != nil || !strings.ContainsAny(literal, ".eE") {
		return text
	}
	return double
}

// isNumber follows JSON's grammar, which knows no leading zeros, plus signs, hexadecimals and infinities.
func isNumber(literal string) bool {
	digits := func() bool {
		trimmed := strings.TrimLeft(literal, "0123456789")
		some := len(trimmed) < len(literal)
		literal = trimmed
		return some
	}
	literal = strings.TrimPrefix(literal, "-")
	leadingZero := len(literal) > 1 && literal[0] == '0' && literal[1] >= '0' && literal[1] <= '9'
	if leadingZero || !digits() {
		return false
	}
	if rest, ok := strings.CutPrefix(literal, "."); ok {
		literal = rest
		if !digits() {
			return false
		}
	}
	if literal != "" && (literal[0] == 'e' || literal[0] == 'E') {
		literal = literal[1:]
		if literal != "" && (literal[0] == '+' || literal[0] == '-') {
			literal = literal[1:]
		}
		if !digits() {
			return false
		}
	}
	return literal == ""
}

func timeKind(value string) kind {
	// No layout is shorter or much longer, and most texts are neither.
	if len(value) < len(time.DateOnly) || len(value) > len(time.RFC3339Nano) || value[4] != '-' {
		return text
	}
	if _, err := time.Parse(time.DateOnly, value); err == nil {
		return date
	}
	if _, err := zoned(value); err == nil {
		return timestamp
	}
	if _, err := unzoned(value); err == nil {
		return local
	}
	return text
}

func zoned(value string) (time.Time, error) {
	return time.Parse(time.RFC3339, strings.Replace(value, " ", "T", 1))
}

func unzoned(value string) (time.Time, error) {
	return time.Parse("2006-01-02T15:04:05", strings.Replace(value, " ", "T", 1))
}

// errKind says that a value does not fit. It never quotes the value.
func errKind(dataType arrow.DataType) error {
	return fmt.Errorf("the value is no %s, as the values before are: clean it, or name columns without this one", sqlType(dataType))
}

func sqlType(dataType arrow.DataType) string {
	switch dataType.ID() { //nolint:exhaustive // the others are their own best name
	case arrow.BOOL:
		return "BOOLEAN"
	case arrow.INT64:
		return "BIGINT"
	case arrow.FLOAT64:
		return "DOUBLE"
	case arrow.DATE32:
		return "DATE"
	case arrow.TIMESTAMP:
		if arrow.TypeEqual(dataType, arrow.FixedWidthTypes.Timestamp_us) {
			return "TIMESTAMP with a zone"
		}
		return "TIMESTAMP without a zone"
	}
	return dataType.String()
}

// appender returns what appends a cell to a column. Only the types that dataType gives have one; others come
// from Parquet files that stand before text files.
func appender(builder array.Builder) func(cell) error {
	var parse func(cell) bool
	switch b := builder.(type) {
	case *array.StringBuilder:
		parse = func(c cell) bool {
			b.Append(c.text)
			return true
		}
	case *array.BooleanBuilder:
		parse = func(c cell) bool {
			if c.kind == stringCell || c.text != "true" && c.text != "false" {
				return false
			}
			b.Append(c.text == "true")
			return true
		}
	case *array.Int64Builder:
		parse = func(c cell) bool {
			number, err := strconv.ParseInt(c.text, 10, 64)
			if err != nil || c.kind == stringCell || !isNumber(c.text) {
				return false
			}
			b.Append(number)
			return true
		}
	case *array.Float64Builder:
		parse = func(c cell) bool {
			number, err := strconv.ParseFloat(c.text, 64)
			if err != nil || c.kind == stringCell || !isNumber(c.text) {
				return false
			}
			b.Append(number)
			return true
		}
	case *array.Date32Builder:
		parse = func(c cell) bool {
			day, err := time.Parse(time.DateOnly, c.text)
			if err != nil {
				return false
			}
			b.Append(arrow.Date32FromTime(day))
			return true
		}
	case *array.TimestampBuilder:
		layout := unzoned
		if arrow.TypeEqual(b.Type(), arrow.FixedWidthTypes.Timestamp_us) {
			layout = zoned
		}
		parse = func(c cell) bool {
			when, err := layout(c.text)
			if err != nil {
				return false
			}
			b.Append(arrow.Timestamp(when.UnixMicro()))
			return true
		}
	}
	return func(c cell) error {
		switch {
		case c.kind == nullCell:
			builder.AppendNull()
		case parse == nil:
			return fmt.Errorf("type %s is not read from text", builder.Type())
		case !parse(c):
			return errKind(builder.Type())
		}
		return nil
	}
}
