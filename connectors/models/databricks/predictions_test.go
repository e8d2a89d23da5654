package databricks_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/databricks"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func features() *schemas.Request {
	return &schemas.Request{ID: "r-1", Task: schemas.TaskPredictions, Frame: &schemas.Frame{
		Columns: []string{"age", "kind"}, Rows: []json.RawMessage{[]byte(`[1,"SECRET-TEXT"]`), []byte(`[2,null]`)},
	}}
}

func TestPredictions(t *testing.T) {
	t.Parallel()
	const asked = `{"dataframe_split":{"columns":["age","kind"],"data":[[1,"SECRET-TEXT"],[2,null]]},` +
		`"client_request_id":"r-1","usage_context":{"team":"wine"}}`
	said := func(code string) string { return `{"error_code":"` + code + `","message":"SECRET-TEXT"}` }
	for _, c := range []struct {
		status int
		body   string
		class  schemas.Class
		code   string
	}{
		{200, `{"predictions": [{"label": "a", "score": NaN}, {"label": "b", "score": 0.5}], "databricks_output": {"databricks_request_id": "x"}}`, 0, ""},
		{400, said("BAD_REQUEST"), schemas.Rejected, "BAD_REQUEST"},
		{400, `{"error_code":"BAD_REQUEST","message":"{\"row\":\"SECRET-TEXT\"}"}`, schemas.Rejected, "BAD_REQUEST"},
		{403, said("PERMISSION_DENIED"), schemas.Fatal, "PERMISSION_DENIED"},
		{404, said("RESOURCE_DOES_NOT_EXIST"), schemas.Fatal, "endpoint_not_found"},
		{413, said("MAX_REQUEST_SIZE_EXCEEDED"), schemas.Rejected, "MAX_REQUEST_SIZE_EXCEEDED"},
		{429, said("REQUEST_LIMIT_EXCEEDED"), schemas.Throttled, "rate_limit_exceeded"},
		{500, said("INTERNAL_ERROR"), schemas.Transient, "server_error"},
		{503, said("TEMPORARILY_UNAVAILABLE"), schemas.Transient, "temporarily_unavailable"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || string(body) != asked || r.URL.EscapedPath() != "/serving-endpoints/a%20b/invocations" ||
				r.Header.Get("Authorization") != "Bearer "+modeltest.Secret {
				t.Errorf("got %s %s %v", r.URL, body, err)
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		client := wire.NewClient(wire.ClientOptions{})
		t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
		got, err := databricks.New(databricks.Options{
			WorkspaceURL: server.URL, Endpoint: "a b", Client: client, Task: schemas.TaskPredictions,
			Token: schemas.NewSecret(modeltest.Secret), UsageContext: map[string]string{"team": "wine"},
		}).Invoke(t.Context(), features())
		if c.code == "" {
			if err != nil || len(got.Predictions) != 2 || string(got.Predictions[0]) != `{"label": "a", "score": null}` || got.Model != "a b" {
				t.Errorf("got %s %v", got.Predictions, err)
			}
			continue
		}
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != c.class || failure.Code != c.code || strings.Contains(err.Error(), "SECRET-TEXT") {
			t.Errorf("%d %s: got %#v", c.status, c.body, err)
		}
	}
}

func TestPredictionsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options databricks.Options
		request *schemas.Request
		want    string
	}{
		"gateway":          {databricks.Options{WorkspaceURL: workspace, Endpoint: "e", Task: schemas.TaskPredictions, Gateway: true}, features(), "AI gateway"},
		"a chat":           {databricks.Options{WorkspaceURL: workspace, Endpoint: "e", Task: schemas.TaskPredictions}, modeltest.Question(), "databricks format makes predictions"},
		"no endpoint":      {databricks.Options{WorkspaceURL: workspace, Task: schemas.TaskPredictions}, features(), "names no serving endpoint"},
		"a language model": {databricks.Options{WorkspaceURL: workspace, Endpoint: "e"}, features(), "no task mlflow/v1/invocations"},
		"a token in a URL": {databricks.Options{WorkspaceURL: "https://x:dapi-1@y", Endpoint: "e", Task: schemas.TaskPredictions}, features(), "databricks_api_token"},
	} {
		err := databricks.New(c.options).Check(c.request)
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "dapi-1") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
