package openai

import (
	"io"
	"iter"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Events reads a stream of chunks up to "[DONE]". The usage comes in a chunk of its own, after the last choice.
func (*format) Events(body io.Reader) iter.Seq2[*schemas.Event, error] {
	return func(yield func(*schemas.Event, error) bool) {
		for sent, err := range wire.ServerSentEvents(body) {
			if err != nil {
				yield(nil, err)
				return
			}
			if string(sent.Data) == "[DONE]" {
				return
			}
			if !gjson.ValidBytes(sent.Data) {
				yield(nil, wire.Shape("an event is not JSON"))
				return
			}
			event, err := readChunk(sent.Data)
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
	event := &schemas.Event{Model: plain(chunk.Get("model"), &ok)}
	if usage := chunk.Get("usage"); usage.IsObject() {
		if counted := readUsage(usage); counted.Basis != schemas.BasisNone {
			event.Usage = &counted
		}
	}
	choice := chunk.Get("choices.0")
	if choice.Exists() && choice.Get("index").Num == 0 {
		event.Text = plain(choice.Get("delta.content"), &ok) + plain(choice.Get("text"), &ok)
		event.Reasoning = plain(choice.Get("delta.reasoning_content"), &ok)
		event.Stop = stopReason(plain(choice.Get("finish_reason"), &ok))
		if plain(choice.Get("delta.refusal"), &ok) != "" {
			event.Stop = schemas.StopRefusal
		}
		choice.Get("delta.tool_calls").ForEach(func(_, call gjson.Result) bool {
			event.ToolCalls = append(event.ToolCalls, schemas.ToolCallPart{
				Index: int(call.Get("index").Num), ID: plain(call.Get("id"), &ok),
				Name: plain(call.Get("function.name"), &ok), Arguments: plain(call.Get("function.arguments"), &ok),
			})
			return ok
		})
	}
	if !ok {
		return nil, wire.Shape("a field of an event has another type than it must")
	}
	return event, nil
}
