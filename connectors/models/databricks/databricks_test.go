package databricks_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/databricks"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const workspace = "https://dbc-1.cloud.databricks.com"

func TestBodies(t *testing.T) {
	t.Parallel()
	chat := &schemas.Request{ID: "r-1", Messages: []schemas.Message{{Role: "user", Content: "a"}}, Parameters: map[string]any{
		"max_completion_tokens": 5, "top_k": 3, "thinking": map[string]any{"type": "enabled", "budget_tokens": 2048},
		"extra_body": map[string]any{"seed": 1},
	}}
	const asked = `"messages":[{"role":"user","content":"a"}],"seed":1,"max_tokens":5,"thinking":{"budget_tokens":2048,"type":"enabled"},"top_k":3`
	tags := map[string]string{"team": "é😀"}
	for name, c := range map[string]struct {
		options          databricks.Options
		request          *schemas.Request
		path, body, tags string
	}{
		"chat": {
			databricks.Options{Endpoint: "my-model", UsageContext: tags},
			chat, "/serving-endpoints/my-model/invocations",
			`{` + asked + `,"client_request_id":"r-1","usage_context":{"team":"é😀"}}`, "",
		},
		"a name to escape": {
			databricks.Options{Endpoint: "a/../b c"},
			&schemas.Request{Task: schemas.TaskCompletions, Prompt: "p"},
			"/serving-endpoints/a%2F..%2Fb%20c/invocations", `{"prompt":"p"}`, "",
		},
		"embeddings": {
			databricks.Options{Endpoint: "e"},
			&schemas.Request{Task: schemas.TaskEmbeddings, Inputs: []string{"a", "b"}, Parameters: map[string]any{"instruction": "i"}},
			"/serving-endpoints/e/invocations", `{"input":["a","b"],"instruction":"i"}`, "",
		},
		"gateway": {
			databricks.Options{Endpoint: "system.ai.claude", Gateway: true, UsageContext: tags},
			chat, "/ai-gateway/mlflow/v1/chat/completions",
			`{"model":"system.ai.claude",` + asked + `}`, `{"team":"\u00e9\ud83d\ude00"}`,
		},
		"gateway embeddings": {
			databricks.Options{Endpoint: "e", Gateway: true},
			&schemas.Request{Task: schemas.TaskEmbeddings, Inputs: []string{"a"}},
			"/ai-gateway/mlflow/v1/embeddings", `{"model":"e","input":["a"]}`, "",
		},
	} {
		c.options.WorkspaceURL = workspace + "/"
		m := databricks.New(c.options)
		if err := m.Check(c.request); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		call, err := m.Format().Encode(c.request, false)
		if err != nil || call.URL.String() != workspace+c.path || string(call.Body) != c.body ||
			call.Header.Get("Databricks-Ai-Gateway-Request-Tags") != c.tags {
			t.Errorf("%s: got %s\n%s\n%v %v", name, call.URL, call.Body, call.Header, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	with := func(parameters map[string]any) *schemas.Request { return &schemas.Request{Parameters: parameters} }
	for name, c := range map[string]struct {
		options databricks.Options
		request *schemas.Request
		want    string
	}{
		"no scheme":           {databricks.Options{WorkspaceURL: "dbc-1.cloud.databricks.com", Endpoint: "e"}, with(nil), "databricks_workspace_url"},
		"a token in the URL":  {databricks.Options{WorkspaceURL: "https://x:dapi-1@y", Endpoint: "e"}, with(nil), "databricks_api_token"},
		"no endpoint":         {databricks.Options{WorkspaceURL: workspace}, with(nil), "names no serving endpoint"},
		"a step up":           {databricks.Options{WorkspaceURL: workspace, Endpoint: ".."}, with(nil), "names no serving endpoint"},
		"seed":                {databricks.Options{WorkspaceURL: workspace, Endpoint: "e"}, with(map[string]any{"seed": 1}), "no such chat completion parameter"},
		"a misspelt name":     {databricks.Options{WorkspaceURL: workspace, Endpoint: "e"}, with(map[string]any{"topk": 1}), "did you mean top_k?"},
		"a kind":              {databricks.Options{WorkspaceURL: workspace, Endpoint: "e"}, with(map[string]any{"thinking": true}), "it must be an object"},
		"our own field":       {databricks.Options{WorkspaceURL: workspace, Endpoint: "e"}, with(map[string]any{"extra_body": map[string]any{"usage_context": nil}}), "writes usage_context itself"},
		"gateway completions": {databricks.Options{WorkspaceURL: workspace, Endpoint: "e", Gateway: true}, &schemas.Request{Task: schemas.TaskCompletions}, "no task"},
		"audio": {databricks.Options{WorkspaceURL: workspace, Endpoint: "e"}, &schemas.Request{Messages: []schemas.Message{{
			Role: "user", Parts: []schemas.Part{{Media: &schemas.Media{Kind: schemas.MediaAudio, MIMEType: "audio/wav"}}},
		}}}, "takes no audio"},
	} {
		err := databricks.New(c.options).Check(c.request)
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "dapi-1") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	platform := func(code string) string { return `{"error_code":"` + code + `","message":"m"}` }
	const external = `{"error_code":"BAD_REQUEST","message":"{\"external_model_provider\":\"openai\",\"external_model_error\":{\"error\":{\"code\":\"invalid_api_key\",\"message\":\"ANSWER-free\"}}}"}`
	for _, c := range []struct {
		status int
		body   string
		class  schemas.Class
		code   string
	}{
		{429, platform("REQUEST_LIMIT_EXCEEDED"), schemas.Throttled, "rate_limit_exceeded"},
		{403, platform("RESOURCE_EXHAUSTED"), schemas.Throttled, "rate_limit_exceeded"},
		{403, platform("PERMISSION_DENIED"), schemas.Fatal, "PERMISSION_DENIED"},
		{404, platform("RESOURCE_DOES_NOT_EXIST"), schemas.Fatal, "endpoint_not_found"},
		{404, platform("ENDPOINT_NOT_FOUND"), schemas.Fatal, "endpoint_not_found"},
		{400, platform("BAD_REQUEST"), schemas.Rejected, "BAD_REQUEST"},
		{400, platform("INVALID_PARAMETER_VALUE"), schemas.Rejected, "INVALID_PARAMETER_VALUE"},
		{500, platform("TEMPORARILY_UNAVAILABLE"), schemas.Transient, "temporarily_unavailable"},
		{429, `{"limit_type":"output_tokens_per_minute","limit":10,"current":11,"retry_after":7}`, schemas.Throttled, "rate_limit_exceeded"},
		{429, `not JSON`, schemas.Throttled, "rate_limit_exceeded"},
		{502, `<html>`, schemas.Transient, "bad_gateway"},
		{401, ``, schemas.Fatal, "unauthorized"},
		{400, external, schemas.Fatal, "invalid_api_key"},
		{400, `{"error_code":"BAD_REQUEST","message":"{\"prompt\":\"SECRET-TEXT\"}"}`, schemas.Rejected, "BAD_REQUEST"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Own") != "yes" {
				t.Error("the call was not authorized as asked")
			}
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		client := wire.NewClient(wire.ClientOptions{})
		t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
		_, err := databricks.New(databricks.Options{
			WorkspaceURL: server.URL, Endpoint: "e", Client: client,
			Authorize: func(_ context.Context, call *wire.Call) error {
				call.Header.Set("X-Own", "yes")
				return nil
			},
		}).Invoke(t.Context(), modeltest.Question())
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != c.class || failure.Code != c.code || strings.Contains(err.Error(), "SECRET-TEXT") ||
			strings.Contains(c.body, "retry_after") != (failure.RetryAfter == 7*time.Second) {
			t.Errorf("%d %s: got %#v", c.status, c.body, err)
		}
	}
}

func TestReasoning(t *testing.T) {
	t.Parallel()
	var got schemas.Response
	err := provider().New(t, workspace, nil).Format().Decode([]byte(provider().Answers["text"].Body), &got)
	if err != nil || got.Text != "Paris." || got.Reasoning != "France." {
		t.Errorf("got %+v %v", got, err)
	}
}
