package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/connectors/models/embedded"
	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a running server and the client of one test.
type service struct {
	*embedded.Server
	client *wire.Client
}

func start(t *testing.T) service {
	t.Helper()
	server, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client := wire.NewClient(wire.ClientOptions{MaxConns: 8, Timeout: 30 * time.Second})
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := server.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return service{server, client}
}

// do sends one request to a path beside /v1 and decodes the answer.
func (s service) do(t *testing.T, method, path, body string) (int, http.Header, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(s.URL(), "/v1")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	response, err := s.client.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return response.StatusCode, response.Header, got
}

// as is value as a T.
func as[T any](t *testing.T, value any) T {
	t.Helper()
	got, ok := value.(T)
	if !ok {
		t.Fatalf("got %v, a %T", value, value)
	}
	return got
}

func known() map[string]map[string]string {
	return map[string]map[string]string{
		"sentiment": {
			"The support was wonderful, I love it!":             "positive",
			"This is a horrible, broken product and I hate it.": "negative",
			"The package contains header files.":                "neutral",
			"The plot was good,\nbut the ending is not\tgreat.": "negative", // white space that is no space
			"":                                   "neutral",
			"\xf0\x9f\x98\x81":                   "positive",
			"At least it isn't a horrible book.": "positive",
			"Today only kinda sux! But I'll get by, lol": "positive",
			"\n\nterrible\n\n":                           "negative",
		},
		"language": {
			"The quick brown fox jumps over the lazy dog, and nobody minds at all.":                                  "eng",
			"Wir haben gestern die Rechnung bezahlt und warten noch immer auf eine Antwort.":                         "deu",
			"Nous avons payé la facture hier et nous attendons toujours une réponse de votre part.":                  "fra",
			"Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.": "rus",
			"昨日請求書を支払いましたが、まだ返事がありません。":                                                                              "jpn",
			"12345 67890": "und",
			"":            "und",
		},
	}
}

// TestChat asks through our own provider, as a job does.
func TestChat(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, texts := range known() {
		m := openai.New(openai.Options{BaseURL: s.URL(), Model: name, Client: s.client})
		for text, want := range texts {
			got, err := m.Invoke(t.Context(), &schemas.Request{ID: "r", Messages: []schemas.Message{
				{Role: "system", Content: "I love wonderful things."},
				{Role: "user", Content: "hate hate hate"},
				{Role: "assistant", Content: "negative"},
				{Role: "user", Content: text},
			}, Parameters: map[string]any{"temperature": 0, "max_tokens": 5}})
			if err != nil || got.Text != want || got.Model != name {
				t.Errorf("%s of %q: got %v %v, want %s", name, text, got, err, want)
			}
			if got.Usage.Basis != schemas.BasisProvider || got.Usage.OutputTokens != 1 || got.Usage.TotalTokens != got.Usage.InputTokens+1 {
				t.Errorf("got %+v", got.Usage)
			}
		}
	}
	_, _, got := s.do(t, http.MethodPost, "/v1/chat/completions",
		`{"model":"sentiment","messages":[{"role":"user","content":[{"type":"text","text":"one two,"},{"type":"text","text":"three"}]}]}`)
	if usage := as[map[string]any](t, got["usage"]); usage["prompt_tokens"] != 3.0 {
		t.Errorf("got %v", got)
	}
}

// TestChatTogether scores from many goroutines at once; the race detector watches the libraries.
func TestChatTogether(t *testing.T) {
	t.Parallel()
	s := start(t)
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for name, texts := range known() {
				m := openai.New(openai.Options{BaseURL: s.URL(), Model: name, Client: s.client})
				for text, want := range texts {
					got, err := m.Invoke(t.Context(), &schemas.Request{Messages: []schemas.Message{{Role: "user", Content: text}}})
					if err != nil || got.Text != want {
						t.Errorf("%s of %q: got %v %v, want %s", name, text, got, err, want)
					}
				}
			}
		})
	}
	workers.Wait()
}

func TestScoring(t *testing.T) {
	t.Parallel()
	s := start(t)
	for name, body := range map[string]string{
		"split":           `{"dataframe_split":{"columns":["id","text"],"data":[[1,"I love it"],[2,"I hate it"]]}}`,
		"split, index":    `{"dataframe_split":{"index":[0,1],"columns":["body"],"data":[["I love it"],["I hate it"]]}}`,
		"records":         `{"dataframe_records":[{"id":1,"text":"I love it"},{"text":"I hate it"}]}`,
		"records, column": `{"dataframe_records":[{"body":"I love it"},{"body":"I hate it"}],"params":{"a":1}}`,
		"inputs":          `{"inputs":["I love it","I hate it"]}`,
		"inputs, vector":  `{"inputs":[["I love it"],["I hate it"]]}`,
		"inputs, named":   `{"inputs":{"text":["I love it","I hate it"]}}`,
		"inputs, column":  `{"inputs":{"body":[["I love it"],["I hate it"]]}}`,
		"instances":       `{"instances":["I love it","I hate it"]}`,
		"instances, rows": `{"instances":[{"text":"I love it"},{"text":"I hate it"}]}`,
	} {
		for _, path := range []string{"/invocations", "/models/sentiment/invocations"} {
			status, _, got := s.do(t, http.MethodPost, path, body)
			rows, _ := got["predictions"].([]any)
			if status != http.StatusOK || len(rows) != 2 {
				t.Errorf("%s: got %d %v", name, status, got)
				continue
			}
			first, second := as[map[string]any](t, rows[0]), as[map[string]any](t, rows[1])
			if first["label"] != "positive" || second["label"] != "negative" ||
				as[float64](t, first["compound"]) < 0.5 || as[float64](t, second["compound"]) > -0.5 {
				t.Errorf("%s: got %v", name, got)
			}
		}
	}

	var body bytes.Buffer
	body.WriteString(`{"instances":[`)
	for i := range 1000 {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `"This is sentence number %d and it is written in English."`, i)
	}
	body.WriteString(`]}`)
	status, _, got := s.do(t, http.MethodPost, "/models/language/invocations", body.String())
	rows, _ := got["predictions"].([]any)
	if status != http.StatusOK || len(rows) != 1000 {
		t.Fatalf("got %d and %d rows", status, len(rows))
	}
	for _, row := range rows {
		if row := as[map[string]any](t, row); row["label"] != "eng" || row["name"] != "English" {
			t.Fatalf("got %v", row)
		}
	}
	if status, _, got := s.do(t, http.MethodPost, "/invocations", `{"instances":[]}`); status != http.StatusOK || len(as[[]any](t, got["predictions"])) != 0 {
		t.Errorf("no rows: got %d %v", status, got)
	}
}

func TestScoringErrors(t *testing.T) {
	t.Parallel()
	s := start(t)
	many := `{"instances":["a"` + strings.Repeat(`,"a"`, 10_000) + `]}`
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"not JSON":    {"POST", "/invocations", `{`, 400, "BAD_REQUEST"},
		"none":        {"POST", "/invocations", `{}`, 400, "BAD_REQUEST"},
		"null":        {"POST", "/invocations", `{"inputs":null}`, 400, "BAD_REQUEST"},
		"two":         {"POST", "/invocations", `{"inputs":["a"],"instances":["a"]}`, 400, "BAD_REQUEST"},
		"no text":     {"POST", "/invocations", `{"inputs":[5]}`, 400, "BAD_REQUEST"},
		"null text":   {"POST", "/invocations", `{"dataframe_records":[{"text":null}]}`, 400, "BAD_REQUEST"},
		"which":       {"POST", "/invocations", `{"dataframe_records":[{"a":"x","b":"y"}]}`, 400, "BAD_REQUEST"},
		"which, two":  {"POST", "/invocations", `{"dataframe_split":{"columns":["a","b"],"data":[]}}`, 400, "BAD_REQUEST"},
		"ragged":      {"POST", "/invocations", `{"dataframe_split":{"columns":["a"],"data":[["x","y"]]}}`, 400, "BAD_REQUEST"},
		"deep":        {"POST", "/invocations", `{"inputs":[[["x"]]]}`, 400, "BAD_REQUEST"},
		"no model":    {"POST", "/models/nobody/invocations", `{"inputs":["a"]}`, 404, "RESOURCE_DOES_NOT_EXIST"},
		"method":      {"GET", "/invocations", ``, 405, "METHOD_NOT_ALLOWED"},
		"many":        {"POST", "/invocations", many, 413, "REQUEST_TOO_LARGE"},
		"large":       {"POST", "/invocations", `{"inputs":["` + strings.Repeat("a", 5<<20) + `"]}`, 413, "REQUEST_TOO_LARGE"},
		"ping method": {"POST", "/ping", `{}`, 405, "METHOD_NOT_ALLOWED"},
	} {
		status, _, got := s.do(t, c.method, c.path, c.body)
		if message, _ := got["message"].(string); status != c.status || got["error_code"] != c.code || message == "" {
			t.Errorf("%s: got %d %v", name, status, got)
		}
	}
}

func TestChatErrors(t *testing.T) {
	t.Parallel()
	s := start(t)
	const user = `"messages":[{"role":"user","content":"a"}]`
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"not JSON":     {"POST", "/v1/chat/completions", `{"model":`, 400, "invalid_request"},
		"no model":     {"POST", "/v1/chat/completions", `{` + user + `}`, 404, "model_not_found"},
		"other model":  {"POST", "/v1/chat/completions", `{"model":"gpt",` + user + `}`, 404, "model_not_found"},
		"n":            {"POST", "/v1/chat/completions", `{"model":"sentiment","n":2,` + user + `}`, 400, "invalid_request"},
		"format":       {"POST", "/v1/chat/completions", `{"model":"sentiment","response_format":{"type":"json_object"},` + user + `}`, 400, "invalid_request"},
		"no messages":  {"POST", "/v1/chat/completions", `{"model":"sentiment"}`, 400, "invalid_request"},
		"no user":      {"POST", "/v1/chat/completions", `{"model":"sentiment","messages":[{"role":"system","content":"a"}]}`, 400, "invalid_request"},
		"odd role":     {"POST", "/v1/chat/completions", `{"model":"sentiment","messages":[{"role":"poet","content":"a"}]}`, 400, "invalid_request"},
		"odd content":  {"POST", "/v1/chat/completions", `{"model":"sentiment","messages":[{"role":"user","content":5}]}`, 400, "invalid_request"},
		"image":        {"POST", "/v1/chat/completions", `{"model":"sentiment","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "invalid_request"},
		"method":       {"GET", "/v1/chat/completions", ``, 405, "method_not_allowed"},
		"models POST":  {"POST", "/v1/models", `{}`, 405, "method_not_allowed"},
		"large":        {"POST", "/v1/chat/completions", strings.Repeat(" ", 5<<20), 413, "request_too_large"},
		"nothing here": {"GET", "/v2", ``, 404, "not_found"},
	} {
		status, header, got := s.do(t, c.method, c.path, c.body)
		problem, _ := got["error"].(map[string]any)
		if message, _ := problem["message"].(string); status != c.status || problem["code"] != c.code || message == "" ||
			problem["type"] != "invalid_request_error" {
			t.Errorf("%s: got %d %v", name, status, got)
		}
		if status == http.StatusMethodNotAllowed && header.Get("Allow") == "" {
			t.Errorf("%s: no Allow header", name)
		}
	}
	// What our own provider makes of it.
	_, err := openai.New(openai.Options{BaseURL: s.URL(), Model: "gpt", Client: s.client}).
		Invoke(t.Context(), &schemas.Request{Messages: []schemas.Message{{Role: "user", Content: "a"}}})
	if failure, ok := errors.AsType[*schemas.Error](err); !ok || failure.Class != schemas.Fatal || failure.Code != "model_not_found" || failure.Mend == "" {
		t.Errorf("got %v", err)
	}
}

func TestOtherContentType(t *testing.T) {
	t.Parallel()
	s := start(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL()+"/chat/completions", strings.NewReader("a,b"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/csv")
	response, err := s.client.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("got %d", response.StatusCode)
	}
}

func TestLists(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range []string{"/ping", "/health"} {
		if status, _, _ := s.do(t, http.MethodGet, path, ""); status != http.StatusOK {
			t.Errorf("%s: got %d", path, status)
		}
	}
	_, _, got := s.do(t, http.MethodGet, "/v1/models", "")
	var names []string
	for _, entry := range as[[]any](t, got["data"]) {
		names = append(names, as[string](t, as[map[string]any](t, entry)["id"]))
	}
	if fmt.Sprint(names) != fmt.Sprint(s.Models()) || got["object"] != "list" {
		t.Errorf("got %v, want %v", got, s.Models())
	}
}

func TestLifecycle(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:80", "nonsense"} {
		if _, err := embedded.Start(t.Context(), embedded.Options{Addr: addr}); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: got %v", addr, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	server, err := embedded.Start(ctx, embedded.Options{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	cancel() // draining rows still need their model
	client := wire.NewClient(wire.ClientOptions{Timeout: 10 * time.Second})
	defer client.CloseIdleConnections()
	m := openai.New(openai.Options{BaseURL: server.URL(), Model: "sentiment", Client: client})
	request := &schemas.Request{Messages: []schemas.Message{{Role: "user", Content: "I love it"}}}
	if got, err := m.Invoke(t.Context(), request); err != nil || got.Text != "positive" {
		t.Errorf("after the start's context ended: %v", err)
	}
	for range 2 {
		if err := server.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	client.CloseIdleConnections() // or the call might meet one on its way out
	if _, err := m.Invoke(t.Context(), request); schemas.ClassOf(err) != schemas.Transient {
		t.Errorf("closed: got %v", err)
	}
}
