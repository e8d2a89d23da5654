package wire

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/inflowhq/inflow/schemas"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	for name, c := range map[string]struct {
		header http.Header
		body   string
		want   time.Duration
	}{
		"none":            {want: 0},
		"seconds":         {header: header("Retry-After", "3"), want: 3 * time.Second},
		"fraction":        {header: header("Retry-After", "0.5"), want: 500 * time.Millisecond},
		"date":            {header: header("Retry-After", "Fri, 02 Jan 2026 03:05:05 GMT"), want: time.Minute},
		"date gone by":    {header: header("Retry-After", "Fri, 02 Jan 2026 03:04:00 GMT"), want: 0},
		"millis first":    {header: header("Retry-After", "3", "retry-after-ms", "1500"), want: 1500 * time.Millisecond},
		"bad millis":      {header: header("Retry-After", "3", "retry-after-ms", "soon"), want: 3 * time.Second},
		"negative":        {header: header("Retry-After", "-1"), want: 0},
		"not a number":    {header: header("Retry-After", "NaN"), want: 0},
		"overflow":        {header: header("Retry-After", "1e300"), want: 24 * time.Hour},
		"infinite":        {header: header("Retry-After", "Inf"), want: 24 * time.Hour},
		"body":            {body: `{"error":{"retry_after":2.5}}`, want: 2500 * time.Millisecond},
		"body, outside":   {body: `{"retry_after":"4"}`, want: 4 * time.Second},
		"header and body": {header: header("Retry-After", "9"), body: `{"retry_after":4}`, want: 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			problem := ParseProblem([]byte(c.body))
			if got := retryAfter(c.header, &problem, now); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestParseProblem(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]Problem{
		`{"error":{"message":"m","type":"t","param":null,"code":"c"}}`:      {Words: []string{"c", "t"}, Message: "m"},
		`{"type":"error","error":{"type":"overloaded_error","message":""}}`: {Words: []string{"overloaded_error", "error"}},
		`[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]`: {
			Words: []string{"RESOURCE_EXHAUSTED"}, Status: 429, Message: "m",
		},
		`{"error":"model not found"}`:                           {Message: "model not found"},
		`{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"m"}`: {Words: []string{"REQUEST_LIMIT_EXCEEDED"}, Message: "m"},
		`{"error":{"code":"not a word!"}}`:                      {},
		`{"detail":"some text"}`:                                {},
		`<html>`:                                                {},
		`[]`:                                                    {},
		``:                                                      {},
	} {
		got := ParseProblem([]byte(body))
		if strings.Join(got.Words, " ") != strings.Join(want.Words, " ") || got.Status != want.Status || got.Message != want.Message {
			t.Errorf("%s: got %+v, want %+v", body, got, want)
		}
	}
}

func TestClassOfStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]schemas.Class{
		300: schemas.Fatal, 304: schemas.Fatal, 400: schemas.Rejected, 401: schemas.Fatal, 402: schemas.Fatal,
		403: schemas.Fatal, 404: schemas.Fatal, 405: schemas.Fatal, 408: schemas.Transient, 409: schemas.Transient,
		413: schemas.Rejected, 418: schemas.Fatal, 422: schemas.Rejected, 429: schemas.Throttled,
		500: schemas.Transient, 501: schemas.Fatal, 502: schemas.Transient, 503: schemas.Transient,
		504: schemas.Transient, 524: schemas.Transient, 529: schemas.Throttled, 0: schemas.Fatal, 101: schemas.Fatal,
	} {
		class, code := ClassOfStatus(status)
		if class != want || !isWord(code) {
			t.Errorf("%d: got %v %q, want %v", status, class, code, want)
		}
	}
}

// TestRefused: a 200 with an error in it is what the error says, and passes where it does not say.
func TestRefused(t *testing.T) {
	t.Parallel()
	call := &Call{Op: "op", Key: schemas.NewSecret("secret-key")}
	for body, want := range map[string]schemas.Class{
		`{"error":{"code":429,"message":"slow down"}}`:    schemas.Throttled,
		`{"error":{"code":401}}`:                          schemas.Fatal,
		`{"error":{"code":"content_filter"}}`:             schemas.Rejected,
		`{"error":{"code":"something_new","type":"odd"}}`: schemas.Transient,
		`{"error":"oh"}`:                                  schemas.Transient,
	} {
		err := call.Refused(&Answer{Status: 200}, ParseProblem([]byte(body)))
		if got := schemas.ClassOf(err); got != want {
			t.Errorf("%s: got %v, want %v", body, got, want)
		}
	}
}

func TestCleanMessage(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"a\r\n\tb\x1b[31m \x00":                   "a b[31m",
		"your key K-123-4 and K-123-4":            "your key [redacted] and [redacted]",
		"hidden K-1\u200b23-4":                    "hidden [redacted]",
		"bad \xff byte":                           "bad \uFFFD byte",
		strings.Repeat("é", 400):                  strings.Repeat("é", 300) + "…",
		strings.Repeat("x", 297) + "K-123-4 more": strings.Repeat("x", 297) + "[re…",
	} {
		if got := cleanMessage(message, "K-123-4"); got != want {
			t.Errorf("%q: got %q, want %q", message, got, want)
		}
	}
}

func FuzzParseProblem(f *testing.F) {
	for _, seed := range []string{
		`{"error":{"message":"m","type":"t","code":"c","retry_after":1e99}}`, `[{"error":{"code":429}}]`, `{"error":"x"}`,
		`{"error_code":"A","message":"sk-key"}`, `{"error":{"code":-1,"type":5}}`, `[`, `null`, `{"error":null}`, `[null]`,
	} {
		f.Add([]byte(seed), 400, "3", "7")
	}
	f.Fuzz(func(t *testing.T, body []byte, status int, after, millis string) {
		header := http.Header{"Retry-After": {after}, "Retry-After-Ms": {millis}}
		call := &Call{Op: "op", Key: schemas.NewSecret("sk-key")}
		problem := ParseProblem(body)
		err := call.refused(status, header, problem).(*schemas.Error) //nolint:errcheck,errorlint,forcetypeassert // it is never another type
		if err.Code == "" || err.Err == nil || err.RetryAfter < 0 || err.RetryAfter > waitLimit || len(err.Code) > wordLimit {
			t.Fatalf("bad error: %#v", err)
		}
		text := err.Error()
		if strings.Contains(text, "sk-key") || !utf8.ValidString(text) || utf8.RuneCountInString(text) > messageLimit+400 {
			t.Fatalf("bad text: %q", text)
		}
	})
}

func TestWaitBounds(t *testing.T) {
	t.Parallel()
	for _, count := range []float64{math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, -1, 0} {
		if got := wait(count, time.Second); got < 0 || got > waitLimit {
			t.Errorf("%v: %s", count, got)
		}
	}
}
