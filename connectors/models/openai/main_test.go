package openai_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	apiKey = "sk-test-0123456789abcdef"
	prompt = "the-text-of-a-prompt"
)

func question() *schemas.Request {
	return &schemas.Request{
		ID:       "req-1",
		Messages: []schemas.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: prompt}},
	}
}

// serve answers every call that the provider would accept with this status and body.
func serve(t *testing.T, status int, contentType, body string) *wire.Model {
	t.Helper()
	return model(t, strict(t, func(w http.ResponseWriter, _ map[string]json.RawMessage) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
}

func model(t *testing.T, handler http.Handler) *wire.Model {
	t.Helper()
	server := httptest.NewServer(handler)
	client := wire.NewClient(wire.ClientOptions{MaxConns: 4, Timeout: 30 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return openai.New(openai.Options{
		BaseURL: server.URL + "/v1", APIKey: schemas.NewSecret(apiKey), Organization: "org-1", Model: "gpt-test", Client: client,
	})
}

// strict is a provider that fails the test over a request that OpenAI would not take.
func strict(t *testing.T, answer func(w http.ResponseWriter, body map[string]json.RawMessage)) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/v1/chat/completions" || r.Proto != "HTTP/1.1" {
			t.Errorf("got %s %s %s", r.Method, r.URL.Path, r.Proto)
		}
		for name, want := range map[string]string{
			"Authorization": "Bearer " + apiKey, "Content-Type": "application/json", "OpenAI-Organization": "org-1",
			"X-Client-Request-Id": "req-1", "Idempotency-Key": "", "Accept-Encoding": "", "Transfer-Encoding": "",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		text, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(text)) {
			t.Errorf("%d bytes of %d: %v", len(text), r.ContentLength, err)
		}
		var body map[string]json.RawMessage
		if err := json.Unmarshal(text, &body); err != nil {
			t.Errorf("the body is not JSON: %v", err)
		}
		if string(body["model"]) != `"gpt-test"` {
			t.Errorf("model: %s", body["model"])
		}
		var messages []map[string]string
		if err := json.Unmarshal(body["messages"], &messages); err != nil || len(messages) == 0 {
			t.Errorf("messages: %s %v", body["messages"], err)
		}
		for _, message := range messages {
			if len(message) != 2 || !strings.Contains("system user assistant", message["role"]) {
				t.Errorf("message: %v", message)
			}
		}
		answer(w, body)
	})
}

// problem is the provider's account in an error of Decode or Events.
func problem(t *testing.T, err error) *wire.Problem {
	t.Helper()
	found, ok := errors.AsType[*wire.Problem](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	return found
}
