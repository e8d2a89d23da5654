package serde

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/apache/arrow/go/v17/arrow"
)

// parseDDL reads columns as SQL writes them: "ticket_id BIGINT, subject STRING, tags ARRAY<STRING>".
func parseDDL(text string) ([]arrow.Field, error) {
	p := &ddlParser{rest: text}
	fields, err := p.fields(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.rest != "" {
		return nil, fmt.Errorf("a comma is missing before %q", shorten(p.rest))
	}
	return fields, nil
}

type ddlParser struct {
	rest    string
	columns int
}

func shorten(text string) string {
	const shown = 40
	if runes := []rune(strings.TrimSpace(text)); len(runes) > shown {
		return string(runes[:shown]) + "..."
	}
	return strings.TrimSpace(text)
}

func (p *ddlParser) space() { p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace) }

// take consumes a mark, and reports whether it stood there.
func (p *ddlParser) take(mark string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, mark)
	p.rest = rest
	return ok
}

// words consumes words in any case.
func (p *ddlParser) words(words ...string) bool {
	before := p.rest
	for _, word := range words {
		p.space()
		if !strings.EqualFold(p.word(), word) {
			p.rest = before
			return false
		}
	}
	return true
}

// word consumes letters, digits and underscores.
func (p *ddlParser) word() string {
	p.space()
	end := strings.IndexFunc(p.rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		end = len(p.rest)
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	return word
}

// name consumes a column's name, in backticks where it is no word; a backtick stands in it twice.
func (p *ddlParser) name() (string, error) {
	if !p.take("`") {
		if name := p.word(); name != "" {
			return name, nil
		}
		return "", fmt.Errorf("a column's name is missing at %q", shorten(p.rest))
	}
	return p.quoted('`')
}

// quoted consumes a text whose opening mark was taken.
func (p *ddlParser) quoted(mark byte) (string, error) {
	var out strings.Builder
	for {
		part, rest, ok := strings.Cut(p.rest, string(mark))
		if !ok {
			return "", fmt.Errorf("a %c is not closed", mark)
		}
		out.WriteString(part)
		p.rest = rest
		if !strings.HasPrefix(rest, string(mark)) {
			return out.String(), nil
		}
		out.WriteByte(mark)
		p.rest = rest[1:]
	}
}

func (p *ddlParser) fields(depth int) ([]arrow.Field, error) {
	var fields []arrow.Field
	for {
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		p.take(":") // inside a STRUCT
		dataType, err := p.dataType(depth)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
		p.words("NOT", "NULL") // a record without it is not refused: the column is NULL
		if p.words("COMMENT") {
			if !p.take("'") {
				return nil, fmt.Errorf("column %s: a COMMENT is a text in quotes", name)
			}
			if _, err := p.quoted('\''); err != nil {
				return nil, err
			}
		}
		fields = append(fields, nullable(name, dataType))
		if !p.take(",") {
			return fields, nil
		}
	}
}

func (p *ddlParser) dataType(depth int) (arrow.DataType, error) {
	if p.columns++; p.columns > maxColumns {
		return nil, fmt.Errorf("there are more than %d columns", maxColumns)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("the type is nested more than %d deep", maxDepth)
	}
	switch word := strings.ToUpper(p.word()); word {
	case "STRING", "TEXT":
		return arrow.BinaryTypes.String, nil
	case "VARCHAR", "CHAR":
		if _, _, err := p.arguments(1); err != nil {
			return nil, err
		}
		return arrow.BinaryTypes.String, nil
	case "BOOLEAN", "BOOL":
		return arrow.FixedWidthTypes.Boolean, nil
	case "INT", "INTEGER", "SMALLINT", "SHORT", "TINYINT", "BYTE":
		return arrow.PrimitiveTypes.Int32, nil
	case "BIGINT", "LONG":
		return arrow.PrimitiveTypes.Int64, nil
	case "FLOAT", "REAL":
		return arrow.PrimitiveTypes.Float32, nil
	case "DOUBLE":
		return arrow.PrimitiveTypes.Float64, nil
	case "BINARY":
		return arrow.BinaryTypes.Binary, nil
	case "DATE":
		return arrow.FixedWidthTypes.Date32, nil
	case "TIMESTAMP":
		return timestampType(), nil
	case "TIMESTAMP_NTZ":
		return localTimestampType(), nil
	case "DECIMAL", "NUMERIC", "DEC":
		precision, scale, err := p.arguments(2)
		if err != nil {
			return nil, err
		}
		if precision == 0 {
			precision = 10 // SQL's own default
		}
		if precision > maxPrecision || scale > precision {
			return nil, fmt.Errorf("DECIMAL(%d, %d): it has up to %d digits, of which some follow the point", precision, scale, maxPrecision)
		}
		return decimalType(precision, scale), nil
	case "ARRAY":
		return p.array(depth)
	case "MAP":
		return p.mapOf(depth)
	case "STRUCT":
		if !p.take("<") {
			return nil, errors.New("STRUCT needs its fields: STRUCT<name: STRING>")
		}
		fields, err := p.fields(depth + 1)
		if err != nil {
			return nil, err
		}
		return arrow.StructOf(fields...), p.close()
	case "":
		return nil, fmt.Errorf("the type is missing at %q", shorten(p.rest))
	default:
		return nil, fmt.Errorf("there is no type %q", shorten(word))
	}
}

func (p *ddlParser) close() error {
	if !p.take(">") {
		return fmt.Errorf("a > is missing before %q", shorten(p.rest))
	}
	return nil
}

func (p *ddlParser) array(depth int) (arrow.DataType, error) {
	if !p.take("<") {
		return nil, errors.New("ARRAY needs the type of its elements: ARRAY<STRING>")
	}
	element, err := p.dataType(depth + 1)
	if err != nil {
		return nil, err
	}
	return arrow.ListOf(element), p.close()
}

func (p *ddlParser) mapOf(depth int) (arrow.DataType, error) {
	if !p.take("<") || !p.words("STRING") || !p.take(",") {
		return nil, errors.New("MAP needs STRING keys and the type of its values: MAP<STRING, BIGINT>")
	}
	item, err := p.dataType(depth + 1)
	if err != nil {
		return nil, err
	}
	return mapType(item), p.close()
}

// arguments consumes up to most numbers in parentheses, which may be missing.
func (p *ddlParser) arguments(most int) (first, second int32, err error) {
	if !p.take("(") {
		return 0, 0, nil
	}
	inner, rest, ok := strings.Cut(p.rest, ")")
	if !ok {
		return 0, 0, errors.New("a ) is missing")
	}
	p.rest = rest
	parts := strings.Split(inner, ",")
	if len(parts) > most {
		return 0, 0, fmt.Errorf("(%s) has too many numbers", shorten(inner))
	}
	var numbers [2]int32
	for i, part := range parts {
		value, err := strconv.ParseInt(strings.TrimSpace(part), 10, 32)
		if err != nil || value < 0 || i == 0 && value == 0 {
			return 0, 0, fmt.Errorf("(%s) is not understood", shorten(inner))
		}
		numbers[i] = int32(value)
	}
	return numbers[0], numbers[1], nil
}
