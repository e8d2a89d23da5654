package openai

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Encode writes a request.
func (f *responses) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	d := &f.dialect
	if d.Fault != nil {
		return nil, d.Fault
	}
	if request.Task != "" && request.Task != schemas.TaskChat {
		return nil, fmt.Errorf("%w: the Responses API has no task %s", schemas.ErrInvalid, request.Task)
	}
	parameters, err := f.parameters(request)
	if err != nil {
		return nil, err
	}
	body := make([]byte, 0, len(f.prefix)+sizeOf(request)+len(parameters.json)+messageOverhead)
	body = append(append(body, f.prefix...), `,"input":[`...)
	start := len(body)
	for i := range request.Messages {
		body = appendItems(body, &request.Messages[i])
	}
	if len(body) > start {
		body = slices.Delete(body, start, start+1) // the first item's comma
	}
	body = appendFlatTools(append(body, ']'), request)
	body = appendText(body, request.Format, parameters.text)
	body = append(body, parameters.json...)
	if stream {
		body = append(body, `,"stream":true`...)
	}
	call := &wire.Call{
		Op: d.Name + ": response", URL: f.url, Header: make(http.Header, len(f.header)+2), Body: append(body, '}'),
		KeyField: d.KeyField, ModelField: d.ModelField, Rules: d.Rules, Problem: d.Problem,
	}
	maps.Copy(call.Header, f.header)
	if isHeaderValue(request.ID) {
		call.Header[d.IDHeader] = []string{request.ID}
	}
	if stream {
		call.Header["Accept"] = []string{"text/event-stream"}
	}
	return call, nil
}

// appendItems appends what a message becomes, each item after a comma: its text, and every call of a tool by itself.
func appendItems(body []byte, message *schemas.Message) []byte {
	if message.Role == schemas.RoleTool {
		body = wire.AppendString(append(body, `,{"type":"function_call_output","call_id":`...), message.ToolCallID)
		return append(appendContent(append(body, `,"output":`...), message), '}')
	}
	if message.Content != "" || message.Parts != nil || len(message.ToolCalls) == 0 {
		body = wire.AppendString(append(body, `,{"type":"message","role":`...), message.Role)
		body = append(appendContent(append(body, `,"content":`...), message), '}')
	}
	for _, call := range message.ToolCalls {
		body = wire.AppendString(append(body, `,{"type":"function_call","call_id":`...), call.ID)
		body = wire.AppendString(append(body, `,"name":`...), call.Name)
		body = append(wire.AppendString(append(body, `,"arguments":`...), call.Arguments), '}')
	}
	return body
}

func appendContent(body []byte, message *schemas.Message) []byte {
	if message.Parts == nil {
		return wire.AppendString(body, message.Content)
	}
	text := `{"type":"input_text","text":`
	if message.Role == schemas.RoleAssistant {
		text = `{"type":"output_text","text":`
	}
	body = append(body, '[')
	for i := range message.Parts {
		if i > 0 {
			body = append(body, ',')
		}
		if message.Parts[i].Media == nil {
			body = append(wire.AppendString(append(body, text...), message.Parts[i].Text), '}')
			continue
		}
		body = appendInputMedia(body, message.Parts[i].Media)
	}
	return append(body, ']')
}

func appendInputMedia(body []byte, media *schemas.Media) []byte {
	if media.Kind == schemas.MediaImage {
		body = append(body, `{"type":"input_image","detail":"auto","image_url":`...)
		if media.URL != "" {
			return append(wire.AppendString(body, media.URL), '}')
		}
		return append(appendDataURL(body, media), '}')
	}
	body = append(body, `{"type":"input_file",`...)
	if media.URL != "" {
		return append(wire.AppendString(append(body, `"file_url":`...), media.URL), '}')
	}
	body = wire.AppendString(append(body, `"filename":`...), fileName(media))
	return append(appendDataURL(append(body, `,"file_data":`...), media), '}')
}

// appendFlatTools writes strict in every case: the Responses API takes its absence for true.
func appendFlatTools(body []byte, request *schemas.Request) []byte {
	for i := range request.Tools {
		tool := &request.Tools[i]
		if i == 0 {
			body = append(body, `,"tools":[`...)
		} else {
			body = append(body, ',')
		}
		body = wire.AppendString(append(body, `{"type":"function","name":`...), tool.Name)
		if tool.Description != "" {
			body = wire.AppendString(append(body, `,"description":`...), tool.Description)
		}
		body = append(body, `,"parameters":`...)
		if tool.Parameters == nil {
			body = append(body, `{"type":"object","properties":{}}`...) // the field is required
		} else {
			body = append(body, tool.Parameters...)
		}
		if tool.Strict {
			body = append(body, `,"strict":true}`...)
		} else {
			body = append(body, `,"strict":false}`...)
		}
	}
	if len(request.Tools) > 0 {
		body = append(body, ']')
	}
	switch request.ToolChoice {
	case "":
	case schemas.ToolChoiceAuto, schemas.ToolChoiceNone, schemas.ToolChoiceRequired:
		body = wire.AppendString(append(body, `,"tool_choice":`...), string(request.ToolChoice))
	default:
		body = append(wire.AppendString(append(body, `,"tool_choice":{"type":"function","name":`...), string(request.ToolChoice)), '}')
	}
	return body
}

// appendText appends the text's settings: the request's format, or else what the parameters say.
func appendText(body []byte, format *schemas.Format, settings []byte) []byte {
	if format == nil && len(settings) == 0 {
		return body
	}
	body = append(body, `,"text":{`...)
	if format != nil {
		body = wire.AppendString(append(body, `"format":{"type":"json_schema","name":`...), formatName(format))
		body = append(append(append(body, `,"schema":`...), format.Schema...), `,"strict":`...)
		body = append(strconv.AppendBool(body, format.Strict), '}')
	} else {
		settings = settings[1:] // its comma
	}
	return append(append(body, settings...), '}')
}

type encodedResponses struct {
	of   map[string]any
	json []byte // `,"temperature":0,"store":false`
	text []byte // `,"verbosity":"low"`, the inside of text
}

// parameters returns the encoding of the parameters, from the last call where it is the same map.
func (f *responses) parameters(request *schemas.Request) (*encodedResponses, error) {
	parameters := request.Parameters
	last := f.encoded.Load()
	if last != nil && len(last.of) == len(parameters) && reflect.ValueOf(last.of).Pointer() == reflect.ValueOf(parameters).Pointer() {
		return last, nil
	}
	if err := f.dialect.checkParameters(schemas.TaskChat, parameters); err != nil {
		return nil, err
	}
	if err := checkResponseFormat(parameters["response_format"]); err != nil {
		return nil, err
	}
	encoded := &encodedResponses{of: parameters}
	var err error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value := parameters[name]
		switch name {
		case "store":
			continue
		case "reasoning_effort":
			encoded.json, err = appendField(encoded.json, "reasoning", map[string]any{"effort": value})
		case "verbosity":
			encoded.text, err = appendField(encoded.text, name, value)
		case "response_format":
			if value != nil {
				encoded.text, err = appendField(encoded.text, "format", flatFormat(value))
			}
		default:
			encoded.json, err = appendField(encoded.json, f.dialect.renamed(name), value)
		}
		if err != nil {
			return nil, err
		}
	}
	// The provider would keep every answer for 30 days if nothing were said.
	store, _ := parameters["store"].(bool) // absent or null: false
	if encoded.json, err = appendField(encoded.json, "store", store); err != nil {
		return nil, err
	}
	f.encoded.Store(encoded)
	return encoded, nil
}

// flatFormat takes a chat's response_format apart: the fields of json_schema stand beside the type here.
func flatFormat(value any) any {
	fields, _ := value.(map[string]any)                  // it was checked
	schema, ok := fields["json_schema"].(map[string]any) // absent in the others
	if !ok {
		return value
	}
	flat := map[string]any{"type": "json_schema"}
	for _, name := range []string{"name", "description", "schema", "strict"} {
		if inner, given := schema[name]; given {
			flat[name] = inner
		}
	}
	return flat
}
