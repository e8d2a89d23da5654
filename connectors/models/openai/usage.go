package openai

import (
	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// readUsage takes the provider's counts, or BasisNone where they are absent or cannot be true.
func readUsage(raw gjson.Result) schemas.Usage {
	none := schemas.Usage{Basis: schemas.BasisNone}
	if !raw.IsObject() {
		return none
	}
	counted := schemas.Usage{Basis: schemas.BasisProvider}
	input, total, ok := (*int64)(nil), int64(0), true
	apart := false // the cached tokens are named as Anthropic does, and may be beside the others
	set := func(into *int64, value *int64) {
		if value != nil {
			*into = *value
		}
	}
	keep := func(into **int64, value *int64) {
		if value != nil {
			*into = value
		}
	}
	raw.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "prompt_tokens":
			keep(&input, wire.Count(value, &ok))
		case "input_tokens": // the Responses API; a gateway may send both
			if input == nil {
				input = wire.Count(value, &ok)
			}
		case "completion_tokens":
			set(&counted.OutputTokens, wire.Count(value, &ok))
		case "output_tokens":
			if counted.OutputTokens == 0 {
				set(&counted.OutputTokens, wire.Count(value, &ok))
			}
		case "total_tokens":
			set(&total, wire.Count(value, &ok))
		case "prompt_tokens_details", "input_tokens_details":
			keep(&counted.CacheReadInputTokens, wire.Count(value.Get("cached_tokens"), &ok))
			keep(&counted.CacheCreationInputTokens, wire.Count(value.Get("cache_write_tokens"), &ok))
			keep(&counted.InputAudioTokens, wire.Count(value.Get("audio_tokens"), &ok))
		case "completion_tokens_details", "output_tokens_details":
			keep(&counted.OutputReasoningTokens, wire.Count(value.Get("reasoning_tokens"), &ok))
			keep(&counted.OutputAudioTokens, wire.Count(value.Get("audio_tokens"), &ok))
		case "reasoning_tokens": // Databricks
			keep(&counted.OutputReasoningTokens, wire.Count(value, &ok))
		case "prompt_cache_hit_tokens": // DeepSeek
			keep(&counted.CacheReadInputTokens, wire.Count(value, &ok))
		case "cache_read_input_tokens": // Databricks
			keep(&counted.CacheReadInputTokens, wire.Count(value, &ok))
			apart = true
		case "cache_creation_input_tokens":
			keep(&counted.CacheCreationInputTokens, wire.Count(value, &ok))
			apart = true
		}
		return ok
	})
	if !ok || input == nil {
		return none
	}
	counted.InputTokens = *input
	addWhatIsBeside(&counted, total, apart)
	counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	counted.Raw = wire.Verbatim(raw.Raw)
	return counted
}

// addWhatIsBeside finds counts that a server does not include where OpenAI does: reasoning at xAI, cached tokens where
// Anthropic's counts come through. The total says so, or a part that is more than the whole.
func addWhatIsBeside(counted *schemas.Usage, total int64, apart bool) {
	value := func(tokens *int64) int64 {
		if tokens == nil {
			return 0
		}
		return *tokens
	}
	input, output, reasoning := counted.InputTokens, counted.OutputTokens, value(counted.OutputReasoningTokens)
	if reasoning > output || reasoning > 0 && total == input+output+reasoning {
		counted.OutputTokens += reasoning
	}
	if !apart {
		return
	}
	cached := value(counted.CacheReadInputTokens) + value(counted.CacheCreationInputTokens)
	if cached > input || cached > 0 && total == input+output+cached {
		counted.InputTokens += cached
	}
}
