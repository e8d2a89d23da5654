package databricks_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/databricks"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const usage20and5 = `{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25}`

func completion(message, reason, usage string) string {
	return `{"id":"msg_1","object":"chat.completion","created":1,"model":"test-model-2026","choices":[{"index":0,"message":` +
		message + `,"finish_reason":"` + reason + `"}],"usage":` + usage + `}`
}

// chunks are as a recording of a Foundation Model API shows them: every one has the counts so far.
func chunks(end string, choices ...string) string {
	var out strings.Builder
	for i, choice := range choices {
		fmt.Fprintf(&out, `data: {"id":"msg_1","object":"chat.completion.chunk","created":1,"model":"test-model-2026","choices":[%s],`+
			`"usage":{"prompt_tokens":20,"completion_tokens":%d,"total_tokens":%d}}`+"\n\n", choice, min(i+1, 5), 20+min(i+1, 5))
	}
	return out.String() + end
}

const streamEnd = `data: {"id":"msg_1","object":"chat.completion.chunk","created":1,"model":"test-model-2026","choices":[],"usage":` +
	usage20and5 + "}\n\ndata: [DONE]\n\n"

func failure(status int, code string) modeltest.Answer {
	return modeltest.Answer{Status: status, Body: fmt.Sprintf(`{"error_code":%q,"message":"Something about ANSWER-free matters"}`, code)}
}

func external(status int, code, inner string) modeltest.Answer {
	message := `{\"external_model_provider\":\"openai\",\"external_model_error\":{\"error\":{\"message\":\"too long\",\"code\":\"` + inner + `\"}}}`
	return modeltest.Answer{Status: status, Body: fmt.Sprintf(`{"error_code":%q,"message":"%s"}`, code, message)}
}

func provider() modeltest.Provider {
	first, second := `{"index":0,"delta":{"role":"assistant","content":"Par"},"finish_reason":null}`,
		`{"index":0,"delta":{"content":[{"type":"text","text":"is."}]},"finish_reason":null}`
	parts := `{"role":"assistant","content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"France.","signature":"s"}]},{"type":"text","text":"Paris."}]}`
	return modeltest.Provider{
		New: func(_ testing.TB, base string, client *wire.Client) *wire.Model {
			return databricks.New(databricks.Options{
				WorkspaceURL: base, Token: schemas.NewSecret(modeltest.Secret), Endpoint: "test-model", Client: client,
				UsageContext: map[string]string{"team": "support <1>", "job": "triage"},
			})
		},
		Schema:  "testdata/request.schema.json",
		Schemas: map[string]string{"embeddings": "testdata/embeddings.schema.json"},
		Authorized: func(r *http.Request, _ []byte) bool {
			return r.Header.Get("Authorization") == "Bearer "+modeltest.Secret
		},
		Path:    "/serving-endpoints/test-model/invocations",
		Refused: func(why string) string { return `{"error_code":"BAD_REQUEST","message":"` + why + `"}` },
		Answers: map[string]modeltest.Answer{
			"text":         {Body: completion(parts, "stop", usage20and5)},
			"image":        {Body: completion(`{"role":"assistant","content":"Paris."}`, "stop", usage20and5)},
			"conversation": {Body: completion(`{"role":"assistant","content":"Paris."}`, "stop", usage20and5)},
			"structured":   {Body: completion(`{"role":"assistant","content":"{\"city\":\"Paris\"}"}`, "stop", usage20and5)},
			"tool call": {Body: completion(`{"role":"assistant","content":"","tool_calls":[{"id":"toolu_1","type":"function",`+
				`"function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}}]}`, "tool_calls", usage20and5)},
			"length":  {Body: completion(`{"role":"assistant","content":"Par"}`, "length", usage20and5)},
			"refusal": {Body: completion(`{"role":"assistant","content":"ANSWER-TEXT"}`, "refusal", usage20and5)},
			"cached": {Body: completion(`{"role":"assistant","content":"Paris."}`, "stop",
				`{"prompt_tokens":120,"completion_tokens":5,"total_tokens":125,"cache_read_input_tokens":100,"cache_creation_input_tokens":0}`)},
			"cache written": {Body: completion(`{"role":"assistant","content":"Paris."}`, "stop",
				`{"prompt_tokens":20,"completion_tokens":5,"total_tokens":25,"cache_read_input_tokens":0,"cache_creation_input_tokens":100}`)},
			"reasoning": {Body: completion(parts, "stop", `{"prompt_tokens":20,"completion_tokens":25,"total_tokens":45,"reasoning_tokens":20}`)},
			"stream": {Body: chunks(streamEnd,
				`{"index":0,"delta":{"role":"assistant","content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"France."}]}]},"finish_reason":null}`,
				first, second, `{"index":0,"delta":{},"finish_reason":"stop"}`)},
			"stream of a tool call": {Body: chunks(streamEnd,
				`{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"toolu_1","type":"function","function":{"name":"get_weather","arguments":""}}]},"finish_reason":null}`,
				`{"index":0,"delta":{"tool_calls":[{"index":0,"id":null,"function":{"name":null,"arguments":"{\"city\":"}}]},"finish_reason":null}`,
				`{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Paris\"}"}}]},"finish_reason":null}`,
				`{"index":0,"delta":{},"finish_reason":"tool_calls"}`)},
			"stream cut":    {Body: chunks("", first), Cut: true},
			"stream failed": {Body: chunks(`data: {"error_code":"TEMPORARILY_UNAVAILABLE","message":"busy"}`+"\n\n", first)},
			"embeddings": {Body: `{"id":"emb_1","object":"list","model":"test-model-2026","data":[{"index":0,"object":"embedding","embedding":[0.5,-0.25]},` +
				`{"index":1,"object":"embedding","embedding":[1,0]}],"usage":{"prompt_tokens":20,"total_tokens":20}}`},
			"rate limit": {Status: 429, Body: `{"error":{"message":"ANSWER-free","type":"rate_limit_exceeded","code":429,` +
				`"limit_type":"input_tokens_per_minute","limit":200000,"current":200150,"retry_after":7}}`},
			"overloaded":     failure(503, "TEMPORARILY_UNAVAILABLE"),
			"context length": external(400, "BAD_REQUEST", "context_length_exceeded"),
			"content filter": {Status: 400, Body: `{"error_code":"BAD_REQUEST","message":"{\"input_guardrail\":[{\"flagged\":true}],\"finish_reason\":\"input_guardrail_triggered\"}"}`},
			"invalid key":    failure(403, "PERMISSION_DENIED"),
			"unknown model":  failure(404, "RESOURCE_DOES_NOT_EXIST"),
			"bad parameter":  failure(400, "INVALID_PARAMETER_VALUE"),
			"server error":   failure(500, "INTERNAL_ERROR"),
			"page":           {Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>ANSWER-TEXT</html>"},
		},
		Lacks: map[string]string{
			"predictions": "a language model makes none; a custom model is a destination of its own (predictions_test.go)",
		},
		Overloaded: schemas.Transient,
	}
}

func TestConformance(t *testing.T) { t.Parallel(); modeltest.Run(t, provider()) }

func FuzzDecoders(f *testing.F) { modeltest.Fuzz(f, provider()) }

func BenchmarkCodec(b *testing.B) { modeltest.Benchmark(b, provider()) }
