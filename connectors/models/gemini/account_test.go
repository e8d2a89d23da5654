package gemini_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/gemini"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func privateKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// keyFile is a service account's, as Google's console writes it.
func keyFile(tb testing.TB, key *rsa.PrivateKey, tokenURL string) schemas.Secret {
	tb.Helper()
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return keyFileOf(tb, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})), tokenURL)
}

func keyFileOf(tb testing.TB, key, tokenURL string) schemas.Secret {
	tb.Helper()
	file, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project-1", "private_key_id": "key-1", "private_key": key,
		"client_email": "inflow@project-1.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokenURL,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return schemas.NewSecret(string(file))
}

// tokenServer is Google's, which checks the assertion's signature.
type tokenServer struct {
	*httptest.Server

	asked   atomic.Int64
	answer  atomic.Pointer[modeltest.Answer]
	arrived chan struct{}                 // hears of every request
	wait    atomic.Pointer[chan struct{}] // what an answer waits for
}

func newTokenServer(tb testing.TB, key *rsa.PrivateKey) *tokenServer {
	tb.Helper()
	s := &tokenServer{arrived: make(chan struct{}, 64)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || r.URL.RawQuery != "" {
			tb.Errorf("got %q %q", r.FormValue("grant_type"), r.URL.RawQuery)
		}
		checkAssertion(tb, &key.PublicKey, r.FormValue("assertion"), s.URL)
		s.arrived <- struct{}{}
		if wait := s.wait.Load(); wait != nil {
			<-*wait
		}
		w.Header().Set("Content-Type", "application/json")
		if answer := s.answer.Load(); answer != nil {
			if answer.Cut {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(max(answer.Status, http.StatusOK))
			_, _ = io.WriteString(w, answer.Body)
			return
		}
		_, _ = io.WriteString(w, granted(modeltest.Secret, 3599))
	}))
	tb.Cleanup(s.Close)
	return s
}

func granted(token string, seconds int) string {
	return fmt.Sprintf(`{"access_token": %q, "expires_in": %d, "token_type": "Bearer"}`, token, seconds)
}

func checkAssertion(tb testing.TB, key *rsa.PublicKey, assertion, audience string) {
	tb.Helper()
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		tb.Errorf("got %q", assertion)
		return
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		tb.Error(err)
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature); err != nil {
		tb.Error(err)
	}
	var header struct{ Alg, Typ, Kid string }
	var claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	for i, into := range []any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, into) != nil {
			tb.Errorf("got %q %v", parts[i], err)
		}
	}
	if header.Alg != "RS256" || header.Typ != "JWT" || header.Kid != "key-1" {
		tb.Errorf("got %+v", header)
	}
	now := time.Now().Unix()
	if claims.Iss != "inflow@project-1.iam.gserviceaccount.com" || claims.Scope != "https://www.googleapis.com/auth/cloud-platform" ||
		claims.Aud != audience || claims.Iat > now || claims.Iat < now-60 || claims.Exp-claims.Iat != 3600 {
		tb.Errorf("got %+v", claims)
	}
}

// vertexAt is a model whose server takes every token, and tells seen which came.
func vertexAt(t *testing.T, key schemas.Secret, seen *sync.Map) *wire.Model {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen.Store(r.Header.Get("Authorization"), r.Header.Get("X-Goog-User-Project"))
		_, _ = io.WriteString(w, content(`{"text":"Paris."}`, "STOP", usage20and5))
	}))
	client := wire.NewClient(wire.ClientOptions{MaxConns: 32, Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return gemini.New(gemini.Options{
		BaseURL: server.URL, Model: "test-model", Client: client, ProjectID: "project-1", Region: "global", PrivateKey: key,
	})
}

func TestTokenIsSharedByAllCalls(t *testing.T) {
	t.Parallel()
	key := privateKey(t)
	tokens := newTokenServer(t, key)
	var seen sync.Map
	m := vertexAt(t, keyFile(t, key, tokens.URL), &seen)
	var calls sync.WaitGroup
	for range 32 {
		calls.Go(func() {
			if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if asked := tokens.asked.Load(); asked != 1 {
		t.Errorf("asked for %d tokens", asked)
	}
	if _, ok := seen.Load("Bearer " + modeltest.Secret); !ok {
		t.Error("the token was not sent")
	}
}

func TestTokenFailures(t *testing.T) {
	t.Parallel()
	key := privateKey(t)
	cases := map[string]struct {
		answer modeltest.Answer
		class  schemas.Class
		code   string
	}{
		"bad key": {
			modeltest.Answer{Status: 400, Body: `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`},
			schemas.Fatal, "invalid_grant",
		},
		"no such account": {
			modeltest.Answer{Status: 401, Body: `{"error":"unauthorized_client","error_description":"no"}`}, schemas.Fatal, "unauthorized_client",
		},
		"some other 400":  {modeltest.Answer{Status: 400, Body: `<html>ANSWER-TEXT</html>`}, schemas.Fatal, "bad_request"},
		"throttled":       {modeltest.Answer{Status: 429}, schemas.Throttled, "rate_limit_exceeded"},
		"down":            {modeltest.Answer{Status: 503, Body: `{"error":"internal_failure"}`}, schemas.Transient, "service_unavailable"},
		"no answer":       {modeltest.Answer{Cut: true}, schemas.Transient, "connection_closed"},
		"no token":        {modeltest.Answer{Body: `{"expires_in":3599}`}, schemas.Transient, "malformed_response"},
		"not JSON":        {modeltest.Answer{Body: `ANSWER-TEXT`}, schemas.Transient, "malformed_response"},
		"a line break":    {modeltest.Answer{Body: granted("a\nb", 3599)}, schemas.Transient, "malformed_response"},
		"no time to live": {modeltest.Answer{Body: granted("token", 0)}, schemas.Transient, "malformed_response"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokens := newTokenServer(t, key)
			tokens.answer.Store(&c.answer)
			var seen sync.Map
			secret := keyFile(t, key, tokens.URL)
			got, err := vertexAt(t, secret, &seen).Invoke(t.Context(), modeltest.Question())
			failure, ok := errors.AsType[*schemas.Error](err)
			if !ok || failure.Class != c.class || failure.Code != c.code {
				t.Fatalf("got %#v", err)
			}
			if c.class == schemas.Fatal && !strings.Contains(failure.Mend, "private_key") {
				t.Errorf("the mend does not name the setting: %q", failure.Mend)
			}
			if got.Usage.Basis != schemas.BasisNone {
				t.Errorf("a call that was not sent costs %+v", got.Usage)
			}
			for _, hidden := range []string{"ANSWER-TEXT", "PRIVATE KEY", modeltest.Prompt, "assertion="} {
				if strings.Contains(err.Error(), hidden) {
					t.Errorf("the error shows %q: %v", hidden, err)
				}
			}
			seen.Range(func(any, any) bool { t.Error("the model was asked without a token"); return false })
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		var seen sync.Map
		_, err := vertexAt(t, keyFile(t, key, "http://127.0.0.1:1/token"), &seen).Invoke(t.Context(), modeltest.Question())
		if schemas.ClassOf(err) != schemas.Transient {
			t.Errorf("got %v", err)
		}
	})
}

// TestTokenWaitEnds: whoever waits for another call's token gives up with its own context.
func TestTokenWaitEnds(t *testing.T) {
	t.Parallel()
	key := privateKey(t)
	tokens := newTokenServer(t, key)
	hold := make(chan struct{})
	tokens.wait.Store(&hold)
	var seen sync.Map
	m := vertexAt(t, keyFile(t, key, tokens.URL), &seen)
	var first sync.WaitGroup
	first.Go(func() {
		if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
			t.Error(err)
		}
	})
	<-tokens.arrived
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := m.Invoke(ctx, modeltest.Question())
	if !errors.Is(err, context.Canceled) || schemas.ClassOf(err) != schemas.Transient {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	_, err = m.Invoke(ctx, modeltest.Question())
	if failure, ok := errors.AsType[*schemas.Error](err); !ok || failure.Code != "timeout" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(hold)
	first.Wait()
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	key := privateKey(t)
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	options := func(secret schemas.Secret) gemini.Options {
		return gemini.Options{Model: "m", ProjectID: "project-1", Region: "global", PrivateKey: secret}
	}
	if err := gemini.New(options(keyFileOf(t, pkcs1, "https://oauth2.googleapis.com/token"))).Check(&schemas.Request{}); err != nil {
		t.Error(err)
	}
	if err := gemini.New(options(keyFileOf(t, pkcs1, ""))).Check(&schemas.Request{}); err != nil {
		t.Error(err)
	}
	for name, secret := range map[string]schemas.Secret{
		"key alone":          schemas.NewSecret(pkcs1),
		"not JSON":           schemas.NewSecret("SECRET-TEXT"),
		"no service account": schemas.NewSecret(`{"type":"authorized_user","client_email":"SECRET-TEXT"}`),
		"no RSA key":         keyFileOf(t, "SECRET-TEXT", ""),
		"no URL":             keyFileOf(t, pkcs1, "SECRET-TEXT"),
	} {
		m := gemini.New(options(secret))
		err := m.Check(&schemas.Request{})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), "private_key ") ||
			strings.Contains(err.Error(), "SECRET-TEXT") || strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := m.Invoke(t.Context(), modeltest.Question()); schemas.ClassOf(err) != schemas.Fatal {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
