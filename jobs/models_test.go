package jobs

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
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/catalog/local"
	"github.com/inflowhq/inflow/schemas"
)

// TestEveryProviderIsWired: a catalog's configuration of every provider reaches the provider's own path with the
// provider's own credentials, and its answer comes back.
func TestEveryProviderIsWired(t *testing.T) {
	t.Parallel()
	const chat = `{"model":"m","choices":[{"message":{"content":"Paris."},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":5}}`
	header := func(name, value string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.Header.Get(name) == value }
	}
	cases := map[string]struct {
		provider, config, path string
		authorized             func(*http.Request) bool
		answer                 string
	}{
		"openai": {
			"openai", `openai_config: {openai_api_base: "URL/v1", openai_api_key: "{{secrets/llm/key}}"}`,
			"/v1/chat/completions", header("Authorization", "Bearer sk-key"), chat,
		},
		"openai's responses": {
			"openai", `openai_config: {openai_api: responses, openai_api_base: "URL/v1", openai_api_key: "{{secrets/llm/key}}"}`,
			"/v1/responses", header("Authorization", "Bearer sk-key"),
			`{"object":"response","status":"completed","model":"m","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Paris."}]}],"usage":{"input_tokens":20,"output_tokens":5,"total_tokens":25}}`,
		},
		"custom by name": {
			"custom", `custom_provider_config: {custom_provider_name: mistral, custom_provider_url: "URL/v1", bearer_token_auth: {token: "{{secrets/llm/key}}"}}`,
			"/v1/chat/completions", header("Authorization", "Bearer sk-key"), chat,
		},
		"azure": {
			"openai", `openai_config: {openai_api_type: azure, openai_api_base: "URL", openai_deployment_name: mini, openai_api_version: "2024-10-21", openai_api_key: "{{secrets/llm/key}}"}`,
			"/openai/deployments/mini/chat/completions?api-version=2024-10-21", header("Api-Key", "sk-key"), chat,
		},
		"anthropic": {
			"anthropic", `anthropic_config: {anthropic_api_base: "URL", anthropic_api_key: "{{secrets/llm/key}}"}`,
			"/v1/messages", header("X-Api-Key", "sk-key"),
			`{"type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"Paris."}],"stop_reason":"end_turn","usage":{"input_tokens":20,"output_tokens":5}}`,
		},
		"gemini": {
			"gemini", `gemini_config: {gemini_api_base: "URL", gemini_api_key: "{{secrets/llm/key}}"}`,
			"/v1beta/models/m:generateContent", header("X-Goog-Api-Key", "sk-key"),
			`{"candidates":[{"content":{"role":"model","parts":[{"text":"Paris."}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":5,"totalTokenCount":25}}`,
		},
		"vertex": {
			"google-cloud-vertex-ai", `google_cloud_vertex_ai_config: {vertex_api_base: "URL", project_id: p, region: europe-west4, private_key: "{{secrets/llm/account}}"}`,
			"/v1/projects/p/locations/europe-west4/publishers/google/models/m:generateContent", header("Authorization", "Bearer ya29.token"),
			`{"candidates":[{"content":{"role":"model","parts":[{"text":"Paris."}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":5,"totalTokenCount":25}}`,
		},
		"bedrock": {
			"amazon-bedrock", `amazon_bedrock_config: {bedrock_api_base: "URL", aws_region: eu-central-1, aws_access_key_id: "{{secrets/llm/key}}", aws_secret_access_key: "{{secrets/llm/key}}"}`,
			"/model/m/converse", func(r *http.Request) bool {
				return strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=sk-key/") && strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/bedrock/")
			},
			`{"output":{"message":{"role":"assistant","content":[{"text":"Paris."}]}},"stopReason":"end_turn","usage":{"inputTokens":20,"outputTokens":5,"totalTokens":25}}`,
		},
		"cohere": {
			"cohere", `cohere_config: {cohere_api_base: "URL", cohere_api_key: "{{secrets/llm/key}}"}`,
			"/v2/chat", header("Authorization", "Bearer sk-key"),
			`{"finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"Paris."}]},"usage":{"billed_units":{"input_tokens":20,"output_tokens":5}}}`,
		},
		"databricks": {
			"databricks-model-serving", `databricks_model_serving_config: {databricks_workspace_url: "URL", databricks_api_token: "{{secrets/llm/key}}"}`,
			"/serving-endpoints/m/invocations", header("Authorization", "Bearer sk-key"), chat,
		},
		"databricks' gateway": {
			"databricks-model-serving", `name: main.ai.triage, databricks_model_serving_config: {databricks_workspace_url: "URL", databricks_api_token: "{{secrets/llm/key}}"}`,
			"/ai-gateway/mlflow/v1/chat/completions", header("Authorization", "Bearer sk-key"), chat,
		},
		"mlflow": {
			"mlflow-model-serving", `task: mlflow/v1/invocations, mlflow_model_serving_config: {model_server_url: "URL/base", model_server_token: "{{secrets/llm/key}}"}`,
			"/base/invocations", header("Authorization", "Bearer sk-key"), `{"predictions":[1.5]}`,
		},
		"databricks' custom models": {
			"databricks-model-serving", `task: mlflow/v1/invocations, databricks_model_serving_config: {databricks_workspace_url: "URL", databricks_api_token: "{{secrets/llm/key}}"}`,
			"/serving-endpoints/m/invocations", header("Authorization", "Bearer sk-key"), `{"predictions":[1.5]}`,
		},
		"databricks' embeddings": {
			"databricks-model-serving", `task: llm/v1/embeddings, databricks_model_serving_config: {databricks_workspace_url: "URL", databricks_api_token: "{{secrets/llm/key}}"}`,
			"/serving-endpoints/m/invocations", header("Authorization", "Bearer sk-key"), `{"data":[{"index":0,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":20,"total_tokens":20}}`,
		},
		"embeddings": {
			"custom", `task: llm/v1/embeddings, custom_provider_config: {custom_provider_url: "URL/v1"}`,
			"/v1/embeddings", header("Authorization", ""), `{"data":[{"index":0,"embedding":[0.5]}],"model":"m","usage":{"prompt_tokens":20,"total_tokens":20}}`,
		},
		"custom with a token": {
			"custom", `custom_provider_config: {custom_provider_url: "URL/v1", bearer_token_auth: {token: "{{secrets/llm/key}}"}}`,
			"/v1/chat/completions", header("Authorization", "Bearer sk-key"), chat,
		},
		"custom with a header": {
			"custom", `custom_provider_config: {custom_provider_url: "URL/v1", api_key_auth: {key: X-Team-Key, value: "{{secrets/llm/key}}"}}`,
			"/v1/chat/completions", header("X-Team-Key", "sk-key"), chat,
		},
	}
	wired := map[string]bool{}
	for _, c := range cases {
		wired[c.provider] = true
	}
	for _, known := range local.Providers() {
		if !wired[known.Name] {
			t.Errorf("nothing shows that %s is wired", known.Name)
		}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path == "/token" { // of a service account
					_, _ = io.WriteString(w, `{"access_token":"ya29.token","token_type":"Bearer","expires_in":3600}`)
					return
				}
				if r.URL.RequestURI() != c.path || !c.authorized(r) {
					t.Errorf("got %s with %v", r.URL.RequestURI(), r.Header)
				}
				_, _ = io.WriteString(w, c.answer)
			}))
			t.Cleanup(server.Close)
			file := filepath.Join(t.TempDir(), "catalog.yaml")
			named := "name: m, "
			if strings.Contains(c.config, "name: main.") {
				named = ""
			}
			text := fmt.Sprintf("principal: me\nsecrets: {llm/key: {env: KEY}, llm/account: {env: ACCOUNT}}\nendpoints:\n"+
				"  - name: ask\n    config: {served_entities: [{name: s, external_model: {%sprovider: %s, %s}}]}\n",
				named, c.provider, strings.ReplaceAll(c.config, "URL", server.URL))
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			environment := map[string]string{"KEY": "sk-key", "ACCOUNT": serviceAccount(t, server.URL+"/token")}
			names, err := local.Open(file, func(name string) (string, bool) { value, ok := environment[name]; return value, ok })
			if err != nil {
				t.Fatal(err)
			}
			endpoint, err := names.Endpoint(t.Context(), "ask")
			if err != nil {
				t.Fatal(err)
			}
			var opened models
			t.Cleanup(func() {
				if err := opened.close(t.Context()); err != nil {
					t.Error(err)
				}
			})
			if err := opened.open(t.Context(), &endpoint, 1); err != nil {
				t.Fatal(err)
			}
			request := &schemas.Request{ID: "r", Task: schemas.Task(endpoint.Destinations[0].Task)}
			switch request.Task { //nolint:exhaustive // the rest are chats
			case schemas.TaskPredictions:
				request.Frame = &schemas.Frame{Columns: []string{"x"}, Rows: []json.RawMessage{[]byte("[1]")}}
			case schemas.TaskEmbeddings:
				request.Inputs = []string{"Paris"}
			default:
				request.Messages = []schemas.Message{{Role: schemas.RoleUser, Content: "The capital of France?"}}
			}
			if err := opened.list[0].Check(request); err != nil {
				t.Fatal(err)
			}
			got, err := opened.list[0].Invoke(t.Context(), request)
			switch came := fmt.Sprintf("%v %s %s", got.Embeddings, got.Predictions, got.Text); {
			case err != nil:
				t.Error(err)
			case came != "[[0.5]] [] " && came != "[] [1.5] " && (came != "[] [] Paris." || got.Usage.InputTokens != 20 || got.Usage.OutputTokens != 5):
				t.Errorf("got %+v", got)
			}
		})
	}
}

// serviceAccount is a key file as Google's console writes it.
func serviceAccount(t *testing.T, tokenURL string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.MarshalIndent(map[string]string{
		"type": "service_account", "private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})),
		"client_email": "inflow@p.iam.gserviceaccount.com", "token_uri": tokenURL,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}
