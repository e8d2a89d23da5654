package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

// fail posts, expects a failure, and checks what is true of every failure.
func fail(t *testing.T, ctx context.Context, client *wire.Client, call *wire.Call) (wire.Answer, *schemas.Error) { //nolint:revive // t stands first in a test's helper
	t.Helper()
	answer, err := wire.Post(ctx, client, call)
	failure, ok := errors.AsType[*schemas.Error](err)
	if !ok {
		t.Fatalf("got %v, want a classified error", err)
	}
	if failure.Code == "" || failure.Op != call.Op || failure.Err == nil {
		t.Errorf("incomplete error: %#v", failure)
	}
	for _, secret := range []string{apiKey, prompt, "ANSWER-TEXT"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows %q: %v", secret, err)
		}
	}
	return answer, failure
}

func TestPostAnswers(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(conn net.Conn, _ int64) bool { reply(conn, okAnswer); return true })
	client := newClient(t, time.Minute)
	for range 5 {
		answer, err := wire.Post(t.Context(), client, newCall(p.addr))
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status != 200 || string(answer.Body) != "{}" || answer.ContentType != "application/json" ||
			answer.FirstByte <= 0 || !answer.PossiblyPaid {
			t.Fatalf("got %+v", answer)
		}
	}
	if p.conns.Load() != 1 || p.requests.Load() != 5 {
		t.Errorf("%d requests took %d connections, want 5 and 1", p.requests.Load(), p.conns.Load())
	}
}

func TestPostKeepsConnectionsOfAllWorkers(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(conn net.Conn, _ int64) bool { reply(conn, okAnswer); return true })
	client := newClient(t, time.Minute) // of 4 connections
	var workers sync.WaitGroup
	for range 16 {
		workers.Go(func() {
			for range 20 {
				if _, err := wire.Post(t.Context(), client, newCall(p.addr)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	if got := p.conns.Load(); got > 4 {
		t.Errorf("16 workers opened %d connections, want at most 4", got)
	}
}

// TestFaults is every way in which a peer may fail, and what it must be taken for.
func TestFaults(t *testing.T) {
	t.Parallel()
	html := "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 11\r\n\r\nANSWER-TEXT"
	problem := func(status, header, body string) string {
		return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, header, len(body), body)
	}
	cases := []struct {
		name   string
		answer string
		reset  bool // rather than close
		class  schemas.Class
		code   string
		status int
		wait   time.Duration
		paid   bool
	}{
		{name: "429 that says when", answer: problem("429 Too Many", "Retry-After: 7\r\n", "{}"), class: schemas.Throttled, code: "rate_limit_exceeded", status: 429, wait: 7 * time.Second},
		{name: "429 that does not", answer: problem("429 Too Many", "", ""), class: schemas.Throttled, code: "rate_limit_exceeded", status: 429},
		{name: "429 without credit", answer: problem("429 Too Many", "", `{"error":{"code":"insufficient_quota","message":"m"}}`), class: schemas.Fatal, code: "insufficient_quota", status: 429},
		{name: "529", answer: problem("529 Overloaded", "retry-after-ms: 250\r\n", ""), class: schemas.Throttled, code: "overloaded", status: 529, wait: 250 * time.Millisecond},
		{name: "500", answer: problem("500 Oh", "", `{"error":{"type":"server_error","code":null}}`), class: schemas.Transient, code: "server_error", status: 500},
		{name: "502 page", answer: html, class: schemas.Transient, code: "bad_gateway", status: 502},
		{name: "503", answer: problem("503 Oh", "", ""), class: schemas.Transient, code: "service_unavailable", status: 503},
		{name: "503 cut short", answer: "HTTP/1.1 503 Oh\r\nContent-Length: 99\r\n\r\n{\"err", class: schemas.Transient, code: "service_unavailable", status: 503},
		{name: "400", answer: problem("400 Bad", "", `{"error":{"code":"context_length_exceeded","type":"invalid_request_error"}}`), class: schemas.Rejected, code: "context_length_exceeded", status: 400},
		{name: "400 by type", answer: problem("400 Bad", "", `{"error":{"code":null,"type":"invalid_request_error"}}`), class: schemas.Rejected, code: "invalid_request_error", status: 400},
		{name: "400 of a bad key", answer: problem("400 Bad", "", `[{"error":{"code":400,"status":"API_KEY_INVALID"}}]`), class: schemas.Fatal, code: "API_KEY_INVALID", status: 400},
		{name: "401", answer: problem("401 No", "", `{"error":{"code":"invalid_api_key","message":"key `+apiKey+` is bad"}}`), class: schemas.Fatal, code: "invalid_api_key", status: 401},
		{name: "403 with the key as a code", answer: problem("403 No", "", `{"error":{"code":"`+apiKey+`"}}`), class: schemas.Fatal, code: "forbidden", status: 403},
		{name: "404", answer: problem("404 No", "", `{"error":{"code":"model_not_found"}}`), class: schemas.Fatal, code: "model_not_found", status: 404},
		{name: "307", answer: problem("307 There", "Location: http://127.0.0.1:1/\r\n", ""), class: schemas.Fatal, code: "redirected", status: 307},
		{name: "302", answer: problem("302 There", "Location: http://127.0.0.1:1/\r\n", ""), class: schemas.Fatal, code: "redirected", status: 302},
		{name: "closed", class: schemas.Ambiguous, code: "connection_closed", paid: true},
		{name: "reset", reset: true, class: schemas.Ambiguous, code: "connection_reset", paid: true},
		{name: "closed in the headers", answer: "HTTP/1.1 200 OK\r\nServer: x\r\n", class: schemas.Ambiguous, code: "connection_closed", paid: true},
		{name: "closed in a header line", answer: "HTTP/1.1 200 OK\r\nContent-", class: schemas.Ambiguous, code: "no_answer", paid: true},
		{name: "not HTTP", answer: "ANSWER-TEXT of something else\r\n\r\n", class: schemas.Ambiguous, code: "no_answer", paid: true},
		{name: "closed in the body", answer: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nANSWER-TEXT", class: schemas.Transient, code: "truncated_response", status: 200, paid: true},
		{name: "closed in a chunk", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n99\r\nANSWER-TEXT", class: schemas.Transient, code: "truncated_response", status: 200, paid: true},
		{name: "a chunk that is none", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nANSWER-TEXT", class: schemas.Transient, code: "truncated_response", status: 200, paid: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, func(conn net.Conn, _ int64) bool {
				reply(conn, c.answer)
				if c.reset {
					reset(conn)
				}
				return false
			})
			answer, failure := fail(t, t.Context(), newClient(t, time.Minute), newCall(p.addr))
			if failure.Class != c.class || failure.Code != c.code || failure.HTTPStatus != c.status ||
				failure.RetryAfter != c.wait || answer.PossiblyPaid != c.paid {
				t.Errorf("got %v %s status %d wait %s paid %t (%v)", failure.Class, failure.Code, failure.HTTPStatus,
					failure.RetryAfter, answer.PossiblyPaid, failure)
			}
			if failure.Class == schemas.Fatal && failure.Mend == "" {
				t.Error("a fatal error does not say how to mend it")
			}
			if p.requests.Load() != 1 {
				t.Errorf("the call was sent %d times", p.requests.Load())
			}
		})
	}
}

// TestNeverTwice: the peer takes the second request of a kept connection and hangs up, which is where net/http
// replays what it believes to be replayable.
func TestNeverTwice(t *testing.T) {
	t.Parallel()
	for _, hard := range []bool{false, true} {
		t.Run(fmt.Sprintf("reset %t", hard), func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, func(conn net.Conn, n int64) bool {
				if n == 2 {
					if hard {
						reset(conn)
					}
					return false
				}
				reply(conn, okAnswer)
				return true
			})
			client := newClient(t, time.Minute)
			if _, err := wire.Post(t.Context(), client, newCall(p.addr)); err != nil {
				t.Fatal(err)
			}
			call := newCall(p.addr)
			call.Header.Set("Idempotency-Key", "1") // even with what net/http takes as leave to replay
			answer, failure := fail(t, t.Context(), client, call)
			if failure.Class != schemas.Ambiguous || !answer.PossiblyPaid {
				t.Errorf("got %v paid %t", failure.Class, answer.PossiblyPaid)
			}
			if got := p.requests.Load(); got != 2 {
				t.Errorf("the peer got %d requests, want 2", got)
			}
		})
	}
}

func TestNothingListens(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	answer, failure := fail(t, t.Context(), newClient(t, time.Minute), newCall(addr))
	if failure.Class != schemas.Transient || failure.Code != "connection_refused" || answer.PossiblyPaid {
		t.Errorf("got %v %s paid %t", failure.Class, failure.Code, answer.PossiblyPaid)
	}
}

func TestUnknownHost(t *testing.T) {
	t.Parallel()
	_, failure := fail(t, t.Context(), newClient(t, time.Minute), newCall("no-such-host.invalid:80"))
	if failure.Class != schemas.Transient || (failure.Code != "host_not_found" && failure.Code != "connect_timeout") {
		t.Errorf("got %v %s", failure.Class, failure.Code)
	}
}

// TestPartOfTheRequest: the peer hangs up when it has seen the headers, while megabytes are on their way.
func TestPartOfTheRequest(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var server sync.WaitGroup
	server.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.ReadFull(conn, make([]byte, 1000))
		reset(conn)
		_ = conn.Close()
	})
	t.Cleanup(func() { _ = listener.Close(); server.Wait() })
	call := newCall(listener.Addr().String())
	call.Body = []byte(strings.Repeat(prompt, 2_000_000)) // 40 MB: more than the sockets buffer
	answer, failure := fail(t, t.Context(), newClient(t, time.Minute), call)
	if failure.Class != schemas.Transient || answer.PossiblyPaid {
		t.Errorf("got %v %s paid %t", failure.Class, failure.Code, answer.PossiblyPaid)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := newPeer(t, func(conn net.Conn, _ int64) bool {
		cancel()
		_, _ = conn.Read(make([]byte, 1)) // until the client closes
		return false
	})
	answer, failure := fail(t, ctx, newClient(t, time.Minute), newCall(p.addr))
	if !errors.Is(failure, context.Canceled) || failure.Class != schemas.Ambiguous || !answer.PossiblyPaid {
		t.Errorf("got %v %v paid %t", failure.Class, failure, answer.PossiblyPaid)
	}

	answer, failure = fail(t, ctx, newClient(t, time.Minute), newCall(p.addr))
	if !errors.Is(failure, context.Canceled) || failure.Class != schemas.Transient || answer.PossiblyPaid {
		t.Errorf("cancelled before: got %v %v paid %t", failure.Class, failure, answer.PossiblyPaid)
	}
	if p.requests.Load() != 1 {
		t.Errorf("the peer got %d requests, want 1", p.requests.Load())
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first string
		class schemas.Class
		code  string
	}{
		"nothing comes": {"", schemas.Ambiguous, "timeout"},
		"half comes":    {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", schemas.Ambiguous, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, func(conn net.Conn, _ int64) bool {
				reply(conn, c.first)
				_, _ = conn.Read(make([]byte, 1)) // until the client closes
				return false
			})
			answer, failure := fail(t, t.Context(), newClient(t, 200*time.Millisecond), newCall(p.addr))
			if failure.Class != c.class || failure.Code != c.code || !answer.PossiblyPaid {
				t.Errorf("got %v %s paid %t", failure.Class, failure.Code, answer.PossiblyPaid)
			}
			if errors.Is(failure, context.DeadlineExceeded) {
				t.Error("a slow provider looks like the end of our own context")
			}
		})
	}
}

func TestEndlessBody(t *testing.T) {
	t.Parallel()
	closed := make(chan int64, 1)
	p := newPeer(t, func(conn net.Conn, _ int64) bool {
		reply(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n")
		block, sent := make([]byte, 1<<16), int64(0)
		for {
			n, err := conn.Write(block)
			sent += int64(n)
			if err != nil {
				closed <- sent
				return false
			}
		}
	})
	answer, failure := fail(t, t.Context(), newClient(t, time.Minute), newCall(p.addr))
	if failure.Class != schemas.Transient || failure.Code != "response_too_large" || !answer.PossiblyPaid || answer.Body != nil {
		t.Errorf("got %v %s paid %t", failure.Class, failure.Code, answer.PossiblyPaid)
	}
	select {
	case sent := <-closed:
		if sent < wire.BodyLimit || sent > 4*wire.BodyLimit {
			t.Errorf("the peer could send %d bytes, want about %d", sent, wire.BodyLimit)
		}
	case <-time.After(10 * time.Second):
		t.Error("the connection was not closed")
	}
}

func TestWrongScheme(t *testing.T) {
	t.Parallel()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it logs the handshake that fails
	secure.StartTLS()
	t.Cleanup(secure.Close)
	target, err := url.Parse(secure.URL)
	if err != nil {
		t.Fatal(err)
	}
	call := newCall(target.Host)
	call.URL.Scheme = "https"
	_, failure := fail(t, t.Context(), newClient(t, time.Minute), call)
	if failure.Class != schemas.Fatal || failure.Code != "certificate_not_trusted" || failure.Mend == "" {
		t.Errorf("got %v %s", failure.Class, failure)
	}

	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	call = newCall(strings.TrimPrefix(plain.URL, "http://"))
	call.URL.Scheme = "https"
	_, failure = fail(t, t.Context(), newClient(t, time.Minute), call)
	if failure.Class != schemas.Fatal || failure.Code != "scheme_mismatch" || failure.Mend == "" {
		t.Errorf("got %v %s", failure.Class, failure)
	}
}
