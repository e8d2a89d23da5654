package gemini

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// TestRenewal walks through the hours of a token: it is renewed before its end, and where that fails the old one goes
// on until it ends.
func TestRenewal(t *testing.T) {
	t.Parallel()
	var asked, status atomic.Int64
	status.Store(http.StatusOK)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(int(status.Load()))
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":3600,"error":"%s"}`, asked.Add(1), "invalid_grant")
	}))
	client := wire.NewClient(wire.ClientOptions{Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@b", "token_uri": server.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	})
	if err != nil {
		t.Fatal(err)
	}
	account, err := readServiceAccount(schemas.NewSecret(string(file)), client)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	var passed time.Duration
	account.now = func() time.Time { return start.Add(passed) }
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
		passed = step.at
		status.Store(int64(step.status))
		call := &wire.Call{Header: http.Header{}}
		err := account.authorize(t.Context(), call)
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
	account.renewing <- struct{}{} // somebody renews, and the others do not wait
	passed = 0
	account.current.Store(&accessToken{header: []string{"old"}, renew: start, ends: start.Add(time.Minute)})
	if token, err := account.token(t.Context()); err != nil || token.header[0] != "old" {
		t.Errorf("got %+v %v", token, err)
	}
}
