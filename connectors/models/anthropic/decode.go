package anthropic

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Decode reads a message.
func (*format) Decode(body []byte, response *schemas.Response) error {
	root := gjson.ParseBytes(body)
	response.Usage = readUsage(root.Get("usage"))
	if root.Get("type").Str == "error" || root.Get("error").IsObject() {
		problem := readProblem(nil, body)
		return &problem
	}
	ok := true
	if name := wire.Plain(root.Get("model"), &ok); name != "" {
		response.Model = name
	}
	response.Stop = stopReason(wire.Plain(root.Get("stop_reason"), &ok))
	content := root.Get("content")
	if !ok || content.Exists() && !content.IsArray() && content.Type != gjson.Null {
		return wire.Shape("a field has another type than it must")
	}
	// An empty list is an answer: the model ends its turn without a word after some tool results.
	if !content.IsArray() && response.Stop != schemas.StopRefusal {
		return wire.Shape("there is no content")
	}
	var text, reasoning strings.Builder
	for _, block := range content.Array() {
		ok = ok && block.IsObject()
		switch block.Get("type").Str {
		case "text":
			text.WriteString(wire.Plain(block.Get("text"), &ok))
		case "thinking":
			reasoning.WriteString(wire.Plain(block.Get("thinking"), &ok))
		case "tool_use":
			input := block.Get("input")
			ok = ok && input.IsObject()
			response.ToolCalls = append(response.ToolCalls, schemas.ToolCall{
				ID: wire.Plain(block.Get("id"), &ok), Name: wire.Plain(block.Get("name"), &ok), Arguments: verbatim(input),
			})
		}
	}
	response.Text, response.Reasoning = text.String(), reasoning.String()
	if !ok {
		return wire.Shape("a content block has another form than it must")
	}
	return nil
}

// stopReason translates Anthropic's words. pause_turn has no meaning here: it needs a tool that runs at Anthropic.
func stopReason(word string) schemas.StopReason {
	switch word {
	case "end_turn", "stop_sequence":
		return schemas.StopEnd
	case "max_tokens", "model_context_window_exceeded":
		return schemas.StopLength
	case "tool_use":
		return schemas.StopToolCalls
	case "refusal":
		return schemas.StopRefusal
	}
	return ""
}

// readUsage takes the provider's counts, or BasisNone where they are absent or cannot be true. What was read from the
// cache and written into it comes on top of input_tokens; thinking is a part of output_tokens.
func readUsage(raw gjson.Result) schemas.Usage {
	none := schemas.Usage{Basis: schemas.BasisNone}
	if !raw.IsObject() {
		return none
	}
	ok := true
	input, output := wire.Count(raw.Get("input_tokens"), &ok), wire.Count(raw.Get("output_tokens"), &ok)
	counted := schemas.Usage{
		CacheReadInputTokens:     wire.Count(raw.Get("cache_read_input_tokens"), &ok),
		CacheCreationInputTokens: wire.Count(raw.Get("cache_creation_input_tokens"), &ok),
		OutputReasoningTokens:    wire.Count(raw.Get("output_tokens_details.thinking_tokens"), &ok),
		ServiceTier:              wire.Plain(raw.Get("service_tier"), new(bool)), // no reason to doubt the counts
		Basis:                    schemas.BasisProvider,
	}
	if !ok || input == nil {
		return none
	}
	for _, part := range []*int64{input, counted.CacheReadInputTokens, counted.CacheCreationInputTokens} {
		if part != nil {
			counted.InputTokens += *part
		}
	}
	if output != nil {
		counted.OutputTokens = *output
	}
	counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	counted.Raw = wire.Verbatim(raw.Raw)
	return counted
}

// verbatim is the JSON of a value as it came, under the same conditions.
func verbatim(value gjson.Result) string {
	return strings.Clone(strings.ToValidUTF8(value.Raw, "\uFFFD"))
}
