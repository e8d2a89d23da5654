package bedrock

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// messageOverhead is about what a message takes beside its text.
const messageOverhead = 64

// Encode writes a request by hand: it is done for every row, and reflection would be most of its cost.
//
// A row that Check would have refused is written all the same where JSON can hold it: the provider then refuses this row
// alone, while an error here stops the run.
func (f *format) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	if err := f.checkShape(request); err != nil {
		return nil, err
	}
	parameters, err := f.parameters(request.Parameters)
	if err != nil {
		return nil, err
	}
	if err := checkFormat(request, parameters); err != nil {
		return nil, err
	}
	body := make([]byte, 0, sizeOf(request)+len(parameters.json)+messageOverhead)
	body = append(body, `{"messages":[`...)
	body = appendMessages(body, request.Messages)
	body = append(body, ']')
	body = appendSystem(body, request.Messages)
	body = appendTools(body, request)
	if request.Format != nil {
		body = appendFormat(body, request.Format.Name, "", string(request.Format.Schema))
	}
	return f.call(stream, append(append(body, parameters.json...), '}')), nil
}

// checkShape is what no row of the job can do without.
func (f *format) checkShape(request *schemas.Request) error {
	if request.Task != "" && request.Task != schemas.TaskChat {
		return errors.Join(f.fault, invalid("the bedrock format asks chats only, not %s", request.Task))
	}
	return f.fault
}

// sizeOf is about how long the body becomes.
func sizeOf(request *schemas.Request) int {
	size := 0
	for i := range request.Messages {
		message := &request.Messages[i]
		size += len(message.Content) + len(message.Content)/8 + messageOverhead
		for _, part := range message.Parts {
			size += len(part.Text) + messageOverhead
			if part.Media != nil {
				size += base64.StdEncoding.EncodedLen(len(part.Media.Data)) + len(part.Media.URL)
			}
		}
		for _, call := range message.ToolCalls {
			size += len(call.Arguments) + messageOverhead
		}
	}
	for i := range request.Tools {
		size += len(request.Tools[i].Description) + len(request.Tools[i].Parameters) + messageOverhead
	}
	if request.Format != nil {
		size += len(request.Format.Schema)*2 + messageOverhead
	}
	return size
}

// appendMessages writes the turns. Converse wants user and assistant to take turns, so neighbours of one role become
// one message; what tools answered is the user's.
func appendMessages(body []byte, messages []schemas.Message) []byte {
	names := documentNames{}
	open := ""
	for i := range messages {
		message := &messages[i]
		role := message.Role
		switch role {
		case schemas.RoleSystem:
			continue // has a place of its own
		case schemas.RoleTool:
			role = schemas.RoleUser
		}
		if role == open {
			body = append(body, ',')
		} else {
			if open != "" {
				body = append(body, `]},`...)
			}
			body = append(wire.AppendString(append(body, `{"role":`...), role), `,"content":[`...)
			open = role
		}
		body = appendBlocks(body, message, names)
	}
	if open != "" {
		body = append(body, `]}`...)
	}
	return body
}

func appendBlocks(body []byte, message *schemas.Message, names documentNames) []byte {
	if message.Role == schemas.RoleTool {
		body = wire.AppendString(append(body, `{"toolResult":{"toolUseId":`...), message.ToolCallID)
		body = append(body, `,"content":[`...)
		body, _ = appendContent(body, message, names)
		return append(body, `]}}`...)
	}
	body, written := appendContent(body, message, names)
	for i := range message.ToolCalls {
		call := &message.ToolCalls[i]
		if written {
			body = append(body, ',')
		}
		written = true
		body = wire.AppendString(append(body, `{"toolUse":{"toolUseId":`...), call.ID)
		body = append(wire.AppendString(append(body, `,"name":`...), call.Name), `,"input":`...)
		switch {
		case call.Arguments == "":
			body = append(body, `{}`...)
		case json.Valid([]byte(call.Arguments)):
			body = append(body, strings.ToValidUTF8(call.Arguments, "\uFFFD")...)
		default: // no input to any tool, which the provider says of this row
			body = wire.AppendString(body, call.Arguments)
		}
		body = append(body, `}}`...)
	}
	if !written {
		body = append(body, `{"text":""}`...) // that there is no text, the provider says of this row
	}
	return body
}

// appendContent writes the texts and media of a message. Empty texts are left out: Converse refuses them, and they say
// nothing.
func appendContent(body []byte, message *schemas.Message, names documentNames) (_ []byte, written bool) {
	text := func(text string) {
		if text == "" {
			return
		}
		if written {
			body = append(body, ',')
		}
		written = true
		body = append(wire.AppendString(append(body, `{"text":`...), text), '}')
	}
	if message.Parts == nil {
		text(message.Content)
		return body, written
	}
	for i := range message.Parts {
		part := &message.Parts[i]
		if part.Media == nil {
			text(part.Text)
			continue
		}
		if written {
			body = append(body, ',')
		}
		written = true
		body = appendMedia(body, part.Media, names)
	}
	return body, written
}

func appendMedia(body []byte, media *schemas.Media, names documentNames) []byte {
	kind := mediaFormat(media)
	if kind == "" { // Check refuses it; the provider does for a row that came later
		kind = media.MIMEType
	}
	switch media.Kind {
	case schemas.MediaAudio:
		body = append(body, `{"audio":{"format":`...)
	case schemas.MediaFile:
		body = append(wire.AppendString(append(body, `{"document":{"name":`...), names.add(media.Name)), `,"format":`...)
	case schemas.MediaImage:
		body = append(body, `{"image":{"format":`...)
	}
	body = append(wire.AppendString(body, kind), `,"source":{`...)
	if media.URL != "" {
		return append(wire.AppendString(append(body, `"s3Location":{"uri":`...), media.URL), `}}}}`...)
	}
	body = append(body, `"bytes":"`...)
	return append(base64.StdEncoding.AppendEncode(body, media.Data), `"}}}`...)
}

// mediaFormat is Converse's name for a MIME type (API reference, ImageBlock, DocumentBlock and AudioBlock); empty where
// it has none.
func mediaFormat(media *schemas.Media) string {
	kind, _, _ := strings.Cut(media.MIMEType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	switch media.Kind {
	case schemas.MediaImage:
		return map[string]string{
			"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp",
		}[kind]
	case schemas.MediaAudio:
		return map[string]string{
			"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav",
			"audio/flac": "flac", "audio/x-flac": "flac", "audio/ogg": "ogg", "audio/opus": "opus", "audio/aac": "aac",
			"audio/mp4": "mp4", "audio/x-m4a": "m4a", "audio/webm": "webm",
		}[kind]
	case schemas.MediaFile:
		return map[string]string{
			"application/pdf": "pdf", "text/csv": "csv", "text/html": "html", "text/plain": "txt", "text/markdown": "md",
			"application/msword": "doc", "application/vnd.ms-excel": "xls",
			"application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
			"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":       "xlsx",
		}[kind]
	}
	return ""
}

// documentNames are the names that a request has given out: Converse refuses two documents of one name.
type documentNames map[string]bool

// add makes a name of what Converse takes (API reference, DocumentBlock): letters, digits, single spaces, hyphens,
// parentheses and square brackets, at most 200 of them.
func (n documentNames) add(file string) string {
	const longest = 180 // which leaves room for a number
	if dot := strings.LastIndexByte(file, '.'); dot > 0 {
		file = file[:dot] // the format is told beside it
	}
	file = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" -()[]", r):
			return r
		}
		return '-'
	}, file)
	file = strings.Join(strings.Fields(file), " ")
	if file = file[:min(len(file), longest)]; file == "" {
		file = "document"
	}
	name := file
	for i := 2; n[name]; i++ {
		name = file + "-" + strconv.Itoa(i)
	}
	n[name] = true
	return name
}

// appendSystem writes what stands before the conversation, wherever in it the messages were.
func appendSystem(body []byte, messages []schemas.Message) []byte {
	open := false
	text := func(text string) {
		switch {
		case text == "":
			return
		case open:
			body = append(body, ',')
		default:
			body = append(body, `,"system":[`...)
		}
		open = true
		body = append(wire.AppendString(append(body, `{"text":`...), text), '}')
	}
	for i := range messages {
		message := &messages[i]
		if message.Role != schemas.RoleSystem {
			continue
		}
		if message.Parts == nil {
			text(message.Content)
		}
		for _, part := range message.Parts {
			text(part.Text)
		}
	}
	if open {
		body = append(body, ']')
	}
	return body
}

// appendTools writes the tools and the choice among them. Converse has no choice of none: without tools, none is
// called.
func appendTools(body []byte, request *schemas.Request) []byte {
	if len(request.Tools) == 0 || request.ToolChoice == schemas.ToolChoiceNone && !hasToolTurns(request) {
		return body
	}
	body = append(body, `,"toolConfig":{"tools":[`...)
	for i := range request.Tools {
		tool := &request.Tools[i]
		if i > 0 {
			body = append(body, ',')
		}
		body = wire.AppendString(append(body, `{"toolSpec":{"name":`...), tool.Name)
		if tool.Description != "" {
			body = wire.AppendString(append(body, `,"description":`...), tool.Description)
		}
		body = append(body, `,"inputSchema":{"json":`...)
		if len(tool.Parameters) > 0 {
			body = append(body, tool.Parameters...)
		} else {
			body = append(body, `{"type":"object","properties":{}}`...) // the field is required
		}
		body = append(body, '}')
		if tool.Strict {
			body = append(body, `,"strict":true`...)
		}
		body = append(body, `}}`...)
	}
	body = append(body, ']')
	switch request.ToolChoice {
	case "", schemas.ToolChoiceNone:
	case schemas.ToolChoiceAuto:
		body = append(body, `,"toolChoice":{"auto":{}}`...)
	case schemas.ToolChoiceRequired:
		body = append(body, `,"toolChoice":{"any":{}}`...)
	default:
		body = append(wire.AppendString(append(body, `,"toolChoice":{"tool":{"name":`...), string(request.ToolChoice)), `}}`...)
	}
	return append(body, '}')
}

func hasToolTurns(request *schemas.Request) bool {
	for i := range request.Messages {
		if message := &request.Messages[i]; message.Role == schemas.RoleTool || len(message.ToolCalls) > 0 {
			return true
		}
	}
	return false
}

// appendFormat writes what the answer must look like. Converse takes the schema as a text.
func appendFormat(body []byte, name, description, schema string) []byte {
	body = append(body, `,"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":`...)
	body = wire.AppendString(body, schema)
	if name != "" {
		body = wire.AppendString(append(body, `,"name":`...), name)
	}
	if description != "" {
		body = wire.AppendString(append(body, `,"description":`...), description)
	}
	return append(body, `}}}}`...)
}
