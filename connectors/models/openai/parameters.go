package openai

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/inflowhq/inflow/schemas"
)

// Check tells every reason why such a request cannot be put, before anything is paid.
func (f *format) Check(request *schemas.Request) error {
	faults := []error{f.fault, checkParameters(request.Task, request.Parameters)}
	for i := range request.Messages {
		for _, part := range request.Messages[i].Parts {
			if part.Media != nil {
				faults = append(faults, checkMedia(part.Media))
			}
		}
	}
	return errors.Join(faults...)
}

func checkMedia(media *schemas.Media) error {
	switch {
	case media.Kind == schemas.MediaAudio && audioFormats()[media.MIMEType] == "":
		return fmt.Errorf("%w: the openai format takes audio as audio/wav or audio/mpeg, not %s", schemas.ErrInvalid, media.MIMEType)
	case media.Kind != schemas.MediaImage && media.URL != "":
		return fmt.Errorf("%w: the openai format takes the bytes of a %s, not its URL", schemas.ErrInvalid, media.Kind)
	}
	return nil
}

func checkParameters(task schemas.Task, parameters map[string]any) error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		if reason := refusal(name); reason != "" {
			faults = append(faults, fmt.Errorf("%w: request.parameters.%s: %s", schemas.ErrInvalid, name, reason))
			continue
		}
		if !slices.Contains(known(task), name) {
			faults = append(faults, fmt.Errorf("%w: request.parameters.%s is no %s parameter; did you mean %s?",
				schemas.ErrInvalid, name, what(task), nearest(name, known(task))))
		}
	}
	return errors.Join(faults...)
}

func what(task schemas.Task) string {
	switch task {
	case schemas.TaskEmbeddings:
		return "embeddings"
	case schemas.TaskCompletions:
		return "completion"
	case schemas.TaskChat:
	}
	return "chat completion"
}

// refusal says why a parameter that exists cannot be set; empty where it can.
func refusal(name string) string {
	switch name {
	case "model":
		return "the endpoint's destination names the model; remove it"
	case "messages", "input", "prompt":
		return "the job's request says what is asked; remove it"
	case "stream", "stream_options":
		return "an answer is kept whole, so streaming gains nothing; remove it"
	case "n", "best_of":
		return "a row has one answer, and every further choice is paid; remove it"
	case "tools", "tool_choice", "functions", "function_call":
		return "a row's answer is text, and nobody would run the tool; remove it, or ask for a response_format"
	case "audio", "modalities":
		return "a row's answer is text; remove it"
	case "encoding_format":
		return "vectors are read as numbers; remove it"
	}
	return ""
}

// known are the parameters of OpenAI that may be set.
func known(task schemas.Task) []string {
	switch task {
	case schemas.TaskEmbeddings:
		return []string{"dimensions", "user"}
	case schemas.TaskCompletions:
		return []string{
			"frequency_penalty", "logit_bias", "logprobs", "max_tokens", "presence_penalty", "seed", "stop", "suffix",
			"temperature", "top_p", "user",
		}
	case schemas.TaskChat:
	}
	return []string{
		"frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata",
		"parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_retention",
		"reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "temperature",
		"top_logprobs", "top_p", "user", "verbosity", "web_search_options",
	}
}

// nearest is the known name that takes the fewest edits.
func nearest(name string, known []string) string {
	const longest = 64 // an absurd name must not cost a quadratic table
	name = name[:min(len(name), longest)]
	return slices.MinFunc(known, func(a, b string) int { return edits(name, a) - edits(name, b) })
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
