package openai_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// azure has what Azure's reference shows beside OpenAI's answers: its key header, filter results and error shapes.
func azure() modeltest.Provider {
	p := provider()
	p.New = func(_ testing.TB, base string, client *wire.Client) *wire.Model {
		return openai.New(openai.Options{
			BaseURL: base, APIKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client,
			AzureDeployment: "my deployment", AzureAPIVersion: "2024-10-21",
		})
	}
	p.Schema, p.Golden, p.Path = "testdata/azure.schema.json", "azure.http", "/openai/deployments/my%20deployment/chat/completions"
	p.Schemas = map[string]string{"embeddings": "testdata/azure-embeddings.schema.json"}
	p.Paths = map[string]string{"embeddings": "/openai/deployments/my%20deployment/embeddings"}
	p.Authorized = func(r *http.Request, _ []byte) bool {
		return r.Header.Get("Api-Key") == modeltest.Secret && r.Header.Get("Authorization") == "" &&
			r.URL.RawQuery == "api-version=2024-10-21" && r.Header.Get("X-Ms-Client-Request-Id") == "req-1"
	}
	const safe = `"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}`
	const prompt = `"prompt_filter_results":[{"prompt_index":0,` + safe + `}]`
	p.Answers = maps.Clone(p.Answers)
	p.Answers["text"] = modeltest.Answer{Body: `{"id":"c","model":"test-model-2026",` + prompt + `,"choices":[{` + safe +
		`,"index":0,"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}],"usage":` + usage20and5 + `}`}
	// The first event tells of the prompt and has no choice.
	first := `data: {"id":"","object":"","created":0,"model":"","choices":[],` + prompt + "}\n\n"
	for _, name := range []string{"stream", "stream of a tool call", "stream cut", "stream failed"} {
		answer := p.Answers[name]
		answer.Body = first + answer.Body
		p.Answers[name] = answer
	}
	withheld := `"content_filter_results":{"violence":{"filtered":true,"severity":"high"}}`
	p.Answers["refusal"] = modeltest.Answer{Body: `{"id":"c","model":"m","choices":[{` + withheld +
		`,"index":0,"message":{"role":"assistant"},"finish_reason":"content_filter"}],"usage":` + usage20and5 + `}`}
	p.Answers["content filter"] = modeltest.Answer{Status: 400, Body: `{"error":{"message":"The response was filtered","type":null,` +
		`"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{}}}}`}
	rateLimited := modeltest.Answer{
		Status: 429, Body: `{"error":{"code":"429","message":"Rate limit is exceeded."}}`, Header: map[string]string{"Retry-After": "7"},
	}
	p.Answers["rate limit"] = rateLimited
	p.Answers["invalid key"] = modeltest.Answer{Status: 401, Body: `{"error":{"code":"401","message":"Access denied due to invalid subscription key"}}`}
	p.Answers["unknown model"] = modeltest.Answer{Status: 404, Body: `{"error":{"code":"DeploymentNotFound","message":"The API deployment does not exist"}}`}
	return p
}

// mistral is the custom server that differs most: a strict body, its own seed, counts that come unasked, thoughts in parts.
func mistral() modeltest.Provider {
	p := provider()
	p.New = func(_ testing.TB, base string, client *wire.Client) *wire.Model {
		return openai.New(openai.Options{
			BaseURL: base + "/v1", APIKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client, Server: "mistral",
		})
	}
	p.Schema, p.Golden = "testdata/mistral.schema.json", "mistral.http"
	p.Schemas = map[string]string{"embeddings": "testdata/mistral-embeddings.schema.json"}
	p.Answers = maps.Clone(p.Answers)
	p.Answers["text"] = modeltest.Answer{Body: completion(`{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text",`+
		`"text":"France."}]},{"type":"text","text":"Paris."}],"tool_calls":null}`, "stop", usage20and5)}
	p.Answers["length"] = modeltest.Answer{Body: completion(`{"role":"assistant","content":"Par"}`, "model_length", usage20and5)}
	p.Answers["bad parameter"] = modeltest.Answer{Status: 422, Body: `{"object":"error","message":{"detail":[{"type":"extra_forbidden"}]},"type":"invalid_request_error","param":null,"code":null}`}
	p.Answers["invalid key"] = modeltest.Answer{Status: 401, Body: `{"detail":"Unauthorized"}`}
	return p
}

func response(status, output, usage, more string) string {
	return `{"id":"resp_1","object":"response","created_at":1,"status":"` + status + `","error":null,"model":"test-model-2026","output":[` +
		output + `],"service_tier":"default","store":false,"usage":` + usage + more + `}`
}

func events(all ...string) string {
	var out strings.Builder
	for i, data := range all {
		name, _, _ := strings.Cut(strings.TrimPrefix(data, `{"type":"`), `"`)
		fmt.Fprintf(&out, "event: %s\ndata: %s,\"sequence_number\":%d}\n\n", name, strings.TrimSuffix(data, "}"), i)
	}
	return out.String()
}

// withoutStop takes out of the suite's conversation what the Responses API has not got, and refuses.
type withoutStop struct{ wire.Format }

func (f withoutStop) Check(request *schemas.Request) error { return f.Format.Check(f.less(request)) } //nolint:wrapcheck // a test

func (f withoutStop) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	return f.Format.Encode(f.less(request), stream) //nolint:wrapcheck // a test
}

func (withoutStop) less(request *schemas.Request) *schemas.Request {
	if request.Parameters["stop"] == nil {
		return request
	}
	less := *request
	less.Parameters = maps.Clone(request.Parameters)
	delete(less.Parameters, "stop")
	return &less
}

// overResponses has the answers of platform.openai.com/docs/api-reference/responses and .../responses-streaming.
func overResponses() modeltest.Provider {
	p := provider()
	p.New = func(_ testing.TB, base string, client *wire.Client) *wire.Model {
		key := schemas.NewSecret(modeltest.Secret)
		model := openai.NewResponses(openai.Options{BaseURL: base + "/v1", APIKey: key, Model: "test-model", Client: client})
		return wire.NewModel(wire.ModelOptions{
			Format: withoutStop{model.Format()}, Model: "test-model", Client: client, Authorize: wire.Key("Authorization", "Bearer ", key),
		})
	}
	p.Schema, p.Golden, p.Path = "testdata/responses.schema.json", "responses.http", "/v1/responses"
	p.Schemas, p.Paths = nil, nil
	const usage = `{"input_tokens":20,"input_tokens_details":{"cached_tokens":0},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":25}`
	message := func(part string) string {
		return `{"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[` + part + `]}`
	}
	text := func(text string) string {
		return message(`{"type":"output_text","text":` + text + `,"annotations":[],"logprobs":[]}`)
	}
	const call = `{"type":"function_call","id":"fc_1","call_id":"call_1","name":"get_weather","arguments":"{\"city\":\"Paris\"}","status":"completed"}`
	paris := modeltest.Answer{Body: response("completed", text(`"Paris."`), usage, "")}
	started := []string{
		`{"type":"response.created","response":` + response("in_progress", "", "null", "") + `}`,
		`{"type":"response.in_progress","response":` + response("in_progress", "", "null", "") + `}`,
		`{"type":"response.output_item.added","output_index":0,"item":{"id":"msg_1","type":"message","status":"in_progress","role":"assistant","content":[]}}`,
		`{"type":"response.content_part.added","item_id":"msg_1","output_index":0,"content_index":0,"part":{"type":"output_text","text":""}}`,
		`{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"Par"}`,
	}
	stream := func(more ...string) string { return events(append(append([]string{}, started...), more...)...) }
	answers := map[string]modeltest.Answer{
		"text": paris, "image": paris, "conversation": paris,
		"structured": {Body: response("completed", text(`"{\"city\":\"Paris\"}"`), usage, "")},
		"tool call":  {Body: response("completed", `{"type":"reasoning","id":"rs_1","summary":[]},`+call, usage, "")},
		"length":     {Body: response("incomplete", text(`"Par"`), usage, `,"incomplete_details":{"reason":"max_output_tokens"}`)},
		"refusal":    {Body: response("completed", message(`{"type":"refusal","refusal":"ANSWER-TEXT"}`), usage, "")},
		"cached": {Body: response("completed", text(`"Paris."`),
			`{"input_tokens":120,"input_tokens_details":{"cached_tokens":100},"output_tokens":5,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":125}`, "")},
		"cache written": {Body: response("completed", text(`"Paris."`),
			`{"input_tokens":120,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":100},"output_tokens":5,"total_tokens":125}`, "")},
		"reasoning": {Body: response("completed", `{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"France."}]},`+text(`"Paris."`),
			`{"input_tokens":20,"input_tokens_details":{"cached_tokens":0},"output_tokens":25,"output_tokens_details":{"reasoning_tokens":20},"total_tokens":45}`, "")},
		"stream": {Body: stream(
			`{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"is."}`,
			`{"type":"response.output_text.done","item_id":"msg_1","output_index":0,"content_index":0,"text":"Paris."}`,
			`{"type":"response.completed","response":`+response("completed", text(`"Paris."`), usage, "")+`}`)},
		"stream of a tool call": {Body: events(
			`{"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}`,
			`{"type":"response.output_item.added","output_index":1,"item":{"id":"fc_1","type":"function_call","status":"in_progress","call_id":"call_1","name":"get_weather","arguments":""}}`,
			`{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"{\"city\":"}`,
			`{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"\"Paris\"}"}`,
			`{"type":"response.function_call_arguments.done","item_id":"fc_1","output_index":1,"arguments":"{\"city\":\"Paris\"}"}`,
			`{"type":"response.completed","response":`+response("completed", call, usage, "")+`}`)},
		"stream cut":    {Body: stream(), Cut: true},
		"stream failed": {Body: stream(`{"type":"error","code":"server_error","message":"busy","param":null}`)},
	}
	for name, answer := range p.Answers {
		if _, own := answers[name]; !own {
			answers[name] = answer // errors have one shape
		}
	}
	delete(answers, "embeddings")
	p.Answers, p.Lacks = answers, map[string]string{
		"embeddings":  "they are another operation of the API, which package openai's other format has",
		"predictions": p.Lacks["predictions"],
	}
	return p
}

func TestConformanceAzure(t *testing.T) { t.Parallel(); modeltest.Run(t, azure()) }

func TestConformanceMistral(t *testing.T) { t.Parallel(); modeltest.Run(t, mistral()) }

func TestConformanceResponses(t *testing.T) { t.Parallel(); modeltest.Run(t, overResponses()) }

func FuzzResponsesDecoders(f *testing.F) { modeltest.Fuzz(f, overResponses()) }

func BenchmarkResponsesCodec(b *testing.B) { modeltest.Benchmark(b, overResponses()) }
