package gemini_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/gemini"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// modelAt is a model of the Gemini API whose server always answers so.
func modelAt(t *testing.T, answer modeltest.Answer) *wire.Model {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(max(answer.Status, http.StatusOK))
		_, _ = io.WriteString(w, answer.Body)
	}))
	client := wire.NewClient(wire.ClientOptions{Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return gemini.New(gemini.Options{BaseURL: server.URL, APIKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client})
}

func named(model string) *wire.Model {
	return gemini.New(gemini.Options{APIKey: schemas.NewSecret(modeltest.Secret), Model: model})
}

func vertexNamed(t *testing.T, model, region string) *wire.Model {
	t.Helper()
	return gemini.New(gemini.Options{
		Model: model, ProjectID: "project-1", Region: region, PrivateKey: keyFile(t, privateKey(t), "https://oauth2.googleapis.com/token"),
	})
}

// written is a request's body, checked by Check before.
func written(t *testing.T, m *wire.Model, request *schemas.Request) map[string]json.RawMessage {
	t.Helper()
	if err := m.Check(request); err != nil {
		t.Fatal(err)
	}
	call, err := m.Format().Encode(request, false)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(call.Body, &body); err != nil {
		t.Fatalf("%v: %s", err, call.Body)
	}
	return body
}

func TestURL(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]*wire.Model{
		gemini.DefaultBaseURL + "/v1beta/models/gemini-2.5-flash:generateContent":                                                              named("models/gemini-2.5-flash"),
		"http://127.0.0.1:9/x/v1beta/models/m:generateContent":                                                                                 gemini.New(gemini.Options{BaseURL: "http://127.0.0.1:9/x/?key=" + modeltest.Secret, Model: "m"}),
		"https://us-central1-aiplatform.googleapis.com/v1/projects/project-1/locations/us-central1/publishers/google/models/m:generateContent": vertexNamed(t, "m", "us-central1"),
		"https://aiplatform.googleapis.com/v1/projects/project-1/locations/global/publishers/google/models/m:generateContent":                  vertexNamed(t, "m", "global"),
		"https://aiplatform.eu.rep.googleapis.com/v1/projects/project-1/locations/eu/publishers/google/models/m:generateContent":               vertexNamed(t, "m", "eu"),
	} {
		if got := m.URL(schemas.TaskChat); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	key := keyFile(t, privateKey(t), "https://oauth2.googleapis.com/token")
	for _, c := range []struct {
		options gemini.Options
		want    string
	}{
		{gemini.Options{}, "external_model.name"},
		{gemini.Options{Model: "a/b"}, "external_model.name"},
		{gemini.Options{Model: "../x"}, "external_model.name"},
		{gemini.Options{Model: "m", BaseURL: "::"}, "gemini_api_base"},
		{gemini.Options{Model: "m", BaseURL: "localhost:9000"}, "gemini_api_base"},
		{gemini.Options{Model: "m", BaseURL: "https://user:" + modeltest.Secret + "@x"}, "gemini_api_key"},
		{gemini.Options{Model: "m", ProjectID: "p", PrivateKey: key}, "region is missing"},
		{gemini.Options{Model: "m", Region: "global", PrivateKey: key}, "project_id is missing"},
		{gemini.Options{Model: "m", Region: "evil.example/", ProjectID: "p", PrivateKey: key}, "no region"},
		{gemini.Options{Model: "m", Region: "global", ProjectID: "p/..", PrivateKey: key}, "no project's id"},
		{gemini.Options{Model: "m", Region: "global", ProjectID: "p", PrivateKey: key, APIKey: key}, "keep one"},
		{gemini.Options{Model: "m", Region: "global", ProjectID: "p", PrivateKey: key, BaseURL: "ftp://x"}, "vertex_api_base"},
	} {
		m := gemini.New(c.options)
		err := m.Check(&schemas.Request{})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), modeltest.Secret) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		got, err := m.Invoke(t.Context(), modeltest.Question())
		if schemas.ClassOf(err) != schemas.Fatal || got.Usage.Basis != schemas.BasisNone {
			t.Errorf("got %v", err)
		}
	}
}
