package openai

import (
	"encoding/json"
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

// Dialect is what one model at one server has of its own in OpenAI's chat format.
type Dialect struct {
	Name  string // what errors begin with, "openai"
	Model string // stands in the body; empty: the URL names the model
	// Chat, Completions and Embeddings are where these tasks go; nil: the server has not got them.
	Chat, Completions, Embeddings *url.URL
	Header                        http.Header // beside what every call has
	IDHeader, IDField             string      // the header or the body's field that takes the request's ID; empty: none does
	Tail                          []byte      // ends every body: `,"usage_context":{}`
	ExtraBody                     bool        // request.parameters.extra_body is merged into the body
	Quirks
	Rules                []wire.Rule
	Problem              func(header http.Header, body []byte) wire.Problem // nil: wire.ParseProblem
	KeyField, ModelField string                                             // the settings to mend
	Fault                error                                              // why no call can work
}

// Quirks are where a server is not like OpenAI. The zero value is OpenAI.
type Quirks struct {
	Parameters           []Parameter // of a chat; nil: OpenAI's
	CompletionParameters []Parameter // of a completion; nil: OpenAI's
	EmbeddingParameters  []Parameter // of embeddings; nil: OpenAI's
	Rename               map[string]string
	Refused              map[string]string   // why a parameter that is well known cannot be set here
	Media                []schemas.MediaKind // nil: all
	NoMediaURLs          bool                // media must come as bytes
	Schema               SchemaField
	NoTools              bool
	NoToolChoice         bool // the server calls tools as it likes
	NoStreamOptions      bool // the field is refused; the counts come without being asked for
	NoEncodingFormat     bool // the field is refused; vectors come as numbers
}

// SchemaField is where the JSON Schema of an answer goes.
type SchemaField uint8

// The fields.
const (
	SchemaResponseFormat SchemaField = iota // response_format, of the type json_schema
	SchemaNVExt                             // nvext.guided_json
	SchemaNone                              // nowhere: such a request is refused
)

// format is a dialect that is ready for use.
type format struct {
	dialect Dialect
	header  http.Header
	prefix  []byte // `,"model":"gpt-4o-mini"`: its comma, or the next one, becomes the body's brace
	// encoded is the last parameters map and its JSON. A job gives every row the same map, which is therefore
	// encoded once. The map is held so that its address cannot be another's.
	encoded atomic.Pointer[encodedParameters]
}

// NewFormat returns the format that speaks a dialect.
func NewFormat(dialect Dialect) wire.Format { //nolint:gocritic // it is kept
	f := &format{dialect: dialect, header: baseHeader()}
	maps.Copy(f.header, dialect.Header)
	if dialect.Model != "" {
		f.prefix = wire.AppendString([]byte(`,"model":`), dialect.Model)
	}
	return f
}

func baseHeader() http.Header {
	return http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"inflow"}}
}

// URL is where chats go.
func (f *format) URL(task schemas.Task) string {
	to, _ := f.target(task)
	if to == nil {
		return ""
	}
	shown := *to
	shown.RawQuery = ""
	return shown.String()
}

// target is where a task goes, and what errors call it.
func (f *format) target(task schemas.Task) (*url.URL, string) {
	switch task {
	case schemas.TaskEmbeddings:
		return f.dialect.Embeddings, "embeddings"
	case schemas.TaskCompletions:
		return f.dialect.Completions, "completion"
	case schemas.TaskChat, "":
		return f.dialect.Chat, "chat completion"
	case schemas.TaskPredictions: // nobody has them in this format
	}
	return nil, ""
}

// call makes a request of a body.
func (f *format) call(to *url.URL, what string, request *schemas.Request, body []byte) *wire.Call {
	d := &f.dialect
	call := &wire.Call{
		Op: d.Name + ": " + what, URL: to, Header: make(http.Header, len(f.header)+2), Body: body,
		KeyField: d.KeyField, ModelField: d.ModelField, Rules: d.Rules, Problem: d.Problem,
	}
	maps.Copy(call.Header, f.header)
	if d.IDHeader != "" && isHeaderValue(request.ID) {
		// Not Idempotency-Key: chat completions ignore it, and net/http reads it as leave to send twice.
		call.Header[d.IDHeader] = []string{request.ID}
	}
	return call
}

// Check tells every reason why such a request cannot be put, before anything is paid.
func (f *format) Check(request *schemas.Request) error {
	d := &f.dialect
	faults := []error{d.Fault, d.checkParameters(request.Task, request.Parameters), checkTools(request)}
	if to, _ := f.target(request.Task); to == nil && d.Fault == nil {
		faults = append(faults, fmt.Errorf("%w: the %s format has no task %s", schemas.ErrInvalid, d.Name, request.Task))
	}
	if len(request.Tools) > 0 && d.NoTools {
		faults = append(faults, fmt.Errorf("%w: %s calls no tools; remove them", schemas.ErrInvalid, d.Name))
	}
	if request.ToolChoice != "" && request.ToolChoice != schemas.ToolChoiceAuto && d.NoToolChoice {
		faults = append(faults, fmt.Errorf("%w: %s has no tool choice; remove it", schemas.ErrInvalid, d.Name))
	}
	if request.Format != nil {
		faults = append(faults, d.checkFormat(request))
	}
	for i := range request.Messages {
		for _, part := range request.Messages[i].Parts {
			if part.Media != nil {
				faults = append(faults, d.checkMedia(part.Media))
			}
		}
	}
	return errors.Join(faults...)
}

func (d *Dialect) checkFormat(request *schemas.Request) error {
	if d.Schema == SchemaNone {
		return fmt.Errorf("%w: %s keeps no answer to a JSON Schema; ask for JSON in the prompt, with response_format {type: json_object}",
			schemas.ErrInvalid, d.Name)
	}
	for _, name := range []string{"response_format", "nvext"} {
		if request.Parameters[name] != nil {
			return fmt.Errorf("%w: request.parameters.%s: the request's format says already what the answer must look like; remove one of them",
				schemas.ErrInvalid, name)
		}
	}
	return checkSchema("the format's schema", request.Format.Schema)
}

func (d *Dialect) checkMedia(media *schemas.Media) error {
	switch {
	case d.Media != nil && !slices.Contains(d.Media, media.Kind):
		return fmt.Errorf("%w: %s takes no %s", schemas.ErrInvalid, d.Name, media.Kind)
	case media.Kind == schemas.MediaAudio && audioFormat(media.MIMEType) == "":
		return fmt.Errorf("%w: the openai format takes audio as audio/wav or audio/mpeg, not %s", schemas.ErrInvalid, shown(media.MIMEType))
	case media.URL != "" && (media.Kind != schemas.MediaImage || d.NoMediaURLs):
		return fmt.Errorf("%w: the openai format takes the bytes of a %s, not its URL", schemas.ErrInvalid, media.Kind)
	}
	return nil
}

// checkTools is what OpenAI's formats have in common.
func checkTools(request *schemas.Request) error {
	var faults []error
	for i := range request.Tools {
		if parameters := request.Tools[i].Parameters; parameters != nil {
			faults = append(faults, checkSchema("the parameters of the tool "+shown(request.Tools[i].Name), parameters))
		}
	}
	switch choice := request.ToolChoice; choice {
	case "":
	case schemas.ToolChoiceAuto, schemas.ToolChoiceNone, schemas.ToolChoiceRequired:
		if len(request.Tools) == 0 {
			faults = append(faults, fmt.Errorf("%w: there is a tool choice and no tool", schemas.ErrInvalid))
		}
	default:
		if !slices.ContainsFunc(request.Tools, func(tool schemas.Tool) bool { return tool.Name == string(choice) }) {
			faults = append(faults, fmt.Errorf("%w: the tool choice %s is none of the tools", schemas.ErrInvalid, shown(string(choice))))
		}
	}
	return errors.Join(faults...)
}

func checkSchema(what string, schema json.RawMessage) error {
	if len(schema) == 0 || schema[0] != '{' || !json.Valid(schema) {
		return fmt.Errorf("%w: %s: it is no JSON object", schemas.ErrInvalid, what)
	}
	return nil
}

// shown is a name as an error shows it.
func shown(name string) string {
	const longest = 64
	if len(name) > longest {
		return name[:longest] + "…"
	}
	return name
}
