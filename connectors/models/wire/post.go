package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// The limits of a body read.
const (
	// BodyLimit is the longest answer that is read; the connection of a longer one is closed.
	BodyLimit = 16 << 20
	// errorBodyLimit is how much of a failed call's body is looked at for the provider's message.
	errorBodyLimit = 64 << 10
	// presizeLimit caps what a Content-Length may make us allocate before a byte of it came.
	presizeLimit = 64 << 10
	// ordinaryLimit is the length up to which every call reads its answer at once. Of longer ones only
	// largeBodies are read at a time: a thousand calls in flight must not become a thousand BodyLimits.
	ordinaryLimit = 256 << 10
	largeBodies   = 4
)

// Call is one POST to a model.
type Call struct {
	Op     string         // what errors begin with, "openai: chat completion"
	URL    *url.URL       // never shown in an error: a provider may want a key in it
	Header http.Header    // the call's own, not nil
	Body   []byte         // must not change before Post returns
	Key    schemas.Secret // removed from whatever the provider says
	// KeyField and ModelField name the settings to mend when the key or the model is refused,
	// "openai_api_key".
	KeyField   string
	ModelField string
	// Rules are the provider's own words and statuses; they go before the common ones.
	Rules []Rule
	// Problem reads the provider's account of a failure; nil is ParseProblem.
	Problem func(header http.Header, body []byte) Problem
}

func (c *Call) problem(header http.Header, body []byte) Problem {
	if c.Problem != nil {
		return c.Problem(header, body)
	}
	return ParseProblem(body)
}

// Answer is what came back, also beside an error: as much of it as was seen.
type Answer struct {
	Status      int // 0: no status line came
	ContentType string
	Body        []byte        // only of a 2xx; an error's body stays here
	FirstByte   time.Duration // from the call to the first byte of the answer; 0: no byte came
	// PossiblyPaid says that the whole request went out and no answer denies that it was served. It is the
	// one thing to look at when a failed call is put on the bill.
	PossiblyPaid bool
}

// Post sends the call once, and once only, and reads the answer. It blocks until the last byte or the
// end of ctx, and where ctx has no deadline no longer than the client's timeout. Every error is a *schemas.Error; where
// ctx ended, errors.Is finds its reason.
//
// What is known of a failure:
//
//	nothing or a part of the request went out   Transient, nothing to pay
//	all of it went out, no status line came     Ambiguous, possibly paid
//	a status of 3xx, 4xx, 5xx                   as the tables in status.go say, nothing to pay
//	a 2xx whose body breaks off or is endless   Transient, possibly paid
func Post(ctx context.Context, client *Client, call *Call) (Answer, error) {
	var answer Answer
	err := client.exchange(ctx, call, &answer, func(ctx context.Context, response *http.Response) (err error) {
		answer.Body, err = client.readBody(ctx, response, BodyLimit)
		if err != nil {
			answer.Body = nil
			return call.brokenOff(ctx, answer.Status, err)
		}
		return nil
	})
	return answer, err
}

// exchange sends the call and hands a 2xx to read. Where the deadline is the client's own, read's ctx has it.
func (c *Client) exchange(
	ctx context.Context, call *Call, answer *Answer, read func(context.Context, *http.Response) error,
) error {
	start := time.Now()
	var firstByte atomic.Int64 // the trace runs on the connection's goroutine, perhaps after RoundTrip has returned
	var sending delivery
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("no answer within %s", c.timeout))
		defer cancel()
	}
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(info httptrace.GotConnInfo) { sending.begin(info.Conn) },
		GotFirstResponseByte: func() { firstByte.Store(int64(time.Since(start))) },
	})

	// Built by hand, because http.NewRequest would set GetBody, with which the transport may replay the POST.
	// For the same reason no header may be called Idempotency-Key: net/http takes that as a permission. The body is
	// a reader in memory, which goes out with the headers in one write; before any other the transport flushes them.
	request := (&http.Request{
		Method: http.MethodPost, URL: call.URL, Host: call.URL.Host, Header: call.Header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(bytes.NewReader(call.Body)), ContentLength: int64(len(call.Body)),
	}).WithContext(traced)

	response, err := c.RoundTrip(request)
	answer.FirstByte = time.Duration(firstByte.Load())
	if err != nil {
		answer.PossiblyPaid = sending.possiblySent(len(call.Body))
		return call.unanswered(ctx, err, answer.PossiblyPaid)
	}
	defer response.Body.Close() //nolint:errcheck // the bytes are read or given up; nothing is left to learn

	answer.Status = response.StatusCode
	answer.ContentType = strings.ToValidUTF8(response.Header.Get("Content-Type"), "\uFFFD")
	if answer.Status < 200 || answer.Status > 299 {
		// However much of it can be read will do: the status alone decides.
		text, _ := c.readBody(ctx, response, errorBodyLimit)
		return call.refused(answer.Status, response.Header, call.problem(response.Header, text))
	}
	answer.PossiblyPaid = true
	return read(ctx, response)
}

var errTooLarge = errors.New("the body is longer than allowed")

// readBody reads a body up to limit; what was read until an error comes with it.
func (c *Client) readBody(ctx context.Context, response *http.Response, limit int64) ([]byte, error) {
	var buffer bytes.Buffer
	buffer.Grow(int(min(max(response.ContentLength, 0), presizeLimit)) + bytes.MinRead)
	n, err := buffer.ReadFrom(io.LimitReader(response.Body, min(limit, ordinaryLimit)+1))
	if err == nil && n > ordinaryLimit {
		if err := c.large.Acquire(ctx, 1); err != nil {
			return buffer.Bytes(), err //nolint:wrapcheck // ctx's own error
		}
		defer c.large.Release(1)
		buffer.Grow(int(limit-n) + bytes.MinRead)
		var rest int64
		rest, err = buffer.ReadFrom(io.LimitReader(response.Body, limit+1-n))
		n += rest
	}
	if err == nil && n > limit {
		buffer.Truncate(int(limit))
		err = errTooLarge
	}
	return buffer.Bytes(), err
}
