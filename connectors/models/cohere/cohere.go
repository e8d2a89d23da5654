// Package cohere asks Cohere's models over its v2 API (docs.cohere.com/reference/chat and /reference/embed).
//
// It owns the request bodies of chats and embeddings and their answers' decoding, whole and in events. It refuses
// completions, files, sounds, and parameters that the API has nothing for. It neither retries nor limits; the HTTP part
// is package wire's.
package cohere

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
	// DefaultBaseURL is Cohere's own.
	DefaultBaseURL = "https://api.cohere.com"

	chatPath  = "v2/chat"
	embedPath = "v2/embed"
)

// Options say where a model is and who asks.
type Options struct {
	BaseURL string // up to, and without, "/v2"; empty for Cohere's own
	APIKey  schemas.Secret
	Model   string
	Client  *wire.Client // shared by all models of a job; nil for one of its own
}

// format is Cohere's v2 API, of one model at one server.
type format struct {
	model  string
	base   *url.URL
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
	}}
	f.base, f.fault = wire.BaseURL(options.BaseURL, "cohere_api_base", DefaultBaseURL, "cohere_api_key")
	if options.Model == "" {
		f.fault = errors.Join(f.fault, fmt.Errorf("%w: the destination names no model: set external_model.name", schemas.ErrInvalid))
	}
	return wire.NewModel(wire.ModelOptions{
		Format: f, Model: options.Model, Client: options.Client,
		Authorize: wire.Key("Authorization", "Bearer ", options.APIKey),
	})
}

// URL is where chats go.
func (f *format) URL(task schemas.Task) string {
	shown := *f.base
	shown.RawQuery = ""
	if task == schemas.TaskEmbeddings {
		return shown.JoinPath(embedPath).String()
	}
	return shown.JoinPath(chatPath).String()
}

// Check tells every reason why such a request cannot be put, before anything is paid.
func (f *format) Check(request *schemas.Request) error {
	_, err := f.translate(request, false)
	return err
}

// call makes a request to a path below the base URL.
func (f *format) call(op, path string, body []byte) *wire.Call {
	call := &wire.Call{
		Op: op, URL: f.base.JoinPath(path), Header: make(http.Header, len(f.header)+1), Body: body,
		KeyField: "cohere_api_key", ModelField: "external_model.name", Rules: f.rules,
	}
	maps.Copy(call.Header, f.header)
	return call
}

// The statuses that are not registered.
const (
	statusDenied    = 498 // Cohere's own: a text of the request or of the answer holds what is on a deny list
	statusCancelled = 499 // nginx's "client closed request", which Cohere documents as its own
)

// rules are the statuses of docs.cohere.com/reference/errors. The bodies hold a message and no word, so that a status
// is all there is: a prompt that is too long is a 400 like any other, and a trial key's month is a 429.
func rules() []wire.Rule {
	return []wire.Rule{
		// A deny-listed token in the request or the response: this row, whenever it is sent.
		{Status: statusDenied, Class: schemas.Rejected, Code: "content_filter"},
		// The account has reached its billing limit, or has no payment method.
		{Status: http.StatusPaymentRequired, Class: schemas.Fatal, Code: "payment_required"},
		// The request was cancelled before it was answered, by a proxy on the way: we would not have read this.
		{Status: statusCancelled, Class: schemas.Transient, Code: "request_cancelled"},
		// A model that is not found, or was retired.
		{Status: http.StatusNotFound, Class: schemas.Fatal, Code: "model_not_found"},
	}
}
