package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"github.com/inflowhq/inflow/pipeline/ledger"
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

// The room for rows in line is the concurrency, but not less or more than that: each has a goroutine, whose stack the
// garbage collector looks through.
const minLine, maxLine = 64, 256

// asker takes single rows to their durable answers.
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
	// line holds the rows that were started and have not had a slot yet: enough that a free slot never waits, and
	// no more, for each has its prompt and a goroutine.
	line *semaphore.Weighted

	rows     *sync.WaitGroup // rows under way
	fail     func(error)     // ends the run
	finished func()          // called after every finished row; it does not block
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
	shared, err := json.Marshal(asked)
	if err != nil {
		return nil, fmt.Errorf("%w: request.parameters: %w", schemas.ErrInvalid, err)
	}
	return &asker{
		options: options, chain: c, digest: sha256.Sum256(shared), format: format, flights: make(map[ledger.Key]chan struct{}),
		reused: make(map[*schemas.Origin]*schemas.Origin),
		line:   semaphore.NewWeighted(min(max(minLine, int64(options.Limits.Concurrency)), maxLine)),
	}, nil
}

// ask brings the i-th selected row of b, which stands in line, to its answer; the row is finished once that is
// durable, which may be after ask has returned. It returns an error where there is no answer: the run is stopping,
// or has to.
func (a *asker) ask(admit, ctx context.Context, b *batch, i int) error {
	q, err := a.question(b, b.row(i))
	q.place, q.line = b.place+int64(i), a.line
	defer q.leaveLine()
	if err != nil {
		a.unasked(q, i, err)
		return nil
	}
	for {
		answer, err := a.options.Ledger.Lookup(q.key)
		if err != nil {
			return err
		}
		if answer != nil {
			return a.reuse(ctx, q, i, answer)
		}
		first, landed := a.takeOff(q)
		if first {
			// Another of its kind may have landed between the look and the take-off: then its answer is there now.
			if answer, err = a.options.Ledger.Lookup(q.key); answer == nil && err == nil {
				break
			}
			a.land(q.key)
			continue
		}
		q.leaveLine()
		select {
		case <-landed: // its answer is in the ledger now, or this row is next to ask
		case <-admit.Done():
			return context.Cause(admit)
		}
	}
	out := a.put(admit, ctx, q)
	if out.invocation == nil {
		a.land(q.key)
		if schemas.ClassOf(out.err) == schemas.Rejected {
			a.unasked(q, i, out.err)
			return nil
		}
		return out.err
	}
	settle := context.WithoutCancel(ctx) // what was sent is written down even when the run has been cut off
	class := schemas.ClassOf(out.err)
	if out.err != nil && class != schemas.Rejected && !exhausted(class, out.err) {
		a.land(q.key)
		return errors.Join(out.err, a.options.Ledger.End(settle, out.invocation))
	}
	answer := &schemas.Answer{Invocation: *out.invocation, Error: withAnswer(out.invocation.Error, out.untyped)}
	if out.err == nil {
		answer.Text = out.response.Text
	}
	if out.err != nil && class != schemas.Rejected {
		// The row is written with its error, but the error is no answer: should this epoch not be committed,
		// the row is asked again.
		a.land(q.key)
		if err := a.options.Ledger.End(settle, out.invocation); err != nil {
			return err
		}
		a.finish(b, i, answer)
		return nil
	}
	return a.settle(settle, q, i, answer)
}

// unasked finishes a row that nothing can be asked about. It is in no ledger: there was no call.
func (a *asker) unasked(q *question, i int, err error) {
	a.finish(q.batch, i, &schemas.Answer{
		Error: rowError(err, 0), Invocation: schemas.Invocation{Origin: a.chain.origins[0], RequestID: q.request.ID},
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
func (a *asker) reuse(ctx context.Context, q *question, i int, answer *schemas.Answer) error {
	a.chain.stats.Reused.Add(1)
	from := &answer.Invocation
	if from.SourcePartition == q.batch.Partition && from.SourceOffset == q.batch.Offset+int64(q.row) {
		a.finish(q.batch, i, answer)
		return nil
	}
	q.key = reuseKey(from.InvocationID, q)
	again, err := a.options.Ledger.Lookup(q.key)
	if err != nil {
		return err
	}
	if again != nil {
		a.finish(q.batch, i, again)
		return nil
	}
	mine := &schemas.Answer{Text: answer.Text, Error: answer.Error, Invocation: *from, Reused: true}
	invocation := &mine.Invocation
	fromID, err := uuid.Parse(from.InvocationID)
	if err != nil {
		return fmt.Errorf("ledger: read an answer: %w", err)
	}
	invocation.InvocationID = uuid.NewSHA1(fromID, q.key[:]).String()
	invocation.RequestID = q.request.ID
	invocation.ReusedFrom = from.InvocationID
	invocation.SourcePartition, invocation.SourceOffset = q.batch.Partition, q.batch.Offset+int64(q.row)
	invocation.SourceVersion, invocation.RowKey = q.batch.Version, q.rowKey
	invocation.Origin = a.reusing(from.Origin)
	invocation.InputTokens, invocation.OutputTokens, invocation.TotalTokens = 0, 0, 0
	invocation.CostUSD, invocation.BillableBasis = new(schemas.USD), schemas.BasisNone
	invocation.Latency, invocation.Attempt = 0, 0
	invocation.Attempts, invocation.ProviderUsage, invocation.IdempotencyKey = nil, "", ""
	invocation.CacheReadInputTokens, invocation.CacheCreationInputTokens, invocation.OutputReasoningTokens = nil, nil, nil
	invocation.TimeToFirstByte, invocation.ServiceTier = 0, ""
	return a.settle(ctx, q, i, mine)
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

// settle hands the answer to the ledger, which finishes the row when it is durable.
func (a *asker) settle(ctx context.Context, q *question, i int, answer *schemas.Answer) error {
	a.rows.Add(1)
	err := a.options.Ledger.Settle(ctx, q.key, answer, func(err error) {
		defer a.rows.Done()
		a.land(q.key)
		if err != nil {
			a.fail(err)
			return
		}
		a.finish(q.batch, i, answer)
	})
	if err != nil {
		a.rows.Done()
		a.land(q.key)
	}
	return err
}

func (a *asker) finish(b *batch, i int, answer *schemas.Answer) {
	a.chain.stats.finish(answer)
	b.finish(i, answer)
	a.finished()
}

// takeOff reports whether q is the first of its kind on its way; else it returns what is closed when that one
// has landed.
func (a *asker) takeOff(q *question) (first bool, landed <-chan struct{}) {
	if !a.mayRepeat() {
		return true, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if flight, ok := a.flights[q.key]; ok {
		return false, flight
	}
	a.flights[q.key] = make(chan struct{})
	return true, nil
}

func (a *asker) land(key ledger.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if flight, ok := a.flights[key]; ok {
		delete(a.flights, key)
		close(flight)
	}
}

// mayRepeat reports whether two rows can have the same key.
func (a *asker) mayRepeat() bool {
	q := &a.options.Question
	return q.Reuse == ReuseRequest || q.Reuse == ReuseRow && len(q.Key) > 0
}

// question renders a row. It fails where media that the row names cannot be read.
func (a *asker) question(b *batch, row int) (*question, error) {
	asked := &a.options.Question
	q := &question{batch: b, row: row}
	q.request.ID = newRequestID()
	q.request.Messages = asked.Prompt.Render(b.Record, row)
	q.request.Parameters = asked.Parameters
	q.request.Format = a.format
	q.input = schemas.EstimateTokens(q.request.TextLength())
	keys := make([]string, 0, len(asked.Key))
	for _, column := range asked.Key {
		keys = append(keys, strings.ToValidUTF8(schemas.Text(b.Record.Column(column), row), "\uFFFD"))
	}
	if len(keys) == 1 {
		q.rowKey = keys[0]
	} else if len(keys) > 1 {
		q.rowKey = jsonList(keys)
	}
	h := sha256.New()
	h.Write(a.digest[:])
	switch {
	case asked.Reuse == ReuseRequest:
		part(h, a.options.Job)
	case asked.Reuse == ReuseRow && len(keys) > 0:
		part(h, a.options.Job, "key")
		part(h, keys...)
	default:
		part(h, a.options.Job, "place", a.options.SourceName, b.Partition)
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(b.Offset+int64(row)))) //nolint:gosec // a hash
	}
	for i := range q.request.Messages {
		part(h, q.request.Messages[i].Role, q.request.Messages[i].Content)
		if err := a.parts(q, h, q.request.Messages[i].Parts); err != nil {
			return q, err
		}
	}
	h.Sum(q.key[:0])
	q.point = binary.BigEndian.Uint64(q.key[:8])
	return q, nil
}

// parts adds a message's parts to the hash of a question. A file counts by its path, size and time: it is read when
// there is a slot for its call, and not at all where the answer is known.
func (a *asker) parts(q *question, h hash.Hash, parts []schemas.Part) error {
	for _, each := range parts {
		part(h, each.Text)
		media := each.Media
		if media == nil {
			continue
		}
		part(h, string(media.Kind), media.MIMEType, media.URL, media.Path)
		if media.Path != "" {
			info, err := a.options.Question.Files.Stat(media.Path)
			if err != nil {
				return unreadable(err)
			}
			q.files += info.Size()
			part(h, strconv.FormatInt(info.Size(), 10), info.ModTime().UTC().Format(time.RFC3339Nano))
			continue
		}
		sum := sha256.Sum256(media.Data)
		h.Write(sum[:])
	}
	return nil
}

func jsonList(values []string) string {
	text, err := json.Marshal(values)
	if err != nil {
		return strings.Join(values, ",")
	}
	return string(text)
}

// part adds texts to a hash with their lengths, so that no two lists of texts are the same bytes.
func part(h hash.Hash, texts ...string) {
	var length [8]byte
	for _, text := range texts {
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		h.Write(length[:])
		h.Write([]byte(text))
	}
}

// reuseKey is where the ledger keeps that q was served by another row's answer.
func reuseKey(from string, q *question) (key ledger.Key) {
	h := sha256.New()
	part(h, "reuse", from, q.batch.Partition)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(q.batch.Offset+int64(q.row)))) //nolint:gosec // a hash
	h.Sum(key[:0])
	return key
}

// leaveLine makes room for another row to start.
func (q *question) leaveLine() {
	if q.line != nil {
		q.line.Release(1)
		q.line = nil
	}
}

func (q *question) idempotencyKey() string { return hex.EncodeToString(q.key[:]) }

func newRequestID() string {
	id, err := uuid.NewV7()
	if err != nil { // no randomness: uuid's version 7 cannot fail otherwise
		panic(err)
	}
	return id.String()
}
