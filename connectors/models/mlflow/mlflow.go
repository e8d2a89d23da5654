// Package mlflow asks models over MLflow's scoring protocol (mlflow.org/docs/latest/ml/deployment, "local inference
// server"), which Databricks' custom models speak as well.
//
// It owns the four layouts of a frame and the decoding of predictions. It refuses every other task, and streams. It
// neither retries nor limits; the HTTP part is package wire's.
package mlflow

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// DefaultBaseURL is where `mlflow models serve` listens.
const DefaultBaseURL = "http://127.0.0.1:5000"

const (
	urlField = "model_server_url"
	keyField = "model_server_token"
)

// Options say where a model is and who asks.
type Options struct {
	BaseURL string         // up to, and without, "/invocations"; empty for DefaultBaseURL
	Token   schemas.Secret // of a proxy before the server, which has none of its own; zero: none
	Model   string         // the name that the usage table shows; the server has one model
	Client  *wire.Client   // shared by all models of a job; nil for one of its own
}

// New returns the model. Whether the options can work is what Check tells, and every Invoke.
func New(options Options) *wire.Model {
	if options.BaseURL == "" {
		options.BaseURL = DefaultBaseURL
	}
	if options.Client == nil {
		options.Client = wire.NewClient(wire.ClientOptions{})
	}
	base, fault := wire.BaseURL(options.BaseURL, urlField, DefaultBaseURL, keyField)
	return wire.NewModel(wire.ModelOptions{
		Format: NewFormat(Server{
			Name: "mlflow", URL: base.JoinPath("invocations"), Rules: rules(), KeyField: keyField, Fault: fault,
		}),
		Model: options.Model, Client: options.Client, Authorize: wire.Key("Authorization", "Bearer ", options.Token),
	})
}

// Server is one scoring server, and what it has of its own.
type Server struct {
	Name                 string   // what errors begin with, "mlflow"
	URL                  *url.URL // where frames go
	IDField              string   // the body's field that takes the request's ID; empty: none does
	Tail                 []byte   // ends every body: `,"usage_context":{}`
	Rules                []wire.Rule
	Problem              func(header http.Header, body []byte) wire.Problem // nil: MLflow's; no message of it is shown
	KeyField, ModelField string                                             // the settings to mend
	Fault                error                                              // why no call can work
}

// format is a server that is ready for use.
type format struct {
	server Server
	header http.Header
}

// NewFormat returns the format that speaks to a server.
func NewFormat(server Server) wire.Format { //nolint:gocritic // it is kept
	return &format{server: server, header: http.Header{
		"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"inflow"},
	}}
}

// URL is where frames go.
func (f *format) URL(schemas.Task) string {
	shown := *f.server.URL
	shown.RawQuery = ""
	return shown.String()
}

// Check tells every reason why such a request cannot be put, before anything is paid.
func (f *format) Check(request *schemas.Request) error {
	_, err := f.translate(request)
	return err
}

// Events refuses: predictions come whole.
func (*format) Events(io.Reader) iter.Seq2[*schemas.Event, error] {
	return func(yield func(*schemas.Event, error) bool) {
		yield(nil, wire.Shape("predictions do not come in events"))
	}
}

// call makes a request with a body.
func (f *format) call(body []byte) *wire.Call {
	call := &wire.Call{
		Op: f.server.Name + ": predictions", URL: f.server.URL, Header: make(http.Header, len(f.header)+1), Body: body,
		KeyField: f.server.KeyField, ModelField: f.server.ModelField, Rules: f.server.Rules, Problem: f.problem,
	}
	maps.Copy(call.Header, f.header)
	return call
}

// problem drops the message: MLflow quotes the frame in it ("Failed to predict data '...'"), whatever the code.
func (f *format) problem(header http.Header, body []byte) wire.Problem {
	read := f.server.Problem
	if read == nil {
		read = func(_ http.Header, body []byte) wire.Problem { return wire.ParseProblem(body) }
	}
	problem := read(header, body)
	problem.Message = ""
	return problem
}

// statusCancelled is what MLflow answers for CANCELLED; it is not registered.
const statusCancelled = 499

// rules are MLflow's error codes (mlflow/exceptions.py, ERROR_CODE_TO_HTTP_STATUS) and what its scoring server makes of
// them (mlflow/pyfunc/scoring_server). Statuses without an entry mean what they always do.
func rules() []wire.Rule {
	return []wire.Rule{
		// A row that is not in the signature, or on which the model's own code fails. Of a frame of several rows the server
		// does not say which.
		{Word: "BAD_REQUEST", Status: http.StatusBadRequest, Class: schemas.Rejected, Code: "BAD_REQUEST"},
		{Word: "INVALID_PARAMETER_VALUE", Status: http.StatusBadRequest, Class: schemas.Rejected, Code: "INVALID_PARAMETER_VALUE"},
		// A proxy before the server takes no frame of this length; a shorter one it does.
		{Status: http.StatusRequestEntityTooLarge, Class: schemas.Rejected, Code: "request_too_large"},
		// A server with a schema of its own before MLflow's (FastAPI).
		{Status: http.StatusUnprocessableEntity, Class: schemas.Rejected, Code: "unprocessable"},

		// The server takes no JSON at all: no scoring server is at this URL, or a very old one.
		{Status: http.StatusUnsupportedMediaType, Class: schemas.Fatal, Code: "unsupported_media_type"},
		{Status: http.StatusNotFound, Class: schemas.Fatal, Code: "endpoint_not_found"}, // no /invocations there

		// Raised by the model's code, as a limit of something that it asks itself.
		{Word: "REQUEST_LIMIT_EXCEEDED", Class: schemas.Throttled, Code: "rate_limit_exceeded"},
		{Word: "RESOURCE_EXHAUSTED", Class: schemas.Throttled, Code: "rate_limit_exceeded"},

		// MlflowException's default: an exception in the server, as when predictions cannot be written as JSON.
		{Word: "INTERNAL_ERROR", Class: schemas.Transient, Code: "server_error"},
		{Word: "TEMPORARILY_UNAVAILABLE", Class: schemas.Transient, Code: "temporarily_unavailable"},
		// MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT was reached.
		{Status: http.StatusGatewayTimeout, Class: schemas.Transient, Code: "gateway_timeout"},
		{Status: statusCancelled, Class: schemas.Transient, Code: "request_cancelled"}, // we would not have read it had it been us
	}
}

// translate decides how a frame is written, or joins every reason why it cannot be. Check and Encode share it, so that
// what one lets pass the other can write.
func (f *format) translate(request *schemas.Request) (*plan, error) {
	faults := []error{f.server.Fault}
	fault := func(text string, details ...any) {
		faults = append(faults, fmt.Errorf("%w: "+text, append([]any{schemas.ErrInvalid}, details...)...))
	}
	if request.Task != schemas.TaskPredictions {
		task := request.Task
		if task == "" {
			task = schemas.TaskChat
		}
		fault("the %s format makes predictions from features and has no task %s", f.server.Name, task)
		return nil, errors.Join(faults...)
	}
	if len(request.Messages) > 0 || request.Prompt != "" || len(request.Inputs) > 0 {
		fault("predictions are made from features: remove the messages, the prompt and the inputs")
	}
	if len(request.Tools) > 0 || request.ToolChoice != "" {
		fault("a model that predicts calls no tools; remove them")
	}
	if request.Format != nil {
		fault("a model that predicts is asked for no format; remove it")
	}
	p := &plan{}
	if len(request.Parameters) > 0 {
		var err error
		if p.params, err = wire.Marshal(request.Parameters); err != nil {
			fault("request.parameters cannot be written as JSON")
		}
	}
	if request.Frame == nil {
		fault("there is no frame to predict from")
	} else if err := p.read(request.Frame); err != nil {
		faults = append(faults, err)
	}
	return p, errors.Join(faults...)
}
