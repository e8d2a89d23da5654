package mlflow_test

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

func raw(texts ...string) []json.RawMessage {
	out := make([]json.RawMessage, 0, len(texts))
	for _, text := range texts {
		out = append(out, json.RawMessage(text))
	}
	return out
}

func predict(layout schemas.Layout, columns []string, rows ...string) *schemas.Request {
	return &schemas.Request{
		ID: "r-1", Task: schemas.TaskPredictions,
		Frame: &schemas.Frame{Layout: layout, Columns: columns, Rows: raw(rows...)},
	}
}

func newModel(tb testing.TB, base string) *wire.Model {
	tb.Helper()
	client := wire.NewClient(wire.ClientOptions{})
	tb.Cleanup(client.CloseIdleConnections)
	return provider().New(tb, base, client)
}

func TestBodies(t *testing.T) {
	t.Parallel()
	schema, model := modeltest.Compile(t, "testdata/request.schema.json"), newModel(t, "http://models.example/wine/")
	named, bare := []string{"age", `a "b"`}, []string{""}
	// Digits, spaces, brackets and commas in texts, and nested values stand in a body as they are.
	rows := []string{`[12345678901234567890.10, "a,]}\"[é"]`, ` [ null ,{"x":[1, 2],"y":"," } ] `}
	const first, second = `12345678901234567890.10`, `"a,]}\"[é"`
	const third, fourth = `null`, `{"x":[1, 2],"y":"," }`
	for name, c := range map[string]struct {
		request *schemas.Request
		want    string
	}{
		"split":   {predict(schemas.LayoutSplit, named, rows...), `{"dataframe_split":{"columns":["age","a \"b\""],"data":[` + rows[0] + `,` + strings.TrimSpace(rows[1]) + `]}}`},
		"default": {predict("", named, `[1,2]`), `{"dataframe_split":{"columns":["age","a \"b\""],"data":[[1,2]]}}`},
		"records": {predict(schemas.LayoutRecords, named, rows...), `{"dataframe_records":[{"age":` + first + `,"a \"b\"":` + second + `},{"age":` + third + `,"a \"b\"":` + fourth + `}]}`},
		"instances": {
			predict(schemas.LayoutInstances, named, rows...),
			`{"instances":[{"age":` + first + `,"a \"b\"":` + second + `},{"age":` + third + `,"a \"b\"":` + fourth + `}]}`,
		},
		"inputs":               {predict(schemas.LayoutInputs, named, rows...), `{"inputs":{"age":[` + first + `,` + third + `],"a \"b\"":[` + second + `,` + fourth + `]}}`},
		"one column":           {predict(schemas.LayoutRecords, []string{"a"}, `[1]`, `["x"]`), `{"dataframe_records":[{"a":1},{"a":"x"}]}`},
		"without a name":       {predict("", bare, `[[1.0,2]]`, `[[3,4]]`), `{"inputs":[[1.0,2],[3,4]]}`},
		"instances, no name":   {predict(schemas.LayoutInstances, bare, `["x"]`), `{"instances":["x"]}`},
		"no rows":              {predict("", named), `{"dataframe_split":{"columns":["age","a \"b\""],"data":[]}}`},
		"no rows of records":   {predict(schemas.LayoutRecords, named), `{"dataframe_records":[]}`},
		"no rows of inputs":    {predict(schemas.LayoutInputs, named), `{"inputs":{"age":[],"a \"b\"":[]}}`},
		"no rows of instances": {predict(schemas.LayoutInstances, bare), `{"instances":[]}`},
	} {
		if err := model.Check(c.request); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		call, err := model.Format().Encode(c.request, false)
		if err != nil || string(call.Body) != c.want || call.URL.String() != "http://models.example/wine/invocations" {
			t.Errorf("%s: got %s %v\nwant %s", name, call.Body, err, c.want)
			continue
		}
		c.request.Parameters = map[string]any{"cut": 0.5, "tags": []any{"<a>"}}
		call, err = model.Format().Encode(c.request, false)
		want := c.want[:len(c.want)-1] + `,"params":{"cut":0.5,"tags":["<a>"]}}`
		if err != nil || string(call.Body) != want {
			t.Errorf("%s: got %s %v\nwant %s", name, call.Body, err, want)
			continue
		}
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(call.Body)))
		if err == nil {
			err = schema.Validate(document)
		}
		if err != nil {
			t.Errorf("%s: the server would refuse it: %v", name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	with := func(change func(*schemas.Request)) *schemas.Request {
		request := predict("", []string{"a"}, `[1]`)
		change(request)
		return request
	}
	for name, c := range map[string]struct {
		request *schemas.Request
		want    string
	}{
		"a chat":         {modeltest.Question(), "has no task llm/v1/chat"},
		"messages":       {with(func(r *schemas.Request) { r.Messages = modeltest.Question().Messages }), "remove the messages"},
		"a prompt":       {with(func(r *schemas.Request) { r.Prompt = "p" }), "remove the messages"},
		"tools":          {with(func(r *schemas.Request) { r.Tools = modeltest.WithTools().Tools }), "calls no tools"},
		"a format":       {with(func(r *schemas.Request) { r.Format = &schemas.Format{} }), "asked for no format"},
		"no frame":       {with(func(r *schemas.Request) { r.Frame = nil }), "there is no frame"},
		"no features":    {with(func(r *schemas.Request) { r.Frame.Columns = nil }), "a frame without features"},
		"a layout":       {with(func(r *schemas.Request) { r.Frame.Layout = "csv" }), `there is no layout "csv", only dataframe_split`},
		"two alike":      {with(func(r *schemas.Request) { r.Frame.Columns = []string{"a", "a"} }), `two features "a"`},
		"one of them":    {with(func(r *schemas.Request) { r.Frame.Columns = []string{"a", ""} }), "feature 2 of 2 has no name"},
		"split, no name": {predict(schemas.LayoutSplit, []string{""}), "dataframe_split needs named features"},
		"records":        {predict(schemas.LayoutRecords, []string{""}), "dataframe_records needs named features"},
		"parameters":     {with(func(r *schemas.Request) { r.Parameters = map[string]any{"a": math.NaN()} }), "request.parameters cannot be written"},
	} {
		model := newModel(t, "")
		err := model.Check(c.request)
		if !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if _, err := model.Format().Encode(c.request, false); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: Encode lets pass what Check refuses: %v", name, err)
		}
	}
	if err := newModel(t, "file:///models").Check(predict("", []string{"a"})); !errors.Is(err, schemas.ErrInvalid) || !strings.Contains(err.Error(), "model_server_url") {
		t.Errorf("got %v", err)
	}
	for _, row := range []string{``, `1`, `{}`, `[1,2]`, `[]`} {
		if _, err := newModel(t, "").Format().Encode(predict(schemas.LayoutRecords, []string{"a"}, row), false); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("the row %q: got %v", row, err)
		}
	}
	if _, err := newModel(t, "").Format().Encode(predict("", []string{"a"}, `1`), false); !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	for _, err := range newModel(t, "").Format().Events(strings.NewReader("data: {}\n\n")) {
		if err == nil {
			t.Error("there are no events")
		}
	}
}

// answers are the bodies of MLflow 3.17's scoring server, and what they come to; nil: they are none.
func answers() map[string][]string {
	return map[string][]string{
		`{"predictions":[{"0":0.5},{"0":null},{"0":1,"b":2},{"b":1,"0":2},{}]}`: {`0.5`, `null`, `{"0":1,"b":2}`, `{"b":1,"0":2}`, `{}`},
		`{"predictions": [0, 0, 1]}`:                                                              {`0`, `0`, `1`},
		`{"predictions": [-1.1442622950819659, 12345678901234567890123]}`:                         {`-1.1442622950819659`, `12345678901234567890123`},
		`{"predictions": [{"label": "a", "score": 0.5}, null, [1, [2]]]}`:                         {`{"label": "a", "score": 0.5}`, `null`, `[1, [2]]`},
		`{"predictions": {"a": [1.0, 1.0], "b": [[1.0, 1.0], [1.0, 1.0]]}}`:                       {`{"a":1.0,"b":[1.0, 1.0]}`, `{"a":1.0,"b":[1.0, 1.0]}`},
		`{"predictions": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, "x"], [2, "y"]]}}`: {`{"a":1,"b":"x"}`, `{"a":2,"b":"y"}`},
		`{"predictions": {"columns": [1, 2], "data": [3, 4]}}`:                                    {`{"columns":1,"data":3}`, `{"columns":2,"data":4}`},
		`{"predictions": [], "databricks_output": {"trace": null}, "metadata": {}}`:               {},
		`{"predictions": {"a": []}}`:                                                              {},
		`{"predictions": {"a": [1], "b": [1, 2]}}`:                                                nil,
		`{"predictions": {"a": 1}}`:                                                               nil,
		`{"predictions": {}}`:                                                                     nil,
		`{"predictions": "a"}`:                                                                    nil,
		`{"predictions": null}`:                                                                   nil,
		`{"outputs": [1]}`:                                                                        nil,
		`{}`:                                                                                      nil,
	}
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for text, want := range answers() {
		var got schemas.Response
		body := []byte(text)
		err := newModel(t, "").Format().Decode(body, &got)
		for i := range body { // the body's memory belongs to the caller
			body[i] = 'x'
		}
		if (err != nil) != (want == nil) || len(got.Predictions) != len(want) {
			t.Errorf("%s: got %s %v", text, got.Predictions, err)
			continue
		}
		for i := range want {
			if string(got.Predictions[i]) != want[i] {
				t.Errorf("%s: got %s, want %s", text, got.Predictions[i], want[i])
			}
			_ = append(got.Predictions[i], "!!!"...) // must not reach into the next
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for usage, want := range map[string]schemas.Usage{
		`{"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}`: {
			InputTokens: 20, OutputTokens: 5, TotalTokens: 25, Basis: schemas.BasisProvider,
			Raw: `{"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}`,
		},
		`{"prompt_tokens": -1, "completion_tokens": 5}`: {Basis: schemas.BasisNone},
		`{"rows": 1}`: {Basis: schemas.BasisNone},
		`null`:        {Basis: schemas.BasisNone},
	} {
		var got schemas.Response
		err := newModel(t, "").Format().Decode([]byte(`{"predictions":[1],"usage":`+usage+`}`), &got)
		if err != nil || got.Usage != want {
			t.Errorf("%s: got %+v %v", usage, got.Usage, err)
		}
	}
}

// serve is a server that sends one answer.
func serve(t *testing.T, status int, body string) *wire.Model {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return newModel(t, server.URL)
}

// The server writes floats as Python does.
func TestNotANumber(t *testing.T) {
	t.Parallel()
	rows := []string{`[1]`, `[2]`, `[3]`}
	for body, want := range map[string]string{
		`{"predictions": [NaN, Infinity, -Infinity]}`:                                         `[null,"Infinity","-Infinity"]`,
		`{"predictions": [{"label": "NaN, \"Infinity", "score": NaN}, [NaN,-1.5,NaN], "\\"]}`: `[{"label":"NaN, \"Infinity","score":null},[null,-1.5,null],"\\"]`,
		`{"predictions": {"a": [1, NaN, 2]}}`:                                                 `[{"a":1},{"a":null},{"a":2}]`,
	} {
		got, err := serve(t, 200, body).Invoke(t.Context(), predict("", []string{"a"}, rows...))
		text, failure := json.Marshal(got.Predictions)
		if err != nil || failure != nil || string(text) != want {
			t.Errorf("%s: got %s %v %v", body, text, err, failure)
		}
	}
	for _, body := range []string{`{"predictions": [NaN, 1`, `{"predictions": [NaNa]}`, `{"predictions": [-NaN]}`, `{"predictions": [1NaN]}`, `{"predictions": ["NaN`, `{\`} {
		_, err := serve(t, 200, body).Invoke(t.Context(), predict("", []string{"a"}, rows...))
		if failure, ok := errors.AsType[*schemas.Error](err); !ok || failure.Code != "truncated_response" {
			t.Errorf("%s: got %v", body, err)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		body   string
		class  schemas.Class
		code   string
	}{
		{400, said("BAD_REQUEST"), schemas.Rejected, "BAD_REQUEST"},
		{400, said("INVALID_PARAMETER_VALUE"), schemas.Rejected, "INVALID_PARAMETER_VALUE"},
		{400, `ANSWER-TEXT`, schemas.Rejected, "bad_request"},
		{403, said("PERMISSION_DENIED"), schemas.Fatal, "PERMISSION_DENIED"},
		{404, `{"detail":"Not Found"}`, schemas.Fatal, "endpoint_not_found"},
		{404, said("RESOURCE_DOES_NOT_EXIST"), schemas.Fatal, "endpoint_not_found"},
		{409, said("RESOURCE_CONFLICT"), schemas.Transient, "conflict"},
		{413, `ANSWER-TEXT`, schemas.Rejected, "request_too_large"},
		{415, `This predictor only supports the following content types: ANSWER-TEXT`, schemas.Fatal, "unsupported_media_type"},
		{422, `{"detail":"ANSWER-TEXT"}`, schemas.Rejected, "unprocessable"},
		{429, said("RESOURCE_EXHAUSTED"), schemas.Throttled, "rate_limit_exceeded"},
		{429, ``, schemas.Throttled, "rate_limit_exceeded"},
		{499, said("CANCELLED"), schemas.Transient, "request_cancelled"},
		{500, said("INTERNAL_ERROR"), schemas.Transient, "server_error"},
		{500, `Internal Server Error`, schemas.Transient, "server_error"},
		{500, said("INVALID_STATE"), schemas.Transient, "server_error"},
		{501, said("NOT_IMPLEMENTED"), schemas.Fatal, "NOT_IMPLEMENTED"},
		{503, said("TEMPORARILY_UNAVAILABLE"), schemas.Transient, "temporarily_unavailable"},
		{503, ``, schemas.Transient, "service_unavailable"},
		{504, `Request processing time exceeded limit`, schemas.Transient, "gateway_timeout"},
		{200, said("BAD_REQUEST"), schemas.Transient, "server_error"}, // no server does; nothing says that the row is to blame
		{200, said("RESOURCE_EXHAUSTED"), schemas.Throttled, "rate_limit_exceeded"},
		{200, `{"outputs": ["ANSWER-TEXT"]}`, schemas.Transient, "malformed_response"},
		{200, `ANSWER-TEXT`, schemas.Transient, "malformed_response"},
	} {
		_, err := serve(t, c.status, c.body).Invoke(t.Context(), modeltest.Predictions())
		failure, ok := errors.AsType[*schemas.Error](err)
		if !ok || failure.Class != c.class || failure.Code != c.code || strings.Contains(err.Error(), "ANSWER-TEXT") || strings.Contains(err.Error(), modeltest.Prompt) {
			t.Errorf("%d %s: got %#v", c.status, c.body, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for body := range answers() {
		f.Add([]byte(body))
	}
	for _, seed := range []string{``, `[]`, `{"predictions":` + strings.Repeat("[", 20_000), `{"predictions":{"columns":["a"],"data":[[NaN],[-Infinity]]},"usage":{"prompt_tokens":1}}`, "{\"predictions\":[\"\xff\"]}"} {
		f.Add([]byte(seed))
	}
	format := newModel(f, "").Format()
	lenient, ok := format.(wire.Lenient)
	if !ok {
		f.Fatal("the format is not lenient")
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		if mended := lenient.JSON(body); !json.Valid(body) {
			body = mended
		} else if string(mended) != string(body) {
			t.Errorf("JSON changes what is JSON: %q", mended)
		}
		if !json.Valid(body) {
			return
		}
		var response schemas.Response
		_ = format.Decode(body, &response)
		if usage := response.Usage; usage.InputTokens < 0 || usage.OutputTokens < 0 || usage.TotalTokens < 0 {
			t.Errorf("got %+v", usage)
		}
		for _, prediction := range response.Predictions {
			if !json.Valid(prediction) {
				t.Errorf("%q: got %q", before, prediction)
			}
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	const rows = 1000
	columns := []string{"f0", "f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8", "f9"}
	row := `[` + strings.Repeat(`0.1234567890123456,`, len(columns)-1) + `-1.5e-7]`
	request := predict("", columns)
	for range rows {
		request.Frame.Rows = append(request.Frame.Rows, json.RawMessage(row))
	}
	format := newModel(b, "").Format()
	for _, layout := range []schemas.Layout{schemas.LayoutSplit, schemas.LayoutRecords, schemas.LayoutInputs} {
		request.Frame.Layout = layout
		b.Run("encode "+string(layout), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := format.Encode(request, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	body := []byte(`{"predictions": [` + strings.Repeat(row+`, `, rows-1) + row + `]}`)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var response schemas.Response
			if err := format.Decode(body, &response); err != nil {
				b.Fatal(err)
			}
		}
	})
}
