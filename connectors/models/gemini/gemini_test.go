package gemini_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"github.com/inflowhq/inflow/connectors/models/gemini"
	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// modelAt is a model of the Gemini API whose server always answers so.
func modelAt(t *testing.T, answer modeltest.Answer) *wire.Model {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(max(answer.Status, http.StatusOK))
		_, _ = io.WriteString(w, answer.Body)
	}))
	client := wire.NewClient(wire.ClientOptions{Timeout: 10 * time.Second})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return gemini.New(gemini.Options{BaseURL: server.URL, APIKey: schemas.NewSecret(modeltest.Secret), Model: "test-model", Client: client})
}

func named(model string) *wire.Model {
	return gemini.New(gemini.Options{APIKey: schemas.NewSecret(modeltest.Secret), Model: model})
}

func vertexNamed(t *testing.T, model, region string) *wire.Model {
	t.Helper()
	return gemini.New(gemini.Options{
		Model: model, ProjectID: "project-1", Region: region, PrivateKey: keyFile(t, privateKey(t), "https://oauth2.googleapis.com/token"),
	})
}

// written is a request's body, checked by Check before.
func written(t *testing.T, m *wire.Model, request *schemas.Request) map[string]json.RawMessage {
	t.Helper()
	if err := m.Check(request); err != nil {
		t.Fatal(err)
	}
	call, err := m.Format().Encode(request, false)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(call.Body, &body); err != nil {
		t.Fatalf("%v: %s", err, call.Body)
	}
	return body
}

func TestParameters(t *testing.T) {
	t.Parallel()
	vertex := vertexNamed(t, "gemini-2.5-flash", "europe-west4")
	for _, c := range []struct {
		parameters map[string]any
		model      *wire.Model
		field      string
		want       string
	}{
		{nil, named("m"), "generationConfig", ""},
		{map[string]any{"temperature": nil}, named("m"), "generationConfig", ""},
		{map[string]any{"temperature": 0, "top_p": 0.5, "top_k": 40.0}, named("m"), "generationConfig", `{"temperature":0,"topK":40,"topP":0.5}`},
		{map[string]any{"max_completion_tokens": 5}, named("m"), "generationConfig", `{"maxOutputTokens":5}`},
		{map[string]any{"stop": "<a>"}, named("m"), "generationConfig", `{"stopSequences":["<a>"]}`},
		{map[string]any{"stop": []string{"a", "b"}}, named("m"), "generationConfig", `{"stopSequences":["a","b"]}`},
		{
			map[string]any{"seed": -7, "frequency_penalty": 0.1, "presence_penalty": -1},
			named("m"), "generationConfig",
			`{"frequencyPenalty":0.1,"presencePenalty":-1,"seed":-7}`,
		},
		{map[string]any{"reasoning_effort": "low"}, named("gemini-2.5-pro"), "generationConfig", `{"thinkingConfig":{"thinkingBudget":1024}}`},
		{map[string]any{"reasoning_effort": "none"}, named("gemini-2.5-flash"), "generationConfig", `{"thinkingConfig":{"thinkingBudget":0}}`},
		{map[string]any{"reasoning_effort": "high"}, named("models/gemini-3-pro"), "generationConfig", `{"thinkingConfig":{"thinkingLevel":"HIGH"}}`},
		{
			map[string]any{"thinkingConfig": map[string]any{"thinkingBudget": -1, "includeThoughts": true}},
			named("m"), "generationConfig",
			`{"thinkingConfig":{"includeThoughts":true,"thinkingBudget":-1}}`,
		},
		{map[string]any{"response_format": map[string]any{"type": "text"}}, named("m"), "generationConfig", `{"responseMimeType":"text/plain"}`},
		{map[string]any{"response_format": map[string]any{"type": "json_object"}}, named("m"), "generationConfig", `{"responseMimeType":"application/json"}`},
		{
			map[string]any{"response_format": map[string]any{"type": "json_schema", "json_schema": map[string]any{
				"name": "n", "strict": true, "schema": map[string]any{"type": "object"},
			}}},
			named("m"), "generationConfig",
			`{"responseJsonSchema":{"type":"object"},"responseMimeType":"application/json"}`,
		},
		{map[string]any{"mediaResolution": "MEDIA_RESOLUTION_LOW"}, named("m"), "generationConfig", `{"mediaResolution":"MEDIA_RESOLUTION_LOW"}`},
		{
			map[string]any{"safetySettings": []any{map[string]any{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}}},
			named("m"), "safetySettings", `[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF"}]`,
		},
		{map[string]any{"cachedContent": "cachedContents/c"}, named("m"), "cachedContent", `"cachedContents/c"`},
		{map[string]any{"service_tier": "auto"}, named("m"), "serviceTier", `"standard"`},
		{map[string]any{"service_tier": "flex"}, named("m"), "serviceTier", `"flex"`},
		{map[string]any{"labels": map[string]any{"team": "x"}}, vertex, "labels", `{"team":"x"}`},
	} {
		request := modeltest.Question()
		request.Parameters = c.parameters
		if got := string(written(t, c.model, request)[c.field]); got != c.want {
			t.Errorf("%v: got %s, want %s", c.parameters, got, c.want)
		}
	}
}

// TestParametersOfAnotherMap: the encoding that is kept is the last map's, and never another's.
func TestParametersOfAnotherMap(t *testing.T) {
	t.Parallel()
	m := named("m")
	first, second := map[string]any{"seed": 1}, map[string]any{"seed": 2}
	for _, c := range []struct {
		parameters map[string]any
		want       string
	}{{first, `{"seed":1}`}, {first, `{"seed":1}`}, {second, `{"seed":2}`}, {nil, ""}, {map[string]any{}, ""}, {first, `{"seed":1}`}} {
		request := modeltest.Question()
		request.Parameters = c.parameters
		if got := string(written(t, m, request)["generationConfig"]); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestRefusedParameters(t *testing.T) {
	t.Parallel()
	vertex := vertexNamed(t, "gemini-2.5-flash", "global")
	type parameters map[string]any
	for _, c := range []struct {
		parameters parameters
		model      *wire.Model
		want       string
	}{
		{parameters{"temprature": 1}, nil, "did you mean temperature?"},
		{parameters{"max_output_tokens": 1}, nil, "did you mean max_"},
		{parameters{"maxOutputTokens": 1}, nil, "write max_tokens"},
		{parameters{strings.Repeat("é", 1<<20): 1}, nil, "no parameter of the gemini format"},
		{parameters{"model": "m"}, nil, "names the model"},
		{parameters{"stream": true}, nil, "whole"},
		{parameters{"n": 2}, nil, "one answer"},
		{parameters{"tools": []any{}}, nil, "text"},
		{parameters{"user": "u"}, nil, "no such parameter"},
		{parameters{"logprobs": true}, nil, "no place"},
		{parameters{"metadata": map[string]any{}}, nil, "no such parameter"},
		{parameters{"metadata": map[string]any{}}, vertex, "write labels"},
		{parameters{"labels": map[string]any{}}, nil, "only Vertex AI"},
		{parameters{"labels": map[string]any{"a": 1}}, vertex, "object of strings"},
		{parameters{"service_tier": "flex"}, vertex, "no such parameter"},
		{parameters{"service_tier": "scale"}, nil, "must be auto"},
		{parameters{"temperature": "hot"}, nil, "must be a number"},
		{parameters{"max_tokens": 0}, nil, "integer from 1"},
		{parameters{"max_tokens": 1.5}, nil, "integer from 1"},
		{parameters{"max_tokens": 1e12}, nil, "integer from 1"},
		{parameters{"max_tokens": 1, "max_completion_tokens": 1}, nil, "maxOutputTokens already"},
		{parameters{"seed": true}, nil, "integer"},
		{parameters{"stop": []any{1}}, nil, "list of strings"},
		{parameters{"stop": 1}, nil, "list of strings"},
		{parameters{"reasoning_effort": "xhigh"}, nil, "none, minimal"},
		{parameters{"reasoning_effort": 1}, nil, "none, minimal"},
		{parameters{"reasoning_effort": "none"}, named("gemini-3.5-flash"), "kept from thinking"},
		{parameters{"reasoning_effort": "low", "thinkingConfig": map[string]any{}}, nil, "thinkingConfig already"},
		{parameters{"thinkingConfig": 1}, nil, "must be an object"},
		{parameters{"thinkingConfig": map[string]any{"budget": 1}}, nil, "budget: there is no such field"},
		{parameters{"thinkingConfig": map[string]any{"thinkingBudget": -2}}, nil, "thinkingBudget: it must be"},
		{parameters{"thinkingConfig": map[string]any{"includeThoughts": 1}}, nil, "true or false"},
		{parameters{"response_format": "json"}, nil, "json_schema"},
		{parameters{"response_format": map[string]any{"type": "json_schema"}}, nil, "json_schema"},
		{parameters{"safetySettings": map[string]any{}}, nil, "must be a list"},
		{parameters{"safetySettings": []any{1}}, nil, "must be a list"},
		{parameters{"cachedContent": 1}, nil, "must be a string"},
		{parameters{"safetySettings": []any{map[string]any{"a": make(chan int)}}}, nil, "cannot be written as JSON"},
		{parameters{"n": 2, "sead": 1}, nil, "mean seed"},
	} {
		if c.model == nil {
			c.model = named("gemini-2.5-flash")
		}
		request := modeltest.Question()
		request.Parameters = c.parameters
		err := c.model.Check(request)
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%.60v: got %.300v, want %q", slices.Collect(maps.Keys(c.parameters)), err, c.want)
		}
		if _, err := c.model.Format().Encode(request, false); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%.60v: what Check refuses is sent: %.300v", slices.Collect(maps.Keys(c.parameters)), err)
		}
	}
}

// TestMessages is what becomes of every kind of message.
func TestMessages(t *testing.T) {
	t.Parallel()
	calls := []schemas.ToolCall{{ID: "a", Name: "f", Arguments: `{"x": "<é>"}`}, {ID: "b", Name: "g"}}
	request := &schemas.Request{
		Messages: []schemas.Message{
			{Role: "system", Content: "One."},
			{Role: "system", Parts: []schemas.Part{{Text: "Two."}}},
			{Role: "user", Content: "Hi\x00\xff"},
			{Role: "user", Parts: []schemas.Part{
				{Media: &schemas.Media{Kind: schemas.MediaFile, MIMEType: "application/pdf", Name: "a.pdf", Data: []byte("%PDF")}},
				{Media: &schemas.Media{Kind: schemas.MediaAudio, MIMEType: "audio/wav", URL: "gs://bucket/a.wav"}},
				{Media: &schemas.Media{Kind: schemas.MediaImage, URL: "https://x/y.png"}},
			}},
			{Role: "assistant", Content: "Well.", ToolCalls: calls},
			{Role: "tool", ToolCallID: "b", Content: "plain"},
			{Role: "tool", ToolCallID: "a", Parts: []schemas.Part{{Text: `[1,`}, {Text: `2]`}}},
			{Role: "user", Content: "Go on."},
			{Role: "assistant", ToolCalls: []schemas.ToolCall{{ID: "a", Name: "h", Arguments: "{}"}}},
			{Role: "tool", ToolCallID: "a", Content: ` {"k":1}`},
		},
	}
	const rest = `{"functionCall":{"name":"g","args":{},"id":"b"}}]},` +
		`{"role":"user","parts":[{"functionResponse":{"name":"g","id":"b","response":{"output":"plain"}}},` +
		`{"functionResponse":{"name":"f","id":"a","response":{"output":"[1,2]"}}}]},` +
		`{"role":"user","parts":[{"text":"Go on."}]},`
	const first = `[{"role":"user","parts":[{"text":"Hi\u0000` + "\uFFFD" + `"},{"inlineData":{"mimeType":"application/pdf","data":"JVBERg=="}},` +
		`{"fileData":{"fileUri":"gs://bucket/a.wav","mimeType":"audio/wav"}},{"fileData":{"fileUri":"https://x/y.png"}}]},` +
		`{"role":"model","parts":[{"text":"Well."},{"functionCall":{"name":"f","args":{"x": "<é>"},"id":"a"}`
	const last = `{"role":"user","parts":[{"functionResponse":{"name":"h","id":"a","response": {"k":1}}}]}]`
	const signature = `,"thoughtSignature":"skip_thought_signature_validator"`
	for model, want := range map[string]string{
		"gemini-2.5-flash": first + `},` + rest + `{"role":"model","parts":[{"functionCall":{"name":"h","args":{},"id":"a"}}]},` + last,
		"gemini-3.5-flash": first + signature + `},` + rest +
			`{"role":"model","parts":[{"functionCall":{"name":"h","args":{},"id":"a"}` + signature + `}]},` + last,
	} {
		body := written(t, named(model), request)
		if got := string(body["contents"]); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", model, got, want)
		}
		if got := string(body["systemInstruction"]); got != `{"parts":[{"text":"One."},{"text":"Two."}]}` {
			t.Errorf("got %s", got)
		}
	}
}

// FuzzEncode: whatever the rows hold, the body is JSON in UTF-8, and says the same.
func FuzzEncode(f *testing.F) {
	for _, seed := range []string{"", "a\"b\\c", "\x00\x1f\x7f", "é😀\u2028", "\xff\xc3(", "\xed\xa0\x80", `{"a":[1,{"b":"\xff"}]}`, "{", " {} ", "tail\xc3"} {
		f.Add(seed)
	}
	m := named("gemini-3.5-flash")
	f.Fuzz(func(t *testing.T, text string) {
		request := &schemas.Request{Messages: []schemas.Message{
			{Role: "system", Content: text, Parts: []schemas.Part{}},
			{Role: "user", Content: text},
			{Role: "user", Parts: []schemas.Part{{Text: text}, {Media: &schemas.Media{Kind: schemas.MediaImage, MIMEType: text, Data: []byte(text)}}}},
			{Role: "user", Parts: []schemas.Part{}},
			{Role: "assistant", ToolCalls: []schemas.ToolCall{{ID: text, Name: text, Arguments: text}}},
			{Role: "tool", ToolCallID: text, Content: text},
		}}
		call, err := m.Format().Encode(request, false)
		if err != nil {
			return
		}
		var body struct {
			Contents []struct{ Parts []struct{ Text string } }
		}
		if err := json.Unmarshal(call.Body, &body); err != nil || !utf8.Valid(call.Body) {
			t.Fatalf("%v: %q", err, call.Body)
		}
		if got, want := body.Contents[0].Parts[0].Text, string([]rune(text)); got != want { // a rune conversion has U+FFFD for a bad byte
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestTools(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		choice schemas.ToolChoice
		strict bool
		want   string
	}{
		{"", false, ""},
		{"", true, `{"functionCallingConfig":{"mode":"VALIDATED"}}`},
		{schemas.ToolChoiceAuto, false, `{"functionCallingConfig":{"mode":"AUTO"}}`},
		{schemas.ToolChoiceAuto, true, `{"functionCallingConfig":{"mode":"VALIDATED"}}`},
		{schemas.ToolChoiceNone, true, `{"functionCallingConfig":{"mode":"NONE"}}`},
		{schemas.ToolChoiceRequired, true, `{"functionCallingConfig":{"mode":"ANY"}}`},
		{"get_weather", false, `{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["get_weather"]}}`},
	} {
		request := modeltest.WithTools()
		request.ToolChoice, request.Tools[0].Strict = c.choice, c.strict
		request.Tools = append(request.Tools, schemas.Tool{Name: "bare"})
		body := written(t, named("m"), request)
		if got := string(body["toolConfig"]); got != c.want {
			t.Errorf("%s: got %s, want %s", c.choice, got, c.want)
		}
		if got := string(body["tools"]); !strings.HasPrefix(got, `[{"functionDeclarations":[{"name":"get_weather"`) || !strings.HasSuffix(got, `,{"name":"bare"}]}]`) {
			t.Errorf("got %s", got)
		}
	}
	request := modeltest.Question()
	request.ToolChoice = schemas.ToolChoiceAuto
	if body := written(t, named("m"), request); body["toolConfig"] != nil {
		t.Errorf("got %s", body["toolConfig"])
	}
}

func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	media := func(media schemas.Media) func(*schemas.Request) {
		return func(r *schemas.Request) { r.Messages[1].Parts = []schemas.Part{{Media: &media}} }
	}
	for name, c := range map[string]struct {
		change func(r *schemas.Request)
		want   string
	}{
		"completion":       {func(r *schemas.Request) { r.Task = schemas.TaskCompletions }, "llm/v1/chat"},
		"unknown task":     {func(r *schemas.Request) { r.Task = "t" }, "no task t"},
		"late system":      {func(r *schemas.Request) { r.Messages[0], r.Messages[1] = r.Messages[1], r.Messages[0] }, "before all other"},
		"system alone":     {func(r *schemas.Request) { r.Messages = r.Messages[:1] }, "needs a message of the user"},
		"unknown role":     {func(r *schemas.Request) { r.Messages[1].Role = "robot" }, `"robot"`},
		"image of system":  {func(r *schemas.Request) { r.Messages[0].Parts = modeltest.WithImage().Messages[1].Parts }, "text only"},
		"bytes of what":    {media(schemas.Media{Kind: schemas.MediaFile, Data: []byte("x")}), "MIME type of a file"},
		"local file":       {media(schemas.Media{Kind: schemas.MediaFile, MIMEType: "a/b", URL: "file:///etc/passwd"}), "gs://"},
		"orphan result":    {func(r *schemas.Request) { r.Messages[1] = schemas.Message{Role: "tool", ToolCallID: "x"} }, "answers no call"},
		"bad arguments":    {func(r *schemas.Request) { r.Messages[1].ToolCalls = []schemas.ToolCall{{Name: "f", Arguments: "[]"}} }, "no JSON object"},
		"broken arguments": {func(r *schemas.Request) { r.Messages[1].ToolCalls = []schemas.ToolCall{{Name: "f", Arguments: "{"}} }, "no JSON object"},
		"no tools":         {func(r *schemas.Request) { r.ToolChoice = schemas.ToolChoiceRequired }, "has none"},
		"other tool":       {func(r *schemas.Request) { r.Tools, r.ToolChoice = modeltest.WithTools().Tools, "f" }, "not among"},
		"tool's name":      {func(r *schemas.Request) { r.Tools = []schemas.Tool{{Name: "1 f"}} }, "letters"},
		"no name":          {func(r *schemas.Request) { r.Tools = []schemas.Tool{{}} }, "letters"},
		"tool's schema":    {func(r *schemas.Request) { r.Tools = []schemas.Tool{{Name: "f", Parameters: []byte("true")}} }, "no JSON object"},
		"answer's schema":  {func(r *schemas.Request) { r.Format = &schemas.Format{} }, "schema of the answer"},
		"two formats": {func(r *schemas.Request) {
			r.Format = modeltest.Structured().Format
			r.Parameters = map[string]any{"response_format": map[string]any{"type": "json_object"}}
		}, "has a format already"},
	} {
		request := modeltest.Question()
		c.change(request)
		err := named("m").Check(request)
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), modeltest.Prompt) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if _, err := named("m").Format().Encode(request, false); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: what Check refuses is sent: %v", name, err)
		}
	}
	request := modeltest.WithImage()
	request.Messages[1].Parts[1].Media = &schemas.Media{Kind: schemas.MediaImage, URL: "gs://b/o"}
	if err := vertexNamed(t, "m", "global").Check(request); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("Vertex AI needs a MIME type: got %v", err)
	}
	if err := named("m").Check(&schemas.Request{}); err != nil {
		t.Error(err)
	}
}

// TestAnswers is every 2xx that the API may send.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const none, estimated, provider = schemas.BasisNone, schemas.BasisEstimated, schemas.BasisProvider
	text := func(reason string) string { return content(`{"text":"a"}`, reason, usage20and5) }
	usage := func(usage string) string { return content(`{"text":"a"}`, "STOP", usage) }
	cases := []struct {
		name, body string
		text       string
		stop       schemas.StopReason
		class      schemas.Class
		code       string // empty: an answer
		basis      schemas.BillableBasis
	}{
		{name: "parts", body: content(`{"text":"a"},{"text":"b"},{"thought":true,"text":"no"},{"executableCode":{"code":"no"}}`, "STOP", usage20and5), text: "ab", stop: schemas.StopEnd, basis: provider},
		{name: "empty text", body: content(`{"text":""}`, "STOP", usage20and5), stop: schemas.StopEnd, basis: provider},
		{name: "other", body: text("OTHER"), text: "a", basis: provider},
		{name: "new reason", body: text("SOMETHING_NEW"), text: "a", basis: provider},
		{name: "length", body: text("MAX_TOKENS"), text: "a", stop: schemas.StopLength, basis: provider},
		{name: "not counted", body: `{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}`, text: "a", stop: schemas.StopEnd, basis: estimated},
		{name: "counted null", body: usage("null"), text: "a", stop: schemas.StopEnd, basis: estimated},
		{name: "counted nonsense", body: usage(`{"promptTokenCount":-5}`), text: "a", stop: schemas.StopEnd, basis: estimated},
		{name: "counted too much", body: usage(`{"promptTokenCount":9000000000000000}`), text: "a", stop: schemas.StopEnd, basis: estimated},
		{name: "counted beyond numbers", body: usage(`{"promptTokenCount":1e999}`), text: "a", stop: schemas.StopEnd, basis: estimated},
		{name: "counted in words", body: usage(`{"promptTokenCount":"20"}`), text: "a", stop: schemas.StopEnd, basis: estimated},
		{name: "counted in halves", body: usage(`{"promptTokenCount":20.5}`), text: "a", stop: schemas.StopEnd, basis: estimated},
		{name: "counted traffic only", body: usage(`{"trafficType":"ON_DEMAND"}`), text: "a", stop: schemas.StopEnd, basis: estimated},

		{name: "safety", body: text("SAFETY"), stop: schemas.StopContentFilter, class: schemas.Rejected, code: "content_filter", basis: provider},
		{name: "recitation", body: text("RECITATION"), stop: schemas.StopContentFilter, class: schemas.Rejected, code: "content_filter", basis: provider},
		{name: "blocklist", body: text("BLOCKLIST"), stop: schemas.StopContentFilter, class: schemas.Rejected, code: "content_filter", basis: provider},
		{name: "prohibited", body: text("PROHIBITED_CONTENT"), stop: schemas.StopContentFilter, class: schemas.Rejected, code: "content_filter", basis: provider},
		{name: "SPII", body: text("SPII"), stop: schemas.StopContentFilter, class: schemas.Rejected, code: "content_filter", basis: provider},
		{name: "blocked prompt", body: `{"promptFeedback":{"blockReason":"SAFETY"}}`, stop: schemas.StopContentFilter, class: schemas.Rejected, code: "content_filter", basis: estimated},
		{name: "no room", body: content("", "MAX_TOKENS", usage20and5), stop: schemas.StopLength, class: schemas.Rejected, code: "length", basis: provider},
		{name: "tool", body: content(parisCall, "STOP", usage20and5), stop: schemas.StopToolCalls, class: schemas.Rejected, code: "tool_calls", basis: provider},
		{name: "malformed call", body: content("", "MALFORMED_FUNCTION_CALL", usage20and5), class: schemas.Transient, code: "malformed_response", basis: provider},
		{name: "malformed call after text", body: text("MALFORMED_FUNCTION_CALL"), class: schemas.Transient, code: "malformed_response", basis: provider},
		{name: "nothing", body: content("", "STOP", usage20and5), stop: schemas.StopEnd, class: schemas.Transient, code: "malformed_response", basis: provider},
		{name: "no candidates", body: `{"candidates":[],"usageMetadata":` + usage20and5 + `}`, class: schemas.Transient, code: "malformed_response", basis: provider},
		{name: "number", body: content(`{"text":5}`, "STOP", usage20and5), stop: schemas.StopEnd, class: schemas.Transient, code: "malformed_response", basis: provider},
		{name: "arguments of a list", body: content(`{"functionCall":{"name":"f","args":[]}}`, "STOP", usage20and5), stop: schemas.StopToolCalls, class: schemas.Transient, code: "malformed_response", basis: provider},
		{name: "list", body: `[{"candidates":[]}]`, class: schemas.Transient, code: "malformed_response", basis: none},
		{name: "error object", body: failureBody(429, "RESOURCE_EXHAUSTED", ""), class: schemas.Throttled, code: "rate_limit_exceeded", basis: none},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := modelAt(t, modeltest.Answer{Body: c.body}).Invoke(t.Context(), modeltest.Question())
			if got.Text != c.text || got.Stop != c.stop || got.Usage.Basis != c.basis {
				t.Errorf("got %+v", got)
			}
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if failure, ok := errors.AsType[*schemas.Error](err); !ok || failure.Class != c.class || failure.Code != c.code {
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	number := func(n int64) *int64 { return &n }
	for name, c := range map[string]struct {
		usage string
		want  schemas.Usage
	}{
		"plain": {`{"promptTokenCount":3,"candidatesTokenCount":2,"totalTokenCount":5}`, schemas.Usage{InputTokens: 3, OutputTokens: 2, TotalTokens: 5}},
		"all": {
			`{"promptTokenCount": 100,"candidatesTokenCount":10,"thoughtsTokenCount":7,"toolUsePromptTokenCount":20,"cachedContentTokenCount":60,` +
				`"totalTokenCount":137,"promptTokensDetails":[{"modality":"TEXT","tokenCount":70},{"modality":"AUDIO","tokenCount":30}],` +
				`"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":4}],"trafficType":"ON_DEMAND_FLEX"}`,
			schemas.Usage{
				InputTokens: 120, OutputTokens: 17, TotalTokens: 137, CacheReadInputTokens: number(60), OutputReasoningTokens: number(7),
				InputAudioTokens: number(30), OutputAudioTokens: number(4), ServiceTier: "flex",
			},
		},
		"no output":   {`{"promptTokenCount":3,"totalTokenCount":3,"trafficType":"ON_DEMAND"}`, schemas.Usage{InputTokens: 3, TotalTokens: 3}},
		"served tier": {`{"promptTokenCount":3,"serviceTier":"priority"}`, schemas.Usage{InputTokens: 3, TotalTokens: 3, ServiceTier: "priority"}},
		"long": {
			`{"promptTokenCount":3,"more":"` + strings.Repeat("x", 9<<10) + `"}`, schemas.Usage{InputTokens: 3, TotalTokens: 3},
		},
	} {
		c.want.Basis, c.want.Raw = schemas.BasisProvider, c.usage
		if name == "long" {
			c.want.Raw = ""
		}
		var got schemas.Response
		if err := named("m").Format().Decode([]byte(content(`{"text":"a"}`, "STOP", c.usage)), &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.Usage, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got.Usage, c.want)
		}
	}
}

func TestToolCallIDs(t *testing.T) {
	t.Parallel()
	parts := `{"functionCall":{"name":"f"}},{"functionCall":{"name":"f","id":"x-1","args":{ "a": [1,
 2] }}},{"functionCall":{"name":"g","args":{}}}`
	want := []schemas.ToolCall{
		{ID: "call_0", Name: "f", Arguments: "{}"}, {ID: "x-1", Name: "f", Arguments: `{"a":[1,2]}`}, {ID: "call_2", Name: "g", Arguments: "{}"},
	}
	var got schemas.Response
	if err := named("m").Format().Decode([]byte(content(parts, "STOP", usage20and5)), &got); err != nil || !slices.Equal(got.ToolCalls, want) {
		t.Errorf("got %+v %v", got.ToolCalls, err)
	}
	stream := chunk(`{"functionCall":{"name":"f"}}`, "", usage20and5) + chunk(`{"functionCall":{"name":"f","id":"x-1","args":{ "a": [1, 2] }}},`+
		`{"functionCall":{"name":"g"}}`, "STOP", usage20and5)
	streamed, err := events(named("m"), stream)
	if err != nil || !slices.Equal(streamed.ToolCalls, want) || streamed.Stop != schemas.StopToolCalls {
		t.Errorf("got %+v %v", streamed, err)
	}
}

func events(m *wire.Model, body string) (*schemas.Response, error) {
	var whole schemas.Assembly
	response := &schemas.Response{}
	var failure error
	for event, err := range m.Format().Events(strings.NewReader(body)) {
		if err != nil {
			failure = err
			break
		}
		whole.Add(event, response)
	}
	whole.Finish(response)
	return response, failure
}

func TestEvents(t *testing.T) {
	t.Parallel()
	const counting = `{"promptTokenCount":20,"totalTokenCount":20}`
	deep := `data: {"a":` + strings.Repeat("[", 1<<20) + "\n\n"
	problem := func(err error) bool { _, ok := errors.AsType[*wire.Problem](err); return ok }
	shape := func(err error) bool { return err != nil && strings.Contains(err.Error(), "provider's format") }
	cut := func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }
	fine := func(err error) bool { return err == nil }
	for name, c := range map[string]struct {
		body  string
		text  string
		err   func(error) bool
		basis schemas.BillableBasis
	}{
		"whole":               {chunk(`{"text":"a"}`, "", counting) + chunk(`{"text":"b"}`, "STOP", usage20and5), "ab", fine, schemas.BasisProvider},
		"without a last line": {strings.TrimSpace(chunk(`{"text":"a"}`, "STOP", usage20and5)), "a", fine, schemas.BasisProvider},
		"usage afterwards": {
			chunk(`{"text":"a"}`, "STOP", counting) + `data: {"usageMetadata":` + usage20and5 + "}\n\n", "a", fine, schemas.BasisProvider,
		},
		"prompt blocked":         {`data: {"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":` + counting + "}\n\n", "", fine, schemas.BasisProvider},
		"cut":                    {chunk(`{"text":"a"}`, "", counting), "a", cut, ""},
		"empty":                  {"", "", cut, ""},
		"page":                   {"<html>\n\n</html>", "", cut, ""},
		"nothing in it":          {chunk("", "STOP", usage20and5), "", shape, schemas.BasisProvider},
		"malformed call":         {chunk("", "MALFORMED_FUNCTION_CALL", usage20and5), "", shape, schemas.BasisProvider},
		"not JSON":               {"data: {\n\n", "", shape, ""},
		"too deep":               {deep, "", shape, ""},
		"not an object":          {"data: []\n\n", "", shape, ""},
		"error as data":          {chunk(`{"text":"a"}`, "", usage20and5) + "data: " + oneLine(failureBody(503, "UNAVAILABLE", "")) + "\n\n", "a", problem, schemas.BasisProvider},
		"error as a body":        {failureBody(429, "RESOURCE_EXHAUSTED", ""), "", problem, ""},
		"error as a list":        {"[" + failureBody(429, "RESOURCE_EXHAUSTED", "") + "]\r\n", "", problem, ""},
		"error as a body, later": {chunk(`{"text":"a"}`, "", usage20and5) + failureBody(500, "INTERNAL", ""), "a", problem, schemas.BasisProvider},
		"error after very much": {
			strings.Repeat(chunk(`{"text":"`+strings.Repeat("x", 3000)+`"}`, "", usage20and5), 100) + failureBody(500, "INTERNAL", ""),
			strings.Repeat("x", 300_000), problem, schemas.BasisProvider,
		},
		"other JSON": {`{"hello":"world"}`, "", cut, ""},
	} {
		got, err := events(named("m"), c.body)
		if !c.err(err) || got.Text != c.text || got.Usage.Basis != c.basis {
			t.Errorf("%s: got %.300v %+v", name, err, got.Usage)
		}
	}
}

// TestCutAfterTheEnd: a connection that breaks when nothing is left to come has taken nothing away.
func TestCutAfterTheEnd(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]error{
		chunk(`{"text":"a"}`, "STOP", usage20and5): nil,
		chunk(`{"text":"a"}`, "", usage20and5):     io.ErrNoProgress,
	} {
		var got error
		broken := io.MultiReader(strings.NewReader(body), iotest.ErrReader(io.ErrNoProgress))
		for _, err := range named("m").Format().Events(broken) {
			got = err
		}
		if !errors.Is(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestErrors(t *testing.T) {
	t.Parallel()
	info := func(reason string) string {
		return `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"` + reason + `","domain":"googleapis.com"}`
	}
	const perDay = `{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}`
	for name, c := range map[string]struct {
		answer modeltest.Answer
		class  schemas.Class
		code   string
		wait   time.Duration
	}{
		"key":             {failure(400, "INVALID_ARGUMENT", info("API_KEY_INVALID")), schemas.Fatal, "invalid_api_key", 0},
		"key's address":   {failure(403, "PERMISSION_DENIED", info("API_KEY_IP_ADDRESS_BLOCKED")), schemas.Fatal, "api_key_restricted", 0},
		"API off":         {failure(403, "PERMISSION_DENIED", info("SERVICE_DISABLED")), schemas.Fatal, "service_disabled", 0},
		"no billing":      {failure(403, "PERMISSION_DENIED", info("BILLING_DISABLED")), schemas.Fatal, "billing_not_active", 0},
		"no role":         {failure(403, "PERMISSION_DENIED", info("IAM_PERMISSION_DENIED")), schemas.Fatal, "permission_denied", 0},
		"no credentials":  {failure(401, "UNAUTHENTICATED", info("CREDENTIALS_MISSING")), schemas.Fatal, "unauthenticated", 0},
		"no model":        {failure(404, "NOT_FOUND"), schemas.Fatal, "model_not_found", 0},
		"wrong URL":       {modeltest.Answer{Status: 404, Body: "<html>"}, schemas.Fatal, "not_found", 0},
		"country":         {failure(400, "FAILED_PRECONDITION"), schemas.Fatal, "failed_precondition", 0},
		"minute":          {failure(429, "RESOURCE_EXHAUSTED", info("RATE_LIMIT_EXCEEDED")), schemas.Throttled, "rate_limit_exceeded", 0},
		"wait":            {failure(429, "RESOURCE_EXHAUSTED", `{"@type":"x/google.rpc.RetryInfo","retryDelay":"1.5s"}`), schemas.Throttled, "rate_limit_exceeded", 1500 * time.Millisecond},
		"wait for ever":   {failure(429, "RESOURCE_EXHAUSTED", `{"@type":"x/google.rpc.RetryInfo","retryDelay":"999999999s"}`), schemas.Throttled, "rate_limit_exceeded", 24 * time.Hour},
		"wait nonsense":   {failure(429, "RESOURCE_EXHAUSTED", `{"@type":"x/google.rpc.RetryInfo","retryDelay":"-3s"}`), schemas.Throttled, "rate_limit_exceeded", 0},
		"day":             {failure(429, "RESOURCE_EXHAUSTED", perDay), schemas.Fatal, "daily_quota_exceeded", 0},
		"too long":        {failure(400, "INVALID_ARGUMENT"), schemas.Rejected, "invalid_argument", 0},
		"deadline":        {failure(504, "DEADLINE_EXCEEDED"), schemas.Transient, "gateway_timeout", 0},
		"broken":          {failure(500, "INTERNAL"), schemas.Transient, "server_error", 0},
		"cancelled":       {failure(499, "CANCELLED"), schemas.Transient, "canceled_by_provider", 0},
		"not implemented": {failure(501, "UNIMPLEMENTED"), schemas.Fatal, "not_implemented", 0},
		"list":            {modeltest.Answer{Status: 404, Body: "[" + failureBody(404, "NOT_FOUND", "") + "]"}, schemas.Fatal, "model_not_found", 0},
		"odd reason":      {failure(400, "INVALID_ARGUMENT", info(`<b>`)), schemas.Rejected, "invalid_argument", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := modelAt(t, c.answer).Invoke(t.Context(), modeltest.Question())
			failure, ok := errors.AsType[*schemas.Error](err)
			if !ok || failure.Class != c.class || failure.Code != c.code || failure.RetryAfter != c.wait {
				t.Errorf("got %#v", err)
			}
			if name == "key" && !strings.Contains(failure.Mend, "gemini_api_key") {
				t.Errorf("got %q", failure.Mend)
			}
		})
	}
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	request := func(parameters map[string]any, inputs ...string) *schemas.Request {
		return &schemas.Request{Task: schemas.TaskEmbeddings, Inputs: inputs, Parameters: parameters}
	}
	api, vertex := named("gemini-embedding-001"), vertexNamed(t, "text-embedding-005", "us-central1")
	for _, c := range []struct {
		model     *wire.Model
		request   *schemas.Request
		verb      string
		want      string
		answer    string
		tokens    int64
		raw       string
		numbers   [][]float32
		nothingOf schemas.BillableBasis
	}{
		{
			model: api, request: request(map[string]any{"dimensions": 2, "taskType": "CLUSTERING", "title": "t"}, "a", "b\n"), verb: ":batchEmbedContents",
			want: `{"requests":[{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"a"}]},"outputDimensionality":2,"taskType":"CLUSTERING","title":"t"},` +
				`{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"b\n"}]},"outputDimensionality":2,"taskType":"CLUSTERING","title":"t"}]}`,
			answer: `{"embeddings":[{"values":[0.5,-1]},{"values":[0.25,1e-3]}],"usageMetadata":{"promptTokenCount":4}}`,
			tokens: 4, raw: `{"promptTokenCount":4}`, numbers: [][]float32{{0.5, -1}, {0.25, 1e-3}},
		},
		{
			model: api, request: request(nil, "a"), verb: ":batchEmbedContents",
			want:   `{"requests":[{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"a"}]}}]}`,
			answer: `{"embeddings":[{"values":[1]}]}`, numbers: [][]float32{{1}}, nothingOf: schemas.BasisNone,
		},
		{
			model: vertex, request: request(map[string]any{"dimensions": 2, "taskType": "CLUSTERING", "autoTruncate": false}, "a", "b"), verb: ":predict",
			want: `{"instances":[{"content":"a","task_type":"CLUSTERING"},{"content":"b","task_type":"CLUSTERING"}],` +
				`"parameters":{"autoTruncate":false,"outputDimensionality":2}}`,
			answer: `{"predictions":[{"embeddings":{"statistics":{"truncated":false,"token_count":6},"values":[1,2]}},` +
				`{"embeddings":{"statistics":{"truncated":false,"token_count":3.0},"values":[3,4]}}],"metadata":{"billableCharacterCount":2}}`,
			tokens: 9, raw: `[{"truncated":false,"token_count":6},{"truncated":false,"token_count":3.0}]`, numbers: [][]float32{{1, 2}, {3, 4}},
		},
		{
			model: vertex, request: request(nil, "a"), verb: ":predict", want: `{"instances":[{"content":"a"}]}`,
			answer: `{"predictions":[{"embeddings":{"statistics":{"token_count":6},"values":[1]}}]}`,
			tokens: 6, raw: `{"token_count":6}`, numbers: [][]float32{{1}},
		},
		{
			model: vertex, request: request(nil, "a", "b"), verb: ":predict", want: `{"instances":[{"content":"a"},{"content":"b"}]}`,
			answer:  `{"predictions":[{"embeddings":{"statistics":{"token_count":6},"values":[1]}},{"embeddings":{"values":[2]}}]}`,
			numbers: [][]float32{{1}, {2}}, nothingOf: schemas.BasisNone,
		},
	} {
		if err := c.model.Check(c.request); err != nil {
			t.Fatal(err)
		}
		call, err := c.model.Format().Encode(c.request, false)
		if err != nil || string(call.Body) != c.want || !strings.HasSuffix(call.URL.Path, c.verb) {
			t.Errorf("got %v %s\n%s, want\n%s", err, call.URL, call.Body, c.want)
		}
		var got schemas.Response
		basis := schemas.BasisProvider
		if c.nothingOf != "" {
			basis = c.nothingOf
		}
		if err := c.model.Format().Decode([]byte(c.answer), &got); err != nil || !reflect.DeepEqual(got.Embeddings, c.numbers) ||
			got.Usage.InputTokens != c.tokens || got.Usage.TotalTokens != c.tokens || got.Usage.Raw != c.raw || got.Usage.Basis != basis {
			t.Errorf("got %+v %v", got, err)
		}
	}
	for name, c := range map[string]struct {
		model   *wire.Model
		request *schemas.Request
		want    string
	}{
		"batch":       {api, request(nil, make([]string, 101)...), "at most 100"},
		"instances":   {vertex, request(nil, make([]string, 251)...), "at most 250"},
		"one":         {vertexNamed(t, "gemini-embedding-001", "global"), request(nil, "a", "b"), "at most 1 "},
		"new model":   {vertexNamed(t, "gemini-embedding-2", "global"), request(nil, "a"), "another method"},
		"truncate":    {api, request(map[string]any{"autoTruncate": true}, "a"), "only Vertex AI"},
		"truncate it": {vertex, request(map[string]any{"autoTruncate": 1}, "a"), "true or false"},
		"format":      {api, request(map[string]any{"encoding_format": "float"}, "a"), "numbers"},
		"misspelt":    {api, request(map[string]any{"dimension": 1}, "a"), "did you mean dimensions?"},
		"chat's":      {api, request(map[string]any{"user": "u"}, "a"), "no such parameter"},
	} {
		if err := c.model.Check(c.request); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := api.Format().Encode(request(nil, "a"), true); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("embeddings are streamed: %v", err)
	}
	for _, body := range []string{
		`{"embeddings":[{"values":["a"]}]}`, `{"embeddings":[{"values":[1e300]}]}`, `{"embeddings":[{}]}`, `{"embeddings":{}}`, `{"predictions":[5]}`,
	} {
		var got schemas.Response
		if err := api.Format().Decode([]byte(body), &got); err == nil {
			t.Errorf("%s is taken for embeddings", body)
		}
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	for want, m := range map[string]*wire.Model{
		gemini.DefaultBaseURL + "/v1beta/models/gemini-2.5-flash:generateContent":                                                              named("models/gemini-2.5-flash"),
		"http://127.0.0.1:9/x/v1beta/models/m:generateContent":                                                                                 gemini.New(gemini.Options{BaseURL: "http://127.0.0.1:9/x/?key=" + modeltest.Secret, Model: "m"}),
		"https://us-central1-aiplatform.googleapis.com/v1/projects/project-1/locations/us-central1/publishers/google/models/m:generateContent": vertexNamed(t, "m", "us-central1"),
		"https://aiplatform.googleapis.com/v1/projects/project-1/locations/global/publishers/google/models/m:generateContent":                  vertexNamed(t, "m", "global"),
		"https://aiplatform.eu.rep.googleapis.com/v1/projects/project-1/locations/eu/publishers/google/models/m:generateContent":               vertexNamed(t, "m", "eu"),
	} {
		if got := m.URL(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	t.Parallel()
	key := keyFile(t, privateKey(t), "https://oauth2.googleapis.com/token")
	for _, c := range []struct {
		options gemini.Options
		want    string
	}{
		{gemini.Options{}, "external_model.name"},
		{gemini.Options{Model: "a/b"}, "external_model.name"},
		{gemini.Options{Model: "../x"}, "external_model.name"},
		{gemini.Options{Model: "m", BaseURL: "::"}, "gemini_api_base"},
		{gemini.Options{Model: "m", BaseURL: "localhost:9000"}, "gemini_api_base"},
		{gemini.Options{Model: "m", BaseURL: "https://user:" + modeltest.Secret + "@x"}, "gemini_api_key"},
		{gemini.Options{Model: "m", ProjectID: "p", PrivateKey: key}, "region is missing"},
		{gemini.Options{Model: "m", Region: "global", PrivateKey: key}, "project_id is missing"},
		{gemini.Options{Model: "m", Region: "evil.example/", ProjectID: "p", PrivateKey: key}, "no region"},
		{gemini.Options{Model: "m", Region: "global", ProjectID: "p/..", PrivateKey: key}, "no project's id"},
		{gemini.Options{Model: "m", Region: "global", ProjectID: "p"}, "private_key is missing"},
		{gemini.Options{Model: "m", Region: "global", ProjectID: "p", PrivateKey: key, APIKey: key}, "keep one"},
		{gemini.Options{Model: "m", Region: "global", ProjectID: "p", PrivateKey: key, BaseURL: "ftp://x"}, "vertex_api_base"},
	} {
		m := gemini.New(c.options)
		err := m.Check(&schemas.Request{})
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), modeltest.Secret) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		got, err := m.Invoke(t.Context(), modeltest.Question())
		if schemas.ClassOf(err) != schemas.Fatal || got.Usage.Basis != schemas.BasisNone {
			t.Errorf("got %v", err)
		}
	}
}
