package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

// lineLimit is the longest line of an event stream: an image in base64 is the longest that a model sends.
const lineLimit = BodyLimit

// ServerSentEvent is one event of a text/event-stream.
type ServerSentEvent struct {
	Name string // empty where the stream has no names
	Data []byte // valid until the next event
}

// ServerSentEvents reads an event stream (WHATWG HTML §9.2). It yields an error where the stream breaks off in the
// middle of an event, and ends where it ends between two: whether that was the end, the format knows.
func ServerSentEvents(body io.Reader) iter.Seq2[ServerSentEvent, error] {
	return func(yield func(ServerSentEvent, error) bool) {
		lines := bufio.NewScanner(body)
		lines.Buffer(make([]byte, 0, 4<<10), lineLimit)
		var event ServerSentEvent
		seen := false
		for lines.Scan() {
			line := lines.Bytes() // Scanner takes \n and \r\n; a \r alone no provider sends
			if len(line) == 0 {
				if seen && !yield(event, nil) {
					return
				}
				event, seen = ServerSentEvent{Data: event.Data[:0]}, false
				continue
			}
			field, value, _ := bytes.Cut(line, []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch string(field) {
			case "event":
				event.Name = string(value)
			case "data":
				if seen {
					event.Data = append(event.Data, '\n')
				}
				event.Data, seen = append(event.Data, value...), true
			}
		}
		switch err := lines.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			yield(ServerSentEvent{}, errTooLarge)
		case err != nil:
			yield(ServerSentEvent{}, err)
		case seen: // some servers leave out the last empty line
			yield(event, nil)
		}
	}
}
