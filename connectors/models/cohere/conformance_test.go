package cohere_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/cohere"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// usage20and5 has the prompt's frame in tokens, which is not billed.
const usage20and5 = `{"billed_units":{"input_tokens":20,"output_tokens":5},"tokens":{"input_tokens":87,"output_tokens":6}}`

const paris = `"content":[{"type":"text","text":"Paris."}]`

func answer(message, reason, usage string) string {
	return `{"id":"c14c80c3","finish_reason":"` + reason + `","message":{"role":"assistant",` + message + `},"usage":` + usage + `}`
}

// events is a stream: an event is named by the type in its data.
func events(data ...string) string {
	var out strings.Builder
	for _, line := range data {
		name := strings.SplitN(line, `"`, 5)[3]
		fmt.Fprintf(&out, "event: %s\ndata: %s\n\n", name, line)
	}
	return out.String()
}

const (
	begin     = `{"type":"message-start","id":"29f14a5a","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}`
	beginText = `{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}`
	par       = `{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Par"}}}}`
	is        = `{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"is."}}}}`
	endText   = `{"type":"content-end","index":0}`
)

func end(reason string) string {
	return `{"type":"message-end","id":"29f14a5a","delta":{"finish_reason":"` + reason + `","usage":` + usage20and5 + `}}`
}

func failure(status int) modeltest.Answer {
	return modeltest.Answer{Status: status, Body: `{"id":"8a1b","message":"Something about ANSWER-free matters"}`}
}

// provider has the answers of Cohere's API reference (docs.cohere.com/reference/chat, .../chat-stream, .../embed and .../errors).
func provider() modeltest.Provider {
	rateLimited := failure(429)
	rateLimited.Header = map[string]string{"Retry-After": "7"}
	return modeltest.Provider{
		New: func(_ testing.TB, base string, client *wire.Client) *wire.Model {
			return cohere.New(cohere.Options{
				BaseURL: base, APIKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client,
			})
		},
		Schema:  "testdata/request.schema.json",
		Schemas: map[string]string{"embeddings": "testdata/embed.schema.json"},
		Authorized: func(r *http.Request, _ []byte) bool {
			return r.Header.Get("Authorization") == "Bearer "+modeltest.Secret
		},
		Path:    "/v2/chat",
		Paths:   map[string]string{"embeddings": "/v2/embed"},
		Refused: func(string) string { return failure(400).Body },
		Answers: map[string]modeltest.Answer{
			"text":         {Body: answer(paris, "COMPLETE", usage20and5)},
			"image":        {Body: answer(paris, "COMPLETE", usage20and5)},
			"conversation": {Body: answer(paris, "STOP_SEQUENCE", usage20and5)},
			"structured":   {Body: answer(`"content":[{"type":"text","text":"{\"city\": \"Paris\"}"}]`, "COMPLETE", usage20and5)},
			"tool call": {Body: answer(`"tool_plan":"I will look.","tool_calls":[{"id":"get_weather_1","type":"function",`+
				`"function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}}]`, "TOOL_CALL", usage20and5)},
			"length": {Body: answer(`"content":[{"type":"text","text":"Par"}]`, "MAX_TOKENS", usage20and5)},
			"cached": {Body: answer(paris, "COMPLETE",
				`{"billed_units":{"input_tokens":120,"output_tokens":5},"tokens":{"input_tokens":187,"output_tokens":6},"cached_tokens":100}`)},
			"stream": {Body: events(begin, beginText, par, is, endText, end("COMPLETE")) + "data: [DONE]\n\n"},
			"stream of a tool call": {Body: events(begin,
				`{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I will look."}}}`,
				`{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"get_weather_1","type":"function","function":{"name":"get_weather","arguments":""}}}}}`,
				`{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"city\":"}}}}}`,
				`{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":" \"Paris\"}"}}}}}`,
				`{"type":"tool-call-end","index":0}`, end("TOOL_CALL"))},
			"stream cut": {Body: events(begin, beginText, par), Cut: true},
			"stream failed": {Body: events(begin, beginText, par,
				`{"type":"message-end","delta":{"finish_reason":"ERROR","error":"the generation failed"}}`)},
			"embeddings": {Body: `{"id":"5807ee2e","embeddings":{"float":[[0.5,-0.25],[1,0]]},"texts":["` + modeltest.Prompt + `","second"],` +
				`"meta":{"api_version":{"version":"2"},"billed_units":{"input_tokens":20}},"response_type":"embeddings_by_type"}`},
			"rate limit":     rateLimited,
			"overloaded":     failure(503),
			"context length": failure(400),
			"content filter": failure(498),
			"invalid key":    failure(401),
			"unknown model":  failure(404),
			"bad parameter":  failure(422),
			"server error":   failure(500),
			"page":           {Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>ANSWER-TEXT</html>"},
		},
		Lacks: map[string]string{
			"refusal":       "Cohere has no finish reason for it: the model refuses in plain text, and a deny list with a 498",
			"cache written": "Cohere does not count what it writes into its cache",
			"predictions":   "Cohere has language models only, none that predicts from features",
			"reasoning":     "Cohere counts its thoughts among the output tokens, and not apart",
		},
		Overloaded: schemas.Transient,
	}
}

func TestConformance(t *testing.T) { t.Parallel(); modeltest.Run(t, provider()) }

func FuzzDecoders(f *testing.F) { modeltest.Fuzz(f, provider()) }

func BenchmarkCodec(b *testing.B) { modeltest.Benchmark(b, provider()) }
