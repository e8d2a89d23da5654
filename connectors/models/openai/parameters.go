package openai

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/inflowhq/inflow/schemas"
)

// Check tells every reason why the model cannot be asked with these parameters, before anything is paid.
func (m *Model) Check(parameters map[string]any) error {
	return errors.Join(m.fault, checkParameters(parameters))
}

func checkParameters(parameters map[string]any) error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if reason := refusal(name); reason != "" {
			faults = append(faults, fmt.Errorf("%w: request.parameters.%s: %s", schemas.ErrInvalid, name, reason))
			continue
		}
		if !slices.Contains(known(), name) {
			faults = append(faults, fmt.Errorf("%w: request.parameters.%s is no chat completion parameter; did you mean %s?",
				schemas.ErrInvalid, name, nearest(name)))
		}
	}
	return errors.Join(faults...)
}

// refusal says why a parameter that exists cannot be set; empty where it can.
func refusal(name string) string {
	switch name {
	case "model":
		return "the endpoint's destination names the model; remove it"
	case "messages":
		return "the job's request.messages are the messages; remove it"
	case "stream", "stream_options":
		return "an answer is kept whole, so streaming gains nothing; remove it"
	case "n":
		return "a row has one answer, and every further choice is paid; remove it"
	case "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call":
		return "a row's answer is text, and nobody would run the tool; remove it, or ask for a response_format"
	case "audio", "modalities":
		return "a row's answer is text; remove it"
	}
	return ""
}

// known are the parameters of OpenAI's chat completions that may be set.
func known() []string {
	return []string{
		"frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata",
		"prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort",
		"response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "temperature",
		"top_logprobs", "top_p", "user", "verbosity", "web_search_options",
	}
}

// nearest is the known name that takes the fewest edits.
func nearest(name string) string {
	const longest = 64 // an absurd name must not cost a quadratic table
	name = name[:min(len(name), longest)]
	return slices.MinFunc(known(), func(a, b string) int { return edits(name, a) - edits(name, b) })
}

// edits is the Levenshtein distance.
func edits(from, to string) int {
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(to) {
			cost := diagonal
			if from[i] != to[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}
