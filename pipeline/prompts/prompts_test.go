package prompts_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/pipeline/prompts"
)

func ticketSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "subject", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "tags", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true},
	}, nil)
}

func ticket(t *testing.T, json string) arrow.Record {
	t.Helper()
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, ticketSchema(), strings.NewReader("["+json+"]"))
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestRender(t *testing.T) {
	t.Parallel()
	cases := []struct{ template, row, want string }{
		{"{{ subject }}", `{"subject": "no light"}`, "no light"},
		{"#{{id}}: {{ subject }}!", `{"id": 7, "subject": "no light"}`, "#7: no light!"},
		{"[{{ subject }}]", `{"subject": null}`, "[]"},
		{"{{ tags }}", `{"tags": ["a", "b\""]}`, `["a","b\""]`},
		{"{{ '{{' }} {{ \"}\" }}", `{}`, "{{ }"},
		{"a row's own {{ subject }}", `{"subject": "{{ id }}"}`, "a row's own {{ id }}"},
		{"}} alone is text", `{}`, "}} alone is text"},
	}
	for _, c := range cases {
		t.Run(c.template, func(t *testing.T) {
			t.Parallel()
			template, problems := prompts.Parse([]prompts.Message{{Role: "user", Content: c.template}}, ticketSchema())
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			record := ticket(t, c.row)
			defer record.Release()
			if got := template.Render(record, 0)[0].Content; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestEveryProblemIsReported(t *testing.T) {
	t.Parallel()
	_, problems := prompts.Parse([]prompts.Message{
		{Role: "system", Content: "{{ nobody }} and {{ 1+1 }}"}, {Role: "user", Content: "{{ subject }} {{ open"},
	}, ticketSchema())
	if len(problems) != 3 || problems[0].Column != "nobody" || problems[1].Message != 0 || problems[2].Message != 1 {
		t.Errorf("%+v", problems)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"{{ subject }}", "{{", "}}", "{{ '{{' }}", "{{}}", "{{{{}}}}", "é{{ id }}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		template, problems := prompts.Parse([]prompts.Message{{Role: "user", Content: text}}, ticketSchema())
		if len(problems) > 0 {
			return
		}
		record := ticket(t, `{"id": 1, "subject": "s"}`)
		defer record.Release()
		got := template.Render(record, 0)[0].Content
		if !strings.Contains(text, "{{") && got != text {
			t.Errorf("plain text %q became %q", text, got)
		}
	})
}

// TestPlacesOverLines: a place whose braces stand on two lines is a place all the same, and never sent as it is written.
func TestPlacesOverLines(t *testing.T) {
	t.Parallel()
	template, problems := prompts.Parse([]prompts.Message{{Role: "user", Content: "A {{ subject\n}} B"}}, ticketSchema())
	if len(problems) > 0 || strings.Join(template.Columns(), " ") != "subject" {
		t.Errorf("got %v, columns %v", problems, template.Columns())
	}
	if _, problems := prompts.Parse([]prompts.Message{{Role: "user", Content: "A {{ nope\n}} B"}}, ticketSchema()); len(problems) != 1 {
		t.Errorf("got %v", problems)
	}
}
