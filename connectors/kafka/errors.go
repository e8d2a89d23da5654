package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/inflowhq/inflow/schemas"
)

// The codes of this package's errors.
const (
	codeAuthentication = "authentication_failed"
	codePermission     = "permission_denied"
	codeUnknownHost    = "unknown_host"
	codeUnknownTopic   = "unknown_topic"
	codeTLS            = "tls_failed"
	codeUnavailable    = "broker_unavailable"
	codeRecordsLost    = "records_lost"
	codeMadeAnew       = "topic_made_anew"
	codeTooLarge       = "record_too_large"
	codeCorrupt        = "corrupt_batch"
	codeOldFormat      = "old_message_format"
	codeMarksTooLarge  = "marks_too_large"
	codeUndecodable    = "undecodable"
)

// errFormat is what a broker sent and cannot have meant.
var errFormat = errors.New("malformed response")

// classify gives what was seen on the wire its class. Errors that have one keep it, and those of a context that ended
// stay what they are.
func (c *Connection) classify(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Canceled
	}
	if _, ok := errors.AsType[*schemas.Error](err); ok {
		return err
	}
	out := &schemas.Error{Op: op, Class: schemas.Transient, Code: codeUnavailable, Err: err}
	if code, ok := errors.AsType[kafka.Error](err); ok {
		brokerError(out, code)
		return out
	}
	switch {
	case isUnknownHost(err):
		out.Code, out.Mend = codeUnknownHost, "correct the host names under kafka.brokers"
		if !c.reached.Load() { // brokers that are restarted may be without a name for a while
			out.Class = schemas.Fatal
		}
	case isTLS(err):
		out.Class, out.Code, out.Mend = schemas.Fatal, codeTLS, "check kafka.tls: the CA that signed the brokers' certificates, the server name, "+
			"the client certificate, and that this port speaks TLS"
	case errors.Is(err, errFormat):
		out.Class, out.Code = schemas.Fatal, codeCorrupt
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if !c.reached.Load() { // the usual way in which a listener says that it expected something else
			out.Mend = "if the brokers expect TLS or SASL, set kafka.tls and kafka.sasl"
		}
	case isNetwork(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
	default:
		out.Class, out.Code = schemas.Fatal, ""
	}
	return out
}

// brokerError classifies what a broker answered with.
func brokerError(out *schemas.Error, code kafka.Error) {
	switch code { //nolint:exhaustive // the others are as kafka-go has them: temporary or not
	case kafka.SASLAuthenticationFailed:
		out.Class, out.Code, out.Mend = schemas.Fatal, codeAuthentication, "check the user name and the secret under kafka.sasl"
	case kafka.UnsupportedSASLMechanism, kafka.IllegalSASLState:
		out.Class, out.Code, out.Mend = schemas.Fatal, codeAuthentication, "ask which kafka.sasl.mechanism the brokers' listener has"
	case kafka.TopicAuthorizationFailed, kafka.GroupAuthorizationFailed, kafka.ClusterAuthorizationFailed,
		kafka.BrokerAuthorizationFailed, kafka.TransactionalIDAuthorizationFailed:
		out.Class, out.Code, out.Err = schemas.Fatal, codePermission, fmt.Errorf("%w: %w", code, schemas.ErrPermission)
		out.Mend = "kafka-acls --add --allow-principal User:... --operation Read --operation Write --operation Describe --topic ... --group ..."
	case kafka.UnknownTopicOrPartition: // also where the news of a topic has not gone round yet
		out.Code = codeUnknownTopic
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge:
		out.Class, out.Code = schemas.Fatal, codeTooLarge
	case kafka.InvalidSessionTimeout:
		out.Class, out.Mend = schemas.Fatal, "set the group's session timeout between the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms"
		out.Code = ""
	case kafka.UnknownMemberId, kafka.IllegalGeneration, kafka.RebalanceInProgress, kafka.Unknown,
		kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend:
	case kafka.ThrottlingQuotaExceeded:
		out.Class, out.Code = schemas.Throttled, "quota_exceeded"
	default:
		if !code.Temporary() {
			out.Class, out.Code = schemas.Fatal, ""
		}
	}
}

func isUnknownHost(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.HostnameError](err)
	if !ok {
		// An alert of the other side is an unexported type in an OpError of this name.
		op, is := errors.AsType[*net.OpError](err)
		ok = is && op.Op == "remote error"
	}
	return ok
}

func isNetwork(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// The waits between attempts.
const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// persist calls do until it succeeds or fails for good. patience bounds how long it tries, 0: for as long as ctx lives.
// Its error is do's, or ctx's.
func (c *Connection) persist(ctx context.Context, patience time.Duration, do func(context.Context) error) error {
	trouble := c.outages.party()
	defer trouble.over(false)
	began := time.Now()
	for attempt := 0; ; attempt++ {
		err := do(ctx)
		if err == nil {
			trouble.over(true)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		class := schemas.ClassOf(err)
		if class != schemas.Transient && class != schemas.Throttled || patience > 0 && time.Since(began) > patience {
			return err
		}
		if attempt > 0 { // an idle connection that was closed is no outage
			trouble.began(ctx, err)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// pause waits before the next attempt: not at all after the first failure, then longer every time.
func pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return ctx.Err()
	}
	wait := min(minBackoff<<min(attempt-1, 10), maxBackoff)
	wait = wait/2 + rand.N(wait/2+1) //nolint:gosec // so that not all come at once
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// outages tells once when the brokers go away and once when they are back, however many partitions notice.
type outages struct {
	logger *slog.Logger
	mu     sync.Mutex // guards the rest
	down   int        // who is waiting
	since  time.Time
}

// party is one that may find the brokers away.
type party struct {
	outages *outages
	waiting bool
}

func (o *outages) party() *party { return &party{outages: o} }

// began says that the brokers are away.
func (p *party) began(ctx context.Context, err error) {
	if p.waiting {
		return
	}
	p.waiting = true
	o := p.outages
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down++; o.down == 1 {
		o.since = time.Now()
		o.logger.WarnContext(ctx, "kafka is away, trying again until it is back", "error", err.Error())
	}
}

// over says that this one waits no more, be it that the brokers are back or that it gave up.
func (p *party) over(back bool) {
	if !p.waiting {
		return
	}
	p.waiting = false
	o := p.outages
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down--; o.down == 0 && back {
		o.logger.Info("kafka is back", "after", time.Since(o.since).Round(time.Millisecond).String())
	}
}
