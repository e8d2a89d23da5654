package openai

import (
	"encoding/json"
	"io"
	"iter"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Events reads a stream of chunks up to "[DONE]". The usage comes in a chunk of its own, after the last choice.
func (*format) Events(body io.Reader) iter.Seq2[*schemas.Event, error] {
	return func(yield func(*schemas.Event, error) bool) {
		refused := false
		for sent, err := range wire.ServerSentEvents(body) {
			if err != nil {
				yield(nil, err)
				return
			}
			if string(sent.Data) == "[DONE]" {
				return
			}
			if !json.Valid(sent.Data) { // and not gjson.ValidBytes, which has no bound on nesting
				yield(nil, wire.Shape("an event is not JSON"))
				return
			}
			event, err := readChunk(sent.Data)
			if event != nil && event.Stop != "" {
				if refused = refused || event.Stop == schemas.StopRefusal; refused { // a refusal ends with "stop", too
					event.Stop = schemas.StopRefusal
				}
			}
			if err != nil || event != nil {
				if !yield(event, err) || err != nil {
					return
				}
			}
		}
		yield(nil, io.ErrUnexpectedEOF)
	}
}

// readChunk reads one event; nil where it says nothing.
func readChunk(data []byte) (*schemas.Event, error) {
	chunk := gjson.ParseBytes(data)
	if failure := chunk.Get("error"); failure.Exists() && failure.Type != gjson.Null {
		problem := wire.ParseProblem(data)
		return nil, &problem
	}
	ok := chunk.IsObject()
	event := &schemas.Event{Model: wire.Plain(chunk.Get("model"), &ok)}
	if usage := chunk.Get("usage"); usage.IsObject() {
		if counted := readUsage(usage); counted.Basis != schemas.BasisNone {
			if tier := chunk.Get("service_tier"); tier.Type == gjson.String {
				counted.ServiceTier = wire.Plain(tier, &ok)
			}
			event.Usage = &counted
		}
	}
	choice := chunk.Get("choices.0") // none beside usage, and in Azure's chunk about the prompt
	if choice.Exists() && choice.Get("index").Num == 0 {
		if err := readDelta(choice, event, &ok); err != nil {
			return nil, err
		}
	}
	switch {
	case !ok:
		return nil, wire.Shape("a field of an event has another type than it must")
	case event.Text == "" && event.Reasoning == "" && event.Stop == "" && event.Usage == nil && len(event.ToolCalls) == 0:
		return nil, nil //nolint:nilnil // it says nothing
	}
	return event, nil
}

func readDelta(choice gjson.Result, event *schemas.Event, ok *bool) error {
	delta := choice.Get("delta")
	if content := delta.Get("content"); content.IsArray() {
		event.Text, event.Reasoning, _ = readParts(content, ok)
	} else {
		event.Text = wire.Plain(content, ok) + wire.Plain(choice.Get("text"), ok)
	}
	for _, name := range []string{"reasoning_content", "reasoning"} {
		if thought := delta.Get(name); thought.Type == gjson.String && event.Reasoning == "" {
			event.Reasoning = wire.Plain(thought, ok)
		}
	}
	word := wire.Plain(choice.Get("finish_reason"), ok)
	if event.Stop = stopReason(word); isBroken(word) {
		return brokenOff()
	}
	if wire.Plain(delta.Get("refusal"), ok) != "" {
		event.Stop = schemas.StopRefusal
	}
	each(delta.Get("tool_calls"), func(call gjson.Result) bool { // null where there are none
		event.ToolCalls = append(event.ToolCalls, schemas.ToolCallPart{
			Index: int(call.Get("index").Num), ID: wire.Plain(call.Get("id"), ok),
			Name: wire.Plain(call.Get("function.name"), ok), Arguments: wire.Plain(call.Get("function.arguments"), ok),
		})
		return *ok
	})
	return nil
}
