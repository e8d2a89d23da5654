package gemini

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	// messageOverhead is about what a message takes beside its text.
	messageOverhead = 64
	// noSignature stands for the signature of thoughts that nobody kept; models since Gemini 3 refuse a call of a tool
	// without one (ai.google.dev/gemini-api/docs/thought-signatures).
	noSignature = "skip_thought_signature_validator"

	toolNameLimit = 128
	batchLimit    = 100 // texts of a batchEmbedContents
	instanceLimit = 250 // texts of a predict (cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings)
)

// Encode writes a request by hand: it is done for every row, and reflection would be most of its cost.
func (f *format) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	if f.fault != nil {
		return nil, f.fault
	}
	parameters, err := f.parameters(request)
	if err != nil {
		return nil, err
	}
	w := writer{format: f, request: request, parameters: parameters, body: make([]byte, 0, sizeOf(request)+len(parameters.generation))}
	what, verb := "chat", "generateContent"
	switch request.Task {
	case schemas.TaskEmbeddings:
		what, verb = "embeddings", w.embeddings()
		if stream {
			w.fault("the gemini format does not stream embeddings")
		}
	case schemas.TaskChat, "":
		w.chat()
		if stream {
			verb = "streamGenerateContent"
		}
	case schemas.TaskCompletions, schemas.TaskPredictions:
		fallthrough
	default:
		w.fault("the gemini format has no task %s; ask for %s", request.Task, schemas.TaskChat)
	}
	if err := errors.Join(w.faults...); err != nil {
		return nil, err
	}
	call := f.call(what, verb, w.body)
	if stream {
		query := call.URL.Query()
		query.Set("alt", "sse") // without, the chunks are the elements of one JSON list
		call.URL.RawQuery = query.Encode()
		call.Header["Accept"] = []string{"text/event-stream"}
	}
	return call, nil
}

// sizeOf is about how long the body becomes.
func sizeOf(request *schemas.Request) int {
	size := messageOverhead
	for i := range request.Messages {
		message := &request.Messages[i]
		size += len(message.Content) + len(message.Content)/8 + messageOverhead
		for _, part := range message.Parts {
			size += len(part.Text) + messageOverhead
			if part.Media != nil {
				size += base64.StdEncoding.EncodedLen(len(part.Media.Data)) + len(part.Media.URL)
			}
		}
	}
	for _, input := range request.Inputs {
		size += len(input) + len(input)/8 + messageOverhead
	}
	return size
}

// writer writes one body, and gathers why it cannot be put.
type writer struct {
	*format

	request    *schemas.Request
	parameters *encodedParameters
	body       []byte
	faults     []error
}

func (w *writer) fault(text string, of ...any) {
	w.faults = append(w.faults, fmt.Errorf("%w: "+text, append([]any{schemas.ErrInvalid}, of...)...))
}

func (w *writer) raw(text string) { w.body = append(w.body, text...) }

func (w *writer) text(name, text string) { w.body = wire.AppendString(append(w.body, name...), text) }

// object appends JSON of the request's own, which must be an object.
func (w *writer) object(name, what string, raw []byte) {
	if !wire.IsObject(raw) {
		w.fault("%s is no JSON object", what)
		return
	}
	w.raw(name)
	w.raw(strings.ToValidUTF8(string(raw), "\uFFFD"))
}

func (w *writer) chat() {
	first := w.system()
	w.raw(`"contents":[`)
	kind := ""
	for i := first; i < len(w.request.Messages); i++ {
		message := &w.request.Messages[i]
		switch role := message.Role; {
		case role != schemas.RoleUser && role != schemas.RoleAssistant && role != schemas.RoleTool:
			w.fault("the gemini format takes instructions of the system before all other messages, and no role %q after them", role)
			continue
		case role == kind: // the turns of a role are one; a tool's results must stand together
			w.raw(`,`)
		case kind != "":
			w.raw(`]},`)
			fallthrough
		default:
			kind = role
			w.raw(turnOf(role))
		}
		if message.Role == schemas.RoleTool {
			w.result(i)
			continue
		}
		w.message(message)
	}
	if kind != "" {
		w.raw(`]}`)
	} else if first > 0 {
		w.fault("the gemini format needs a message of the user beside the system's")
	}
	w.raw(`]`)
	w.tools()
	w.generation()
	w.raw(w.parameters.body)
	w.raw(`}`)
}

// turnOf begins a turn. The user is who hands in a tool's results.
func turnOf(role string) string {
	if role == schemas.RoleAssistant {
		return `{"role":"model","parts":[`
	}
	return `{"role":"user","parts":[`
}

// system writes the instructions, which have a place of their own, and returns how many messages they are.
func (w *writer) system() int {
	w.raw(`{`)
	first := 0
	for ; first < len(w.request.Messages) && w.request.Messages[first].Role == schemas.RoleSystem; first++ {
		message := &w.request.Messages[first]
		if first == 0 {
			w.raw(`"systemInstruction":{"parts":[`)
		} else {
			w.raw(`,`)
		}
		if slices.ContainsFunc(message.Parts, func(part schemas.Part) bool { return part.Media != nil }) {
			w.fault("the gemini format takes text only from the system")
		}
		w.message(message)
	}
	if first > 0 {
		w.raw(`]},`)
	}
	return first
}

// message writes the parts of a message.
func (w *writer) message(message *schemas.Message) {
	start := len(w.body)
	next := func() {
		if len(w.body) > start {
			w.raw(`,`)
		}
	}
	for i := range message.Parts {
		next()
		w.part(&message.Parts[i])
	}
	if len(message.Parts) == 0 && (message.Content != "" || len(message.ToolCalls) == 0) {
		w.text(`{"text":`, message.Content)
		w.raw(`}`)
	}
	for i := range message.ToolCalls {
		call := &message.ToolCalls[i]
		next()
		w.text(`{"functionCall":{"name":`, call.Name)
		if call.Arguments == "" {
			w.raw(`,"args":{}`)
		} else {
			w.object(`,"args":`, "what a tool was called with", []byte(call.Arguments))
		}
		if call.ID != "" {
			w.text(`,"id":`, call.ID)
		}
		w.raw(`}`)
		if i == 0 && w.thinks { // of calls side by side the first has the signature
			w.text(`,"thoughtSignature":`, noSignature)
		}
		w.raw(`}`)
	}
}

func (w *writer) part(part *schemas.Part) {
	media := part.Media
	switch {
	case media == nil:
		w.text(`{"text":`, part.Text)
		w.raw(`}`)
		return
	case media.MIMEType == "" && (media.URL == "" || w.vertex):
		w.fault("the gemini format needs the MIME type of a %s", media.Kind)
	case media.URL != "":
		if !hasScheme(media.URL, "https", "http", "gs") {
			w.fault("the gemini format takes the URL of a %s as https:// or gs://", media.Kind)
		}
		w.text(`{"fileData":{"fileUri":`, media.URL)
		if media.MIMEType != "" {
			w.text(`,"mimeType":`, media.MIMEType)
		}
		w.raw(`}}`)
	default: // a file's name has no place at the Gemini API, and no effect at Vertex AI
		w.text(`{"inlineData":{"mimeType":`, media.MIMEType)
		w.raw(`,"data":"`)
		w.body = base64.StdEncoding.AppendEncode(w.body, media.Data)
		w.raw(`"}}`)
	}
}

// hasScheme reports whether a URL is of one of the schemes that Google fetches itself.
func hasScheme(url string, schemes ...string) bool {
	scheme, _, found := strings.Cut(url, "://")
	return found && slices.Contains(schemes, scheme)
}

// result writes what a tool answered, under the name of the function and not only the call's id.
func (w *writer) result(index int) {
	message := &w.request.Messages[index]
	name := w.called(index, message.ToolCallID)
	if name == "" {
		w.fault("a tool's message answers no call before it: its tool_call_id is in no message of the assistant")
	}
	content := message.Content
	if len(message.Parts) > 0 {
		content = textOf(message.Parts)
	}
	for _, part := range message.Parts {
		if part.Media != nil {
			w.fault("the gemini format takes a tool's result as text")
		}
	}
	w.text(`{"functionResponse":{"name":`, name)
	if message.ToolCallID != "" {
		w.text(`,"id":`, message.ToolCallID)
	}
	w.raw(`,"response":`)
	if raw := []byte(content); wire.IsObject(raw) {
		w.raw(strings.ToValidUTF8(content, "\uFFFD"))
	} else { // it must be an object, and "output" is what the API reads as the whole of it
		w.text(`{"output":`, content)
		w.raw(`}`)
	}
	w.raw(`}}`)
}

func textOf(parts []schemas.Part) string {
	texts := make([]string, len(parts))
	for i := range parts {
		texts[i] = parts[i].Text
	}
	return strings.Join(texts, "")
}

// called finds the function of the latest call with this id.
func (w *writer) called(before int, id string) string {
	for i := before - 1; i >= 0; i-- {
		calls := w.request.Messages[i].ToolCalls
		if at := slices.IndexFunc(calls, func(call schemas.ToolCall) bool { return call.ID == id }); at >= 0 {
			return calls[at].Name
		}
	}
	return ""
}

func (w *writer) tools() {
	choice := w.request.ToolChoice
	named := choice != "" && choice != schemas.ToolChoiceAuto && choice != schemas.ToolChoiceNone && choice != schemas.ToolChoiceRequired
	strict, found := false, false
	for i := range w.request.Tools {
		tool := &w.request.Tools[i]
		strict, found = strict || tool.Strict, found || tool.Name == string(choice)
		if !isToolName(tool.Name) {
			w.fault("the gemini format names a tool with up to %d letters, digits and _.:- only, not %q", toolNameLimit, tool.Name)
		}
		if i == 0 {
			w.raw(`,"tools":[{"functionDeclarations":[`)
		} else {
			w.raw(`,`)
		}
		w.text(`{"name":`, tool.Name)
		if tool.Description != "" {
			w.text(`,"description":`, tool.Description)
		}
		if tool.Parameters != nil {
			w.object(`,"parametersJsonSchema":`, "the schema of tool "+tool.Name, tool.Parameters)
		}
		w.raw(`}`)
	}
	if len(w.request.Tools) > 0 {
		w.raw(`]}]`)
	}
	switch {
	case named && !found:
		w.fault("the tool that must be called is not among the request's tools")
	case choice == schemas.ToolChoiceRequired && len(w.request.Tools) == 0:
		w.fault("a tool must be called, and the request has none")
	case len(w.request.Tools) == 0: // nothing to choose from
	case named:
		w.text(`,"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":[`, string(choice))
		w.raw(`]}}`)
	case choice == schemas.ToolChoiceRequired:
		w.mode("ANY")
	case choice == schemas.ToolChoiceNone:
		w.mode("NONE")
	case strict: // a call of its own choice that keeps to the schema, as ANY's always does
		w.mode("VALIDATED")
	case choice == schemas.ToolChoiceAuto:
		w.mode("AUTO")
	}
}

// isToolName accepts what a function may be called (ai.google.dev/api/caching, FunctionDeclaration).
func isToolName(name string) bool {
	for i, r := range name {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
		if !letter && (i == 0 || (r < '0' || r > '9') && r != '.' && r != ':' && r != '-') {
			return false
		}
	}
	return name != "" && len(name) <= toolNameLimit
}

func (w *writer) mode(mode string) {
	w.text(`,"toolConfig":{"functionCallingConfig":{"mode":`, mode)
	w.raw(`}}`)
}

// generation writes the sampling parameters and what the answer must look like.
func (w *writer) generation() {
	format := w.request.Format
	if w.parameters.generation == "" && format == nil {
		return
	}
	w.raw(`,"generationConfig":{` + w.parameters.generation)
	if format != nil {
		if w.parameters.formatted {
			w.fault("request.parameters.response_format: the request has a format already; remove one")
		}
		if w.parameters.generation != "" {
			w.raw(`,`)
		}
		w.raw(`"responseMimeType":"application/json"`)
		w.object(`,"responseJsonSchema":`, "the schema of the answer", format.Schema)
	}
	w.raw(`}`)
}

// embedVerb is the method that takes texts to embed.
func embedVerb(vertex bool) string {
	if vertex {
		return "predict"
	}
	return "batchEmbedContents"
}

// embeddings writes the inputs and returns the method that takes them.
func (w *writer) embeddings() string {
	limit, verb := batchLimit, embedVerb(w.vertex)
	if w.vertex {
		limit = instanceLimit
		switch model := w.options.Model; {
		case model == "gemini-embedding-001":
			limit = 1 // it takes one text a call
		case strings.HasPrefix(model, "gemini"):
			w.fault("model %s embeds over another method of Vertex AI than this format has; take gemini-embedding-001 or text-embedding-005", model)
		}
	}
	if len(w.request.Inputs) > limit {
		w.fault("%s embeds at most %d texts a call, not %d; set request.batch_size", w.options.Model, limit, len(w.request.Inputs))
	}
	if w.vertex {
		w.raw(`{"instances":[`)
	} else {
		w.raw(`{"requests":[`)
	}
	for i, input := range w.request.Inputs {
		if i > 0 {
			w.raw(`,`)
		}
		if w.vertex {
			w.text(`{"content":`, input)
		} else {
			w.text(`{"model":`, "models/"+w.options.Model)
			w.text(`,"content":{"parts":[{"text":`, input)
			w.raw(`}]}`)
		}
		w.raw(w.parameters.each)
		w.raw(`}`)
	}
	w.raw(`]`)
	if w.parameters.generation != "" {
		w.raw(`,"parameters":{` + w.parameters.generation + `}`)
	}
	w.raw(`}`)
	return verb
}
