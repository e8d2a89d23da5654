package pipeline_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/answers"
	"github.com/inflowhq/inflow/schemas"
)

// typist answers with JSON, after as many wrong answers as a row's text says: "row 1" has one.
type typist struct {
	mu    sync.Mutex
	calls int
}

func (*typist) URL(schemas.Task) string { return "memory://typist" }

func (m *typist) Invoke(_ context.Context, request *schemas.Request) (*schemas.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	response := &schemas.Response{
		Text: `{"label":"low","score":0.5}`, HTTPStatus: 200,
		Usage: schemas.Usage{InputTokens: 10, OutputTokens: 2, TotalTokens: 12, Basis: schemas.BasisProvider},
	}
	first, last := request.Messages[0].Content, request.Messages[len(request.Messages)-1].Content
	told := strings.Contains(last, "answer.label: must be one of low, high")
	switch {
	case request.Format == nil:
		response.Text = "nobody asked for a type"
	case first == "row 1" && !told, first == "row 2":
		response.Text = `{"label":"WRONG","score":0.5}`
	case len(request.Messages) > 1 && request.Messages[1].Content != `{"label":"WRONG","score":0.5}`:
		response.Text = "the model does not see what it said"
	}
	return response, nil
}

// TestTypedAnswers: an answer of another type is asked again once, with what is wrong; one that stays wrong is the
// row's error and keeps its text; every call is paid and audited.
func TestTypedAnswers(t *testing.T) {
	t.Parallel()
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(`{label: "enum(low, high)", score: double}`), &node); err != nil {
		t.Fatal(err)
	}
	answer, problems := answers.Parse(node.Content[0])
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := newBench(t, 3)
	model := &typist{}
	b.options = func(o *pipeline.Options) {
		o.Question.Answer, o.Question.Models = answer, []pipeline.Model{model}
	}
	if _, err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	results := b.results()
	if len(results) != 3 || model.calls != 5 {
		t.Fatalf("%d results of %d calls, want 3 of 5", len(results), model.calls)
	}
	const typed = `{"label":"low","score":0.5}`
	for i, want := range []struct{ response, code string }{{typed, ""}, {typed, ""}, {"", "invalid_answer"}} {
		if results[i].response != want.response || results[i].code != want.code {
			t.Errorf("row %d: got %+v, want %+v", i, results[i], want)
		}
	}
	failed := b.sink.visible[0].Column(3)
	if text := failed.ValueStr(2); !strings.Contains(text, "must be one of low, high") || !strings.Contains(text, "WRONG") {
		t.Errorf("the row's error does not keep the answer: %s", text)
	}
	if got := b.column("attempt"); strings.Join(got, " ") != "1 1 2 1 2" && len(got) != 5 {
		t.Errorf("got attempts %v", got)
	}
	for _, failure := range b.column("error") {
		if strings.Contains(failure, "WRONG") {
			t.Errorf("the usage table has the answer: %s", failure)
		}
	}
	// A second run finds the answers, and asks nothing.
	b.sink.marks = nil
	if _, err := b.run(t.Context()); err != nil || model.calls != 5 {
		t.Errorf("%d calls after a second run: %v", model.calls, err)
	}
	b.done()
}
