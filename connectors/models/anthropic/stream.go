package anthropic

import (
	"encoding/json"
	"io"
	"iter"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Events reads a stream up to message_stop: message_start, then every content block from its start over its deltas to
// its stop, then message_delta. Pings, and types that do not exist yet, are passed over, as the API asks.
func (*format) Events(body io.Reader) iter.Seq2[*schemas.Event, error] {
	return func(yield func(*schemas.Event, error) bool) {
		var s stream
		for sent, err := range wire.ServerSentEvents(body) {
			var event *schemas.Event
			if err == nil {
				event, err = s.read(sent.Data)
			}
			if err != nil {
				s.breakOff(yield, err)
				return
			}
			if event != nil && !yield(event, nil) || s.ended {
				return
			}
		}
		s.breakOff(yield, io.ErrUnexpectedEOF)
	}
}

// stream is what has been seen of one.
type stream struct {
	ended      bool // message_stop came
	began      string
	usage      *schemas.Usage
	final      bool // message_delta has counted
	characters int  // of all that was generated
	calls      int  // tool calls begun
	open       bool // the block that is being sent is the last of them
	input      string
}

// breakOff ends a stream that did not end well. Until message_delta the count of the output is that of its first
// tokens, while all that was generated is paid: an estimate is nearer to the bill.
func (s *stream) breakOff(yield func(*schemas.Event, error) bool, err error) {
	if s.usage != nil && !s.final {
		if output := schemas.EstimateTokens(s.characters); output > s.usage.OutputTokens {
			estimated := *s.usage
			estimated.OutputTokens, estimated.Basis = output, schemas.BasisEstimated
			estimated.TotalTokens = estimated.InputTokens + output
			if !yield(&schemas.Event{Usage: &estimated}, nil) {
				return
			}
		}
	}
	yield(nil, err)
}

// read reads one event; nil where it says nothing.
func (s *stream) read(data []byte) (*schemas.Event, error) {
	if !json.Valid(data) { // and not gjson.Valid, which has no bound on nesting
		return nil, wire.Shape("an event is not JSON")
	}
	root, ok := gjson.ParseBytes(data), true
	event := &schemas.Event{}
	switch root.Get("type").Str {
	case "message_start":
		event.Model = wire.Plain(root.Get("message.model"), &ok)
		event.Usage = s.count(root.Get("message.usage"))
	case "content_block_start":
		s.start(event, root.Get("content_block"), &ok)
	case "content_block_delta":
		s.delta(event, root.Get("delta"), &ok)
	case "content_block_stop":
		s.stop(event)
	case "message_delta":
		event.Stop = stopReason(wire.Plain(root.Get("delta.stop_reason"), &ok))
		if event.Usage = s.count(root.Get("usage")); event.Usage != nil {
			s.final = true
		}
	case "message_stop":
		s.ended = true
		return nil, nil
	case "error":
		problem := readProblem(nil, data)
		return nil, &problem
	default:
		return nil, nil
	}
	if !ok {
		return nil, wire.Shape("a field of an event has another type than it must")
	}
	s.characters += utf8.RuneCountInString(event.Text) + utf8.RuneCountInString(event.Reasoning)
	for i := range event.ToolCalls {
		s.characters += utf8.RuneCountInString(event.ToolCalls[i].Arguments)
	}
	return event, nil
}

// start opens a block. A tool's input is empty here and comes in deltas; it is kept for a server that sends it whole.
func (s *stream) start(event *schemas.Event, block gjson.Result, ok *bool) {
	s.open = false
	switch block.Get("type").Str {
	case "text":
		event.Text = wire.Plain(block.Get("text"), ok)
	case "thinking":
		event.Reasoning = wire.Plain(block.Get("thinking"), ok)
	case "tool_use":
		event.ToolCalls = []schemas.ToolCallPart{{
			Index: s.calls, ID: wire.Plain(block.Get("id"), ok), Name: wire.Plain(block.Get("name"), ok),
		}}
		s.calls++
		s.open, s.input = true, "{}"
		if input := block.Get("input"); input.IsObject() {
			s.input = verbatim(input)
		}
	}
}

func (s *stream) delta(event *schemas.Event, delta gjson.Result, ok *bool) {
	switch delta.Get("type").Str {
	case "text_delta":
		event.Text = wire.Plain(delta.Get("text"), ok)
	case "thinking_delta":
		event.Reasoning = wire.Plain(delta.Get("thinking"), ok)
	case "input_json_delta":
		arguments := wire.Plain(delta.Get("partial_json"), ok)
		if arguments == "" || !s.open { // the input of a tool that runs at Anthropic is none of ours
			return
		}
		s.input = ""
		event.ToolCalls = []schemas.ToolCallPart{{Index: s.calls - 1, Arguments: arguments}}
	}
}

// stop closes a block; a tool without arguments has had no delta of any.
func (s *stream) stop(event *schemas.Event) {
	if s.open && s.input != "" {
		event.ToolCalls = []schemas.ToolCallPart{{Index: s.calls - 1, Arguments: s.input}}
	}
	s.open = false
}

// count takes in a usage object: the whole of it comes first, and in the end what has changed since, in sums so far.
// One object is made of the two, as an answer that is not streamed has it.
func (s *stream) count(raw gjson.Result) *schemas.Usage {
	if !raw.IsObject() || wire.Verbatim(raw.Raw) == "" {
		return nil
	}
	if s.began == "" {
		s.began = verbatim(raw)
	} else {
		raw = gjson.Parse(merge(gjson.Parse(s.began), raw))
	}
	counted := readUsage(raw)
	if counted.Basis == schemas.BasisNone {
		return nil
	}
	s.usage = &counted
	return &counted
}

// merge is an object with the fields of first, in its order, as second has them where it has, and then second's own.
// The values stay as they came.
func merge(first, second gjson.Result) string {
	merged := []byte{'{'}
	add := func(key, value gjson.Result) {
		if len(merged) > 1 {
			merged = append(merged, ',')
		}
		merged = append(append(append(merged, key.Raw...), ':'), value.Raw...)
	}
	newer := second.Map()
	older := first.Map()
	first.ForEach(func(key, value gjson.Result) bool {
		if now, ok := newer[key.Str]; ok && now.Type != gjson.Null {
			value = now
		}
		add(key, value)
		return true
	})
	second.ForEach(func(key, value gjson.Result) bool {
		if _, ok := older[key.Str]; !ok {
			add(key, value)
		}
		return true
	})
	return string(append(merged, '}'))
}
