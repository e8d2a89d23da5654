package gemini_test

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

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
