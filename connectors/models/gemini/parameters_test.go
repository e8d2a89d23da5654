package gemini_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/models/modeltest"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

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
