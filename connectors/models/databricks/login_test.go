package databricks_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/databricks/databricks-sdk-go/config"
	"github.com/databricks/databricks-sdk-go/logger"

	"github.com/inflowhq/inflow/connectors/models/databricks"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// aWorkspace is a workspace that grants tokens and answers models, and every other server that the SDK asks.
type aWorkspace struct {
	*httptest.Server

	token  atomic.Pointer[http.HandlerFunc] // in the place of the usual token endpoint
	well   atomic.Pointer[http.HandlerFunc] // in the place of what says where things are
	life   atomic.Int64                     // of a token, in seconds
	cloud  string
	asked  atomic.Int64 // tokens
	all    atomic.Int64 // requests, but for models
	models sync.Map     // the Authorization of calls that arrived, and their headers
}

// startWorkspace leaves the test nothing of this machine's credentials and commands. It is not for parallel tests.
func startWorkspace(t *testing.T) *aWorkspace {
	t.Helper()
	alone(t)
	w := &aWorkspace{cloud: "AWS"}
	w.life.Store(3600)
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/invocations") {
			if r.Header.Get("Authorization") == "Bearer SECRET-REVOKED" {
				out.WriteHeader(http.StatusForbidden)
				return
			}
			w.models.Store(r.Header.Get("Authorization"), r.Header.Clone())
			_, _ = io.WriteString(out, completion(`{"role":"assistant","content":"Paris."}`, "stop", usage20and5))
			return
		}
		w.all.Add(1)
		out.Header().Set("Content-Type", "application/json")
		base := "http://" + r.Host
		if r.TLS != nil {
			base = "https://" + r.Host
		}
		switch well, token := w.well.Load(), w.token.Load(); {
		case strings.Contains(r.URL.Path, "/.well-known/") && well != nil:
			(*well)(out, r)
		case r.URL.Path == "/.well-known/databricks-config":
			_, _ = fmt.Fprintf(out, `{"oidc_endpoint":"%s/oidc","account_id":"a-1","workspace_id":"1","cloud":%q,"host_type":"workspace"}`, base, w.cloud)
		case r.URL.Path == "/oidc/.well-known/oauth-authorization-server":
			_, _ = fmt.Fprintf(out, `{"authorization_endpoint":"%s/oidc/v1/authorize","token_endpoint":"%s/oidc/v1/token"}`, base, base)
		case token != nil:
			w.asked.Add(1)
			(*token)(out, r)
		default:
			w.grant(t, out, r)
		}
	}))
	w.Start()
	t.Cleanup(w.Close)
	return w
}

func (w *aWorkspace) grant(t *testing.T, out io.Writer, r *http.Request) {
	t.Helper()
	n := w.asked.Add(1)
	id, secret, _ := r.BasicAuth()
	switch {
	case r.URL.Path == "/oidc/v1/token" && id == "client" && secret == "SECRET-CLIENT" && r.FormValue("scope") == "all-apis":
		_, _ = fmt.Fprintf(out, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, n, w.life.Load())
	case r.URL.Path == "/oidc/v1/token" && r.FormValue("subject_token") == "SECRET-SUBJECT":
		_, _ = io.WriteString(out, `{"access_token":"federated","token_type":"Bearer","expires_in":3600}`)
	case r.URL.Path == "/metadata" && r.Header.Get("X-Databricks-Host") == w.URL:
		_, _ = fmt.Fprintf(out, `{"access_token":"local","token_type":"Bearer","expires_on":%d}`, time.Now().Add(time.Hour).Unix())
	default:
		t.Errorf("nobody asks %s %v", r.URL, r.Form)
	}
}

func alone(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("PATH", "")
	t.Setenv("DATABRICKS_OIDC_TOKEN", "")
	for i := range config.ConfigAttributes {
		for _, name := range config.ConfigAttributes[i].EnvVars {
			t.Setenv(name, "")
		}
	}
}

func loggedIn(t *testing.T, url string) *wire.Model {
	t.Helper()
	client := wire.NewClient(wire.ClientOptions{})
	t.Cleanup(client.CloseIdleConnections)
	return databricks.New(databricks.Options{WorkspaceURL: url, Endpoint: "e", Client: client})
}

func m2m(t *testing.T) {
	t.Helper()
	t.Setenv("DATABRICKS_CLIENT_ID", "client")
	t.Setenv("DATABRICKS_CLIENT_SECRET", "SECRET-CLIENT")
}

// profiles writes a file of profiles, and names it.
func profiles(t *testing.T, text string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "profiles")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DATABRICKS_CONFIG_FILE", name)
}

// command writes a databricks command, which must be long enough to be taken for one, and puts it where commands are.
func command(t *testing.T, script string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "databricks")
	script = "#!/bin/sh\n" + script + "\nexit 0\n" + strings.Repeat("#", 1<<20)
	if err := os.WriteFile(name, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(name))
}

func TestLogin(t *testing.T) {
	w := startWorkspace(t)
	here := strings.TrimPrefix(w.URL, "http://")
	later := time.Now().Add(time.Hour).Format(time.RFC3339)
	for name, c := range map[string]struct {
		environment map[string]string
		profiles    string
		want        string
		asked       int64
	}{
		"a token of the environment": {map[string]string{"DATABRICKS_TOKEN": "SECRET-PAT"}, "", "Bearer SECRET-PAT", 0},
		"with its host":              {map[string]string{"DATABRICKS_TOKEN": "SECRET-PAT", "DATABRICKS_HOST": w.URL + "/?o=1"}, "", "Bearer SECRET-PAT", 0},
		"a password":                 {map[string]string{"DATABRICKS_USERNAME": "a", "DATABRICKS_PASSWORD": "b"}, "", "Basic YTpi", 0},
		"a service principal":        {map[string]string{"DATABRICKS_CLIENT_ID": "client", "DATABRICKS_CLIENT_SECRET": "SECRET-CLIENT"}, "", "Bearer token-", 1},
		"federation": {
			map[string]string{"DATABRICKS_CLIENT_ID": "client", "DATABRICKS_OIDC_TOKEN": "SECRET-SUBJECT", "DATABRICKS_AUTH_TYPE": "env-oidc"},
			"", "Bearer federated", 1,
		},
		"a metadata service": {map[string]string{"DATABRICKS_METADATA_SERVICE_URL": w.URL + "/metadata"}, "", "Bearer local", 2},
		"a named profile": {
			map[string]string{"DATABRICKS_CONFIG_PROFILE": "mine"},
			"[other]\nhost = https://other\ntoken = SECRET-OTHER\n[mine]\nhost = " + w.URL + "/\ntoken = SECRET-MINE\n", "Bearer SECRET-MINE", 0,
		},
		"the workspace's profile": {
			nil, "[DEFAULT]\nhost = https://other\ntoken = SECRET-OTHER\n[mine]\nhost = " + w.URL + "\ntoken = SECRET-MINE\n", "Bearer SECRET-MINE", 0,
		},
		"the default profile of several": {
			nil, "[a]\nhost = " + w.URL + "\ntoken = a\n[b]\nhost = " + w.URL + "\ntoken = SECRET-B\n[__settings__]\ndefault_profile = b\n", "Bearer SECRET-B", 0,
		},
		"a profile's service principal": {
			nil, "[DEFAULT]\nhost = " + w.URL + "\nclient_id = client\nclient_secret = SECRET-CLIENT\n", "Bearer token-", 1,
		},
		"a mere default host": {
			map[string]string{"DATABRICKS_HOST": "https://other", "DATABRICKS_DISCOVERY_URL": "https://other/discovery"},
			"[DEFAULT]\nhost = " + w.URL + "\nclient_id = client\nclient_secret = SECRET-CLIENT\n", "Bearer token-", 1,
		},
		"the command's login": {map[string]string{"CLI": `case "$*" in
			version) echo "Databricks CLI v0.300.0";;
			"auth token --host ` + w.URL + ` --force-refresh") echo '{"access_token":"user-token","token_type":"Bearer","expiry":"` + later + `"}';;
			*) echo "SECRET-TEXT $*" >&2; exit 1;; esac`}, "", "Bearer user-token", 0},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			for key, value := range c.environment {
				if key == "CLI" {
					command(t, value)
				} else {
					t.Setenv(key, value)
				}
			}
			if c.profiles != "" {
				profiles(t, c.profiles)
			}
			asked, all := w.asked.Load(), w.all.Load()
			w.models.Clear()
			m := loggedIn(t, w.URL)
			if err := m.Check(modeltest.Question()); err != nil || w.all.Load() != all {
				t.Errorf("asked before the first call: %v", err)
			}
			for range 2 {
				if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
					t.Error(err)
				}
			}
			if strings.Contains(c.want, "SECRET") && w.all.Load() != all {
				t.Error("a token needs nobody's help")
			}
			var sent []string
			w.models.Range(func(key, _ any) bool {
				sent = append(sent, fmt.Sprint(key))
				return true
			})
			if len(sent) != 1 || !strings.HasPrefix(sent[0], c.want) || w.asked.Load() != asked+c.asked {
				t.Errorf("at %s sent %q, want %q; asked %d times", here, sent, c.want, w.asked.Load()-asked)
			}
		})
	}
}

// TestLoginAtAzure: a service principal of Azure's sends more than one header.
func TestLoginAtAzure(t *testing.T) {
	w := startWorkspace(t)
	token := http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.Host != "login.microsoftonline.com" || r.URL.Path != "/tenant/oauth2/token" {
			t.Errorf("nobody asks %s%s", r.Host, r.URL)
		}
		kind := "workspace"
		if strings.HasPrefix(r.FormValue("resource"), "https://management.") {
			kind = "management"
		}
		_, _ = fmt.Fprintf(out, `{"access_token":"%s-token","token_type":"Bearer","expires_in":3600}`, kind)
	})
	w.token.Store(&token)
	secure := httptest.NewTLSServer(w.Config.Handler)
	t.Cleanup(secure.Close)
	client := wire.NewClient(wire.ClientOptions{})
	t.Cleanup(client.CloseIdleConnections)
	client.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	client.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, secure.Listener.Addr().String())
	}
	t.Setenv("ARM_CLIENT_ID", "client")
	t.Setenv("ARM_CLIENT_SECRET", "SECRET-CLIENT")
	t.Setenv("ARM_TENANT_ID", "tenant")
	w.cloud = "Azure"
	_, err := databricks.New(databricks.Options{WorkspaceURL: "https://adb-1.2.azuredatabricks.net", Endpoint: "e", Client: client}).
		Invoke(t.Context(), modeltest.Question())
	got, ok := w.models.Load("Bearer workspace-token")
	if err != nil || !ok {
		t.Fatalf("not sent: %v", err)
	}
	if header, _ := got.(http.Header); header.Get("X-Databricks-Azure-Sp-Management-Token") != "management-token" {
		t.Errorf("got %v", header)
	}
}

func TestLoginIsShared(t *testing.T) { //nolint:paralleltest // the environment is changed
	w := startWorkspace(t)
	m2m(t)
	m := loggedIn(t, w.URL)
	var calls sync.WaitGroup
	for range 16 {
		calls.Go(func() {
			if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if w.asked.Load() != 1 {
		t.Errorf("asked for %d tokens", w.asked.Load())
	}
}

// TestLoginIsRenewed: and where there was none, looked for again.
func TestLoginIsRenewed(t *testing.T) { //nolint:paralleltest // the environment is changed
	w := startWorkspace(t)
	m := loggedIn(t, w.URL)
	if _, err := m.Invoke(t.Context(), modeltest.Question()); schemas.ClassOf(err) != schemas.Fatal {
		t.Errorf("got %v", err)
	}
	m2m(t)
	w.life.Store(1)
	sent := func(token string) bool { _, ok := w.models.Load("Bearer " + token); return ok }
	for !sent("token-2") {
		if _, err := m.Invoke(t.Context(), modeltest.Question()); err != nil {
			t.Fatal(err)
		}
	}
	if !sent("token-1") {
		t.Error("the first token was never sent")
	}
}

func TestLoginFailures(t *testing.T) {
	w := startWorkspace(t)
	someone := `echo '{"access_token":"user-token","token_type":"Bearer","expiry":"2100-01-01T00:00:00Z"}'`
	principal := map[string]string{"DATABRICKS_CLIENT_ID": "client", "DATABRICKS_CLIENT_SECRET": "SECRET-WRONG"}
	moved := modeltest.Answer{Status: 307, Header: map[string]string{"Location": w.URL + "/oidc/elsewhere"}}
	refused := func(status int, body string) modeltest.Answer {
		return modeltest.Answer{Status: status, Body: body, Header: map[string]string{"Retry-After": "7"}}
	}
	for name, c := range map[string]struct {
		environment map[string]string
		profiles    string
		well, token modeltest.Answer
		class       schemas.Class
		code        string
		mend        string
	}{
		"nobody":               {class: schemas.Fatal, code: "no_credentials", mend: "set databricks_api_token, or log in: `databricks auth login --host " + w.URL + "`"},
		"nobody, of old":       {well: refused(404, `SECRET-TEXT`), class: schemas.Fatal, code: "no_credentials", mend: "DATABRICKS_CLIENT_SECRET"},
		"a logged out command": {environment: map[string]string{"CLI": `echo SECRET-TEXT >&2; exit 1`}, class: schemas.Fatal, code: "no_credentials", mend: "log in"},
		"and no other way":     {environment: map[string]string{"CLI": `echo SECRET-TEXT >&2; exit 1`, "DATABRICKS_AUTH_TYPE": "databricks-cli"}, class: schemas.Fatal, code: "invalid_credentials", mend: "log in"},
		"a wrong secret":       {environment: principal, token: refused(401, `{"error":"invalid_client","error_description":"SECRET-WRONG"}`), class: schemas.Fatal, code: "invalid_client", mend: "log in"},
		"a secret that's gone": {environment: principal, token: refused(400, `{"error":"invalid_client"}`), class: schemas.Fatal, code: "invalid_client", mend: "log in"},
		"a wrong secret beside a login": {
			environment: map[string]string{"DATABRICKS_CLIENT_ID": "client", "DATABRICKS_CLIENT_SECRET": "SECRET-WRONG", "CLI": someone},
			token:       refused(401, `{"error":"invalid_client"}`), class: schemas.Fatal, code: "invalid_client", mend: "log in",
		},
		"a revoked token":       {environment: map[string]string{"DATABRICKS_TOKEN": "SECRET-REVOKED"}, class: schemas.Fatal, code: "forbidden", mend: "this machine's Databricks login"},
		"not allowed":           {environment: principal, token: refused(403, `SECRET-TEXT`), class: schemas.Fatal, code: "forbidden", mend: "log in"},
		"not from here":         {environment: principal, well: refused(403, `{"error":"SECRET-TEXT"}`), class: schemas.Fatal, code: "forbidden", mend: "log in"},
		"throttled":             {environment: principal, token: refused(429, `{}`), class: schemas.Throttled, code: "rate_limit_exceeded"},
		"throttled before":      {environment: principal, well: refused(429, `{}`), class: schemas.Throttled, code: "rate_limit_exceeded"},
		"failing":               {environment: principal, token: refused(503, `SECRET-TEXT`), class: schemas.Transient, code: "service_unavailable"},
		"failing before":        {environment: principal, well: refused(500, `SECRET-TEXT`), class: schemas.Transient, code: "server_error"},
		"failing for everybody": {well: refused(500, `SECRET-TEXT`), class: schemas.Transient, code: "server_error"},
		"cut":                   {environment: principal, token: modeltest.Answer{Cut: true}, class: schemas.Transient, code: "connection_closed"},
		"cut before":            {environment: principal, well: modeltest.Answer{Cut: true}, class: schemas.Transient, code: "connect_failed"},
		"moved":                 {environment: principal, token: moved, class: schemas.Fatal, code: "redirected", mend: "base URL"},
		"moved before":          {environment: principal, well: moved, class: schemas.Fatal, code: "redirected", mend: "base URL"},
		"nobody grants": {
			environment: principal, well: modeltest.Answer{Body: `{"oidc_endpoint":"` + w.URL + `/oidc","token_endpoint":"http://127.0.0.1:1/token"}`},
			class: schemas.Transient, code: "connection_refused",
		},
		"no token":               {environment: principal, token: modeltest.Answer{Body: `<html>SECRET-TEXT`}, class: schemas.Transient, code: "malformed_response"},
		"two ways":               {environment: map[string]string{"DATABRICKS_TOKEN": "SECRET-1", "DATABRICKS_USERNAME": "SECRET-2"}, class: schemas.Fatal, code: "invalid_credentials", mend: "DATABRICKS_AUTH_TYPE"},
		"an unknown way":         {environment: map[string]string{"DATABRICKS_TOKEN": "SECRET-1", "DATABRICKS_AUTH_TYPE": "SECRET-2"}, class: schemas.Fatal, code: "invalid_credentials", mend: "log in"},
		"a number that is none":  {environment: map[string]string{"DATABRICKS_RATE_LIMIT": "SECRET-1"}, class: schemas.Fatal, code: "invalid_credentials", mend: "log in"},
		"no such profile":        {environment: map[string]string{"DATABRICKS_CONFIG_PROFILE": "mine"}, profiles: "[other]\ntoken = SECRET-1\n", class: schemas.Fatal, code: "invalid_credentials", mend: "log in"},
		"no profiles":            {environment: map[string]string{"DATABRICKS_CONFIG_PROFILE": "mine"}, class: schemas.Fatal, code: "invalid_credentials", mend: "log in"},
		"a file of other things": {profiles: "SECRET-TEXT\n", class: schemas.Fatal, code: "invalid_credentials", mend: "log in"},
		"a profile's bad value":  {profiles: "[DEFAULT]\nhost = " + w.URL + "\nrate_limit = SECRET-TEXT\n", class: schemas.Fatal, code: "invalid_credentials", mend: "log in"},
		"two profiles":           {profiles: "[a]\nhost = " + w.URL + "\n[b]\nhost = " + w.URL + "\n", class: schemas.Fatal, code: "invalid_credentials", mend: "choose one with DATABRICKS_CONFIG_PROFILE"},
		// What belongs to another workspace stays there.
		"a token of elsewhere":     {environment: map[string]string{"DATABRICKS_HOST": "https://other", "DATABRICKS_TOKEN": "SECRET-1"}, class: schemas.Fatal, code: "other_workspace", mend: "unset DATABRICKS_HOST"},
		"the host over TLS":        {environment: map[string]string{"DATABRICKS_HOST": strings.TrimPrefix(w.URL, "http://"), "DATABRICKS_TOKEN": "SECRET-1"}, class: schemas.Fatal, code: "other_workspace", mend: "unset DATABRICKS_HOST"},
		"a principal of elsewhere": {environment: map[string]string{"DATABRICKS_HOST": "other", "DATABRICKS_CLIENT_ID": "SECRET-1", "DATABRICKS_CLIENT_SECRET": "SECRET-2"}, class: schemas.Fatal, code: "other_workspace", mend: "unset DATABRICKS_HOST"},
		"a profile of elsewhere":   {environment: map[string]string{"DATABRICKS_CONFIG_PROFILE": "a"}, profiles: "[a]\nhost = https://other\ntoken = SECRET-1\n", class: schemas.Fatal, code: "other_workspace", mend: "name another with DATABRICKS_CONFIG_PROFILE"},
		"a default of elsewhere":   {profiles: "[DEFAULT]\nhost = https://other\ntoken = SECRET-1\n", class: schemas.Fatal, code: "no_credentials", mend: "log in"},
	} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			for key, value := range c.environment {
				if key == "CLI" {
					command(t, value)
				} else {
					t.Setenv(key, value)
				}
			}
			if c.profiles != "" {
				profiles(t, c.profiles)
			}
			w.well.Store(answer(c.well))
			w.token.Store(answer(c.token))
			asked, all := w.asked.Load(), w.all.Load()
			w.models.Clear()
			started := time.Now()
			got, err := loggedIn(t, w.URL).Invoke(t.Context(), modeltest.Question())
			failure, ok := errors.AsType[*schemas.Error](err)
			if !ok || failure.Class != c.class || failure.Code != c.code || got.Usage.Basis != schemas.BasisNone ||
				(c.class == schemas.Throttled && failure.RetryAfter != 7*time.Second) {
				t.Fatalf("got %#v", err)
			}
			if !strings.Contains(failure.Mend, c.mend) || (c.mend == "") != (failure.Mend == "") {
				t.Errorf("the mend is %q", failure.Mend)
			}
			if strings.Contains(err.Error(), "SECRET-") || strings.Contains(err.Error(), modeltest.Prompt) {
				t.Errorf("the error shows what it must not: %v", err)
			}
			if w.asked.Load() > asked+1 || time.Since(started) > 20*time.Second {
				t.Errorf("asked %d times in %s", w.asked.Load()-asked, time.Since(started))
			}
			if c.code == "connect_failed" && w.all.Load() != all+1 {
				t.Errorf("asked a host that is down %d times", w.all.Load()-all)
			}
			w.models.Range(func(key, _ any) bool { t.Errorf("sent %v", key); return true })
		})
	}
}

// answer is nil for none.
func answer(a modeltest.Answer) *http.HandlerFunc {
	if a.Status == 0 && a.Body == "" && !a.Cut {
		return nil
	}
	handler := http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		if a.Cut {
			panic(http.ErrAbortHandler)
		}
		for key, value := range a.Header {
			out.Header().Set(key, value)
		}
		out.WriteHeader(max(a.Status, http.StatusOK))
		_, _ = io.WriteString(out, a.Body)
	})
	return &handler
}

// TestLoginHostDown: the SDK alone would try for minutes.
func TestLoginHostDown(t *testing.T) { //nolint:paralleltest // the environment is changed
	for name, environment := range map[string]map[string]string{
		"a service principal": {"DATABRICKS_CLIENT_ID": "client", "DATABRICKS_CLIENT_SECRET": "SECRET-CLIENT"},
		"nobody":              {},
	} {
		alone(t)
		for key, value := range environment {
			t.Setenv(key, value)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := loggedIn(t, "http://127.0.0.1:1").Invoke(ctx, modeltest.Question())
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != schemas.Transient || failure.Code != "connection_refused" || ctx.Err() != nil {
			t.Errorf("%s: got %#v", name, err)
		}
		cancel()
	}
}

// TestLoginWaitEnds: the SDK does not hear that its caller gave up; the caller is not to wait for it.
func TestLoginWaitEnds(t *testing.T) { //nolint:paralleltest // the environment is changed
	w := startWorkspace(t)
	m2m(t)
	arrived := make(chan struct{})
	token := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		close(arrived)
		<-r.Context().Done()
	})
	w.token.Store(&token)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if _, err := loggedIn(t, w.URL).Invoke(ctx, modeltest.Question()); !errors.Is(err, context.Canceled) || schemas.ClassOf(err) != schemas.Transient {
		t.Errorf("got %v", err)
	}
}

// TestLoginWaitForCommandEnds: what the SDK runs hears it still less.
func TestLoginWaitForCommandEnds(t *testing.T) { //nolint:paralleltest // the environment is changed
	w := startWorkspace(t)
	arrived, hold := filepath.Join(t.TempDir(), "arrived"), filepath.Join(t.TempDir(), "hold")
	for _, name := range []string{arrived, hold} {
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command(t, `if [ "$1" = version ]; then echo > `+arrived+`; read x < `+hold+`; fi; exit 1`)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	go func() {
		_, _ = os.ReadFile(arrived)
		cancel()
	}()
	if _, err := loggedIn(t, w.URL).Invoke(ctx, modeltest.Question()); !errors.Is(err, context.Canceled) || schemas.ClassOf(err) != schemas.Transient {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(hold, []byte("on\n"), 0o600); err != nil {
		t.Error(err)
	}
}

// TestLoginAtAStranger: trust does not come back by itself, and a scheme does not change.
func TestLoginAtAStranger(t *testing.T) { //nolint:paralleltest // the environment is changed
	w := startWorkspace(t)
	m2m(t)
	secure := httptest.NewUnstartedServer(w.Config.Handler)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for url, code := range map[string]string{
		secure.URL: "certificate_not_trusted", strings.Replace(w.URL, "http:", "https:", 1): "scheme_mismatch",
	} {
		_, err := loggedIn(t, url).Invoke(t.Context(), modeltest.Question())
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != schemas.Fatal || failure.Code != code || !strings.Contains(failure.Mend, "databricks_workspace_url") {
			t.Errorf("got %#v", err)
		}
	}
}

// TestLoginIsQuiet: the SDK writes to stderr unless it is told otherwise.
func TestLoginIsQuiet(t *testing.T) { //nolint:paralleltest // the environment is changed
	w := startWorkspace(t)
	w.well.Store(answer(modeltest.Answer{Status: 404})) // it warns
	_, _ = loggedIn(t, w.URL).Invoke(t.Context(), modeltest.Question())
	if logger.Get(t.Context()).Enabled(t.Context(), logger.LevelError) {
		t.Error("it would have said so")
	}
}
