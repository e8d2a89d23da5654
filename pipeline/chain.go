package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/pipeline/prices"
	"github.com/inflowhq/inflow/pipeline/routing"
	"github.com/inflowhq/inflow/schemas"
)

const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second
	// maxRetryAfter caps what a server may ask for: a day's Retry-After is a broken server.
	maxRetryAfter = 5 * time.Minute
	// maxThrottled bounds the time that one row spends being told to wait.
	maxThrottled = 30 * time.Minute
	// assumedOutput stands in for max_tokens in a reservation where the request does not set it.
	assumedOutput = 512
	// settleTimeout bounds what is written after the run was told to stop.
	settleTimeout = 2 * time.Minute
)

// The actions of routing_information.
const (
	actionPrimary  = "PRIMARY"
	actionRetry    = "RETRY"
	actionFallback = "FALLBACK"
)

// sent is one attempt and what came of it.
type sent struct {
	response   *schemas.Response
	invocation *schemas.Invocation // nil where nothing was sent
	err        error
	untyped    string // the text of an answer that does not keep to its type
}

// chain puts one question: Retry(Limit(Observe(call))). Waiting for a retry or a rate holds no slot.
type chain struct {
	endpoint *schemas.Endpoint
	models   []Model
	origins  []*schemas.Origin // one for each destination
	limiter  *limits.Limiter
	ledger   *ledger.Ledger
	prices   *prices.Book
	stats    *Stats
	logger   *slog.Logger
	timeout  time.Duration
	retries  int
	output   int64 // tokens of output to reserve
	files    Files
	media    *semaphore.Weighted // of mediaBytes
}

// retry asks until there is an answer, an error that stays, or no attempt left. Between attempts it obeys
// admit: once that is cancelled nothing new is sent, while a call on the wire still has ctx.
func (c *chain) retry(admit, ctx context.Context, q *question) sent {
	order := routing.Order(c.endpoint, q.point)
	failures, next, throttled := 0, 0, time.Duration(0)
	action := actionPrimary
	for {
		out := c.withFiles(admit, q, func() sent { return c.limit(admit, ctx, q, order[next], action) })
		if out.err == nil {
			return out
		}
		var wait time.Duration
		failure, classified := errors.AsType[*schemas.Error](out.err)
		if !classified || out.invocation == nil || q.divisible(out.err) { // each half has retries of its own
			return out
		}
		switch failure.Class {
		case schemas.Fatal, schemas.Rejected:
			return out
		case schemas.Transient, schemas.Ambiguous:
			failures++
			if failures > c.retries {
				return out
			}
			wait = max(backoff(failures), min(failure.RetryAfter, maxRetryAfter))
		case schemas.Throttled:
			c.stats.Throttles.Add(1)
			wait = min(failure.RetryAfter, maxRetryAfter)
			if wait > 0 && len(order) == 1 {
				c.limiter.Pause(wait)
			}
			if wait == 0 {
				wait = backoff(q.attempt)
			}
		}
		action = actionRetry
		if len(order) > 1 && routing.Falls(failure) {
			next = (next + 1) % len(order)
			action = actionFallback
			if next != 0 { // the next destination has not been asked in this round: no need to wait for it
				wait = 0
			}
		}
		if failure.Class == schemas.Throttled {
			if throttled += wait; throttled > maxThrottled {
				return out
			}
		}
		// The attempt is over and another follows: its record goes its own way.
		if err := c.ledger.End(context.WithoutCancel(ctx), out.invocation); err != nil {
			return sent{err: err}
		}
		if err := limits.Wait(admit, wait); err != nil {
			return sent{err: err}
		}
		c.stats.Retries.Add(1)
		c.logger.DebugContext(ctx, "asking again", "request_id", q.request.ID, "attempt", q.attempt+1, "after", failure.Code,
			"class", failure.Class.String(), "waited_ms", wait.Milliseconds(), "destination", c.endpoint.Destinations[order[next]].Name)
	}
}

// backoff doubles from firstBackoff and draws from the upper half, so that rows that failed together do not
// come back together.
func backoff(failures int) time.Duration {
	full := min(maxBackoff, firstBackoff<<min(failures-1, 10))
	return full/2 + rand.N(full/2) //nolint:gosec // jitter, not a secret
}

// limit waits for the limits' leave and settles with them afterwards.
func (c *chain) limit(admit, ctx context.Context, q *question, destination int, action string) sent {
	expected := schemas.Usage{InputTokens: q.input, OutputTokens: c.output}
	cost, _ := c.cost(destination, &expected)
	reservation, err := c.limiter.Admit(admit, q.place, q.input+c.output, cost)
	if err != nil {
		return sent{err: err}
	}
	q.turn.leave()
	forget, err := c.load(q)
	if err != nil {
		reservation.Settle(0, schemas.USD{})
		return sent{err: err}
	}
	defer forget()
	out := c.observe(admit, ctx, q, destination, action, reservation)
	var tokens int64
	var spent schemas.USD
	if out.invocation != nil {
		tokens = out.invocation.InputTokens + out.invocation.OutputTokens
		if out.invocation.CostUSD != nil {
			spent = *out.invocation.CostUSD
		}
	}
	reservation.Settle(tokens, spent)
	return out
}

func (c *chain) cost(destination int, usage *schemas.Usage) (schemas.USD, bool) {
	to := &c.endpoint.Destinations[destination]
	return c.prices.Cost(to.Provider, to.Model, usage)
}

// observe makes one call and writes down everything about it: before it is sent, so that no call is ever
// without a row, and after.
func (c *chain) observe(
	admit, ctx context.Context, q *question, destination int, action string, reservation *limits.Reservation,
) sent {
	q.attempt++
	invocation := schemas.Invocation{Origin: c.origins[destination], Model: c.endpoint.Destinations[destination].Model}
	id, err := uuid.NewV7()
	if err != nil {
		return sent{err: err}
	}
	invocation.InvocationID = id.String()
	invocation.RequestID = q.request.ID
	invocation.EventTime = time.Now().UTC().Truncate(time.Microsecond)
	invocation.Attempt = q.attempt
	invocation.IdempotencyKey = q.idempotencyKey()
	q.items[0].locate(&invocation)
	if len(q.items) > 1 {
		invocation.RowKey = ""
	}
	c.estimated(&invocation, q, destination)
	// The note says what is true if nobody ever hears of this call again: sent, possibly paid.
	if err := c.ledger.Begin(ctx, &invocation); err != nil {
		return sent{err: err}
	}
	if err := reservation.Send(admit); err != nil {
		return sent{err: errors.Join(err, c.ledger.Withdraw(context.WithoutCancel(ctx), &invocation))}
	}
	invocation.EventTime = time.Now().UTC().Truncate(time.Microsecond)
	c.stats.Invocations.Add(1)
	c.stats.InFlight.Add(1)
	request := q.request
	request.InvocationID = invocation.InvocationID
	call, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	started := time.Now()
	response, err := c.models[destination].Invoke(call, &request)
	invocation.Latency = time.Since(started)
	cancel()
	c.stats.InFlight.Add(-1)

	if err != nil {
		c.failed(&invocation, response, err, destination)
	} else {
		c.answered(&invocation, response, destination)
	}
	q.history = append(q.history, schemas.Attempt{
		Action: action, Destination: invocation.DestinationName,
		StatusCode: invocation.StatusCode, Latency: invocation.Latency,
	})
	invocation.Attempts = q.history
	c.stats.spend(&invocation)
	return sent{response: response, invocation: &invocation, err: err}
}

var errTimeout = errors.New("no answer within request.timeout")

// estimated fills in what a call that was sent and never answered is counted at: its input.
func (c *chain) estimated(invocation *schemas.Invocation, q *question, destination int) {
	usage := schemas.Usage{InputTokens: q.input}
	invocation.InputTokens, invocation.OutputTokens, invocation.TotalTokens = usage.InputTokens, 0, usage.InputTokens
	invocation.BillableBasis = schemas.BasisEstimated
	c.price(invocation, destination, &usage)
}

func (c *chain) price(invocation *schemas.Invocation, destination int, usage *schemas.Usage) {
	invocation.CostUSD, invocation.PriceVersion = nil, ""
	if cost, ok := c.cost(destination, usage); ok {
		invocation.CostUSD, invocation.PriceVersion = &cost, c.prices.Version()
	}
}

func (c *chain) answered(invocation *schemas.Invocation, response *schemas.Response, destination int) {
	usage := &response.Usage
	if response.Model != "" {
		invocation.Model = response.Model
	}
	invocation.StatusCode = response.HTTPStatus
	invocation.ContentType = response.ContentType
	invocation.TimeToFirstByte = response.FirstByte
	invocation.InputTokens = usage.InputTokens
	invocation.OutputTokens = usage.OutputTokens
	invocation.TotalTokens = usage.TotalTokens
	invocation.CacheReadInputTokens = usage.CacheReadInputTokens
	invocation.CacheCreationInputTokens = usage.CacheCreationInputTokens
	invocation.OutputReasoningTokens = usage.OutputReasoningTokens
	invocation.BillableBasis = usage.Basis
	invocation.ProviderUsage, invocation.ServiceTier = usage.Raw, usage.ServiceTier
	c.price(invocation, destination, usage)
}

// failed fills in an error, with what the attempt is known to have cost all the same: a refusal of the content
// is paid like an answer, and a call that was sent and not answered may have been.
func (c *chain) failed(invocation *schemas.Invocation, response *schemas.Response, err error, destination int) {
	c.answered(invocation, response, destination)
	invocation.Error = rowError(err, invocation.Attempt)
	if response.Usage.Basis == schemas.BasisNone {
		invocation.CostUSD, invocation.PriceVersion = new(schemas.USD), ""
	}
}

// maxMessage bounds the text of an error column, in bytes.
const maxMessage = 1000

// bounded cuts a text for a column, in UTF-8 whatever it was.
func bounded(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "\uFFFD")
}

// rowError turns a failure into data.
func rowError(err error, attempts int) *schemas.RowError {
	out := &schemas.RowError{Class: schemas.ClassOf(err), Code: "unclassified", Attempts: attempts, Message: err.Error()}
	switch failure, ok := errors.AsType[*schemas.Error](err); {
	case ok:
		out.Code, out.HTTPStatus, out.Message = failure.Code, failure.HTTPStatus, failure.Err.Error()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// Cut off on the way, at the drain's deadline: sent, not answered.
		out.Class, out.Code, out.Message = schemas.Ambiguous, "cut_off", "the run ended before the answer arrived"
	}
	out.Message = bounded(out.Message, maxMessage)
	return out
}
