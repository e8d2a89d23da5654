package openai

import (
	"slices"

	"github.com/inflowhq/inflow/schemas"
)

// standard are the parameters of OpenAI that may be set (platform.openai.com/docs/api-reference/chat/create,
// .../completions/create and .../embeddings/create).
func standard(task schemas.Task) []Parameter {
	switch task {
	case schemas.TaskEmbeddings:
		return slices.Concat(Parameters(Integer, "dimensions"), Parameters(Text, "user"))
	case schemas.TaskCompletions:
		return slices.Concat(
			Parameters(Number, "frequency_penalty", "presence_penalty", "temperature", "top_p"),
			Parameters(Integer, "logprobs", "max_tokens", "seed"), Parameters(Text, "suffix", "user"),
			Parameters(Texts, "stop"), Parameters(Object, "logit_bias"),
		)
	case schemas.TaskChat, schemas.TaskPredictions:
	}
	return slices.Concat(
		Parameters(Number, "frequency_penalty", "presence_penalty", "temperature", "top_p"),
		Parameters(Integer, "max_completion_tokens", "max_tokens", "seed", "top_logprobs"),
		Parameters(Bool, "logprobs", "parallel_tool_calls", "store"),
		Parameters(Text, "prompt_cache_key", "prompt_cache_retention", "reasoning_effort", "safety_identifier", "service_tier",
			"user", "verbosity"),
		Parameters(Texts, "stop"),
		Parameters(Object, "logit_bias", "metadata", "prediction", "response_format", "web_search_options"),
	)
}

// Parameters are the ones of a kind.
func Parameters(kind Kind, names ...string) []Parameter {
	all := make([]Parameter, 0, len(names))
	for _, name := range names {
		all = append(all, Parameter{Name: name, Kind: kind})
	}
	return all
}

// pick takes OpenAI's chat parameters of these names, and then the server's own.
func pick(names []string, own ...[]Parameter) []Parameter {
	picked := slices.Concat(own...)
	for _, parameter := range standard(schemas.TaskChat) {
		if slices.Contains(names, parameter.Name) {
			picked = append(picked, parameter)
		}
	}
	return picked
}
