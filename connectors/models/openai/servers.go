package openai

import (
	"net/http"
	"slices"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Server is one that speaks OpenAI's chat format, with what it has of its own.
type Server struct {
	Name        string
	BaseURL     string // where it usually is: its owner's, or this machine
	KeyVariable string // the environment variable that usually has its key; empty: it needs none
	Responses   bool   // it has the Responses API, too
	Quirks

	rules []wire.Rule
}

// Known are the servers that Options.Server may name. Each is described by the API reference that stands beside it.
func Known() []Server {
	usual := []string{
		"frequency_penalty", "max_completion_tokens", "max_tokens", "presence_penalty", "response_format", "seed", "stop",
		"temperature", "top_p",
	}
	with := func(names ...string) []string { return append(names, usual...) }
	limit := map[string]string{"max_completion_tokens": "max_tokens"}
	images, nothing := []schemas.MediaKind{schemas.MediaImage}, []schemas.MediaKind{}
	return []Server{
		{ // docs.vllm.ai, OpenAI-compatible server, "extra parameters"; guided_* became structured_outputs in 0.12
			Name: "vllm", BaseURL: "http://localhost:8000/v1", KeyVariable: "VLLM_API_KEY", Responses: true,
			Quirks: Quirks{
				Media: []schemas.MediaKind{schemas.MediaImage, schemas.MediaAudio},
				Parameters: pick(with("logit_bias", "logprobs", "top_logprobs", "parallel_tool_calls", "reasoning_effort", "user"),
					vllmParameters()),
				CompletionParameters: slices.Concat(standard(schemas.TaskCompletions), vllmParameters()),
			},
		},
		{ // github.com/ollama/ollama/blob/main/docs/openai.md
			Name: "ollama", BaseURL: "http://localhost:11434/v1", Responses: true,
			Quirks: Quirks{
				Media: images, NoMediaURLs: true, NoToolChoice: true, Rename: limit, Parameters: pick(with("reasoning_effort")),
				Refused: map[string]string{
					"num_ctx": "Ollama's /v1 does not take it; set PARAMETER num_ctx in the model's Modelfile, or OLLAMA_CONTEXT_LENGTH",
				},
			},
		},
		{ // github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
			Name: "llama.cpp", BaseURL: "http://localhost:8080/v1", KeyVariable: "LLAMA_API_KEY",
			Quirks: Quirks{
				Media: []schemas.MediaKind{schemas.MediaImage, schemas.MediaAudio}, Rename: limit,
				Parameters:           pick(with("logit_bias", "logprobs", "top_logprobs", "parallel_tool_calls"), llamaParameters()),
				CompletionParameters: slices.Concat(standard(schemas.TaskCompletions), llamaParameters()),
			},
		},
		{ // docs.mistral.ai/api: the body is checked strictly, and stream_options is outside of it
			Name: "mistral", BaseURL: "https://api.mistral.ai/v1", KeyVariable: "MISTRAL_API_KEY",
			Quirks: Quirks{
				Media: images, NoStreamOptions: true,
				Rename:              map[string]string{"max_completion_tokens": "max_tokens", "seed": "random_seed", "dimensions": "output_dimension"},
				EmbeddingParameters: slices.Concat(Parameters(Integer, "dimensions"), Parameters(Object, "metadata")),
				Parameters: pick(with("metadata", "parallel_tool_calls", "prediction", "reasoning_effort"),
					Parameters(Integer, "random_seed"),
					Parameters(Bool, "safe_prompt"),
					Parameters(Text, "prompt_mode")),
			},
		},
		{ // console.groq.com/docs/openai and /docs/api-reference
			Name: "groq", BaseURL: "https://api.groq.com/openai/v1", KeyVariable: "GROQ_API_KEY", Responses: true,
			Quirks: Quirks{
				Media: images,
				Parameters: pick(with("parallel_tool_calls", "reasoning_effort", "service_tier", "user"),
					Parameters(Bool, "include_reasoning"),
					Parameters(Text, "reasoning_format")),
			},
			// Its own status: flex processing has no room just now.
			rules: []wire.Rule{{Status: 498, Class: schemas.Throttled, Code: "capacity_exceeded"}},
		},
		{ // api-docs.deepseek.com/api/create-chat-completion
			Name: "deepseek", BaseURL: "https://api.deepseek.com/v1", KeyVariable: "DEEPSEEK_API_KEY",
			Quirks: Quirks{
				Media: nothing, Rename: limit, Schema: SchemaNone,
				Parameters: pick([]string{
					"frequency_penalty", "logprobs", "max_completion_tokens", "max_tokens", "presence_penalty", "response_format",
					"stop", "temperature", "top_logprobs", "top_p",
				}, Parameters(Object, "thinking")),
			},
		},
		{ // docs.together.ai/reference/chat-completions-1
			Name: "together", BaseURL: "https://api.together.xyz/v1", KeyVariable: "TOGETHER_API_KEY",
			Quirks: Quirks{
				Media: images, Rename: limit,
				Parameters: pick(with("logit_bias", "reasoning_effort"),
					Parameters(Number, "min_p", "repetition_penalty"),
					Parameters(Integer, "top_k"),
					Parameters(Text, "context_length_exceeded_behavior", "safety_model"),
					Parameters(Object, "chat_template_kwargs", "reasoning")),
			},
		},
		{ // docs.x.ai/docs/api-reference
			Name: "xai", BaseURL: "https://api.x.ai/v1", KeyVariable: "XAI_API_KEY", Responses: true,
			Quirks: Quirks{
				Media: images,
				Parameters: pick(with("logprobs", "parallel_tool_calls", "reasoning_effort", "top_logprobs", "user"),
					Parameters(Object, "search_parameters")),
			},
		},
		{ // openrouter.ai/docs/api-reference
			Name: "openrouter", BaseURL: "https://openrouter.ai/api/v1", KeyVariable: "OPENROUTER_API_KEY", Responses: true,
			Quirks: Quirks{
				Parameters: pick(with("logit_bias", "logprobs", "metadata", "parallel_tool_calls", "prediction", "reasoning_effort",
					"top_logprobs", "user", "verbosity", "web_search_options"),
					Parameters(Number, "min_p", "repetition_penalty", "top_a"),
					Parameters(Integer, "top_k"),
					Parameters(Object, "provider", "reasoning", "usage"),
					Parameters(List, "models", "plugins", "transforms")),
			},
			// Its error page: the model wants moderation, and this input was flagged.
			rules: []wire.Rule{{Status: http.StatusForbidden, Class: schemas.Rejected, Code: "content_filter"}},
		},
		{ // docs.fireworks.ai/api-reference/post-chatcompletions
			Name: "fireworks", BaseURL: "https://api.fireworks.ai/inference/v1", KeyVariable: "FIREWORKS_API_KEY", Responses: true,
			Quirks: Quirks{
				Media: images,
				Parameters: pick(with("logit_bias", "parallel_tool_calls", "prediction", "reasoning_effort", "user"),
					Parameters(Number, "min_p", "mirostat_lr", "mirostat_target", "repetition_penalty", "typical_p"),
					Parameters(Integer, "prompt_truncate_len", "top_k"),
					Parameters(Bool, "ignore_eos"),
					Parameters(Text, "context_length_exceeded_behavior")),
			},
		},
		{ // docs.perplexity.ai/api-reference/chat-completions-post: no tools, no seed, and no "/v1"
			Name: "perplexity", BaseURL: "https://api.perplexity.ai", KeyVariable: "PERPLEXITY_API_KEY",
			Quirks: Quirks{
				Media: images, Rename: limit, NoTools: true, NoStreamOptions: true,
				Parameters: pick([]string{
					"frequency_penalty", "max_completion_tokens", "max_tokens", "presence_penalty", "reasoning_effort", "response_format",
					"temperature", "top_p", "web_search_options",
				},
					Parameters(Integer, "top_k"),
					Parameters(Bool, "disable_search", "enable_search_classifier"),
					Parameters(Text, "last_updated_after_filter", "last_updated_before_filter", "search_after_date_filter", "search_before_date_filter", "search_mode", "search_recency_filter"),
					Parameters(List, "search_domain_filter")),
			},
		},
		{ // inference-docs.cerebras.ai/resources/openai: the penalties and logit_bias are refused
			Name: "cerebras", BaseURL: "https://api.cerebras.ai/v1", KeyVariable: "CEREBRAS_API_KEY",
			Quirks: Quirks{
				Media: nothing, Rename: map[string]string{"max_tokens": "max_completion_tokens"},
				Parameters: pick([]string{
					"logprobs", "max_completion_tokens", "max_tokens", "parallel_tool_calls", "reasoning_effort", "response_format",
					"seed", "stop", "temperature", "top_logprobs", "top_p", "user",
				}),
			},
		},
		{ // docs.nvidia.com/nim/large-language-models, "structured generation": nvext has the schema
			Name: "nvidia", BaseURL: "https://integrate.api.nvidia.com/v1", KeyVariable: "NVIDIA_API_KEY",
			Quirks: Quirks{
				Media: images, Rename: limit, Schema: SchemaNVExt,
				Parameters: pick(with("logit_bias", "logprobs", "reasoning_effort", "top_logprobs"),
					Parameters(Number, "min_p", "repetition_penalty"),
					Parameters(Integer, "min_tokens", "top_k"),
					Parameters(Bool, "ignore_eos"),
					Parameters(Object, "chat_template_kwargs", "nvext")),
			},
		},
		{ // lmstudio.ai/docs/app/api/endpoints/openai
			Name: "lmstudio", BaseURL: "http://localhost:1234/v1", Responses: true,
			Quirks: Quirks{
				Media: images, NoMediaURLs: true, Rename: limit,
				Parameters: pick(with("logit_bias"), Parameters(Number, "repeat_penalty"),
					Parameters(Integer, "top_k", "ttl"),
					Parameters(Text, "draft_model")),
			},
		},
	}
}

func vllmParameters() []Parameter {
	return slices.Concat(
		Parameters(Number, "length_penalty", "min_p", "repetition_penalty"),
		Parameters(Integer, "min_tokens", "priority", "top_k", "truncate_prompt_tokens"),
		Parameters(Bool, "add_generation_prompt", "ignore_eos", "include_reasoning", "include_stop_str_in_output",
			"skip_special_tokens", "spaces_between_special_tokens"),
		Parameters(Text, "chat_template", "guided_grammar", "guided_regex"),
		Parameters(Object, "chat_template_kwargs", "structured_outputs"),
		Parameters(List, "bad_words", "guided_choice", "stop_token_ids"),
		Parameters(Any, "guided_json"),
	)
}

func llamaParameters() []Parameter {
	return slices.Concat(
		Parameters(Number, "dry_base", "dry_multiplier", "dynatemp_exponent", "dynatemp_range", "min_p", "mirostat_eta",
			"mirostat_tau", "repeat_penalty", "typical_p", "xtc_probability", "xtc_threshold"),
		Parameters(Integer, "id_slot", "mirostat", "n_probs", "repeat_last_n", "top_k"),
		Parameters(Bool, "cache_prompt"),
		Parameters(Text, "grammar", "reasoning_format"),
		Parameters(Object, "chat_template_kwargs", "json_schema"),
		Parameters(List, "samplers"),
	)
}

func serverNames(servers []Server) []string {
	names := make([]string, 0, len(servers))
	for i := range servers {
		names = append(names, servers[i].Name)
	}
	return names
}
