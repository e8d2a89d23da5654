package anthropic

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	usageLimit = 8 << 10 // bytes of a usage object that are kept verbatim
	tokenLimit = 1 << 40 // no call has counted more; a count beyond is noise that would become a bill
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
	if name := plain(root.Get("model"), &ok); name != "" {
		response.Model = name
	}
	response.Stop = stopReason(plain(root.Get("stop_reason"), &ok))
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
			text.WriteString(plain(block.Get("text"), &ok))
		case "thinking":
			reasoning.WriteString(plain(block.Get("thinking"), &ok))
		case "tool_use":
			input := block.Get("input")
			ok = ok && input.IsObject()
			response.ToolCalls = append(response.ToolCalls, schemas.ToolCall{
				ID: plain(block.Get("id"), &ok), Name: plain(block.Get("name"), &ok), Arguments: verbatim(input),
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
	input, output := count(raw.Get("input_tokens"), &ok), count(raw.Get("output_tokens"), &ok)
	counted := schemas.Usage{
		CacheReadInputTokens:     count(raw.Get("cache_read_input_tokens"), &ok),
		CacheCreationInputTokens: count(raw.Get("cache_creation_input_tokens"), &ok),
		OutputReasoningTokens:    count(raw.Get("output_tokens_details.thinking_tokens"), &ok),
		ServiceTier:              plain(raw.Get("service_tier"), new(bool)), // no reason to doubt the counts
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
	if len(raw.Raw) <= usageLimit {
		counted.Raw = verbatim(raw)
	}
	return counted
}

// count is a number of tokens, nil where there is none; what no call can have counted is not ok.
func count(value gjson.Result, ok *bool) *int64 {
	if value.Type == gjson.Null { // absent as well
		return nil
	}
	tokens, err := strconv.ParseInt(value.Raw, 10, 64)
	if err != nil || tokens < 0 || tokens > tokenLimit {
		*ok = false
	}
	return &tokens
}

// plain is the text of a string, and nothing of null; anything else is not ok. The text does not hold on to the
// body, and is UTF-8 whatever the server sent, for a column of texts takes nothing else.
func plain(value gjson.Result, ok *bool) string {
	switch value.Type { //nolint:exhaustive // the others are no text
	case gjson.String:
		return strings.Clone(strings.ToValidUTF8(value.Str, "\uFFFD"))
	case gjson.Null:
		return ""
	}
	*ok = false
	return ""
}

// verbatim is the JSON of a value as it came, under the same conditions.
func verbatim(value gjson.Result) string {
	return strings.Clone(strings.ToValidUTF8(value.Raw, "\uFFFD"))
}
