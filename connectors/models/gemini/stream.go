package gemini

import (
	"bytes"
	"encoding/json"
	"io"
	"iter"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// tailLimit is how much of a stream's end is kept, for an error in it.
const tailLimit = 32 << 10

// Events reads a stream of chunks, each of which is an answer of its own. There is no mark of the end but the reason
// why the candidate ended; the usage stands beside it. Where a failure comes as a plain body, as it does before the
// first event, it is what follows the last event.
func (*format) Events(body io.Reader) iter.Seq2[*schemas.Event, error] {
	return func(yield func(*schemas.Event, error) bool) {
		kept := &tail{from: body}
		var whole streamed
		for sent, err := range wire.ServerSentEvents(kept) {
			if err != nil && whole.finished {
				break // nothing was left to come
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !json.Valid(sent.Data) { // and not gjson.Valid, which has no bound on nesting
				yield(nil, wire.Shape("an event is not JSON"))
				return
			}
			event, err := whole.add(sent.Data)
			if event != nil && !yield(event, nil) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
		if problem := kept.problem(); problem != nil {
			yield(nil, problem)
		} else if err := whole.verdict(); err != nil {
			yield(nil, err)
		}
	}
}

// streamed is what is known of the chunks so far.
type streamed struct {
	calls    int
	given    bool
	finished bool
	stop     schemas.StopReason
}

// add reads a chunk; the event is nil where it says nothing. Both are set where a chunk has its usage and is no answer.
func (s *streamed) add(data []byte) (*schemas.Event, error) {
	a := answer{firstCall: s.calls, ok: true}
	a.read(gjson.ParseBytes(data))
	if a.failure {
		problem := readProblem(data)
		return nil, &problem
	}
	event := &schemas.Event{Text: a.text.String(), Reasoning: a.reasoning.String(), Stop: a.stop, Model: a.model}
	for i := range a.calls {
		event.ToolCalls = append(event.ToolCalls, schemas.ToolCallPart{
			Index: s.calls + i, ID: a.calls[i].ID, Name: a.calls[i].Name, Arguments: a.calls[i].Arguments,
		})
	}
	s.calls += len(a.calls)
	s.given = s.given || a.given
	// A count without output is not yet the whole; it would make what was written so far free of charge.
	if a.usage.Basis == schemas.BasisProvider && (a.finished || a.usage.OutputTokens > 0) {
		event.Usage = &a.usage
	}
	if a.finished {
		if a.stop == schemas.StopEnd && s.calls > 0 {
			event.Stop = schemas.StopToolCalls
		}
		s.finished, s.stop = true, event.Stop
	}
	switch {
	case !a.ok:
		return event, wire.Shape("a field of an event has another type than it must")
	case a.broken:
		return event, wire.Shape("the model's tool call is malformed")
	}
	return event, nil
}

// verdict says whether the chunks are an answer.
func (s *streamed) verdict() error {
	switch {
	case !s.finished:
		return io.ErrUnexpectedEOF
	case s.given, s.calls > 0, s.stop == schemas.StopContentFilter, s.stop == schemas.StopLength:
		return nil
	}
	return wire.Shape("the first candidate has no content")
}

// tail hands a stream on and keeps its end.
type tail struct {
	from io.Reader
	kept []byte
}

func (t *tail) Read(into []byte) (int, error) {
	n, err := t.from.Read(into)
	t.kept = append(t.kept, into[:n]...)
	if len(t.kept) > 2*tailLimit {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailLimit:]...)
	}
	return n, err //nolint:wrapcheck // the stream's own error
}

// problem is the plain body after the last event, which ends with an empty line; nil where there is none.
func (t *tail) problem() *wire.Problem {
	text := bytes.TrimSpace(bytes.ReplaceAll(t.kept, []byte("\r\n"), []byte("\n")))
	if end := bytes.LastIndex(text, []byte("\n\n")); end >= 0 {
		text = text[end+2:]
	}
	if len(text) == 0 || text[0] != '{' && text[0] != '[' || !json.Valid(text) {
		return nil
	}
	if root := gjson.ParseBytes(text); !root.Get("error").IsObject() && !root.Get("0.error").IsObject() {
		return nil
	}
	problem := readProblem(text)
	return &problem
}
