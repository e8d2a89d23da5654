package cohere

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// maxTexts is the most that one call embeds.
const maxTexts = 96

// chatBody is a chat's, by the API's names.
type chatBody struct {
	Model       string    `json:"model"`
	Stream      bool      `json:"stream"` // required
	Messages    []message `json:"messages"`
	Tools       []tool    `json:"tools,omitempty"`
	StrictTools bool      `json:"strict_tools,omitempty"`
	ToolChoice  string    `json:"tool_choice,omitempty"`
	chatSettings
}

type message struct {
	Role       string     `json:"role"`
	Content    any        `json:"content,omitempty"` // a string or []block
	ToolCalls  []toolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type block struct {
	Type     string    `json:"type"`
	Text     string    `json:"text,omitempty"`
	ImageURL *imageURL `json:"image_url,omitempty"`
}

type imageURL struct {
	URL string `json:"url"`
}

type toolCall struct {
	ID       string       `json:"id"`
	Type     string       `json:"type"`
	Function calledByName `json:"function"`
}

type calledByName struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type tool struct {
	Type     string   `json:"type"`
	Function function `json:"function"`
}

type function struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters"`
}

// embedBody is that of embeddings.
type embedBody struct {
	Model          string   `json:"model"`
	Texts          []string `json:"texts"`
	EmbeddingTypes []string `json:"embedding_types"`
	embedSettings
}

// Encode writes one request.
func (f *format) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	body, err := f.translate(request, stream)
	if err != nil {
		return nil, err
	}
	text, err := wire.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%w: the request cannot be written as JSON: %w", schemas.ErrInvalid, err)
	}
	if request.Task == schemas.TaskEmbeddings {
		return f.call("cohere: embeddings", embedPath, text), nil
	}
	call := f.call("cohere: chat", chatPath, text)
	if stream {
		call.Header["Accept"] = []string{"text/event-stream"}
	}
	return call, nil
}

// translate says the request in the API's words, or every reason why that cannot be done. Check and Encode share it,
// so that what one lets pass the other can write.
func (f *format) translate(request *schemas.Request, stream bool) (any, error) {
	switch request.Task {
	case schemas.TaskChat, "":
		return f.chat(request, stream)
	case schemas.TaskEmbeddings:
		return f.embed(request, stream)
	case schemas.TaskCompletions, schemas.TaskPredictions:
	}
	return nil, errors.Join(f.fault, fmt.Errorf("%w: the cohere format has no task %s", schemas.ErrInvalid, request.Task))
}

func (f *format) embed(request *schemas.Request, stream bool) (any, error) {
	faults := []error{f.fault}
	if len(request.Inputs) > maxTexts {
		faults = append(faults, fmt.Errorf("%w: Cohere embeds %d texts at once, not %d; set request.batch_size", schemas.ErrInvalid, maxTexts, len(request.Inputs)))
	}
	if stream {
		faults = append(faults, fmt.Errorf("%w: embeddings do not come in events", schemas.ErrInvalid))
	}
	body := &embedBody{Model: f.model, Texts: request.Inputs, EmbeddingTypes: []string{"float"}}
	faults = append(faults, body.read(request))
	return body, errors.Join(faults...)
}

func (f *format) chat(request *schemas.Request, stream bool) (any, error) {
	faults := []error{f.fault}
	body := &chatBody{Model: f.model, Stream: stream, Messages: make([]message, 0, len(request.Messages))}
	if err := body.read(request); err != nil {
		faults = append(faults, err)
	}
	var system []block
	for i := range request.Messages {
		from := &request.Messages[i]
		translated, err := translateMessage(from)
		if err != nil {
			faults = append(faults, fmt.Errorf("%w: message %d of the request: %w", schemas.ErrInvalid, i+1, err))
			continue
		}
		if from.Role == schemas.RoleSystem {
			system = append(system, blocksOf(translated.Content)...)
			continue
		}
		body.Messages = append(body.Messages, translated)
	}
	// The API takes instructions as the first message, and there only.
	switch len(system) {
	case 0:
	case 1:
		body.Messages = slices.Insert(body.Messages, 0, message{Role: schemas.RoleSystem, Content: system[0].Text})
	default:
		body.Messages = slices.Insert(body.Messages, 0, message{Role: schemas.RoleSystem, Content: system})
	}
	faults = append(faults, body.addTools(request))
	return body, errors.Join(faults...)
}

func blocksOf(content any) []block {
	switch content := content.(type) {
	case string:
		if content != "" {
			return []block{{Type: "text", Text: content}}
		}
	case []block:
		return content
	}
	return nil
}

func translateMessage(from *schemas.Message) (message, error) {
	into := message{Role: from.Role, Content: from.Content, ToolCallID: from.ToolCallID}
	switch from.Role {
	case schemas.RoleSystem, schemas.RoleUser, schemas.RoleAssistant:
	case schemas.RoleTool:
		if from.ToolCallID == "" {
			return into, errors.New("a tool's message does not say which call it answers")
		}
	default:
		return into, fmt.Errorf("there is no role %q, only system, user, assistant and tool", from.Role)
	}
	if from.Parts != nil {
		blocks := make([]block, 0, len(from.Parts))
		for _, part := range from.Parts {
			if part.Media == nil {
				if part.Text != "" { // an empty one says nothing, and is refused
					blocks = append(blocks, block{Type: "text", Text: part.Text})
				}
				continue
			}
			if from.Role != schemas.RoleUser {
				return into, fmt.Errorf("the cohere format takes media in a user's message, not in that of the %s", from.Role)
			}
			url, err := imageOf(part.Media)
			if err != nil {
				return into, err
			}
			blocks = append(blocks, block{Type: "image_url", ImageURL: &imageURL{URL: url}})
		}
		into.Content = blocks
	}
	for _, call := range from.ToolCalls {
		into.ToolCalls = append(into.ToolCalls, toolCall{
			ID: call.ID, Type: "function", Function: calledByName{Name: call.Name, Arguments: call.Arguments},
		})
	}
	if len(into.ToolCalls) > 0 && len(blocksOf(into.Content)) == 0 {
		into.Content = nil
	}
	return into, nil
}

// imageOf is the URL of an image, which holds its data where it has no other.
func imageOf(media *schemas.Media) (string, error) {
	if media.Kind != schemas.MediaImage {
		return "", fmt.Errorf("the cohere format takes images, and no %s", media.Kind)
	}
	if media.URL != "" {
		if !strings.HasPrefix(media.URL, "https://") && !strings.HasPrefix(media.URL, "http://") {
			return "", errors.New("the cohere format takes the URL of an image as http:// or https:// only")
		}
		return media.URL, nil
	}
	kind := media.MIMEType
	if kind == "image/jpg" { // a common misnomer
		kind = "image/jpeg"
	}
	if !slices.Contains([]string{"image/jpeg", "image/png", "image/gif", "image/webp"}, kind) {
		return "", fmt.Errorf("the cohere format takes images as image/jpeg, image/png, image/gif or image/webp, not %q", kind)
	}
	if len(media.Data) == 0 {
		return "", errors.New("there is neither data nor a URL of the image")
	}
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(media.Data), nil
}

// addTools writes the tools and whether they must be called.
func (b *chatBody) addTools(request *schemas.Request) error {
	var faults []error
	fault := func(text string, values ...any) {
		faults = append(faults, fmt.Errorf("%w: "+text, append([]any{schemas.ErrInvalid}, values...)...))
	}
	strict := 0
	for i := range request.Tools {
		from := &request.Tools[i]
		schema := from.Parameters
		if schema == nil {
			schema = json.RawMessage(`{"type":"object","properties":{}}`) // the field is required
		}
		if !wire.IsObject(schema) {
			fault("the parameters of the tool %s are no JSON object", from.Name)
		}
		if from.Strict {
			strict++
		}
		b.Tools = append(b.Tools, tool{Type: "function", Function: function{Name: from.Name, Description: from.Description, Parameters: schema}})
	}
	if b.StrictTools = strict > 0; strict > 0 && strict < len(request.Tools) {
		fault("Cohere keeps to the schemas of all tools or of none, and %d of %d are strict", strict, len(request.Tools))
	}
	switch choice := request.ToolChoice; {
	case choice == "" || choice == schemas.ToolChoiceAuto: // what the API does where nothing is said
	case choice == schemas.ToolChoiceNone:
		if len(request.Tools) > 0 {
			b.ToolChoice = "NONE"
		}
	case len(request.Tools) == 0:
		fault("the tool choice is %s, but there are no tools", choice)
	case choice == schemas.ToolChoiceRequired, len(request.Tools) == 1 && request.Tools[0].Name == string(choice):
		b.ToolChoice = "REQUIRED"
	default:
		fault("Cohere cannot be made to call %s; give that tool alone, or write required", choice)
	}
	if len(request.Tools) > 0 && b.ResponseFormat != nil {
		fault("Cohere has no format of the answer beside tools; remove one of them")
	}
	if len(request.Tools) > 0 && b.SafetyMode != "" {
		fault("request.parameters.safety_mode: Cohere has none beside tools; remove it")
	}
	return errors.Join(faults...)
}
