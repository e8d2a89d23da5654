package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// messageOverhead is about what a message takes beside its text.
const messageOverhead = 64

// Encode writes a request by hand: it is done for every row, and reflection would be most of its cost.
func (f *format) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	if f.fault != nil {
		return nil, f.fault
	}
	parameters, err := f.parameters(request)
	if err != nil {
		return nil, err
	}
	op, path := "openai: chat completion", "chat/completions"
	body := make([]byte, 0, len(f.prefix)+sizeOf(request)+len(parameters)+2)
	body = append(body, f.prefix...)
	switch request.Task {
	case schemas.TaskEmbeddings:
		op, path = "openai: embeddings", "embeddings"
		body = append(body, `,"input":[`...)
		for i, input := range request.Inputs {
			if i > 0 {
				body = append(body, ',')
			}
			body = appendString(body, input)
		}
		body = append(body, `],"encoding_format":"float"`...)
	case schemas.TaskCompletions:
		op, path = "openai: completion", "completions"
		body = appendString(append(body, `,"prompt":`...), request.Prompt)
	case schemas.TaskChat, "":
		body = appendChat(body, request)
	default:
		return nil, fmt.Errorf("%w: the openai format has no task %s", schemas.ErrInvalid, request.Task)
	}
	body = append(body, parameters...)
	if stream {
		body = append(body, `,"stream":true,"stream_options":{"include_usage":true}`...)
	}
	call := f.call(op, path, request, append(body, '}'))
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

func appendChat(body []byte, request *schemas.Request) []byte {
	body = append(body, `,"messages":[`...)
	for i := range request.Messages {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendMessage(body, &request.Messages[i])
	}
	body = append(body, ']')
	body = appendTools(body, request)
	if request.Format != nil {
		body = appendString(append(body, `,"response_format":{"type":"json_schema","json_schema":{"name":`...), request.Format.Name)
		body = append(append(append(body, `,"schema":`...), request.Format.Schema...), `,"strict":true}}`...)
	}
	return body
}

func appendMessage(body []byte, message *schemas.Message) []byte {
	body = appendString(append(body, `{"role":`...), message.Role)
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
		body = appendString(body, message.Content)
	}
	for i, call := range message.ToolCalls {
		if i == 0 {
			body = append(body, `,"tool_calls":[`...)
		} else {
			body = append(body, ',')
		}
		body = appendString(append(body, `{"id":`...), call.ID)
		body = appendString(append(body, `,"type":"function","function":{"name":`...), call.Name)
		body = append(appendString(append(body, `,"arguments":`...), call.Arguments), `}}`...)
	}
	if len(message.ToolCalls) > 0 {
		body = append(body, ']')
	}
	if message.ToolCallID != "" {
		body = appendString(append(body, `,"tool_call_id":`...), message.ToolCallID)
	}
	return append(body, '}')
}

func appendPart(body []byte, part *schemas.Part) []byte {
	media := part.Media
	if media == nil {
		return append(appendString(append(body, `{"type":"text","text":`...), part.Text), '}')
	}
	switch media.Kind {
	case schemas.MediaAudio:
		body = append(body, `{"type":"input_audio","input_audio":{"data":"`...)
		body = base64.StdEncoding.AppendEncode(body, media.Data)
		return append(appendString(append(body, `","format":`...), audioFormats()[media.MIMEType]), `}}`...)
	case schemas.MediaFile:
		name := media.Name
		if name == "" {
			name = "document.pdf" // the field is required
		}
		body = appendString(append(body, `{"type":"file","file":{"filename":`...), name)
		return append(appendDataURL(append(body, `,"file_data":`...), media), `}}`...)
	case schemas.MediaImage:
	}
	body = append(body, `{"type":"image_url","image_url":{"url":`...)
	if media.URL != "" {
		return append(appendString(body, media.URL), `}}`...)
	}
	return append(appendDataURL(body, media), `}}`...)
}

// audioFormats are the sounds that the format has a name for.
func audioFormats() map[string]string {
	return map[string]string{"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
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
		body = appendString(append(body, `{"type":"function","function":{"name":`...), tool.Name)
		if tool.Description != "" {
			body = appendString(append(body, `,"description":`...), tool.Description)
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
		body = appendString(append(body, `,"tool_choice":`...), string(request.ToolChoice))
	default:
		body = append(body, `,"tool_choice":{"type":"function","function":{"name":`...)
		body = append(appendString(body, string(request.ToolChoice)), `}}`...)
	}
	return body
}

type encodedParameters struct {
	of   map[string]any
	task schemas.Task
	json []byte // `,"temperature":0`, ready to be put behind what is asked
}

// parameters returns the encoding of the parameters, from the last call where it is the same map.
func (f *format) parameters(request *schemas.Request) ([]byte, error) {
	parameters := request.Parameters
	if len(parameters) == 0 {
		return nil, nil
	}
	last := f.encoded.Load()
	if last != nil && last.task == request.Task && len(last.of) == len(parameters) &&
		reflect.ValueOf(last.of).Pointer() == reflect.ValueOf(parameters).Pointer() {
		return last.json, nil
	}
	if err := checkParameters(request.Task, parameters); err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value, err := json.Marshal(parameters[name])
		if err != nil {
			return nil, fmt.Errorf("%w: request.parameters.%s cannot be written as JSON: %w", schemas.ErrInvalid, name, err)
		}
		if name == "max_tokens" && f.reasons {
			name = "max_completion_tokens"
		}
		buffer.WriteString(`,"` + name + `":`) // a known name, which needs no escaping
		buffer.Write(value)
	}
	f.encoded.Store(&encodedParameters{of: parameters, task: request.Task, json: buffer.Bytes()})
	return buffer.Bytes(), nil
}

// appendString appends text as a JSON string (RFC 8259 §7). What is not UTF-8 becomes U+FFFD, one a byte, as
// encoding/json has it: a provider rejects the whole body for a single bad byte.
func appendString(body []byte, text string) []byte {
	const hex = "0123456789abcdef"
	body = append(body, '"')
	start := 0
	for i := 0; i < len(text); {
		char := text[i]
		if char >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(text[i:])
			if r == utf8.RuneError && size == 1 {
				body = append(append(body, text[start:i]...), "\uFFFD"...)
				start = i + size
			}
			i += size
			continue
		}
		if char >= ' ' && char != '"' && char != '\\' {
			i++
			continue
		}
		body = append(body, text[start:i]...)
		switch char {
		case '"', '\\':
			body = append(body, '\\', char)
		case '\n':
			body = append(body, '\\', 'n')
		case '\r':
			body = append(body, '\\', 'r')
		case '\t':
			body = append(body, '\\', 't')
		default:
			body = append(body, '\\', 'u', '0', '0', hex[char>>4], hex[char&15])
		}
		i++
		start = i
	}
	return append(append(body, text[start:]...), '"')
}
