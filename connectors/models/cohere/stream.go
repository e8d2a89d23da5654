package cohere

import (
	"encoding/json"
	"io"
	"iter"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Events reads a stream up to message-end, which alone has the usage: a stream that breaks off has none.
func (*format) Events(body io.Reader) iter.Seq2[*schemas.Event, error] {
	return func(yield func(*schemas.Event, error) bool) {
		calls := 0
		for sent, err := range wire.ServerSentEvents(body) {
			var event *schemas.Event
			var problem *wire.Problem
			ended := false
			if err == nil {
				event, problem, ended, err = readEvent(sent.Data, &calls)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if event != nil && !yield(event, nil) {
				return
			}
			if problem != nil {
				yield(nil, problem)
			}
			if ended {
				return
			}
		}
		yield(nil, io.ErrUnexpectedEOF)
	}
}

// readEvent reads one event; nil where it says nothing. A problem comes after what the event says, and both with the end.
// calls are the tool calls begun, one of which is sent after the other.
func readEvent(data []byte, calls *int) (event *schemas.Event, problem *wire.Problem, ended bool, err error) {
	if !json.Valid(data) { // and not gjson.Valid, which has no bound on nesting
		return nil, nil, false, wire.Shape("an event is not JSON")
	}
	root, ok := gjson.ParseBytes(data), true
	delta := root.Get("delta")
	said := delta.Get("message")
	event = &schemas.Event{}
	switch root.Get("type").Str {
	case "content-start", "content-delta":
		event.Text = wire.Plain(said.Get("content.text"), &ok)
		event.Reasoning = wire.Plain(said.Get("content.thinking"), &ok)
	case "tool-plan-delta":
		event.Reasoning = wire.Plain(said.Get("tool_plan"), &ok)
	case "tool-call-start", "tool-call-delta":
		if root.Get("type").Str == "tool-call-start" {
			*calls++
		}
		call := said.Get("tool_calls") // one, whatever the name says
		event.ToolCalls = []schemas.ToolCallPart{{
			Index: *calls - 1, ID: wire.Plain(call.Get("id"), &ok),
			Name: wire.Plain(call.Get("function.name"), &ok), Arguments: wire.Plain(call.Get("function.arguments"), &ok),
		}}
	case "message-end":
		ended = true
		word := wire.Plain(delta.Get("finish_reason"), &ok)
		event.Stop, problem = stopReason(word), broken(word, delta.Get("error").Str)
		if counted := readUsage(delta.Get("usage")); counted.Basis != schemas.BasisNone {
			event.Usage = &counted
		}
	default: // message-start, the ends of what was begun, citations, and types that do not exist yet
		return nil, nil, false, nil
	}
	if !ok {
		return nil, nil, false, wire.Shape("a field of an event has another type than it must")
	}
	return event, problem, ended, nil
}
