package openai

import (
	"math"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
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
	broken  bool // the server says that it broke off in the middle
	tier    string
	ok      bool // false where a field has another type than it must
}

// Decode reads a chat completion, a completion or embeddings; which of them, the body says.
func (*format) Decode(body []byte, response *schemas.Response) error {
	a := answer{into: response, ok: true}
	gjson.ParseBytes(body).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "model":
			if name := wire.Plain(value, &a.ok); name != "" {
				response.Model = name
			}
		case "usage":
			response.Usage = readUsage(value)
		case "service_tier":
			if value.Type == gjson.String {
				a.tier = wire.Plain(value, &a.ok)
			}
		case "error":
			a.failure = value.Exists() && value.Type != gjson.Null
		case "data":
			a.readVectors(value)
		case "choices":
			a.ok = a.ok && (value.IsArray() || value.Type == gjson.Null)
			each(value, func(choice gjson.Result) bool {
				if a.choices++; a.choices == 1 {
					a.readChoice(choice)
				}
				return a.ok
			})
		}
		return true // the usage is paid, whatever is wrong with the rest
	})
	response.Usage.ServiceTier = a.tier
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
	case a.broken:
		return brokenOff()
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
			word := wire.Plain(value, &a.ok)
			a.into.Stop, a.broken = stopReason(word), isBroken(word)
		case "text": // of a completion
			a.into.Text, a.given = wire.Plain(value, &a.ok), value.Type == gjson.String
		case "message":
			a.ok = a.ok && (value.IsObject() || value.Type == gjson.Null)
			value.ForEach(func(key, value gjson.Result) bool {
				switch key.Str {
				case "content":
					a.readContent(value)
				case "refusal":
					a.refusal = wire.Plain(value, &a.ok) != ""
				case "reasoning_content", "reasoning": // DeepSeek and vLLM; OpenRouter and Groq
					if value.Type == gjson.String && a.into.Reasoning == "" {
						a.into.Reasoning += wire.Plain(value, &a.ok)
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

// stopReason reads OpenAI's word, which is ours; others' are translated, or have no meaning.
func stopReason(word string) schemas.StopReason {
	switch reason := schemas.StopReason(word); reason {
	case schemas.StopEnd, schemas.StopLength, schemas.StopToolCalls, schemas.StopContentFilter, schemas.StopRefusal:
		return reason
	}
	switch word {
	case "function_call": // an older one of OpenAI's
		return schemas.StopToolCalls
	case "eos", "end_turn", "stop_sequence": // Together; Claude behind a gateway
		return schemas.StopEnd
	case "model_length", "max_tokens": // Mistral; Claude behind a gateway
		return schemas.StopLength
	case "tool_use":
		return schemas.StopToolCalls
	}
	return ""
}

// isBroken reports whether a server gave up in the middle of an answer: DeepSeek, when its machines are needed elsewhere;
// OpenRouter and Mistral, when the model behind them fails.
func isBroken(word string) bool { return word == "insufficient_system_resource" || word == "error" }

func brokenOff() error {
	return &wire.Problem{Status: http.StatusServiceUnavailable}
}

// readContent takes a string, or, from some servers, a list of parts.
func (a *answer) readContent(content gjson.Result) {
	if !content.IsArray() {
		a.into.Text, a.given = wire.Plain(content, &a.ok), content.Type == gjson.String
		return
	}
	text, reasoning, given := readParts(content, &a.ok)
	a.into.Text, a.given = text, given
	a.into.Reasoning += reasoning
}

// readParts joins the texts of a list of parts, and what Claude behind Databricks (a summary) and Mistral (a list of texts)
// show of their thoughts. given says that there was a text, if an empty one.
func readParts(content gjson.Result, ok *bool) (text, reasoning string, given bool) {
	var texts, thoughts strings.Builder
	each(content, func(part gjson.Result) bool {
		if *ok = *ok && part.IsObject(); !*ok {
			return false
		}
		switch part.Get("type").Str {
		case "text":
			given = true
			texts.WriteString(wire.Plain(part.Get("text"), ok))
		case "reasoning":
			each(part.Get("summary"), func(summary gjson.Result) bool {
				thoughts.WriteString(wire.Plain(summary.Get("text"), ok))
				return *ok
			})
		case "thinking":
			each(part.Get("thinking"), func(thought gjson.Result) bool {
				thoughts.WriteString(wire.Plain(thought.Get("text"), ok))
				return *ok
			})
		}
		return *ok
	})
	return texts.String(), thoughts.String(), given
}

// each walks a list. ForEach alone takes null, or any other value, for a list of itself.
func each(list gjson.Result, read func(element gjson.Result) bool) {
	if list.IsArray() {
		list.ForEach(func(_, element gjson.Result) bool { return read(element) })
	}
}

func (a *answer) readToolCalls(calls gjson.Result) {
	each(calls, func(call gjson.Result) bool { // null where there are none
		if a.ok = call.IsObject(); a.ok {
			a.into.ToolCalls = append(a.into.ToolCalls, schemas.ToolCall{
				ID: wire.Plain(call.Get("id"), &a.ok), Name: wire.Plain(call.Get("function.name"), &a.ok),
				Arguments: wire.Plain(call.Get("function.arguments"), &a.ok),
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
			a.ok = number.Type == gjson.Number && math.Abs(number.Num) <= math.MaxFloat32
			numbers = append(numbers, float32(number.Num))
			return a.ok
		})
		a.into.Embeddings[i] = numbers
	}
}
