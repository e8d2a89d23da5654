// Package openai asks models over OpenAI's formats: chat completions, which OpenAI, Azure, vLLM, llama.cpp, Ollama
// and most others speak, and the Responses API.
//
// It owns the request body and the answer's decoding, of chats, completions and embeddings. What a server has of its own
// in the chat format is a Dialect. It refuses several choices, and parameters that are not the server's. It neither
// retries nor limits; the HTTP part is package wire's.
package openai

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// DefaultBaseURL is OpenAI's own.
const DefaultBaseURL = "https://api.openai.com/v1"

// Options say where a model is and who asks.
type Options struct {
	BaseURL      string         // up to and including "/v1"; empty for the server's own, else OpenAI's
	APIKey       schemas.Secret // zero where the server needs none
	KeyHeader    string         // the header that has the key alone; empty: Authorization, after "Bearer "
	Organization string
	Model        string
	Server       string       // a name of Known; empty: OpenAI, or a server that is said to be like it
	Client       *wire.Client // shared by all models of a job; nil for one of its own

	// AzureDeployment makes it Azure's: BaseURL is the resource's, "https://name.openai.azure.com".
	AzureDeployment string
	AzureAPIVersion string
	// The Entra fields, all or none, make a Microsoft Entra token the key.
	EntraTenantID     string
	EntraClientID     string
	EntraClientSecret schemas.Secret
	EntraHost         string // who gives tokens; empty for https://login.microsoftonline.com
}

// New returns the model over chat completions. Whether the options can work is what Check tells, and every Invoke.
func New(options Options) *wire.Model {
	server, fault := options.complete()
	base, failure := wire.BaseURL(options.BaseURL, options.urlField(), DefaultBaseURL, "openai_api_key")
	dialect := Dialect{
		Name: "openai", Model: options.Model, Quirks: server.Quirks, Rules: server.rules, IDHeader: "X-Client-Request-Id",
		KeyField: options.keyField(), ModelField: "external_model.name", Header: options.header(),
		Fault: errors.Join(fault, failure),
	}
	switch {
	case options.AzureDeployment != "":
		dialect.azure(base, &options)
	default:
		dialect.Chat, dialect.Completions, dialect.Embeddings = base.JoinPath("chat/completions"), base.JoinPath("completions"), base.JoinPath("embeddings")
		// OpenAI's own parameters are all known; what else a server takes, its owner knows.
		dialect.ExtraBody = options.Server != "" || options.BaseURL != DefaultBaseURL
	}
	if server.Name == "" && reasoningModel().MatchString(options.Model) {
		dialect.Rename = map[string]string{"max_tokens": "max_completion_tokens"}
	}
	return wire.NewModel(wire.ModelOptions{
		Format: NewFormat(dialect), Model: options.Model, Client: options.Client, Authorize: options.authorize(),
	})
}

// complete fills in what is empty, and joins every reason why the options cannot work.
func (o *Options) complete() (Server, error) {
	var faults []error
	fault := func(format string, details ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{schemas.ErrInvalid}, details...)...))
	}
	var server Server
	if o.Server != "" {
		all := Known()
		i := slices.IndexFunc(all, func(known Server) bool { return known.Name == o.Server })
		if i < 0 {
			fault("there is no server %q; there are %s", shown(o.Server), strings.Join(serverNames(all), ", "))
		} else {
			server = all[i]
		}
	}
	if o.BaseURL == "" && o.AzureDeployment == "" {
		o.BaseURL = server.BaseURL
		if o.Server == "" {
			o.BaseURL = DefaultBaseURL
		}
	}
	if o.Client == nil {
		o.Client = wire.NewClient(wire.ClientOptions{})
	}
	if o.Model == "" {
		fault("the destination names no model: set external_model.name")
	}
	if o.KeyHeader != "" && !isHeaderName(o.KeyHeader) {
		fault("api_key_auth.key is no header that may hold a key")
	}
	if o.AzureDeployment == "" && o.AzureAPIVersion != "" {
		fault("openai_api_version is set and openai_deployment_name is not: set it")
	}
	if o.entra() {
		switch {
		case strings.Trim(o.EntraTenantID, ".") == "" || o.EntraClientID == "" || o.EntraClientSecret.IsZero():
			fault("a Microsoft Entra token needs microsoft_entra_tenant_id, microsoft_entra_client_id and microsoft_entra_client_secret")
		case !o.APIKey.IsZero():
			fault("openai_api_key and microsoft_entra_client_secret are both set: keep one")
		}
		if _, err := wire.BaseURL(o.entraHost(), "the Entra host", DefaultBaseURL, "openai_api_key"); err != nil {
			faults = append(faults, err)
		}
	}
	return server, errors.Join(faults...)
}

func (o *Options) entra() bool {
	return o.EntraTenantID != "" || o.EntraClientID != "" || !o.EntraClientSecret.IsZero()
}

func (o *Options) header() http.Header {
	header := make(http.Header)
	if o.Organization != "" {
		header.Set("OpenAI-Organization", o.Organization)
	}
	return header
}

func (o *Options) authorize() func(context.Context, *wire.Call) error {
	switch {
	case o.entra():
		return o.entraTokens().Authorize
	case o.KeyHeader != "":
		return wire.Key(http.CanonicalHeaderKey(o.KeyHeader), "", o.APIKey)
	case o.AzureDeployment != "":
		return wire.Key("Api-Key", "", o.APIKey)
	}
	return wire.Key("Authorization", "Bearer ", o.APIKey)
}

// keyField and urlField are the settings as the endpoint's file calls them.
func (o *Options) keyField() string {
	switch {
	case o.entra():
		return "microsoft_entra_client_secret"
	case o.KeyHeader != "":
		return "api_key_auth.value"
	case o.Server != "":
		return "bearer_token_auth.token"
	}
	return "openai_api_key"
}

func (o *Options) urlField() string {
	if o.Server != "" || o.KeyHeader != "" {
		return "custom_provider_url"
	}
	return "openai_api_base"
}

// reasoningModel matches the families that refuse max_tokens (platform.openai.com/docs/guides/reasoning).
func reasoningModel() *regexp.Regexp { return regexp.MustCompile(`^(o[1-9]|gpt-5)`) }

// isHeaderValue accepts what OpenAI documents for the request's ID: ASCII, at most 512 characters.
func isHeaderValue(id string) bool {
	return id != "" && len(id) <= 512 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isHeaderName accepts a header of letters, digits and dashes that neither HTTP nor this package uses for something else.
func isHeaderName(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Host", "Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Accept", "Accept-Encoding",
		"User-Agent", "Expect", "Trailer", "Te", "Upgrade", "Idempotency-Key", "X-Idempotency-Key", "X-Client-Request-Id":
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
