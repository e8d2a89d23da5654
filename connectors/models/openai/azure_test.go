package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const clientSecret = "a-client-secret-0123456789"

// tokens is Microsoft Entra's token endpoint.
func tokens(t *testing.T, answer http.HandlerFunc) *wire.Tokens {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, err := url.ParseQuery(string(body))
		if err != nil || r.Method != http.MethodPost || r.URL.Path != "/my-tenant/oauth2/v2.0/token" ||
			r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || form.Get("grant_type") != "client_credentials" ||
			form.Get("scope") != "https://cognitiveservices.azure.com/.default" || form.Get("client_id") != "my-client" ||
			form.Get("client_secret") != clientSecret {
			t.Errorf("got %s %s %v", r.Method, r.URL.Path, err)
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		answer(w, r)
	}))
	client := wire.NewClient(wire.ClientOptions{})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	o := &Options{
		EntraTenantID: "my-tenant", EntraClientID: "my-client", EntraClientSecret: schemas.NewSecret(clientSecret),
		EntraHost: server.URL, Client: client,
	}
	return o.entraTokens()
}

func authorized(ctx context.Context, e *wire.Tokens) (string, error) {
	call := &wire.Call{Header: http.Header{}}
	err := e.Authorize(ctx, call)
	return call.Header.Get("Authorization"), err
}

func TestEntraToken(t *testing.T) {
	t.Parallel()
	var given atomic.Int64
	e := tokens(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3600,"access_token":"token-%d"}`, given.Add(1))
	})
	for range 2 {
		if got, err := authorized(t.Context(), e); err != nil || got != "Bearer token-1" {
			t.Errorf("got %q %v", got, err)
		}
	}
}

func TestEntraFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		class  schemas.Class
		code   string
	}{
		"a wrong secret":  {401, `{"error":"invalid_client","error_description":"SECRET-TEXT","error_codes":[7000215]}`, schemas.Fatal, "invalid_client"},
		"a wrong tenant":  {400, `{"error":"invalid_request","error_codes":[90002]}`, schemas.Fatal, "invalid_request"},
		"too many":        {429, `{}`, schemas.Throttled, "rate_limit_exceeded"},
		"down":            {503, `<html>`, schemas.Transient, "service_unavailable"},
		"no token":        {200, `{}`, schemas.Transient, "malformed_response"},
		"a page":          {200, `<html>SECRET-TEXT</html>`, schemas.Transient, "malformed_response"},
		"an endless page": {200, strings.Repeat(" ", 1<<20), schemas.Transient, "malformed_response"},
		"a redirect":      {302, ``, schemas.Fatal, "redirected"},
	} {
		e := tokens(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		})
		_, err := authorized(t.Context(), e)
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != c.class || failure.Code != c.code || strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), clientSecret) {
			t.Errorf("%s: got %#v", name, err)
			continue
		}
		if (c.status == 400 || c.status == 401) != strings.Contains(failure.Mend, "microsoft_entra_client_secret") {
			t.Errorf("%s: the mend is %q", name, failure.Mend)
		}
		if c.status == 429 && failure.RetryAfter != 7*time.Second {
			t.Errorf("%s: %s", name, failure.RetryAfter)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := tokens(t, func(http.ResponseWriter, *http.Request) {})
	if _, err := authorized(ctx, e); schemas.ClassOf(err) != schemas.Transient || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAzureOptions(t *testing.T) {
	t.Parallel()
	const base = "https://name.openai.azure.com"
	secret := schemas.NewSecret(clientSecret)
	for name, o := range map[string]Options{
		"no version":      {BaseURL: base, Model: "m", AzureDeployment: "d"},
		"no deployment":   {BaseURL: base, Model: "m", AzureAPIVersion: "v"},
		"no base":         {Model: "m", AzureDeployment: "d", AzureAPIVersion: "v"},
		"no path":         {BaseURL: base, Model: "m", AzureDeployment: "..", AzureAPIVersion: "v"},
		"half of Entra":   {BaseURL: base, Model: "m", AzureDeployment: "d", AzureAPIVersion: "v", EntraTenantID: "t"},
		"a key and Entra": {BaseURL: base, Model: "m", AzureDeployment: "d", AzureAPIVersion: "v", EntraTenantID: "t", EntraClientID: "c", EntraClientSecret: secret, APIKey: secret},
		"another host":    {BaseURL: base, Model: "m", EntraTenantID: "t", EntraClientID: "c", EntraClientSecret: secret, EntraHost: "ftp://x"},
	} {
		if err := New(o).Check(&schemas.Request{}); !errors.Is(err, schemas.ErrInvalid) || strings.Contains(err.Error(), clientSecret) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for version, want := range map[string]string{
		"":                   base + "/openai/v1/responses",
		"2025-03-01-preview": base + "/openai/responses?api-version=2025-03-01-preview",
	} {
		m := NewResponses(Options{BaseURL: base, Model: "gpt-5", AzureDeployment: "mine", AzureAPIVersion: version, APIKey: secret})
		call, err := m.Format().Encode(&schemas.Request{Messages: []schemas.Message{{Role: "user", Content: "a"}}}, false)
		if err != nil || call.URL.String() != want || !strings.HasPrefix(string(call.Body), `{"model":"mine"`) || m.URL(schemas.TaskChat) != strings.SplitN(want, "?", 2)[0] {
			t.Errorf("got %s %s %v", call.URL, call.Body, err)
		}
	}
	embeddings, err := New(Options{BaseURL: base, Model: "m", AzureDeployment: "d", AzureAPIVersion: "v"}).Format().
		Encode(&schemas.Request{Task: schemas.TaskEmbeddings, Inputs: []string{"a"}}, false)
	if err != nil || embeddings.URL.String() != base+"/openai/deployments/d/embeddings?api-version=v" ||
		string(embeddings.Body) != `{"input":["a"],"encoding_format":"float"}` {
		t.Errorf("got %s %s %v", embeddings.URL, embeddings.Body, err)
	}
}

// TestEntraInvoke puts the token and the model together, as a job does.
func TestEntraInvoke(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = io.WriteString(w, `{"expires_in":3600,"access_token":"the-token"}`)
			return
		}
		if r.Header.Get("Authorization") != "Bearer the-token" || r.Header.Get("Api-Key") != "" {
			t.Errorf("got %v", r.Header)
		}
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":{"code":"401","message":"the-token is not allowed"}}`)
	}))
	client := wire.NewClient(wire.ClientOptions{})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	m := New(Options{
		BaseURL: server.URL, Model: "m", AzureDeployment: "d", AzureAPIVersion: "v", Client: client, EntraHost: server.URL,
		EntraTenantID: "t", EntraClientID: "c", EntraClientSecret: schemas.NewSecret(clientSecret),
	})
	_, err := m.Invoke(t.Context(), &schemas.Request{Messages: []schemas.Message{{Role: "user", Content: "a"}}})
	failure, ok := errors.AsType[*schemas.Error](err)
	if !ok || failure.Class != schemas.Fatal || failure.Code != "unauthorized" || strings.Contains(err.Error(), "the-token") ||
		!strings.Contains(failure.Mend, "microsoft_entra_client_secret") {
		t.Errorf("got %v", err)
	}
}
