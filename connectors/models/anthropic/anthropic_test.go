package anthropic_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/models/anthropic"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func model() *wire.Model { return anthropic.New(anthropic.Options{Model: "claude"}) }

// encode is the body of a request, as JSON in the order of its names.
func encode(t *testing.T, request *schemas.Request) string {
	t.Helper()
	if err := model().Check(request); err != nil {
		t.Fatal(err)
	}
	call, err := model().Format().Encode(request, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(call.Body)
}

// fields are the top ones of a body.
func fields(t *testing.T, body string) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &raw); err != nil {
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
	const schema = `{"type":"json_schema","schema":{"type":"object"}}`
	cases := []struct {
		name       string
		parameters map[string]any
		want       map[string]string // beside model and messages
	}{
		{"none", nil, map[string]string{"max_tokens": "4096"}},
		{"null", map[string]any{"temperature": nil, "max_tokens": nil, "seed": nil}, nil},
		{"limit", map[string]any{"max_completion_tokens": 7.0}, map[string]string{"max_tokens": "7"}},
		{"both limits", map[string]any{"max_completion_tokens": 7, "max_tokens": 7}, map[string]string{"max_tokens": "7"}},
		{
			"sampling",
			map[string]any{"temperature": 0, "top_p": 1.0, "top_k": 40},
			map[string]string{"max_tokens": "4096", "temperature": "0", "top_p": "1", "top_k": "40"},
		},
		{"a stop", map[string]any{"stop": "a<b"}, map[string]string{"max_tokens": "4096", "stop_sequences": `["a<b"]`}},
		{"stops", map[string]any{"stop": []any{"a", "b"}}, map[string]string{"max_tokens": "4096", "stop_sequences": `["a","b"]`}},
		{"effort", map[string]any{"reasoning_effort": "xhigh"}, map[string]string{"max_tokens": "4096", "output_config": `{"effort":"xhigh"}`}},
		{"no effort", map[string]any{"reasoning_effort": "none"}, map[string]string{"max_tokens": "4096", "thinking": `{"type":"disabled"}`}},
		{
			"thinking",
			map[string]any{"thinking": map[string]any{"type": "enabled", "budget_tokens": 2000}},
			map[string]string{"max_tokens": "4096", "thinking": `{"budget_tokens":2000,"type":"enabled"}`},
		},
		{"text", map[string]any{"response_format": map[string]any{"type": "text"}}, map[string]string{"max_tokens": "4096"}},
		{
			"schema",
			map[string]any{"reasoning_effort": "low", "response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{
				"name": "n", "strict": true, "schema": map[string]any{"type": "object"},
			}}},
			map[string]string{"max_tokens": "4096", "output_config": `{"effort":"low","format":` + schema + `}`},
		},
		{
			"user",
			map[string]any{"user": "u-1", "safety_identifier": "u-1", "metadata": map[string]any{"user_id": "u-1"}},
			map[string]string{"max_tokens": "4096", "metadata": `{"user_id":"u-1"}`},
		},
		{"tier", map[string]any{"service_tier": "default"}, map[string]string{"max_tokens": "4096", "service_tier": `"standard_only"`}},
		{
			"cache",
			map[string]any{"cache_control": map[string]any{"type": "ephemeral"}},
			map[string]string{"max_tokens": "4096", "cache_control": `{"type":"ephemeral"}`},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			request := &schemas.Request{Messages: []schemas.Message{{Role: "user", Content: "a"}}, Parameters: c.parameters}
			if c.want == nil { // refused by its name, whatever the value
				if err := model().Check(request); !errors.Is(err, schemas.ErrInvalid) {
					t.Errorf("got %v", err)
				}
				return
			}
			got := fields(t, encode(t, request))
			delete(got, "model")
			delete(got, "messages")
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
		"maxtokens":             {1, "did you mean max_tokens?"},
		strings.Repeat("x", 99): {1, "no parameter"},
		"model":                 {"m", "destination"},
		"system":                {"s", "job's request"},
		"stream":                {true, "whole"},
		"n":                     {2, "one answer"},
		"tools":                 {[]any{}, "text"},
		"modalities":            {[]any{}, "text"},
		"seed":                  {1, "nothing like it; remove it"},
		"frequency_penalty":     {0.5, "remove it"},
		"presence_penalty":      {0.5, "remove it"},
		"logprobs":              {true, "remove it"},
		"verbosity":             {"low", "remove it"},
		"inference_geo":         {"us", "price"},
		"stop_sequences":        {[]any{"a"}, "called stop"},
		"output_config":         {map[string]any{}, "response_format"},
		"temperature":           {1.5, "from 0 to 1"},
		"top_p":                 {"1", "from 0 to 1"},
		"top_k":                 {1.5, "whole number from 0"},
		"max_tokens":            {0, "whole number from 1"},
		"max_completion_tokens": {1e12, "whole number"},
		"stop":                  {[]any{"a", 1}, "none of them blank"},
		"reasoning_effort":      {"minimal", "low, medium, high"},
		"response_format":       {map[string]any{"type": "json_object"}, "text and json_schema"},
		"parallel_tool_calls":   {false, "there are no tools"},
		"user":                  {5, "must be a text"},
		"metadata":              {map[string]any{"topic": "a"}, "user_id"},
		"service_tier":          {"flex", "auto, default, standard_only"},
		"cache_control":         {map[string]any{"type": "ephemeral", "ttl": "1h"}, "five minutes"},
		"thinking":              {map[string]any{"type": "enabled", "budget_tokens": 4096}, "less than max_tokens"},
	} {
		err := model().Check(&schemas.Request{Parameters: map[string]any{name: c.value}})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := model().Format().Encode(&schemas.Request{Parameters: map[string]any{name: c.value}}, false); err == nil {
			t.Errorf("%s: what Check refuses is encoded", name)
		}
	}
	for _, c := range []struct {
		parameters map[string]any
		want       string
	}{
		{map[string]any{"max_tokens": 1, "max_completion_tokens": 2}, "differ"},
		{map[string]any{"user": "a", "metadata": map[string]any{"user_id": "b"}}, "another user"},
		{map[string]any{"reasoning_effort": "none", "thinking": map[string]any{"type": "adaptive"}}, "off already"},
		{map[string]any{"thinking": "on"}, "object with a type"},
		{map[string]any{"thinking": map[string]any{"type": "enabled"}}, "budget_tokens"},
		{map[string]any{"response_format": map[string]any{"type": "json_schema"}}, "no JSON object"},
		{map[string]any{"stop": " \n"}, "blank"},
		{map[string]any{"stop": 5}, "list of texts"},
	} {
		err := model().Check(&schemas.Request{Parameters: c.parameters})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v", c.parameters, err)
		}
	}
	both := model().Check(&schemas.Request{Parameters: map[string]any{"n": 2, "sead": 1}})
	if both == nil || !strings.Contains(both.Error(), "parameters.n") || !strings.Contains(both.Error(), "mean") {
		t.Errorf("not every fault is told: %v", both)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	pdf := &schemas.Media{Kind: schemas.MediaFile, MIMEType: "application/pdf", Name: "a.pdf", Data: []byte("%PDF")}
	got := fields(t, encode(t, &schemas.Request{Messages: []schemas.Message{
		{Role: "system", Content: "One."},
		{Role: "user", Parts: []schemas.Part{
			{Text: "<look>"},
			{Text: ""},
			{Media: pdf},
			{Media: &schemas.Media{Kind: schemas.MediaFile, URL: "https://a/b.pdf"}},
			{Media: &schemas.Media{Kind: schemas.MediaFile, MIMEType: "text/plain", Data: []byte("é")}},
			{Media: &schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/jpg", Data: []byte("j")}},
			{Media: &schemas.Media{Kind: schemas.MediaImage, URL: "https://a/b.png"}},
		}},
		{Role: "user", Content: "bad \xff"},
		{Role: "system", Content: "Two."},
		{Role: "assistant", Content: "Well.", ToolCalls: []schemas.ToolCall{{ID: "c1", Name: "f"}, {ID: "c2", Name: "g", Arguments: `{"a": 1}`}}},
		{Role: "tool", ToolCallID: "c1", Content: "1"},
		{Role: "tool", ToolCallID: "c2"},
		{Role: "user", Content: "And?"},
	}}))
	if want := `[{"type":"text","text":"One."},{"type":"text","text":"Two."}]`; got["system"] != want {
		t.Errorf("got %s, want %s", got["system"], want)
	}
	want := `[{"role":"user","content":[{"type":"text","text":"<look>"},` +
		`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERg=="},"title":"a.pdf"},` +
		`{"type":"document","source":{"type":"url","url":"https://a/b.pdf"}},` +
		`{"type":"document","source":{"type":"text","media_type":"text/plain","data":"é"}},` +
		`{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"ag=="}},` +
		`{"type":"image","source":{"type":"url","url":"https://a/b.png"}},` +
		`{"type":"text","text":"bad \ufffd"}]},` +
		`{"role":"assistant","content":[{"type":"text","text":"Well."},{"type":"tool_use","id":"c1","name":"f","input":{}},` +
		`{"type":"tool_use","id":"c2","name":"g","input":{"a":1}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1","content":[{"type":"text","text":"1"}]},` +
		`{"type":"tool_result","tool_use_id":"c2"},{"type":"text","text":"And?"}]}]`
	if got["messages"] != want {
		t.Errorf("got  %s\nwant %s", got["messages"], want)
	}
}

func TestRefusedMessages(t *testing.T) {
	t.Parallel()
	media := func(of schemas.Media) schemas.Message {
		return schemas.Message{Role: "user", Parts: []schemas.Part{{Media: &of}}}
	}
	image := schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/png", Data: []byte("a")}
	for want, message := range map[string]schemas.Message{
		"takes no audio":                    media(schemas.Media{Kind: schemas.MediaAudio, MIMEType: "audio/wav", Data: []byte("a")}),
		"not \"image/tiff\"":                media(schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/tiff", Data: []byte("a")}),
		"not \"text/csv\"":                  media(schemas.Media{Kind: schemas.MediaFile, MIMEType: "text/csv", Data: []byte("a")}),
		"text/plain in UTF-8":               media(schemas.Media{Kind: schemas.MediaFile, MIMEType: "text/plain", Data: []byte("\xff")}),
		"URL of a PDF":                      media(schemas.Media{Kind: schemas.MediaFile, MIMEType: "text/plain", URL: "https://a/b.txt"}),
		"http:// or https:// only":          media(schemas.Media{Kind: schemas.MediaImage, URL: "s3://a/b.png"}),
		"neither data nor a URL":            media(schemas.Media{Kind: schemas.MediaImage, MIMEType: "image/png"}),
		"no media of kind":                  media(schemas.Media{Kind: "video", Data: []byte("a")}),
		"no media in a system message":      {Role: "system", Parts: []schemas.Part{{Media: &image}}},
		"no media in an assistant's":        {Role: "assistant", Parts: []schemas.Part{{Media: &image}}},
		"no role \"developer\"":             {Role: "developer", Content: "a"},
		"which call it answers":             {Role: "tool", Content: "a"},
		"tool call are no JSON object":      {Role: "assistant", ToolCalls: []schemas.ToolCall{{ID: "c", Name: "f", Arguments: `[` + modeltest.Prompt}}},
		"message 1 of the request: there i": {Role: ""},
	} {
		err := model().Check(&schemas.Request{Messages: []schemas.Message{message}})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), modeltest.Prompt) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	if err := model().Check(&schemas.Request{Task: schemas.TaskCompletions}); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestTools(t *testing.T) {
	t.Parallel()
	tools := []schemas.Tool{{Name: "f", Strict: true, Parameters: json.RawMessage(`{"type": "object"}`)}, {Name: "g"}}
	for _, c := range []struct {
		choice   schemas.ToolChoice
		parallel any
		want     string
	}{
		{"", nil, ""},
		{"", true, ""},
		{"", false, `{"type":"auto","disable_parallel_tool_use":true}`},
		{schemas.ToolChoiceAuto, nil, `{"type":"auto"}`},
		{schemas.ToolChoiceNone, false, `{"type":"none"}`},
		{schemas.ToolChoiceRequired, nil, `{"type":"any"}`},
		{"g", false, `{"type":"tool","name":"g","disable_parallel_tool_use":true}`},
	} {
		got := fields(t, encode(t, &schemas.Request{Tools: tools, ToolChoice: c.choice, Parameters: map[string]any{"parallel_tool_calls": c.parallel}}))
		if got["tool_choice"] != c.want {
			t.Errorf("%s: got %s, want %s", c.choice, got["tool_choice"], c.want)
		}
		if want := `[{"name":"f","input_schema":{"type":"object"},"strict":true},{"name":"g","input_schema":{"type":"object"}}]`; got["tools"] != want {
			t.Errorf("got %s", got["tools"])
		}
	}
	if got := fields(t, encode(t, &schemas.Request{ToolChoice: schemas.ToolChoiceNone})); got["tool_choice"] != "" {
		t.Errorf("a choice without tools: %v", got)
	}
	for want, request := range map[string]*schemas.Request{
		"not among the tools":  {Tools: tools, ToolChoice: "h"},
		"there are no tools":   {ToolChoice: schemas.ToolChoiceRequired},
		"are no JSON object":   {Tools: []schemas.Tool{{Name: "f", Parameters: json.RawMessage(`[]`)}}},
		"must be true or fals": {Tools: tools, Parameters: map[string]any{"parallel_tool_calls": "no"}},
		"schema of the format": {Format: &schemas.Format{Name: "a", Schema: json.RawMessage(`{"`)}},
		"a format already": {
			Format:     &schemas.Format{Name: "a", Schema: json.RawMessage(`{}`)},
			Parameters: map[string]any{"response_format": map[string]any{"type": "json_schema"}},
		},
	} {
		if err := model().Check(request); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	const provider, none = schemas.BasisProvider, schemas.BasisNone
	number := func(of int64) *int64 { return &of }
	for _, c := range []struct {
		name, body string
		want       schemas.Response
		fails      bool
	}{
		{
			"all", message(`{"type":"thinking","thinking":"Hm.","signature":"s"},{"type":"redacted_thinking","data":"d"},`+
				`{"type":"text","text":"a"},{"type":"text","text":"b\ud800"},{"type":"tool_use","id":"t","name":"f","input":{ "a":1 }},{"type":"novel"}`,
				"tool_use", `{"input_tokens":1,"cache_read_input_tokens":20,"cache_creation_input_tokens":300,"output_tokens":7,"output_tokens_details":{"thinking_tokens":3},"service_tier":"priority"}`),
			schemas.Response{
				Text: "ab\uFFFD", Reasoning: "Hm.", Stop: schemas.StopToolCalls, Model: "test-model-2026",
				ToolCalls: []schemas.ToolCall{{ID: "t", Name: "f", Arguments: `{ "a":1 }`}}, Usage: schemas.Usage{
					InputTokens: 321, OutputTokens: 7, TotalTokens: 328, CacheReadInputTokens: number(20), CacheCreationInputTokens: number(300),
					OutputReasoningTokens: number(3), ServiceTier: "priority", Basis: provider,
				},
			},
			false,
		},
		{"no word", message("", "end_turn", `{"input_tokens":1,"output_tokens":0,"cache_read_input_tokens":null}`), schemas.Response{
			Stop: schemas.StopEnd, Model: "test-model-2026",
			Usage: schemas.Usage{InputTokens: 1, TotalTokens: 1, Basis: provider},
		}, false},
		{"no counts", message(paris, "end_turn", "null"), schemas.Response{Text: "Paris.", Stop: schemas.StopEnd, Model: "test-model-2026", Usage: schemas.Usage{Basis: none}}, false},
		{"counts below zero", message(paris, "end_turn", `{"input_tokens":-1}`), schemas.Response{Text: "Paris.", Stop: schemas.StopEnd, Model: "test-model-2026", Usage: schemas.Usage{Basis: none}}, false},
		{"too much", message(paris, "end_turn", `{"input_tokens":1,"cache_read_input_tokens":9000000000000000}`), schemas.Response{Text: "Paris.", Stop: schemas.StopEnd, Model: "test-model-2026", Usage: schemas.Usage{Basis: none}}, false},
		{"no input", message(paris, "end_turn", `{"output_tokens":1}`), schemas.Response{Text: "Paris.", Stop: schemas.StopEnd, Model: "test-model-2026", Usage: schemas.Usage{Basis: none}}, false},
		{"a fraction", message(paris, "end_turn", `{"input_tokens":1.5}`), schemas.Response{Text: "Paris.", Stop: schemas.StopEnd, Model: "test-model-2026", Usage: schemas.Usage{Basis: none}}, false},
		{"refusal", `{"content":null,"stop_reason":"refusal"}`, schemas.Response{Stop: schemas.StopRefusal, Usage: schemas.Usage{Basis: none}}, false},
		{"no content", `{"stop_reason":"end_turn"}`, schemas.Response{}, true},
		{"a text for content", `{"content":"a"}`, schemas.Response{}, true},
		{"a number for text", `{"content":[{"type":"text","text":1}]}`, schemas.Response{}, true},
		{"a list in content", `{"content":[[]]}`, schemas.Response{}, true},
		{"a text for input", `{"content":[{"type":"tool_use","input":"{}"}]}`, schemas.Response{}, true},
		{"a number for model", `{"model":1,"content":[]}`, schemas.Response{}, true},
		{"an error", `{"type":"error","error":{"type":"api_error","message":"m"}}`, schemas.Response{}, true},
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
			if got.Usage.Basis == provider && !strings.Contains(c.body, got.Usage.Raw) {
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
		"end_turn": schemas.StopEnd, "stop_sequence": schemas.StopEnd, "max_tokens": schemas.StopLength,
		"model_context_window_exceeded": schemas.StopLength, "tool_use": schemas.StopToolCalls,
		"refusal": schemas.StopRefusal, "pause_turn": "", "novel": "",
	} {
		var got schemas.Response
		if err := model().Format().Decode([]byte(message(paris, word, usage20and5)), &got); err != nil || got.Stop != want {
			t.Errorf("%s: got %q %v, want %q", word, got.Stop, err, want)
		}
	}
}

// collect is what a stream comes to.
func collect(body string) (schemas.Response, error) {
	var got schemas.Response
	var whole schemas.Assembly
	defer whole.Finish(&got)
	for event, err := range model().Format().Events(strings.NewReader(body)) {
		if err != nil {
			whole.Finish(&got)
			return got, err //nolint:wrapcheck // the very error is tested
		}
		whole.Add(event, &got)
	}
	whole.Finish(&got)
	return got, nil
}

func TestStreams(t *testing.T) {
	t.Parallel()
	block := func(index int, kind, field, value string) string {
		return fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":%q,%q:%q}}`, index, kind, field, value)
	}
	got, err := collect(events(begin,
		`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`,
		block(0, "thinking_delta", "thinking", "Hm."), block(0, "signature_delta", "signature", "s"), endBlock,
		`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t1","name":"f","input":{}}}`, endBlock,
		`{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t2","name":"g","input":{}}}`,
		block(2, "input_json_delta", "partial_json", `{"a":`), block(2, "input_json_delta", "partial_json", `1}`), endBlock,
		`{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"s","name":"h","input":{}}}`,
		block(3, "input_json_delta", "partial_json", `{"b":1}`), endBlock, `{"type":"novel"}`,
		`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"cache_read_input_tokens":null,"output_tokens":50,"output_tokens_details":{"thinking_tokens":9}}}`, end))
	calls := []schemas.ToolCall{{ID: "t1", Name: "f", Arguments: "{}"}, {ID: "t2", Name: "g", Arguments: `{"a":1}`}}
	if err != nil || got.Reasoning != "Hm." || !slices.Equal(got.ToolCalls, calls) || got.Stop != schemas.StopToolCalls {
		t.Errorf("got %+v %v", got, err)
	}
	const raw = `{"input_tokens":20,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":50,"service_tier":"standard","output_tokens_details":{"thinking_tokens":9}}`
	u := got.Usage
	if u.Raw != raw || u.InputTokens != 20 || u.OutputTokens != 50 || *u.OutputReasoningTokens != 9 || u.Basis != schemas.BasisProvider || u.ServiceTier != "standard" {
		t.Errorf("got %+v", u)
	}

	refused, err := collect(events(begin, beginText, par, endBlock, `{"type":"message_delta","delta":{"stop_reason":"refusal"},"usage":{"output_tokens":5}}`, end))
	if err != nil || refused.Stop != schemas.StopRefusal {
		t.Errorf("got %+v %v", refused, err)
	}
}

func TestStreamsThatBreakOff(t *testing.T) {
	t.Parallel()
	long := fmt.Sprintf(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":%q}}`, strings.Repeat("a", 403))
	got, err := collect(events(begin, beginText, long))
	if !errors.Is(err, io.ErrUnexpectedEOF) || got.Usage.InputTokens != 20 || got.Usage.OutputTokens != 101 || got.Usage.TotalTokens != 121 || got.Usage.Basis != schemas.BasisEstimated {
		t.Errorf("got %+v %v", got.Usage, err)
	}
	got, err = collect(events(begin, beginText, long, endTurn))
	if !errors.Is(err, io.ErrUnexpectedEOF) || got.Usage.OutputTokens != 5 || got.Usage.Basis != schemas.BasisProvider {
		t.Errorf("got %+v %v", got.Usage, err)
	}
	for name, body := range map[string]string{
		"no JSON": "data: {\n\n", "a bomb": "data: " + strings.Repeat("[", 1<<20) + "\n\n",
		"a number": events(begin, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":1}}`),
	} {
		if _, err := collect(body); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestFailures are the error types, with a status of their own and behind the 200 of a stream.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind   string
		status int
		class  schemas.Class
		code   string
	}{
		{"invalid_request_error", 400, schemas.Rejected, "invalid_request_error"},
		{"authentication_error", 401, schemas.Fatal, "authentication_error"},
		{"billing_error", 402, schemas.Fatal, "payment_required"},
		{"permission_error", 403, schemas.Fatal, "permission_error"},
		{"not_found_error", 404, schemas.Fatal, "not_found_error"},
		{"conflict_error", 409, schemas.Transient, "conflict"},
		{"request_too_large", 413, schemas.Rejected, "request_too_large"},
		{"rate_limit_error", 429, schemas.Throttled, "rate_limit_exceeded"},
		{"api_error", 500, schemas.Transient, "server_error"},
		{"timeout_error", 504, schemas.Transient, "gateway_timeout"},
		{"overloaded_error", 529, schemas.Throttled, "overloaded"},
		{"novel_error", 500, schemas.Transient, "server_error"},
		{`rate_limit_error","details":{"error_visibility":"user_facing","error_code":"enforced_spend_limit_reached"},"x":"`, 429, schemas.Fatal, "insufficient_quota"},
	} {
		body := `{"type":"error","error":{"type":"` + c.kind + `","message":"m"},"request_id":"r"}`
		for _, stream := range []bool{false, true} {
			status, sent := c.status, body
			if stream {
				status, sent = http.StatusOK, events(begin, body)
			}
			m := serve(t, status, sent)
			var err error
			if stream {
				_, err = m.Stream(t.Context(), modeltest.Question(), func(*schemas.Event) error { return nil })
			} else {
				_, err = m.Invoke(t.Context(), modeltest.Question())
			}
			failure, ok := errors.AsType[*schemas.Error](err)
			if !ok || failure.Class != c.class || failure.Code != c.code || (failure.Class == schemas.Fatal) != (failure.Mend != "") && !stream {
				t.Errorf("%s, in a stream %v: got %#v", c.kind, stream, err)
			}
		}
	}
}

func serve(t *testing.T, status int, body string) *wire.Model {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	client := wire.NewClient(wire.ClientOptions{MaxConns: 1, Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return anthropic.New(anthropic.Options{BaseURL: server.URL + "/", APIKey: schemas.NewSecret(modeltest.Secret), Model: "claude", Client: client})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []anthropic.Options{
		{BaseURL: "::", Model: "m"},
		{BaseURL: "ftp://x", Model: "m"},
		{BaseURL: "localhost:9000", Model: "m"},
		{BaseURL: "https://user:" + modeltest.Secret + "@x", Model: "m"},
		{},
	} {
		m := anthropic.New(options)
		if err := m.Check(&schemas.Request{}); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: got %v", options.BaseURL, err)
		}
		got, err := m.Invoke(t.Context(), modeltest.Question())
		if schemas.ClassOf(err) != schemas.Fatal || strings.Contains(err.Error(), modeltest.Secret) || got.Usage.Basis != schemas.BasisNone {
			t.Errorf("%s: got %v", options.BaseURL, err)
		}
	}
	for base, want := range map[string]string{
		"": "https://api.anthropic.com/v1/messages", "http://127.0.0.1:9": "http://127.0.0.1:9/v1/messages",
		"http://127.0.0.1:9/a%2Fb/": "http://127.0.0.1:9/a%2Fb/v1/messages", "https://x?key=" + modeltest.Secret: "https://x/v1/messages",
	} {
		if got := anthropic.New(anthropic.Options{BaseURL: base, Model: "m"}).URL(schemas.TaskChat); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestUnsupportedMedia: what a row brings of its own is checked when it comes, and nothing is sent.
func TestUnsupportedMedia(t *testing.T) {
	t.Parallel()
	model := anthropic.New(anthropic.Options{BaseURL: "http://127.0.0.1:1", APIKey: schemas.NewSecret("sk-key"), Model: "claude"})
	got, err := model.Invoke(t.Context(), &schemas.Request{
		Messages: []schemas.Message{{Role: schemas.RoleUser, Parts: []schemas.Part{
			{Media: &schemas.Media{Kind: schemas.MediaAudio, MIMEType: "audio/wav", Data: []byte("RIFF")}},
		}}},
		Parameters: map[string]any{"max_tokens": 10},
	})
	failure, ok := errors.AsType[*schemas.Error](err)
	if !ok || failure.Class != schemas.Rejected || failure.Code != "unsupported_media" || got.Usage.Basis != schemas.BasisNone {
		t.Errorf("got %+v %v", got, err)
	}
}
