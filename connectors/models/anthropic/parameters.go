package anthropic

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

// thinkingMinimum is the least budget of a model's thoughts that the API takes.
const thinkingMinimum = 1024

// settings are a body's fields that parameters set.
type settings struct {
	MaxTokens     int64     `json:"max_tokens"`
	Temperature   *float64  `json:"temperature,omitempty"`
	TopP          *float64  `json:"top_p,omitempty"`
	TopK          *int64    `json:"top_k,omitempty"`
	StopSequences []string  `json:"stop_sequences,omitempty"`
	Thinking      any       `json:"thinking,omitempty"`
	Output        *output   `json:"output_config,omitempty"`
	Metadata      *metadata `json:"metadata,omitempty"`
	ServiceTier   string    `json:"service_tier,omitempty"`
	CacheControl  any       `json:"cache_control,omitempty"`
}

type metadata struct {
	UserID string `json:"user_id"`
}

type output struct {
	Effort string  `json:"effort,omitempty"`
	Format *schema `json:"format,omitempty"`
}

// schema is a JSON Schema. The API has no place for the name of one.
type schema struct {
	Type   string          `json:"type"`
	Schema json.RawMessage `json:"schema"`
}

// known are the parameters that may be set: those of chat completions that have an equivalent, and the API's own.
func known() []string {
	return []string{
		"cache_control", "max_completion_tokens", "max_tokens", "metadata", "parallel_tool_calls", "reasoning_effort",
		"response_format", "safety_identifier", "service_tier", "stop", "temperature", "thinking",
		"top_k", "top_p", "user",
	}
}

// refusal says why a parameter that exists cannot be set; empty where it can.
func refusal(name string) string {
	switch name {
	case "system":
		return "the job's request says what is asked; remove it"
	case "mcp_servers", "container", "web_search_options":
		return "a row's answer is text, and nobody would run the tool; remove it, or ask for a response_format"
	case "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "prediction", "store",
		"verbosity", "prompt_cache_key", "prompt_cache_retention":
		return "Anthropic has nothing like it; remove it"
	case "inference_geo":
		return "it changes the price, which the usage cannot tell; remove it, or set it as the workspace's default"
	case "stop_sequences":
		return "it is called stop here"
	case "output_config", "output_format":
		return "it is called response_format, and reasoning_effort for the effort, here"
	}
	return wire.Reserved(name)
}

// reading turns parameters into settings and gathers what is wrong with them.
type reading struct {
	into     *settings
	request  *schemas.Request
	faults   []error
	parallel *bool
}

// read takes in the parameters and the format of the answer; it returns whether tools may be called in parallel.
func (s *settings) read(request *schemas.Request) (*bool, error) {
	r := reading{into: s, request: request}
	if request.Format != nil {
		r.format("the format", request.Format.Schema)
	}
	for _, name := range slices.Sorted(maps.Keys(request.Parameters)) {
		value := request.Parameters[name]
		if reason := refusal(name); reason != "" {
			r.fault(name, "%s", reason)
		} else if !slices.Contains(known(), name) {
			r.faults = append(r.faults, fmt.Errorf("%w: request.parameters.%s is no parameter of the anthropic format; did you mean %s?",
				schemas.ErrInvalid, name, wire.Nearest(name, known())))
		} else if value != nil { // null asks for nothing
			r.parameter(name, value)
		}
	}
	if s.MaxTokens == 0 {
		s.MaxTokens = DefaultMaxTokens
	}
	r.thoughts()
	return r.parallel, errors.Join(r.faults...)
}

func (r *reading) parameter(name string, value any) {
	s := r.into
	switch name {
	case "max_tokens", "max_completion_tokens":
		if limit := r.whole(name, value, 1); limit != nil {
			if s.MaxTokens != 0 && s.MaxTokens != *limit {
				r.fault(name, "it is the same as max_completion_tokens, and they differ; remove one")
			}
			s.MaxTokens = *limit
		}
	case "temperature":
		s.Temperature = r.fraction(name, value)
	case "top_p":
		s.TopP = r.fraction(name, value)
	case "top_k":
		s.TopK = r.whole(name, value, 0)
	case "stop":
		s.StopSequences = r.stops(name, value)
	case "reasoning_effort":
		r.effort(name, value)
	case "response_format":
		r.responseFormat(name, value)
	case "parallel_tool_calls":
		if parallel, ok := value.(bool); ok {
			r.parallel = &parallel
		} else {
			r.fault(name, "it must be true or false")
		}
	case "user", "safety_identifier":
		r.user(name, r.text(name, value))
	case "metadata":
		r.metadata(name, value)
	case "service_tier":
		if s.ServiceTier = r.oneOf(name, value, "auto", "default", "standard_only"); s.ServiceTier == "default" {
			s.ServiceTier = "standard_only" // OpenAI's word for no priority capacity
		}
	case "cache_control":
		r.cacheControl(name, value)
	case "thinking":
		if r.into.Thinking != nil {
			r.fault(name, "reasoning_effort none turns it off already; remove one")
		}
		r.typed(name, value)
		s.Thinking = value
	}
}

func (r *reading) fault(name, text string, values ...any) {
	r.faults = append(r.faults, fmt.Errorf("%w: request.parameters.%s: %s", schemas.ErrInvalid, name, fmt.Sprintf(text, values...)))
}

// fraction is a number from 0 to 1, as temperature and top_p are here.
func (r *reading) fraction(name string, value any) *float64 {
	number, ok := wire.Number(value)
	if !ok || number < 0 || number > 1 {
		r.fault(name, "it must be a number from 0 to 1")
		return nil
	}
	return &number
}

func (r *reading) whole(name string, value any, least int64) *int64 {
	count, ok := wire.Whole(value, least, math.MaxInt32)
	if !ok {
		r.fault(name, "it must be a whole number from %d", least)
		return nil
	}
	return &count
}

func (r *reading) text(name string, value any) string {
	text, ok := value.(string)
	if !ok || text == "" {
		r.fault(name, "it must be a text")
	}
	return text
}

func (r *reading) oneOf(name string, value any, choices ...string) string {
	text, ok := value.(string)
	if !ok || !slices.Contains(choices, text) {
		r.fault(name, "Anthropic has %s", strings.Join(choices, ", "))
		return ""
	}
	return text
}

// typed is the type of an object.
func (r *reading) typed(name string, value any) string {
	object, ok := value.(map[string]any)
	kind, named := object["type"].(string)
	if !ok || !named {
		r.fault(name, "it must be an object with a type")
	}
	return kind
}

// stops takes a text or a list. The API refuses sequences of nothing but white space.
func (r *reading) stops(name string, value any) []string {
	list, ok := wire.Texts(value)
	if !ok || slices.ContainsFunc(list, func(text string) bool { return strings.TrimSpace(text) == "" }) {
		r.fault(name, "it must be a text or a list of texts, none of them blank")
		return nil
	}
	return list
}

// effort is a word of its own at the API, but for none, which turns thinking off.
func (r *reading) effort(name string, value any) {
	switch effort := r.oneOf(name, value, "none", "low", "medium", "high", "xhigh", "max"); effort {
	case "":
	case "none":
		r.into.Thinking = map[string]any{"type": "disabled"}
	default:
		r.output().Effort = effort
	}
}

func (r *reading) output() *output {
	if r.into.Output == nil {
		r.into.Output = &output{}
	}
	return r.into.Output
}

func (r *reading) format(what string, raw json.RawMessage) {
	if !wire.IsObject(raw) {
		r.faults = append(r.faults, fmt.Errorf("%w: the schema of %s is no JSON object", schemas.ErrInvalid, what))
		return
	}
	r.output().Format = &schema{Type: "json_schema", Schema: raw}
}

// responseFormat takes OpenAI's three forms, of which the middle one has no equivalent.
func (r *reading) responseFormat(name string, value any) {
	kind := r.typed(name, value)
	switch kind {
	case "", "text":
		return
	case "json_schema":
	default:
		r.fault(name, "Anthropic has text and json_schema, not %s", kind)
		return
	}
	if r.request.Format != nil {
		r.fault(name, "the request has a format already; remove one")
		return
	}
	object, _ := value.(map[string]any)
	inner, _ := object["json_schema"].(map[string]any)
	raw, err := json.Marshal(inner["schema"])
	if err != nil {
		raw = nil
	}
	r.format("request.parameters."+name, raw)
}

func (r *reading) user(name, id string) {
	if r.into.Metadata != nil && r.into.Metadata.UserID != id {
		r.fault(name, "another parameter names another user, and Anthropic takes one; remove one")
		return
	}
	r.into.Metadata = &metadata{UserID: id}
}

// metadata takes Anthropic's one field. OpenAI's are labels of its own console.
func (r *reading) metadata(name string, value any) {
	object, ok := value.(map[string]any)
	id, named := object["user_id"].(string)
	if !ok || !named || len(object) != 1 {
		r.fault(name, "Anthropic has user_id in it, a text, and nothing else")
		return
	}
	r.user(name, id)
}

// cacheControl asks for the prompt's beginning to be cached. Writing for an hour has a price of its own, which a single
// count of written tokens cannot be billed at.
func (r *reading) cacheControl(name string, value any) {
	kind := r.typed(name, value)
	object, _ := value.(map[string]any)
	life, long := object["ttl"]
	if kind != "ephemeral" || long && life != "5m" || len(object) > 2 || len(object) == 2 && !long {
		r.fault(name, `it must be {"type": "ephemeral"}, for five minutes`)
	}
	r.into.CacheControl = value
}

// thoughts checks the budget of thinking, which comes out of max_tokens.
func (r *reading) thoughts() {
	object, ok := r.into.Thinking.(map[string]any)
	if !ok || object["type"] != "enabled" {
		return
	}
	budget := r.whole("thinking.budget_tokens", object["budget_tokens"], thinkingMinimum)
	if budget != nil && *budget >= r.into.MaxTokens {
		r.fault("thinking.budget_tokens", "it must be less than max_tokens, which is %d", r.into.MaxTokens)
	}
}
