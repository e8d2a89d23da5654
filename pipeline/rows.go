package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/schemas"
)

// batch is a source batch on its way through the engine.
type batch struct {
	schemas.Batch

	selected []int // rows that the filter kept; nil: all of them
	rows     int   // how many those are
	size     int64 // bytes held
	place    int64 // of the first of those, counting the rows of the run
	answers  []schemas.Answer
	pending  atomic.Int64
	done     chan struct{} // closed when every row has its durable answer
}

func (b *batch) row(i int) int {
	if b.selected == nil {
		return i
	}
	return b.selected[i]
}

// finish stores the durable answer of the i-th selected row.
func (b *batch) finish(i int, answer *schemas.Answer) {
	b.answers[i] = *answer
	if b.pending.Add(-1) == 0 {
		close(b.done)
	}
}

// beginning is how many rows have their answers before the first that has none. No row is under way any more.
func (b *batch) beginning() int {
	for i := range b.answers {
		if b.answers[i].Invocation.Origin == nil {
			return i
		}
	}
	return b.rows
}

// The room in line is the concurrency, but not less or more than that: each has a goroutine, whose stack the
// garbage collector looks through.
const minLine, maxLine = 64, 256

// asker takes rows to their durable answers.
type asker struct {
	options *Options
	chain   *chain
	digest  [sha256.Size]byte // of what all requests share: parameters and destinations
	format  *schemas.Format   // of all answers; nil: text
	// flights are the questions on their way, so that of equal ones only the first is asked. It stays empty
	// where no two rows can be equal.
	mu      sync.Mutex
	flights map[ledger.Key]chan struct{}
	reused  map[*schemas.Origin]*schemas.Origin // by the origin of the answers; the ledger has one for each run
	// line holds the requests whose rows were started and have had no slot yet: enough that a free slot never waits, and
	// no more, for each has its prompts and a goroutine.
	line *semaphore.Weighted

	rows     *sync.WaitGroup            // rows under way
	fail     func(error)                // ends the run
	finished func(row, *schemas.Answer) // called after every finished row; it does not block
}

func newAsker(options *Options, c *chain) (*asker, error) {
	destinations := make([]string, 0, len(options.Question.Endpoint.Destinations))
	for i := range options.Question.Endpoint.Destinations {
		to := &options.Question.Endpoint.Destinations[i]
		destinations = append(destinations, to.Provider+"/"+to.Model)
	}
	asked := []any{options.Question.Parameters, options.Question.Endpoint.Name, destinations}
	var format *schemas.Format
	if answer := options.Question.Answer; answer != nil {
		format = answer.Format()
		asked = append(asked, format)
	}
	switch question := &options.Question; question.Task {
	case schemas.TaskChat, "": // whose keys are older than the other tasks
	case schemas.TaskPredictions:
		asked = append(asked, question.Task, question.Features.Names(), question.Layout)
	case schemas.TaskCompletions, schemas.TaskEmbeddings:
		asked = append(asked, question.Task)
	}
	shared, err := json.Marshal(asked)
	if err != nil {
		return nil, fmt.Errorf("%w: request.parameters: %w", schemas.ErrInvalid, err)
	}
	return &asker{
		options: options, chain: c, digest: sha256.Sum256(shared), format: format, flights: make(map[ledger.Key]chan struct{}),
		reused: make(map[*schemas.Origin]*schemas.Origin),
		line:   semaphore.NewWeighted(min(max(minLine, int64(options.Limiter.Concurrency())), maxLine)),
	}, nil
}

// ask brings rows, which stand in line as one, to their answers; a row is finished once its answer is durable, which may
// be after ask has returned. It returns an error where there is no answer: the run is stopping, or has to.
func (a *asker) ask(admit, ctx context.Context, rows []row) error {
	here := &turn{line: a.line}
	defer here.leave()
	items := a.render(rows)
	for len(items) > 0 {
		fresh, waiting, landed, err := a.sort(ctx, items)
		if err != nil {
			return err
		}
		if calls := a.divide(fresh); len(calls) > 0 {
			for _, beside := range calls[1:] {
				a.bringBeside(admit, ctx, beside)
			}
			q := a.compose(calls[0])
			q.turn = here
			if err := a.bring(admit, ctx, q); err != nil {
				return err
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		here.leave()
		select {
		case <-landed: // its answer is in the ledger now, or this row is next to ask
		case <-admit.Done():
			return context.Cause(admit)
		}
		items = waiting
	}
	return nil
}

// sort serves what the ledger can answer, and returns which rows are to be asked about, and which have one of their kind
// on its way; landed is closed when the first of those has come.
func (a *asker) sort(ctx context.Context, items []*item) (fresh, waiting []*item, landed <-chan struct{}, err error) {
	fresh = items[:0:0]
	for _, each := range items {
		answer, err := a.options.Ledger.Lookup(each.key)
		first := false
		if answer == nil && err == nil {
			var flight <-chan struct{}
			if first, flight = a.takeOff(each); !first {
				if waiting = append(waiting, each); landed == nil {
					landed = flight
				}
				continue
			}
			// Another of its kind may have landed between the look and the take-off: then its answer is there now.
			answer, err = a.options.Ledger.Lookup(each.key)
		}
		if first && answer == nil && err == nil {
			fresh = append(fresh, each)
			continue
		}
		if first {
			a.land([]*item{each})
		}
		if err == nil {
			err = a.reuse(ctx, each, answer)
		}
		if err != nil {
			return nil, nil, nil, err
		}
	}
	return fresh, waiting, landed, nil
}

// bring takes a question to the answers of its rows. One that was refused for something in its rows is asked again in
// halves, until the row is alone that cannot be answered.
func (a *asker) bring(admit, ctx context.Context, q *question) error {
	out := a.put(admit, ctx, q)
	class := schemas.ClassOf(out.err)
	if errors.Is(out.err, limits.ErrHalted) { // who waits for its answer is on his own
		a.land(q.items)
		return nil
	}
	if out.invocation == nil {
		if class != schemas.Rejected {
			return out.err
		}
		a.land(q.items)
		for _, each := range q.items {
			a.unasked(each.row, out.err)
		}
		return nil
	}
	settle := context.WithoutCancel(ctx) // what was sent is written down even when the run has been cut off
	switch {
	case out.err == nil, class == schemas.Rejected && len(q.items) == 1:
		return a.settle(settle, out.invocation, q.items, a.kept(q, &out))
	case q.divisible(out.err):
		if err := a.options.Ledger.End(settle, out.invocation); err != nil {
			return err
		}
		a.chain.stats.Retries.Add(1)
		half := len(q.items) / 2
		a.bringBeside(admit, ctx, q.items[half:])
		return a.bring(admit, ctx, a.compose(q.items[:half]))
	case !exhausted(class, out.err):
		return errors.Join(out.err, a.options.Ledger.End(settle, out.invocation))
	}
	// The row is written with its error, but the error is no answer: should this epoch not be committed,
	// the row is asked again.
	a.land(q.items)
	if err := a.options.Ledger.End(settle, out.invocation); err != nil {
		return err
	}
	for i, each := range a.kept(q, &out) {
		a.finish(q.items[i].row, each.Answer)
	}
	return nil
}

// bringBeside is bring in a goroutine of its own.
func (a *asker) bringBeside(admit, ctx context.Context, items []*item) {
	a.rows.Go(func() {
		if err := a.bring(admit, ctx, a.compose(items)); err != nil {
			a.fail(err)
		}
	})
}

// unasked finishes a row that nothing can be asked about. It is in no ledger: there was no call.
func (a *asker) unasked(at row, err error) {
	a.finish(at, &schemas.Answer{
		Error: rowError(err, 0), Invocation: schemas.Invocation{Origin: a.chain.origins[0], RequestID: newRequestID()},
	})
}

// exhausted reports whether a failure was tried until the retries ran out: it is then the row's error and
// not the run's.
func exhausted(class schemas.Class, err error) bool {
	return class != schemas.Fatal && !errors.Is(err, context.Canceled)
}

// reuse serves a row from the ledger. An answer of this very row is what a crash left behind: nothing new is
// written. Another row's answer makes a usage row of its own, at no cost, that names its origin; its id
// follows from the two, so that asking again after a crash makes the same one.
func (a *asker) reuse(ctx context.Context, mine *item, answer *schemas.Answer) error {
	a.chain.stats.Reused.Add(1)
	from := &answer.Invocation
	if from.SourcePartition == mine.batch.Partition && from.SourceOffset == mine.offset() {
		a.finish(mine.row, answer)
		return nil
	}
	mine.key = reuseKey(from.InvocationID, mine)
	again, err := a.options.Ledger.Lookup(mine.key)
	if err != nil {
		return err
	}
	if again != nil {
		a.finish(mine.row, again)
		return nil
	}
	served := *answer
	served.Reused = true
	invocation := &served.Invocation
	fromID, err := uuid.Parse(from.InvocationID)
	if err != nil {
		return fmt.Errorf("ledger: read an answer: %w", err)
	}
	invocation.InvocationID = uuid.NewSHA1(fromID, mine.key[:]).String()
	invocation.RequestID = newRequestID()
	invocation.ReusedFrom = from.InvocationID
	mine.locate(invocation)
	invocation.Origin = a.reusing(from.Origin)
	invocation.InputTokens, invocation.OutputTokens, invocation.TotalTokens = 0, 0, 0
	invocation.CostUSD, invocation.BillableBasis = new(schemas.USD), schemas.BasisNone
	invocation.Latency, invocation.Attempt = 0, 0
	invocation.Attempts, invocation.ProviderUsage, invocation.IdempotencyKey = nil, "", ""
	invocation.CacheReadInputTokens, invocation.CacheCreationInputTokens, invocation.OutputReasoningTokens = nil, nil, nil
	invocation.TimeToFirstByte, invocation.ServiceTier = 0, ""
	return a.settle(ctx, invocation, []*item{mine}, []ledger.Kept{{Key: mine.key, Answer: &served}})
}

// reusing is the origin of this run's rows that reuse answers of that origin.
func (a *asker) reusing(from *schemas.Origin) *schemas.Origin {
	a.mu.Lock()
	defer a.mu.Unlock()
	mine, ok := a.reused[from]
	if !ok {
		shared := *from
		shared.RunID, shared.TaskKey, shared.SourceName = a.options.RunID, a.options.TaskKey, a.options.SourceName
		mine = &shared
		a.reused[from] = mine
	}
	return mine
}

// settle hands an invocation and its answers to the ledger, which finishes the rows when they are durable.
func (a *asker) settle(ctx context.Context, invocation *schemas.Invocation, items []*item, kept []ledger.Kept) error {
	if len(kept) == 1 && kept[0].Answer.Vector == nil { // one record holds both; but memory keeps no vectors with the last calls
		invocation = &kept[0].Answer.Invocation
	}
	a.rows.Add(1)
	err := a.options.Ledger.Settle(ctx, invocation, kept, func(err error) {
		defer a.rows.Done()
		if err != nil {
			a.fail(err)
			return
		}
		a.land(items)
		for i, each := range items {
			a.finish(each.row, kept[i].Answer)
		}
	})
	if err != nil {
		a.rows.Done()
	}
	return err
}

func (a *asker) finish(at row, answer *schemas.Answer) {
	a.chain.stats.finish(answer)
	a.finished(at, answer) // before the batch may be done, and its columns gone
	at.batch.finish(at.i, answer)
}

// takeOff reports whether a row is the first of its kind on its way; else it returns what is closed when that one
// has landed.
func (a *asker) takeOff(mine *item) (first bool, landed <-chan struct{}) {
	if !a.mayRepeat() {
		return true, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if flight, ok := a.flights[mine.key]; ok {
		return false, flight
	}
	a.flights[mine.key] = make(chan struct{})
	return true, nil
}

// land ends the flights of rows that took off, each once. Those of a run that has failed end with it.
func (a *asker) land(items []*item) {
	if !a.mayRepeat() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, each := range items {
		if flight, ok := a.flights[each.key]; ok {
			delete(a.flights, each.key)
			close(flight)
		}
	}
}

// mayRepeat reports whether two rows can have the same key.
func (a *asker) mayRepeat() bool {
	q := &a.options.Question
	return q.Reuse == ReuseRequest || q.Reuse == ReuseRow && len(q.Key) > 0
}
