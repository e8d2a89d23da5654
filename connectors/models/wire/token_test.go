package wire

import (
	"context"
	"encoding/json"
	"errors"
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

// tokenServer grants tokens by number, or refuses them with a status that is not 200.
func tokenServer(t *testing.T) (at *url.URL, client *Client, asked, status *atomic.Int64) {
	t.Helper()
	asked, status = &atomic.Int64{}, &atomic.Int64{}
	status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(int(status.Load()))
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":3600,"error":"invalid_grant"}`, asked.Add(1))
	}))
	client = NewClient(ClientOptions{MaxConns: 16, Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return at, client, asked, status
}

func TestTokens(t *testing.T) {
	t.Parallel()
	at, client, asked, status := tokenServer(t)
	var tokens *Tokens
	tokens = NewTokens(TokenOptions{Op: "test: token", Client: client, Source: func(_ context.Context, over *http.Client) (*Granted, error) {
		answer, err := over.Post(at.String(), "text/plain", nil)
		if err != nil {
			return nil, errors.New("said as text only")
		}
		defer func() { _ = answer.Body.Close() }()
		var granted struct {
			Token string `json:"access_token"`
		}
		if err := json.NewDecoder(answer.Body).Decode(&granted); err != nil || answer.StatusCode != http.StatusOK {
			return nil, errors.New("said as text only")
		}
		return &Granted{Token: granted.Token, Ends: tokens.now().Add(time.Hour), Header: http.Header{"X-Beside": {"it"}}}, nil
	}})
	walkThroughHours(t, tokens, asked, status)
	call := &Call{Header: http.Header{}}
	if err := tokens.Authorize(t.Context(), call); err != nil || call.Header.Get("X-Beside") != "it" {
		t.Errorf("got %v %v", call.Header, err)
	}
}

// TestSourceFails: what stands in the way before anything is asked is told, but for what an answer may have brought.
func TestSourceFails(t *testing.T) {
	t.Parallel()
	fails := func(ctx context.Context, source func(context.Context, *http.Client) (*Granted, error)) error {
		return NewTokens(TokenOptions{
			Op: "test: token", Client: NewClient(ClientOptions{}), Mend: "mend it", Secret: schemas.NewSecret("SECRET"), Source: source,
		}).Authorize(ctx, &Call{Header: http.Header{}})
	}
	says := func(context.Context, *http.Client) (*Granted, error) {
		return nil, errors.New("no file of SECRET is here\nthe answer")
	}
	err := fails(t.Context(), says)
	failure, ok := errors.AsType[*schemas.Error](err)
	if !ok || failure.Class != schemas.Fatal || failure.Code != "invalid_credentials" || failure.Mend != "mend it" ||
		failure.Err.Error() != "no file of [redacted] is here" {
		t.Errorf("got %#v", err)
	}
	own := &schemas.Error{Op: "own", Class: schemas.Throttled, Code: "own"}
	if err := fails(t.Context(), func(context.Context, *http.Client) (*Granted, error) { return nil, own }); !errors.Is(err, own) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fails(ctx, says); schemas.ClassOf(err) != schemas.Transient || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestSourceHearsOfTheEnd: some libraries send requests without a context.
func TestSourceHearsOfTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	tokens := NewTokens(TokenOptions{
		Op: "test: token", Client: NewClient(ClientOptions{}),
		Source: func(_ context.Context, over *http.Client) (*Granted, error) {
			answer, err := over.Post(server.URL, "text/plain", nil)
			if err == nil {
				err = answer.Body.Close()
			}
			return nil, err //nolint:wrapcheck // as a library's
		},
	})
	if err := tokens.Authorize(ctx, &Call{Header: http.Header{}}); schemas.ClassOf(err) != schemas.Transient || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// walkThroughHours of a token: it is shared, it is renewed before its end, and where that fails the old one goes on
// until it ends.
func walkThroughHours(t *testing.T, tokens *Tokens, asked, status *atomic.Int64) {
	t.Helper()
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
	status.Store(http.StatusOK)
	passed.Store(0)
	tokens.current.Store(&accessToken{header: http.Header{"A": {"old"}}, renew: start, ends: start.Add(time.Minute)})
	tokens.renewing <- struct{}{} // somebody renews, and the others do not wait
	token, err := tokens.token(t.Context())
	if <-tokens.renewing; err != nil || token.header.Get("A") != "old" {
		t.Errorf("got %+v %v", token, err)
	}
}
