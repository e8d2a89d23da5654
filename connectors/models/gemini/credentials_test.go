package gemini_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/schemas"
)

// google is whatever of Google's grants tokens, and the metadata server of a machine in its cloud.
type google struct {
	*httptest.Server

	handler atomic.Pointer[http.HandlerFunc] // in the place of the usual answers
	asked   atomic.Int64
}

// startGoogle leaves the test nothing of this machine's credentials. It is not for parallel tests.
func startGoogle(t *testing.T) *google {
	t.Helper()
	g := &google{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/project-id") { // the library asks without need
			_, _ = io.WriteString(w, "project-1")
			return
		}
		g.asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if handler := g.handler.Load(); handler != nil {
			(*handler)(w, r)
			return
		}
		_, _ = io.WriteString(w, g.grant(t, r))
	}))
	t.Cleanup(g.Close)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(g.URL, "http://"))
	return g
}

// grant checks a question as far as a kind of credentials differs from the others.
func (g *google) grant(t *testing.T, r *http.Request) string {
	t.Helper()
	switch r.URL.Path {
	case "/computeMetadata/v1/instance/service-accounts/default/token":
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Query().Get("scopes") != "https://www.googleapis.com/auth/cloud-platform" {
			t.Errorf("got %s %v", r.URL, r.Header)
		}
		return granted("machine-token", 3599)
	case "/token":
		switch r.FormValue("grant_type") {
		case "refresh_token":
			if r.FormValue("refresh_token") != "SECRET-REFRESH" || r.FormValue("client_id") != "client" || r.FormValue("client_secret") != "SECRET-CLIENT" {
				t.Errorf("got %v", r.Form)
			}
			return granted("user-token", 3599)
		case "urn:ietf:params:oauth:grant-type:jwt-bearer":
			return granted("account-token", 3599)
		}
	case "/sts":
		if r.FormValue("subject_token") != "SECRET-SUBJECT" || r.FormValue("audience") != "//iam.googleapis.com/pool" {
			t.Errorf("got %v", r.Form)
		}
		return granted("pool-token", 3599)
	case "/account:generateAccessToken":
		return impersonated(fmt.Sprintf("%s-for-account", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")), time.Hour)
	}
	t.Errorf("nobody asks %s %v", r.URL, r.Form)
	return "{}"
}

func impersonated(token string, life time.Duration) string {
	return fmt.Sprintf(`{"accessToken": %q, "expireTime": %q}`, token, time.Now().Add(life).Format(time.RFC3339Nano))
}

// file writes credentials, and returns their path.
func file(t *testing.T, content string, path ...string) string {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func object(t *testing.T, fields map[string]any) string {
	t.Helper()
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (g *google) user() map[string]any {
	return map[string]any{
		"type": "authorized_user", "client_id": "client", "client_secret": "SECRET-CLIENT", "refresh_token": "SECRET-REFRESH",
		"token_uri": g.URL + "/token", "quota_project_id": "project-2",
	}
}

func (g *google) pool(t *testing.T) map[string]any {
	t.Helper()
	return map[string]any{
		"type": "external_account", "audience": "//iam.googleapis.com/pool", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
		"token_url": g.URL + "/sts", "credential_source": map[string]any{"file": file(t, "SECRET-SUBJECT", t.TempDir(), "subject")},
	}
}

func TestDefaultCredentials(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	g := startGoogle(t)
	account := func(fields map[string]any) map[string]any {
		return map[string]any{
			"type": "impersonated_service_account", "service_account_impersonation_url": g.URL + "/account:generateAccessToken",
			"source_credentials": fields,
		}
	}
	poolAccount := g.pool(t)
	poolAccount["service_account_impersonation_url"] = g.URL + "/account:generateAccessToken"
	for name, c := range map[string]struct {
		file, token, project string
	}{
		"a person":                    {object(t, g.user()), "user-token", "project-2"},
		"an account's key":            {keyFile(t, privateKey(t), g.URL+"/token").Reveal(), "account-token", ""},
		"a pool":                      {object(t, g.pool(t)), "pool-token", ""},
		"a pool as an account":        {object(t, poolAccount), "pool-token-for-account", ""},
		"a person as an account":      {object(t, account(g.user())), "user-token-for-account", ""},
		"nobody, on a machine of its": {"", "machine-token", ""},
	} {
		if t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", ""); c.file != "" {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file(t, c.file, t.TempDir(), "credentials.json"))
		}
		asked := g.asked.Load()
		var seen sync.Map
		m := vertexAt(t, schemas.Secret{}, &seen)
		if err := m.Check(modeltest.Question()); err != nil || g.asked.Load() != asked {
			t.Errorf("%s: asked before the first call: %v", name, err)
		}
		for range 2 {
			if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if project, ok := seen.Load("Bearer " + c.token); !ok || project != c.project {
			t.Errorf("%s: the token was not sent, or with the project %v", name, project)
		}
	}
}

// TestCredentialsOfGcloud finds the file that `gcloud auth application-default login` writes.
func TestCredentialsOfGcloud(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	g := startGoogle(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	file(t, object(t, g.user()), home, ".config", "gcloud", "application_default_credentials.json")
	var seen sync.Map
	m := vertexAt(t, schemas.Secret{}, &seen)
	var calls sync.WaitGroup
	for range 16 {
		calls.Go(func() {
			if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if _, ok := seen.Load("Bearer user-token"); !ok || g.asked.Load() != 1 {
		t.Errorf("asked for %d tokens", g.asked.Load())
	}
}

// TestTokenIsRenewed: a token's successor is asked for before its end, and after it nothing but a new one will do.
func TestTokenIsRenewed(t *testing.T) {
	g := startGoogle(t)
	account := object(t, map[string]any{
		"type": "impersonated_service_account", "service_account_impersonation_url": g.URL + "/account:generateAccessToken",
		"source_credentials": g.user(),
	})
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file(t, account, t.TempDir(), "credentials.json"))
	var given atomic.Int64
	var down atomic.Bool
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/token":
			_, _ = io.WriteString(w, g.grant(t, r))
		default:
			_, _ = io.WriteString(w, impersonated(fmt.Sprintf("token-%d", given.Add(1)), 20*time.Millisecond))
		}
	})
	g.handler.Store(&handler)
	var seen sync.Map
	m := vertexAt(t, schemas.Secret{}, &seen)
	sent := func(token string) bool { _, ok := seen.Load("Bearer " + token); return ok }
	for !sent("token-2") {
		if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
			t.Fatal(err)
		}
	}
	if !sent("token-1") {
		t.Error("the first token was never sent")
	}
	down.Store(true)
	for {
		if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
			if failure, ok := errors.AsType[*schemas.Error](err); !ok || failure.Class != schemas.Transient || failure.HTTPStatus != http.StatusServiceUnavailable {
				t.Errorf("got %#v", err)
			}
			return
		}
	}
}

func TestDefaultCredentialFailures(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	g := startGoogle(t)
	user := object(t, g.user())
	unreachable := g.user()
	unreachable["token_uri"] = "http://127.0.0.1:1/token"
	lost := g.pool(t)
	lost["credential_source"] = map[string]any{"file": "/nowhere/subject"}
	brokenKey := keyFileOf(t, "SECRET-TEXT", g.URL+"/token").Reveal()
	for name, c := range map[string]struct {
		file   string
		answer modeltest.Answer
		class  schemas.Class
		code   string
	}{
		"no file":            {"/nowhere/at-all.json", modeltest.Answer{}, schemas.Fatal, "no_credentials"},
		"not JSON":           {`SECRET-TEXT`, modeltest.Answer{}, schemas.Fatal, "no_credentials"},
		"of an unknown kind": {`{"type":"other"}`, modeltest.Answer{}, schemas.Fatal, "no_credentials"},
		"an OAuth client": {
			`{"installed":{"client_id":"c","client_secret":"SECRET-TEXT","redirect_uris":["http://localhost"]}}`,
			modeltest.Answer{},
			schemas.Fatal, "invalid_credentials",
		},
		"no key":             {brokenKey, modeltest.Answer{}, schemas.Fatal, "invalid_credentials"},
		"no subject":         {object(t, lost), modeltest.Answer{}, schemas.Fatal, "invalid_credentials"},
		"a revoked login":    {user, modeltest.Answer{Status: 400, Body: `{"error":"invalid_grant","error_description":"SECRET-REFRESH"}`}, schemas.Fatal, "invalid_grant"},
		"throttled":          {user, modeltest.Answer{Status: 429, Body: `{}`}, schemas.Throttled, "rate_limit_exceeded"},
		"down":               {user, modeltest.Answer{Status: 500, Body: `SECRET-TEXT`}, schemas.Transient, "server_error"},
		"cut":                {user, modeltest.Answer{Cut: true}, schemas.Transient, "connection_closed"},
		"no token":           {user, modeltest.Answer{Body: `{"expires_in":"SECRET-TEXT"}`}, schemas.Transient, "malformed_response"},
		"an endless token":   {user, modeltest.Answer{Body: `{"access_token":"a"}`}, schemas.Transient, "malformed_response"},
		"moved":              {user, modeltest.Answer{Status: 307, Body: g.URL + "/token"}, schemas.Fatal, "redirected"},
		"nobody listens":     {object(t, unreachable), modeltest.Answer{}, schemas.Transient, "connection_refused"},
		"a stranger's pool":  {object(t, g.pool(t)), modeltest.Answer{Status: 403, Body: failureBody(403, "PERMISSION_DENIED", "")}, schemas.Fatal, "PERMISSION_DENIED"},
		"the pool is down":   {object(t, g.pool(t)), modeltest.Answer{Status: 503, Body: `SECRET-SUBJECT`}, schemas.Transient, "service_unavailable"},
		"the pool's no JSON": {object(t, g.pool(t)), modeltest.Answer{Body: `SECRET-SUBJECT`}, schemas.Transient, "malformed_response"},
		// What the metadata server says to a machine.
		"no account":        {"", modeltest.Answer{Status: 404}, schemas.Fatal, "no_credentials"},
		"no such scope":     {"", modeltest.Answer{Status: 403, Body: `SECRET-TEXT`}, schemas.Fatal, "forbidden"},
		"no machine's JSON": {"", modeltest.Answer{Body: `SECRET-TEXT`}, schemas.Transient, "metadata_server_failed"},
	} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.answer.Cut {
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Location", c.answer.Body)
			w.WriteHeader(max(c.answer.Status, http.StatusOK))
			_, _ = io.WriteString(w, c.answer.Body)
		})
		g.handler.Store(&handler)
		if strings.HasPrefix(c.file, "/") || c.file == "" {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", c.file)
		} else {
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file(t, c.file, t.TempDir(), "credentials.json"))
		}
		asked := g.asked.Load()
		var seen sync.Map
		got, err := vertexAt(t, schemas.Secret{}, &seen).Invoke(t.Context(), modeltest.Question())
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != c.class || failure.Code != c.code || got.Usage.Basis != schemas.BasisNone {
			t.Errorf("%s: got %#v", name, err)
			continue
		}
		if g.asked.Load() > asked+1 {
			t.Errorf("%s: asked again", name)
		}
		if c.class == schemas.Fatal && c.code != "redirected" && !strings.Contains(failure.Mend, "private_key, or run `gcloud auth") {
			t.Errorf("%s: the mend is %q", name, failure.Mend)
		}
		if strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "BEGIN") || strings.Contains(err.Error(), modeltest.Prompt) {
			t.Errorf("%s: the error shows what it must not: %v", name, err)
		}
	}
}

// TestMetadataWaitEnds: the library does not hear that its caller gave up; the caller is not to wait for it.
func TestMetadataWaitEnds(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	g := startGoogle(t)
	arrived, hold, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		close(arrived)
		<-hold
		_, _ = io.WriteString(w, g.grant(t, r))
	})
	g.handler.Store(&handler)
	var seen sync.Map
	m := vertexAt(t, schemas.Secret{}, &seen)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := m.Invoke(ctx, modeltest.Question()); !errors.Is(err, context.Canceled) || schemas.ClassOf(err) != schemas.Transient {
		t.Errorf("got %v", err)
	}
	close(hold)
	<-left
}
