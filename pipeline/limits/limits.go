// Package limits decides when a call may be sent: slots for concurrency, rates by reservation, and a budget in
// dollars. It reserves by estimate and settles by truth; it never retries and never sleeps through a
// cancelled context.
package limits

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// ErrBudget ends a run whose budget does not cover the next call.
var ErrBudget = errors.New("the budget is used up")

// ErrHalted is what a call gets that is not sent any more.
var ErrHalted = errors.New("nothing new is sent")

// Options are the limits; zero means none, except for Concurrency, which is at least 1.
type Options struct {
	Concurrency       int
	RequestsPerMinute int64
	TokensPerMinute   int64
	Budget            *schemas.USD
}

// Limiter admits calls, of those that wait always the one with the lowest place first. It is safe for concurrent
// use.
type Limiter struct {
	slots    *queue // of calls that are prepared or on the wire
	wire     *queue // of those on the wire
	turn     *queue // whoever has it is next to take from the rates and the budget
	requests *bucket
	tokens   *bucket
	metered  atomic.Bool // there are rates or a budget

	mu       sync.Mutex
	paused   time.Time     // no call before this
	sent     int64         // the highest place that was on the wire
	horizon  int64         // calls behind it are not sent
	halted   chan struct{} // closed by Halt
	options  Options
	spent    schemas.USD   // settled
	reserved schemas.USD   // of the calls in flight
	settled  chan struct{} // closed and replaced whenever a reservation is given back
}

// New returns a limiter.
func New(options Options) *Limiter {
	l := &Limiter{
		slots: newQueue(0), wire: newQueue(0), turn: newQueue(1),
		requests: newBucket(), tokens: newBucket(), settled: make(chan struct{}),
		sent: -1, horizon: everywhere, halted: make(chan struct{}),
	}
	l.Change(options)
	return l
}

// Halt sends nothing new: calls at places behind the highest one that was on the wire fail with ErrHalted. Those before it
// go on, so that what was paid is the beginning of what was read, and can be committed.
func (l *Limiter) Halt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.horizon != everywhere {
		return
	}
	l.horizon = l.sent
	for _, q := range []*queue{l.slots, l.turn, l.wire} {
		q.sendAway(l.sent)
	}
	close(l.halted)
}

// Resume takes Halt back.
func (l *Limiter) Resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.horizon == everywhere {
		return
	}
	l.horizon, l.halted = everywhere, make(chan struct{})
	for _, q := range []*queue{l.slots, l.turn, l.wire} {
		q.sendAway(everywhere)
	}
}

// away is closed when a place may be behind the horizon, which here then tells.
func (l *Limiter) away(place int64) (halted <-chan struct{}, here bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.horizon == everywhere {
		return l.halted, false
	}
	return nil, place > l.horizon
}

// Change puts other limits in the place of those that hold, for calls that are admitted from now on. What was spent of the
// budget stays spent.
func (l *Limiter) Change(options Options) {
	options.Concurrency = max(1, options.Concurrency)
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.options.Concurrency
	if before > 0 {
		before += Ahead(before)
	}
	l.slots.grow(options.Concurrency + Ahead(options.Concurrency) - before)
	l.wire.grow(options.Concurrency - l.options.Concurrency)
	l.requests.change(options.RequestsPerMinute)
	l.tokens.change(options.TokensPerMinute)
	l.options = options
	l.metered.Store(options.RequestsPerMinute > 0 || options.TokensPerMinute > 0 || options.Budget != nil)
	close(l.settled) // whoever waits for money looks again
	l.settled = make(chan struct{})
}

// Concurrency is how many calls may be on the wire.
func (l *Limiter) Concurrency() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.options.Concurrency
}

// maxAhead bounds the calls that are prepared ahead: at any rate that one process can send, a few milliseconds' worth.
const maxAhead = 256

// Ahead is how many calls may be prepared, but not sent, beside so many on the wire: enough that one which has ended
// is followed at once.
func Ahead(concurrency int) int { return max(1, min(concurrency/2, maxAhead)) }

// Reservation is what one admitted call holds: Send, when it is ready, and Settle in any case, which gives it back.
// It is not safe for concurrent use.
type Reservation struct {
	limiter *Limiter
	place   int64
	sending bool
	tokens  int64
	cost    schemas.USD
}

// Admit waits until a call of about so many tokens and so much money may be prepared. place is the call's row,
// counted from the start of the source: a call waits for none that stands behind it. Admit fails with ErrBudget
// where the money is not there, and with ctx's error.
//
// The slot comes first: it is the order. Calls that wait with a slot for their rate are the next ones in any case.
func (l *Limiter) Admit(ctx context.Context, place, tokens int64, cost schemas.USD) (*Reservation, error) {
	if err := l.slots.enter(ctx, place); err != nil {
		return nil, err
	}
	reserved, err := l.meter(ctx, place, tokens, cost)
	if err != nil {
		l.slots.leave()
		return nil, err
	}
	return &Reservation{limiter: l, place: place, tokens: tokens, cost: reserved}, nil
}

// meter takes what the call may use from the rates and the budget, and waits out a pause. It returns the money that it
// reserved.
func (l *Limiter) meter(ctx context.Context, place, tokens int64, cost schemas.USD) (reserved schemas.USD, err error) {
	if l.metered.Load() {
		if err := l.turn.enter(ctx, place); err != nil {
			return reserved, err
		}
		defer l.turn.leave()
		if err := l.reserve(ctx, place, cost); err != nil {
			return reserved, err
		}
		reserved = cost
		if err = l.wait(ctx, place, func() time.Duration { return l.requests.tryTake(1) }); err == nil {
			err = l.wait(ctx, place, func() time.Duration { return l.tokens.tryTake(float64(tokens)) })
		}
	}
	if err == nil {
		err = l.wait(ctx, place, func() time.Duration {
			l.mu.Lock()
			defer l.mu.Unlock()
			return time.Until(l.paused)
		})
	}
	if err == nil {
		return reserved, nil
	}
	l.giveBack(reserved, schemas.USD{})
	return schemas.USD{}, err
}

// changed is how long a wait may last before it looks whether the limits are other ones now.
const changed = time.Second

// wait waits for as long as left says that it has to.
func (l *Limiter) wait(ctx context.Context, place int64, left func() time.Duration) error {
	for {
		halted, behind := l.away(place)
		if behind {
			return ErrHalted
		}
		wait := left()
		if wait <= 0 {
			return nil
		}
		timer := time.NewTimer(min(wait, changed))
		select {
		case <-timer.C:
		case <-halted:
		case <-ctx.Done():
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// Send waits until the prepared call may go onto the wire. It fails with ctx's error, and with ErrHalted.
func (r *Reservation) Send(ctx context.Context) error {
	l := r.limiter
	if err := l.wire.enter(ctx, r.place); err != nil {
		return err
	}
	l.mu.Lock()
	behind := r.place > l.horizon
	if !behind {
		l.sent = max(l.sent, r.place)
	}
	l.mu.Unlock()
	if behind { // it was halted meanwhile
		l.wire.leave()
		return ErrHalted
	}
	r.sending = true
	return nil
}

// Settle frees the slot and replaces the estimates by the truth.
func (r *Reservation) Settle(tokens int64, cost schemas.USD) {
	if r.sending {
		r.limiter.wire.leave()
	}
	r.limiter.slots.leave()
	r.limiter.tokens.settle(r.tokens - tokens)
	r.limiter.giveBack(r.cost, cost)
}

// Pause holds back every call for as long as a throttled destination asked for.
func (l *Limiter) Pause(duration time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := time.Now().Add(duration); until.After(l.paused) {
		l.paused = until
	}
}

// reserve sets money aside. While calls in flight hold what is missing it waits for what they give back.
func (l *Limiter) reserve(ctx context.Context, place int64, cost schemas.USD) error {
	for {
		halted, behind := l.away(place)
		if behind {
			return ErrHalted
		}
		l.mu.Lock()
		budget, alone := l.options.Budget, l.spent.Add(cost)
		if budget == nil || alone.Add(l.reserved).Cmp(*budget) <= 0 {
			l.reserved = l.reserved.Add(cost)
			l.mu.Unlock()
			return nil
		}
		spent, settled := l.spent, l.settled
		l.mu.Unlock()
		if alone.Cmp(*budget) > 0 {
			return fmt.Errorf("%w: $%.6f of $%.6f spent, and the next call may cost $%.6f",
				ErrBudget, spent.Dollars(), budget.Dollars(), cost.Dollars())
		}
		select {
		case <-settled:
		case <-halted:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *Limiter) giveBack(reserved, spent schemas.USD) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved = l.reserved.Sub(reserved)
	l.spent = l.spent.Add(spent)
	if l.options.Budget != nil {
		close(l.settled)
		l.settled = make(chan struct{})
	}
}

// Wait waits for a duration or for ctx.
func Wait(ctx context.Context, duration time.Duration) error {
	if duration <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
