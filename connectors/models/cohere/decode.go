package cohere

import (
	"math"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
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
	word := wire.Plain(root.Get("finish_reason"), &ok)
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
	reasoning.WriteString(wire.Plain(said.Get("tool_plan"), &ok)) // what the model means to do with the tools
	for _, block := range content.Array() {
		ok = ok && block.IsObject()
		switch block.Get("type").Str {
		case "text":
			text.WriteString(wire.Plain(block.Get("text"), &ok))
		case "thinking":
			reasoning.WriteString(wire.Plain(block.Get("thinking"), &ok))
		}
	}
	for _, call := range calls.Array() {
		ok = ok && call.IsObject()
		response.ToolCalls = append(response.ToolCalls, schemas.ToolCall{
			ID: wire.Plain(call.Get("id"), &ok), Name: wire.Plain(call.Get("function.name"), &ok),
			Arguments: wire.Plain(call.Get("function.arguments"), &ok),
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
			ok = ok && number.Type == gjson.Number && math.Abs(number.Num) <= math.MaxFloat32
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
	input := wire.Count(units.Get("input_tokens"), &ok)
	if input == nil {
		units = raw.Get("tokens")
		input = wire.Count(units.Get("input_tokens"), &ok)
	}
	output := wire.Count(units.Get("output_tokens"), &ok)
	cached := wire.Count(raw.Get("cached_tokens"), &ok)
	if !ok || input == nil {
		return none
	}
	counted := schemas.Usage{InputTokens: *input, CacheReadInputTokens: cached, Basis: schemas.BasisProvider}
	if output != nil { // embeddings have none
		counted.OutputTokens = *output
	}
	counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	counted.Raw = wire.Verbatim(raw.Raw)
	return counted
}
