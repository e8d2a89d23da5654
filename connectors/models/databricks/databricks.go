// Package databricks asks models that a Databricks workspace serves: Foundation Model APIs, external models and custom
// ones, over serving endpoints or the AI gateway.
//
// The format is OpenAI's, with Databricks' own fields beside it and its own errors; package openai writes and reads it. A
// model that predicts from features speaks MLflow's, which is package mlflow's. Who asks is a token's owner, or whoever this
// machine is logged in as at the workspace (login.go).
package databricks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/inflowhq/inflow/connectors/models/mlflow"
	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Options say where a model is and who asks.
type Options struct {
	WorkspaceURL string // "https://dbc-a1b2.cloud.databricks.com"
	Token        schemas.Secret
	// Authorize puts credentials into a call, where they are more than a token. Nil: the token, or without one whatever
	// this machine is logged in with at the workspace, which is looked for at the first call.
	Authorize func(ctx context.Context, call *wire.Call) error
	Endpoint  string // a serving endpoint's name; at the gateway, also a model service's "catalog.schema.name"
	// UsageContext is what the platform's usage table keeps beside a call; at the gateway, its request tags.
	UsageContext map[string]string
	Gateway      bool         // ask over the AI gateway
	Task         schemas.Task // TaskPredictions: a custom model that predicts; any other: a language model
	Client       *wire.Client // shared by all models of a job; nil for one of its own
}

// requestTags is the gateway's header: a JSON object of texts.
const requestTags = "Databricks-Ai-Gateway-Request-Tags"

// New returns the model. Whether the options can work is what Check tells, and every Invoke.
func New(options Options) *wire.Model {
	if options.Client == nil {
		options.Client = wire.NewClient(wire.ClientOptions{})
	}
	workspace, fault := parseWorkspace(options.WorkspaceURL)
	if name := options.Endpoint; name == "" || name == "." || name == ".." {
		fault = errors.Join(fault, fmt.Errorf("%w: the destination names no serving endpoint: set external_model.name", schemas.ErrInvalid))
	}
	if options.Authorize == nil && options.Token.IsZero() {
		options.Authorize = newLogin(workspace, options.Client).authorize
	} else if options.Authorize == nil {
		options.Authorize = wire.Key("Authorization", "Bearer ", options.Token)
	}
	model := wire.ModelOptions{Model: options.Endpoint, Client: options.Client, Authorize: options.Authorize}
	if options.Task == schemas.TaskPredictions {
		model.Format = predictions(&options, workspace, fault)
	} else {
		model.Format = language(&options, workspace, fault)
	}
	return wire.NewModel(model)
}

// invocations is where a serving endpoint is asked (docs.databricks.com/api/workspace/servingendpoints/query).
func (o *Options) invocations(workspace *url.URL) *url.URL {
	return workspace.JoinPath("serving-endpoints", url.PathEscape(o.Endpoint), "invocations")
}

// usageContext ends every body there.
func (o *Options) usageContext() []byte {
	if len(o.UsageContext) == 0 {
		return nil
	}
	return append([]byte(`,"usage_context":`), object(o.UsageContext)...)
}

const (
	idField    = "client_request_id"
	keyField   = "databricks_api_token"
	modelField = "external_model.name"
)

// language is the format of language models.
func language(options *Options, workspace *url.URL, fault error) wire.Format {
	dialect := openai.Dialect{
		Name: "databricks", Header: make(http.Header), ExtraBody: true, Quirks: quirks(), Rules: rules(), Problem: readProblem,
		KeyField: keyField, ModelField: modelField, Fault: fault,
	}
	if options.Gateway {
		// docs.databricks.com/ai-gateway/query-endpoints-beta, "unified APIs": the model stands in the body. Neither
		// usage_context nor client_request_id is documented there, and a field that is not known is refused.
		dialect.Model = options.Endpoint
		dialect.Chat = workspace.JoinPath("ai-gateway/mlflow/v1/chat/completions")
		dialect.Embeddings = workspace.JoinPath("ai-gateway/mlflow/v1/embeddings")
		if len(options.UsageContext) > 0 {
			dialect.Header[requestTags] = []string{ascii(object(options.UsageContext))}
		}
	} else {
		at := options.invocations(workspace)
		dialect.Chat, dialect.Completions, dialect.Embeddings = at, at, at
		dialect.IDField, dialect.Tail = idField, options.usageContext()
	}
	return openai.NewFormat(dialect)
}

// predictions is the format of custom models that predict from features.
func predictions(options *Options, workspace *url.URL, fault error) wire.Format {
	if options.Gateway {
		fault = errors.Join(fault, fmt.Errorf("%w: the AI gateway has language models only; ask the serving endpoint itself", schemas.ErrInvalid))
	}
	return mlflow.NewFormat(mlflow.Server{
		Name: "databricks", URL: options.invocations(workspace), IDField: idField, Tail: options.usageContext(),
		Rules: rules(), Problem: readProblem, KeyField: keyField, ModelField: modelField, Fault: fault,
	})
}

// quirks are what the Foundation Model APIs' reference has that OpenAI's has not, and the other way round
// (docs.databricks.com/machine-learning/foundation-model-apis/api-reference). A field that is not known is refused there.
func quirks() openai.Quirks {
	return openai.Quirks{
		Parameters: slices.Concat(
			openai.Parameters(openai.Number, "temperature", "top_p"),
			openai.Parameters(openai.Integer, "max_completion_tokens", "max_tokens", "top_k", "top_logprobs"),
			openai.Parameters(openai.Bool, "logprobs"), openai.Parameters(openai.Text, "reasoning_effort"),
			openai.Parameters(openai.Texts, "stop"), openai.Parameters(openai.Object, "response_format", "thinking"),
		),
		CompletionParameters: slices.Concat(
			openai.Parameters(openai.Number, "temperature", "top_p"), openai.Parameters(openai.Integer, "max_tokens", "top_k"),
			openai.Parameters(openai.Bool, "echo", "use_raw_prompt"), openai.Parameters(openai.Text, "error_behavior", "suffix"),
			openai.Parameters(openai.Texts, "stop"),
		),
		EmbeddingParameters: openai.Parameters(openai.Text, "instruction"),
		Rename:              map[string]string{"max_completion_tokens": "max_tokens"},
		Media:               []schemas.MediaKind{schemas.MediaImage},
		NoEncodingFormat:    true,
	}
}

// parseWorkspace reads a workspace's URL. Its errors do not show it: it may hold a secret.
func parseWorkspace(text string) (*url.URL, error) {
	const field = "databricks_workspace_url"
	parsed, err := wire.BaseURL(text, field, "https://dbc-a1b2c3d4-e5f6.cloud.databricks.com", keyField)
	if err == nil && parsed.RawQuery != "" {
		return &url.URL{}, fmt.Errorf("%w: %s holds a query; put the token under %s", schemas.ErrInvalid, field, keyField)
	}
	return parsed, err //nolint:wrapcheck // it says all
}

// object is a map of texts as JSON, in the order of its keys.
func object(texts map[string]string) string {
	out, err := wire.Marshal(texts)
	if err != nil { // a map of texts always can be written
		return "{}"
	}
	return string(out)
}

// ascii escapes what a header cannot hold.
func ascii(text string) string {
	var out strings.Builder
	for _, r := range text {
		switch {
		case r < 0x7f:
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}
