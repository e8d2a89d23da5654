package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

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
	// minSample is the number of rows before the share of failed ones means anything.
	minSample = 100
	// minCalls is the number of requests, where each has many rows.
	minCalls = 10
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
func Run(ctx context.Context, options Options) error {
	r, err := newRun(&options)
	if err != nil {
		return err
	}
	from, err := options.Sink.Marks(ctx)
	if err != nil {
		return err
	}
	return r.run(ctx, from)
}

type run struct {
	options *Options
	asker   *asker
	window  *semaphore.Weighted // rows
	bytes   *semaphore.Weighted
	rows    sync.WaitGroup // rows being asked
	stop    context.CancelCauseFunc
	audit   *audit
}

func newRun(options *Options) (*run, error) {
	q := &options.Question
	q.BatchSize = max(q.BatchSize, 1)
	options.Window = max(options.Window, 4*int64(options.Limits.Concurrency)*int64(q.BatchSize))
	c := &chain{
		endpoint: &q.Endpoint, models: q.Models, limiter: limits.New(options.Limits), ledger: options.Ledger,
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
	a.rows, a.fail, a.finished = &r.rows, func(err error) { r.stop(err) }, r.judge
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

func (r *run) run(ctx context.Context, from schemas.Marks) error {
	// admit ends when nothing new may be read or sent; work ends when calls on the wire are cut off. Both
	// outlive their caller's patience only as far as Drain and settlement need it.
	admit, stop := context.WithCancelCause(ctx)
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	defer cut()
	defer stop(nil)
	drain := context.AfterFunc(admit, func() {
		timer := time.AfterFunc(r.options.Drain, cut)
		context.AfterFunc(work, func() { timer.Stop() })
	})
	defer drain()

	queue := make(chan *batch, queuedBatches)
	r.rows.Go(func() { // the reader counts as a row: no row starts after it has ended
		defer close(queue)
		if err := r.read(admit, work, from, queue); err != nil {
			stop(err)
		}
	})
	var helpers sync.WaitGroup
	quiet := make(chan struct{}) // closed when no more rows will be finished
	helpers.Go(func() {
		<-admit.Done()
		r.rows.Wait()
		close(quiet)
	})
	stopAudit := r.audit.start(work, &helpers, stop)

	w := newCommitter(r, from)
	if err := w.commitAll(work, queue, quiet); err != nil {
		stop(err)
	}
	stop(errFinished)
	r.rows.Wait()
	for b := range queue { // after a failure: what nobody will commit
		r.release(b)
	}
	stopAudit()
	helpers.Wait()

	settle, done := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer done()
	settled := errors.Join(w.close(settle), r.audit.flush(settle))
	cause := context.Cause(admit)
	switch {
	case errors.Is(cause, errFinished):
		return settled
	case ctx.Err() != nil && errors.Is(cause, context.Cause(ctx)):
		cause = ErrInterrupted
	}
	if settled != nil && !errors.Is(settled, cause) {
		r.options.Logger.ErrorContext(settle, "what was finished could not be written", "error", settled)
	}
	return cause
}

// errFinished stops the helpers of a run that came to its end.
var errFinished = errors.New("finished")

// read takes batches from the source and sends their rows on their way, as far as the window allows.
func (r *run) read(admit, work context.Context, from schemas.Marks, queue chan<- *batch) error {
	start, end := r.workers(admit, work)
	defer end()
	var group []row // of one request; they may be of several batches
	send := func() bool {
		if len(group) == 0 {
			return true
		}
		if r.asker.line.Acquire(admit, 1) != nil {
			return false
		}
		start(group)
		group = nil
		return true
	}
	rows := int64(0)
	for incoming, err := range r.options.Source.Read(admit, from) {
		if err != nil {
			return err
		}
		b, err := r.prepare(incoming)
		if err != nil {
			incoming.Record.Release()
			return err
		}
		b.place = rows
		rows += int64(b.rows)
		if !r.enter(admit, b, queue, send) {
			return nil
		}
		for i := range b.rows {
			if group = append(group, row{b, i}); len(group) == r.options.Question.BatchSize && !send() {
				return nil
			}
		}
	}
	send()
	return nil
}

// enter takes a batch into the window and queues it; false: the run is stopping, and the batch is released. Where it has
// to wait, the rows that wait for a full request are sent first: it may be them that the room is waiting for.
func (r *run) enter(admit context.Context, b *batch, queue chan<- *batch, send func() bool) bool {
	if !r.window.TryAcquire(r.weight(b)) && (!send() || r.window.Acquire(admit, r.weight(b)) != nil) {
		b.Record.Release()
		return false
	}
	if !r.bytes.TryAcquire(b.size) && (!send() || r.bytes.Acquire(admit, b.size) != nil) {
		r.window.Release(r.weight(b))
		b.Record.Release()
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
			keep, err := filter.Keep(incoming.Record, row)
			if err != nil {
				return nil, fmt.Errorf("%s, row %d: %w", incoming.Partition, incoming.Offset+int64(row), err)
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
	b.size = min(schemas.RecordSize(incoming.Record)+int64(b.rows)*r.options.Question.answerBytes(), windowBytes)
	b.pending.Store(int64(b.rows))
	if b.rows == 0 {
		close(b.done)
	}
	return b, nil
}

// weight is a batch's share of the window.
func (r *run) weight(b *batch) int64 { return min(int64(b.rows), r.options.Window) }

func (r *run) release(b *batch) {
	b.Record.Release()
	r.window.Release(r.weight(b))
	r.bytes.Release(b.size)
}

// judge stops the run once the share of failed rows is above the threshold.
func (r *run) judge() {
	stats := r.options.Stats
	// The rows of one request fail together.
	if rows := stats.Rows.Load(); rows >= max(minSample, minCalls*int64(r.options.Question.BatchSize)) {
		if err := r.tooMany(stats.Errors.Load(), rows); err != nil {
			r.stop(err)
		}
	}
}

func (r *run) tooMany(failed, rows int64) error {
	if rows == 0 || float64(failed) <= r.options.FailAbove*float64(rows) {
		return nil
	}
	return fmt.Errorf("%w: %d of %d rows, more than on_error.fail_above allows (%g%%)",
		ErrTooManyErrors, failed, rows, r.options.FailAbove*100)
}
