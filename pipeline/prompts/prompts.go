// Package prompts turns a row into the messages of a request. A template holds text and {{ column }} places;
// it has no logic, so that what a row costs can be seen by reading it.
package prompts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/inflowhq/inflow/schemas"
)

// Template is a parsed list of messages, bound to the columns of one source. It is immutable and safe for
// concurrent use.
type Template struct {
	messages []message
	columns  []string // in order of first use
}

// message has a text, or parts.
type message struct {
	role  string
	text  text
	parts []part
}

// part is a text, or media from a column where kind is set.
type part struct {
	text     text
	kind     schemas.MediaKind
	column   int
	mimeType string // empty: what the bytes or the name say
}

// text is made of pieces: literal ones, and columns.
type text []piece

// piece is a literal text, or the column of that index where column >= 0.
type piece struct {
	text   string
	column int
}

// Message is one message of a template: a text with places in it, or parts.
type Message struct {
	Role    string
	Content string
	Parts   []Part
}

// Part is a text with places in it, or media from a column where Kind is set.
type Part struct {
	Text     string
	Kind     schemas.MediaKind
	Column   string // BINARY: the bytes; STRING: a URL, or a path
	MIMEType string // empty: what the bytes or the name say
}

// Problem is one thing wrong with a template.
type Problem struct {
	Message int    // index of the message
	Part    int    // index of the part; -1: the message has none
	Column  string // the column that the source has not got; empty for another problem
	Text    string
}

// Parse reads the templates of messages and binds their places to the columns of schema. It reports every
// problem at once; the template is of use only where there is none.
func Parse(messages []Message, schema *arrow.Schema) (*Template, []Problem) {
	b := &binder{
		schema: schema, template: &Template{},
		place: regexp.MustCompile(`(?s)\{\{(.*?)\}\}`), name: regexp.MustCompile(`^[\pL_][\pL\pN_ .-]*$`),
	}
	for i, m := range messages {
		parsed := message{role: m.Role}
		if m.Parts == nil {
			parsed.text = b.text(m.Content, i, -1)
		}
		for j, each := range m.Parts {
			if each.Kind == "" {
				parsed.parts = append(parsed.parts, part{text: b.text(each.Text, i, j)})
				continue
			}
			parsed.parts = append(parsed.parts, part{kind: each.Kind, column: b.media(each.Column, i, j), mimeType: each.MIMEType})
		}
		b.template.messages = append(b.template.messages, parsed)
	}
	return b.template, b.problems
}

// binder binds a template to a schema.
type binder struct {
	schema      *arrow.Schema
	template    *Template
	place, name *regexp.Regexp
	problems    []Problem
}

func (b *binder) problem(message, part int, column, format string, args ...any) {
	b.problems = append(b.problems, Problem{Message: message, Part: part, Column: column, Text: fmt.Sprintf(format, args...)})
}

// column finds a column; -1 where there is none.
func (b *binder) column(name string, message, part int) int {
	indices := b.schema.FieldIndices(name)
	if len(indices) == 0 {
		b.problem(message, part, name, "the source has no column `%s`", name)
		return -1
	}
	if !slices.Contains(b.template.columns, name) {
		b.template.columns = append(b.template.columns, name)
	}
	return indices[0]
}

// media finds a column that can hold media.
func (b *binder) media(name string, message, part int) int {
	index := b.column(name, message, part)
	if index >= 0 {
		switch kind := b.schema.Field(index).Type; kind.ID() { //nolint:exhaustive // no other holds media
		case arrow.BINARY, arrow.STRING:
		default:
			b.problem(message, part, "", "the column `%s` is %s; media is a BINARY column, or a STRING one of URLs or paths", name, kind)
		}
	}
	return index
}

// text reads a text with places in it.
func (b *binder) text(rest string, message, part int) (out text) {
	for rest != "" {
		at := b.place.FindStringSubmatchIndex(rest)
		if at == nil {
			if strings.Contains(rest, "{{") {
				b.problem(message, part, "", "there is a `{{` without its `}}`")
			}
			return append(out, piece{text: rest, column: -1})
		}
		if at[0] > 0 {
			out = append(out, piece{text: rest[:at[0]], column: -1})
		}
		inner := strings.TrimSpace(rest[at[2]:at[3]])
		rest = rest[at[1]:]
		if literal, ok := quoted(inner); ok {
			out = append(out, piece{text: literal, column: -1})
			continue
		}
		if !b.name.MatchString(inner) {
			b.problem(message, part, "", "`{{ %s }}` is no column name; write `{{ '{{' }}` for the braces themselves", inner)
			continue
		}
		if index := b.column(inner, message, part); index >= 0 {
			out = append(out, piece{column: index})
		}
	}
	return out
}

// quoted returns the text between quotes, the way to write braces literally.
func quoted(text string) (string, bool) {
	if len(text) >= 2 && (text[0] == '\'' || text[0] == '"') && text[len(text)-1] == text[0] {
		return text[1 : len(text)-1], true
	}
	return "", false
}

// Columns are the columns that the template uses.
func (t *Template) Columns() []string { return slices.Clone(t.columns) }

// Render fills the template from one row of a record of the schema that it was bound to. Media of a STRING column have
// its text as their URL or their path; a part whose column is NULL is left out. Bytes point into the record.
func (t *Template) Render(record arrow.Record, row int) []schemas.Message {
	out := make([]schemas.Message, len(t.messages))
	for i := range t.messages {
		m := &t.messages[i]
		out[i].Role = m.role
		if m.parts == nil {
			out[i].Content = m.text.render(record, row)
			continue
		}
		out[i].Parts = make([]schemas.Part, 0, len(m.parts))
		for _, each := range m.parts {
			if each.kind == "" {
				out[i].Parts = append(out[i].Parts, schemas.Part{Text: each.text.render(record, row)})
			} else if media := each.media(record, row); media != nil {
				out[i].Parts = append(out[i].Parts, schemas.Part{Media: media})
			}
		}
	}
	return out
}

func (t text) render(record arrow.Record, row int) string {
	if len(t) == 1 && t[0].column < 0 {
		return t[0].text
	}
	var out strings.Builder
	for _, each := range t {
		if each.column < 0 {
			out.WriteString(each.text)
		} else {
			out.WriteString(schemas.Text(record.Column(each.column), row))
		}
	}
	return out.String()
}

func (p *part) media(record arrow.Record, row int) *schemas.Media {
	column := record.Column(p.column)
	if column.IsNull(row) {
		return nil
	}
	media := &schemas.Media{Kind: p.kind, MIMEType: p.mimeType}
	switch place := schemas.Text(column, row); {
	case column.DataType().ID() == arrow.BINARY:
		media.Data = column.(*array.Binary).Value(row) //nolint:errcheck,forcetypeassert // the type says so
	case isURL(place):
		media.URL = place
	default:
		media.Path = place
		return media // what it is, its bytes tell when they are read
	}
	Describe(media)
	return media
}
