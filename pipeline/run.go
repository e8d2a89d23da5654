package pipeline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/schemas"
)

var (
	// ErrInterrupted ends a run that was asked to stop. What was finished is committed.
	ErrInterrupted = errors.New("interrupted")
	// ErrTooManyErrors ends a run whose share of failed rows is above the threshold.
	ErrTooManyErrors = errors.New("too many rows failed")
)

const (
	// windowBytes bounds what is held in flight, in bytes: the Arrow buffers of the input, and room for answers.
	windowBytes = 256 << 20
	// bytesPerToken is about what a token of text takes.
	bytesPerToken = 4
	// answerSize is what an answer takes before there is anything in it, in bytes.
	answerSize = 512
	// assumedVector and assumedPrediction are what an embedding of 3,072 numbers takes, and a prediction of some columns.
	assumedVector, assumedPrediction = 3072 * 4, 256
	// queuedBatches bounds the batches between reading and committing, whatever their size.
	queuedBatches = 1024
)

// Run takes every row that follows the sink's marks through the chain and commits it. Cancelling ctx asks it
// to stop: it reads no more, gives calls on the wire Options.Drain to finish, commits what is complete and
// returns ErrInterrupted. It closes neither the ledger nor the sinks.
//
// Where the source is Shared it reads one assignment after another, each from where the sink stands then. A commit that
// another process was faster with ends an assignment there, and not the run.
func Run(ctx context.Context, options Options) error {
	r, err := newRun(&options)
	if err != nil {
		return err
	}
	// admit ends when nothing new may be read or sent; work ends when calls on the wire are cut off. Both
	// outlive their caller's patience only as far as Drain and settlement need it.
	admit, stop := context.WithCancelCause(ctx)
	work, cut := r.draining(ctx, admit)
	defer cut()
	defer stop(nil)
	r.asked = ctx
	var helpers sync.WaitGroup
	stopAudit := r.audit.start(work, &helpers, stop)
	stopWatch := r.watchLag(admit, &helpers)
	cause := r.passes(admit, work)
	stop(errFinished)
	stopWatch()
	stopAudit()
	helpers.Wait()

	settle, done := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer done()
	settled := r.audit.flush(settle)
	if failure := context.Cause(admit); failure != errFinished { //nolint:errorlint // it is never wrapped
		cause = failure // an interrupt, or the audit's
	}
	switch {
	case cause == nil:
		return settled
	case ctx.Err() != nil && errors.Is(cause, context.Cause(ctx)):
		cause = ErrInterrupted
	}
	if settled != nil && !errors.Is(settled, cause) {
		r.options.Logger.ErrorContext(settle, "what was finished could not be written", "error", settled)
	}
	return cause
}

// draining returns the context of calls on the wire: it ends Options.Drain after admit.
func (r *run) draining(ctx, admit context.Context) (work context.Context, cut context.CancelFunc) {
	work, cut = context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(admit, func() {
		timer := time.AfterFunc(r.options.Drain, cut)
		context.AfterFunc(work, func() { timer.Stop() })
	})
	return work, cut
}

// wind ends a pass whose reading has ended. What is on the wire has Options.Drain to come to its end, and nothing else is
// sent. But where partitions go to another process, or this one leaves its group, the rows before those on the wire are
// brought to their answers as well: an answer that cannot be committed would be paid again elsewhere.
func (r *run) wind(reading, work context.Context, end context.CancelCauseFunc, cut context.CancelFunc) {
	cause := context.Cause(reading)
	if errors.Is(cause, errLost) || r.assignment != nil && r.asked.Err() != nil {
		r.asker.chain.limiter.Halt()
	} else {
		end(cause)
	}
	timer := time.AfterFunc(r.options.Drain, func() { end(cause); cut() })
	context.AfterFunc(work, func() { timer.Stop() })
}

// passes reads the source to its end: in one go, or an assignment at a time.
func (r *run) passes(admit, work context.Context) error {
	shared, ok := r.options.Source.(Shared)
	if !ok {
		from, err := r.look(admit, nil)
		if err != nil {
			return err
		}
		return r.pass(admit, r.options.Source, from)
	}
	for fenced := 0; ; {
		assignment, err := shared.Assign(admit)
		if err != nil {
			return err
		}
		err = r.share(admit, assignment)
		assignment.Release()
		switch {
		case admit.Err() != nil:
			return err
		case errors.Is(err, schemas.ErrFenced):
			// Another process has committed some of these rows: it still held them, or has been given them since.
			fenced++
			r.options.Logger.WarnContext(work, "another process was faster: going on from where it stands", "error", err)
			if err := limits.Wait(admit, backoff(fenced)); err != nil {
				return err
			}
		case err != nil && !errors.Is(err, errLost):
			return err
		default:
			fenced = 0
		}
	}
}

// share reads one assignment until it is lost.
func (r *run) share(admit context.Context, assignment Assignment) error {
	here, lose := context.WithCancelCause(admit)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-assignment.Lost():
			lose(errLost)
		case <-here.Done():
		}
	}()
	defer func() { <-watched }()
	defer lose(nil)
	r.assignment = assignment
	defer func() { r.assignment = nil }()
	from, err := r.look(here, assignment.Partitions())
	if err != nil {
		return errors.Join(err, context.Cause(here))
	}
	return r.pass(here, assignment, from)
}

// position is where the sinks stand.
type position struct{ results, letters schemas.Marks }

// look asks the sinks where they stand. Where only some partitions are this process's, the marks of the others are left
// out: they are others' to move.
func (r *run) look(ctx context.Context, assigned []string) (from position, err error) {
	if from.results, err = r.options.Sink.Marks(ctx); err == nil && r.options.DeadLetters != nil {
		from.letters, err = r.options.DeadLetters.Marks(ctx)
	}
	if assigned != nil {
		mine := make(schemas.Marks, len(assigned))
		for _, name := range assigned {
			if mark, ok := from.results[name]; ok {
				mine[name] = mark
			}
		}
		from.results = mine
	}
	r.options.Stats.look(from.results, assigned)
	return from, err
}

// lagInterval is how often a source is asked how many rows stand behind the marks.
const lagInterval = 10 * time.Second

// watchLag asks the source now and then how many rows stand behind the marks, until the returned function is called. That
// it cannot tell ends nothing.
func (r *run) watchLag(ctx context.Context, owner *sync.WaitGroup) (stop func()) {
	source, ok := r.options.Source.(Lagging)
	if !ok || !r.options.Follow {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	owner.Go(func() {
		for limits.Wait(ctx, lagInterval) == nil {
			at := r.options.Stats.Progress()
			if at.Assignments == 0 {
				continue
			}
			rows, err := source.Lag(ctx, at.Marks)
			if err != nil {
				if ctx.Err() == nil {
					r.options.Logger.DebugContext(ctx, "the lag is not known", "error", err)
				}
				continue
			}
			r.options.Stats.lag(rows)
		}
	})
	return cancel
}

type run struct {
	options *Options
	asker   *asker
	window  *semaphore.Weighted // rows
	bytes   *semaphore.Weighted
	rows    sync.WaitGroup // rows being asked
	audit   *audit
	verdict verdict
	paced   pace
	place   int64           // of the next row, counting those of the run
	asked   context.Context //nolint:containedctx // the caller's: once it has ended the run was asked to stop

	// Of the pass that is under way.
	stop       context.CancelCauseFunc
	assignment Assignment // nil: the source is not shared
	order      *order     // nil: rows of one key need not wait for each other
	follow     func(row)  // sends the next row of a key on its way
}

func newRun(options *Options) (*run, error) {
	q := &options.Question
	q.BatchSize = max(q.BatchSize, 1)
	options.Window = max(options.Window, 4*int64(options.Limiter.Concurrency())*int64(q.BatchSize))
	c := &chain{
		endpoint: &q.Endpoint, models: q.Models, limiter: options.Limiter, ledger: options.Ledger,
		prices: options.Prices, stats: options.Stats, logger: options.Logger, timeout: q.Timeout, retries: q.Retries, output: q.OutputTokens(),
		files: q.Files, media: semaphore.NewWeighted(mediaBytes),
	}
	for i := range q.Endpoint.Destinations {
		c.origins = append(c.origins, origin(options, i))
	}
	a, err := newAsker(options, c)
	if err != nil {
		return nil, err
	}
	r := &run{
		options: options, asker: a,
		window: semaphore.NewWeighted(options.Window), bytes: semaphore.NewWeighted(windowBytes),
		audit: newAudit(options),
	}
	a.rows, a.fail, a.finished = &r.rows, func(err error) { r.stop(err) }, r.finished
	r.verdict.above, r.paced.fixed = options.FailAbove, options.EpochAge
	r.verdict.sample, r.verdict.moving = max(minSample, minCalls*int64(q.BatchSize)), options.Follow
	return r, nil
}

// origin is what the run's invocations at a destination have in common.
func origin(o *Options, destination int) *schemas.Origin {
	endpoint := &o.Question.Endpoint
	to := &endpoint.Destinations[destination]
	names := make([]string, 0, len(endpoint.Destinations))
	for i := range endpoint.Destinations {
		names = append(names, endpoint.Destinations[i].Name)
	}
	return &schemas.Origin{
		EndpointID: endpoint.ID, EndpointName: endpoint.Name, EndpointTags: endpoint.Tags,
		EndpointCreator: endpoint.Creator, EndpointCreated: endpoint.Created, EndpointLastUpdated: endpoint.LastUpdated,
		Destinations: names, DestinationType: to.Type, DestinationName: to.Name, DestinationID: to.ID,
		Requester: o.Requester, URL: o.Question.Models[destination].URL(o.Question.Task), APIType: to.Task,
		Job: o.Job, RunID: o.RunID, TaskKey: o.TaskKey, SourceName: o.SourceName,
	}
}

// OutputTokens is what one answer may hold at the most, as the parameters say, or an assumption.
func (q *Question) OutputTokens() int64 {
	if q.Task == schemas.TaskEmbeddings || q.Task == schemas.TaskPredictions {
		return 0
	}
	for _, name := range []string{"max_completion_tokens", "max_tokens"} {
		switch value := q.Parameters[name].(type) {
		case int:
			return int64(value)
		case int64:
			return value
		case float64:
			return int64(value)
		}
	}
	return assumedOutput
}

// answerBytes is about how much memory one answer may take.
func (q *Question) answerBytes() int64 {
	switch q.Task {
	case schemas.TaskEmbeddings:
		return answerSize + assumedVector
	case schemas.TaskPredictions:
		return answerSize + assumedPrediction
	case schemas.TaskChat, schemas.TaskCompletions, "":
	}
	return answerSize + q.OutputTokens()*bytesPerToken
}

// reader is what a pass reads: a source, or what of it was assigned.
type reader interface {
	Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error]
}

// pass takes the rows of a reader through the chain until it ends, admit ends, or something fails. It returns after its
// last goroutine.
func (r *run) pass(admit context.Context, from reader, at position) error {
	reading, stop := context.WithCancelCause(admit)
	admit, end := context.WithCancelCause(context.WithoutCancel(reading)) // nothing is sent once it has ended
	work, cut := context.WithCancel(context.WithoutCancel(reading))       // calls on the wire are cut off when it ends
	r.stop = stop
	r.asker.chain.limiter.Resume()
	if columns := r.options.Question.OrderBy; columns != nil {
		r.order = &order{
			key:  func(at row) string { return jsonList(texts(at, columns)) },
			time: r.options.Question.EventTime, busy: make(map[string]*line),
		}
		r.follow = func(next row) {
			r.rows.Go(func() {
				if r.asker.line.Acquire(admit, 1) != nil {
					return
				}
				if err := r.asker.ask(admit, work, []row{next}); err != nil {
					stop(err)
				}
			})
		}
	}
	r.asker.flights = make(map[ledger.Key]chan struct{}) // those of rows that were given up never land
	defer end(errFinished)
	defer cut()
	defer stop(nil)

	queue := make(chan *batch, queuedBatches)
	r.rows.Go(func() { // the reader counts as a row: no row starts after it has ended
		defer close(queue)
		if err := r.read(reading, admit, work, from, at.results, queue); err != nil {
			stop(err)
		}
	})
	quiet := make(chan struct{}) // closed when no more rows will be finished
	go func() {
		defer close(quiet)
		<-reading.Done()
		r.wind(reading, work, end, cut) // here, so that no halt comes late and strikes the next pass
		r.rows.Wait()
	}()
	w := newCommitter(r, at)
	if err := w.commitAll(work, queue, quiet); err != nil {
		stop(err)
	}
	stop(errFinished)
	<-quiet
	for b := range queue { // after a failure: what nobody will commit
		r.release(b)
	}
	settle, done := context.WithTimeout(context.WithoutCancel(reading), settleTimeout)
	defer done()
	closed := w.close(settle)
	cause := context.Cause(reading)
	if errors.Is(cause, errFinished) {
		return closed
	}
	if closed != nil && !errors.Is(closed, cause) {
		r.options.Logger.ErrorContext(settle, "what was finished could not be written", "error", closed)
	}
	return cause
}

var (
	// errFinished stops the helpers of a run that came to its end.
	errFinished = errors.New("finished")
	// errLost stops a pass whose partitions are given to others.
	errLost = errors.New("the partitions are given to others")
)

// read takes batches from the source and sends their rows on their way, as far as the window allows.
func (r *run) read(reading, admit, work context.Context, from reader, marks schemas.Marks, queue chan<- *batch) error {
	start, end := r.workers(admit, work)
	defer end()
	g := &group{
		admit: reading, line: r.asker.line, start: start, size: r.options.Question.BatchSize, wait: r.options.Question.BatchWait,
	}
	for incoming, err := range g.awaited(from.Read(reading, marks)) {
		if err != nil {
			return err
		}
		b, err := r.prepare(incoming)
		if err != nil {
			incoming.Release()
			return err
		}
		b.place = r.place
		r.place += int64(b.rows)
		if !r.enter(reading, b, queue, g.send) {
			return nil
		}
		for i := range b.rows {
			at := row{b, i}
			if fault := incoming.Faults[b.row(i)]; fault != nil {
				r.asker.unasked(at, fault)
				continue
			}
			if r.order != nil && !r.order.enter(at) {
				continue // the row before it of its key sends it on its way
			}
			if !g.add(at) {
				return nil
			}
		}
	}
	g.send()
	return nil
}

// enter takes a batch into the window and queues it; false: the run is stopping, and the batch is released. Where it has
// to wait, the rows that wait for a full request are sent first: it may be them that the room is waiting for.
func (r *run) enter(admit context.Context, b *batch, queue chan<- *batch, send func() bool) bool {
	if !r.window.TryAcquire(r.weight(b)) && (!send() || r.window.Acquire(admit, r.weight(b)) != nil) {
		b.Release()
		return false
	}
	if !r.bytes.TryAcquire(b.size) && (!send() || r.bytes.Acquire(admit, b.size) != nil) {
		r.window.Release(r.weight(b))
		b.Release()
		return false
	}
	select {
	case queue <- b:
		return true
	default:
	}
	if send() {
		select {
		case queue <- b:
			return true
		case <-admit.Done():
		}
	}
	r.release(b)
	return false
}

// workers returns what gives a request's rows to a goroutine that has done with its last ones, or to a new one where all
// are busy: their number follows the requests under way, and a grown stack is grown once. end lets the idle ones go.
func (r *run) workers(admit, work context.Context) (start func([]row), end func()) {
	next := make(chan []row)
	start = func(first []row) {
		select {
		case next <- first:
		default:
			r.rows.Go(func() {
				for each, more := first, true; more; each, more = <-next {
					if err := r.asker.ask(admit, work, each); err != nil {
						r.stop(err)
					}
				}
			})
		}
	}
	return start, func() { close(next) }
}

// prepare chooses the batch's rows.
func (r *run) prepare(incoming schemas.Batch) (*batch, error) {
	total := int(incoming.Record.NumRows())
	b := &batch{Batch: incoming, rows: total, done: make(chan struct{})}
	if filter := r.options.Question.Filter; filter != nil {
		b.selected = make([]int, 0, total)
		for row := range total {
			if incoming.Faults[row] != nil { // nothing is known of it that a condition could be true of
				b.selected = append(b.selected, row)
				continue
			}
			keep, err := filter.Keep(incoming.Record, row)
			if err != nil {
				return nil, fmt.Errorf("%s, row %d: %w", incoming.Partition, incoming.Place(row), err)
			}
			if keep {
				b.selected = append(b.selected, row)
			}
		}
		b.rows = len(b.selected)
		r.options.Stats.Skipped.Add(int64(total - b.rows))
	}
	b.answers = make([]schemas.Answer, b.rows)
	// The answers to come take memory as well, at most as much as the request allows them.
	b.size = schemas.RecordSize(incoming.Record) + int64(b.rows)*r.options.Question.answerBytes()
	if incoming.Raw != nil {
		b.size += schemas.RecordSize(incoming.Raw)
	}
	b.size = min(b.size, windowBytes)
	b.pending.Store(int64(b.rows))
	if b.rows == 0 {
		close(b.done)
	}
	return b, nil
}

// weight is a batch's share of the window.
func (r *run) weight(b *batch) int64 { return min(int64(b.rows), r.options.Window) }

func (r *run) release(b *batch) {
	b.Release()
	r.window.Release(r.weight(b))
	r.bytes.Release(b.size)
}

// finished takes in that a row has its answer. It does not block.
func (r *run) finished(at row, answer *schemas.Answer) {
	if err := r.verdict.count(answer.Error != nil); err != nil {
		r.stop(err)
	}
	if r.order == nil || at.batch.Faults[at.batch.row(at.i)] != nil { // a row that could not be read has no key
		return
	}
	if next, more := r.order.leave(at); more {
		r.follow(next)
	}
}
