package wire

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// TestTokens walks through the hours of a token: it is shared, it is renewed before its end, and where that fails the
// old one goes on until it ends.
func TestTokens(t *testing.T) {
	t.Parallel()
	var asked, status atomic.Int64
	status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(int(status.Load()))
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":3600,"error":"invalid_grant"}`, asked.Add(1))
	}))
	client := NewClient(ClientOptions{MaxConns: 16, Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	tokens := NewTokens(TokenOptions{
		Op: "test: token", URL: at, Client: client, Grant: func(time.Time) (url.Values, error) { return url.Values{"a": {"b"}}, nil },
	})
	start := time.Now()
	var passed atomic.Int64
	tokens.now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if err := tokens.Authorize(t.Context(), &Call{Header: http.Header{}}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, step := range []struct {
		at     time.Duration
		status int
		token  string
		asked  int64
		class  schemas.Class
	}{
		{at: 0, status: 200, token: "token-1", asked: 1},
		{at: 54 * time.Minute, status: 200, token: "token-1", asked: 1},
		{at: 55 * time.Minute, status: 503, token: "token-1", asked: 2},
		{at: 59 * time.Minute, status: 503, token: "token-1", asked: 3},
		{at: 60 * time.Minute, status: 503, asked: 4, class: schemas.Transient},
		{at: 61 * time.Minute, status: 200, token: "token-5", asked: 5},
		{at: 117 * time.Minute, status: 400, asked: 6, class: schemas.Fatal}, // revoked: a token that still holds does not hide it
	} {
		passed.Store(int64(step.at))
		status.Store(int64(step.status))
		call := &Call{Header: http.Header{}}
		err := tokens.Authorize(t.Context(), call)
		if step.token == "" {
			if err == nil || schemas.ClassOf(err) != step.class {
				t.Errorf("%s: got %v", step.at, err)
			}
		} else if err != nil || call.Header.Get("Authorization") != "Bearer "+step.token || call.Key.Reveal() != step.token {
			t.Errorf("%s: got %v %v", step.at, call.Header, err)
		}
		if asked.Load() != step.asked {
			t.Errorf("%s: asked %d times, want %d", step.at, asked.Load(), step.asked)
		}
	}
	tokens.renewing <- struct{}{} // somebody renews, and the others do not wait
	passed.Store(0)
	tokens.current.Store(&accessToken{header: []string{"old"}, renew: start, ends: start.Add(time.Minute)})
	if token, err := tokens.token(t.Context()); err != nil || token.header[0] != "old" {
		t.Errorf("got %+v %v", token, err)
	}
}
