package openai

import (
	"slices"

	"github.com/inflowhq/inflow/schemas"
)

// refusal says why a parameter of OpenAI's cannot be set; empty where it can.
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
	case schemas.TaskChat:
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
