package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/filters"
	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/pipeline/prices"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// table is a source of numbered rows in memory: one partition, one mark.
type table struct {
	mem       memory.Allocator
	rows      int
	batchRows int
	text      func(row int) string
}

func (*table) Schema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "body", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
}

func (t *table) Count(_ context.Context, from schemas.Marks) (total, done int64, err error) {
	return int64(t.rows), from["row"], nil
}

func (t *table) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		for start := int(from["row"]); start < t.rows; start += t.batchRows {
			if ctx.Err() != nil {
				yield(schemas.Batch{}, context.Cause(ctx))
				return
			}
			end := min(start+t.batchRows, t.rows)
			b := array.NewRecordBuilder(t.mem, t.Schema())
			for row := start; row < end; row++ {
				b.Field(0).(*array.Int64Builder).Append(int64(row))   //nolint:errcheck // the schema beside it fixes the type
				b.Field(1).(*array.StringBuilder).Append(t.text(row)) //nolint:errcheck // the schema beside it fixes the type
			}
			record := b.NewRecord()
			b.Release()
			if !yield(schemas.Batch{
				Record: record, Marks: schemas.Marks{"row": int64(end)}, Partition: "part-0", Offset: int64(start), Version: 3,
			}, nil) {
				return
			}
		}
	}
}

// shelf is a table in memory with transactions, and a sink of its own.
type shelf struct {
	handle

	mu      sync.Mutex
	marks   schemas.Marks
	visible []arrow.Record
	commits int
	epochs  []schemas.Epoch
	slow    time.Duration // how long a commit takes
	broken  error         // what it fails with
}

// handle is a sink that writes to a shelf beside others.
type handle struct {
	shelf *shelf // nil: the one that it is part of
	dead  error  // what everything fails with

	open []arrow.Record
}

func (s *shelf) Marks(ctx context.Context) (schemas.Marks, error) { return s.on().Marks(ctx) }

func (s *shelf) Seal(ctx context.Context) (func(context.Context, schemas.Marks, schemas.Marks, *schemas.Epoch) error, error) {
	return s.on().Seal(ctx)
}

func (s *shelf) on() *handle {
	s.shelf = s
	return &s.handle
}

func (h *handle) Marks(context.Context) (schemas.Marks, error) {
	h.shelf.mu.Lock()
	defer h.shelf.mu.Unlock()
	return maps.Clone(h.shelf.marks), h.dead
}

func (h *handle) Write(_ context.Context, record arrow.Record) error {
	record.Retain()
	h.open = append(h.open, record)
	return nil
}

func (h *handle) Seal(context.Context) (func(context.Context, schemas.Marks, schemas.Marks, *schemas.Epoch) error, error) {
	sealed := h.open
	h.open = nil
	return func(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error {
		err := h.shelf.commit(ctx, from, to, about, sealed, func() error { return h.dead })
		if err != nil {
			for _, record := range sealed {
				record.Release()
			}
		}
		return err
	}, nil
}

func (s *shelf) commit(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch, rows []arrow.Record, dead func() error) error {
	if s.slow > 0 {
		if err := limits.Wait(ctx, s.slow); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(dead(), s.broken); err != nil {
		return err
	}
	for name := range to {
		mark, ok := s.marks[name]
		if was, had := from[name]; ok != had || mark != was {
			return schemas.ErrFenced
		}
	}
	if s.marks == nil {
		s.marks = schemas.Marks{}
	}
	maps.Copy(s.marks, to)
	s.visible, s.commits = append(s.visible, rows...), s.commits+1
	if about != nil {
		s.epochs = append(s.epochs, *about)
	}
	return nil
}

func (h *handle) Close(context.Context) error {
	for _, record := range h.open {
		record.Release()
	}
	h.open = nil
	return nil
}

func (s *shelf) release() {
	for _, record := range s.visible {
		record.Release()
	}
}

// model answers with the user's text in capitals of its own, after whatever the script says.
type model struct {
	mu     sync.Mutex
	calls  map[string]int // by prompt
	paid   int
	counts map[string]int // answers by prompt
	script func(prompt string, call int) (time.Duration, error)
	active int
	peak   int
	media  []string // MIME type and length of the media that came
}

func (*model) URL(schemas.Task) string { return "memory://model" }

func (m *model) Invoke(ctx context.Context, request *schemas.Request) (*schemas.Response, error) {
	prompt := request.Messages[len(request.Messages)-1].Content
	m.mu.Lock()
	m.calls[prompt]++
	call := m.calls[prompt]
	m.active++
	m.peak = max(m.peak, m.active)
	for _, part := range request.Messages[0].Parts {
		m.media = append(m.media, fmt.Sprintf("%s %d", part.Media.MIMEType, len(part.Media.Data)))
	}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.active--
		m.mu.Unlock()
	}()
	wait, err := m.script(prompt, call)
	refused := &schemas.Response{Usage: schemas.Usage{Basis: schemas.BasisNone}}
	if waited := limits.Wait(ctx, wait); waited != nil {
		if errors.Is(waited, context.DeadlineExceeded) {
			refused.Usage = schemas.Usage{InputTokens: 10, Basis: schemas.BasisEstimated}
			return refused, &schemas.Error{Class: schemas.Ambiguous, Code: "timeout", Err: waited}
		}
		return refused, waited
	}
	if err != nil {
		if failed, ok := errors.AsType[*schemas.Error](err); ok {
			refused.HTTPStatus = failed.HTTPStatus
		}
		return refused, err
	}
	m.mu.Lock()
	m.paid++
	if m.counts == nil {
		m.counts = map[string]int{}
	}
	m.counts[prompt]++
	m.mu.Unlock()
	return &schemas.Response{
		Text: "answer to " + prompt, Model: "gpt-4o-mini-2024-07-18", HTTPStatus: 200,
		Usage: schemas.Usage{InputTokens: 10, OutputTokens: 2, TotalTokens: 12, CacheReadInputTokens: new(int64(8)), Basis: schemas.BasisProvider, Raw: `{"total_tokens":12}`},
	}, nil
}

func failure(class schemas.Class, status int, after time.Duration) error {
	return &schemas.Error{
		Op: "model", Class: class, Code: fmt.Sprintf("status_%d", status), HTTPStatus: status, RetryAfter: after,
		Err: fmt.Errorf("status %d", status),
	}
}

func always(string, int) (time.Duration, error) { return time.Millisecond, nil }

// bench is one job on memory adapters.
type bench struct {
	t       *testing.T
	mem     *memory.CheckedAllocator
	source  *table
	sink    *shelf
	usage   *shelf
	model   *model
	state   string
	options func(*pipeline.Options)
}

func newBench(t *testing.T, rows int) *bench {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	b := &bench{
		t: t, mem: mem, sink: &shelf{}, usage: &shelf{}, state: t.TempDir(), options: func(*pipeline.Options) {},
		source: &table{mem: mem, rows: rows, batchRows: 7, text: func(row int) string { return fmt.Sprintf("row %d", row) }},
		model:  &model{calls: map[string]int{}, script: always},
	}
	return b
}

// run runs the job once, as a process of its own would.
func (b *bench) run(ctx context.Context) (*pipeline.Stats, error) {
	b.t.Helper()
	l, err := ledger.Open(b.state)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			b.t.Error(err)
		}
	}()
	template, problems := prompts.Parse([]prompts.Message{{Role: "user", Content: "{{ body }}"}}, b.source.Schema())
	if len(problems) > 0 {
		b.t.Fatal(problems)
	}
	book, err := prices.Default()
	if err != nil {
		b.t.Fatal(err)
	}
	stats := &pipeline.Stats{}
	options := pipeline.Options{
		Job: "job", RunID: "run", Requester: "etl@example.com", SourceName: "main.s.t",
		Source: b.source, Sink: b.sink, Usage: b.usage, Ledger: l,
		Question: pipeline.Question{
			Endpoint: schemas.Endpoint{Name: "triage", Destinations: []schemas.Destination{
				{Name: "mini", Provider: "openai", Model: "gpt-4o-mini", TrafficPercentage: 100},
			}},
			Models: []pipeline.Model{b.model}, Prompt: template, Key: []int{0}, Reuse: pipeline.ReuseRow,
			Timeout: time.Minute, Retries: 5,
		},
		Limiter: concurrent(8), Prices: book, FailAbove: 1,
		EpochRows: 20, EpochBytes: 1 << 20, EpochAge: time.Minute, Window: 32, Drain: time.Second,
		Memory: b.mem, Logger: slog.New(slog.DiscardHandler), Stats: stats,
	}
	b.options(&options)
	return stats, pipeline.Run(ctx, options)
}

func concurrent(calls int) *limits.Limiter { return limits.New(limits.Options{Concurrency: calls}) }

type result struct {
	id          int64
	response    string
	failed      bool
	invocation  string
	reused      bool
	code, class string
	cost        string
}

func (b *bench) results() []result {
	var out []result
	for _, record := range b.sink.visible {
		inference := record.Column(4).(*array.Struct) //nolint:errcheck // the schema beside it fixes the type
		failed := record.Column(3).(*array.Struct)    //nolint:errcheck // the schema beside it fixes the type
		for i := range int(record.NumRows()) {
			r := result{
				id: record.Column(0).(*array.Int64).Value(i), response: schemas.Text(record.Column(2), i), //nolint:errcheck // the schema beside it fixes the type
				failed: !failed.IsNull(i), invocation: schemas.Text(inference.Field(1), i),
				reused: inference.Field(10).(*array.Boolean).Value(i), cost: schemas.Text(inference.Field(8), i), //nolint:errcheck // the schema beside it fixes the type
			}
			if r.failed {
				r.code, r.class = schemas.Text(failed.Field(0), i), schemas.Text(failed.Field(1), i)
			}
			out = append(out, r)
		}
	}
	return out
}

// column reads one column of the usage table as text.
func (b *bench) column(name string) []string {
	var out []string
	for _, record := range b.usage.visible {
		at := record.Schema().FieldIndices(name)[0]
		for i := range int(record.NumRows()) {
			out = append(out, schemas.Text(record.Column(at), i))
		}
	}
	return out
}

// check demands every row of the source exactly once, in source order, and frees everything.
func (b *bench) check() {
	b.t.Helper()
	results := b.results()
	if len(results) != b.source.rows {
		b.t.Fatalf("%d results for %d rows", len(results), b.source.rows)
	}
	for i, r := range results {
		if r.id != int64(i) {
			b.t.Fatalf("result %d is of row %d: out of order", i, r.id)
		}
		if !r.failed && r.response != "answer to "+b.source.text(i) {
			b.t.Fatalf("row %d has the answer %q", i, r.response)
		}
	}
}

func (b *bench) done() {
	b.t.Helper()
	b.sink.release()
	b.usage.release()
	b.mem.AssertSize(b.t, 0)
}

func TestEveryRowOnceAtEveryBatchSizeAndConcurrency(t *testing.T) {
	t.Parallel()
	for _, batchRows := range []int{1, 3, 50, 1000} {
		for _, concurrency := range []int{1, 4, 64} {
			t.Run(fmt.Sprintf("batch=%d/concurrency=%d", batchRows, concurrency), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := newBench(t, 150)
					b.source.batchRows = batchRows
					b.options = func(o *pipeline.Options) { o.Limiter = concurrent(concurrency) }
					b.model.script = func(prompt string, _ int) (time.Duration, error) {
						h := fnv.New32a()
						_, _ = h.Write([]byte(prompt))
						return time.Duration(h.Sum32()%97) * time.Millisecond, nil
					}
					if _, err := b.run(t.Context()); err != nil {
						t.Fatal(err)
					}
					b.check()
					if b.model.peak > concurrency {
						t.Errorf("%d calls at once", b.model.peak)
					}
					if got := len(b.column("invocation_id")); got != 150 {
						t.Errorf("%d usage rows", got)
					}
					// Nothing is left to do, so nothing is paid.
					stats, err := b.run(t.Context())
					if err != nil || stats.Invocations.Load() != 0 || b.model.paid != 150 {
						t.Errorf("second run: %v, %d calls", err, stats.Invocations.Load())
					}
					b.done()
				})
			})
		}
	}
}

func TestFaultsAreRetriedAndCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 200)
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		sent := 0
		b.model.script = func(prompt string, call int) (time.Duration, error) {
			mu.Lock()
			defer mu.Unlock()
			sent++
			if prompt == "row 13" {
				return 0, failure(schemas.Rejected, 400, 0)
			}
			if call > 3 {
				return time.Millisecond, nil
			}
			switch random.IntN(6) {
			case 0:
				return 0, failure(schemas.Throttled, 429, 2*time.Second)
			case 1:
				return 0, failure(schemas.Throttled, 429, 0)
			case 2:
				return 0, failure(schemas.Transient, 503, 0)
			case 3:
				return 2 * time.Minute, nil // a hang: cut off by the timeout
			}
			return time.Millisecond, nil
		}
		stats, err := b.run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.check()
		for _, r := range b.results() {
			if r.failed != (r.id == 13) {
				t.Errorf("row %d failed: %v", r.id, r.failed)
			}
		}
		if rows := len(b.column("invocation_id")); rows != sent || int64(sent) != stats.Invocations.Load() {
			t.Errorf("%d calls, %d usage rows, %d counted", sent, rows, stats.Invocations.Load())
		}
		b.done()
	})
}

func TestAFatalErrorStopsAndCommitsWhatIsComplete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 200)
		b.model.script = func(prompt string, _ int) (time.Duration, error) {
			if prompt == "row 100" {
				return 0, failure(schemas.Fatal, 401, 0)
			}
			return time.Millisecond, nil
		}
		_, err := b.run(t.Context())
		if schemas.ClassOf(err) != schemas.Fatal || err == nil {
			t.Fatalf("got %v", err)
		}
		if marks, _ := b.sink.Marks(t.Context()); marks["row"] > 100 || marks["row"] < 80 {
			t.Errorf("committed up to %s", marks)
		}
		b.model.script = always
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check()
		if b.model.paid != 200 {
			t.Errorf("paid for %d answers to 200 rows", b.model.paid)
		}
		b.done()
	})
}

func TestInterruptDrainsAndResumes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 300)
		b.model.script = func(string, int) (time.Duration, error) { return 300 * time.Millisecond, nil }
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 1100*time.Millisecond)
			_, err := b.run(ctx)
			cancel()
			if err == nil {
				break
			}
			if !errors.Is(err, pipeline.ErrInterrupted) {
				t.Fatal(err)
			}
		}
		b.check()
		if b.model.paid != 300 {
			t.Errorf("paid for %d answers to 300 rows", b.model.paid)
		}
		b.done()
	})
}

func TestTooManyErrorsStopBeforeTheEpochIsCommitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1000)
		b.options = func(o *pipeline.Options) { o.FailAbove = 0.05; o.Question.Retries = 0 }
		b.model.script = func(string, int) (time.Duration, error) { return 0, failure(schemas.Transient, 500, 0) }
		stats, err := b.run(t.Context())
		if !errors.Is(err, pipeline.ErrTooManyErrors) {
			t.Fatalf("got %v", err)
		}
		if stats.Rows.Load() > 300 {
			t.Errorf("went on for %d rows", stats.Rows.Load())
		}
		b.done()
	})
}

func TestReuseAsksEqualQuestionsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100)
		b.source.text = func(row int) string { return fmt.Sprintf("row %d", row%10) }
		b.options = func(o *pipeline.Options) { o.Question.Reuse = pipeline.ReuseRequest }
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.check()
		if b.model.paid != 10 {
			t.Errorf("paid for %d answers to 10 questions", b.model.paid)
		}
		ids := map[string]bool{}
		reused := 0
		for _, r := range b.results() {
			ids[r.invocation] = true
			if r.reused {
				reused++
			}
		}
		if len(ids) != 100 || reused != 90 {
			t.Errorf("%d invocations, %d of them reused", len(ids), reused)
		}
		origins := 0
		for _, from := range b.column("reused_from") {
			if from != "" {
				origins++
			}
		}
		if origins != 90 || len(b.column("invocation_id")) != 100 {
			t.Errorf("%d usage rows, %d of them reused", len(b.column("invocation_id")), origins)
		}
		if cached := strings.Count(strings.Join(b.column("token_details"), " "), `"cache_read_input_tokens":8`); cached != 10 {
			t.Errorf("%d usage rows have cached tokens, of 10 calls", cached)
		}
		b.done()
	})
}

// TestEqualNeighboursAreAskedOnce runs in real time, where a row may look for an answer just before it lands.
func TestEqualNeighboursAreAskedOnce(t *testing.T) {
	t.Parallel()
	const rows, alike = 5000, 5
	b := newBench(t, rows)
	b.source.batchRows = 512
	b.source.text = func(row int) string { return fmt.Sprintf("row %d", row/alike) }
	b.model.script = func(string, int) (time.Duration, error) { return 0, nil }
	b.options = func(o *pipeline.Options) {
		o.Question.Reuse, o.Limiter, o.Window, o.EpochRows = pipeline.ReuseRequest, concurrent(256), 4096, 2000
	}
	if _, err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.check()
	if b.model.paid != rows/alike {
		t.Errorf("paid for %d answers to %d questions", b.model.paid, rows/alike)
	}
	b.done()
}

func TestTheFilterLeavesRowsOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100)
		filter, err := filters.Parse(`id % 3 == 0 && body != "row 9"`, b.source.Schema())
		if err != nil {
			t.Fatal(err)
		}
		b.options = func(o *pipeline.Options) { o.Question.Filter = filter }
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		results := b.results()
		if len(results) != 33 {
			t.Errorf("%d results", len(results))
		}
		for _, r := range results {
			if r.id%3 != 0 || r.response != "answer to "+b.source.text(int(r.id)) {
				t.Errorf("%+v", r)
			}
		}
		if marks, _ := b.sink.Marks(t.Context()); marks["row"] != 100 {
			t.Errorf("marks %s", marks)
		}
		b.done()
	})
}

func TestTheBudgetIsNeverOverspent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 500)
		budget := new(schemas.USD)
		if err := budget.UnmarshalBinary([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x8d, 0x7e, 0xa4, 0xc6, 0x80, 0}); err != nil { // $0.001
			t.Fatal(err)
		}
		b.options = func(o *pipeline.Options) { o.Limiter = limits.New(limits.Options{Concurrency: 8, Budget: budget}) }
		stats, err := b.run(t.Context())
		if !errors.Is(err, limits.ErrBudget) {
			t.Fatalf("got %v", err)
		}
		cost, complete := stats.Cost()
		if cost.Cmp(*budget) > 0 || !complete || stats.Rows.Load() == 0 {
			t.Errorf("spent %s for %d rows", cost, stats.Rows.Load())
		}
		b.done()
	})
}

func TestASecondRunIsFenced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 100)
		b.model.script = func(prompt string, _ int) (time.Duration, error) {
			if prompt == "row 50" { // meanwhile another run commits
				b.sink.mu.Lock()
				b.sink.marks = schemas.Marks{"row": 60}
				b.sink.mu.Unlock()
			}
			return time.Millisecond, nil
		}
		_, err := b.run(t.Context())
		if !errors.Is(err, schemas.ErrFenced) {
			t.Fatalf("got %v", err)
		}
		if got := len(b.column("invocation_id")); got != b.model.paid {
			t.Errorf("%d usage rows for %d answers", got, b.model.paid)
		}
		b.done()
	})
}
