package anthropic_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/anthropic"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const usage20and5 = `{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,` +
	`"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":5,` +
	`"service_tier":"standard","inference_geo":"global"}`

const paris = `{"type":"text","text":"Paris."}`

func message(content, reason, usage string) string {
	return `{"id":"msg_01","type":"message","role":"assistant","model":"test-model-2026","content":[` + content +
		`],"stop_reason":"` + reason + `","stop_sequence":null,"stop_details":null,"usage":` + usage + `}`
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
	begin = `{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"test-model-2026","content":[],` +
		`"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1,"service_tier":"standard"}}}`
	beginText = `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	ping      = `{"type": "ping"}`
	par       = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Par"}}`
	is        = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"is."}}`
	endBlock  = `{"type":"content_block_stop","index":0}`
	endTurn   = `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":5}}`
	endTool   = `{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},` +
		`"usage":{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":5}}`
	end = `{"type":"message_stop"}`
)

func failure(status int, kind string) modeltest.Answer {
	return modeltest.Answer{Status: status, Body: fmt.Sprintf(
		`{"type":"error","error":{"type":%q,"message":"Something about ANSWER-free matters"},"request_id":"req_011"}`, kind)}
}

// provider has the answers of Anthropic's API reference (platform.claude.com/docs/en/api/messages, .../api/errors and
// .../build-with-claude/streaming).
func provider() modeltest.Provider {
	rateLimited := failure(429, "rate_limit_error")
	rateLimited.Header = map[string]string{"Retry-After": "7"}
	return modeltest.Provider{
		New: func(_ testing.TB, base string, client *wire.Client) *wire.Model {
			return anthropic.New(anthropic.Options{
				BaseURL: base, APIKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client,
			})
		},
		Schema: "testdata/request.schema.json",
		Authorized: func(r *http.Request, _ []byte) bool {
			return r.Header.Get("X-Api-Key") == modeltest.Secret && r.Header.Get("Anthropic-Version") == "2023-06-01" &&
				r.Header.Get("Authorization") == ""
		},
		Path:    "/v1/messages",
		Refused: func(string) string { return failure(400, "invalid_request_error").Body },
		Answers: map[string]modeltest.Answer{
			"text":         {Body: message(paris, "end_turn", usage20and5)},
			"image":        {Body: message(paris, "end_turn", usage20and5)},
			"conversation": {Body: message(paris, "stop_sequence", usage20and5)},
			"structured":   {Body: message(`{"type":"text","text":"{\"city\": \"Paris\"}"}`, "end_turn", usage20and5)},
			"tool call":    {Body: message(`{"type":"tool_use","id":"toolu_01","name":"get_weather","input":{"city":"Paris"}}`, "tool_use", usage20and5)},
			"length":       {Body: message(`{"type":"text","text":"Par"}`, "max_tokens", usage20and5)},
			"refusal":      {Body: message(`{"type":"text","text":"ANSWER-TEXT"}`, "refusal", usage20and5)},
			"cached": {Body: message(paris, "end_turn",
				`{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":100,"output_tokens":5}`)},
			"cache written": {Body: message(paris, "end_turn",
				`{"input_tokens":20,"cache_creation_input_tokens":100,"cache_read_input_tokens":0,"output_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":0}}`)},
			"reasoning": {Body: message(`{"type":"thinking","thinking":"The capital.","signature":"Ep8B"},`+paris, "end_turn",
				`{"input_tokens":20,"output_tokens":25,"output_tokens_details":{"thinking_tokens":20}}`)},
			"stream": {Body: events(begin, beginText, ping, par, is, endBlock, endTurn, end)},
			"stream of a tool call": {Body: events(begin,
				`{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"toolu_01","name":"get_weather","input":{}}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":""}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"city\":"}}`,
				`{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":" \"Paris\"}"}}`,
				endBlock, endTool, end)},
			"stream cut": {Body: events(begin, beginText, par), Cut: true},
			"stream failed": {Body: events(begin, beginText, par,
				`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`)},
			"rate limit":     rateLimited,
			"overloaded":     failure(529, "overloaded_error"),
			"context length": failure(400, "invalid_request_error"),
			"content filter": failure(400, "invalid_request_error"),
			"invalid key":    failure(401, "authentication_error"),
			"unknown model":  failure(404, "not_found_error"),
			"bad parameter":  failure(400, "invalid_request_error"),
			"server error":   failure(500, "api_error"),
			"page":           {Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>ANSWER-TEXT</html>"},
		},
		Lacks: map[string]string{
			"embeddings":  "Anthropic has no embedding models",
			"predictions": "the API has language models only, none that predicts from features",
		},
		Overloaded: schemas.Throttled,
	}
}

func TestConformance(t *testing.T) { t.Parallel(); modeltest.Run(t, provider()) }

func FuzzDecoders(f *testing.F) { modeltest.Fuzz(f, provider()) }

func BenchmarkCodec(b *testing.B) { modeltest.Benchmark(b, provider()) }
