package gemini_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

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
