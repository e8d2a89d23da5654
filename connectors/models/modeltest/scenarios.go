package modeltest

import (
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// scenario is a request and what the provider's answer to it must come to.
type scenario struct {
	name    string
	request func() *schemas.Request
	stream  bool
	want    func(t *testing.T, got *schemas.Response, err error)
}

// Question is a plain question.
func Question() *schemas.Request {
	return &schemas.Request{
		ID: "req-1", Messages: []schemas.Message{
			{Role: schemas.RoleSystem, Content: "Be brief."}, {Role: schemas.RoleUser, Content: Prompt},
		},
		Parameters: map[string]any{"max_tokens": 100},
	}
}

// WithTools is a question with a tool.
func WithTools() *schemas.Request {
	request := Question()
	request.Tools = []schemas.Tool{{
		Name: "get_weather", Description: "The weather of a city.",
		Parameters: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`),
	}}
	request.ToolChoice = schemas.ToolChoiceAuto
	return request
}

// Canonical is the request of the golden file: a whole conversation.
func Canonical() *schemas.Request {
	request := WithTools()
	request.Messages = append(request.Messages,
		schemas.Message{Role: schemas.RoleAssistant, ToolCalls: []schemas.ToolCall{
			{ID: "call_1", Name: "get_weather", Arguments: `{"city":"Paris"}`},
		}},
		schemas.Message{Role: schemas.RoleTool, ToolCallID: "call_1", Content: `{"sky":"clear"}`},
		schemas.Message{Role: schemas.RoleAssistant, Content: "Clear."},
		schemas.Message{Role: schemas.RoleUser, Content: "And \"tomorrow\"?\n"},
	)
	request.Parameters = map[string]any{"max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stop": []any{"END"}}
	return request
}

// WithImage is a question about an image of one pixel.
func WithImage() *schemas.Request {
	request := Question()
	request.Messages[1] = schemas.Message{Role: schemas.RoleUser, Parts: []schemas.Part{
		{Text: Prompt}, {Media: &schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/png", Data: []byte("\x89PNG\r\n\x1a\n")}},
	}}
	return request
}

// Structured is a question whose answer keeps to a schema.
func Structured() *schemas.Request {
	request := Question()
	request.Format = &schemas.Format{Name: "answer", Strict: true, Schema: json.RawMessage(
		`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`)}
	return request
}

// Embeddings asks for the vectors of two texts.
func Embeddings() *schemas.Request {
	return &schemas.Request{ID: "req-1", Task: schemas.TaskEmbeddings, Inputs: []string{Prompt, "second"}}
}

// Predictions asks what a model predicts from two rows.
func Predictions() *schemas.Request {
	return &schemas.Request{ID: "req-1", Task: schemas.TaskPredictions, Frame: &schemas.Frame{
		Columns: []string{"text", "n"},
		Rows:    []json.RawMessage{json.RawMessage(`["` + Prompt + `",1]`), json.RawMessage(`["\"second\"\n",-2.50]`)},
	}}
}

// longer is a request with one row more than the answer to it has; nil where an answer is to one row.
func longer(request *schemas.Request) *schemas.Request {
	switch request.Task {
	case schemas.TaskEmbeddings:
		request.Inputs = append(request.Inputs, "third")
	case schemas.TaskPredictions:
		request.Frame.Rows = append(request.Frame.Rows, json.RawMessage(`["third",3]`))
	case schemas.TaskChat, schemas.TaskCompletions:
		fallthrough
	default:
		return nil
	}
	return request
}

// scenarios are all, in which a plain question is the provider's.
func scenarios(p *Provider) []scenario {
	question := p.question()
	paris := func(t *testing.T, got *schemas.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got.Text != "Paris." || got.Stop != schemas.StopEnd {
			t.Errorf("got %+v", got)
		}
		came(t, got)
		counts(t, got, 20, 5)
	}
	tool := func(t *testing.T, got *schemas.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var arguments map[string]any
		if len(got.ToolCalls) != 1 || got.ToolCalls[0].Name != "get_weather" || got.ToolCalls[0].ID == "" ||
			json.Unmarshal([]byte(got.ToolCalls[0].Arguments), &arguments) != nil ||
			!reflect.DeepEqual(arguments, map[string]any{"city": "Paris"}) || got.Stop != schemas.StopToolCalls {
			t.Errorf("got %+v", got)
		}
		counts(t, got, 20, 5)
	}
	fails := func(class schemas.Class, codes ...string) func(t *testing.T, got *schemas.Response, err error) {
		return func(t *testing.T, _ *schemas.Response, err error) {
			t.Helper()
			failure, ok := errors.AsType[*schemas.Error](err)
			if !ok || failure.Class != class || len(codes) > 0 && !slices.Contains(codes, failure.Code) || failure.Code == "" {
				t.Errorf("got %#v, want %s %v", err, class, codes)
			}
		}
	}
	return []scenario{
		{"text", question, false, paris},
		{"structured", Structured, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || strings.Join(strings.Fields(got.Text), "") != `{"city":"Paris"}` || len(got.ToolCalls) != 0 || got.Stop != schemas.StopEnd {
				t.Errorf("got %+v %v", got, err)
			}
		}},
		{"image", WithImage, false, paris},
		{"tool call", WithTools, false, tool},
		{"conversation", Canonical, false, paris},
		{"length", question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || got.Text != "Par" || got.Stop != schemas.StopLength {
				t.Errorf("got %+v %v", got, err)
			}
		}},
		{"refusal", question, false, fails(schemas.Rejected, "refusal", "content_filter")},
		{"cached", question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || got.Usage.CacheReadInputTokens == nil || *got.Usage.CacheReadInputTokens != 100 {
				t.Fatalf("got %+v %v", got.Usage, err)
			}
			counts(t, got, 120, 5)
		}},
		{"cache written", question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || got.Usage.CacheCreationInputTokens == nil || *got.Usage.CacheCreationInputTokens != 100 {
				t.Fatalf("got %+v %v", got.Usage, err)
			}
			counts(t, got, 120, 5)
		}},
		{"reasoning", question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || got.Text != "Paris." || got.Usage.OutputReasoningTokens == nil || *got.Usage.OutputReasoningTokens != 20 {
				t.Fatalf("got %+v %v", got, err)
			}
			counts(t, got, 20, 25)
		}},
		{"stream", question, true, paris},
		{"stream of a tool call", WithTools, true, tool},
		{"stream cut", question, true, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			fails(schemas.Transient, "truncated_response")(t, got, err)
			if got.Usage.InputTokens == 0 || got.Usage.OutputTokens == 0 || got.Usage.Basis == schemas.BasisNone {
				t.Errorf("a stream that broke off is paid as far as it came: got %+v", got.Usage)
			}
		}},
		{"stream failed", question, true, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if class := schemas.ClassOf(err); class != schemas.Throttled && class != schemas.Transient {
				t.Errorf("got %v", err)
			}
			if got.Usage.Basis == schemas.BasisNone {
				t.Errorf("got %+v", got.Usage)
			}
		}},
		{"embeddings", Embeddings, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Embeddings, [][]float32{{0.5, -0.25}, {1, 0}}) {
				t.Errorf("got %v", got.Embeddings)
			}
			came(t, got)
			counts(t, got, 20, 0)
		}},
		{"predictions", Predictions, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			var values any
			text, err := json.Marshal(got.Predictions)
			if err != nil || json.Unmarshal(text, &values) != nil || !reflect.DeepEqual(values, []any{1.5, map[string]any{"label": "a"}}) {
				t.Errorf("got %s %v", text, err)
			}
			came(t, got)
		}},
		{"rate limit", question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			fails(schemas.Throttled, "rate_limit_exceeded")(t, got, err)
			if failure, ok := errors.AsType[*schemas.Error](err); ok && failure.RetryAfter != 7*time.Second {
				t.Errorf("asked to wait 7 s, read %s", failure.RetryAfter)
			}
		}},
		{"overloaded", question, false, fails(p.Overloaded)},
		{"context length", question, false, fails(schemas.Rejected)},
		{"content filter", question, false, fails(schemas.Rejected)},
		{"invalid key", question, false, fails(schemas.Fatal)},
		{"unknown model", question, false, fails(schemas.Fatal)},
		{"bad parameter", question, false, fails(schemas.Rejected)},
		{"server error", question, false, fails(schemas.Transient)},
		{"page", question, false, fails(schemas.Transient)},
	}
}

// came looks at what every answer has, whatever is in it.
func came(t *testing.T, got *schemas.Response) {
	t.Helper()
	if got.HTTPStatus != http.StatusOK || got.FirstByte <= 0 || got.Model == "" {
		t.Errorf("got %+v", got)
	}
}

func counts(t *testing.T, got *schemas.Response, input, output int64) {
	t.Helper()
	u := got.Usage
	if u.InputTokens != input || u.OutputTokens != output || u.TotalTokens != input+output || u.Basis != schemas.BasisProvider || !json.Valid([]byte(u.Raw)) {
		t.Errorf("got %+v, want %d in and %d out", u, input, output)
	}
}
