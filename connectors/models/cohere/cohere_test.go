package cohere_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/inflowhq/inflow/connectors/models/cohere"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func model() *wire.Model { return cohere.New(cohere.Options{Model: "command"}) }

// fields are the top ones of a request's body.
func fields(t *testing.T, request *schemas.Request) map[string]string {
	t.Helper()
	if err := model().Check(request); err != nil {
		t.Fatal(err)
	}
	call, err := model().Format().Encode(request, false)
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(call.Body, &raw); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string, len(raw))
	for name, value := range raw {
		got[name] = string(value)
	}
	return got
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		parameters map[string]any
		want       map[string]string // beside model, stream and messages
	}{
		{"none", nil, map[string]string{}},
		{"null", map[string]any{"temperature": nil}, map[string]string{}},
		{"limit", map[string]any{"max_completion_tokens": 7.0, "max_tokens": 7}, map[string]string{"max_tokens": "7"}},
		{
			"sampling",
			map[string]any{"temperature": 0, "top_p": 0.9, "top_k": 40, "seed": 5, "frequency_penalty": 0.5, "presence_penalty": 1},
			map[string]string{"temperature": "0", "p": "0.9", "k": "40", "seed": "5", "frequency_penalty": "0.5", "presence_penalty": "1"},
		},
		{"a stop", map[string]any{"stop": "a<b"}, map[string]string{"stop_sequences": `["a<b"]`}},
		{"stops", map[string]any{"stop": []any{"a", "b"}}, map[string]string{"stop_sequences": `["a","b"]`}},
		{"effort", map[string]any{"reasoning_effort": "high"}, map[string]string{"thinking": `{"type":"enabled"}`}},
		{"no effort", map[string]any{"reasoning_effort": "none"}, map[string]string{"thinking": `{"type":"disabled"}`}},
		{"thinking", map[string]any{"thinking": map[string]any{"type": "enabled", "token_budget": 200}}, map[string]string{"thinking": `{"token_budget":200,"type":"enabled"}`}},
		{"text", map[string]any{"response_format": map[string]any{"type": "text"}}, map[string]string{}},
		{"object", map[string]any{"response_format": map[string]any{"type": "json_object"}}, map[string]string{"response_format": `{"type":"json_object"}`}},
		{
			"schema",
			map[string]any{"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "n", "schema": map[string]any{"type": "object"}}}},
			map[string]string{"response_format": `{"type":"json_object","json_schema":{"type":"object"}}`},
		},
		{"own", map[string]any{"safety_mode": "STRICT", "priority": 3, "parallel_tool_calls": true}, map[string]string{"safety_mode": `"STRICT"`, "priority": "3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := fields(t, &schemas.Request{Messages: []schemas.Message{{Role: "user", Content: "a"}}, Parameters: c.parameters})
			if got["model"] != `"command"` || got["stream"] != "false" {
				t.Errorf("got %v", got)
			}
			for _, name := range []string{"model", "stream", "messages"} {
				delete(got, name)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestRefusedParameters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		value any
		want  string
	}{
		"temprature":            {1, "did you mean temperature?"},
		strings.Repeat("x", 99): {1, "no such parameter"},
		"model":                 {"m", "destination"},
		"documents":             {[]any{}, "job's request"},
		"stream":                {true, "whole"},
		"n":                     {2, "one answer"},
		"tools":                 {[]any{}, "text"},
		"logprobs":              {true, "text"},
		"user":                  {"u", "nothing like it"},
		"service_tier":          {"flex", "nothing like it"},
		"p":                     {0.5, "top_p"},
		"k":                     {5, "top_k"},
		"stop_sequences":        {[]any{"a"}, "called stop"},
		"temperature":           {-1, "from 0"},
		"top_p":                 {1, "from 0.01 to 0.99"},
		"top_k":                 {501, "from 0 to 500"},
		"seed":                  {-5, "from 0"},
		"frequency_penalty":     {-0.5, "from 0 to 1"},
		"presence_penalty":      {"1", "from 0 to 1"},
		"max_tokens":            {0.5, "whole number"},
		"stop":                  {[]any{"1", "2", "3", "4", "5", "6"}, "at most 5"},
		"reasoning_effort":      {"low", "none, high"},
		"response_format":       {"json", "json_schema"},
		"parallel_tool_calls":   {false, "as it likes"},
		"safety_mode":           {"NONE", "CONTEXTUAL, STRICT, OFF"},
		"thinking":              {map[string]any{"type": "enabled", "budget_tokens": 5}, "token_budget"},
		"priority":              {"high", "whole number"},
		"encoding_format":       {"float", "numbers"},
	} {
		request := &schemas.Request{Parameters: map[string]any{name: c.value}}
		err := model().Check(request)
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := model().Format().Encode(request, false); err == nil {
			t.Errorf("%s: what Check refuses is encoded", name)
		}
	}
	for _, c := range []struct {
		parameters map[string]any
		want       string
	}{
		{map[string]any{"max_tokens": 1, "max_completion_tokens": 2}, "differ"},
		{map[string]any{"reasoning_effort": "none", "thinking": map[string]any{"type": "enabled"}}, "says it already"},
		{map[string]any{"thinking": "on"}, "must be an object"},
		{map[string]any{"thinking": map[string]any{"type": "enabled", "token_budget": 0}}, "whole number"},
		{map[string]any{"response_format": map[string]any{"type": "json_schema"}}, "no JSON object"},
		{map[string]any{"n": 2, "sead": 1}, "mean seed"},
		{map[string]any{"n": 2, "sead": 1}, "parameters.n"},
	} {
		if err := model().Check(&schemas.Request{Parameters: c.parameters}); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v", c.parameters, err)
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	got := fields(t, &schemas.Request{Messages: []schemas.Message{
		{Role: "user", Parts: []schemas.Part{
			{Text: "<look>"},
			{Text: ""},
			{Media: &schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/jpg", Data: []byte("j")}},
			{Media: &schemas.Media{Kind: schemas.MediaImage, URL: "https://a/b.png"}},
		}},
		{Role: "system", Content: "One."},
		{Role: "system", Parts: []schemas.Part{{Text: "Two."}}},
		{Role: "assistant", ToolCalls: []schemas.ToolCall{{ID: "c1", Name: "f", Arguments: `{"a":1}`}}},
		{Role: "tool", ToolCallID: "c1", Content: "1"},
		{Role: "user", Content: "bad \xff"},
	}})
	want := `[{"role":"system","content":[{"type":"text","text":"One."},{"type":"text","text":"Two."}]},` +
		`{"role":"user","content":[{"type":"text","text":"<look>"},{"type":"image_url","image_url":{"url":"data:image/jpeg;base64,ag=="}},` +
		`{"type":"image_url","image_url":{"url":"https://a/b.png"}}]},` +
		`{"role":"assistant","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},` +
		`{"role":"tool","content":"1","tool_call_id":"c1"},{"role":"user","content":"bad \ufffd"}]`
	if got["messages"] != want {
		t.Errorf("got  %s\nwant %s", got["messages"], want)
	}
}

func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	media := func(role string, of schemas.Media) schemas.Message {
		return schemas.Message{Role: role, Parts: []schemas.Part{{Media: &of}}}
	}
	for want, message := range map[string]schemas.Message{
		"images, and no audio":     media("user", schemas.Media{Kind: schemas.MediaAudio, MIMEType: "audio/wav", Data: []byte("a")}),
		"images, and no file":      media("user", schemas.Media{Kind: schemas.MediaFile, MIMEType: "application/pdf", Data: []byte("a")}),
		"not \"image/tiff\"":       media("user", schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/tiff", Data: []byte("a")}),
		"http:// or https:// only": media("user", schemas.Media{Kind: schemas.MediaImage, URL: "s3://a/b.png"}),
		"neither data nor a URL":   media("user", schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/png"}),
		"not in that of the tool":  {Role: "tool", ToolCallID: "c", Parts: media("", schemas.Media{Kind: schemas.MediaImage}).Parts},
		"not in that of the syste": media("system", schemas.Media{Kind: schemas.MediaImage}),
		"no role \"developer\"":    {Role: "developer", Content: "a"},
		"which call it answers":    {Role: "tool", Content: "a"},
	} {
		err := model().Check(&schemas.Request{Messages: []schemas.Message{message}})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	if err := model().Check(&schemas.Request{Task: schemas.TaskCompletions}); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestTools(t *testing.T) {
	t.Parallel()
	tools := []schemas.Tool{{Name: "f", Description: "F.", Strict: true, Parameters: json.RawMessage(`{"type": "object"}`)}, {Name: "g", Strict: true}}
	for choice, want := range map[schemas.ToolChoice]string{
		"": "", schemas.ToolChoiceAuto: "", schemas.ToolChoiceNone: `"NONE"`, schemas.ToolChoiceRequired: `"REQUIRED"`,
	} {
		got := fields(t, &schemas.Request{Tools: tools, ToolChoice: choice})
		if got["tool_choice"] != want || got["strict_tools"] != "true" || got["tools"] !=
			`[{"type":"function","function":{"name":"f","description":"F.","parameters":{"type":"object"}}},`+
				`{"type":"function","function":{"name":"g","parameters":{"type":"object","properties":{}}}}]` {
			t.Errorf("%s: got %v", choice, got)
		}
	}
	if got := fields(t, &schemas.Request{Tools: tools[:1], ToolChoice: "f"}); got["tool_choice"] != `"REQUIRED"` {
		t.Errorf("the only tool: got %v", got)
	}
	if got := fields(t, &schemas.Request{ToolChoice: schemas.ToolChoiceNone}); got["tool_choice"] != "" {
		t.Errorf("a choice without tools: got %v", got)
	}
	format := &schemas.Format{Name: "a", Schema: json.RawMessage(`{}`)}
	for want, request := range map[string]*schemas.Request{
		"made to call g":             {Tools: tools, ToolChoice: "g"},
		"there are no tools":         {ToolChoice: schemas.ToolChoiceRequired},
		"are no JSON object":         {Tools: []schemas.Tool{{Name: "f", Parameters: json.RawMessage(`[]`)}}},
		"1 of 2 are strict":          {Tools: []schemas.Tool{tools[0], {Name: "h"}}},
		"format of the answer besid": {Tools: tools, Format: format},
		"safety_mode: Cohere has no": {Tools: tools, Parameters: map[string]any{"safety_mode": "STRICT"}},
		"schema of the format":       {Format: &schemas.Format{Name: "a", Schema: json.RawMessage(`"a"`)}},
		"a format already":           {Format: format, Parameters: map[string]any{"response_format": map[string]any{"type": "json_object"}}},
	} {
		if err := model().Check(request); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	number := func(of int64) *int64 { return &of }
	said := func(usage schemas.Usage) schemas.Response {
		return schemas.Response{Text: "Paris.", Stop: schemas.StopEnd, Usage: usage}
	}
	none := schemas.Usage{Basis: schemas.BasisNone}
	for _, c := range []struct {
		name, body string
		want       schemas.Response
		fails      bool
	}{
		{
			"all", answer(`"tool_plan":"Plan.","content":[{"type":"thinking","thinking":"Hm."},{"type":"text","text":"a"},{"type":"text","text":"b\ud800"},{"type":"novel"}],`+
				`"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]`, "TOOL_CALL",
				`{"billed_units":{"input_tokens":21.0,"output_tokens":7},"tokens":{"input_tokens":90,"output_tokens":9},"cached_tokens":3}`),
			schemas.Response{
				Text: "ab\uFFFD", Reasoning: "Plan.Hm.", Stop: schemas.StopToolCalls, ToolCalls: []schemas.ToolCall{{ID: "t", Name: "f", Arguments: "{}"}},
				Usage: schemas.Usage{InputTokens: 21, OutputTokens: 7, TotalTokens: 28, CacheReadInputTokens: number(3), Basis: schemas.BasisProvider},
			},
			false,
		},
		{
			"nothing billed", answer(paris, "COMPLETE", `{"tokens":{"input_tokens":9,"output_tokens":2}}`),
			said(schemas.Usage{InputTokens: 9, OutputTokens: 2, TotalTokens: 11, Basis: schemas.BasisProvider}), false,
		},
		{"no counts", answer(paris, "COMPLETE", "null"), said(none), false},
		{"counts below zero", answer(paris, "COMPLETE", `{"billed_units":{"input_tokens":-1}}`), said(none), false},
		{"too much", answer(paris, "COMPLETE", `{"billed_units":{"input_tokens":9e15}}`), said(none), false},
		{"a fraction", answer(paris, "COMPLETE", `{"billed_units":{"input_tokens":1.5}}`), said(none), false},
		{"a word", answer(paris, "COMPLETE", `{"billed_units":{"input_tokens":"5"}}`), said(none), false},
		{"no message", `{"finish_reason":"COMPLETE"}`, schemas.Response{}, true},
		{"no content", answer(`"x":1`, "COMPLETE", "null"), schemas.Response{}, true},
		{"a number for text", answer(`"content":[{"type":"text","text":1}]`, "COMPLETE", "null"), schemas.Response{}, true},
		{"a list in content", answer(`"content":[[]]`, "COMPLETE", "null"), schemas.Response{}, true},
		{"an object for arguments", answer(`"tool_calls":[{"function":{"arguments":{}}}]`, "TOOL_CALL", "null"), schemas.Response{}, true},
		{"an error", answer(paris, "ERROR", "null"), schemas.Response{}, true},
		{"a timeout", answer(paris, "TIMEOUT", "null"), schemas.Response{}, true},
		{"other vectors", `{"embeddings":{"int8":[[1]]}}`, schemas.Response{}, true},
		{"words for vectors", `{"embeddings":{"float":[["a"]]}}`, schemas.Response{}, true},
		{"numbers for vectors", `{"embeddings":{"float":[1]}}`, schemas.Response{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got schemas.Response
			err := model().Format().Decode([]byte(c.body), &got)
			if c.fails {
				if err == nil {
					t.Errorf("got %+v", got)
				}
				return
			}
			if got.Usage.Basis == schemas.BasisProvider && (got.Usage.Raw == "" || !strings.Contains(c.body, got.Usage.Raw)) {
				t.Errorf("the usage is not as it came: %s", got.Usage.Raw)
			}
			got.Usage.Raw = ""
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v %v\nwant %+v", got, err, c.want)
			}
		})
	}
}

func TestStopReasons(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]schemas.StopReason{
		"COMPLETE": schemas.StopEnd, "STOP_SEQUENCE": schemas.StopEnd, "MAX_TOKENS": schemas.StopLength,
		"TOOL_CALL": schemas.StopToolCalls, "NOVEL": "",
	} {
		var got schemas.Response
		if err := model().Format().Decode([]byte(answer(paris, word, usage20and5)), &got); err != nil || got.Stop != want {
			t.Errorf("%s: got %q %v, want %q", word, got.Stop, err, want)
		}
	}
}

// collect is what a stream comes to.
func collect(body string) (schemas.Response, error) {
	var got schemas.Response
	var whole schemas.Assembly
	var failed error
	for event, err := range model().Format().Events(strings.NewReader(body)) {
		if failed = err; err == nil {
			whole.Add(event, &got)
		}
	}
	whole.Finish(&got)
	return got, failed
}

func TestStreams(t *testing.T) {
	t.Parallel()
	got, err := collect(events(begin,
		`{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"thinking","thinking":""}}}}`,
		`{"type":"content-delta","index":0,"delta":{"message":{"content":{"thinking":"Hm."}}}}`, endText, `{"type":"novel"}`,
		`{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}}}}}`, `{"type":"tool-call-end","index":1}`,
		`{"type":"tool-call-start","index":2,"delta":{"message":{"tool_calls":{"id":"t2","type":"function","function":{"name":"g","arguments":""}}}}}`,
		`{"type":"tool-call-delta","index":2,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\":1}"}}}}}`, end("TOOL_CALL")))
	calls := []schemas.ToolCall{{ID: "t1", Name: "f", Arguments: "{}"}, {ID: "t2", Name: "g", Arguments: `{"a":1}`}}
	if err != nil || got.Reasoning != "Hm." || !slices.Equal(got.ToolCalls, calls) || got.Stop != schemas.StopToolCalls ||
		got.Usage.InputTokens != 20 || got.Usage.Raw != usage20and5 {
		t.Errorf("got %+v %v", got, err)
	}
	failed, err := collect(events(begin, beginText, par, end("ERROR")))
	if problem, ok := errors.AsType[*wire.Problem](err); !ok || problem.Status != 500 || failed.Usage.InputTokens != 20 {
		t.Errorf("what failed is paid all the same: got %+v %v", failed.Usage, err)
	}
	if _, err := collect(events(begin, beginText, par)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
	for name, body := range map[string]string{
		"no JSON": "data: {\n\n", "a bomb": "data: " + strings.Repeat("[", 1<<20) + "\n\n",
		"a number": events(begin, `{"type":"content-delta","delta":{"message":{"content":{"text":1}}}}`),
	} {
		if _, err := collect(body); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func serve(t *testing.T, handler http.HandlerFunc) *wire.Model {
	t.Helper()
	server := httptest.NewServer(handler)
	client := wire.NewClient(wire.ClientOptions{MaxConns: 1, Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return cohere.New(cohere.Options{BaseURL: server.URL + "/", APIKey: schemas.NewSecret(modeltest.Secret), Model: "command", Client: client})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]schemas.Error{
		400: {Class: schemas.Rejected, Code: "bad_request"}, 401: {Class: schemas.Fatal, Code: "unauthorized"},
		402: {Class: schemas.Fatal, Code: "payment_required"}, 403: {Class: schemas.Fatal, Code: "forbidden"},
		404: {Class: schemas.Fatal, Code: "model_not_found"}, 422: {Class: schemas.Rejected, Code: "unprocessable"},
		429: {Class: schemas.Throttled, Code: "rate_limit_exceeded"}, 498: {Class: schemas.Rejected, Code: "content_filter"},
		499: {Class: schemas.Transient, Code: "request_cancelled"}, 500: {Class: schemas.Transient, Code: "server_error"},
		501: {Class: schemas.Fatal, Code: "not_implemented"}, 503: {Class: schemas.Transient, Code: "service_unavailable"},
		504: {Class: schemas.Transient, Code: "gateway_timeout"},
	} {
		m := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, failure(status).Body)
		})
		_, err := m.Invoke(t.Context(), modeltest.Question())
		failed, ok := errors.AsType[*schemas.Error](err)
		if !ok || failed.Class != want.Class || failed.Code != want.Code {
			t.Errorf("%d: got %#v", status, err)
		}
	}
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	request := &schemas.Request{Task: schemas.TaskEmbeddings, Inputs: []string{"a", "b"}, Parameters: map[string]any{
		"input_type": "search_query", "dimensions": 256, "truncate": "END", "max_tokens": 100, "priority": 1,
	}}
	call, err := model().Format().Encode(request, false)
	if err != nil {
		t.Fatal(err)
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(call.Body))
	if err == nil {
		err = modeltest.Compile(t, "testdata/embed.schema.json").Validate(body)
	}
	if err != nil {
		t.Errorf("the provider would refuse the request: %v\n%s", err, call.Body)
	}
	plain := fields(t, &schemas.Request{Task: schemas.TaskEmbeddings, Inputs: []string{"a"}})
	if want := map[string]string{"model": `"command"`, "texts": `["a"]`, "embedding_types": `["float"]`, "input_type": `"search_document"`}; !reflect.DeepEqual(plain, want) {
		t.Errorf("got %v", plain)
	}
	if _, err := model().Format().Encode(request, true); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("embeddings in events: got %v", err)
	}
	for want, refused := range map[string]*schemas.Request{
		"96 texts at once":     {Inputs: make([]string, 97)},
		"search_document":      {Parameters: map[string]any{"input_type": "image"}},
		"called dimensions":    {Parameters: map[string]any{"output_dimension": 256}},
		"NONE, START, END":     {Parameters: map[string]any{"truncate": "end"}},
		"no such parameter":    {Parameters: map[string]any{"temperature": 1}},
		"numbers; remove it":   {Parameters: map[string]any{"encoding_format": "base64"}},
		"nothing like it; rem": {Parameters: map[string]any{"user": "u"}},
	} {
		refused.Task = schemas.TaskEmbeddings
		if err := model().Check(refused); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []cohere.Options{
		{BaseURL: "::", Model: "m"},
		{BaseURL: "ftp://x", Model: "m"},
		{BaseURL: "localhost:9000", Model: "m"},
		{BaseURL: "https://user:" + modeltest.Secret + "@x", Model: "m"},
		{},
	} {
		m := cohere.New(options)
		if err := m.Check(&schemas.Request{}); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: got %v", options.BaseURL, err)
		}
		got, err := m.Invoke(t.Context(), modeltest.Question())
		if schemas.ClassOf(err) != schemas.Fatal || strings.Contains(err.Error(), modeltest.Secret) || got.Usage.Basis != schemas.BasisNone {
			t.Errorf("%s: got %v", options.BaseURL, err)
		}
	}
	for base, want := range map[string]string{
		"": "https://api.cohere.com/v2/chat", "http://127.0.0.1:9": "http://127.0.0.1:9/v2/chat",
		"http://127.0.0.1:9/a/": "http://127.0.0.1:9/a/v2/chat", "https://x?key=" + modeltest.Secret: "https://x/v2/chat",
	} {
		if got := cohere.New(cohere.Options{BaseURL: base, Model: "m"}).URL(schemas.TaskChat); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
