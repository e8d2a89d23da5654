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
	"maps"
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
	// Question is a plain question, which the golden file has as well. Nil: the chat's Question, and Canonical.
	Question func() *schemas.Request
	// Golden names the golden file in testdata; empty: canonical.http. Two formats in one package need two.
	Golden string
	// Schema is the path of the JSON Schema of a request's body: closed, as the provider publishes it. Schemas has those
	// of requests of another shape, by the scenario.
	Schema  string
	Schemas map[string]string
	// Authorized reports whether a request has its credentials.
	Authorized func(r *http.Request, body []byte) bool
	// Path is what the URL's path must end with, StreamPath that of streams where it is another, and Paths those of
	// requests of another shape, by the scenario.
	Path, StreamPath string
	Paths            map[string]string
	// Refused is the provider's 400 for a request outside the schema.
	Refused func(why string) string
	// Answers has an entry for every scenario; Lacks says why the provider has not got the others.
	Answers map[string]Answer
	Lacks   map[string]string
	// Overloaded is the class of the scenario of that name: providers differ.
	Overloaded schemas.Class
}

// question is the provider's plain one.
func (p *Provider) question() func() *schemas.Request {
	if p.Question != nil {
		return p.Question
	}
	return Question
}

// schemaOf is the path of the schema of a scenario's request.
func (p *Provider) schemaOf(scenario string) string {
	if own := p.Schemas[scenario]; own != "" {
		return own
	}
	return p.Schema
}

// pathOf is what the path of a scenario's URL must end with.
func (p *Provider) pathOf(s *scenario) string {
	switch own := p.Paths[s.name]; {
	case own != "":
		return own
	case s.stream && p.StreamPath != "":
		return p.StreamPath
	}
	return p.Path
}

// Run takes a provider through every scenario, and its canonical request through the golden file.
func Run(t *testing.T, p Provider) {
	t.Helper()
	known := map[string]bool{}
	for _, s := range scenarios(&p) {
		known[s.name] = true
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			recorded, ok := p.Answers[s.name]
			why, lacks := p.Lacks[s.name]
			if ok == lacks || lacks && why == "" {
				t.Fatal("the provider must answer the scenario, or say why it has not got it")
			}
			if lacks {
				checkRefuses(t, &p, &s)
				return
			}
			check(t, &p, &s, recorded)
		})
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(p.Answers)), slices.Collect(maps.Keys(p.Lacks)),
		slices.Collect(maps.Keys(p.Schemas)), slices.Collect(maps.Keys(p.Paths))) {
		if !known[name] {
			t.Errorf("there is no scenario %q", name)
		}
	}
	t.Run("a request outside the schema", func(t *testing.T) {
		t.Parallel()
		strict(t, &p, &scenario{name: "a plain question", request: p.question()})
		for _, s := range scenarios(&p) {
			if _, other := p.Schemas[s.name]; other {
				strict(t, &p, &s)
			}
		}
	})
	t.Run("golden", func(t *testing.T) { t.Parallel(); golden(t, &p) })
}

// check asks once, and looks at what came of it.
func check(t *testing.T, p *Provider, s *scenario, recorded Answer) {
	t.Helper()
	model := p.New(t, p.serve(t, s, recorded), client(t))
	if err := model.Check(s.request()); err != nil {
		t.Fatalf("Check refuses what Encode is asked for: %v", err)
	}
	got, err := ask(t.Context(), model, s)
	s.want(t, got, err)
	silent(t, err)
	if err != nil && got.Text != "" {
		t.Errorf("a row has an answer or an error: got %q beside %v", got.Text, err)
	}
	if task := s.request().Task; task != schemas.TaskChat && task != "" {
		if _, err := model.Format().Encode(s.request(), true); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("what does not come in events is asked for in events: %v", err)
		}
	}
	if url := model.URL(s.request().Task); !s.stream && !strings.HasSuffix(url, p.pathOf(s)) {
		t.Errorf("the usage table shows %s, and %s is asked", url, p.pathOf(s))
	}
	if recorded.Cut { // a proxy may end in good order what the provider did not
		recorded.Cut = false
		got, err = ask(t.Context(), p.New(t, p.serve(t, s, recorded), client(t)), s)
		s.want(t, got, err)
	}
	if more := longer(s.request()); more != nil && err == nil { // whose answers are whose cannot be told
		got, err := model.Invoke(t.Context(), more)
		if len(got.Embeddings)+len(got.Predictions) > 0 {
			t.Error("rows have an answer and an error")
		}
		if failure, ok := errors.AsType[*schemas.Error](err); !ok || failure.Class != schemas.Transient || failure.Code != "answer_count" {
			t.Errorf("two answers to three rows: got %#v", err)
		}
		silent(t, err)
	}
}

// strict sends what a provider takes, with one field more: a schema that is not closed takes it.
func strict(t *testing.T, p *Provider, s *scenario) {
	t.Helper()
	call, err := p.New(t, "http://provider.example", client(t)).Format().Encode(s.request(), false)
	if err != nil {
		t.Fatal(err)
	}
	body := string(bytes.TrimSuffix(call.Body, []byte("}"))) + `,"unknown_field":1}`
	response, err := http.Post(p.serve(t, s, Answer{})+p.pathOf(s), "application/json", strings.NewReader(body)) //nolint:noctx // a test of the server
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // a test
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("%s: the server takes anything: %d", s.name, response.StatusCode)
	}
}

// checkRefuses: what a provider has not got is refused before it is paid for, or is a shape that it never sends.
func checkRefuses(t *testing.T, p *Provider, s *scenario) {
	t.Helper()
	model := p.New(t, "http://127.0.0.1:1", client(t))
	if reflect.DeepEqual(s.request(), p.question()()) { // it is the answer that does not exist
		if s.stream && p.Lacks["stream"] != "" {
			if _, err := model.Format().Encode(s.request(), true); !errors.Is(err, schemas.ErrInvalid) {
				t.Errorf("the provider has no streams, and is asked for one: %v", err)
			}
		}
		return
	}
	if err := model.Check(s.request()); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("what the provider has not got is not refused at check: %v", err)
	}
	if _, err := model.Format().Encode(s.request(), s.stream); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("what the provider has not got is written: %v", err)
	}
}

func ask(ctx context.Context, model *wire.Model, s *scenario) (*schemas.Response, error) {
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

// Compile reads the JSON Schema at a path.
func Compile(tb testing.TB, path string) *jsonschema.Schema {
	tb.Helper()
	file, err := os.Open(path) //nolint:gosec // a test's own file
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // only read
	document, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		tb.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("request.json", document); err != nil {
		tb.Fatal(err)
	}
	schema, err := compiler.Compile("request.json")
	if err != nil {
		tb.Fatal(err)
	}
	return schema
}

// serve is the strict provider.
func (p *Provider) serve(tb testing.TB, s *scenario, recorded Answer) string {
	tb.Helper()
	path, schema := p.pathOf(s), Compile(tb, p.schemaOf(s.name))
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
			if s.stream {
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
func golden(t *testing.T, p *Provider) {
	t.Helper()
	format := p.New(t, "http://provider.example", client(t)).Format()
	canonical := Canonical
	if p.Question != nil {
		canonical = p.Question
	}
	call, err := format.Encode(canonical(), false)
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
