package openai

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const benchAnswer = `{"id":"chatcmpl-123","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,` +
	`"message":{"role":"assistant","content":"{\"severity\":\"low\",\"team\":\"billing\",\"confidence\":0.93}","refusal":null},` +
	`"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":112,"completion_tokens":20,"total_tokens":132,` +
	`"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}},"system_fingerprint":"fp"}`

func benchRequest() *schemas.Request {
	return &schemas.Request{
		ID: "0197-request",
		Messages: []schemas.Message{
			{Role: "system", Content: "You triage support tickets."},
			{Role: "user", Content: strings.Repeat("The invoice of \"May\" is wrong, and nobody\nanswers. ", 20)},
		},
		Parameters: map[string]any{"temperature": 0, "max_tokens": 200},
	}
}

type cannedTransport struct{}

func (cannedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(benchAnswer)), ContentLength: int64(len(benchAnswer)), Request: r,
	}, nil
}

// BenchmarkInvoke is all of a call but the sockets.
func BenchmarkInvoke(b *testing.B) {
	client := wire.NewClient(wire.ClientOptions{})
	client.RegisterProtocol("https", cannedTransport{})
	m := New(Options{Model: "gpt-4o-mini", Client: client})
	request := benchRequest()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Invoke(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}
