package openai_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func TestKnownServers(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, server := range openai.Known() {
		if seen[server.Name] || server.Name == "" || server.BaseURL == "" || len(server.Parameters) == 0 {
			t.Errorf("%+v", server)
		}
		seen[server.Name] = true
		names := map[string]bool{}
		for _, parameter := range server.Parameters {
			if names[parameter.Name] {
				t.Errorf("%s: %s stands twice", server.Name, parameter.Name)
			}
			names[parameter.Name] = true
		}
		m := openai.New(openai.Options{Server: server.Name, Model: "m"})
		if err := m.Check(with(object{"temperature": 0.5, "max_tokens": 5})); err != nil {
			t.Errorf("%s: %v", server.Name, err)
		}
		if want := strings.TrimSuffix(server.BaseURL, "/") + "/chat/completions"; m.URL(schemas.TaskChat) != want {
			t.Errorf("got %s, want %s", m.URL(schemas.TaskChat), want)
		}
		err := openai.NewResponses(openai.Options{Server: server.Name, Model: "m"}).Check(question())
		if (err == nil) != server.Responses {
			t.Errorf("%s: %v", server.Name, err)
		}
		call, err := m.Format().Encode(question(), true)
		if err != nil || strings.Contains(string(call.Body), "stream_options") == server.NoStreamOptions {
			t.Errorf("%s: %s %v", server.Name, call.Body, err)
		}
	}
	for _, name := range []string{
		"vllm", "ollama", "llama.cpp", "mistral", "groq", "deepseek", "together", "xai", "openrouter", "fireworks", "perplexity",
		"cerebras", "nvidia", "lmstudio",
	} {
		if !seen[name] {
			t.Errorf("%s is not known", name)
		}
	}
}

func TestKeyHeader(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != apiKey || r.Header.Get("Authorization") != "" {
			t.Errorf("got %v", r.Header)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	client := wire.NewClient(wire.ClientOptions{})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	_, err := openai.New(openai.Options{
		Model: "m", BaseURL: server.URL + "/v1", KeyHeader: "x-api-key", APIKey: schemas.NewSecret(apiKey), Client: client,
	}).Invoke(t.Context(), question())
	if failure, ok := errors.AsType[*schemas.Error](err); !ok || !strings.Contains(failure.Mend, "api_key_auth.value") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"content-type", "Host", "Idempotency-Key", "X Key", "X-Key\r\nA"} {
		err := openai.New(openai.Options{Model: "m", BaseURL: "http://x/v1", KeyHeader: name}).Check(question())
		if !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// TestUsage has the counts of servers that count in their own way, and what they come to.
func TestUsage(t *testing.T) {
	t.Parallel()
	number := func(value int64) *int64 { return &value }
	for name, c := range map[string]struct {
		usage string
		want  schemas.Usage
	}{
		"deepseek": {
			`{"prompt_tokens":30,"completion_tokens":5,"total_tokens":35,"prompt_cache_hit_tokens":10,"prompt_cache_miss_tokens":20}`,
			schemas.Usage{InputTokens: 30, OutputTokens: 5, CacheReadInputTokens: number(10)},
		},
		"xai counts reasoning beside": {
			`{"prompt_tokens":30,"completion_tokens":5,"total_tokens":135,"completion_tokens_details":{"reasoning_tokens":100}}`,
			schemas.Usage{InputTokens: 30, OutputTokens: 105, OutputReasoningTokens: number(100)},
		},
		"xai counts little reasoning beside": {
			`{"prompt_tokens":30,"completion_tokens":5,"total_tokens":38,"completion_tokens_details":{"reasoning_tokens":3}}`,
			schemas.Usage{InputTokens: 30, OutputTokens: 8, OutputReasoningTokens: number(3)},
		},
		"openai counts reasoning in": {
			`{"prompt_tokens":30,"completion_tokens":5,"total_tokens":35,"completion_tokens_details":{"reasoning_tokens":3}}`,
			schemas.Usage{InputTokens: 30, OutputTokens: 5, OutputReasoningTokens: number(3)},
		},
		"openai writes its cache": {
			`{"prompt_tokens":30,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":0,"cache_write_tokens":20}}`,
			schemas.Usage{InputTokens: 30, OutputTokens: 5, CacheReadInputTokens: number(0), CacheCreationInputTokens: number(20)},
		},
		"databricks counts the cache in": {
			`{"prompt_tokens":30,"completion_tokens":5,"total_tokens":35,"cache_read_input_tokens":10,"cache_creation_input_tokens":5}`,
			schemas.Usage{InputTokens: 30, OutputTokens: 5, CacheReadInputTokens: number(10), CacheCreationInputTokens: number(5)},
		},
		"anthropic's counts come through": {
			`{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8,"cache_read_input_tokens":10,"cache_creation_input_tokens":5}`,
			schemas.Usage{InputTokens: 18, OutputTokens: 5, CacheReadInputTokens: number(10), CacheCreationInputTokens: number(5)},
		},
		"the total says that they do": {
			`{"prompt_tokens":30,"completion_tokens":5,"total_tokens":45,"cache_read_input_tokens":10}`,
			schemas.Usage{InputTokens: 40, OutputTokens: 5, CacheReadInputTokens: number(10)},
		},
	} {
		var got schemas.Response
		err := openai.New(openai.Options{Model: "m"}).Format().Decode([]byte(
			`{"choices":[{"message":{"content":"a","tool_calls":null}}],"service_tier":"flex","usage":`+c.usage+`}`), &got)
		u := got.Usage
		same := func(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }
		if err != nil || u.InputTokens != c.want.InputTokens || u.OutputTokens != c.want.OutputTokens || u.TotalTokens != u.InputTokens+u.OutputTokens ||
			!same(u.CacheReadInputTokens, c.want.CacheReadInputTokens) || !same(u.CacheCreationInputTokens, c.want.CacheCreationInputTokens) ||
			!same(u.OutputReasoningTokens, c.want.OutputReasoningTokens) || u.Raw != c.usage || u.Basis != schemas.BasisProvider || u.ServiceTier != "flex" {
			t.Errorf("%s: got %+v %v", name, u, err)
		}
	}
}

func TestStopReasons(t *testing.T) {
	t.Parallel()
	chat, responses := openai.New(openai.Options{Model: "m"}).Format(), openai.NewResponses(openai.Options{Model: "m"}).Format()
	for word, want := range map[string]schemas.StopReason{
		"stop": schemas.StopEnd, "eos": schemas.StopEnd, "length": schemas.StopLength, "model_length": schemas.StopLength,
		"function_call": schemas.StopToolCalls, "content_filter": schemas.StopContentFilter, "whatever": "",
	} {
		var got schemas.Response
		if err := chat.Decode([]byte(`{"choices":[{"message":{"content":"a"},"finish_reason":"`+word+`"}]}`), &got); err != nil || got.Stop != want {
			t.Errorf("%s: got %q %v", word, got.Stop, err)
		}
	}
	const text = `"output":[{"type":"message","content":[{"type":"output_text","text":"a"}]}]`
	for answer, want := range map[string]schemas.StopReason{
		`{"status":"completed",` + text + `}`:                                                                       schemas.StopEnd,
		`{"status":"incomplete","incomplete_details":{"reason":"content_filter"},` + text + `}`:                     schemas.StopContentFilter,
		`{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}`:                   schemas.StopLength,
		`{"status":"completed","output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]}`:        schemas.StopRefusal,
		`{"status":"completed","output":[{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}]}`:      schemas.StopToolCalls,
		`{"status":"incomplete","incomplete_details":{"reason":"something_new"},"output":[],"usage":null}`:          "",
		`{"status":"completed","error":null,"output":[{"type":"web_search_call"},` + text[len(`"output":[`):] + `}`: schemas.StopEnd,
	} {
		var got schemas.Response
		if err := responses.Decode([]byte(answer), &got); err != nil || got.Stop != want {
			t.Errorf("%s: got %q %v", answer, got.Stop, err)
		}
	}
}

// TestFailuresInsideAnAnswer are failures that a 200 has.
func TestFailuresInsideAnAnswer(t *testing.T) {
	t.Parallel()
	for body, class := range map[string]schemas.Class{
		`{"choices":[{"message":{"content":"half"},"finish_reason":"insufficient_system_resource"}]}`: schemas.Transient,
		`{"choices":[{"message":{"content":""},"finish_reason":"error"}]}`:                            schemas.Transient,
		`{"choices":null,"error":{"code":429}}`:                                                       schemas.Throttled,
	} {
		if _, err := serve(t, 200, "application/json", body).Invoke(t.Context(), question()); schemas.ClassOf(err) != class {
			t.Errorf("%s: got %v", body, err)
		}
	}
	stream := "data: {\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"no\",\"tool_calls\":null}}]}\n\n" +
		"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	got, err := serve(t, 200, "text/event-stream", stream).Stream(t.Context(), question(), func(*schemas.Event) error { return nil })
	if schemas.ClassOf(err) != schemas.Rejected || got.Stop != schemas.StopRefusal || len(got.ToolCalls) != 0 {
		t.Errorf("got %+v %v", got, err)
	}
}

func TestFailedResponses(t *testing.T) {
	t.Parallel()
	p := overResponses()
	format := p.New(t, "http://provider.example", nil).Format()
	for code, status := range map[string]int{"server_error": 0, "rate_limit_exceeded": 0, "image_too_large": 400, "invalid_image_url": 400} {
		body := `{"status":"failed","error":{"code":"` + code + `","message":"m"},"output":[],"usage":{"input_tokens":7,"output_tokens":1}}`
		var got schemas.Response
		err := format.Decode([]byte(body), &got)
		if p := problem(t, err); len(p.Words) != 1 || p.Words[0] != code || p.Status != status || got.Usage.InputTokens != 7 {
			t.Errorf("%s: got %+v %+v", code, p, got)
		}
		counted := false
		for event, err := range format.Events(strings.NewReader("data: {\"type\":\"response.failed\",\"response\":" + body + "}\n\n")) {
			if err == nil {
				counted = event.Usage != nil && event.Usage.InputTokens == 7
			} else if p := problem(t, err); p.Words[0] != code || p.Status != status {
				t.Errorf("%s: got %+v", code, p)
			}
		}
		if !counted {
			t.Errorf("%s: what was counted is lost", code)
		}
	}
}
