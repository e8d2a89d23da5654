package openai_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/schemas"
)

func TestInvoke(t *testing.T) {
	t.Parallel()
	const rawUsage = `{"prompt_tokens": 11, "completion_tokens":7,"total_tokens":18,` +
		`"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}`
	seen := make(chan map[string]json.RawMessage, 1)
	m := model(t, strict(t, func(w http.ResponseWriter, body map[string]json.RawMessage) {
		seen <- body
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_, _ = io.WriteString(w, `{"id":"c","object":"chat.completion","model":"gpt-test-2026","choices":[{"index":0,`+
			`"message":{"role":"assistant","content":"h\u00e9llo \ud83d\ude00","refusal":null},"finish_reason":"stop"}],"usage":`+rawUsage+`}`)
	}))
	request := question()
	request.Parameters = map[string]any{"temperature": 0, "stop": []string{"a\"b"}, "response_format": map[string]any{"type": "text"}}
	got, err := m.Invoke(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got.Text != "héllo 😀" || got.Model != "gpt-test-2026" || got.HTTPStatus != 200 || got.FirstByte <= 0 ||
		got.ContentType != "application/json; charset=utf-8" {
		t.Errorf("got %+v", got)
	}
	u := got.Usage
	if u.InputTokens != 11 || u.OutputTokens != 7 || u.TotalTokens != 18 || u.Basis != schemas.BasisProvider ||
		u.Raw != rawUsage || *u.CacheReadInputTokens != 4 || *u.OutputReasoningTokens != 2 || u.CacheCreationInputTokens != nil {
		t.Errorf("got %+v", u)
	}
	body := <-seen
	if len(body) != 5 || string(body["temperature"]) != "0" || string(body["stop"]) != `["a\"b"]` ||
		string(body["response_format"]) != `{"type":"text"}` {
		t.Errorf("got %s", body)
	}
}

// TestAnswers is every 2xx that a server may send, and every error status once.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const page = "<html>ANSWER-TEXT</html>"
	choice := func(message, reason string) string {
		return `{"choices":[{"message":` + message + `,"finish_reason":"` + reason + `"}]}`
	}
	counted := func(message, reason string) string {
		return `{"choices":[{"message":` + message + `,"finish_reason":"` + reason + `"}],"usage":{"prompt_tokens":5,"completion_tokens":1}}`
	}
	const none, estimated, provider = schemas.BasisNone, schemas.BasisEstimated, schemas.BasisProvider
	cases := []struct {
		name, body string
		status     int
		kind       string
		text       string
		class      schemas.Class
		code       string // empty: an answer
		basis      schemas.BillableBasis
	}{
		{name: "counted", body: counted(`{"content":"a"}`, "stop"), text: "a", basis: provider},
		{name: "not counted", body: choice(`{"content":"a"}`, "stop"), text: "a", basis: estimated},
		{name: "counted nonsense", body: `{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":-5}}`, text: "a", basis: estimated},
		{name: "counted too much", body: `{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":9000000000000000}}`, text: "a", basis: estimated},
		{name: "counted in words", body: `{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":"five"}}`, text: "a", basis: estimated},
		{name: "counted null", body: `{"choices":[{"message":{"content":"a"}}],"usage":null}`, text: "a", basis: estimated},
		{name: "parts", body: counted(`{"content":[{"type":"thinking","text":"no"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}`, "stop"), text: "ab", basis: provider},
		{name: "empty text", body: counted(`{"content":""}`, "stop"), basis: provider},
		{name: "cut by length", body: counted(`{"content":"a"}`, "length"), text: "a", basis: provider},
		{name: "other type", kind: "text/plain", body: counted(`{"content":"a"}`, "stop"), text: "a", basis: provider},
		{name: "space around", body: "\n " + counted(`{"content":"a"}`, "stop") + "\n", text: "a", basis: provider},

		{name: "refusal", body: counted(`{"content":null,"refusal":"ANSWER-TEXT"}`, "stop"), class: schemas.Rejected, code: "refusal", basis: provider},
		{name: "filtered", body: counted(`{"content":"ANSWER-TEXT"}`, "content_filter"), class: schemas.Rejected, code: "content_filter", basis: provider},
		{name: "no room", body: counted(`{"content":""}`, "length"), class: schemas.Rejected, code: "length", basis: provider},
		{name: "tool", body: counted(`{"content":null,"tool_calls":[{"id":"ANSWER-TEXT"}]}`, "tool_calls"), class: schemas.Rejected, code: "tool_calls", basis: provider},
		{name: "null", body: counted(`{"content":null}`, "stop"), class: schemas.Transient, code: "malformed_response", basis: provider},
		{name: "no choices", body: `{"choices":[]}`, class: schemas.Transient, code: "malformed_response", basis: estimated},
		{name: "number", body: choice(`{"content":5}`, "stop"), class: schemas.Transient, code: "malformed_response", basis: estimated},
		{name: "page", kind: "text/html", body: page, class: schemas.Transient, code: "malformed_response", basis: none},
		{name: "list", body: `["ANSWER-TEXT"]`, class: schemas.Transient, code: "malformed_response", basis: none},
		{name: "cut JSON", body: `{"choices":[{"message":{"content":"ANSWER-TEXT`, class: schemas.Transient, code: "truncated_response", basis: estimated},
		{name: "empty body", body: "", class: schemas.Transient, code: "truncated_response", basis: estimated},
		{name: "error object", body: `{"error":{"code":429,"message":"slow down"}}`, class: schemas.Throttled, code: "rate_limit_exceeded", basis: none},
		{name: "vague error", body: `{"error":{"message":"oh"}}`, class: schemas.Transient, code: "server_error", basis: estimated},

		{name: "400", status: 400, body: `{"error":{"code":"context_length_exceeded","message":"too long"}}`, class: schemas.Rejected, code: "context_length_exceeded", basis: none},
		{name: "401", status: 401, body: `{"error":{"code":"invalid_api_key","message":"` + apiKey + `"}}`, class: schemas.Fatal, code: "invalid_api_key", basis: none},
		{name: "429", status: 429, body: page, class: schemas.Throttled, code: "rate_limit_exceeded", basis: none},
		{name: "500", status: 500, body: page, class: schemas.Transient, code: "server_error", basis: none},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.status == 0 {
				c.status = http.StatusOK
			}
			if c.kind == "" {
				c.kind = "application/json"
			}
			got, err := serve(t, c.status, c.kind, c.body).Invoke(t.Context(), question())
			if got == nil || got.Text != c.text || got.HTTPStatus != c.status || got.Usage.Basis != c.basis || got.ContentType != c.kind {
				t.Errorf("got %+v", got)
			}
			if c.basis != none && (got.Usage.InputTokens == 0 || got.Usage.TotalTokens < got.Usage.InputTokens) {
				t.Errorf("got %+v", got.Usage)
			}
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			failure, ok := errors.AsType[*schemas.Error](err)
			if !ok || failure.Class != c.class || failure.Code != c.code || failure.HTTPStatus != c.status {
				t.Fatalf("got %#v", err)
			}
			for _, secret := range []string{apiKey, prompt, "ANSWER-TEXT"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows %q: %v", secret, err)
				}
			}
			if failure.Code == "invalid_api_key" && !strings.Contains(failure.Mend, "openai_api_key") {
				t.Errorf("the mend does not name the setting: %q", failure.Mend)
			}
		})
	}
}

func TestParametersOfAnotherMap(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	m := model(t, strict(t, func(w http.ResponseWriter, body map[string]json.RawMessage) {
		seen <- string(body["seed"])
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"a"}}]}`)
	}))
	first, second := map[string]any{"seed": 1}, map[string]any{"seed": 2}
	for _, c := range []struct {
		parameters map[string]any
		want       string
	}{{first, "1"}, {first, "1"}, {second, "2"}, {nil, ""}, {map[string]any{}, ""}, {first, "1"}} {
		request := question()
		request.Parameters = c.parameters
		if _, err := m.Invoke(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	m := openai.New(openai.Options{Model: "gpt"})
	for name, want := range map[string]string{
		"temprature": "did you mean temperature?", "maxtokens": "did you mean max_tokens?",
		"model": "names the model", "messages": "remove it", "stream": "whole", "n": "one answer", "tools": "text",
		strings.Repeat("x", 1<<20): "no chat completion parameter",
	} {
		err := m.Check(&schemas.Request{Parameters: map[string]any{name: 1}})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: got %.200v", name, err)
		}
	}
	if err := m.Check(&schemas.Request{Parameters: map[string]any{"temperature": 0.5, "max_tokens": 1, "seed": 1, "response_format": nil}}); err != nil {
		t.Error(err)
	}
	both := m.Check(&schemas.Request{Parameters: map[string]any{"n": 2, "sead": 1}})
	if both == nil || !strings.Contains(both.Error(), "parameters.n") || !strings.Contains(both.Error(), "mean seed") {
		t.Errorf("not every fault is told: %v", both)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	for _, options := range []openai.Options{
		{BaseURL: "::", Model: "m"},
		{BaseURL: "ftp://x/v1", Model: "m"},
		{BaseURL: "localhost:9000", Model: "m"},
		{BaseURL: "https://user:" + apiKey + "@x/v1", Model: "m"},
		{},
	} {
		m := openai.New(options)
		if err := m.Check(&schemas.Request{}); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: got %v", options.BaseURL, err)
		}
		got, err := m.Invoke(t.Context(), question())
		if schemas.ClassOf(err) != schemas.Fatal || strings.Contains(err.Error(), apiKey) || got.Usage.Basis != schemas.BasisNone {
			t.Errorf("%s: got %v", options.BaseURL, err)
		}
	}
	bad := question()
	bad.Parameters = map[string]any{"seed": make(chan int)}
	if _, err := openai.New(openai.Options{Model: "m"}).Invoke(t.Context(), bad); schemas.ClassOf(err) != schemas.Fatal {
		t.Errorf("got %v", err)
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"":                               "https://api.openai.com/v1/chat/completions",
		"http://127.0.0.1:9/v1":          "http://127.0.0.1:9/v1/chat/completions",
		"http://127.0.0.1:9/v1/":         "http://127.0.0.1:9/v1/chat/completions",
		"https://x/v1?api-key=" + apiKey: "https://x/v1/chat/completions",
	} {
		if got := openai.New(openai.Options{BaseURL: base, Model: "m"}).URL(schemas.TaskChat); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestVectorsOutOfRange: a number that no float32 holds makes no vector.
func TestVectorsOutOfRange(t *testing.T) {
	t.Parallel()
	format := openai.New(openai.Options{Model: "m"}).Format()
	for vector, ok := range map[string]bool{`[3.4e38]`: true, `[1e300]`: false, `["1"]`: false, `[null]`: false} {
		var got schemas.Response
		if err := format.Decode([]byte(`{"data":[{"index":0,"embedding":`+vector+`}]}`), &got); (err == nil) != ok {
			t.Errorf("%s: got %v %v", vector, got.Embeddings, err)
		}
	}
}
