package cohere

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	maxStops = 5
	maxK     = 500
	// maxExact is the largest whole number that a JSON reader is sure to keep.
	maxExact = 1 << 53
)

// chatSettings are a chat's fields that parameters set.
type chatSettings struct {
	MaxTokens        *int64          `json:"max_tokens,omitempty"`
	Temperature      *float64        `json:"temperature,omitempty"`
	P                *float64        `json:"p,omitempty"`
	K                *int64          `json:"k,omitempty"`
	StopSequences    []string        `json:"stop_sequences,omitempty"`
	Seed             *int64          `json:"seed,omitempty"`
	FrequencyPenalty *float64        `json:"frequency_penalty,omitempty"`
	PresencePenalty  *float64        `json:"presence_penalty,omitempty"`
	ResponseFormat   *responseFormat `json:"response_format,omitempty"`
	SafetyMode       string          `json:"safety_mode,omitempty"`
	Thinking         any             `json:"thinking,omitempty"`
	Priority         *int64          `json:"priority,omitempty"`
}

// responseFormat asks for an object, which keeps to a schema where there is one. The API has no place for its name.
type responseFormat struct {
	Type       string          `json:"type"`
	JSONSchema json.RawMessage `json:"json_schema,omitempty"`
}

// embedSettings are those of embeddings.
type embedSettings struct {
	InputType       string `json:"input_type"`
	OutputDimension *int64 `json:"output_dimension,omitempty"`
	MaxTokens       *int64 `json:"max_tokens,omitempty"`
	Truncate        string `json:"truncate,omitempty"`
	Priority        *int64 `json:"priority,omitempty"`
}

// known are the parameters that may be set: OpenAI's that have an equivalent, and the API's own.
func known(task schemas.Task) []string {
	if task == schemas.TaskEmbeddings {
		return []string{"dimensions", "input_type", "max_tokens", "priority", "truncate"}
	}
	return []string{
		"frequency_penalty", "max_completion_tokens", "max_tokens", "parallel_tool_calls", "presence_penalty", "priority",
		"reasoning_effort", "response_format", "safety_mode", "seed", "stop", "temperature", "thinking", "top_k", "top_p",
	}
}

// refusal says why a parameter that exists cannot be set; empty where it can.
func refusal(name string) string {
	switch name {
	case "inputs", "texts", "images", "documents":
		return "the job's request says what is asked; remove it"
	case "strict_tools", "web_search_options":
		return "a row's answer is text, and nobody would run the tool; remove it, or ask for a response_format"
	case "logprobs", "top_logprobs", "citation_options":
		return "a row's answer is text; remove it"
	case "embedding_types":
		return "vectors are read as numbers; remove it"
	case "user", "metadata", "safety_identifier", "service_tier", "store", "logit_bias", "prediction", "verbosity",
		"prompt_cache_key", "prompt_cache_retention":
		return "Cohere has nothing like it; remove it"
	case "p":
		return "it is called top_p here"
	case "k":
		return "it is called top_k here"
	case "stop_sequences":
		return "it is called stop here"
	case "output_dimension":
		return "it is called dimensions here"
	}
	return wire.Reserved(name)
}

// reading goes through parameters and gathers what is wrong with them.
type reading struct{ faults []error }

// each calls read for every parameter that may be set and is.
func (r *reading) each(request *schemas.Request, read func(name string, value any)) {
	names := known(request.Task)
	for _, name := range slices.Sorted(maps.Keys(request.Parameters)) {
		value := request.Parameters[name]
		switch reason := refusal(name); {
		case reason != "":
			r.fault(name, "%s", reason)
		case !slices.Contains(names, name):
			r.faults = append(r.faults, fmt.Errorf("%w: request.parameters.%s is no such parameter of the cohere format; did you mean %s?",
				schemas.ErrInvalid, name, wire.Nearest(name, names)))
		case value != nil: // null asks for nothing
			read(name, value)
		}
	}
}

// read takes in the parameters of embeddings.
func (s *embedSettings) read(request *schemas.Request) error {
	var r reading
	s.InputType = "search_document" // required; rows that are embedded are most often those that are looked for
	r.each(request, func(name string, value any) {
		switch name {
		case "input_type":
			s.InputType = r.oneOf(name, value, "search_document", "search_query", "classification", "clustering")
		case "dimensions":
			s.OutputDimension = r.whole(name, value, 1, math.MaxInt32)
		case "max_tokens":
			s.MaxTokens = r.whole(name, value, 1, math.MaxInt32)
		case "truncate":
			s.Truncate = r.oneOf(name, value, "NONE", "START", "END")
		case "priority":
			s.Priority = r.whole(name, value, 0, math.MaxInt32)
		}
	})
	return errors.Join(r.faults...)
}

// read takes in the parameters of a chat and the format of its answer.
func (s *chatSettings) read(request *schemas.Request) error {
	var r reading
	if request.Format != nil {
		s.ResponseFormat = r.schema("the format", request.Format.Schema)
	}
	r.each(request, func(name string, value any) { s.set(&r, request, name, value) })
	return errors.Join(r.faults...)
}

func (s *chatSettings) set(r *reading, request *schemas.Request, name string, value any) {
	switch name {
	case "max_tokens", "max_completion_tokens":
		if limit := r.whole(name, value, 1, math.MaxInt32); limit != nil {
			if s.MaxTokens != nil && *s.MaxTokens != *limit {
				r.fault(name, "it is the same as max_completion_tokens, and they differ; remove one")
			}
			s.MaxTokens = limit
		}
	case "temperature":
		s.Temperature = r.number(name, value, 0, math.MaxFloat64)
	case "top_p":
		s.P = r.number(name, value, 0.01, 0.99)
	case "top_k":
		s.K = r.whole(name, value, 0, maxK)
	case "stop":
		s.StopSequences = r.stops(name, value)
	case "seed":
		s.Seed = r.whole(name, value, 0, maxExact)
	case "frequency_penalty":
		s.FrequencyPenalty = r.number(name, value, 0, 1)
	case "presence_penalty":
		s.PresencePenalty = r.number(name, value, 0, 1)
	case "parallel_tool_calls":
		if value != true {
			r.fault(name, "Cohere calls as many tools at once as it likes; remove it")
		}
	case "reasoning_effort": // thinking is on or off, without degrees; OpenAI's names for it as Cohere's own adapter has them
		thinking := map[string]any{"type": "enabled"}
		if r.oneOf(name, value, "none", "high") == "none" {
			thinking["type"] = "disabled"
		}
		s.Thinking = thinking
	case "thinking":
		if s.Thinking != nil {
			r.fault(name, "reasoning_effort says it already; remove one")
		}
		s.Thinking = r.thinking(name, value)
	case "response_format":
		if request.Format != nil {
			r.fault(name, "the request has a format already; remove one")
			return
		}
		s.ResponseFormat = r.format(name, value)
	case "safety_mode":
		s.SafetyMode = r.oneOf(name, value, "CONTEXTUAL", "STRICT", "OFF")
	case "priority":
		s.Priority = r.whole(name, value, 0, math.MaxInt32)
	}
}

func (r *reading) fault(name, text string, values ...any) {
	r.faults = append(r.faults, fmt.Errorf("%w: request.parameters.%s: %s", schemas.ErrInvalid, name, fmt.Sprintf(text, values...)))
}

func (r *reading) number(name string, value any, least, most float64) *float64 {
	number, ok := wire.Number(value)
	if !ok || number < least || number > most {
		if most == math.MaxFloat64 {
			r.fault(name, "it must be a number from %v", least)
		} else {
			r.fault(name, "it must be a number from %v to %v", least, most)
		}
		return nil
	}
	return &number
}

func (r *reading) whole(name string, value any, least, most int64) *int64 {
	count, ok := wire.Whole(value, least, most)
	if !ok {
		r.fault(name, "it must be a whole number from %d to %d", least, most)
		return nil
	}
	return &count
}

func (r *reading) oneOf(name string, value any, choices ...string) string {
	text, ok := value.(string)
	if !ok || !slices.Contains(choices, text) {
		r.fault(name, "Cohere has %s", strings.Join(choices, ", "))
		return ""
	}
	return text
}

// stops takes a text or a list.
func (r *reading) stops(name string, value any) []string {
	list, ok := wire.Texts(value)
	if !ok || len(list) > maxStops || slices.Contains(list, "") {
		r.fault(name, "it must be a text or a list of at most %d texts, none of them empty", maxStops)
		return nil
	}
	return list
}

func (r *reading) thinking(name string, value any) any {
	object, ok := value.(map[string]any)
	kind := object["type"]
	if !ok || kind != "enabled" && kind != "disabled" {
		r.fault(name, `it must be an object whose type is "enabled" or "disabled"`)
		return nil
	}
	for _, field := range slices.Sorted(maps.Keys(object)) {
		switch field {
		case "type":
		case "token_budget":
			r.whole(name+".token_budget", object[field], 1, math.MaxInt32)
		default:
			r.fault(name+"."+field, "Cohere has type and token_budget")
		}
	}
	return object
}

func (r *reading) schema(what string, raw json.RawMessage) *responseFormat {
	if !wire.IsObject(raw) {
		r.faults = append(r.faults, fmt.Errorf("%w: the schema of %s is no JSON object", schemas.ErrInvalid, what))
		return nil
	}
	return &responseFormat{Type: "json_object", JSONSchema: raw}
}

// format takes OpenAI's three forms. A schema makes Cohere's json_object what OpenAI calls json_schema.
func (r *reading) format(name string, value any) *responseFormat {
	object, _ := value.(map[string]any)
	switch object["type"] {
	case "text":
		return nil
	case "json_object":
		return &responseFormat{Type: "json_object"}
	case "json_schema":
		inner, _ := object["json_schema"].(map[string]any)
		raw, err := json.Marshal(inner["schema"])
		if err != nil {
			raw = nil
		}
		return r.schema("request.parameters."+name, raw)
	}
	r.fault(name, "it must be an object whose type is text, json_object or json_schema")
	return nil
}
