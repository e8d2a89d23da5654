package openai

import (
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// Decode reads a response object.
func (*responses) Decode(body []byte, response *schemas.Response) error {
	root, ok := gjson.ParseBytes(body), true
	if name := wire.Plain(root.Get("model"), &ok); name != "" {
		response.Model = name
	}
	response.Usage = responseUsage(root)
	if problem := responseProblem(root); problem != nil {
		return problem
	}
	var texts, thoughts strings.Builder
	given, refused := false, false
	output := root.Get("output")
	ok = ok && output.IsArray()
	each(output, func(item gjson.Result) bool {
		switch item.Get("type").Str {
		case "message":
			each(item.Get("content"), func(part gjson.Result) bool {
				switch part.Get("type").Str {
				case "output_text":
					given = true
					texts.WriteString(wire.Plain(part.Get("text"), &ok))
				case "refusal":
					refused = true
				}
				return ok
			})
		case "function_call":
			response.ToolCalls = append(response.ToolCalls, schemas.ToolCall{
				ID: wire.Plain(item.Get("call_id"), &ok), Name: wire.Plain(item.Get("name"), &ok), Arguments: wire.Plain(item.Get("arguments"), &ok),
			})
		case "reasoning":
			each(item.Get("summary"), func(part gjson.Result) bool {
				if thoughts.Len() > 0 {
					thoughts.WriteString("\n\n")
				}
				thoughts.WriteString(wire.Plain(part.Get("text"), &ok))
				return ok
			})
		}
		return ok
	})
	if !ok {
		return wire.Shape("a field has another type than it must")
	}
	response.Text, response.Reasoning = texts.String(), thoughts.String()
	response.Stop = endOf(root, refused, len(response.ToolCalls) > 0)
	switch status := root.Get("status").Str; {
	case status == "incomplete", refused, given, len(response.ToolCalls) > 0:
		return nil
	case status != "completed" && status != "":
		return wire.Shape("the response is not complete")
	}
	return wire.Shape("the output has no text")
}

func responseUsage(root gjson.Result) schemas.Usage {
	counted := readUsage(root.Get("usage"))
	if tier := root.Get("service_tier"); tier.Type == gjson.String {
		ok := true
		counted.ServiceTier = wire.Plain(tier, &ok)
	}
	return counted
}

// endOf is why a response ended; in a response, the status says so, and the items in it.
func endOf(root gjson.Result, refused, calls bool) schemas.StopReason {
	switch {
	case refused:
		return schemas.StopRefusal
	case root.Get("status").Str == "incomplete":
		switch root.Get("incomplete_details.reason").Str {
		case "max_output_tokens":
			return schemas.StopLength
		case "content_filter":
			return schemas.StopContentFilter
		}
		return ""
	case calls:
		return schemas.StopToolCalls
	}
	return schemas.StopEnd
}

// responseProblem is the error of a response that failed, nil where there is none.
func responseProblem(root gjson.Result) *wire.Problem {
	failure := root.Get("error")
	if root.Get("status").Str != "failed" && (!failure.Exists() || failure.Type == gjson.Null) {
		return nil
	}
	// The object alone: beside it, "failed" is a status and no word for anything.
	problem := wire.ParseProblem([]byte(`{"error":` + rawOrNull(failure) + `}`))
	if len(problem.Words) > 0 && isImageFault(problem.Words[0]) {
		problem.Status = http.StatusBadRequest // as it would have been, had the provider looked before it answered
	}
	return &problem
}

func rawOrNull(value gjson.Result) string {
	if value.Raw == "" {
		return "null"
	}
	return value.Raw
}

// maxCalls is more than any model calls tools at once.
const maxCalls = 128

// reading is where a stream is.
type reading struct {
	refused, thought bool
	calls            []float64 // the output_index of every tool call, by the call's own index
}

// Events reads a stream of named events up to the response's last: completed, incomplete or failed.
func (*responses) Events(body io.Reader) iter.Seq2[*schemas.Event, error] {
	return func(yield func(*schemas.Event, error) bool) {
		var at reading
		for sent, err := range wire.ServerSentEvents(body) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !json.Valid(sent.Data) { // and not gjson.ValidBytes, which has no bound on nesting
				yield(nil, wire.Shape("an event is not JSON"))
				return
			}
			event, last, err := at.read(gjson.ParseBytes(sent.Data))
			if event != nil && !yield(event, nil) {
				return
			}
			if err != nil { // what was counted until the failure has gone before it
				yield(nil, err)
			}
			if err != nil || last {
				return
			}
		}
		yield(nil, io.ErrUnexpectedEOF)
	}
}

// read reads one event by its type: nil where it says nothing; last after the end.
func (r *reading) read(data gjson.Result) (event *schemas.Event, last bool, err error) {
	ok := data.IsObject()
	switch kind := data.Get("type").Str; kind {
	case "response.output_text.delta":
		event = &schemas.Event{Text: wire.Plain(data.Get("delta"), &ok)}
	case "response.refusal.delta", "response.refusal.done":
		r.refused = true
	case "response.reasoning_summary_part.added":
		if r.thought {
			event = &schemas.Event{Reasoning: "\n\n"}
		}
		r.thought = true
	case "response.reasoning_summary_text.delta":
		r.thought = true
		event = &schemas.Event{Reasoning: wire.Plain(data.Get("delta"), &ok)}
	case "response.output_item.added":
		if item := data.Get("item"); item.Get("type").Str == "function_call" && len(r.calls) < maxCalls {
			r.calls = append(r.calls, data.Get("output_index").Num)
			event = &schemas.Event{ToolCalls: []schemas.ToolCallPart{{
				Index: len(r.calls) - 1, ID: wire.Plain(item.Get("call_id"), &ok), Name: wire.Plain(item.Get("name"), &ok),
				Arguments: wire.Plain(item.Get("arguments"), &ok),
			}}}
		}
	case "response.function_call_arguments.delta":
		if i := r.call(data.Get("output_index").Num); i >= 0 {
			event = &schemas.Event{ToolCalls: []schemas.ToolCallPart{{Index: i, Arguments: wire.Plain(data.Get("delta"), &ok)}}}
		}
	case "response.completed", "response.incomplete", "response.failed":
		return r.end(data.Get("response"), ok)
	case "error":
		problem := wire.ParseProblem([]byte(data.Raw))
		problem.Words = slices.DeleteFunc(problem.Words, func(word string) bool { return word == "error" }) // the event's type
		return nil, true, &problem
	}
	if !ok {
		return nil, true, wire.Shape("a field of an event has another type than it must")
	}
	return event, false, nil
}

func (r *reading) end(root gjson.Result, ok bool) (*schemas.Event, bool, error) {
	event := &schemas.Event{Model: wire.Plain(root.Get("model"), &ok)}
	if counted := responseUsage(root); counted.Basis != schemas.BasisNone {
		event.Usage = &counted
	}
	if !ok || !root.IsObject() {
		return nil, true, wire.Shape("a field of an event has another type than it must")
	}
	if problem := responseProblem(root); problem != nil {
		return event, true, problem
	}
	event.Stop = endOf(root, r.refused, len(r.calls) > 0)
	return event, true, nil
}

// call is the index of the tool call at a place of the output, -1 where none was announced.
func (r *reading) call(output float64) int {
	return slices.Index(r.calls, output)
}
