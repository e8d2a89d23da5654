package gemini_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/gemini"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	usage20and5 = `{"promptTokenCount":20,"candidatesTokenCount":5,"totalTokenCount":25,"promptTokensDetails":[{"modality":"TEXT","tokenCount":20}]}`
	parisCall   = `{"functionCall":{"name":"get_weather","args":{"city":"Paris"}},"thoughtSignature":"c2ln"}`
)

// content is an answer as Google writes it: over several lines.
func content(parts, reason, usage string) string {
	return fmt.Sprintf(`{
  "candidates": [
    {
      "content": {"parts": [%s], "role": "model"},
      "finishReason": %q,
      "index": 0
    }
  ],
  "usageMetadata": %s,
  "modelVersion": "test-model-001",
  "responseId": "r-1"
}
`, parts, reason, usage)
}

func chunk(parts, reason, usage string) string {
	if reason != "" {
		reason = fmt.Sprintf(`"finishReason":%q,`, reason)
	}
	return fmt.Sprintf(`data: {"candidates": [{"content": {"parts": [%s],"role": "model"},%s"index": 0}],`+
		`"usageMetadata": %s,"modelVersion": "test-model-001","responseId": "r-1"}`+"\r\n\r\n", parts, reason, usage)
}

func failureBody(code int, status, details string) string {
	return fmt.Sprintf(`{
  "error": {
    "code": %d,
    "message": "Something about ANSWER-free matters.",
    "status": %q,
    "details": [%s]
  }
}
`, code, status, details)
}

func failure(code int, status string, details ...string) modeltest.Answer {
	return modeltest.Answer{Status: code, Body: failureBody(code, status, strings.Join(details, ","))}
}

// provider has the answers of Google's API reference (ai.google.dev/api/generate-content and .../embeddings, and for errors
// ai.google.dev/gemini-api/docs/troubleshooting and google.aip.dev/193).
func provider() modeltest.Provider {
	paris := content(`{"text":"Paris."}`, "STOP", usage20and5)
	const counting = `{"promptTokenCount":20,"candidatesTokenCount":2,"totalTokenCount":22}`
	return modeltest.Provider{
		New: func(_ testing.TB, base string, client *wire.Client) *wire.Model {
			return gemini.New(gemini.Options{
				BaseURL: base, APIKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client,
			})
		},
		Schema:  "testdata/request.schema.json",
		Schemas: map[string]string{"embeddings": "testdata/batchEmbedContents.schema.json"},
		Authorized: func(r *http.Request, _ []byte) bool {
			return r.Header.Get("X-Goog-Api-Key") == modeltest.Secret && r.Header.Get("Authorization") == "" &&
				r.URL.Query().Get("key") == "" && (r.URL.Query().Get("alt") == "sse") == strings.Contains(r.URL.Path, ":stream")
		},
		Path:       "/v1beta/models/test-model:generateContent",
		StreamPath: "/v1beta/models/test-model:streamGenerateContent",
		Paths:      map[string]string{"embeddings": "/v1beta/models/test-model:batchEmbedContents"},
		Refused: func(string) string {
			return failureBody(400, "INVALID_ARGUMENT", `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[]}`)
		},
		Answers: map[string]modeltest.Answer{
			"text":         {Body: paris},
			"image":        {Body: paris},
			"conversation": {Body: paris},
			"structured":   {Body: content(`{"text":"{\"city\": \"Paris\"}"}`, "STOP", usage20and5)},
			"tool call":    {Body: content(parisCall, "STOP", usage20and5)},
			"length":       {Body: content(`{"text":"Par"}`, "MAX_TOKENS", usage20and5)},
			"refusal":      {Body: content("", "SAFETY", usage20and5)},
			"cached": {Body: content(`{"text":"Paris."}`, "STOP",
				`{"promptTokenCount":120,"candidatesTokenCount":5,"totalTokenCount":125,"cachedContentTokenCount":100}`)},
			"reasoning": {Body: content(`{"text":"Well.","thought":true},{"text":"Paris."}`, "STOP",
				`{"promptTokenCount":20,"candidatesTokenCount":5,"totalTokenCount":45,"thoughtsTokenCount":20}`)},
			"stream": {Body: chunk(`{"text":"Par"}`, "", counting) + chunk(`{"text":"is."}`, "STOP", usage20and5)},
			"stream of a tool call": {
				Body: chunk(parisCall, "", counting) + chunk(`{"text":""}`, "STOP", usage20and5),
			},
			"stream cut":    {Body: chunk(`{"text":"Par"}`, "", counting), Cut: true},
			"stream failed": {Body: chunk(`{"text":"Par"}`, "", counting) + failureBody(503, "UNAVAILABLE", "")},
			"embeddings": {Body: `{
  "embeddings": [
    {"values": [0.5, -0.25]},
    {"values": [1, 0]}
  ],
  "usageMetadata": {"promptTokenCount": 20}
}
`},
			"rate limit": failure(429, "RESOURCE_EXHAUSTED",
				`{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":"GenerateRequestsPerMinutePerProjectPerModel"}]}`,
				`{"@type":"type.googleapis.com/google.rpc.Help","links":[]}`,
				`{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"7s"}`),
			"overloaded":     failure(503, "UNAVAILABLE"),
			"context length": failure(400, "INVALID_ARGUMENT"),
			"content filter": {Body: `{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":20,"totalTokenCount":20},"modelVersion":"test-model-001"}`},
			"invalid key": failure(400, "INVALID_ARGUMENT",
				`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}`),
			"unknown model": failure(404, "NOT_FOUND"),
			"bad parameter": failure(400, "INVALID_ARGUMENT"),
			"server error":  failure(500, "INTERNAL"),
			"page":          {Status: 502, Header: map[string]string{"Content-Type": "text/html"}, Body: "<html>ANSWER-TEXT</html>"},
		},
		Lacks: map[string]string{
			"cache written": "an implicit cache is written for nothing, and an explicit one over a method of its own; neither is counted in an answer",
			"predictions":   "Google's own models predict from no features; what Vertex AI calls a prediction is an embedding",
		},
		Overloaded: schemas.Transient,
	}
}

// vertexProvider answers alike, at another URL and to a token of a service account. Embeddings are predictions there
// (cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api).
func vertexProvider(t *testing.T) modeltest.Provider {
	t.Helper()
	key := privateKey(t)
	p := provider()
	p.Golden = "vertex.http"
	p.New = func(tb testing.TB, base string, client *wire.Client) *wire.Model {
		tb.Helper()
		return gemini.New(gemini.Options{
			BaseURL: base, Model: "test-model", Client: client, ProjectID: "project-1", Region: "us-central1",
			PrivateKey: keyFile(tb, key, newTokenServer(tb, key).URL),
		})
	}
	p.Authorized = func(r *http.Request, _ []byte) bool {
		return r.Header.Get("Authorization") == "Bearer "+modeltest.Secret && r.Header.Get("X-Goog-Api-Key") == ""
	}
	const model = "/v1/projects/project-1/locations/us-central1/publishers/google/models/test-model"
	p.Path, p.StreamPath = model+":generateContent", model+":streamGenerateContent"
	p.Paths = map[string]string{"embeddings": model + ":predict"}
	p.Schemas = map[string]string{"embeddings": "testdata/predict.schema.json"}
	p.Answers["embeddings"] = modeltest.Answer{Body: `{
  "predictions": [
    {"embeddings": {"statistics": {"truncated": false, "token_count": 12}, "values": [0.5, -0.25]}},
    {"embeddings": {"statistics": {"truncated": false, "token_count": 8}, "values": [1, 0]}}
  ],
  "metadata": {"billableCharacterCount": 25}
}
`}
	return p
}

func TestConformance(t *testing.T) { t.Parallel(); modeltest.Run(t, provider()) }

func TestVertexConformance(t *testing.T) { t.Parallel(); modeltest.Run(t, vertexProvider(t)) }

func FuzzDecoders(f *testing.F) { modeltest.Fuzz(f, provider()) }

func BenchmarkCodec(b *testing.B) { modeltest.Benchmark(b, provider()) }
