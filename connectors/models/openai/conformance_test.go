package openai_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const usage20and5 = `{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25}`

func completion(message, reason, usage string) string {
	return `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"test-model-2026","choices":[{"index":0,"message":` +
		message + `,"logprobs":null,"finish_reason":"` + reason + `"}],"usage":` + usage + `}`
}

func chunks(end string, choices ...string) string {
	var out strings.Builder
	for _, choice := range choices {
		fmt.Fprintf(&out, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"test-model-2026","choices":[%s],"usage":null}`+"\n\n", choice)
	}
	return out.String() + end
}

const streamEnd = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"test-model-2026","choices":[],"usage":` +
	usage20and5 + "}\n\ndata: [DONE]\n\n"

func failure(status int, kind, code string) modeltest.Answer {
	return modeltest.Answer{Status: status, Body: fmt.Sprintf(
		`{"error":{"message":"Something about ANSWER-free matters","type":%q,"param":null,"code":%q}}`, kind, code)}
}

// provider has the answers of OpenAI's API reference (platform.openai.com/docs/api-reference/chat and .../embeddings, error codes of
// platform.openai.com/docs/guides/error-codes).
func provider() modeltest.Provider {
	rateLimited := failure(429, "requests", "rate_limit_exceeded")
	rateLimited.Header = map[string]string{"Retry-After": "7"}
	first, second := `{"index":0,"delta":{"role":"assistant","content":"Par"},"finish_reason":null}`,
		`{"index":0,"delta":{"content":"is."},"finish_reason":null}`
	return modeltest.Provider{
		New: func(_ testing.TB, base string, client *wire.Client) *wire.Model {
			return openai.New(openai.Options{
				BaseURL: base + "/v1", APIKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client,
			})
		},
		Schema:  "testdata/request.schema.json",
		Schemas: map[string]string{"embeddings": "testdata/embeddings.schema.json"},
		Authorized: func(r *http.Request, _ []byte) bool {
			return r.Header.Get("Authorization") == "Bearer "+modeltest.Secret && r.Header.Get("X-Client-Request-Id") == "req-1"
		},
		Path:    "/v1/chat/completions",
		Paths:   map[string]string{"embeddings": "/v1/embeddings"},
		Refused: func(why string) string { return failure(400, "invalid_request_error", why).Body },
		Answers: map[string]modeltest.Answer{
			"text":         {Body: completion(`{"role":"assistant","content":"Paris.","refusal":null}`, "stop", usage20and5)},
			"image":        {Body: completion(`{"role":"assistant","content":"Paris.","refusal":null}`, "stop", usage20and5)},
			"conversation": {Body: completion(`{"role":"assistant","content":"Paris.","refusal":null}`, "stop", usage20and5)},
			"structured":   {Body: completion(`{"role":"assistant","content":"{\"city\": \"Paris\"}","refusal":null}`, "stop", usage20and5)},
			"tool call": {Body: completion(`{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function",`+
				`"function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}}]}`, "tool_calls", usage20and5)},
			"length":  {Body: completion(`{"role":"assistant","content":"Par"}`, "length", usage20and5)},
			"refusal": {Body: completion(`{"role":"assistant","content":null,"refusal":"ANSWER-TEXT"}`, "stop", usage20and5)},
			"cached": {Body: completion(`{"role":"assistant","content":"Paris."}`, "stop",
				`{"prompt_tokens":120,"completion_tokens":5,"total_tokens":125,"prompt_tokens_details":{"cached_tokens":100,"audio_tokens":0}}`)},
			"reasoning": {Body: completion(`{"role":"assistant","content":"Paris."}`, "stop",
				`{"prompt_tokens":20,"completion_tokens":25,"total_tokens":45,"completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":0}}`)},
			"stream": {Body: chunks(streamEnd, first, second, `{"index":0,"delta":{},"finish_reason":"stop"}`)},
			"stream of a tool call": {Body: chunks(streamEnd,
				`{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"get_weather","arguments":""}}]},"finish_reason":null}`,
				`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]},"finish_reason":null}`,
				`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Paris\"}"}}]},"finish_reason":null}`,
				`{"index":0,"delta":{},"finish_reason":"tool_calls"}`)},
			"stream cut":    {Body: chunks("", first), Cut: true},
			"stream failed": {Body: chunks(`data: {"error":{"message":"busy","type":"server_error","code":null}}`+"\n\n", first)},
			// In any order: the index tells.
			"embeddings": {Body: `{"object":"list","data":[{"object":"embedding","index":1,"embedding":[1,0]},` +
				`{"object":"embedding","index":0,"embedding":[0.5,-0.25]}],"model":"test-model-2026","usage":{"prompt_tokens":20,"total_tokens":20}}`},
			"rate limit":     rateLimited,
			"overloaded":     failure(503, "server_error", "engine_overloaded"),
			"context length": failure(400, "invalid_request_error", "context_length_exceeded"),
			"content filter": failure(400, "invalid_request_error", "content_policy_violation"),
			"invalid key":    failure(401, "invalid_request_error", "invalid_api_key"),
			"unknown model":  failure(404, "invalid_request_error", "model_not_found"),
			"bad parameter":  failure(400, "invalid_request_error", "unsupported_value"),
			"server error":   failure(500, "server_error", ""),
			"page":           {Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>ANSWER-TEXT</html>"},
		},
		Lacks: map[string]string{
			"cache written": "OpenAI does not charge for writing its cache, and does not count it",
			"predictions":   "the API has language models only, none that predicts from features",
		},
		Overloaded: schemas.Transient,
	}
}

func TestConformance(t *testing.T) { t.Parallel(); modeltest.Run(t, provider()) }

func FuzzDecoders(f *testing.F) { modeltest.Fuzz(f, provider()) }

func BenchmarkCodec(b *testing.B) { modeltest.Benchmark(b, provider()) }
