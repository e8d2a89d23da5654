package bedrock_test

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/bedrock"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// TestAnswers is every 2xx that a model may send.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const usage = `{"inputTokens":3,"outputTokens":4,"totalTokens":7}`
	for _, c := range []struct {
		name, body string
		stop       schemas.StopReason
		text       string
		reasoning  string
		calls      []schemas.ToolCall
		fails      bool
	}{
		{name: "end", body: answer(`{"text":"a"},{"text":"b"}`, "end_turn", usage), stop: "stop", text: "ab"},
		{name: "stop sequence", body: answer(`{"text":"a"}`, "stop_sequence", usage), stop: "stop", text: "a"},
		{name: "length", body: answer(`{"text":"a"}`, "max_tokens", usage), stop: "length", text: "a"},
		{name: "window", body: answer(`{"text":"a"}`, "model_context_window_exceeded", usage), stop: "length", text: "a"},
		{name: "guardrail", body: answer(`{"text":"a"}`, "guardrail_intervened", usage), stop: "content_filter", text: "a"},
		{name: "filter", body: answer(``, "content_filtered", usage), stop: "content_filter"},
		{name: "refusal", body: answer(`{"text":"a"}`, "refusal", usage), stop: "refusal", text: "a"},
		{name: "a new reason", body: answer(`{"text":"a"}`, "bored", usage), text: "a"},
		{name: "nothing to say", body: answer(``, "end_turn", usage), stop: "stop"},
		{name: "malformed output", body: answer(`{"text":"a"}`, "malformed_model_output", usage), text: "a", fails: true},
		{name: "malformed tool use", body: answer(`{"text":"a"}`, "malformed_tool_use", usage), text: "a", fails: true},
		{name: "thoughts", body: answer(`{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"reasoningContent":{"redactedContent":"eA=="}},{"text":"a"}`, "end_turn", usage), stop: "stop", text: "a", reasoning: "hm"},
		{name: "citations", body: answer(`{"citationsContent":{"content":[{"text":"a"},{"text":"b"}],"citations":[{"title":"no"}]}}`, "end_turn", usage), stop: "stop", text: "ab"},
		{
			name: "tools", body: answer(`{"text":"a"},{"toolUse":{"toolUseId":"1","name":"f","input":{}}},{"toolUse":{"toolUseId":"2","name":"g","input":{"x": [1]}}}`, "tool_use", usage), stop: "tool_calls", text: "a",
			calls: []schemas.ToolCall{{ID: "1", Name: "f", Arguments: "{}"}, {ID: "2", Name: "g", Arguments: `{"x": [1]}`}},
		},
		{name: "an unknown block", body: answer(`{"video":{"format":"mp4"}},{"text":"a"}`, "end_turn", usage), stop: "stop", text: "a"},
		{name: "a number for a text", body: answer(`{"text":5}`, "end_turn", usage), fails: true},
		{name: "a text for a block", body: answer(`"a"`, "end_turn", usage), fails: true},
		{name: "no content", body: `{"output":{"message":{"role":"assistant"}},"usage":` + usage + `}`, fails: true},
		{name: "no message", body: `{"usage":` + usage + `}`, fails: true},
		{name: "an error", body: `{"__type":"com.amazon#ThrottlingException","message":"slow","usage":` + usage + `}`, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := schemas.Response{Model: "asked"}
			err := bedrock.New(options()).Format().Decode([]byte(c.body), &got)
			if (err != nil) != c.fails || got.Stop != c.stop && !c.fails || got.Text != c.text || got.Reasoning != c.reasoning ||
				!reflect.DeepEqual(got.ToolCalls, c.calls) || got.Model != "asked" {
				t.Errorf("got %+v %v", got, err)
			}
			if got.Usage.InputTokens != 3 || got.Usage.OutputTokens != 4 || got.Usage.Raw != usage {
				t.Errorf("the usage is paid whatever follows: got %+v", got.Usage)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	number := func(n int64) *int64 { return &n }
	for usage, want := range map[string]schemas.Usage{
		`{"inputTokens":3,"outputTokens":4,"totalTokens":7}`: {InputTokens: 3, OutputTokens: 4, TotalTokens: 7, Basis: schemas.BasisProvider},
		`{"inputTokens":3,"outputTokens":4,"totalTokens":37,"cacheReadInputTokens":10,"cacheWriteInputTokens":20}`: {
			InputTokens: 33, OutputTokens: 4, TotalTokens: 37, CacheReadInputTokens: number(10), CacheCreationInputTokens: number(20), Basis: schemas.BasisProvider,
		},
		`{"inputTokens":3}`:                                            {InputTokens: 3, TotalTokens: 3, Basis: schemas.BasisProvider},
		`{"outputTokens":3}`:                                           {Basis: schemas.BasisNone},
		`{"inputTokens":-3,"outputTokens":4}`:                          {Basis: schemas.BasisNone},
		`{"inputTokens":3,"outputTokens":4.5}`:                         {Basis: schemas.BasisNone},
		`{"inputTokens":"3","outputTokens":4}`:                         {Basis: schemas.BasisNone},
		`{"inputTokens":9000000000000000,"outputTokens":4}`:            {Basis: schemas.BasisNone},
		`{"inputTokens":3,"outputTokens":4,"cacheReadInputTokens":-1}`: {Basis: schemas.BasisNone},
		`null`: {Basis: schemas.BasisNone},
		`[]`:   {Basis: schemas.BasisNone},
	} {
		if want.Basis == schemas.BasisProvider {
			want.Raw = usage
		}
		var got schemas.Response
		if err := bedrock.New(options()).Format().Decode([]byte(answer(`{"text":"a"}`, "end_turn", usage)), &got); err != nil || !reflect.DeepEqual(got.Usage, want) {
			t.Errorf("%s: got %+v %v", usage, got.Usage, err)
		}
	}
	var long schemas.Response
	if err := bedrock.New(options()).Format().Decode([]byte(answer(`{"text":"a"}`, "end_turn", `{"inputTokens":3,"x":"`+strings.Repeat("x", 9<<10)+`"}`)), &long); err != nil ||
		long.Usage.Raw != "" || long.Usage.InputTokens != 3 {
		t.Errorf("got %+v %v", long.Usage, err)
	}
	var routed schemas.Response
	if err := bedrock.New(options()).Format().Decode([]byte(`{"output":{"message":{"content":[]}},"usage":{"inputTokens":1},"serviceTier":{"type":"flex"},`+
		`"trace":{"promptRouter":{"invokedModelId":"arn:m"}}}`), &routed); err != nil || routed.Model != "arn:m" || routed.Usage.ServiceTier != "flex" {
		t.Errorf("got %+v %v", routed, err)
	}
}

// TestUsageOfStreams: OpenAI's models count cached tokens in inputTokens, in streams only.
func TestUsageOfStreams(t *testing.T) {
	t.Parallel()
	const gross = `{"usage":{"inputTokens":12401,"outputTokens":5,"totalTokens":24805,"cacheReadInputTokens":8367,"cacheWriteInputTokens":4032},"serviceTier":{"type":"priority"}}`
	const net = `{"usage":{"inputTokens":2,"outputTokens":5,"totalTokens":12406,"cacheReadInputTokens":8367,"cacheWriteInputTokens":4032}}`
	for _, c := range []struct {
		model, metadata string
		input           int64
	}{
		{"openai.gpt-5-v1:0", gross, 12401},
		{"us.openai.gpt-5-v1:0", gross, 12401},
		{"arn:aws:bedrock:us-east-1::foundation-model/openai.gpt-5", gross, 12401},
		{"openai.gpt-5-v1:0", net, 12401},
		{"anthropic.claude", net, 12401},
		{"my-openai.model", gross, 24800},
	} {
		o := options()
		o.Model = c.model
		stream := frame("messageStop", `{"stopReason":"end_turn"}`) + frame("metadata", c.metadata)
		var got *schemas.Usage
		for event, err := range bedrock.New(o).Format().Events(strings.NewReader(stream)) {
			if err != nil {
				t.Fatal(err)
			}
			if event.Usage != nil {
				got = event.Usage
			}
		}
		if got == nil || got.InputTokens != c.input || got.TotalTokens != c.input+5 || *got.CacheReadInputTokens != 8367 || (got.ServiceTier == "priority") != (c.metadata == gross) {
			t.Errorf("%s: got %+v, want %d in", c.model, got, c.input)
		}
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	end := frame("messageStop", `{"stopReason":"tool_use"}`) + frame("metadata", metadata)
	text := frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"a"}}`)
	start := func(block, id string) string {
		return frame("contentBlockStart", `{"contentBlockIndex":`+block+`,"start":{"toolUse":{"name":"f","toolUseId":"`+id+`"}}}`)
	}
	headers := [][2]string{{":message-type", "error"}, {":error-code", "InternalFailure"}, {":error-message", "oh"}}
	for _, c := range []struct {
		name, body string
		want       schemas.Response
		fails      string // what is said of it; "problem" for the provider's own account
	}{
		{
			"text, thoughts and tools", frame("messageStart", streamStart) + frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}}`) +
				frame("contentBlockDelta", `{"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"s"}}}`) + text + start("2", "t1") +
				frame("contentBlockDelta", `{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"x\":1}"}}}`) + frame("contentBlockStop", `{"contentBlockIndex":2}`) +
				start("3", "t2") + frame("contentBlockStop", `{"contentBlockIndex":3}`) + frame("somethingNew", `{"a":1}`) + end,
			schemas.Response{Text: "a", Reasoning: "hm", Stop: "tool_calls", ToolCalls: []schemas.ToolCall{{ID: "t1", Name: "f", Arguments: `{"x":1}`}, {ID: "t2", Name: "f", Arguments: `{}`}}},
			"",
		},
		{"the usage first", frame("metadata", metadata) + text + frame("messageStop", `{"stopReason":"end_turn"}`), schemas.Response{Text: "a", Stop: "stop"}, ""},
		{"nothing", "", schemas.Response{}, io.ErrUnexpectedEOF.Error()},
		{"no end", text, schemas.Response{Text: "a"}, io.ErrUnexpectedEOF.Error()},
		{"no usage", text + frame("messageStop", `{"stopReason":"end_turn"}`), schemas.Response{Text: "a", Stop: "stop"}, io.ErrUnexpectedEOF.Error()},
		{"no stop", text + frame("metadata", metadata), schemas.Response{Text: "a"}, io.ErrUnexpectedEOF.Error()},
		{"half a length", text + "\x00\x00", schemas.Response{Text: "a"}, io.ErrUnexpectedEOF.Error()},
		{"half a frame", text + text[:30], schemas.Response{Text: "a"}, io.ErrUnexpectedEOF.Error()},
		{"malformed output", text + frame("messageStop", `{"stopReason":"malformed_tool_use"}`) + frame("metadata", metadata), schemas.Response{Text: "a"}, "malformed"},
		{"a page", "<html>ANSWER-TEXT</html>", schemas.Response{}, "not made of frames"},
		{"a short frame", "\x00\x00\x00\x0f\x00\x00\x00\x00AAAAAAA", schemas.Response{}, "not made of frames"},
		{"a long frame", "\x00\x50\x00\x00\x00\x00\x00\x00", schemas.Response{}, "not made of frames"},
		{"longer headers than the frame", "\x00\x00\x00\x20\x00\x00\x00\x11", schemas.Response{}, "not made of frames"},
		{"a wrong checksum", text[:len(text)-1] + "\x00", schemas.Response{}, "frame of the stream is malformed"},
		{"no JSON", frame("contentBlockDelta", `{"delta":ANSWER-TEXT}`), schemas.Response{}, "not JSON"},
		{"no payload", frame("contentBlockDelta", ``), schemas.Response{}, "not JSON"},
		{"deep", frame("contentBlockDelta", `{"a":`+strings.Repeat("[", 20_000)), schemas.Response{}, "not JSON"},
		{"a list", frame("contentBlockDelta", `[]`), schemas.Response{}, "another type"},
		{"a number for a text", frame("contentBlockDelta", `{"delta":{"text":5}}`), schemas.Response{}, "another type"},
		{"a piece of no call", frame("contentBlockDelta", `{"contentBlockIndex":7,"delta":{"toolUse":{"input":"{"}}}`), schemas.Response{}, "another type"},
		{"an exception", text + exception("modelStreamErrorException", `{"message":"ANSWER-free","originalStatusCode":500}`), schemas.Response{Text: "a"}, "problem"},
		{"an exception without a body", exception("internalServerException", ``), schemas.Response{}, "problem"},
		{"an error of the protocol", encode(headers, ""), schemas.Response{}, "problem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var got schemas.Response
			var whole schemas.Assembly
			var err error
			for event, failure := range bedrock.New(options()).Format().Events(strings.NewReader(c.body)) {
				if failure != nil {
					err = failure
					break
				}
				whole.Add(event, &got)
			}
			whole.Finish(&got)
			c.want.Usage = got.Usage
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			_, told := errors.AsType[*wire.Problem](err)
			switch {
			case c.fails == "" && (err != nil || got.Usage.InputTokens != 20), c.fails == "problem" && !told,
				c.fails != "" && c.fails != "problem" && (err == nil || told || !strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), "ANSWER-TEXT")):
				t.Errorf("got %v, want %q", err, c.fails)
			}
		})
	}
}

// FuzzEvents feeds the stream's reader with payloads in whole frames, which chance would not make.
func FuzzEvents(f *testing.F) {
	for _, kind := range []string{"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"} {
		for _, payload := range []string{
			`{"contentBlockIndex":0,"start":{"toolUse":{"name":"f","toolUseId":"t"}}}`, `{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}`,
			`{"contentBlockIndex":0,"delta":{"text":"a"}}`, `{"stopReason":"end_turn"}`, metadata, `{"contentBlockIndex":1e300}`,
		} {
			f.Add(kind, payload, kind, payload)
		}
	}
	format := bedrock.New(options()).Format()
	f.Fuzz(func(t *testing.T, kind, payload, second, more string) {
		const headerLimit = 1 << 15 // of the encoder
		if len(kind) >= headerLimit || len(second) >= headerLimit {
			return
		}
		var got schemas.Response
		var whole schemas.Assembly
		for event, err := range format.Events(strings.NewReader(frame(kind, payload) + frame(second, more))) {
			if err != nil {
				break
			}
			whole.Add(event, &got)
		}
		if u := got.Usage; u.InputTokens < 0 || u.OutputTokens < 0 || u.TotalTokens < 0 {
			t.Errorf("got %+v", u)
		}
	})
}
