package bedrock

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// The limits of a frame of application/vnd.amazon.eventstream, which begins with its length and that of its headers,
// four bytes each, and has 16 bytes beside headers and payload.
const (
	frameLengths  = 8
	frameOverhead = 16
	frameLimit    = 4 << 20 // a frame holds a few tokens
	headersLimit  = 64 << 10
)

// Events reads the frames of ConverseStream. The stop reason comes before the end, and the usage last of all: an answer
// is whole when both have come.
func (f *format) Events(body io.Reader) iter.Seq2[*schemas.Event, error] {
	return func(yield func(*schemas.Event, error) bool) {
		reader := streamReader{body: body, decoder: eventstream.NewDecoder(), gross: f.grossStreams}
		for !reader.stopped || !reader.metered {
			event, err := reader.next()
			if err != nil {
				yield(nil, err)
				return
			}
			if event != nil && !yield(event, nil) {
				return
			}
		}
		if err := malformed(reader.stop); err != nil {
			yield(nil, err)
		}
	}
}

// streamReader is how far a stream has been read.
type streamReader struct {
	body    io.Reader
	decoder *eventstream.Decoder
	frame   bytes.Buffer
	payload []byte
	gross   bool // see readUsage

	stopped, metered bool
	stop             string
	// calls are the answer's tool calls by the number of their content block, which texts are counted in as well.
	calls map[int64]*streamedCall
}

type streamedCall struct {
	index     int
	arguments bool // a piece of them has come
}

// next reads one frame; the event is nil where it says nothing.
func (r *streamReader) next() (*schemas.Event, error) {
	if err := r.readFrame(); err != nil {
		return nil, err
	}
	message, err := r.decoder.Decode(&r.frame, r.payload[:0])
	if err != nil { // all its bytes are here: it is not the connection that failed
		return nil, wire.Shape("a frame of the stream is malformed")
	}
	r.payload = message.Payload
	header := func(name string) string {
		if value, ok := message.Headers.Get(name).(eventstream.StringValue); ok {
			return string(value)
		}
		return ""
	}
	switch header(":message-type") {
	case "exception":
		return nil, problemInside(header(":exception-type"), message.Payload)
	case "error": // of the protocol, and not of the model
		problem := problemInside(header(":error-code"), nil)
		problem.Message = header(":error-message")
		return nil, problem
	}
	if !json.Valid(message.Payload) { // and not gjson.Valid, which has no bound on nesting
		return nil, wire.Shape("an event is not JSON")
	}
	return r.read(header(":event-type"), gjson.ParseBytes(message.Payload))
}

// readFrame takes a frame from the body as it comes: what a length claims is not allocated before it is there.
func (r *streamReader) readFrame() error {
	var lengths [frameLengths]byte
	if _, err := io.ReadFull(r.body, lengths[:]); err != nil {
		return unexpected(err)
	}
	frame, headers := binary.BigEndian.Uint32(lengths[:4]), binary.BigEndian.Uint32(lengths[4:])
	if frame < frameOverhead || frame > frameLimit || headers > headersLimit || headers > frame-frameOverhead {
		return wire.Shape("the stream is not made of frames")
	}
	r.frame.Reset()
	r.frame.Write(lengths[:])
	_, err := io.CopyN(&r.frame, r.body, int64(frame)-frameLengths)
	return unexpected(err)
}

// unexpected is err, but for an end where there should be more.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// read reads one event (API reference, ConverseStreamOutput). A kind that is not known says nothing.
func (r *streamReader) read(kind string, payload gjson.Result) (*schemas.Event, error) {
	ok := payload.IsObject()
	var event *schemas.Event
	switch kind {
	case "contentBlockStart":
		event = r.start(payload, &ok)
	case "contentBlockDelta":
		event = r.delta(payload, &ok)
	case "contentBlockStop":
		if call := r.calls[payload.Get("contentBlockIndex").Int()]; call != nil && !call.arguments {
			call.arguments = true // a tool without arguments gets an empty object, as it does in a whole answer
			event = &schemas.Event{ToolCalls: []schemas.ToolCallPart{{Index: call.index, Arguments: "{}"}}}
		}
	case "messageStop":
		r.stopped, r.stop = true, wire.Plain(payload.Get("stopReason"), &ok)
		event = &schemas.Event{Stop: stopReason(r.stop)}
	case "metadata":
		r.metered = true
		event = &schemas.Event{Model: wire.Plain(payload.Get("trace.promptRouter.invokedModelId"), &ok)}
		if counted := readUsage(payload, r.gross); counted.Basis != schemas.BasisNone {
			event.Usage = &counted
		}
	}
	if !ok {
		return nil, wire.Shape("a field of an event has another type than it must")
	}
	return event, nil
}

func (r *streamReader) start(payload gjson.Result, ok *bool) *schemas.Event {
	use := payload.Get("start.toolUse")
	if !use.IsObject() {
		return nil
	}
	if r.calls == nil {
		r.calls = map[int64]*streamedCall{}
	}
	call := &streamedCall{index: len(r.calls)}
	r.calls[payload.Get("contentBlockIndex").Int()] = call
	return &schemas.Event{ToolCalls: []schemas.ToolCallPart{{
		Index: call.index, ID: wire.Plain(use.Get("toolUseId"), ok), Name: wire.Plain(use.Get("name"), ok),
	}}}
}

func (r *streamReader) delta(payload gjson.Result, ok *bool) *schemas.Event {
	delta := payload.Get("delta")
	event := &schemas.Event{
		Text: wire.Plain(delta.Get("text"), ok), Reasoning: wire.Plain(delta.Get("reasoningContent.text"), ok),
	}
	if input := wire.Plain(delta.Get("toolUse.input"), ok); input != "" {
		call := r.calls[payload.Get("contentBlockIndex").Int()]
		if call == nil {
			*ok = false // a piece of a call that did not begin
			return nil
		}
		call.arguments = true
		event.ToolCalls = []schemas.ToolCallPart{{Index: call.index, Arguments: input}}
	}
	return event
}
