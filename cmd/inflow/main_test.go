package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// asBinary makes the test binary the program itself, for tests that need a process of their own.
const asBinary = "INFLOW_TEST_AS_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(asBinary) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// theKey is the only secret of the environment.
const theKey = "sk-test-8vJ2qLx0ZrT5"

// outcome is how a command ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// inflow runs a command line in this process.
func inflow(t *testing.T, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(args, &stdout, &stderr, func(name string) (string, bool) {
		if name == "OPENAI_API_KEY" {
			return theKey, true
		}
		return "", false
	})
	out := outcome{code, stdout.String(), stderr.String()}
	if strings.Contains(out.stdout+out.stderr, theKey) {
		t.Errorf("inflow %s shows the secret:\n%s%s", strings.Join(args, " "), out.stdout, out.stderr)
	}
	return out
}

// ends runs a command line that must end with a code.
func ends(t *testing.T, code int, args ...string) outcome {
	t.Helper()
	out := inflow(t, args...)
	if out.code != code {
		t.Fatalf("inflow %s: exit %d, want %d\n%s%s", strings.Join(args, " "), out.code, code, out.stdout, out.stderr)
	}
	return out
}

// decode reads what must be one JSON value and nothing else.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&out); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	if _, err := decoder.Token(); err != io.EOF {
		t.Fatalf("more than one JSON value in:\n%s", text)
	}
	return out
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// golden compares a text in which nothing but times, ids and the folder may vary.
func golden(t *testing.T, dir, got, want string) {
	t.Helper()
	got = strings.ReplaceAll(got, dir, "DIR")
	for pattern, mark := range map[string]string{
		`\d{4}-\d\d-\d\dT[\d:.]+Z`:     "TIME",
		` \d{4}-\d\d-\d\d `:            " 2026-11-24 ",
		`· \d+(\.\d+)?m?s\n`:           "· TOOK\n",
		`─+`:                           "─",
		`[0-9a-f]{8}(-[0-9a-f]{4}){3}`: "ID",
	} {
		got = regexp.MustCompile(pattern).ReplaceAllString(got, mark)
	}
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// modelServer speaks chat completions and counts the calls that reach it.
type modelServer struct {
	*httptest.Server
	calls atomic.Int64
}

// newModelServer answers with answer; nil is a friendly word.
func newModelServer(t *testing.T, answer http.HandlerFunc) *modelServer {
	t.Helper()
	if answer == nil {
		answer = friendly
	}
	server := &modelServer{}
	server.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		server.calls.Add(1)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func friendly(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":"c1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,`+
		`"message":{"role":"assistant","content":"positive"},"finish_reason":"stop"}],`+
		`"usage":{"prompt_tokens":20,"completion_tokens":1,"total_tokens":21}}`)
}

// refusing answers every call with a status and an error in OpenAI's shape.
func refusing(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
			"message": message, "type": "invalid_request_error", "code": code,
		}})
	}
}

// workspace is a folder that init has made.
type workspace struct{ dir string }

// started is as init leaves it, with the model inside the binary.
func started(t *testing.T) workspace {
	t.Helper()
	w := workspace{t.TempDir()}
	ends(t, exitDone, "init", w.dir)
	return w
}

// asking has an OpenAI endpoint at a server in the model's place.
func asking(t *testing.T, server *modelServer) workspace {
	t.Helper()
	w := started(t)
	w.edit(t, starterCatalog, "{name: vader, entity_name: embedded/sentiment}",
		`{name: mini, external_model: {name: gpt-4o-mini, provider: openai, task: llm/v1/chat,
           openai_config: {openai_api_key: "{{secrets/llm/openai}}", openai_api_base: "`+server.URL+`/v1"}}}`)
	w.edit(t, starterCatalog, "# secrets:", "secrets:")
	return w
}

func (w workspace) path(name string) string { return filepath.Join(w.dir, name) }

func (w workspace) job() string { return w.path(starterJob) }

// edit replaces a text that is in a file once.
func (w workspace) edit(t *testing.T, name, from, to string) {
	t.Helper()
	text := w.read(t, name)
	if strings.Count(text, from) != 1 {
		t.Fatalf("%s has %q %d times", name, from, strings.Count(text, from))
	}
	if err := os.WriteFile(w.path(name), []byte(strings.Replace(text, from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w workspace) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(w.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// rows reads a whole table through the command line.
func (w workspace) rows(t *testing.T, table string) []map[string]any {
	t.Helper()
	return decode[[]map[string]any](t, ends(t, exitDone, "table", "head", "-n", "100000", "-o", "json", w.path(table)).stdout)
}
