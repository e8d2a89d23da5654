package cohere

import (
	"math"
	"net/http"
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

// Decode reads a chat's answer or embeddings; which of them, the body says. Neither names the model.
func (*format) Decode(body []byte, response *schemas.Response) error {
	root, ok := gjson.ParseBytes(body), true
	if vectors := root.Get("embeddings"); vectors.Exists() {
		response.Usage = readUsage(root.Get("meta"))
		if response.Embeddings = readVectors(vectors.Get("float")); response.Embeddings == nil {
			return wire.Shape("the embeddings are not lists of numbers")
		}
		return nil
	}
	response.Usage = readUsage(root.Get("usage"))
	word := plain(root.Get("finish_reason"), &ok)
	if problem := broken(word, ""); problem != nil {
		return problem
	}
	response.Stop = stopReason(word)
	said := root.Get("message")
	if !ok || !said.IsObject() {
		return wire.Shape("there is no message")
	}
	content, calls := said.Get("content"), said.Get("tool_calls")
	if !content.IsArray() && !calls.IsArray() && response.Stop != schemas.StopLength {
		return wire.Shape("there is no content")
	}
	var text, reasoning strings.Builder
	reasoning.WriteString(plain(said.Get("tool_plan"), &ok)) // what the model means to do with the tools
	for _, block := range content.Array() {
		ok = ok && block.IsObject()
		switch block.Get("type").Str {
		case "text":
			text.WriteString(plain(block.Get("text"), &ok))
		case "thinking":
			reasoning.WriteString(plain(block.Get("thinking"), &ok))
		}
	}
	for _, call := range calls.Array() {
		ok = ok && call.IsObject()
		response.ToolCalls = append(response.ToolCalls, schemas.ToolCall{
			ID: plain(call.Get("id"), &ok), Name: plain(call.Get("function.name"), &ok),
			Arguments: plain(call.Get("function.arguments"), &ok),
		})
	}
	response.Text, response.Reasoning = text.String(), reasoning.String()
	if !ok {
		return wire.Shape("a field has another type than it must")
	}
	return nil
}

// broken is the problem that a finish reason stands for; nil where the answer came to an end of its own.
func broken(word, message string) *wire.Problem {
	switch word {
	case "ERROR":
		return &wire.Problem{Status: http.StatusInternalServerError, Message: message}
	case "TIMEOUT":
		return &wire.Problem{Status: http.StatusGatewayTimeout, Message: message}
	}
	return nil
}

func stopReason(word string) schemas.StopReason {
	switch word {
	case "COMPLETE", "STOP_SEQUENCE":
		return schemas.StopEnd
	case "MAX_TOKENS":
		return schemas.StopLength
	case "TOOL_CALL":
		return schemas.StopToolCalls
	}
	return ""
}

// readVectors is nil where the vectors are not what they must be.
func readVectors(list gjson.Result) [][]float32 {
	if !list.IsArray() {
		return nil
	}
	vectors, ok := [][]float32{}, true
	list.ForEach(func(_, vector gjson.Result) bool {
		ok = vector.IsArray()
		numbers := make([]float32, 0, len(vector.Raw)/8)
		vector.ForEach(func(_, number gjson.Result) bool {
			ok = ok && number.Type == gjson.Number
			numbers = append(numbers, float32(number.Num))
			return ok
		})
		vectors = append(vectors, numbers)
		return ok
	})
	if !ok {
		return nil
	}
	return vectors
}

// readUsage takes the provider's counts, or BasisNone where they are absent or cannot be true. Cohere counts twice, and
// bills billed_units: tokens has in it what Cohere puts around a prompt, which it does not charge for. Only where
// nothing is said to be billed (a deployment of one's own) do tokens stand in.
func readUsage(raw gjson.Result) schemas.Usage {
	none := schemas.Usage{Basis: schemas.BasisNone}
	if !raw.IsObject() {
		return none
	}
	ok := true
	units := raw.Get("billed_units")
	input := count(units.Get("input_tokens"), &ok)
	if input == nil {
		units = raw.Get("tokens")
		input = count(units.Get("input_tokens"), &ok)
	}
	output := count(units.Get("output_tokens"), &ok)
	cached := count(raw.Get("cached_tokens"), &ok)
	if !ok || input == nil {
		return none
	}
	counted := schemas.Usage{InputTokens: *input, CacheReadInputTokens: cached, Basis: schemas.BasisProvider}
	if output != nil { // embeddings have none
		counted.OutputTokens = *output
	}
	counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	if len(raw.Raw) <= usageLimit {
		counted.Raw = strings.Clone(strings.ToValidUTF8(raw.Raw, "\uFFFD"))
	}
	return counted
}

// count is a number of tokens, nil where there is none; what no call can have counted is not ok. The API has them as
// doubles: 5.0 is five.
func count(value gjson.Result, ok *bool) *int64 {
	if value.Type == gjson.Null { // absent as well
		return nil
	}
	number, err := strconv.ParseFloat(value.Raw, 64)
	if err != nil || number != math.Trunc(number) || number < 0 || number > tokenLimit {
		*ok = false
		return nil
	}
	tokens := int64(number)
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
