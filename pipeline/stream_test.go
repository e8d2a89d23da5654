package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/pipeline/prices"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// topic is a log in memory: partitions that grow, and a group whose members share them.
type topic struct {
	mem memory.Allocator

	mu         sync.Mutex
	partitions [][]letter
	grown      chan struct{} // closed and replaced whenever a partition grows
	members    map[*member]bool
	ready      map[*member]chan *share
	current    map[*member]*share
	changed    bool        // members came or went since the last sharing out
	late       *time.Timer // shares out without those who are late
}

// letter is a record.
type letter struct {
	body string
	at   time.Time
	bad  bool // it cannot be read
}

const rebalanceTimeout = time.Minute

func newTopic(mem memory.Allocator, partitions int) *topic {
	return &topic{
		mem: mem, partitions: make([][]letter, partitions), grown: make(chan struct{}),
		members: map[*member]bool{}, ready: map[*member]chan *share{}, current: map[*member]*share{},
	}
}

func name(partition int) string { return fmt.Sprintf("topic/%d", partition) }

func (t *topic) append(partition int, letters ...letter) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range letters {
		if letters[i].at.IsZero() {
			letters[i].at = time.Now()
		}
	}
	t.partitions[partition] = append(t.partitions[partition], letters...)
	close(t.grown)
	t.grown = make(chan struct{})
}

func (*topic) Schema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "body", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
	}, nil)
}

func (*topic) Count(context.Context, schemas.Marks) (total, done int64, err error) { return -1, 0, nil }

// batch reads up to ten records of a partition.
func (t *topic) batch(partition int, from int64) (batch schemas.Batch, ok bool) {
	t.mu.Lock()
	letters := t.partitions[partition]
	t.mu.Unlock()
	letters = letters[from:min(int(from)+10, len(letters))]
	if len(letters) == 0 {
		return batch, false
	}
	b := array.NewRecordBuilder(t.mem, t.Schema())
	defer b.Release()
	raw := array.NewRecordBuilder(t.mem, schemas.RawSchema())
	defer raw.Release()
	batch = schemas.Batch{
		Marks: schemas.Marks{name(partition): from + int64(len(letters))}, Partition: name(partition), Offset: from, Version: -1,
		Until:  func(row int) schemas.Marks { return schemas.Marks{name(partition): from + int64(row)} },
		Oldest: letters[0].at, Newest: letters[len(letters)-1].at,
	}
	for i, each := range letters {
		raw.Field(1).(*array.BinaryBuilder).AppendString(each.body) //nolint:errcheck // the schema fixes the type
		for _, column := range []int{0, 2, 3, 4, 5, 6} {
			raw.Field(column).AppendNull()
		}
		if each.bad {
			b.Field(0).AppendNull()
			b.Field(1).AppendNull()
			b.Field(2).AppendNull()
			if batch.Faults == nil {
				batch.Faults = map[int]*schemas.Error{}
			}
			batch.Faults[i] = &schemas.Error{Class: schemas.Rejected, Code: "undecodable", Err: errors.New("no JSON")}
			continue
		}
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprintf("%d/%d", partition, from+int64(i))) //nolint:errcheck // as above
		b.Field(1).(*array.StringBuilder).Append(each.body)                                      //nolint:errcheck // as above
		b.Field(2).(*array.TimestampBuilder).Append(arrow.Timestamp(each.at.UnixMicro()))        //nolint:errcheck // as above
	}
	batch.Record, batch.Raw = b.NewRecord(), raw.NewRecord()
	return batch, true
}

// read yields what the partitions hold behind the marks, and then what comes, until lost is closed.
func (t *topic) read(ctx context.Context, partitions []int, from schemas.Marks, lost <-chan struct{}) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		next := map[int]int64{}
		for _, p := range partitions {
			next[p] = from[name(p)]
		}
		for {
			t.mu.Lock()
			grown := t.grown
			t.mu.Unlock()
			idle := true
			for _, p := range partitions {
				select {
				case <-lost:
					return
				default:
				}
				batch, ok := t.batch(p, next[p])
				if !ok {
					continue
				}
				idle = false
				next[p] += batch.Record.NumRows()
				if !yield(batch, nil) {
					return
				}
			}
			if !idle {
				continue
			}
			select {
			case <-grown:
			case <-lost:
				return
			case <-ctx.Done():
				yield(schemas.Batch{}, context.Cause(ctx))
				return
			}
		}
	}
}

// Read implements pipeline.Source.
func (t *topic) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	all := make([]int, len(t.partitions))
	for p := range all {
		all[p] = p
	}
	return t.read(ctx, all, from, nil)
}

// member is one process's part in the group.
type member struct{ *topic }

// share implements pipeline.Assignment.
type share struct {
	member     *member
	partitions []int
	lost       chan struct{}
	isLost     bool
	released   bool
}

func (t *topic) join() *member {
	m := &member{t}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.members[m] = true
	t.rebalance()
	return m
}

// leave takes a member out; told is whether it learns of it: one that is frozen does not.
func (m *member) leave(told bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.members, m)
	delete(m.ready, m)
	if s := m.current[m]; s != nil && told {
		s.lose()
	}
	delete(m.current, m)
	m.rebalance()
}

func (s *share) lose() {
	if !s.isLost {
		s.isLost = true
		close(s.lost)
	}
}

// rebalance takes everything back, and shares it out once everybody is there or too late.
func (t *topic) rebalance() {
	for _, s := range t.current {
		s.lose()
	}
	t.changed = true
	if t.late != nil {
		t.late.Stop()
	}
	t.late = time.AfterFunc(rebalanceTimeout, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for m := range t.members {
			if t.ready[m] == nil {
				delete(t.members, m)
				delete(t.current, m)
			}
		}
		t.shareOut()
	})
	t.shareOut()
}

func (t *topic) shareOut() {
	if !t.changed || len(t.members) == 0 || len(t.ready) < len(t.members) {
		return
	}
	t.changed = false
	t.late.Stop()
	var all []*member
	for m := range t.members {
		all = append(all, m)
	}
	for i, m := range all {
		s := &share{member: m, lost: make(chan struct{}), partitions: []int{}}
		for p := i; p < len(t.partitions); p += len(all) {
			s.partitions = append(s.partitions, p)
		}
		t.current[m] = s
		t.ready[m] <- s
	}
	clear(t.ready)
}

// Assign implements pipeline.Shared.
func (m *member) Assign(ctx context.Context) (pipeline.Assignment, error) {
	m.mu.Lock()
	mine := make(chan *share, 1)
	if !m.members[m] { // it was too late, or frozen: it comes as a new one
		m.members[m] = true
		m.ready[m] = mine
		m.rebalance()
	} else {
		m.ready[m] = mine
		m.changed = true
		m.shareOut()
	}
	m.mu.Unlock()
	select {
	case s := <-mine:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *share) Partitions() []string {
	out := make([]string, 0, len(s.partitions))
	for _, p := range s.partitions {
		out = append(out, name(p))
	}
	return out
}

func (s *share) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	return s.member.read(ctx, s.partitions, from, s.lost)
}

func (s *share) Lost() <-chan struct{} { return s.lost }

func (*share) Committed(schemas.Marks) {}

func (s *share) Release() {
	s.member.mu.Lock()
	defer s.member.mu.Unlock()
	s.released = true
}

// process is one Inflow beside others: a member of the group with a ledger of its own.
type process struct {
	t      *testing.T
	topic  *topic
	sink   pipeline.Sink
	usage  pipeline.Sink
	dead   pipeline.Sink // nil: none
	model  pipeline.Model
	state  string
	also   func(*pipeline.Options)
	member *member
	stop   context.CancelCauseFunc
	ended  chan error
	stats  *pipeline.Stats
}

var errKilled = errors.New("killed")

func (p *process) start(ctx context.Context) {
	p.t.Helper()
	p.member = p.topic.join()
	p.run(ctx, p.member)
}

func (p *process) run(ctx context.Context, source pipeline.Source) {
	p.t.Helper()
	template, problems := prompts.Parse([]prompts.Message{{Role: "user", Content: "{{ body }}"}}, source.Schema())
	if len(problems) > 0 {
		p.t.Fatal(problems)
	}
	book, err := prices.Default()
	if err != nil {
		p.t.Fatal(err)
	}
	record, err := ledger.Open(p.state)
	if err != nil {
		p.t.Fatal(err)
	}
	p.stats = &pipeline.Stats{}
	options := pipeline.Options{
		Job: "job", RunID: "run", Requester: "etl@example.com", SourceName: "topic", Follow: true,
		Source: source, Sink: p.sink, Usage: p.usage, Ledger: record,
		Question: pipeline.Question{
			Endpoint: schemas.Endpoint{Name: "triage", Destinations: []schemas.Destination{
				{Name: "mini", Provider: "openai", Model: "gpt-4o-mini", TrafficPercentage: 100},
			}},
			Models: []pipeline.Model{p.model}, Prompt: template, Reuse: pipeline.ReuseRow, Timeout: time.Minute, Retries: 5,
		},
		Limiter: concurrent(4), Prices: book, FailAbove: 1,
		EpochRows: 50, EpochBytes: 1 << 20, Window: 64, Drain: 30 * time.Second,
		Memory: p.topic.mem, Logger: slog.New(slog.DiscardHandler), Stats: p.stats,
	}
	options.DeadLetters = p.dead
	if p.also != nil {
		p.also(&options)
	}
	ctx, p.stop = context.WithCancelCause(ctx)
	p.ended = make(chan error, 1)
	go func() {
		err := pipeline.Run(ctx, options)
		if closed := record.Close(); closed != nil {
			p.t.Error(closed)
		}
		p.ended <- err
	}()
}

// end asks the process to stop, waits for it, and tells the group.
func (p *process) end() {
	p.t.Helper()
	p.stop(errors.New("a signal"))
	if err := <-p.ended; !errors.Is(err, pipeline.ErrInterrupted) {
		p.t.Errorf("a process ended with %v", err)
	}
	if p.member != nil {
		p.member.leave(true)
	}
}

// kill ends the process as suddenly as can be: nothing that it does from now on takes effect.
func (p *process) kill() {
	p.t.Helper()
	for _, sink := range []pipeline.Sink{p.sink, p.usage} {
		to := sink.(*handle) //nolint:errcheck,forcetypeassert // only members are killed
		to.shelf.mu.Lock()
		to.dead = errKilled
		to.shelf.mu.Unlock()
	}
	p.model.(*mortal).killed.Store(true) //nolint:errcheck,forcetypeassert // as above
	p.stop(errKilled)
	<-p.ended
	for _, sink := range []pipeline.Sink{p.sink, p.usage} {
		sink.(*handle).dead = nil //nolint:errcheck,forcetypeassert // as above
	}
	p.model.(*mortal).killed.Store(false) //nolint:errcheck,forcetypeassert // as above
	gone := p.member
	time.AfterFunc(30*time.Second, func() { gone.leave(true) })
}

// mortal is a model that hears nothing from a process that was killed.
type mortal struct {
	*model

	killed atomic.Bool
}

func (m *mortal) Invoke(ctx context.Context, request *schemas.Request) (*schemas.Response, error) {
	response, err := m.model.Invoke(ctx, request)
	if m.killed.Load() {
		return &schemas.Response{}, context.Canceled
	}
	return response, err
}

func newShelf() *shelf { return &shelf{marks: schemas.Marks{}} }

// ids are the values of a shelf's first column, in order.
func (s *shelf) ids() []string {
	var out []string
	for _, record := range s.visible {
		for i := range int(record.NumRows()) {
			out = append(out, schemas.Text(record.Column(0), i))
		}
	}
	return out
}

// TestStreamCommitsAsRowsCome: a stream's rows are visible after their epoch's age, with the history that tells of them, and
// the run goes on until it is asked to stop.
func TestStreamCommitsAsRowsCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		sink, usage := newShelf(), newShelf()
		p := &process{
			t: t, topic: newTopic(mem, 2), sink: sink, usage: usage, state: t.TempDir(),
			model: &model{calls: map[string]int{}, script: always},
		}
		p.run(t.Context(), p.topic)
		started := time.Now()
		p.topic.append(1, letter{body: "a"})
		time.Sleep(900 * time.Millisecond) //nolint:forbidigo // in fake time
		p.topic.append(0, letter{body: "b"})
		time.Sleep(2 * time.Second) //nolint:forbidigo // in fake time
		synctest.Wait()
		if got := sink.ids(); !slices.Equal(got, []string{"1/0", "0/0"}) || sink.commits != 1 {
			t.Fatalf("got %v in %d commits", got, sink.commits)
		}
		about := sink.epochs[0]
		if about.Rows != 2 || !about.Oldest.Equal(started) || about.Newest.Sub(started) != 900*time.Millisecond || about.Job != "job" {
			t.Errorf("the history says %+v", about)
		}
		at := p.stats.Progress()
		if at.Freshness.Round(100*time.Millisecond) != time.Second || !at.Marks.Equal(schemas.Marks{"topic/0": 1, "topic/1": 1}) || !at.Watermark.Equal(about.Newest) {
			t.Errorf("progress is %+v", at)
		}
		p.end()
		sink.release()
		usage.release()
		mem.AssertSize(t, 0)
	})
}

// TestEpochsOverlap: while a commit takes its time the next epoch is asked about and written, and the pace follows the
// commits.
func TestEpochsOverlap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		sink, usage := newShelf(), newShelf()
		p := &process{
			t: t, topic: newTopic(mem, 1), sink: sink, usage: usage, state: t.TempDir(),
			model: &model{calls: map[string]int{}, script: always},
			also:  func(o *pipeline.Options) { o.EpochRows, o.Window = 1000, 10000 },
		}
		sink.slow = 5 * time.Second
		p.run(t.Context(), p.topic)
		for i := range 400 { // ten a second
			p.topic.append(0, letter{body: fmt.Sprint(i)})
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // in fake time
		}
		if asked := p.stats.Rows.Load(); asked < 398 {
			t.Errorf("%d rows of 400 are answered: commits held them up", asked)
		}
		// The first epoch takes 1 s to fill and 5 s to commit; the others then fill for 10 s, commits beside them.
		sink.mu.Lock()
		commits := sink.commits
		sink.mu.Unlock()
		if commits < 3 || commits > 5 {
			t.Errorf("%d commits of 5 s in 40 s", commits)
		}
		p.end()
		if got := sink.ids(); len(got) != 400 {
			t.Errorf("%d rows", len(got))
		}
		sink.release()
		usage.release()
		mem.AssertSize(t, 0)
	})
}

// TestRequestsWaitForRows: a request of many rows is sent when it is full or when its first row has waited long enough.
func TestRequestsWaitForRows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		sink, usage := newShelf(), newShelf()
		crowd := &crowd{paid: map[string]int{}}
		p := &process{
			t: t, topic: newTopic(mem, 1), sink: sink, usage: usage, state: t.TempDir(),
			also: func(o *pipeline.Options) {
				o.Question.Task, o.Question.BatchSize, o.Question.Models = schemas.TaskEmbeddings, 3, []pipeline.Model{crowd}
				o.Question.BatchWait = 200 * time.Millisecond
			},
		}
		p.run(t.Context(), p.topic)
		sizes := func() []int {
			synctest.Wait()
			crowd.mu.Lock()
			defer crowd.mu.Unlock()
			return slices.Clone(crowd.sizes)
		}
		p.topic.append(0, letter{body: "a"})
		time.Sleep(150 * time.Millisecond) //nolint:forbidigo // in fake time
		p.topic.append(0, letter{body: "bb"})
		if got := sizes(); len(got) != 0 {
			t.Errorf("asked about %v rows before it was time", got)
		}
		time.Sleep(60 * time.Millisecond) //nolint:forbidigo // in fake time
		if got := sizes(); !slices.Equal(got, []int{2}) {
			t.Errorf("asked about %v rows when the first had waited", got)
		}
		p.topic.append(0, letter{body: "c"}, letter{body: "dd"}, letter{body: "eee"}, letter{body: "ffff"})
		if got := sizes(); !slices.Equal(got, []int{2, 3}) {
			t.Errorf("asked about %v rows when there were enough", got)
		}
		time.Sleep(210 * time.Millisecond) //nolint:forbidigo // in fake time
		if got := sizes(); !slices.Equal(got, []int{2, 3, 1}) {
			t.Errorf("asked about %v rows in the end", got)
		}
		p.end()
		sink.release()
		usage.release()
		mem.AssertSize(t, 0)
	})
}

// TestRowsOfAKeyInOrder: rows of one key are asked one after another, of those that wait the earliest event first, and
// other keys do not wait for them.
func TestRowsOfAKeyInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		sink, usage := newShelf(), newShelf()
		m := &asking{model: &model{calls: map[string]int{}, script: func(string, int) (time.Duration, error) { return time.Second, nil }}}
		p := &process{
			t: t, topic: newTopic(mem, 1), sink: sink, usage: usage, state: t.TempDir(), model: m.model,
			also: func(o *pipeline.Options) {
				o.Question.OrderBy, o.Question.EventTime, o.Question.Models = []int{1}, 2, []pipeline.Model{m}
				o.Question.Reuse = pipeline.ReuseNone
			},
		}
		p.run(t.Context(), p.topic)
		now := time.Now()
		p.topic.append(0,
			letter{body: "x", at: now}, letter{body: "x", at: now.Add(3 * time.Second)}, letter{body: "x", at: now.Add(time.Second)},
			letter{bad: true}, letter{body: "y", at: now}, letter{body: "x", at: now.Add(2 * time.Second)})
		time.Sleep(1500 * time.Millisecond) //nolint:forbidigo // in fake time
		synctest.Wait()
		if got, peak := m.order(); len(got) != 3 || peak != 2 {
			t.Errorf("asked %v, %d at once", got, peak)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // in fake time
		p.end()
		if got := sink.ids(); !slices.Equal(got, []string{"0/0", "0/1", "0/2", "", "0/4", "0/5"}) {
			t.Errorf("got %v", got)
		}
		// The events were 0, 2, 5, 1 by time: 1 was asked last.
		events := map[string]time.Time{}
		for _, record := range sink.visible {
			inference := record.Column(5).(*array.Struct) //nolint:errcheck // the schema fixes the type
			for i := range int(record.NumRows()) {
				if at := inference.Field(12).(*array.Timestamp); !at.IsNull(i) { //nolint:errcheck // the schema fixes the type
					events[schemas.Text(record.Column(0), i)] = at.Value(i).ToTime(arrow.Microsecond)
				}
			}
		}
		for i, id := range []string{"0/2", "0/5", "0/1"} {
			if got := events[id].Sub(events["0/0"]); got < time.Duration(i+1)*time.Second || got >= time.Duration(i+2)*time.Second {
				t.Errorf("%s was asked %v after the first", id, got)
			}
		}
		sink.release()
		usage.release()
		mem.AssertSize(t, 0)
	})
}

// asking notes the order of questions.
type asking struct {
	*model

	asked []string
}

func (a *asking) Invoke(ctx context.Context, request *schemas.Request) (*schemas.Response, error) {
	a.mu.Lock()
	a.asked = append(a.asked, request.Messages[0].Content)
	a.mu.Unlock()
	return a.model.Invoke(ctx, request)
}

func (a *asking) order() (asked []string, peak int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked), a.peak
}

// TestDeadLetters: what cannot be read, and what the model rejects, goes to the dead letters as it arrived and not to the
// results, once, also where the process died between the two commits.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		sink, usage, dead := newShelf(), newShelf(), newShelf()
		asked := &model{calls: map[string]int{}}
		p := &process{
			t: t, topic: newTopic(mem, 2), sink: sink, usage: usage, dead: dead, state: t.TempDir(),
			model: asked,
		}
		asked.script = func(prompt string, _ int) (time.Duration, error) {
			if prompt == "rejected" {
				return 0, failure(schemas.Rejected, 400, 0)
			}
			return 0, nil
		}
		p.topic.append(0, letter{body: "a"}, letter{body: "\xff", bad: true}, letter{body: "b"}, letter{body: "rejected"})
		p.topic.append(1, letter{body: "c"})
		sink.broken = errKilled // after the dead letters are there
		p.run(t.Context(), p.topic)
		if err := <-p.ended; !errors.Is(err, errKilled) {
			t.Fatalf("got %v", err)
		}
		if len(dead.visible) == 0 || len(sink.visible) != 0 {
			t.Fatal("the dead letters are committed first")
		}
		sink.broken = nil
		p.run(t.Context(), p.topic)
		time.Sleep(2 * time.Second) //nolint:forbidigo // in fake time
		p.topic.append(1, letter{body: "late", bad: true})
		time.Sleep(2 * time.Second) //nolint:forbidigo // in fake time
		p.end()
		ids := sink.ids()
		slices.Sort(ids)
		if !slices.Equal(ids, []string{"0/0", "0/2", "1/0"}) {
			t.Errorf("results: %v", ids)
		}
		var letters []string
		for _, record := range dead.visible {
			if !record.Schema().Equal(schemas.DeadLetterSchema()) {
				t.Fatalf("columns are %v", record.Schema())
			}
			failed := record.Column(7).(*array.Struct) //nolint:errcheck // the schema fixes the type
			for i := range int(record.NumRows()) {
				letters = append(letters, string(record.Column(1).(*array.Binary).Value(i))+" "+schemas.Text(failed.Field(0), i)) //nolint:errcheck // the schema fixes the type
			}
		}
		if want := []string{"\xff undecodable", "rejected status_400", "late undecodable"}; !slices.Equal(letters, want) {
			t.Errorf("dead letters: %q, want %q", letters, want)
		}
		if asked.calls["rejected"] != 1 {
			t.Errorf("the rejected one was asked %d times", asked.calls["rejected"])
		}
		if last := sink.epochs[len(sink.epochs)-1]; last.DeadLetters != 1 || last.Rows != 0 || last.Errors != 1 {
			t.Errorf("the history says %+v", last)
		}
		sink.release()
		usage.release()
		dead.release()
		mem.AssertSize(t, 0)
	})
}

// TestTooManyErrorsOfTheLastRows: a stream forgets its good days.
func TestTooManyErrorsOfTheLastRows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		sink, usage := newShelf(), newShelf()
		p := &process{
			t: t, topic: newTopic(mem, 1), sink: sink, usage: usage, state: t.TempDir(),
			model: &model{calls: map[string]int{}, script: func(prompt string, _ int) (time.Duration, error) {
				if strings.HasPrefix(prompt, "bad") {
					return 0, failure(schemas.Rejected, 400, 0)
				}
				return 0, nil
			}},
			also: func(o *pipeline.Options) {
				o.FailAbove, o.EpochRows, o.Window, o.Limiter = 0.5, 5000, 1000, concurrent(64)
			},
		}
		letters := make([]letter, 24000)
		for i := range letters {
			letters[i].body = "same"
			if i >= 16000 { // a third of all
				letters[i].body = "bad"
			}
		}
		p.topic.append(0, letters...)
		p.run(t.Context(), p.topic)
		if err := <-p.ended; !errors.Is(err, pipeline.ErrTooManyErrors) {
			t.Errorf("got %v", err)
		}
		sink.release()
		usage.release()
	})
}

// TestAPauseIsNoVerdict: a stream that is stopped after one bad row commits it and goes on another time.
func TestAPauseIsNoVerdict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sink, usage := newShelf(), newShelf()
		p := &process{
			t: t, topic: newTopic(memory.DefaultAllocator, 1), sink: sink, usage: usage, state: t.TempDir(),
			model: &model{calls: map[string]int{}, script: always},
			also:  func(o *pipeline.Options) { o.FailAbove = 0.1 },
		}
		p.topic.append(0, letter{bad: true})
		p.run(t.Context(), p.topic)
		synctest.Wait()
		p.end()
		if got := sink.ids(); len(got) != 1 {
			t.Errorf("%d rows", len(got))
		}
	})
}

// TestGroup: members come, leave, freeze and die, each with a ledger of its own; every record comes out once, in its
// partition's order, and nobody pays for what another has committed. Where all leave in order nothing is paid twice.
func TestGroup(t *testing.T) {
	t.Parallel()
	for seed := range uint64(24) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { group(t, seed, seed%2 == 0) })
		})
	}
}

const groupPartitions, groupRecords = 6, 600

func group(t *testing.T, seed uint64, gentle bool) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	log, sink, usage := newTopic(memory.DefaultAllocator, groupPartitions), newShelf(), newShelf()
	shared := &model{calls: map[string]int{}, script: func(prompt string, call int) (time.Duration, error) {
		switch {
		case call == 1 && len(prompt)%7 == 0:
			return 10 * time.Millisecond, failure(schemas.Throttled, 429, time.Second)
		case call == 1 && len(prompt)%5 == 0:
			return 10 * time.Millisecond, failure(schemas.Transient, 503, 0)
		}
		return time.Duration(20+len(prompt)*3) * time.Millisecond, nil
	}}
	sink.slow = time.Duration(random.IntN(3)) * time.Second
	members := make([]*process, 4)
	for i := range members {
		members[i] = &process{t: t, topic: log, sink: &handle{shelf: sink}, usage: &handle{shelf: usage}, state: t.TempDir()}
		members[i].model = &mortal{model: shared}
	}
	ctx := t.Context()
	written, events := 0, 0
	running := map[int]bool{}
	for step := 0; written < groupRecords || step < 30; step++ {
		for range 20 {
			if written < groupRecords {
				log.append(random.IntN(groupPartitions), letter{body: fmt.Sprintf("record %d", written)})
				written++
			}
		}
		i := random.IntN(len(members))
		switch p := members[i]; {
		case !running[i]:
			p.start(ctx)
			running[i] = true
		case random.IntN(3) == 0 || len(running) == 1:
		case gentle || random.IntN(2) == 0:
			p.end()
			delete(running, i)
		case random.IntN(2) == 0: // it freezes in the eyes of the others, and does not know
			frozen := p.member
			log.mu.Lock()
			mine, waits := log.current[frozen], log.ready[frozen] != nil
			log.mu.Unlock()
			if mine == nil || waits {
				break
			}
			events++
			frozen.leave(false)
			time.AfterFunc(time.Duration(random.IntN(20))*time.Second, func() {
				log.mu.Lock()
				defer log.mu.Unlock()
				mine.lose()
			})
		default: // it dies: what it knew and did not write is lost, and the group finds out later
			events++
			p.kill()
			delete(running, i)
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond) //nolint:forbidigo // in fake time
	}
	if len(running) == 0 {
		members[0].start(ctx)
		running[0] = true
	}
	time.Sleep(10 * time.Minute) //nolint:forbidigo // in fake time
	for i := range running {
		members[i].end()
	}
	last := map[string]int{}
	ids := sink.ids()
	for _, id := range ids {
		var partition, offset int
		if _, err := fmt.Sscanf(id, "%d/%d", &partition, &offset); err != nil {
			t.Fatal(err)
		}
		if want := last[name(partition)]; offset != want {
			t.Fatalf("partition %d has offset %d where %d follows", partition, offset, want)
		}
		last[name(partition)]++
	}
	if len(ids) != groupRecords {
		for i := range running {
			t.Logf("member %d: %+v in flight %d", i, members[i].stats.Progress(), members[i].stats.InFlight.Load())
		}
		for m, s := range log.current {
			t.Logf("%p has %v lost %v released %v; member %v ready %v", m, s.partitions, s.isLost, s.released, log.members[m], log.ready[m] != nil)
		}
		t.Logf("%d members, changed %v", len(log.members), log.changed)
		t.Errorf("%d of %d records came out", len(ids), groupRecords)
	}
	twice := 0
	for prompt, calls := range shared.counts {
		if calls > 1 {
			twice++
		}
		if calls > 1+events {
			t.Errorf("%q was paid %d times in %d events", prompt, calls, events)
		}
	}
	if events == 0 && twice > 0 {
		t.Errorf("%d records were paid twice, and nobody died", twice)
	}
	// What is at stake in one event is what a member has in its window, and no more.
	if twice > events*(64+10) {
		t.Errorf("%d records were paid twice in %d events", twice, events)
	}
	sink.release()
	usage.release()
}
