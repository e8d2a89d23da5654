// Package gemini asks Google's models over the generateContent format, at the Gemini API and at Vertex AI.
//
// It owns the request body and the answer's decoding, of chats and embeddings, and where Google's credentials come from:
// an API key, a service account's key, or the application default credentials. It refuses completions, several candidates, and parameters that the API has no place for. It neither retries
// nor limits; the HTTP part is package wire's.
package gemini

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

// DefaultBaseURL is the Gemini API's own.
const DefaultBaseURL = "https://generativelanguage.googleapis.com"

// Options say where a model is and who asks. A project, a region or a private key make it Vertex AI's; an API key alone
// is for the Gemini API.
type Options struct {
	BaseURL string         // without "/v1beta"; empty for Google's own, which at Vertex AI is the region's
	APIKey  schemas.Secret // of the Gemini API
	Model   string
	Client  *wire.Client // shared by all models of a job; nil for one of its own

	ProjectID  string
	Region     string         // "us-central1"; "global", "us" and "eu" span several
	PrivateKey schemas.Secret // the JSON key file of a service account, whole; none for the application default credentials
}

// format is Google's, of one model.
type format struct {
	options Options
	vertex  bool
	base    *url.URL // of the model: ".../models/gemini-2.5-flash"
	header  http.Header
	rules   []wire.Rule
	fault   error // why no call can work
	// thinks is set for the models since Gemini 3: they take a level of thinking instead of a budget, and want back the
	// signature of the thoughts that led to a tool call.
	thinks bool
	// encoded is the last parameters map and its JSON. A job gives every row the same map, which is therefore
	// encoded once. The map is held so that its address cannot be another's.
	encoded atomic.Pointer[encodedParameters]
}

// New returns the model. Whether the options can work is what Check tells, and every Invoke.
func New(options Options) *wire.Model {
	if options.Client == nil {
		options.Client = wire.NewClient(wire.ClientOptions{})
	}
	options.Model = strings.TrimPrefix(options.Model, "models/")
	f := &format{
		options: options, base: &url.URL{}, rules: rules(),
		vertex: options.ProjectID != "" || options.Region != "" || !options.PrivateKey.IsZero(),
		thinks: thinkingModel().MatchString(options.Model),
		header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"inflow"}},
	}
	model := wire.ModelOptions{Format: f, Model: options.Model, Client: options.Client}
	switch {
	case options.Model == "":
		f.fault = fmt.Errorf("%w: the destination names no model: set external_model.name", schemas.ErrInvalid)
	case !nameOfModel().MatchString(options.Model):
		f.fault = fmt.Errorf("%w: external_model.name is no name of a model; write it like gemini-2.5-flash", schemas.ErrInvalid)
	}
	if !f.vertex {
		model.Authorize = wire.Key("X-Goog-Api-Key", "", options.APIKey)
		f.place(options.BaseURL, DefaultBaseURL, "gemini_api_base", "v1beta/models/"+options.Model)
		return wire.NewModel(model)
	}
	f.fault = errors.Join(f.fault, checkVertex(&options))
	tokens, err := accessTokens(&options)
	if err != nil {
		f.fault = errors.Join(f.fault, err)
	} else {
		model.Authorize = tokens.Authorize
	}
	f.place(options.BaseURL, "https://"+hostOf(options.Region), "vertex_api_base", fmt.Sprintf(
		"v1/projects/%s/locations/%s/publishers/google/models/%s", options.ProjectID, options.Region, options.Model))
	return wire.NewModel(model)
}

// thinkingModel matches Gemini 3 and later (ai.google.dev/gemini-api/docs/thinking, .../thought-signatures).
func thinkingModel() *regexp.Regexp { return regexp.MustCompile(`^gemini-([3-9]|[1-9][0-9])`) }

// nameOfModel keeps a name to one segment of a path.
func nameOfModel() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`) }

// checkVertex looks at what goes into the URL: a region is a part of a host's name.
func checkVertex(options *Options) error {
	var faults []error
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]*$`).MatchString(options.ProjectID) {
		faults = append(faults, fmt.Errorf("%w: project_id is missing or no project's id", schemas.ErrInvalid))
	}
	if !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(options.Region) {
		faults = append(faults, fmt.Errorf("%w: region is missing or no region; write it like us-central1 or global", schemas.ErrInvalid))
	}
	if !options.APIKey.IsZero() {
		faults = append(faults, fmt.Errorf("%w: gemini_api_key is the Gemini API's, private_key is Vertex AI's: keep one", schemas.ErrInvalid))
	}
	return errors.Join(faults...)
}

// hostOf is where a region's models are (cloud.google.com/vertex-ai/generative-ai/docs/learn/locations).
func hostOf(region string) string {
	switch region {
	case "global":
		return "aiplatform.googleapis.com"
	case "us", "eu":
		return "aiplatform." + region + ".rep.googleapis.com"
	}
	return region + "-aiplatform.googleapis.com"
}

// place finds the model's URL. Its faults do not show the base: it may hold a secret.
func (f *format) place(base, usual, setting, path string) {
	if base == "" {
		base = usual
	}
	if f.fault != nil { // what is wrong with the parts of the path is told already
		return
	}
	parsed, err := wire.BaseURL(base, setting, DefaultBaseURL, f.keyField())
	f.base, f.fault = parsed.JoinPath(path), err
}

func (f *format) keyField() string {
	switch {
	case !f.vertex:
		return "gemini_api_key"
	case f.options.PrivateKey.IsZero():
		return "the application default credentials"
	}
	return "private_key"
}

// name begins the errors.
func (f *format) name() string {
	if f.vertex {
		return "vertex ai"
	}
	return "gemini"
}

// URL is where chats go.
func (f *format) URL(task schemas.Task) string {
	verb := "generateContent"
	if task == schemas.TaskEmbeddings {
		verb = embedVerb(f.vertex)
	}
	shown := *f.method(verb)
	shown.RawQuery = ""
	return shown.String()
}

// method is a method of the model, by Google's custom verbs (google.aip.dev/136).
func (f *format) method(verb string) *url.URL {
	to := *f.base
	to.Path += ":" + verb
	if to.RawPath != "" {
		to.RawPath += ":" + verb
	}
	return &to
}

// call makes a request to a method.
func (f *format) call(what, verb string, body []byte) *wire.Call {
	call := &wire.Call{
		Op: f.name() + ": " + what, URL: f.method(verb), Header: make(http.Header, len(f.header)+1), Body: body,
		KeyField: f.keyField(), ModelField: "external_model.name", Rules: f.rules,
		Problem: func(_ http.Header, body []byte) wire.Problem { return readProblem(body) },
	}
	maps.Copy(call.Header, f.header)
	return call
}
