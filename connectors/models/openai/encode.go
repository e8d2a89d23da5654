package openai

import (
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// messageOverhead is about what a message takes beside its text.
const messageOverhead = 64

// Encode writes a request by hand: it is done for every row, and reflection would be most of its cost.
func (f *format) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	d := &f.dialect
	if d.Fault != nil {
		return nil, d.Fault
	}
	parameters, err := f.parameters(request)
	if err != nil {
		return nil, err
	}
	to, what := f.target(request.Task)
	if to == nil {
		return nil, fmt.Errorf("%w: the %s format has no task %s", schemas.ErrInvalid, d.Name, request.Task)
	}
	if stream && request.Task == schemas.TaskEmbeddings {
		return nil, fmt.Errorf("%w: embeddings do not come in events", schemas.ErrInvalid)
	}
	body := make([]byte, 0, len(f.prefix)+sizeOf(request)+len(parameters)+len(d.Tail)+2)
	body = append(body, f.prefix...)
	switch request.Task {
	case schemas.TaskEmbeddings:
		body = append(body, `,"input":[`...)
		for i, input := range request.Inputs {
			if i > 0 {
				body = append(body, ',')
			}
			body = wire.AppendString(body, input)
		}
		body = append(body, ']')
		if !d.NoEncodingFormat {
			body = append(body, `,"encoding_format":"float"`...)
		}
	case schemas.TaskCompletions:
		body = wire.AppendString(append(body, `,"prompt":`...), request.Prompt)
	case schemas.TaskChat, schemas.TaskPredictions: // the last one is refused before
		fallthrough
	default:
		body = d.appendChat(body, request)
	}
	body = append(body, parameters...)
	if d.IDField != "" && request.ID != "" {
		body = wire.AppendString(append(append(append(body, `,"`...), d.IDField...), `":`...), request.ID)
	}
	body = append(body, d.Tail...)
	if stream {
		body = append(body, `,"stream":true`...)
		if !d.NoStreamOptions {
			body = append(body, `,"stream_options":{"include_usage":true}`...)
		}
	}
	body[0] = '{' // every field begins with a comma
	call := f.call(to, what, request, append(body, '}'))
	if stream {
		call.Header["Accept"] = []string{"text/event-stream"}
	}
	return call, nil
}

// sizeOf is about how long the body becomes.
func sizeOf(request *schemas.Request) int {
	size := len(request.Prompt) + messageOverhead
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
		size += len(input) + len(input)/8 + 3
	}
	return size
}

func (d *Dialect) appendChat(body []byte, request *schemas.Request) []byte {
	body = append(body, `,"messages":[`...)
	for i := range request.Messages {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendMessage(body, &request.Messages[i])
	}
	body = append(body, ']')
	body = appendTools(body, request)
	if request.Format == nil {
		return body
	}
	switch d.Schema {
	case SchemaNVExt:
		body = append(append(append(body, `,"nvext":{"guided_json":`...), request.Format.Schema...), '}')
	case SchemaResponseFormat, SchemaNone:
		body = wire.AppendString(append(body, `,"response_format":{"type":"json_schema","json_schema":{"name":`...), formatName(request.Format))
		body = append(append(append(body, `,"schema":`...), request.Format.Schema...), `,"strict":`...)
		body = append(strconv.AppendBool(body, request.Format.Strict), `}}`...)
	}
	return body
}

// formatName is a format's name, which the provider requires.
func formatName(format *schemas.Format) string {
	if format.Name == "" {
		return "answer"
	}
	return format.Name
}

func appendMessage(body []byte, message *schemas.Message) []byte {
	body = wire.AppendString(append(body, `{"role":`...), message.Role)
	body = append(body, `,"content":`...)
	switch {
	case message.Parts != nil:
		body = append(body, '[')
		for i := range message.Parts {
			if i > 0 {
				body = append(body, ',')
			}
			body = appendPart(body, &message.Parts[i])
		}
		body = append(body, ']')
	case message.Content == "" && len(message.ToolCalls) > 0:
		body = append(body, `null`...)
	default:
		body = wire.AppendString(body, message.Content)
	}
	for i, call := range message.ToolCalls {
		if i == 0 {
			body = append(body, `,"tool_calls":[`...)
		} else {
			body = append(body, ',')
		}
		body = wire.AppendString(append(body, `{"id":`...), call.ID)
		body = wire.AppendString(append(body, `,"type":"function","function":{"name":`...), call.Name)
		body = append(wire.AppendString(append(body, `,"arguments":`...), call.Arguments), `}}`...)
	}
	if len(message.ToolCalls) > 0 {
		body = append(body, ']')
	}
	if message.ToolCallID != "" {
		body = wire.AppendString(append(body, `,"tool_call_id":`...), message.ToolCallID)
	}
	return append(body, '}')
}

func appendPart(body []byte, part *schemas.Part) []byte {
	media := part.Media
	if media == nil {
		return append(wire.AppendString(append(body, `{"type":"text","text":`...), part.Text), '}')
	}
	switch media.Kind {
	case schemas.MediaAudio:
		body = append(body, `{"type":"input_audio","input_audio":{"data":"`...)
		body = base64.StdEncoding.AppendEncode(body, media.Data)
		return append(wire.AppendString(append(body, `","format":`...), audioFormat(media.MIMEType)), `}}`...)
	case schemas.MediaFile:
		body = wire.AppendString(append(body, `{"type":"file","file":{"filename":`...), fileName(media))
		return append(appendDataURL(append(body, `,"file_data":`...), media), `}}`...)
	case schemas.MediaImage:
	}
	body = append(body, `{"type":"image_url","image_url":{"url":`...)
	if media.URL != "" {
		return append(wire.AppendString(body, media.URL), `}}`...)
	}
	return append(appendDataURL(body, media), `}}`...)
}

// fileName is a file's name, which the provider requires.
func fileName(media *schemas.Media) string {
	if media.Name == "" {
		return "document.pdf"
	}
	return media.Name
}

// audioFormat is the format's name of a sound; empty: it has none.
func audioFormat(mimeType string) string {
	switch mimeType {
	case "audio/wav", "audio/x-wav":
		return "wav"
	case "audio/mpeg", "audio/mp3":
		return "mp3"
	}
	return ""
}

func appendDataURL(body []byte, media *schemas.Media) []byte {
	body = append(append(append(body, `"data:`...), media.MIMEType...), `;base64,`...)
	return append(base64.StdEncoding.AppendEncode(body, media.Data), '"')
}

func appendTools(body []byte, request *schemas.Request) []byte {
	for i := range request.Tools {
		tool := &request.Tools[i]
		if i == 0 {
			body = append(body, `,"tools":[`...)
		} else {
			body = append(body, ',')
		}
		body = wire.AppendString(append(body, `{"type":"function","function":{"name":`...), tool.Name)
		if tool.Description != "" {
			body = wire.AppendString(append(body, `,"description":`...), tool.Description)
		}
		if tool.Parameters != nil {
			body = append(append(body, `,"parameters":`...), tool.Parameters...)
		}
		if tool.Strict {
			body = append(body, `,"strict":true`...)
		}
		body = append(body, `}}`...)
	}
	if len(request.Tools) > 0 {
		body = append(body, ']')
	}
	switch request.ToolChoice {
	case "":
	case schemas.ToolChoiceAuto, schemas.ToolChoiceNone, schemas.ToolChoiceRequired:
		body = wire.AppendString(append(body, `,"tool_choice":`...), string(request.ToolChoice))
	default:
		body = append(body, `,"tool_choice":{"type":"function","function":{"name":`...)
		body = append(wire.AppendString(body, string(request.ToolChoice)), `}}`...)
	}
	return body
}
