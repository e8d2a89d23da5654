package openai

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// responses is the Responses API (platform.openai.com/docs/api-reference/responses), of one model at one server. Nothing is
// kept there from call to call: every request has the whole conversation, and store is false.
type responses struct {
	dialect Dialect // for what both formats check alike
	url     *url.URL
	header  http.Header
	prefix  []byte // `{"model":"gpt-5"`
	encoded atomic.Pointer[encodedResponses]
}

// NewResponses returns the model over the Responses API. Of Azure, the deployment stands in the body; without a version
// it is Azure's v1 API.
func NewResponses(options Options) *wire.Model {
	server, fault := options.complete()
	base, failure := wire.BaseURL(options.BaseURL, options.urlField(), DefaultBaseURL, "openai_api_key")
	if server.Name != "" && !server.Responses {
		fault = errors.Join(fault, fmt.Errorf("%w: %s has no Responses API; ask it over chat completions", schemas.ErrInvalid, server.Name))
	}
	f := &responses{url: base.JoinPath("responses"), header: baseHeader(), dialect: Dialect{
		Name: "openai", IDHeader: "X-Client-Request-Id", KeyField: options.keyField(), ModelField: "external_model.name",
		Rules: server.rules, Fault: errors.Join(fault, failure),
		Quirks: Quirks{
			Parameters: responsesParameters(), Refused: responsesRefusals(),
			Rename: map[string]string{
				"max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens", "reasoning_effort": "reasoning",
			},
		},
	}}
	maps.Copy(f.header, options.header())
	model := options.Model
	if options.AzureDeployment != "" {
		model = options.AzureDeployment
		f.dialect.IDHeader, f.dialect.ModelField = "X-Ms-Client-Request-Id", "openai_deployment_name"
		f.dialect.Rules, f.dialect.Problem = azureRules(), azureProblem
		f.url = base.JoinPath("openai/v1/responses")
		if options.AzureAPIVersion != "" {
			f.url = withVersion(base.JoinPath("openai/responses"), options.AzureAPIVersion)
		}
	}
	f.prefix = wire.AppendString([]byte(`{"model":`), model)
	return wire.NewModel(wire.ModelOptions{Format: f, Model: options.Model, Client: options.Client, Authorize: options.authorize()})
}

// URL is where requests go, without a query.
func (f *responses) URL(schemas.Task) string {
	shown := *f.url
	shown.RawQuery = ""
	return shown.String()
}

// Check tells every reason why such a request cannot be put, before anything is paid.
func (f *responses) Check(request *schemas.Request) error {
	d := &f.dialect
	faults := []error{
		d.Fault, d.checkParameters(schemas.TaskChat, request.Parameters), checkTools(request),
		checkResponseFormat(request.Parameters["response_format"]),
	}
	if request.Task != "" && request.Task != schemas.TaskChat {
		faults = append(faults, fmt.Errorf("%w: the Responses API has no task %s", schemas.ErrInvalid, request.Task))
	}
	if request.Format != nil {
		faults = append(faults, d.checkFormat(request))
	}
	for i := range request.Messages {
		message := &request.Messages[i]
		for _, part := range message.Parts {
			switch {
			case part.Media == nil:
			case part.Media.Kind == schemas.MediaAudio:
				faults = append(faults, fmt.Errorf("%w: the Responses API takes no audio", schemas.ErrInvalid))
			case message.Role == schemas.RoleAssistant:
				faults = append(faults, fmt.Errorf("%w: the Responses API takes no media in an assistant's message", schemas.ErrInvalid))
			}
		}
	}
	return errors.Join(faults...)
}

// checkResponseFormat: the format is taken apart for the Responses API, which has its fields at another place.
func checkResponseFormat(value any) error {
	fields, ok := value.(map[string]any)
	if !ok { // absent, or of another type, which is told with the other parameters
		return nil
	}
	switch fields["type"] {
	case "text", "json_object":
		return nil
	case "json_schema":
		schema, ok := fields["json_schema"].(map[string]any)
		if _, named := schema["name"].(string); ok && named && schema["schema"] != nil {
			return nil
		}
		return fmt.Errorf("%w: request.parameters.response_format.json_schema: it must have a name and a schema", schemas.ErrInvalid)
	}
	return fmt.Errorf("%w: request.parameters.response_format.type: it must be text, json_object or json_schema", schemas.ErrInvalid)
}

// responsesParameters are those of the Responses API that may be set, and their names in chat completions.
func responsesParameters() []Parameter {
	return slices.Concat(
		Parameters(Number, "temperature", "top_p"),
		Parameters(Integer, "max_completion_tokens", "max_output_tokens", "max_tokens", "top_logprobs"),
		Parameters(Bool, "parallel_tool_calls", "store"),
		Parameters(Text, "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "safety_identifier",
			"service_tier", "truncation", "user", "verbosity"),
		Parameters(Object, "metadata", "reasoning", "response_format"),
		Parameters(List, "include"),
	)
}

func responsesRefusals() map[string]string {
	const none = "the Responses API does not have it; remove it, or ask over chat completions"
	return map[string]string{
		"stop": none, "seed": none, "frequency_penalty": none, "presence_penalty": none, "logit_bias": none, "prediction": none,
		"logprobs":             "the Responses API has top_logprobs and include instead",
		"web_search_options":   "searching is a tool in the Responses API, and nobody would run it; remove it",
		"text":                 "set response_format and verbosity instead",
		"instructions":         "the job's request says what is asked, in a system message; remove it",
		"previous_response_id": "a row is asked with all that it needs; remove it",
		"conversation":         "a row is asked with all that it needs; remove it",
		"background":           "a row's answer is waited for; remove it",
		"max_tool_calls":       "it counts the provider's own tools, which a row has not got; remove it",
	}
}

// isImageFault reports the words of a failed response (its schema "ResponseError") that say that the row's own image is at fault.
func isImageFault(word string) bool {
	switch word {
	case "invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "image_too_large", "image_too_small",
		"image_parse_error", "image_content_policy_violation", "invalid_image_mode", "image_file_too_large",
		"unsupported_image_media_type", "empty_image_file", "failed_to_download_image", "image_file_not_found":
		return true
	}
	return false
}
