// Package openai asks models over OpenAI's chat completions format, which OpenAI, Azure, vLLM, llama.cpp,
// Ollama and most others speak.
//
// It owns the request body, the answer's decoding and what of an answer counts as a refusal of the row. It
// refuses what Inflow has no column for: streams, several choices, tools and audio. It neither retries nor
// limits; the HTTP part is package wire's.
package openai

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"unicode/utf8"

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

// Model is one model at one server. It is safe for concurrent use.
type Model struct {
	options Options
	url     *url.URL
	header  http.Header
	prefix  []byte // the body up to the first message
	fault   error  // why no call can work
	// encoded is the last parameters map and its JSON. A job gives every row the same map, which is therefore
	// encoded once. The map is held so that its address cannot be another's.
	encoded atomic.Pointer[encodedParameters]
}

// New returns the model. Whether the options can work is what Check tells, and every Invoke.
func New(options Options) *Model {
	if options.BaseURL == "" {
		options.BaseURL = DefaultBaseURL
	}
	if options.Client == nil {
		options.Client = wire.NewClient(wire.ClientOptions{})
	}
	m := &Model{options: options, header: http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"inflow"},
	}}
	if !options.APIKey.IsZero() {
		m.header.Set("Authorization", "Bearer "+options.APIKey.Reveal())
	}
	if options.Organization != "" {
		m.header.Set("OpenAI-Organization", options.Organization)
	}
	m.prefix = append(appendString([]byte(`{"model":`), options.Model), `,"messages":[`...)
	m.url, m.fault = parseURL(options.BaseURL)
	if options.Model == "" {
		m.fault = errors.Join(m.fault, fmt.Errorf("%w: the destination names no model: set external_model.name", schemas.ErrInvalid))
	}
	return m
}

// parseURL makes the chat completions URL of a base URL. Its errors do not show the URL: it may hold a secret.
func parseURL(base string) (*url.URL, error) {
	parsed, err := url.Parse(base)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return &url.URL{}, fmt.Errorf("%w: openai_api_base is no http or https URL; write it like %s", schemas.ErrInvalid, DefaultBaseURL)
	}
	if parsed.User != nil || parsed.Fragment != "" {
		return &url.URL{}, fmt.Errorf("%w: openai_api_base holds a user, a password or a fragment; put the key under openai_api_key", schemas.ErrInvalid)
	}
	return parsed.JoinPath("chat/completions"), nil
}

// URL is where the questions go, as the usage table shows it: without the query.
func (m *Model) URL() string {
	shown := *m.url
	shown.RawQuery = ""
	return shown.String()
}

// Invoke asks once. It blocks until the answer, the client's timeout or the end of ctx; errors are
// *schemas.Error.
//
// The Response is never nil. Beside an error it tells what the attempt showed (status, first byte) and what
// it consumed: Usage.Basis is BasisNone only where nothing can have been paid. A row that the model refused
// has been paid like any other.
//
// request.Parameters must not change while they are in use: their encoding is kept from call to call.
func (m *Model) Invoke(ctx context.Context, request *schemas.Request) (*schemas.Response, error) {
	const op = "openai: chat completion"
	response := &schemas.Response{Model: m.options.Model, Usage: schemas.Usage{Basis: schemas.BasisNone}}
	if m.fault != nil {
		return response, &schemas.Error{Op: op, Code: "invalid_endpoint", Err: m.fault}
	}
	parameters, err := m.parameters(request.Parameters)
	if err != nil {
		return response, &schemas.Error{Op: op, Code: "invalid_parameters", Err: err}
	}

	call := &wire.Call{
		Op: op, URL: m.url, Header: m.header, Body: m.body(request, parameters), Key: m.options.APIKey,
		KeyField: "openai_api_key", ModelField: "external_model.name",
	}
	if isHeaderValue(request.ID) {
		call.Header = make(http.Header, len(m.header)+1)
		maps.Copy(call.Header, m.header)
		// Not Idempotency-Key: chat completions ignore it, and net/http reads it as leave to send twice.
		call.Header["X-Client-Request-Id"] = []string{request.ID}
	}
	answer, err := wire.Post(ctx, m.options.Client, call)
	response.HTTPStatus, response.ContentType, response.FirstByte = answer.Status, answer.ContentType, answer.FirstByte
	if err == nil {
		err = decode(call, &answer, response)
	}
	if answer.PossiblyPaid && response.Usage.Basis == schemas.BasisNone {
		response.Usage = estimate(request, response.Text)
	}
	if err != nil {
		response.Text = "" // a row has an answer or an error
	}
	return response, err //nolint:wrapcheck // classified where the wire was seen
}

// isHeaderValue accepts what OpenAI documents for the header: ASCII, at most 512 characters.
func isHeaderValue(id string) bool {
	return id != "" && len(id) <= 512 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

func estimate(request *schemas.Request, text string) schemas.Usage {
	usage := schemas.Usage{
		InputTokens:  schemas.EstimateTokens(request.TextLength()),
		OutputTokens: schemas.EstimateTokens(utf8.RuneCountInString(text)),
		Basis:        schemas.BasisEstimated,
	}
	usage.TotalTokens = usage.InputTokens + usage.OutputTokens
	return usage
}
