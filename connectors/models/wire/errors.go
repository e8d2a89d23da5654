package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// Malformed is the failure of a 2xx whose body is no answer: a proxy's page, a choice of nothing.
func (c *Call) Malformed(answer *Answer, why error) error {
	return &schemas.Error{
		Op: c.Op, Class: schemas.Transient, Code: "malformed_response", HTTPStatus: answer.Status, Err: why,
	}
}

// Miscounted is the failure of an answer to several rows that has more or fewer answers than rows: which of them belongs
// to which row, nobody knows.
func (c *Call) Miscounted(answer *Answer, got, want int, of string) error {
	return &schemas.Error{
		Op: c.Op, Class: schemas.Transient, Code: schemas.CodeAnswerCount, HTTPStatus: answer.Status,
		Err: fmt.Errorf("%d %s came for %d rows", got, of, want),
	}
}

// Truncated is the failure of a 2xx whose body ends before the answer does: it was worked for, and cannot be
// read. Trying again may pay again, which the Answer's PossiblyPaid says.
func (c *Call) Truncated(answer *Answer) error {
	return &schemas.Error{
		Op: c.Op, Class: schemas.Transient, Code: "truncated_response", HTTPStatus: answer.Status,
		Err: fmt.Errorf("the answer broke off after %d bytes", len(answer.Body)),
	}
}

// Rejected is a row that the model answered with a refusal of some kind.
func (c *Call) Rejected(answer *Answer, code string, why error) error {
	return &schemas.Error{Op: c.Op, Class: schemas.Rejected, Code: code, HTTPStatus: answer.Status, Err: why}
}

// Refused is the failure of a 2xx that holds an error object, as gateways send.
func (c *Call) Refused(answer *Answer, problem Problem) error {
	if problem.Status == 0 && !c.knows(problem.Words) {
		problem.Words = nil
		problem.Status = http.StatusInternalServerError // it failed on their side, and says no more
	}
	return c.refused(answer.Status, nil, problem)
}

// knows reports whether one of the words decides by itself.
func (c *Call) knows(words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool {
		_, common := classOfWord(word)
		return common || slices.ContainsFunc(c.Rules, func(rule Rule) bool { return rule.Status == 0 && strings.EqualFold(rule.Word, word) })
	})
}

// refused is the failure of a status that is not 2xx.
func (c *Call) refused(status int, header http.Header, problem Problem) error {
	problem.redact(c.Key)
	class, code := problem.class(status, c.Rules)
	text := fmt.Sprintf("HTTP %d %s", status, code)
	if problem.Message != "" {
		text += ": " + problem.Message
	}
	return &schemas.Error{
		Op: c.Op, Class: class, Code: code, HTTPStatus: status,
		RetryAfter: retryAfter(header, &problem, time.Now()),
		Mend:       c.mend(class, status, code),
		Err:        errors.New(text),
	}
}

// mend says what to change; only what stops the run needs it.
func (c *Call) mend(class schemas.Class, status int, code string) string {
	if class != schemas.Fatal {
		return ""
	}
	switch strings.ToLower(code) {
	case "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated", "payment_required":
		return "the provider's account has no credit left or is closed: add credit there, then run again; what was answered is kept"
	case "model_not_found", "deploymentnotfound", "endpoint_not_found":
		return "check the model's name" + settings(c.ModelField) + " and that the key may use it"
	case "redirected":
		return "check the endpoint's base URL: it must answer by itself, redirects are not followed"
	}
	switch status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone:
		return "check the model's name" + settings(c.ModelField) + " and the endpoint's base URL"
	case http.StatusProxyAuthRequired:
		return "give HTTPS_PROXY a user and a password"
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest, http.StatusOK:
		if c.Key.IsZero() {
			return "no key was sent: name a secret" + settings(c.KeyField)
		}
		return "check the secret" + settings(c.KeyField) + ": it is wrong, revoked or not allowed to use this model"
	}
	return ""
}

func settings(field string) string {
	if field == "" {
		return ""
	}
	return " under " + field
}

// unanswered is the failure of a call to which no status line came.
func (c *Call) unanswered(ctx context.Context, err error, sent bool) error {
	failure := &schemas.Error{Op: c.Op, Class: schemas.Transient, Err: err}
	if sent {
		// Nobody knows whether it was served. Only a key that makes the provider answer twice for the price of
		// one would help, and chat completions have none.
		failure.Class = schemas.Ambiguous
	}
	switch {
	case ctx.Err() != nil:
		failure.Code, failure.Err = contextFailure(ctx)
	case isTimeout(err):
		// Not wrapped: the net package's timeouts claim to be context.DeadlineExceeded.
		failure.Code, failure.Err = "connect_timeout", errors.New("no connection in time")
	case sent:
		c.lost(failure, err)
	default:
		c.unsent(failure, err)
	}
	return failure
}

// lost names how an answer that should have come did not.
func (*Call) lost(failure *schemas.Error, err error) {
	switch {
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		failure.Code, failure.Err = "connection_reset", errors.New("the connection was reset before an answer came")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		failure.Code, failure.Err = "connection_closed", errors.New("the connection was closed before an answer came")
	default:
		// Not wrapped: net/http quotes what it could not parse, and that is the other side's text.
		failure.Code, failure.Err = "no_answer", errors.New("the connection ended before an answer came, or the answer is not HTTP")
	}
}

// unsent names why nothing went out. Most of it passes; what is plainly a wrong setting does not.
func (c *Call) unsent(failure *schemas.Error, err error) {
	failure.Code = "send_failed"
	switch {
	case isPlainHTTP(err): // https:// to a server that speaks http
		failure.Class, failure.Code = schemas.Fatal, "scheme_mismatch"
		failure.Mend = "write http:// in the endpoint's base URL"
	case isCertificate(err): // trust does not come back by itself
		failure.Class, failure.Code = schemas.Fatal, "certificate_not_trusted"
		failure.Mend = "check the host in the base URL, or add its authority to this machine's certificates"
	case errors.Is(err, syscall.ECONNREFUSED):
		failure.Code = "connection_refused"
		failure.Err = fmt.Errorf("nothing listens at %s", c.URL.Host)
	case isDNS(err): // a name that does not exist today may be a resolver that restarts
		failure.Code = "host_not_found"
		failure.Err = fmt.Errorf("the name of %s does not resolve", c.URL.Host)
	case isDial(err):
		failure.Code = "connect_failed"
	}
}

// brokenOff is the failure of a 2xx whose body could not be read to its end.
func (c *Call) brokenOff(ctx context.Context, status int, err error) error {
	failure := &schemas.Error{Op: c.Op, Class: schemas.Transient, Code: "truncated_response", HTTPStatus: status}
	switch {
	case ctx.Err() != nil:
		failure.Code, failure.Err = contextFailure(ctx)
		failure.Class = schemas.Ambiguous
	case errors.Is(err, errTooLarge):
		failure.Code = schemas.CodeResponseTooLarge
		failure.Err = fmt.Errorf("the answer is longer than %d MiB; the connection was closed", BodyLimit>>20)
	default:
		failure.Err = errors.New("the answer broke off: the connection ended first")
	}
	return failure
}

// contextFailure wraps the reason so that the caller finds its own cancellation again.
func contextFailure(ctx context.Context) (string, error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return "canceled", fmt.Errorf("given up: %w", ctx.Err())
	}
	return "timeout", context.Cause(ctx) //nolint:wrapcheck // whoever set the deadline says what it means
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func isDial(err error) bool {
	operation, ok := errors.AsType[*net.OpError](err)
	return ok && operation.Op == "dial"
}

func isPlainHTTP(err error) bool {
	record, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok && string(record.RecordHeader[:]) == "HTTP/"
}

func isDNS(err error) bool {
	_, ok := errors.AsType[*net.DNSError](err)
	return ok
}

func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}
