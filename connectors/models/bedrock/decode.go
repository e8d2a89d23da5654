package bedrock

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Decode reads the answer of Converse.
func (*format) Decode(body []byte, response *schemas.Response) error {
	whole := gjson.ParseBytes(body)
	response.Usage = readUsage(whole, false)
	ok := true
	if name := wire.Plain(whole.Get("trace.promptRouter.invokedModelId"), &ok); name != "" {
		response.Model = name // the only model that an answer names: the one that a prompt router chose, and that is paid
	}
	content := whole.Get("output.message.content")
	if !content.IsArray() {
		if problem := problemInside("", body); len(problem.Words) > 0 || problem.Message != "" {
			return problem
		}
		return wire.Shape("there is no message")
	}
	stop := wire.Plain(whole.Get("stopReason"), &ok)
	var text, reasoning strings.Builder
	content.ForEach(func(_, block gjson.Result) bool {
		ok = ok && block.IsObject()
		block.ForEach(func(key, value gjson.Result) bool {
			switch key.Str {
			case "text":
				text.WriteString(wire.Plain(value, &ok))
			case "citationsContent": // the text is divided among what its pieces rest on
				value.Get("content").ForEach(func(_, piece gjson.Result) bool {
					text.WriteString(wire.Plain(piece.Get("text"), &ok))
					return ok
				})
			case "reasoningContent":
				reasoning.WriteString(wire.Plain(value.Get("reasoningText.text"), &ok))
			case "toolUse":
				response.ToolCalls = append(response.ToolCalls, schemas.ToolCall{
					ID: wire.Plain(value.Get("toolUseId"), &ok), Name: wire.Plain(value.Get("name"), &ok),
					Arguments: strings.Clone(strings.ToValidUTF8(value.Get("input").Raw, "\uFFFD")),
				})
			}
			return ok
		})
		return ok
	})
	if !ok {
		return wire.Shape("a field has another type than it must")
	}
	response.Text, response.Reasoning, response.Stop = text.String(), reasoning.String(), stopReason(stop)
	return malformed(stop)
}

// stopReason reads Converse's word (API reference, Converse). A new one has no meaning here.
func stopReason(word string) schemas.StopReason {
	switch word {
	case "end_turn", "stop_sequence":
		return schemas.StopEnd
	case "max_tokens", "model_context_window_exceeded":
		return schemas.StopLength
	case "tool_use":
		return schemas.StopToolCalls
	case "guardrail_intervened", "content_filtered":
		return schemas.StopContentFilter
	case "refusal": // Claude's own word, which the reference does not list
		return schemas.StopRefusal
	}
	return ""
}

// malformed is the fault of an answer that Bedrock itself could not read: it is paid, and another may be better.
func malformed(stop string) error {
	switch stop {
	case "malformed_model_output", "malformed_tool_use":
		return wire.Shape("the model's output is malformed, says the provider")
	}
	return nil
}

// readUsage takes the provider's counts from an answer or a stream's last event, or BasisNone where they are absent or
// cannot be true.
//
// Cached tokens come on top of inputTokens (userguide/prompt-caching.html: the total is the sum of the three). What
// OpenAI's models count in a stream breaks that rule: their inputTokens hold the cached ones already, as anybody sees
// who sends a prompt twice, and so does totalTokens, twice. gross says that such counts are read. The total is
// therefore ours.
func readUsage(whole gjson.Result, gross bool) schemas.Usage {
	none := schemas.Usage{Basis: schemas.BasisNone}
	raw := whole.Get("usage")
	if !raw.IsObject() {
		return none
	}
	ok := true
	input, output := wire.Count(raw.Get("inputTokens"), &ok), wire.Count(raw.Get("outputTokens"), &ok)
	read, written := wire.Count(raw.Get("cacheReadInputTokens"), &ok), wire.Count(raw.Get("cacheWriteInputTokens"), &ok)
	if !ok || input == nil {
		return none
	}
	counted := schemas.Usage{
		InputTokens: *input, CacheReadInputTokens: read, CacheCreationInputTokens: written, Basis: schemas.BasisProvider,
	}
	cached := int64(0)
	for _, tokens := range []*int64{read, written} {
		if tokens != nil {
			cached += *tokens
		}
	}
	if !gross || counted.InputTokens < cached {
		counted.InputTokens += cached
	}
	if output != nil {
		counted.OutputTokens = *output // those of reasoning are among them, and are not told apart
	}
	counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	if tier := whole.Get("serviceTier.type").Str; isWord(tier) {
		counted.ServiceTier = strings.Clone(tier)
	}
	counted.Raw = wire.Verbatim(raw.Raw)
	return counted
}
