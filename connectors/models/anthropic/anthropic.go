// Package anthropic asks Claude models over Anthropic's Messages API (platform.claude.com/docs/en/api/messages).
//
// It owns the request body and the answer's decoding, whole and in events. It refuses completions, embeddings, sounds,
// and parameters that the API has nothing for. It neither retries nor limits; the HTTP part is package wire's.
package anthropic

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	// DefaultBaseURL is Anthropic's own.
	DefaultBaseURL = "https://api.anthropic.com"
	// DefaultMaxTokens bounds the answer where a request does not: the API has no default, and wants the field.
	DefaultMaxTokens = 4096

	version = "2023-06-01" // of the API; the only one that has message streams as they are read here
	path    = "v1/messages"
)

// Options say where a model is and who asks.
type Options struct {
	BaseURL string // up to, and without, "/v1"; empty for Anthropic's own
	APIKey  schemas.Secret
	Model   string
	Client  *wire.Client // shared by all models of a job; nil for one of its own
}

// format is the Messages API's, of one model at one server.
type format struct {
	model  string
	target *url.URL // base URL and path
	header http.Header
	rules  []wire.Rule
	fault  error // why no call can work
}

// New returns the model. Whether the options can work is what Check tells, and every Invoke.
func New(options Options) *wire.Model {
	if options.BaseURL == "" {
		options.BaseURL = DefaultBaseURL
	}
	if options.Client == nil {
		options.Client = wire.NewClient(wire.ClientOptions{})
	}
	f := &format{model: options.Model, rules: rules(), header: http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"inflow"},
		"Anthropic-Version": {version},
	}}
	base, err := wire.BaseURL(options.BaseURL, "anthropic_api_base", DefaultBaseURL, "anthropic_api_key")
	f.target, f.fault = base.JoinPath(path), err
	if options.Model == "" {
		f.fault = errors.Join(f.fault, fmt.Errorf("%w: the destination names no model: set external_model.name", schemas.ErrInvalid))
	}
	return wire.NewModel(wire.ModelOptions{
		Format: f, Model: options.Model, Client: options.Client, Authorize: wire.Key("X-Api-Key", "", options.APIKey),
	})
}

// URL is where messages go.
func (f *format) URL(schemas.Task) string {
	shown := *f.target
	shown.RawQuery = ""
	return shown.String()
}

// Check tells every reason why such a request cannot be put, before anything is paid.
func (f *format) Check(request *schemas.Request) error {
	_, err := f.translate(request)
	return err
}

// call makes a request with this body.
func (f *format) call(body []byte, stream bool) *wire.Call {
	call := &wire.Call{
		Op: "anthropic: message", URL: f.target, Header: make(http.Header, len(f.header)+1), Body: body,
		KeyField: "anthropic_api_key", ModelField: "external_model.name", Rules: f.rules, Problem: readProblem,
	}
	maps.Copy(call.Header, f.header)
	if stream {
		call.Header["Accept"] = []string{"text/event-stream"}
	}
	return call
}
