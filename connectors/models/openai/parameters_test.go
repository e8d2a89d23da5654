package openai_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// body is what a model sends for a request, without what is asked.
func body(t *testing.T, m *wire.Model, request *schemas.Request) map[string]any {
	t.Helper()
	if err := m.Check(request); err != nil {
		t.Fatal(err)
	}
	call, err := m.Format().Encode(request, false)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(call.Body, &fields); err != nil {
		t.Fatalf("%s: %v", call.Body, err)
	}
	for _, name := range []string{"model", "messages", "input", "tools"} {
		delete(fields, name)
	}
	return fields
}

func with(parameters map[string]any) *schemas.Request {
	request := question()
	request.Parameters = parameters
	return request
}

// schemaRequest asks for an answer to a schema.
func schemaRequest() *schemas.Request {
	request := question()
	request.Format = &schemas.Format{Schema: json.RawMessage(`{"type":"object"}`)}
	return request
}

type object = map[string]any

func TestParametersTranslated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		model   *wire.Model
		request *schemas.Request
		want    object
	}{
		"a model that reasons": {
			openai.New(openai.Options{Model: "gpt-5-mini"}), with(object{"max_tokens": 9}), object{"max_completion_tokens": 9.},
		},
		"markup stays": {
			openai.New(openai.Options{Model: "gpt-4o"}), with(object{"stop": []any{"<&>"}}), object{"stop": []any{"<&>"}},
		},
		"mistral": {
			openai.New(openai.Options{Model: "m", Server: "mistral"}),
			with(object{"seed": 1, "max_completion_tokens": 5.0, "safe_prompt": true}),
			object{"random_seed": 1., "max_tokens": 5., "safe_prompt": true},
		},
		"vllm": {
			openai.New(openai.Options{Model: "m", Server: "vllm"}),
			with(object{"top_k": 5, "guided_json": object{"type": "object"}, "extra_body": object{"return_token_ids": false}}),
			object{"top_k": 5., "guided_json": object{"type": "object"}, "return_token_ids": false},
		},
		"an unnamed server": {
			openai.New(openai.Options{Model: "m", BaseURL: "http://localhost:9/v1"}),
			with(object{"temperature": 1, "extra_body": object{"a\"b": []any{"x"}, "min_p": 0.5}}),
			object{"temperature": 1., "a\"b": []any{"x"}, "min_p": 0.5},
		},
		"no extra": {
			openai.New(openai.Options{Model: "m", BaseURL: "http://localhost:9/v1"}), with(object{"extra_body": nil}), object{},
		},
		"cerebras": {
			openai.New(openai.Options{Model: "m", Server: "cerebras"}), with(object{"max_tokens": 5}), object{"max_completion_tokens": 5.},
		},
		"nim": {
			openai.New(openai.Options{Model: "m", Server: "nvidia"}), schemaRequest(),
			object{"nvext": object{"guided_json": object{"type": "object"}}},
		},
		"responses": {
			openai.NewResponses(openai.Options{Model: "m"}),
			with(object{
				"max_tokens": 50, "reasoning_effort": "low", "verbosity": "high", "temperature": 0.5,
				"response_format": object{"type": "json_schema", "json_schema": object{"name": "n", "schema": object{}, "strict": true}},
			}),
			object{
				"max_output_tokens": 50., "reasoning": object{"effort": "low"}, "temperature": 0.5, "store": false,
				"text": object{"verbosity": "high", "format": object{"type": "json_schema", "name": "n", "schema": object{}, "strict": true}},
			},
		},
		"responses with a schema": {
			openai.NewResponses(openai.Options{Model: "m"}),
			func() *schemas.Request {
				request := schemaRequest()
				request.Parameters = object{"verbosity": "low", "store": true, "reasoning": object{"summary": "auto"}}
				return request
			}(),
			object{
				"store": true, "reasoning": object{"summary": "auto"}, "text": object{
					"verbosity": "low", "format": object{"type": "json_schema", "name": "answer", "schema": object{"type": "object"}, "strict": false},
				},
			},
		},
	} {
		if got := body(t, c.model, c.request); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestParametersRefused(t *testing.T) {
	t.Parallel()
	own := openai.New(openai.Options{Model: "gpt-4o"})
	custom := openai.New(openai.Options{Model: "m", BaseURL: "http://localhost:9/v1"})
	server := func(name string) *wire.Model { return openai.New(openai.Options{Model: "m", Server: name}) }
	responses := openai.NewResponses(openai.Options{Model: "m"})
	for _, c := range []struct {
		model      *wire.Model
		parameters object
		want       string
	}{
		{own, object{"temperature": "hot"}, "temperature: it must be a number"},
		{own, object{"max_tokens": 1.5}, "max_tokens: it must be a whole number"},
		{own, object{"logprobs": 1}, "logprobs: it must be true or false"},
		{own, object{"user": 1}, "user: it must be a text"},
		{own, object{"stop": []any{"a", 1}}, "stop: it must be a text or a list of texts"},
		{own, object{"response_format": "json"}, "response_format: it must be an object"},
		{own, object{"max_tokens": 1, "max_completion_tokens": 1}, "says the same"},
		{own, object{"top_k": 5}, "is no chat completion parameter"},
		{own, object{"extra_body": object{"top_k": 5}}, "all parameters of openai are known"},
		{custom, object{"top_k": 5}, "goes under extra_body"},
		{custom, object{"extra_body": object{"temperature": 0}}, "temperature is a parameter of its own"},
		{custom, object{"extra_body": object{"messages": []any{}}}, "the request writes messages itself"},
		{custom, object{"extra_body": object{"stream": true}}, "the request writes stream itself"},
		{custom, object{"extra_body": []any{}}, "extra_body: it must be an object"},
		{server("mistral"), object{"extra_body": object{"random_seed": 1}}, "random_seed is a parameter of its own"},
		{server("mistral"), object{"seed": 1, "random_seed": 1}, "says the same"},
		{server("groq"), object{"logit_bias": object{}}, "no such chat completion parameter"},
		{server("ollama"), object{"num_ctx": 8192}, "Modelfile"},
		{server("perplexity"), object{"seed": 1}, "no such chat completion parameter"},
		{responses, object{"stop": "a"}, "does not have it"},
		{responses, object{"seed": 1}, "does not have it"},
		{responses, object{"frequency_penalty": 1}, "does not have it"},
		{responses, object{"presence_penalty": 1}, "does not have it"},
		{responses, object{"text": object{}}, "response_format and verbosity"},
		{responses, object{"max_tokens": 1, "max_output_tokens": 1}, "says the same"},
		{responses, object{"reasoning": object{}, "reasoning_effort": "low"}, "says the same"},
		{responses, object{"response_format": object{"type": "json_schema"}}, "a name and a schema"},
		{responses, object{"response_format": object{"type": "xml"}}, "it must be text, json_object or json_schema"},
		{responses, object{"verbositty": "low"}, "did you mean verbosity?"},
	} {
		err := c.model.Check(with(c.parameters))
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.parameters, err, c.want)
		}
		if _, err := c.model.Format().Encode(with(c.parameters), false); err == nil {
			t.Errorf("%v: it was written all the same", c.parameters)
		}
	}
}

func TestRequestsRefused(t *testing.T) {
	t.Parallel()
	media := func(kind schemas.MediaKind, mime, url string) *schemas.Request {
		request := question()
		request.Messages[1].Parts = []schemas.Part{{Media: &schemas.Media{Kind: kind, MIMEType: mime, URL: url, Data: []byte("x")}}}
		return request
	}
	tools := func(choice schemas.ToolChoice, names ...string) *schemas.Request {
		request := question()
		request.ToolChoice = choice
		for _, name := range names {
			request.Tools = append(request.Tools, schemas.Tool{Name: name})
		}
		return request
	}
	twice := schemaRequest()
	twice.Parameters = object{"response_format": object{"type": "text"}}
	broken := question()
	broken.Format = &schemas.Format{Schema: json.RawMessage(`{"type":`)}
	assistant := media(schemas.MediaImage, "image/png", "")
	assistant.Messages[1].Role = schemas.RoleAssistant
	server := func(name string) *wire.Model { return openai.New(openai.Options{Model: "m", Server: name}) }
	own, responses := openai.New(openai.Options{Model: "m"}), openai.NewResponses(openai.Options{Model: "m"})
	for name, c := range map[string]struct {
		model   *wire.Model
		request *schemas.Request
		want    string
	}{
		"audio of another kind":  {own, media(schemas.MediaAudio, "audio/ogg", ""), "audio/wav"},
		"a file's URL":           {own, media(schemas.MediaFile, "application/pdf", "https://x/a.pdf"), "not its URL"},
		"an image's URL":         {server("ollama"), media(schemas.MediaImage, "image/png", "https://x/a.png"), "not its URL"},
		"an image":               {server("deepseek"), media(schemas.MediaImage, "image/png", ""), "takes no image"},
		"a schema":               {server("deepseek"), schemaRequest(), "json_object"},
		"tools":                  {server("perplexity"), tools("", "a"), "calls no tools"},
		"a tool choice":          {server("ollama"), tools(schemas.ToolChoiceRequired, "a"), "has no tool choice"},
		"a choice of nothing":    {own, tools(schemas.ToolChoiceAuto), "no tool"},
		"a choice of another":    {own, tools("b", "a"), "none of the tools"},
		"a format twice":         {own, twice, "remove one of them"},
		"a broken schema":        {own, broken, "no JSON object"},
		"audio for responses":    {responses, media(schemas.MediaAudio, "audio/wav", ""), "no audio"},
		"media of an assistant":  {responses, assistant, "assistant's message"},
		"embeddings":             {responses, &schemas.Request{Task: schemas.TaskEmbeddings}, "no task"},
		"a format twice, too":    {responses, twice, "remove one of them"},
		"an unknown task":        {own, &schemas.Request{Task: "llm/v1/song"}, "no task"},
		"no server of that name": {server("vlm"), question(), "there is no server"},
	} {
		if err := c.model.Check(c.request); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestResponsesItems(t *testing.T) {
	t.Parallel()
	request := &schemas.Request{
		Messages: []schemas.Message{
			{Role: schemas.RoleUser, Parts: []schemas.Part{
				{Text: "look"},
				{Media: &schemas.Media{Kind: schemas.MediaImage, URL: "https://x/a.png"}},
				{Media: &schemas.Media{Kind: schemas.MediaFile, MIMEType: "application/pdf", Data: []byte("%PDF")}},
				{Media: &schemas.Media{Kind: schemas.MediaFile, URL: "https://x/a.pdf"}},
			}},
			{Role: schemas.RoleAssistant, Content: "wait", ToolCalls: []schemas.ToolCall{{ID: "c", Name: "f", Arguments: "{}"}}},
			{Role: schemas.RoleTool, ToolCallID: "c", Parts: []schemas.Part{{Text: "r"}}},
			{Role: schemas.RoleAssistant, Parts: []schemas.Part{{Text: "so"}}},
		},
		Tools: []schemas.Tool{{Name: "f", Strict: true}}, ToolChoice: "f",
	}
	call, err := openai.NewResponses(openai.Options{Model: "m"}).Format().Encode(request, true)
	const want = `{"model":"m","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"look"},` +
		`{"type":"input_image","detail":"auto","image_url":"https://x/a.png"},` +
		`{"type":"input_file","filename":"document.pdf","file_data":"data:application/pdf;base64,JVBERg=="},` +
		`{"type":"input_file","file_url":"https://x/a.pdf"}]},` +
		`{"type":"message","role":"assistant","content":"wait"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},` +
		`{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"r"}]},` +
		`{"type":"message","role":"assistant","content":[{"type":"output_text","text":"so"}]}],` +
		`"tools":[{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":true}],` +
		`"tool_choice":{"type":"function","name":"f"},"store":false,"stream":true}`
	if err != nil || string(call.Body) != want {
		t.Errorf("got %s %v", call.Body, err)
	}
}
