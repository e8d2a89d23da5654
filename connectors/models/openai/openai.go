// Package openai asks models over OpenAI's chat completions format, which OpenAI, Azure, vLLM, llama.cpp,
// Ollama and most others speak.
//
// It owns the request body and the answer's decoding, of chats, completions and embeddings. It refuses several choices,
// and parameters that are not the format's. It neither retries nor limits; the HTTP part is package wire's.
package openai

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// DefaultBaseURL is OpenAI's own.
const DefaultBaseURL = "https://api.openai.com/v1"

// Options say where a model is and who asks.
type Options struct {
	BaseURL      string         // up to and including "/v1"; empty for OpenAI's own
	APIKey       schemas.Secret // zero where the server needs none
	Organization string
	Model        string
	Client       *wire.Client // shared by all models of a job; nil for one of its own
}

// format is OpenAI's, of one model at one server.
type format struct {
	options Options
	base    *url.URL
	header  http.Header
	prefix  []byte // the body up to what is asked: `{"model":"gpt-4o-mini"`
	fault   error  // why no call can work
	// reasons is set for models that count their reasoning in, and take max_completion_tokens only.
	reasons bool
	// encoded is the last parameters map and its JSON. A job gives every row the same map, which is therefore
	// encoded once. The map is held so that its address cannot be another's.
	encoded atomic.Pointer[encodedParameters]
}

// New returns the model. Whether the options can work is what Check tells, and every Invoke.
func New(options Options) *wire.Model {
	if options.BaseURL == "" {
		options.BaseURL = DefaultBaseURL
	}
	if options.Client == nil {
		options.Client = wire.NewClient(wire.ClientOptions{})
	}
	f := &format{options: options, header: http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"inflow"},
	}}
	if options.Organization != "" {
		f.header.Set("OpenAI-Organization", options.Organization)
	}
	f.prefix = appendString([]byte(`{"model":`), options.Model)
	f.base, f.fault = parseURL(options.BaseURL)
	if options.Model == "" {
		f.fault = errors.Join(f.fault, fmt.Errorf("%w: the destination names no model: set external_model.name", schemas.ErrInvalid))
	}
	f.reasons = reasoningModel().MatchString(options.Model)
	return wire.NewModel(wire.ModelOptions{
		Format: f, Model: options.Model, Client: options.Client,
		Authorize: wire.Key("Authorization", "Bearer ", options.APIKey),
	})
}

// reasoningModel matches the families that refuse max_tokens (platform.openai.com/docs/guides/reasoning).
func reasoningModel() *regexp.Regexp { return regexp.MustCompile(`^(o[1-9]|gpt-5)`) }

// parseURL reads a base URL. Its errors do not show it: it may hold a secret.
func parseURL(base string) (*url.URL, error) {
	parsed, err := url.Parse(base)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return &url.URL{}, fmt.Errorf("%w: openai_api_base is no http or https URL; write it like %s", schemas.ErrInvalid, DefaultBaseURL)
	}
	if parsed.User != nil || parsed.Fragment != "" {
		return &url.URL{}, fmt.Errorf("%w: openai_api_base holds a user, a password or a fragment; put the key under openai_api_key", schemas.ErrInvalid)
	}
	return parsed, nil
}

// URL is where chats go.
func (f *format) URL() string {
	shown := *f.base
	shown.RawQuery = ""
	return shown.JoinPath("chat/completions").String()
}

// call makes a request to a path below the base URL.
func (f *format) call(op, path string, request *schemas.Request, body []byte) *wire.Call {
	call := &wire.Call{
		Op: op, URL: f.base.JoinPath(path), Header: make(http.Header, len(f.header)+2), Body: body,
		KeyField: "openai_api_key", ModelField: "external_model.name",
	}
	maps.Copy(call.Header, f.header)
	if isHeaderValue(request.ID) {
		// Not Idempotency-Key: chat completions ignore it, and net/http reads it as leave to send twice.
		call.Header["X-Client-Request-Id"] = []string{request.ID}
	}
	return call
}

// isHeaderValue accepts what OpenAI documents for the header: ASCII, at most 512 characters.
func isHeaderValue(id string) bool {
	return id != "" && len(id) <= 512 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}
