package schemas

import (
	"errors"
	"fmt"
	"time"
)

// Class says what may be done about a failure. It is decided once, where the wire was seen, and never
// guessed again from an error's text.
type Class uint8

// The classes, in the order of what they cost the run. The zero value is Fatal: a failure that nobody
// classified stops the run instead of being retried in the dark.
const (
	// Fatal is a bug, a bad configuration or a missing permission: stop and say how to mend it.
	Fatal Class = iota
	// Transient is a reset, a timeout or a 5xx: try again, then the next destination.
	Transient
	// Throttled is a 429, 529 or a quota: wait as told; no retry is spent.
	Throttled
	// Rejected is a row that can never work: it is written with its error and the run goes on.
	Rejected
	// Ambiguous was sent and not answered: it may have been paid, or committed.
	Ambiguous
)

// String returns the class as it stands in the error column.
func (c Class) String() string {
	switch c {
	case Fatal:
		return "FATAL"
	case Transient:
		return "TRANSIENT"
	case Throttled:
		return "THROTTLED"
	case Rejected:
		return "REJECTED"
	case Ambiguous:
		return "AMBIGUOUS"
	}
	return fmt.Sprintf("CLASS_%d", uint8(c))
}

// Error is a classified failure. Its text never holds a prompt, an answer or a secret.
type Error struct {
	Op         string        // what was being done, "openai: chat completion"
	Class      Class         // what may be done about it
	Code       string        // a stable word for SQL, "context_length_exceeded"
	HTTPStatus int           // 0 where no status line was seen
	RetryAfter time.Duration // how long the other side asked to wait; 0 where it did not say
	Mend       string        // the next thing to type or change; may be empty
	Err        error         // the cause; never nil
}

// Error says what failed and, where known, how to mend it.
func (e *Error) Error() string {
	text := e.Err.Error()
	if e.Op != "" {
		text = e.Op + ": " + text
	}
	if e.Mend != "" {
		text += "\n  " + e.Mend
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of the outermost classified error in err's chain, Fatal where there is none.
func ClassOf(err error) Class {
	if classified, ok := errors.AsType[*Error](err); ok {
		return classified.Class
	}
	return Fatal
}

// Sentinels that decide an exit code or a commit. Match them with errors.Is.
var (
	// ErrPermission is a missing privilege.
	ErrPermission = errors.New("permission denied")
	// ErrFenced is a commit refused because the sink's marks are not the ones it continues from:
	// another run did that work.
	ErrFenced = errors.New("another run has moved on from these marks")
	// ErrInvalid is a job file, a table or an option that cannot work as written.
	ErrInvalid = errors.New("invalid")
)

// The codes of failed answers to several rows that fewer of them may have.
const (
	CodeResponseTooLarge = "response_too_large"
	CodeAnswerCount      = "answer_count" // more or fewer answers than rows
)
