package bedrock

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// encodedParameters are a map of parameters as Converse has them.
type encodedParameters struct {
	of        map[string]any
	json      []byte // `,"inferenceConfig":{...}`, ready to be put behind what is asked
	formatted bool   // they say what the answer must look like
}

// parameters returns the encoding of the parameters, from the last call where it is the same map.
func (f *format) parameters(parameters map[string]any) (*encodedParameters, error) {
	last := f.encoded.Load()
	if last != nil && len(last.of) == len(parameters) && reflect.ValueOf(last.of).Pointer() == reflect.ValueOf(parameters).Pointer() {
		return last, nil
	}
	encoded, err := encodeParameters(parameters)
	if err != nil {
		return nil, err
	}
	f.encoded.Store(encoded)
	return encoded, nil
}

// known are the parameters that may be set: OpenAI's that Converse has a field for, and Converse's own.
func known() []string {
	return []string{
		"additional_model_request_fields", "guardrail_config", "max_completion_tokens", "max_tokens", "metadata",
		"performance_config", "response_format", "service_tier", "stop", "temperature", "top_p",
	}
}

// refusal says why a parameter that exists cannot be set; empty where it can.
func refusal(name string) string {
	switch name {
	case "system":
		return "the job's request says what is asked; remove it"
	case "tool_config":
		return "a row's answer is text, and nobody would run the tool; remove it, or ask for a response_format"
	case "frequency_penalty", "logit_bias", "logprobs", "parallel_tool_calls", "presence_penalty", "reasoning_effort", "seed",
		"thinking", "top_k", "top_logprobs", "verbosity":
		return "Converse has no field for it; where the model has one, write it under additional_model_request_fields by the model's own name, or remove it"
	case "user", "safety_identifier":
		return "Bedrock knows its callers by their credentials; write it under metadata, or remove it"
	case "prediction", "prompt_cache_key", "prompt_cache_retention", "store", "suffix", "web_search_options":
		return "Bedrock has nothing like it; remove it"
	case "additional_model_response_field_paths", "prompt_variables":
		return "a row's answer is text, and its prompt is written out; remove it"
	}
	return wire.Reserved(name)
}

// translation is a map of parameters on its way to Converse's fields.
type translation struct {
	of     map[string]any
	faults []error
	config []byte // the members of inferenceConfig
	rest   []byte // the other fields
	format bool
}

// encodeParameters translates the parameters, and tells every fault of them.
func encodeParameters(parameters map[string]any) (*encodedParameters, error) {
	t := &translation{of: parameters}
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if reason := refusal(name); reason != "" {
			t.fault(name, reason)
		} else if !slices.Contains(known(), name) {
			const longest = 64 // an absurd name must not fill the log, nor cost a quadratic table
			short := name[:min(len(name), longest)]
			t.faults = append(t.faults, fmt.Errorf("%w: request.parameters.%s is no parameter of bedrock; did you mean %s?",
				schemas.ErrInvalid, short, wire.Nearest(short, known())))
		}
	}
	t.maxTokens()
	t.fraction("temperature", "temperature")
	t.fraction("top_p", "topP")
	t.stop()
	t.object("additional_model_request_fields", "additionalModelRequestFields", nil)
	t.object("guardrail_config", "guardrailConfig", guardrailField)
	t.object("performance_config", "performanceConfig", func(name string, value any) bool {
		return name == "latency" && (value == "standard" || value == "optimized")
	})
	t.metadata()
	t.serviceTier()
	t.responseFormat()
	if len(t.faults) > 0 {
		return nil, errors.Join(t.faults...)
	}
	encoded := &encodedParameters{of: parameters, formatted: t.format}
	if len(t.config) > 0 {
		encoded.json = append(append([]byte(`,"inferenceConfig":{`), t.config[1:]...), '}')
	}
	encoded.json = append(encoded.json, t.rest...)
	return encoded, nil
}

func (t *translation) fault(name, reason string) {
	t.faults = append(t.faults, fmt.Errorf("%w: request.parameters.%s: %s", schemas.ErrInvalid, name, reason))
}

// maxTokens takes either of OpenAI's two names for the one limit of Converse.
func (t *translation) maxTokens() {
	set := false
	for _, name := range []string{"max_tokens", "max_completion_tokens"} {
		value := t.of[name]
		if value == nil {
			continue
		}
		tokens, ok := wire.Whole(value, 1, math.MaxInt32)
		switch {
		case !ok:
			t.fault(name, "write a whole number of at least 1")
		case set:
			t.fault(name, "max_tokens says the same; remove one of them")
		default:
			t.config = strconv.AppendInt(append(t.config, `,"maxTokens":`...), tokens, 10)
		}
		set = true
	}
}

// fraction takes a number from 0 to 1, which is all that Converse allows (API reference, InferenceConfiguration).
func (t *translation) fraction(name, field string) {
	value := t.of[name]
	if value == nil {
		return
	}
	fraction, ok := wire.Number(value)
	if !ok || fraction < 0 || fraction > 1 {
		t.fault(name, "Converse takes a number from 0 to 1")
		return
	}
	t.config = strconv.AppendFloat(append(append(append(t.config, `,"`...), field...), `":`...), fraction, 'f', -1, 64)
}

// stop takes one text or several.
func (t *translation) stop() {
	value := t.of["stop"]
	if value == nil {
		return
	}
	texts, ok := wire.Texts(value)
	const most = 2500 // API reference, InferenceConfiguration
	if !ok || len(texts) > most || slices.Contains(texts, "") {
		t.fault("stop", "write a text, or a list of at most 2500 texts, none of them empty")
		return
	}
	t.config = append(t.config, `,"stopSequences":[`...)
	for i, text := range texts {
		if i > 0 {
			t.config = append(t.config, ',')
		}
		t.config = wire.AppendString(t.config, text)
	}
	t.config = append(t.config, ']')
}

// object takes a map as it is, whose members may be looked at.
func (t *translation) object(name, field string, fits func(name string, value any) bool) {
	value := t.of[name]
	if value == nil {
		return
	}
	members, ok := value.(map[string]any)
	if !ok {
		t.fault(name, "write a map")
		return
	}
	if len(members) == 0 {
		return
	}
	if fits != nil {
		for _, member := range slices.Sorted(maps.Keys(members)) {
			if !fits(member, members[member]) {
				t.fault(name, fmt.Sprintf("the member %.64q, or its value, is none that Bedrock knows", member))
				return
			}
		}
	}
	text, err := wire.Marshal(value)
	if err != nil {
		t.fault(name, "it cannot be written as JSON")
		return
	}
	t.rest = append(append(append(append(t.rest, `,"`...), field...), `":`...), text...)
}

// metadata takes what Bedrock writes into its invocation log, in the form that it wants (API reference, Converse).
func (t *translation) metadata() {
	const most = 16
	if members, ok := t.of["metadata"].(map[string]any); ok && len(members) > most {
		t.fault("metadata", "Bedrock takes at most 16 members")
		return
	}
	plain := regexp.MustCompile(`^[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}$`)
	t.object("metadata", "requestMetadata", func(name string, value any) bool {
		text, ok := value.(string)
		return ok && name != "" && plain.MatchString(name) && plain.MatchString(text)
	})
}

// guardrailField knows what a guardrail is named by (API reference, GuardrailConfiguration).
func guardrailField(name string, value any) bool {
	text, ok := value.(string)
	switch name {
	case "guardrailIdentifier", "guardrailVersion":
		return ok && text != ""
	case "trace":
		return ok && slices.Contains([]string{"enabled", "disabled", "enabled_full"}, text)
	}
	return false
}

// serviceTier takes the names of Bedrock's tiers, of which only two are OpenAI's as well.
func (t *translation) serviceTier() {
	value := t.of["service_tier"]
	if value == nil {
		return
	}
	tier, ok := value.(string)
	if !ok || !slices.Contains([]string{"default", "flex", "priority", "reserved"}, tier) {
		t.fault("service_tier", "Bedrock has default, flex, priority and reserved")
		return
	}
	t.rest = append(wire.AppendString(append(t.rest, `,"serviceTier":{"type":`...), tier), '}')
}

// responseFormat takes OpenAI's way to name a schema. Converse has no mode for JSON of any shape.
func (t *translation) responseFormat() {
	value := t.of["response_format"]
	if value == nil {
		return
	}
	const shape = `write {"type": "text"}, or {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}`
	format, ok := value.(map[string]any)
	kind, _ := format["type"].(string)
	if ok && kind == "text" && len(format) == 1 {
		return
	}
	if kind == "json_object" {
		t.fault("response_format", "Converse has no JSON without a schema; "+shape)
		return
	}
	inner, _ := format["json_schema"].(map[string]any)
	schema, is := inner["schema"].(map[string]any)
	text, err := wire.Marshal(schema)
	if kind != "json_schema" || len(format) != 2 || !is || err != nil {
		t.fault("response_format", shape)
		return
	}
	var name, description string
	for member, value := range inner {
		ok := true
		switch member {
		case "schema":
		case "name":
			name, ok = value.(string)
		case "description":
			description, ok = value.(string)
		case "strict":
			ok = value == true || value == nil // Converse always keeps to the schema
		default:
			ok = false
		}
		if !ok {
			t.fault("response_format", fmt.Sprintf("json_schema.%.64s, or its value, is none that Converse has", member))
			return
		}
	}
	t.format = true
	t.rest = appendFormat(t.rest, name, description, string(text))
}
