package openai

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

// answer is what is read of an answer. Reading it takes one look at the text for its grammar and one
// for its fields: by reflection, this was a tenth of all that a row costs.
type answer struct {
	into    *schemas.Response
	choices int
	given   bool // there is content: not null and not absent
	refusal bool
	vectors bool // the data of embeddings
	failure bool // an error object, as gateways send beside a 200
	ok      bool // false where a field has another type than it must
}

// Decode reads a chat completion, a completion or embeddings; which of them, the body says.
func (*format) Decode(body []byte, response *schemas.Response) error {
	a := answer{into: response, ok: true}
	gjson.ParseBytes(body).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "model":
			if name := plain(value, &a.ok); name != "" {
				response.Model = name
			}
		case "usage":
			response.Usage = readUsage(value)
		case "error":
			a.failure = value.Exists() && value.Type != gjson.Null
		case "data":
			a.readVectors(value)
		case "choices":
			a.ok = a.ok && (value.IsArray() || value.Type == gjson.Null)
			value.ForEach(func(_, choice gjson.Result) bool {
				if a.choices++; a.choices == 1 {
					a.readChoice(choice)
				}
				return a.ok
			})
		}
		return a.ok
	})
	switch {
	case !a.ok:
		return wire.Shape("a field has another type than it must")
	case a.vectors:
		return nil
	case a.choices == 0 && a.failure:
		problem := wire.ParseProblem(body)
		return &problem
	case a.choices == 0:
		return wire.Shape("there are no choices")
	case a.refusal:
		response.Stop = schemas.StopRefusal
	case response.Stop == schemas.StopContentFilter, response.Stop == schemas.StopLength, a.given, len(response.ToolCalls) > 0:
	default:
		return wire.Shape("the first choice has no content")
	}
	return nil
}

func (a *answer) readChoice(choice gjson.Result) {
	a.ok = a.ok && (choice.IsObject() || choice.Type == gjson.Null)
	choice.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "finish_reason":
			a.into.Stop = stopReason(plain(value, &a.ok))
		case "text": // of a completion
			a.into.Text, a.given = plain(value, &a.ok), value.Type == gjson.String
		case "message":
			a.ok = a.ok && (value.IsObject() || value.Type == gjson.Null)
			value.ForEach(func(key, value gjson.Result) bool {
				switch key.Str {
				case "content":
					a.readContent(value)
				case "refusal":
					a.refusal = plain(value, &a.ok) != ""
				case "reasoning_content", "reasoning": // DeepSeek and vLLM; OpenRouter
					if value.Type == gjson.String {
						a.into.Reasoning = plain(value, &a.ok)
					}
				case "tool_calls":
					a.readToolCalls(value)
				}
				return a.ok
			})
		}
		return a.ok
	})
}

// stopReason reads OpenAI's word, which is ours; an older one is translated, and other servers' have no meaning.
func stopReason(word string) schemas.StopReason {
	switch reason := schemas.StopReason(word); reason {
	case schemas.StopEnd, schemas.StopLength, schemas.StopToolCalls, schemas.StopContentFilter, schemas.StopRefusal:
		return reason
	case "function_call":
		return schemas.StopToolCalls
	}
	return ""
}

// readContent takes a string, or, from some servers, a list of parts of which the texts count.
func (a *answer) readContent(content gjson.Result) {
	if !content.IsArray() {
		a.into.Text, a.given = plain(content, &a.ok), content.Type == gjson.String
		return
	}
	var text strings.Builder
	content.ForEach(func(_, part gjson.Result) bool {
		if a.ok = part.IsObject(); a.ok && part.Get("type").Str == "text" {
			a.given = true
			text.WriteString(plain(part.Get("text"), &a.ok))
		}
		return a.ok
	})
	a.into.Text = text.String()
}

func (a *answer) readToolCalls(calls gjson.Result) {
	calls.ForEach(func(_, call gjson.Result) bool {
		if a.ok = call.IsObject(); a.ok {
			a.into.ToolCalls = append(a.into.ToolCalls, schemas.ToolCall{
				ID: plain(call.Get("id"), &a.ok), Name: plain(call.Get("function.name"), &a.ok),
				Arguments: plain(call.Get("function.arguments"), &a.ok),
			})
		}
		return a.ok
	})
}

// readVectors takes embeddings, which may come in any order.
func (a *answer) readVectors(data gjson.Result) {
	if a.ok = a.ok && data.IsArray(); !a.ok {
		return
	}
	a.vectors = true
	entries := data.Array()
	a.into.Embeddings = make([][]float32, len(entries))
	for i, entry := range entries {
		if index := entry.Get("index"); index.Type == gjson.Number {
			i = int(index.Num)
		}
		vector := entry.Get("embedding")
		if a.ok = i >= 0 && i < len(entries) && a.into.Embeddings[i] == nil && vector.IsArray(); !a.ok {
			return
		}
		numbers := make([]float32, 0, len(vector.Raw)/8)
		vector.ForEach(func(_, number gjson.Result) bool {
			a.ok = number.Type == gjson.Number
			numbers = append(numbers, float32(number.Num))
			return a.ok
		})
		a.into.Embeddings[i] = numbers
	}
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

// readUsage takes the provider's counts, or BasisNone where they are absent or cannot be true.
func readUsage(raw gjson.Result) schemas.Usage {
	none := schemas.Usage{Basis: schemas.BasisNone}
	if !raw.IsObject() {
		return none
	}
	counted := schemas.Usage{Basis: schemas.BasisProvider}
	prompt, ok := (*int64)(nil), true
	set := func(into *int64, value *int64) {
		if value != nil {
			*into = *value
		}
	}
	raw.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "prompt_tokens":
			prompt = count(value, &ok)
		case "completion_tokens":
			set(&counted.OutputTokens, count(value, &ok))
		case "total_tokens":
			set(&counted.TotalTokens, count(value, &ok))
		case "prompt_tokens_details":
			counted.CacheReadInputTokens = count(value.Get("cached_tokens"), &ok)
			counted.InputAudioTokens = count(value.Get("audio_tokens"), &ok)
		case "completion_tokens_details":
			counted.OutputReasoningTokens = count(value.Get("reasoning_tokens"), &ok)
			counted.OutputAudioTokens = count(value.Get("audio_tokens"), &ok)
		}
		return ok
	})
	if !ok || prompt == nil {
		return none
	}
	counted.InputTokens = *prompt
	if counted.TotalTokens == 0 {
		counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	}
	if len(raw.Raw) <= usageLimit {
		counted.Raw = strings.ToValidUTF8(strings.Clone(raw.Raw), "\uFFFD")
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
