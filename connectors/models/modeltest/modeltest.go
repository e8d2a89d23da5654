// Package modeltest is the suite that every provider passes, over a server that is as strict as the provider: a
// request outside the published schema is refused in the provider's own words.
//
// A provider brings its recorded answers; what they must come to is written here, once. Whatever the provider calls
// its fields, twenty tokens are twenty tokens.
package modeltest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Secret is the key that a provider's model is given. It may stand in no error.
const Secret = "sk-test-0123456789abcdef"

// Prompt stands in every request, and may stand in no error.
const Prompt = "the-text-of-a-prompt"

// Answer is what a provider sends, as it was recorded or as its reference shows it.
type Answer struct {
	Status int // 0: 200
	Header map[string]string
	Body   string
	// Cut closes the connection after the body, in the middle of the answer.
	Cut bool
}

// Provider is what the suite needs to know of one.
type Provider struct {
	// New returns the model "test-model" at a server, which is asked with Secret.
	New func(t testing.TB, baseURL string, client *wire.Client) *wire.Model
	// Golden names the golden file in testdata; empty: canonical.http. Two formats in one package need two.
	Golden string
	// Schema is the path of the JSON Schema of a request's body: closed, as the provider publishes it.
	Schema string
	// Authorized reports whether a request has its credentials.
	Authorized func(r *http.Request, body []byte) bool
	// Path is what the URL's path must end with.
	Path, StreamPath string
	// Refused is the provider's 400 for a request outside the schema.
	Refused func(why string) string
	// Answers has an entry for every scenario; Lacks says why the provider has not got the others.
	Answers map[string]Answer
	Lacks   map[string]string
	// Overloaded is the class of the scenario of that name: providers differ.
	Overloaded schemas.Class
}

// scenario is a request and what the provider's answer to it must come to.
type scenario struct {
	name    string
	request func() *schemas.Request
	stream  bool
	want    func(t *testing.T, got *schemas.Response, err error)
}

// Scenarios are the names of all.
func Scenarios() []string {
	var names []string
	for _, s := range scenarios(schemas.Throttled) {
		names = append(names, s.name)
	}
	return names
}

// Question is a plain question.
func Question() *schemas.Request {
	return &schemas.Request{
		ID: "req-1", Messages: []schemas.Message{
			{Role: schemas.RoleSystem, Content: "Be brief."}, {Role: schemas.RoleUser, Content: Prompt},
		},
		Parameters: map[string]any{"max_tokens": 100},
	}
}

// WithTools is a question with a tool.
func WithTools() *schemas.Request {
	request := Question()
	request.Tools = []schemas.Tool{{
		Name: "get_weather", Description: "The weather of a city.",
		Parameters: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}`),
	}}
	request.ToolChoice = schemas.ToolChoiceAuto
	return request
}

// Canonical is the request of the golden file: a whole conversation.
func Canonical() *schemas.Request {
	request := WithTools()
	request.Messages = append(request.Messages,
		schemas.Message{Role: schemas.RoleAssistant, ToolCalls: []schemas.ToolCall{
			{ID: "call_1", Name: "get_weather", Arguments: `{"city":"Paris"}`},
		}},
		schemas.Message{Role: schemas.RoleTool, ToolCallID: "call_1", Content: `{"sky":"clear"}`},
		schemas.Message{Role: schemas.RoleAssistant, Content: "Clear."},
		schemas.Message{Role: schemas.RoleUser, Content: "And \"tomorrow\"?\n"},
	)
	request.Parameters = map[string]any{"max_tokens": 100, "temperature": 0.5, "top_p": 0.9, "stop": []any{"END"}}
	return request
}

// WithImage is a question about an image of one pixel.
func WithImage() *schemas.Request {
	request := Question()
	request.Messages[1] = schemas.Message{Role: schemas.RoleUser, Parts: []schemas.Part{
		{Text: Prompt}, {Media: &schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/png", Data: []byte("\x89PNG\r\n\x1a\n")}},
	}}
	return request
}

// Structured is a question whose answer keeps to a schema.
func Structured() *schemas.Request {
	request := Question()
	request.Format = &schemas.Format{Name: "answer", Strict: true, Schema: json.RawMessage(
		`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`)}
	return request
}

func scenarios(overloaded schemas.Class) []scenario {
	paris := func(t *testing.T, got *schemas.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if got.Text != "Paris." || got.Stop != schemas.StopEnd || got.HTTPStatus != 200 || got.FirstByte <= 0 || got.Model == "" {
			t.Errorf("got %+v", got)
		}
		counts(t, got, 20, 5)
	}
	tool := func(t *testing.T, got *schemas.Response, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var arguments map[string]any
		if len(got.ToolCalls) != 1 || got.ToolCalls[0].Name != "get_weather" || got.ToolCalls[0].ID == "" ||
			json.Unmarshal([]byte(got.ToolCalls[0].Arguments), &arguments) != nil ||
			!reflect.DeepEqual(arguments, map[string]any{"city": "Paris"}) || got.Stop != schemas.StopToolCalls {
			t.Errorf("got %+v", got)
		}
		counts(t, got, 20, 5)
	}
	fails := func(class schemas.Class, codes ...string) func(t *testing.T, got *schemas.Response, err error) {
		return func(t *testing.T, _ *schemas.Response, err error) {
			t.Helper()
			failure, ok := errors.AsType[*schemas.Error](err)
			if !ok || failure.Class != class || len(codes) > 0 && !slices.Contains(codes, failure.Code) || failure.Code == "" {
				t.Errorf("got %#v, want %s %v", err, class, codes)
			}
		}
	}
	return []scenario{
		{"text", Question, false, paris},
		{"structured", Structured, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || strings.Join(strings.Fields(got.Text), "") != `{"city":"Paris"}` || len(got.ToolCalls) != 0 || got.Stop != schemas.StopEnd {
				t.Errorf("got %+v %v", got, err)
			}
		}},
		{"image", WithImage, false, paris},
		{"tool call", WithTools, false, tool},
		{"conversation", Canonical, false, paris},
		{"length", Question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || got.Text != "Par" || got.Stop != schemas.StopLength {
				t.Errorf("got %+v %v", got, err)
			}
		}},
		{"refusal", Question, false, fails(schemas.Rejected, "refusal", "content_filter")},
		{"cached", Question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || got.Usage.CacheReadInputTokens == nil || *got.Usage.CacheReadInputTokens != 100 {
				t.Fatalf("got %+v %v", got.Usage, err)
			}
			counts(t, got, 120, 5)
		}},
		{"cache written", Question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || got.Usage.CacheCreationInputTokens == nil || *got.Usage.CacheCreationInputTokens != 100 {
				t.Fatalf("got %+v %v", got.Usage, err)
			}
			counts(t, got, 120, 5)
		}},
		{"reasoning", Question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if err != nil || got.Text != "Paris." || got.Usage.OutputReasoningTokens == nil || *got.Usage.OutputReasoningTokens != 20 {
				t.Fatalf("got %+v %v", got, err)
			}
			counts(t, got, 20, 25)
		}},
		{"stream", Question, true, paris},
		{"stream of a tool call", WithTools, true, tool},
		{"stream cut", Question, true, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			fails(schemas.Transient, "truncated_response")(t, got, err)
			if got.Usage.InputTokens == 0 || got.Usage.OutputTokens == 0 || got.Usage.Basis == schemas.BasisNone {
				t.Errorf("a stream that broke off is paid as far as it came: got %+v", got.Usage)
			}
		}},
		{"stream failed", Question, true, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			if class := schemas.ClassOf(err); class != schemas.Throttled && class != schemas.Transient {
				t.Errorf("got %v", err)
			}
			if got.Usage.Basis == schemas.BasisNone {
				t.Errorf("got %+v", got.Usage)
			}
		}},
		{"rate limit", Question, false, func(t *testing.T, got *schemas.Response, err error) {
			t.Helper()
			fails(schemas.Throttled, "rate_limit_exceeded")(t, got, err)
			if failure, ok := errors.AsType[*schemas.Error](err); ok && failure.RetryAfter != 7*time.Second {
				t.Errorf("asked to wait 7 s, read %s", failure.RetryAfter)
			}
		}},
		{"overloaded", Question, false, fails(overloaded)},
		{"context length", Question, false, fails(schemas.Rejected)},
		{"content filter", Question, false, fails(schemas.Rejected)},
		{"invalid key", Question, false, fails(schemas.Fatal)},
		{"unknown model", Question, false, fails(schemas.Fatal)},
		{"bad parameter", Question, false, fails(schemas.Rejected)},
		{"server error", Question, false, fails(schemas.Transient)},
		{"page", Question, false, fails(schemas.Transient)},
	}
}

func counts(t *testing.T, got *schemas.Response, input, output int64) {
	t.Helper()
	u := got.Usage
	if u.InputTokens != input || u.OutputTokens != output || u.TotalTokens != input+output || u.Basis != schemas.BasisProvider || !json.Valid([]byte(u.Raw)) {
		t.Errorf("got %+v, want %d in and %d out", u, input, output)
	}
}

// Run takes a provider through every scenario, and its canonical request through the golden file.
func Run(t *testing.T, p Provider) {
	t.Helper()
	schema := compile(t, p.Schema)
	for _, s := range scenarios(p.Overloaded) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			recorded, ok := p.Answers[s.name]
			why, lacks := p.Lacks[s.name]
			if ok == lacks || lacks && why == "" {
				t.Fatal("the provider must answer the scenario, or say why it has not got it")
			}
			if lacks {
				checkRefuses(t, p, s)
				return
			}
			model := p.New(t, p.serve(t, schema, s.stream, recorded), client(t))
			if err := model.Check(s.request()); err != nil {
				t.Fatalf("Check refuses what Encode is asked for: %v", err)
			}
			got, err := ask(t.Context(), model, s)
			s.want(t, got, err)
			silent(t, err)
			if err != nil && got.Text != "" {
				t.Errorf("a row has an answer or an error: got %q beside %v", got.Text, err)
			}
			if recorded.Cut { // a proxy may end in good order what the provider did not
				recorded.Cut = false
				got, err = ask(t.Context(), p.New(t, p.serve(t, schema, s.stream, recorded), client(t)), s)
				s.want(t, got, err)
			}
		})
	}
	t.Run("a request outside the schema", func(t *testing.T) {
		t.Parallel()
		base := p.serve(t, schema, false, p.Answers["text"])
		response, err := http.Post(base+p.Path, "application/json", strings.NewReader(`{"unknown_field":1}`)) //nolint:noctx // a test of the server
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close() //nolint:errcheck // a test
		if response.StatusCode != http.StatusBadRequest && response.StatusCode != http.StatusUnauthorized {
			t.Errorf("the server takes anything: %d", response.StatusCode)
		}
	})
	t.Run("golden", func(t *testing.T) { t.Parallel(); golden(t, p) })
}

// checkRefuses: what a provider has not got is refused before it is paid for, or is a shape that it never sends.
func checkRefuses(t *testing.T, p Provider, s scenario) {
	t.Helper()
	plain := Question()
	if asked := s.request(); len(asked.Tools) == len(plain.Tools) && asked.Format == nil && asked.Messages[len(asked.Messages)-1].Parts == nil {
		return // the request is a plain one: it is the answer that does not exist
	}
	model := p.New(t, "http://127.0.0.1:1", client(t))
	if err := model.Check(s.request()); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("what the provider has not got is not refused at check: %v", err)
	}
}

func ask(ctx context.Context, model *wire.Model, s scenario) (*schemas.Response, error) {
	if !s.stream {
		return model.Invoke(ctx, s.request()) //nolint:wrapcheck // the very error is tested
	}
	var text strings.Builder
	got, err := model.Stream(ctx, s.request(), func(event *schemas.Event) error {
		text.WriteString(event.Text)
		return nil
	})
	if err == nil && text.String() != got.Text {
		return got, errors.New("the events are not the answer: " + text.String())
	}
	return got, err //nolint:wrapcheck // the very error is tested
}

func silent(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range []string{Secret, Prompt, "ANSWER-TEXT"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows %q: %v", secret, err)
		}
	}
}

func client(tb testing.TB) *wire.Client {
	tb.Helper()
	c := wire.NewClient(wire.ClientOptions{MaxConns: 4, Timeout: 10 * time.Second})
	tb.Cleanup(c.CloseIdleConnections)
	return c
}

func compile(t *testing.T, path string) *jsonschema.Schema {
	t.Helper()
	file, err := os.Open(path) //nolint:gosec // a test's own file
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // only read
	document, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("request.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("request.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// serve is the strict provider.
func (p Provider) serve(tb testing.TB, schema *jsonschema.Schema, stream bool, recorded Answer) string {
	tb.Helper()
	path := p.Path
	if stream && p.StreamPath != "" {
		path = p.StreamPath
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(body)) {
			tb.Errorf("%d bytes of %d: %v", len(body), r.ContentLength, err)
		}
		refuse := func(status int, why string) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, p.Refused(why))
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
		if err == nil {
			err = schema.Validate(document)
		}
		switch {
		case r.Method != http.MethodPost || !strings.HasSuffix(r.URL.EscapedPath(), path) || r.Proto != "HTTP/1.1":
			tb.Errorf("got %s %s %s, want a path that ends with %s", r.Method, r.URL.EscapedPath(), r.Proto, path)
			refuse(http.StatusNotFound, "no such path")
			return
		case err != nil:
			if !bytes.Contains(body, []byte("unknown_field")) {
				tb.Errorf("the provider would refuse the request: %v\n%s", err, body)
			}
			refuse(http.StatusBadRequest, "outside the schema")
			return
		case !p.Authorized(r, body):
			tb.Error("the request has no credentials")
			refuse(http.StatusUnauthorized, "no credentials")
			return
		}
		for name, value := range recorded.Header {
			w.Header().Set(name, value)
		}
		if recorded.Header["Content-Type"] == "" {
			kind := "application/json"
			if stream {
				kind = "text/event-stream"
			}
			w.Header().Set("Content-Type", kind)
		}
		if recorded.Status != 0 {
			w.WriteHeader(recorded.Status)
		}
		_, _ = io.WriteString(w, recorded.Body)
		if recorded.Cut {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler) // the connection breaks off without its last chunk
		}
	}))
	tb.Cleanup(server.Close)
	return server.URL
}

// golden compares the bytes that go on the wire for the canonical request with the golden file; -update
// is the environment variable UPDATE_GOLDEN.
func golden(t *testing.T, p Provider) {
	t.Helper()
	format := p.New(t, "http://provider.example", client(t)).Format()
	call, err := format.Encode(Canonical(), false)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	out.WriteString("POST " + call.URL.RequestURI() + "\n")
	names := make([]string, 0, len(call.Header))
	for name := range call.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		out.WriteString(name + ": " + strings.Join(call.Header[name], ", ") + "\n")
	}
	out.WriteString("\n")
	out.Write(call.Body)
	out.WriteString("\n")
	name := p.Golden
	if name == "" {
		name = "canonical.http"
	}
	path := filepath.Join("testdata", name)
	if _, update := os.LookupEnv("UPDATE_GOLDEN"); update { //nolint:forbidigo // a test's switch
		if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // a test's own file
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", out.Bytes(), want)
	}
}

// Fuzz feeds a format's decoders with whatever: no panic, no endless loop, no counts below zero.
func Fuzz(f *testing.F, p Provider) {
	f.Helper()
	for _, recorded := range p.Answers {
		f.Add([]byte(recorded.Body))
	}
	for _, seed := range []string{``, `{}`, `[]`, `null`, "data: {}\n\n", "data: [DONE]\n\n", `{"a":` + strings.Repeat("[", 20_000)} {
		f.Add([]byte(seed))
	}
	format := p.New(f, "http://provider.example", client(f)).Format()
	f.Fuzz(func(t *testing.T, body []byte) {
		var response schemas.Response
		if json.Valid(body) {
			_ = format.Decode(body, &response)
			sane(t, &response.Usage)
		}
		var whole schemas.Assembly
		streamed := schemas.Response{}
		events := 0
		for event, err := range format.Events(bytes.NewReader(body)) {
			if events++; events > len(body)+1 {
				t.Fatal("more events than bytes")
			}
			if err != nil {
				break
			}
			whole.Add(event, &streamed)
		}
		whole.Finish(&streamed)
		sane(t, &streamed.Usage)
	})
}

func sane(t *testing.T, u *schemas.Usage) {
	t.Helper()
	if u.InputTokens < 0 || u.OutputTokens < 0 || u.TotalTokens < 0 {
		t.Errorf("got %+v", u)
	}
}

// Benchmark measures what a call costs beside the sockets.
func Benchmark(b *testing.B, p Provider) {
	b.Helper()
	format := p.New(b, "http://provider.example", client(b)).Format()
	request, body := Question(), []byte(p.Answers["text"].Body)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := format.Encode(request, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var response schemas.Response
			if err := format.Decode(body, &response); err != nil {
				b.Fatal(err)
			}
		}
	})
}
