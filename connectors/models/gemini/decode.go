package gemini

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Decode reads generated content or embeddings; which of them, the body says.
func (*format) Decode(body []byte, response *schemas.Response) error {
	a := answer{ok: true}
	a.read(gjson.ParseBytes(body))
	response.Usage = a.usage
	if a.model != "" {
		response.Model = a.model
	}
	response.Text, response.Reasoning = a.text.String(), a.reasoning.String()
	response.ToolCalls, response.Embeddings, response.Stop = a.calls, a.vectors, a.stop
	if a.stop == schemas.StopEnd && len(a.calls) > 0 {
		response.Stop = schemas.StopToolCalls // Google has no word of its own for it
	}
	switch {
	case a.failure && a.candidates == 0:
		problem := readProblem(body)
		return &problem
	case !a.ok:
		return wire.Shape("a field has another type than it must")
	case a.vectors != nil, a.stop == schemas.StopContentFilter:
		return nil
	case a.candidates == 0:
		return wire.Shape("there are no candidates")
	case a.broken:
		return wire.Shape("the model's tool call is malformed")
	case a.given, len(a.calls) > 0, a.stop == schemas.StopLength:
		return nil
	}
	return wire.Shape("the first candidate has no content")
}

// answer is what is read of an answer, or of a chunk of one.
type answer struct {
	text, reasoning strings.Builder
	calls           []schemas.ToolCall
	firstCall       int // how many came in chunks before
	vectors         [][]float32
	stop            schemas.StopReason
	model           string
	usage           schemas.Usage

	candidates int
	given      bool // there is a text, be it empty
	finished   bool // the candidate has ended, or the prompt was blocked
	broken     bool // what the model wrote is no call of a tool
	failure    bool // an error object beside a 200
	ok         bool // false where a field has another type than it must
}

// read takes the usage first: it is paid, whatever the rest is.
func (a *answer) read(root gjson.Result) {
	var candidates, feedback, embeddings, predictions, usage gjson.Result
	if a.ok = root.IsObject(); !a.ok {
		return
	}
	root.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "candidates":
			candidates = value
		case "promptFeedback":
			feedback = value
		case "usageMetadata":
			usage = value
		case "modelVersion":
			a.model = wire.Plain(value, &a.ok)
		case "embeddings":
			embeddings = value
		case "predictions":
			predictions = value
		case "error":
			a.failure = value.Type != gjson.Null
		}
		return true
	})
	a.usage = readUsage(usage)
	if predictions.Exists() {
		a.usage = readStatistics(predictions)
	}
	a.readVectors(embeddings, "values")
	a.readVectors(predictions, "embeddings.values")
	a.ok = a.ok && (candidates.IsArray() || candidates.Type == gjson.Null)
	candidates.ForEach(func(_, candidate gjson.Result) bool {
		if a.candidates++; a.candidates == 1 {
			a.readCandidate(candidate)
		}
		return a.ok
	})
	if blocked := feedback.Get("blockReason"); a.candidates == 0 && wire.Plain(blocked, &a.ok) != "" {
		a.stop, a.finished = schemas.StopContentFilter, true
	}
}

func (a *answer) readCandidate(candidate gjson.Result) {
	if a.ok = a.ok && candidate.IsObject(); !a.ok {
		return
	}
	if reason := wire.Plain(candidate.Get("finishReason"), &a.ok); reason != "" {
		a.finished = true
		a.stop, a.broken = stopReason(reason)
	}
	parts := candidate.Get("content.parts")
	a.ok = a.ok && (parts.IsArray() || parts.Type == gjson.Null)
	parts.ForEach(func(_, part gjson.Result) bool {
		if a.ok = a.ok && part.IsObject(); a.ok {
			a.readPart(part)
		}
		return a.ok
	})
}

func (a *answer) readPart(part gjson.Result) {
	if call := part.Get("functionCall"); call.Exists() {
		a.readCall(call)
		return
	}
	text := part.Get("text")
	if !text.Exists() { // an image, or the output of a tool of Google's, which nobody asked for
		return
	}
	if part.Get("thought").Bool() {
		a.reasoning.WriteString(wire.Plain(text, &a.ok))
		return
	}
	a.given = true
	a.text.WriteString(wire.Plain(text, &a.ok))
}

// readCall reads a call. Where it has no id its place among the calls is one.
func (a *answer) readCall(call gjson.Result) {
	if a.ok = call.IsObject(); !a.ok {
		return
	}
	got := schemas.ToolCall{ID: wire.Plain(call.Get("id"), &a.ok), Name: wire.Plain(call.Get("name"), &a.ok), Arguments: "{}"}
	if got.ID == "" {
		got.ID = "call_" + strconv.Itoa(a.firstCall+len(a.calls))
	}
	if arguments := call.Get("args"); arguments.Type != gjson.Null { // a function without arguments has none
		var compact bytes.Buffer // Google indents
		a.ok = a.ok && arguments.IsObject() && json.Compact(&compact, []byte(arguments.Raw)) == nil
		got.Arguments = strings.ToValidUTF8(compact.String(), "\uFFFD")
	}
	a.calls = append(a.calls, got)
}

// stopReason reads a finishReason (ai.google.dev/api/generate-content, FinishReason); broken is set for those that say
// that the model's own output could not be used. Others, as OTHER, have no meaning here.
func stopReason(word string) (stop schemas.StopReason, broken bool) {
	switch word {
	case "STOP":
		return schemas.StopEnd, false
	case "MAX_TOKENS":
		return schemas.StopLength, false
	case "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return schemas.StopContentFilter, false
	case "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE":
		return "", true
	}
	return "", false
}

// readVectors takes embeddings, which come in the order of the inputs.
func (a *answer) readVectors(list gjson.Result, path string) {
	if !list.Exists() {
		return
	}
	a.ok = a.ok && list.IsArray()
	a.vectors = [][]float32{}
	list.ForEach(func(_, entry gjson.Result) bool {
		values := entry.Get(path)
		if a.ok = a.ok && values.IsArray(); !a.ok {
			return false
		}
		vector := make([]float32, 0, len(values.Raw)/8)
		values.ForEach(func(_, value gjson.Result) bool {
			a.ok = value.Type == gjson.Number && math.Abs(value.Num) <= math.MaxFloat32
			vector = append(vector, float32(value.Num))
			return a.ok
		})
		a.vectors = append(a.vectors, vector)
		return a.ok
	})
}

// readUsage takes the provider's counts, or BasisNone where they are absent or cannot be true. The prompt's count
// includes what was cached; the results of Google's own tools are counted beside it, and thoughts beside the candidates.
func readUsage(raw gjson.Result) schemas.Usage {
	none := schemas.Usage{Basis: schemas.BasisNone}
	if !raw.IsObject() {
		return none
	}
	counted := schemas.Usage{Basis: schemas.BasisProvider}
	var prompt, tools, candidates *int64
	ok := true
	raw.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "promptTokenCount":
			prompt = wire.Count(value, &ok)
		case "toolUsePromptTokenCount":
			tools = wire.Count(value, &ok)
		case "cachedContentTokenCount":
			counted.CacheReadInputTokens = wire.Count(value, &ok)
		case "candidatesTokenCount":
			candidates = wire.Count(value, &ok)
		case "thoughtsTokenCount":
			counted.OutputReasoningTokens = wire.Count(value, &ok)
		case "promptTokensDetails":
			counted.InputAudioTokens = audio(value, &ok)
		case "candidatesTokensDetails":
			counted.OutputAudioTokens = audio(value, &ok)
		case "serviceTier", "trafficType":
			counted.ServiceTier = tier(value.Str)
		}
		return ok
	})
	if !ok || prompt == nil {
		return none
	}
	counted.InputTokens = *prompt + zeroOr(tools)
	counted.OutputTokens = zeroOr(candidates) + zeroOr(counted.OutputReasoningTokens)
	counted.TotalTokens = counted.InputTokens + counted.OutputTokens
	counted.Raw = wire.Verbatim(raw.Raw)
	return counted
}

// tier is the one that served a call: serviceTier at the Gemini API, at Vertex AI the trafficType.
func tier(word string) string {
	word = strings.TrimPrefix(strings.ToLower(word), "service_tier_")
	switch word {
	case "on_demand", "standard", "unspecified", "traffic_type_unspecified":
		return ""
	case "on_demand_flex":
		return "flex"
	case "on_demand_priority":
		return "priority"
	}
	return strings.Clone(strings.ToValidUTF8(word[:min(len(word), reasonLimit)], "\uFFFD"))
}

// audio is the count of sounds among the modalities, nil where there are none.
func audio(details gjson.Result, ok *bool) *int64 {
	var heard *int64
	details.ForEach(func(_, detail gjson.Result) bool {
		if detail.Get("modality").Str == "AUDIO" {
			heard = wire.Count(detail.Get("tokenCount"), ok)
		}
		return *ok
	})
	return heard
}

// readStatistics adds up what Vertex AI counts of each embedding. Several have no usage object: it is their list.
func readStatistics(predictions gjson.Result) schemas.Usage {
	counted, ok := schemas.Usage{Basis: schemas.BasisProvider}, true
	var raw []string
	predictions.ForEach(func(_, prediction gjson.Result) bool {
		statistics := prediction.Get("embeddings.statistics")
		tokens := wire.Count(statistics.Get("token_count"), &ok)
		ok = ok && tokens != nil
		counted.InputTokens += zeroOr(tokens)
		raw = append(raw, statistics.Raw)
		return ok
	})
	if !ok || len(raw) == 0 || counted.InputTokens > wire.TokenLimit {
		return schemas.Usage{Basis: schemas.BasisNone}
	}
	counted.TotalTokens = counted.InputTokens
	if counted.Raw = wire.Verbatim(raw[0]); len(raw) > 1 {
		counted.Raw = wire.Verbatim("[" + strings.Join(raw, ",") + "]")
	}
	return counted
}

func zeroOr(number *int64) int64 {
	if number == nil {
		return 0
	}
	return *number
}
