package anthropic

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// body is a request's, by the API's names.
type body struct {
	Model    string    `json:"model"`
	System   []block   `json:"system,omitempty"`
	Messages []message `json:"messages"`
	Tools    []tool    `json:"tools,omitempty"`
	Choice   *choice   `json:"tool_choice,omitempty"`
	settings

	Stream bool `json:"stream,omitempty"`
}

type message struct {
	Role    string  `json:"role"`
	Content []block `json:"content"`
}

// block is a piece of a message: text, image, document, tool_use or tool_result.
type block struct {
	Type      string          `json:"type"`
	Text      string          `json:"text,omitempty"`
	Source    *source         `json:"source,omitempty"`
	Title     string          `json:"title,omitempty"`
	ID        string          `json:"id,omitempty"`
	Name      string          `json:"name,omitempty"`
	Input     json.RawMessage `json:"input,omitempty"`
	ToolUseID string          `json:"tool_use_id,omitempty"`
	Content   []block         `json:"content,omitempty"`
}

// source is where media come from. Data is []byte, which becomes base64, or the string of a text.
type source struct {
	Type      string `json:"type"`
	MediaType string `json:"media_type,omitempty"`
	Data      any    `json:"data,omitempty"`
	URL       string `json:"url,omitempty"`
}

type tool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	InputSchema json.RawMessage `json:"input_schema"`
	Strict      bool            `json:"strict,omitempty"`
}

type choice struct {
	Type            string `json:"type"`
	Name            string `json:"name,omitempty"`
	DisableParallel bool   `json:"disable_parallel_tool_use,omitempty"`
}

// Encode writes one request.
func (f *format) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	translated, err := f.translate(request)
	if err != nil {
		return nil, err
	}
	translated.Stream = stream
	body, err := wire.Marshal(translated)
	if err != nil {
		return nil, fmt.Errorf("%w: the request cannot be written as JSON: %w", schemas.ErrInvalid, err)
	}
	return f.call(body, stream), nil
}

// translate says the request in the API's words, or every reason why that cannot be done. Check and Encode share it,
// so that what one lets pass the other can write.
func (f *format) translate(request *schemas.Request) (*body, error) {
	faults := []error{f.fault}
	if request.Task != schemas.TaskChat && request.Task != "" {
		faults = append(faults, fmt.Errorf("%w: the anthropic format has no task %s, only %s", schemas.ErrInvalid, request.Task, schemas.TaskChat))
	}
	result := &body{Model: f.model, Messages: []message{}}
	parallel, err := result.read(request)
	faults = append(faults, err)
	for i := range request.Messages {
		if err := result.add(&request.Messages[i]); err != nil {
			faults = append(faults, fmt.Errorf("%w: message %d of the request: %w", schemas.ErrInvalid, i+1, err))
		}
	}
	faults = append(faults, result.addTools(request, parallel))
	return result, errors.Join(faults...)
}

// add puts a message where the API wants it: instructions above the conversation, a tool's result into a user's turn,
// and what one side says in a row into one turn, for the results of parallel calls must come together.
func (b *body) add(from *schemas.Message) error {
	blocks, err := contentOf(from)
	if err != nil {
		return err
	}
	role := from.Role
	switch from.Role {
	case schemas.RoleSystem:
		if slices.ContainsFunc(blocks, isMedia) {
			return errors.New("the anthropic format takes no media in a system message; put them into a user's")
		}
		b.System = append(b.System, blocks...)
		return nil
	case schemas.RoleTool:
		if from.ToolCallID == "" {
			return errors.New("a tool's message does not say which call it answers")
		}
		role, blocks = schemas.RoleUser, []block{{Type: "tool_result", ToolUseID: from.ToolCallID, Content: blocks}}
	case schemas.RoleAssistant:
		if slices.ContainsFunc(blocks, isMedia) {
			return errors.New("the anthropic format takes no media in an assistant's message")
		}
		for i := range from.ToolCalls {
			used, err := toolUse(&from.ToolCalls[i])
			if err != nil {
				return err
			}
			blocks = append(blocks, used)
		}
	case schemas.RoleUser:
	default:
		return fmt.Errorf("there is no role %q, only system, user, assistant and tool", from.Role)
	}
	if last := len(b.Messages) - 1; last >= 0 && b.Messages[last].Role == role {
		b.Messages[last].Content = append(b.Messages[last].Content, blocks...)
		return nil
	}
	b.Messages = append(b.Messages, message{Role: role, Content: blocks})
	return nil
}

func isMedia(of block) bool { return of.Source != nil }

// contentOf leaves out empty texts, which say nothing and which the API refuses.
func contentOf(from *schemas.Message) ([]block, error) {
	blocks := make([]block, 0, 1+len(from.Parts)+len(from.ToolCalls))
	if from.Content != "" {
		blocks = append(blocks, block{Type: "text", Text: from.Content})
	}
	for _, part := range from.Parts {
		if part.Media != nil {
			media, err := mediaOf(part.Media)
			if err != nil {
				return nil, err
			}
			blocks = append(blocks, media)
		} else if part.Text != "" {
			blocks = append(blocks, block{Type: "text", Text: part.Text})
		}
	}
	return blocks, nil
}

func toolUse(call *schemas.ToolCall) (block, error) {
	input := json.RawMessage(strings.ToValidUTF8(call.Arguments, "\uFFFD"))
	if call.Arguments == "" {
		input = json.RawMessage(`{}`)
	}
	if !wire.IsObject(input) {
		return block{}, errors.New("the arguments of a tool call are no JSON object")
	}
	return block{Type: "tool_use", ID: call.ID, Name: call.Name, Input: input}, nil
}

func mediaOf(media *schemas.Media) (block, error) {
	if media.URL == "" && len(media.Data) == 0 {
		return block{}, fmt.Errorf("there is neither data nor a URL of the %s", media.Kind)
	}
	if media.URL != "" && !strings.HasPrefix(media.URL, "https://") && !strings.HasPrefix(media.URL, "http://") {
		return block{}, fmt.Errorf("the anthropic format takes the URL of the %s as http:// or https:// only", media.Kind)
	}
	switch media.Kind {
	case schemas.MediaImage:
		if media.URL != "" {
			return block{Type: "image", Source: &source{Type: "url", URL: media.URL}}, nil
		}
		kind := media.MIMEType
		if kind == "image/jpg" { // a common misnomer
			kind = "image/jpeg"
		}
		if !slices.Contains([]string{"image/jpeg", "image/png", "image/gif", "image/webp"}, kind) {
			return block{}, fmt.Errorf("the anthropic format takes images as image/jpeg, image/png, image/gif or image/webp, not %q", kind)
		}
		return block{Type: "image", Source: &source{Type: "base64", MediaType: kind, Data: media.Data}}, nil
	case schemas.MediaFile:
		return fileOf(media)
	case schemas.MediaAudio:
		return block{}, errors.New("the anthropic format takes no audio")
	}
	return block{}, fmt.Errorf("the anthropic format has no media of kind %q", media.Kind)
}

func fileOf(media *schemas.Media) (block, error) {
	document := block{Type: "document", Title: media.Name}
	switch {
	case media.URL != "" && (media.MIMEType == "" || media.MIMEType == "application/pdf"):
		document.Source = &source{Type: "url", URL: media.URL}
	case media.URL != "":
		return block{}, fmt.Errorf("the anthropic format takes the URL of a PDF, and of no %q; give its data", media.MIMEType)
	case media.MIMEType == "application/pdf":
		document.Source = &source{Type: "base64", MediaType: media.MIMEType, Data: media.Data}
	case media.MIMEType == "text/plain" && utf8.Valid(media.Data):
		document.Source = &source{Type: "text", MediaType: media.MIMEType, Data: string(media.Data)}
	default:
		return block{}, fmt.Errorf("the anthropic format takes files as application/pdf, or as text/plain in UTF-8, not %q", media.MIMEType)
	}
	return document, nil
}

// addTools writes the tools and which of them may be called.
func (b *body) addTools(request *schemas.Request, parallel *bool) error {
	var faults []error
	fault := func(text string, values ...any) {
		faults = append(faults, fmt.Errorf("%w: "+text, append([]any{schemas.ErrInvalid}, values...)...))
	}
	for i := range request.Tools {
		from := &request.Tools[i]
		schema := from.Parameters
		if schema == nil {
			schema = json.RawMessage(`{"type":"object"}`) // the field is required
		}
		if !wire.IsObject(schema) {
			fault("the parameters of the tool %s are no JSON object", from.Name)
		}
		b.Tools = append(b.Tools, tool{Name: from.Name, Description: from.Description, InputSchema: schema, Strict: from.Strict})
	}
	switch request.ToolChoice {
	case "":
	case schemas.ToolChoiceAuto:
		b.Choice = &choice{Type: "auto"}
	case schemas.ToolChoiceNone:
		b.Choice = &choice{Type: "none"}
	case schemas.ToolChoiceRequired:
		b.Choice = &choice{Type: "any"}
	default:
		name := string(request.ToolChoice)
		if !slices.ContainsFunc(request.Tools, func(t schemas.Tool) bool { return t.Name == name }) {
			fault("the tool choice names %s, which is not among the tools", name)
		}
		b.Choice = &choice{Type: "tool", Name: name}
	}
	if len(request.Tools) == 0 {
		if b.Choice != nil && b.Choice.Type == "any" {
			fault("the tool choice is %s, but there are no tools", request.ToolChoice)
		}
		if parallel != nil {
			fault("request.parameters.parallel_tool_calls: there are no tools; remove it")
		}
		b.Choice = nil // the API refuses one without tools, and the two that are left ask for nothing
	}
	if parallel != nil && !*parallel && len(request.Tools) > 0 {
		if b.Choice == nil {
			b.Choice = &choice{Type: "auto"} // as the API has it where nothing is said
		}
		b.Choice.DisableParallel = b.Choice.Type != "none"
	}
	return errors.Join(faults...)
}
