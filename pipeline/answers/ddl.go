package answers

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// ddl reads a type's text: `string`, `decimal(10, 2)`, `enum(low, high)`, `array<double>`, `struct<a: int, b: string>`.
// A `?` behind it allows NULL. In the DDL of a table, which sql says this is, fields may be NULL unless they say
// NOT NULL, and may have a COMMENT.
func (r *reader) ddl(text string, path []string, sql bool) *field {
	p := &typeParser{reader: r, rest: text, sql: sql}
	out, err := p.parse(0)
	if err == nil && strings.TrimSpace(p.rest) != "" {
		err = fmt.Errorf("%q follows the type", cut(p.rest))
	}
	if err != nil {
		r.fault(path, err.Error(), "use string, int, bigint, float, double, boolean, date, timestamp, decimal(10, 2), enum(a, b), array<...> or struct<name: type>")
		return nil
	}
	return out
}

type typeParser struct {
	reader *reader
	rest   string
	sql    bool
}

func cut(text string) string {
	const shown = 40
	if text = strings.TrimSpace(text); len(text) > shown {
		return text[:shown] + "…"
	}
	return text
}

// take consumes a mark, and reports whether it stood there.
func (p *typeParser) take(mark string) bool {
	trimmed := strings.TrimLeftFunc(p.rest, unicode.IsSpace)
	if !strings.HasPrefix(trimmed, mark) {
		return false
	}
	p.rest = trimmed[len(mark):]
	return true
}

// keyword consumes a word in any case.
func (p *typeParser) keyword(word string) bool {
	trimmed := strings.TrimLeftFunc(p.rest, unicode.IsSpace)
	if len(trimmed) < len(word) || !strings.EqualFold(trimmed[:len(word)], word) {
		return false
	}
	p.rest = trimmed[len(word):]
	return true
}

// name consumes an identifier, which may stand in backticks.
func (p *typeParser) name() string {
	if p.take("`") {
		name, rest, ok := strings.Cut(p.rest, "`")
		if !ok {
			return ""
		}
		p.rest = rest
		return name
	}
	trimmed := strings.TrimLeftFunc(p.rest, unicode.IsSpace)
	end := strings.IndexFunc(trimmed, func(r rune) bool { return r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		end = len(trimmed)
	}
	p.rest = trimmed[end:]
	return trimmed[:end]
}

func (p *typeParser) parse(depth int) (*field, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	word := p.name()
	out := &field{bits: 64}
	switch strings.ToLower(word) {
	case "string", "text", "varchar":
	case "int", "integer", "smallint", "tinyint":
		out.kind, out.bits = kindInteger, 32
	case "bigint", "long":
		out.kind = kindInteger
	case "float", "real":
		out.kind, out.bits = kindFloat, 32
	case "double", "number":
		out.kind = kindFloat
	case "boolean", "bool":
		out.kind = kindBoolean
	case "date":
		out.kind = kindDate
	case "timestamp":
		out.kind = kindTimestamp
	case "decimal", "numeric":
		out.kind, out.precision = kindDecimal, 10 // SQL's own default
		if err := p.decimal(out); err != nil {
			return nil, err
		}
	case "enum":
		if err := p.enum(out); err != nil {
			return nil, err
		}
	case "array":
		if !p.take("<") {
			return nil, fmt.Errorf("array needs the type of its elements: array<string>")
		}
		element, err := p.parse(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.take(">") {
			return nil, fmt.Errorf("array< is not closed")
		}
		out.kind, out.element = kindList, element
	case "struct":
		if err := p.structure(out, depth); err != nil {
			return nil, err
		}
	case "":
		return nil, fmt.Errorf("there is no type at %q", cut(p.rest))
	default:
		return nil, fmt.Errorf("there is no type `%s`", word)
	}
	out.nullable = p.take("?")
	return out, nil
}

func (p *typeParser) decimal(out *field) error {
	if !p.take("(") {
		return nil
	}
	inner, rest, ok := strings.Cut(p.rest, ")")
	if !ok {
		return fmt.Errorf("decimal( is not closed")
	}
	p.rest = rest
	first, second, both := strings.Cut(inner, ",")
	precision, err := strconv.ParseInt(strings.TrimSpace(first), 10, 32)
	scale := int64(0)
	if err == nil && both {
		scale, err = strconv.ParseInt(strings.TrimSpace(second), 10, 32)
	}
	if err != nil || precision < 1 || precision > 38 || scale < 0 || scale > precision {
		return fmt.Errorf("decimal(%s) is no decimal: it has up to 38 digits, of which some follow the point", cut(inner))
	}
	out.precision, out.scale = int32(precision), int32(scale)
	return nil
}

func (p *typeParser) enum(out *field) error {
	if !p.take("(") {
		return fmt.Errorf("enum needs its values: enum(low, high)")
	}
	inner, rest, ok := strings.Cut(p.rest, ")")
	if !ok {
		return fmt.Errorf("enum( is not closed")
	}
	p.rest = rest
	seen := map[string]bool{}
	for value := range strings.SplitSeq(inner, ",") {
		value = strings.Trim(strings.TrimSpace(value), `'"`)
		if value == "" || seen[value] {
			return fmt.Errorf("enum(%s) has an empty value, or one twice", cut(inner))
		}
		seen[value] = true
		out.enum = append(out.enum, value)
	}
	return nil
}

func (p *typeParser) structure(out *field, depth int) error {
	out.kind = kindStruct
	if !p.take("<") {
		return fmt.Errorf("struct needs its fields: struct<label: string>")
	}
	for {
		name := p.name()
		p.take(":") // SQL allows a space instead
		each, err := p.parse(depth + 1)
		if err != nil {
			return err
		}
		each.name = name
		if p.sql {
			each.nullable = true
			if p.keyword("NOT NULL") {
				each.nullable = false
			}
			if p.keyword("COMMENT") {
				if !p.take("'") {
					return fmt.Errorf("a COMMENT is a text in quotes")
				}
				note, rest, ok := strings.Cut(p.rest, "'")
				if !ok {
					return fmt.Errorf("the text of a COMMENT is not closed")
				}
				each.note, p.rest = note, rest
			}
		}
		if !p.reader.count(nil) {
			return fmt.Errorf("there are too many fields")
		}
		before := len(p.reader.problems)
		out.add(p.reader, each, nil)
		if len(p.reader.problems) > before {
			added := p.reader.problems[before]
			p.reader.problems = p.reader.problems[:before]
			return fmt.Errorf("%s", added.Text)
		}
		if p.take(",") {
			continue
		}
		if p.take(">") {
			return nil
		}
		return fmt.Errorf("a `,` or `>` is missing before %q", cut(p.rest))
	}
}
