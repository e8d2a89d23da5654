// Package prompts turns a row into the messages of a request. A template holds text and {{ column }} places;
// it has no logic, so that what a row costs can be seen by reading it.
package prompts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/schemas"
)

// Template is a parsed list of messages, bound to the columns of one source. It is immutable and safe for
// concurrent use.
type Template struct {
	messages []message
	columns  []string // in order of first use
}

type message struct {
	role  string
	parts []part
}

// part is a literal text, or the column of that index where column >= 0.
type part struct {
	text   string
	column int
}

// Problem is one thing wrong with a template.
type Problem struct {
	Message int    // index of the message
	Column  string // the column that the source has not got; empty for another problem
	Text    string
}

// Parse reads the templates of messages and binds their places to the columns of schema. It reports every
// problem at once; the template is of use only where there is none.
func Parse(messages []schemas.Message, schema *arrow.Schema) (*Template, []Problem) {
	place := regexp.MustCompile(`\{\{(.*?)\}\}`)
	name := regexp.MustCompile(`^[\pL_][\pL\pN_ .-]*$`)
	t := &Template{}
	var problems []Problem
	for i, m := range messages {
		parsed := message{role: m.Role}
		rest := m.Content
		for rest != "" {
			at := place.FindStringSubmatchIndex(rest)
			if at == nil {
				if open := strings.Index(rest, "{{"); open >= 0 {
					problems = append(problems, Problem{Message: i, Text: "there is a `{{` without its `}}`"})
				}
				parsed.parts = append(parsed.parts, part{text: rest, column: -1})
				break
			}
			if at[0] > 0 {
				parsed.parts = append(parsed.parts, part{text: rest[:at[0]], column: -1})
			}
			inner := strings.TrimSpace(rest[at[2]:at[3]])
			rest = rest[at[1]:]
			if literal, ok := quoted(inner); ok {
				parsed.parts = append(parsed.parts, part{text: literal, column: -1})
				continue
			}
			if !name.MatchString(inner) {
				problems = append(problems, Problem{Message: i, Text: fmt.Sprintf(
					"`{{ %s }}` is no column name; write `{{ '{{' }}` for the braces themselves", inner)})
				continue
			}
			indices := schema.FieldIndices(inner)
			if len(indices) == 0 {
				problems = append(problems, Problem{
					Message: i, Column: inner, Text: fmt.Sprintf("the source has no column `%s`", inner),
				})
				continue
			}
			parsed.parts = append(parsed.parts, part{column: indices[0]})
			if !slices.Contains(t.columns, inner) {
				t.columns = append(t.columns, inner)
			}
		}
		t.messages = append(t.messages, parsed)
	}
	return t, problems
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

// Render fills the template from one row of a record of the schema that it was bound to.
func (t *Template) Render(record arrow.Record, row int) []schemas.Message {
	out := make([]schemas.Message, len(t.messages))
	var text strings.Builder
	for i, m := range t.messages {
		out[i].Role = m.role
		if len(m.parts) == 1 && m.parts[0].column < 0 {
			out[i].Content = m.parts[0].text
			continue
		}
		text.Reset()
		for _, p := range m.parts {
			if p.column < 0 {
				text.WriteString(p.text)
			} else {
				text.WriteString(schemas.Text(record.Column(p.column), row))
			}
		}
		out[i].Content = text.String()
	}
	return out
}
