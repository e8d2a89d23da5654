package bedrock_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/inflowhq/inflow/connectors/models/bedrock"
	"github.com/inflowhq/inflow/schemas"
)

// encoded is the body of a request that Check passes and the published schema allows.
func encoded(t *testing.T, request *schemas.Request) string {
	t.Helper()
	m := bedrock.New(options())
	if err := m.Check(request); err != nil {
		t.Fatal(err)
	}
	call, err := m.Format().Encode(request, false)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(call.Body)))
	if err != nil {
		t.Fatalf("%v: %s", err, call.Body)
	}
	schema, err := jsonschema.NewCompiler().Compile("testdata/request.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(document); err != nil {
		t.Fatalf("%v\n%s", err, call.Body)
	}
	return string(call.Body)
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		parameters map[string]any
		want       string // what the body holds, or the error where it begins with "!"
	}{
		{"none", nil, `]}]}`},
		{"null", map[string]any{"temperature": nil, "stop": nil, "metadata": nil, "response_format": nil}, `]}]}`},
		{"max_tokens", map[string]any{"max_tokens": 5}, `,"inferenceConfig":{"maxTokens":5}}`},
		{"max_completion_tokens", map[string]any{"max_completion_tokens": 5.0}, `,"inferenceConfig":{"maxTokens":5}}`},
		{"both", map[string]any{"max_tokens": 5, "max_completion_tokens": 6}, "!remove one"},
		{"half a token", map[string]any{"max_tokens": 0.5}, "!whole number"},
		{"no tokens", map[string]any{"max_tokens": 0}, "!whole number"},
		{"too many tokens", map[string]any{"max_tokens": 1e12}, "!whole number"},
		{"tokens in words", map[string]any{"max_tokens": "5"}, "!whole number"},
		{"temperature", map[string]any{"temperature": 0, "top_p": 0.25}, `{"temperature":0,"topP":0.25}`},
		{"hot", map[string]any{"temperature": 1.5}, "!from 0 to 1"},
		{"not a number", map[string]any{"top_p": math.NaN()}, "!from 0 to 1"},
		{"truth", map[string]any{"top_p": true}, "!from 0 to 1"},
		{"a stop", map[string]any{"stop": "E\"ND"}, `"stopSequences":["E\"ND"]`},
		{"stops", map[string]any{"stop": []any{"a", "<b>"}}, `"stopSequences":["a","<b>"]`},
		{"an empty stop", map[string]any{"stop": ""}, "!none of them empty"},
		{"a stop of another type", map[string]any{"stop": []any{"a", 1}}, "!list of"},
		{"a number for a stop", map[string]any{"stop": 1}, "!list of"},
		{"own fields", map[string]any{"additional_model_request_fields": map[string]any{"top_k": 5, "thinking": map[string]any{"type": "enabled", "budget_tokens": 1024}}}, `,"additionalModelRequestFields":{"thinking":{"budget_tokens":1024,"type":"enabled"},"top_k":5}`},
		{"own fields of another type", map[string]any{"additional_model_request_fields": "top_k"}, "!write a map"},
		{"own fields that are no JSON", map[string]any{"additional_model_request_fields": map[string]any{"a": make(chan int)}}, "!cannot be written"},
		{"guardrail", map[string]any{"guardrail_config": map[string]any{"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"}}, `,"guardrailConfig":{"guardrailIdentifier":"g","guardrailVersion":"1","trace":"enabled"}`},
		{"guardrail misspelt", map[string]any{"guardrail_config": map[string]any{"identifier": "g"}}, "!identifier"},
		{"performance", map[string]any{"performance_config": map[string]any{"latency": "optimized"}}, `,"performanceConfig":{"latency":"optimized"}`},
		{"performance unknown", map[string]any{"performance_config": map[string]any{"latency": "fast"}}, "!latency"},
		{"metadata", map[string]any{"metadata": map[string]any{"team": "a=b"}}, `,"requestMetadata":{"team":"a=b"}`},
		{"metadata of nothing", map[string]any{"metadata": map[string]any{}}, `]}]}`},
		{"metadata of other characters", map[string]any{"metadata": map[string]any{"team": "a&b"}}, "!team"},
		{"metadata without a name", map[string]any{"metadata": map[string]any{"": "b"}}, "!member"},
		{"metadata of another type", map[string]any{"metadata": map[string]any{"team": 1}}, "!team"},
		{"tier", map[string]any{"service_tier": "flex"}, `,"serviceTier":{"type":"flex"}`},
		{"tier of another provider", map[string]any{"service_tier": "auto"}, "!reserved"},
		{"text format", map[string]any{"response_format": map[string]any{"type": "text"}}, `]}]}`},
		{"json object", map[string]any{"response_format": map[string]any{"type": "json_object"}}, "!without a schema"},
		{
			"json schema",
			map[string]any{"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{
				"name": "a", "strict": true, "schema": map[string]any{"type": "object"},
			}}},
			`,"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{\"type\":\"object\"}","name":"a"}}}}`,
		},
		{"loose schema", map[string]any{"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{"schema": map[string]any{}, "strict": false}}}, "!strict"},
		{"no schema", map[string]any{"response_format": map[string]any{"type": "json_schema"}}, "!write"},
		{"a word for a format", map[string]any{"response_format": "json"}, "!write"},
		{"top_k", map[string]any{"top_k": 5}, "!additional_model_request_fields"},
		{"seed", map[string]any{"seed": 5}, "!remove it"},
		{"reasoning_effort", map[string]any{"reasoning_effort": "low"}, "!additional_model_request_fields"},
		{"user", map[string]any{"user": "u"}, "!metadata"},
		{"model", map[string]any{"model": "m"}, "!names the model"},
		{"n", map[string]any{"n": 2}, "!one answer"},
		{"misspelt", map[string]any{"temprature": 1}, "!did you mean temperature?"},
		{"Converse's own", map[string]any{"additionalModelRequestFields": 1}, "!did you mean additional_model_request_fields?"},
		{"absurd", map[string]any{strings.Repeat("x", 1<<20): 1}, "!did you mean"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			request := &schemas.Request{Messages: []schemas.Message{{Role: "user", Content: "hi"}}, Parameters: c.parameters}
			if want, refused := strings.CutPrefix(c.want, "!"); refused {
				err := bedrock.New(options()).Check(request)
				if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) || len(err.Error()) > 1000 {
					t.Errorf("got %.300v, want %s", err, want)
				}
				if _, err := bedrock.New(options()).Format().Encode(request, false); !errors.Is(err, schemas.ErrInvalid) {
					t.Errorf("encoded: %v", err)
				}
				return
			}
			if body := encoded(t, request); !strings.Contains(body, c.want) {
				t.Errorf("got %s, want %s", body, c.want)
			}
		})
	}
	both := bedrock.New(options()).Check(&schemas.Request{Parameters: map[string]any{"n": 2, "sead": 1, "top_p": 2}})
	for _, want := range []string{"parameters.n", "sead", "top_p"} {
		if both == nil || !strings.Contains(both.Error(), want) {
			t.Errorf("not every fault is told: %v", both)
		}
	}
}

// TestEveryParameterIsKnownOrRefused goes through OpenAI's and sees that none is dropped.
func TestEveryParameterIsKnownOrRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"frequency_penalty", "logit_bias", "logprobs", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
		"prompt_cache_retention", "reasoning_effort", "safety_identifier", "seed", "store", "stream", "stream_options", "top_logprobs",
		"user", "verbosity", "web_search_options", "thinking", "tools", "tool_choice", "modalities", "prompt_variables",
	} {
		err := bedrock.New(options()).Check(&schemas.Request{Parameters: map[string]any{name: 1}})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestParametersOfAnotherMap(t *testing.T) {
	t.Parallel()
	format := bedrock.New(options()).Format()
	first, second := map[string]any{"max_tokens": 1}, map[string]any{"max_tokens": 2}
	for _, c := range []struct {
		parameters map[string]any
		want       string
	}{{first, `"maxTokens":1`}, {first, `"maxTokens":1`}, {second, `"maxTokens":2`}, {nil, ""}, {map[string]any{}, ""}, {first, `"maxTokens":1`}} {
		call, err := format.Encode(&schemas.Request{Parameters: c.parameters}, false)
		if err != nil || !strings.Contains(string(call.Body), c.want) || c.want == "" && strings.Contains(string(call.Body), "maxTokens") {
			t.Errorf("got %s %v, want %s", call.Body, err, c.want)
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	user := schemas.Message{Role: "user", Content: "hi"}
	call := schemas.Message{Role: "assistant", ToolCalls: []schemas.ToolCall{{ID: "c1", Name: "f"}, {ID: "c2", Name: "f", Arguments: ` {"a": "<é>"} `}}}
	tools := []schemas.Tool{{Name: "f", Strict: true}}
	media := func(kind schemas.MediaKind, mime, name, url string) schemas.Part {
		part := schemas.Part{Media: &schemas.Media{Kind: kind, MIMEType: mime, Name: name, URL: url}}
		if url == "" {
			part.Media.Data = []byte("x")
		}
		return part
	}
	for _, c := range []struct {
		name    string
		request schemas.Request
		want    string
	}{
		{
			"neighbours are one message",
			schemas.Request{Messages: []schemas.Message{user, {Role: "system", Content: "s"}, user, {Role: "assistant", Content: "a"}, {Role: "assistant", Content: "b"}}},
			`{"messages":[{"role":"user","content":[{"text":"hi"},{"text":"hi"}]},{"role":"assistant","content":[{"text":"a"},{"text":"b"}]}],"system":[{"text":"s"}]}`,
		},
		{
			"empty texts are left out",
			schemas.Request{Messages: []schemas.Message{{Role: "system"}, {Role: "user", Parts: []schemas.Part{{}, {Text: "hi"}}}}},
			`{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`,
		},
		{
			"tools",
			schemas.Request{Tools: tools, Messages: []schemas.Message{user, call, {Role: "tool", ToolCallID: "c1", Content: "1"}, {Role: "tool", ToolCallID: "c2"}, user}},
			`{"messages":[{"role":"user","content":[{"text":"hi"}]},` +
				`{"role":"assistant","content":[{"toolUse":{"toolUseId":"c1","name":"f","input":{}}},{"toolUse":{"toolUseId":"c2","name":"f","input": {"a": "<é>"} }}]},` +
				`{"role":"user","content":[{"toolResult":{"toolUseId":"c1","content":[{"text":"1"}]}},{"toolResult":{"toolUseId":"c2","content":[]}},{"text":"hi"}]}],` +
				`"toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{"type":"object","properties":{}}},"strict":true}}]}}`,
		},
		{"required", schemas.Request{Tools: tools, ToolChoice: "required", Messages: []schemas.Message{user}}, `"toolChoice":{"any":{}}}}`},
		{"one tool", schemas.Request{Tools: tools, ToolChoice: "f", Messages: []schemas.Message{user}}, `"toolChoice":{"tool":{"name":"f"}}}}`},
		{"no tool", schemas.Request{Tools: tools, ToolChoice: "none", Messages: []schemas.Message{user}}, `{"messages":[{"role":"user","content":[{"text":"hi"}]}]}`},
		{
			"image in a bucket",
			schemas.Request{Messages: []schemas.Message{{Role: "user", Parts: []schemas.Part{media("image", "image/jpeg", "", "s3://bucket/a.jpg")}}}},
			`{"image":{"format":"jpeg","source":{"s3Location":{"uri":"s3://bucket/a.jpg"}}}}`,
		},
		{
			"audio",
			schemas.Request{Messages: []schemas.Message{{Role: "user", Parts: []schemas.Part{media("audio", "audio/mpeg", "", "")}}}},
			`{"audio":{"format":"mp3","source":{"bytes":"eA=="}}}`,
		},
		{"documents", schemas.Request{Messages: []schemas.Message{{Role: "user", Parts: []schemas.Part{
			{Text: "hi"},
			media("file", "application/pdf", "Q1_é  report.v2.pdf", ""), media("file", "text/plain; charset=utf-8", "Q1_é  report.v2.txt", ""),
			media("file", "text/csv", "", ""),
		}}}}, `{"document":{"name":"Q1-- report-v2","format":"pdf","source":{"bytes":"eA=="}}},` +
			`{"document":{"name":"Q1-- report-v2-2","format":"txt","source":{"bytes":"eA=="}}},{"document":{"name":"document","format":"csv"`},
		{
			"image of a tool",
			schemas.Request{Tools: tools, Messages: []schemas.Message{user, call, {Role: "tool", ToolCallID: "c1", Parts: []schemas.Part{{Text: "see"}, media("image", "image/webp", "", "")}}}},
			`"content":[{"text":"see"},{"image":{"format":"webp","source":{"bytes":"eA=="}}}]`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if body := encoded(t, &c.request); !strings.Contains(body, c.want) {
				t.Errorf("got  %s\nwant %s", body, c.want)
			}
		})
	}
}

func TestRefusedAtCheck(t *testing.T) {
	t.Parallel()
	user := schemas.Message{Role: "user", Content: "hi"}
	part := func(role string, media schemas.Media) *schemas.Request {
		return &schemas.Request{Messages: []schemas.Message{user, {Role: role, Parts: []schemas.Part{{Text: "see"}, {Media: &media}}}}}
	}
	for want, request := range map[string]*schemas.Request{
		"asks chats only, not": {Task: schemas.TaskCompletions, Prompt: "a"},
		"begins with a user":   {Messages: []schemas.Message{{Role: "assistant", Content: "a"}, user}},
		"begins with a user's": {Messages: []schemas.Message{{Role: "system", Content: "a"}}},
		"no role":              {Messages: []schemas.Message{user, {Role: "critic", Content: "a"}}},
		"wants the tools":      {Messages: []schemas.Message{user, {Role: "tool", ToolCallID: "c", Content: "a"}}},
		"no JSON object":       {Tools: []schemas.Tool{{Name: "f"}}, Messages: []schemas.Message{user, {Role: "assistant", ToolCalls: []schemas.ToolCall{{ID: "c", Name: "f", Arguments: `[]`}}}}},
		"of a tool call":       {Tools: []schemas.Tool{{Name: "f"}}, Messages: []schemas.Message{user, {Role: "tool", ToolCallID: "c d", Content: "a"}}},
		"tool choice none":     {Tools: []schemas.Tool{{Name: "f"}}, ToolChoice: "none", Messages: []schemas.Message{user, {Role: "tool", ToolCallID: "c", Content: "a"}}},
		"there are no tools":   {ToolChoice: "required", Messages: []schemas.Message{user}},
		"none of the tools":    {Tools: []schemas.Tool{{Name: "f"}}, ToolChoice: "g", Messages: []schemas.Message{user}},
		"the tool name":        {Tools: []schemas.Tool{{Name: "f g"}}, Messages: []schemas.Message{user}},
		"no JSON Schema":       {Tools: []schemas.Tool{{Name: "f", Parameters: json.RawMessage(`{`)}}, Messages: []schemas.Message{user}},
		"is no JSON object":    {Format: &schemas.Format{Schema: json.RawMessage(`[`)}, Messages: []schemas.Message{user}},
		"format of its own": {Format: &schemas.Format{Schema: json.RawMessage(`{}`)}, Parameters: map[string]any{"response_format": map[string]any{
			"type": "json_schema", "json_schema": map[string]any{"schema": map[string]any{}},
		}}},
		"no image as":        part("user", schemas.Media{Kind: "image", MIMEType: "image/tiff", Data: []byte("x")}),
		"no file as":         part("user", schemas.Media{Kind: "file", MIMEType: "image/png", Data: []byte("x")}),
		"fetches no other":   part("user", schemas.Media{Kind: "image", MIMEType: "image/png", URL: "https://x/a.png"}),
		"not in a assistant": part("assistant", schemas.Media{Kind: "image", MIMEType: "image/png", Data: []byte("x")}),
		"not in a system":    part("system", schemas.Media{Kind: "image", MIMEType: "image/png", Data: []byte("x")}),
		"no audio from":      part("tool", schemas.Media{Kind: "audio", MIMEType: "audio/wav", Data: []byte("x")}),
		"text beside":        {Messages: []schemas.Message{{Role: "user", Parts: []schemas.Part{{Media: &schemas.Media{Kind: "file", MIMEType: "application/pdf", Data: []byte("x")}}}}}},
	} {
		m := bedrock.New(options())
		if err := m.Check(request); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		// What reaches a row in spite of it is JSON all the same, or no call.
		if call, err := m.Format().Encode(request, false); err == nil && !json.Valid(call.Body) && want != "no JSON Schema" {
			t.Errorf("%s: %s", want, call.Body)
		}
	}
}
