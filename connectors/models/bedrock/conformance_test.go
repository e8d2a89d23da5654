package bedrock_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/bedrock"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const usage20and5 = `{"inputTokens":20,"outputTokens":5,"totalTokens":25,"cacheReadInputTokens":0,"cacheWriteInputTokens":0}`

func answer(content, stop, usage string) string {
	return `{"metrics":{"latencyMs":1275},"output":{"message":{"content":[` + content + `],"role":"assistant"}},"stopReason":"` +
		stop + `","usage":` + usage + `}`
}

const (
	streamStart = `{"role":"assistant","p":"abcdefgh"}`
	metadata    = `{"metrics":{"latencyMs":662},"usage":` + usage20and5 + `,"p":"abcd"}`
)

func events(end string, frames ...string) modeltest.Answer {
	return modeltest.Answer{
		Header: map[string]string{"Content-Type": "application/vnd.amazon.eventstream"},
		Body:   frame("messageStart", streamStart) + strings.Join(frames, "") + end,
	}
}

func stopped(reason string) string {
	return frame("contentBlockStop", `{"contentBlockIndex":0,"p":"abc"}`) +
		frame("messageStop", `{"stopReason":"`+reason+`","p":"ab"}`) + frame("metadata", metadata)
}

func failure(status int, word string) modeltest.Answer {
	return modeltest.Answer{
		Status: status, Body: `{"message":"Something about ANSWER-free matters"}`,
		Header: map[string]string{"X-Amzn-Errortype": word + ":http://internal.amazon.com/coral/com.amazon.bedrock/"},
	}
}

// provider has the answers of the API reference (docs.aws.amazon.com/bedrock/latest/APIReference: Converse,
// ConverseStream, CommonErrors).
func provider() modeltest.Provider {
	rateLimited := failure(429, "ThrottlingException")
	rateLimited.Header["Retry-After"] = "7"
	text := `{"text":"Paris."}`
	first := frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Par"},"p":"abcdefghijk"}`)
	second := frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"is."},"p":"ab"}`)
	cut := events("", first)
	cut.Cut = true
	return modeltest.Provider{
		New: func(_ testing.TB, base string, client *wire.Client) *wire.Model {
			return bedrock.New(bedrock.Options{
				BaseURL: base, Region: region, AccessKeyID: schemas.NewSecret(accessKeyID),
				SecretAccessKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client,
			})
		},
		Schema:     "testdata/request.schema.json",
		Authorized: func(r *http.Request, body []byte) bool { return signed(r, body, accessKeyID, modeltest.Secret, "") },
		Path:       "/model/test-model/converse", StreamPath: "/model/test-model/converse-stream",
		Refused: func(why string) string { return fmt.Sprintf(`{"__type":"ValidationException","message":%q}`, why) },
		Answers: map[string]modeltest.Answer{
			"text":         {Body: answer(text, "end_turn", usage20and5)},
			"image":        {Body: answer(text, "end_turn", usage20and5)},
			"conversation": {Body: answer(text, "stop_sequence", usage20and5)},
			"structured":   {Body: answer(`{"text":"{\"city\": \"Paris\"}"}`, "end_turn", usage20and5)},
			"tool call": {Body: answer(`{"toolUse":{"input":{"city":"Paris"},"name":"get_weather","toolUseId":"tooluse_1"}}`,
				"tool_use", usage20and5)},
			"length":  {Body: answer(`{"text":"Par"}`, "max_tokens", usage20and5)},
			"refusal": {Body: answer(`{"text":"ANSWER-TEXT"}`, "content_filtered", usage20and5)},
			"cached": {Body: answer(text, "end_turn",
				`{"inputTokens":20,"outputTokens":5,"totalTokens":125,"cacheReadInputTokens":100,"cacheWriteInputTokens":0,"cacheReadInputTokenCount":100}`)},
			"cache written": {Body: answer(text, "end_turn",
				`{"inputTokens":20,"outputTokens":5,"totalTokens":125,"cacheReadInputTokens":0,"cacheWriteInputTokens":100,"cacheDetails":[{"ttl":"5m","inputTokens":100}]}`)},
			"stream": events(stopped("end_turn"), first, second),
			"stream of a tool call": events(stopped("tool_use"),
				frame("contentBlockStart", `{"contentBlockIndex":0,"start":{"toolUse":{"name":"get_weather","toolUseId":"tooluse_1"}},"p":"a"}`),
				frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"toolUse":{"input":""}}}`),
				frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"city\":"}}}`),
				frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"toolUse":{"input":"\"Paris\"}"}}}`)),
			"stream cut":     cut,
			"stream failed":  events(exception("throttlingException", `{"message":"ANSWER-free"}`), first),
			"rate limit":     rateLimited,
			"overloaded":     failure(503, "ServiceUnavailableException"),
			"context length": failure(400, "ValidationException"),
			"content filter": {Body: answer(`{"text":"ANSWER-TEXT"}`, "guardrail_intervened", usage20and5)},
			"invalid key":    failure(403, "UnrecognizedClientException"),
			"unknown model":  failure(404, "ResourceNotFoundException"),
			"bad parameter":  failure(400, "ValidationException"),
			"server error":   failure(500, "InternalServerException"),
			"page":           {Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>ANSWER-TEXT</html>"},
		},
		Lacks: map[string]string{
			"embeddings":  "Converse has chats only; every embedding model of Bedrock has a body of its own, over InvokeModel",
			"predictions": "Converse has chats only, and no model that predicts from features",
			"reasoning":   "Bedrock counts the tokens of reasoning among outputTokens and does not tell them apart",
		},
		Overloaded: schemas.Transient,
	}
}

func TestConformance(t *testing.T) { t.Parallel(); modeltest.Run(t, provider()) }

func FuzzDecoders(f *testing.F) { modeltest.Fuzz(f, provider()) }

func BenchmarkCodec(b *testing.B) { modeltest.Benchmark(b, provider()) }
