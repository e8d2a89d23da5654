package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow/array"
	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/answers"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// crowd answers many rows at once: a text by its length and a half, features by their sum's text. It refuses a request
// that has a text or a feature of bad, and its code fails at one of broken.
type crowd struct {
	mu    sync.Mutex
	sizes []int          // rows of every call
	paid  map[string]int // by text
	wait  func() time.Duration
	down  int // how often it says that it is not there
}

func (*crowd) URL(schemas.Task) string { return "memory://crowd" }

func (c *crowd) Invoke(ctx context.Context, request *schemas.Request) (*schemas.Response, error) {
	texts := slices.Clone(request.Inputs)
	if request.Frame != nil {
		for _, row := range request.Frame.Rows {
			texts = append(texts, string(row))
		}
	}
	response := &schemas.Response{HTTPStatus: 200, Usage: schemas.Usage{Basis: schemas.BasisNone}}
	if c.wait != nil {
		if err := limits.Wait(ctx, c.wait()); err != nil {
			response.Usage = schemas.Usage{InputTokens: 1, Basis: schemas.BasisEstimated}
			return response, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes = append(c.sizes, len(texts))
	all := strings.Join(texts, "\n")
	switch {
	case c.down > 0:
		c.down--
		response.HTTPStatus = 503
		return response, failure(schemas.Transient, 503, 0)
	case strings.Contains(all, "bad"):
		response.HTTPStatus = 400
		return response, failure(schemas.Rejected, 400, 0)
	case strings.Contains(all, "broken"):
		response.HTTPStatus = 500
		return response, failure(schemas.Transient, 500, 0)
	}
	tokens := int64(7) // of the request, whatever is in it: the shares must add up to it as well
	for _, text := range texts {
		c.paid[text]++
		tokens += int64(utf8.RuneCountInString(text))
		if request.Frame == nil {
			response.Embeddings = append(response.Embeddings, []float32{float32(len(text)), 0.5})
			continue
		}
		var features []any
		if err := json.Unmarshal([]byte(text), &features); err != nil {
			return response, err
		}
		prediction, err := json.Marshal(map[string]any{"label": features[1], "score": features[0]})
		if err != nil {
			return response, err
		}
		response.Predictions = append(response.Predictions, prediction)
	}
	if at := slices.Index(request.Inputs, "dropped"); at >= 0 {
		response.Embeddings = slices.Delete(response.Embeddings, at, at+1)
		return response, &schemas.Error{Class: schemas.Transient, Code: schemas.CodeAnswerCount, HTTPStatus: 200, Err: errors.New("one is missing")}
	}
	if request.Frame == nil {
		response.Usage = schemas.Usage{InputTokens: tokens, TotalTokens: tokens, Basis: schemas.BasisProvider, CacheReadInputTokens: new(int64(3))}
	}
	return response, nil
}

func newCrowd(b *bench, size int) *crowd {
	c := &crowd{paid: map[string]int{}}
	b.options = func(o *pipeline.Options) {
		o.Question.Task, o.Question.BatchSize, o.Question.Models = schemas.TaskEmbeddings, size, []pipeline.Model{c}
		o.Question.Endpoint.Destinations[0].Model = "text-embedding-3-small"
		o.Window = 8
	}
	return c
}

// also adds to a bench's options.
func (b *bench) also(more func(*pipeline.Options)) {
	options := b.options
	b.options = func(o *pipeline.Options) { options(o); more(o) }
}

// embedded demands the vector of every row's text, or the code of its error.
func (b *bench) embedded(code func(text string) string) {
	b.t.Helper()
	results := b.results()
	if len(results) != b.source.rows {
		b.t.Fatalf("%d results for %d rows", len(results), b.source.rows)
	}
	for i, r := range results {
		text := b.source.text(i)
		want, wrong := fmt.Sprintf("[%d,0.5]", len(text)), code(text)
		if wrong != "" {
			want = ""
		}
		if r.id != int64(i) || r.response != want || r.code != wrong {
			b.t.Fatalf("row %d, %q: got %+v, want %s %s", i, text, r, want, wrong)
		}
	}
}

func good(string) string { return "" }

// accounted demands that what the results say they took is what the usage table says, to the token and to the cent.
func (b *bench) accounted() {
	b.t.Helper()
	var tokens, rowTokens int64
	var cost, rowCost schemas.USD
	failed := b.column("error")
	for i, text := range b.column("input_tokens") {
		var n int64
		if _, err := fmt.Sscan(text, &n); err != nil {
			b.t.Fatal(err)
		}
		if failed[i] == "" {
			tokens += n
		}
	}
	for _, record := range b.usage.visible {
		amounts := record.Column(record.Schema().FieldIndices("cost_usd")[0]).(*array.Decimal128) //nolint:errcheck // the schema beside it fixes the type
		for i := range amounts.Len() {
			cost = cost.Add(schemas.USD(amounts.Value(i)))
		}
	}
	for _, record := range b.sink.visible {
		inference := record.Column(4).(*array.Struct) //nolint:errcheck // the schema beside it fixes the type
		for i := range int(record.NumRows()) {
			if !record.Column(3).IsNull(i) || inference.Field(10).(*array.Boolean).Value(i) { //nolint:errcheck // the schema beside it fixes the type
				continue
			}
			rowTokens += inference.Field(6).(*array.Int64).Value(i)                             //nolint:errcheck // the schema beside it fixes the type
			rowCost = rowCost.Add(schemas.USD(inference.Field(8).(*array.Decimal128).Value(i))) //nolint:errcheck // the schema beside it fixes the type
		}
	}
	if tokens != rowTokens || tokens == 0 || cost.Cmp(rowCost) != 0 || cost.Cmp(schemas.USD{}) == 0 {
		b.t.Errorf("the usage table has %d tokens and %s, the results %d and %s", tokens, cost, rowTokens, rowCost)
	}
}

// TestBatches: rows of several source batches share requests, as many as one may have, and every row has its own vector
// and its share of the bill.
func TestBatches(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100)
	model := newCrowd(b, 10)
	b.also(func(o *pipeline.Options) { o.Window = 200 })
	if _, err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.embedded(good)
	b.accounted()
	if len(model.sizes) != 10 || slices.Max(model.sizes) != 10 {
		t.Errorf("calls of %v rows, want ten of ten", model.sizes)
	}
	if ids := b.column("invocation_id"); len(ids) != 10 {
		t.Errorf("%d calls in the usage table", len(ids))
	}
	if keys := b.column("row_key"); strings.Join(keys, "") != "" {
		t.Errorf("a call of many rows has one row's key: %v", keys)
	}
	b.done()
}

// TestBatchesByTokens: a request is no longer than it may be, and a row that is goes alone.
func TestBatchesByTokens(t *testing.T) {
	t.Parallel()
	b := newBench(t, 20)
	b.source.text = func(row int) string {
		if row == 9 {
			return strings.Repeat("x", 399)
		}
		return fmt.Sprintf("%039d", row) // ten tokens
	}
	model := newCrowd(b, 10)
	b.also(func(o *pipeline.Options) { o.Question.BatchTokens, o.Window, o.Limiter = 40, 200, concurrent(1) })
	if _, err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.embedded(good)
	if slices.Sort(model.sizes); !slices.Equal(model.sizes, []int{1, 1, 2, 4, 4, 4, 4}) {
		t.Errorf("calls of %v rows", model.sizes)
	}
	b.done()
}

// TestBatchWithBadRows: a request that is refused, or at which the model's code fails, is asked in halves until the bad
// row is alone; a row without a text is not asked about.
func TestBatchWithBadRows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 64)
		b.source.text = func(row int) string {
			switch row {
			case 13, 14, 57:
				return fmt.Sprintf("bad %d", row)
			case 30:
				return "broken"
			case 40:
				return ""
			}
			return fmt.Sprintf("row %d", row)
		}
		code := func(text string) string {
			switch {
			case strings.HasPrefix(text, "bad"):
				return "status_400"
			case text == "broken":
				return "status_500"
			case text == "":
				return "empty_input"
			}
			return ""
		}
		model := newCrowd(b, 32)
		b.also(func(o *pipeline.Options) { o.Question.Retries = 1 })
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.embedded(code)
		b.accounted()
		for text, times := range model.paid {
			if times != 1 {
				t.Errorf("%q was paid %d times", text, times)
			}
		}
		if got := len(b.column("invocation_id")); got != len(model.sizes) {
			t.Errorf("%d calls in the usage table, %d were made", got, len(model.sizes))
		}
		// Again: what was refused is not asked again, and what was broken is.
		b.sink.marks, b.sink.visible = nil, nil
		calls := len(model.sizes)
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.embedded(code)
		if more := len(model.sizes) - calls; more != 2 {
			t.Errorf("%d more calls, want the broken row's two", more)
		}
	})
}

// TestBatchWithoutOneAnswer: of an answer that has not as many vectors as the request has rows, none is any row's. Halves find
// the row that the model leaves out.
func TestBatchWithoutOneAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 16)
		b.source.text = func(row int) string {
			if row == 6 {
				return "dropped"
			}
			return fmt.Sprintf("row %d", row)
		}
		model := newCrowd(b, 16)
		b.also(func(o *pipeline.Options) { o.Question.Retries, o.Window = 2, 100 })
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.embedded(func(text string) string {
			if text == "dropped" {
				return schemas.CodeAnswerCount
			}
			return ""
		})
		if len(model.sizes) != 2*4+3 {
			t.Errorf("calls of %v rows: want two of each half, and the row's three", model.sizes)
		}
		b.done()
	})
}

// TestHalvesGoSideBySide: neither halves nor what is cut by its tokens waits for one another.
func TestHalvesGoSideBySide(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"refused": "bad", "long": strings.Repeat("x", 399)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 64)
				b.source.text = func(row int) string { return fmt.Sprintf("%s %d", text, row) }
				model := newCrowd(b, 64)
				model.wait = func() time.Duration { return time.Second }
				b.also(func(o *pipeline.Options) { o.Limiter, o.Question.BatchTokens, o.Window = concurrent(64), 0, 100 })
				if name == "long" {
					b.also(func(o *pipeline.Options) { o.Question.BatchTokens = 1 })
				}
				started := time.Now()
				if _, err := b.run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(started); took > 8*time.Second {
					t.Errorf("%d calls of a second took %s", len(model.sizes), took)
				}
				b.done()
			})
		})
	}
}

// TestBatchesShareAReusedCall: a place that was served by one answer of a call, and then asks what another answer of it
// answers, gets that one.
func TestBatchesShareAReusedCall(t *testing.T) {
	t.Parallel()
	b := newBench(t, 2)
	texts := []string{"a", "bbb", "a"}
	b.source.text = func(row int) string { return texts[row] }
	model := newCrowd(b, 3)
	b.also(func(o *pipeline.Options) { o.Question.Reuse = pipeline.ReuseRequest })
	for run := range 3 {
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		switch run {
		case 0:
			b.source.rows = 3
		case 1:
			texts[2] = "bbb"
			b.sink.marks, b.sink.visible = nil, nil
		}
	}
	b.embedded(good)
	if len(model.sizes) != 1 {
		t.Errorf("calls of %v rows, want one", model.sizes)
	}
}

// completer is a completion model.
type completer struct{ crowd }

func (*completer) Invoke(_ context.Context, request *schemas.Request) (*schemas.Response, error) {
	return &schemas.Response{HTTPStatus: 200, Text: "and so " + request.Prompt, Usage: schemas.Usage{InputTokens: 1, Basis: schemas.BasisProvider}}, nil
}

// TestKeysOfTasks: a text that was completed has no vector yet, and what was predicted of some features says nothing of others.
func TestKeysOfTasks(t *testing.T) {
	t.Parallel()
	b := newBench(t, 4)
	model := newCrowd(b, 4)
	embed := b.options
	b.also(func(o *pipeline.Options) {
		o.Question.Task, o.Question.BatchSize, o.Question.Models = schemas.TaskCompletions, 1, []pipeline.Model{&completer{}}
	})
	if _, err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.results(); got[1].response != "and so row 1" {
		t.Errorf("got %+v", got)
	}
	b.sink.marks, b.sink.visible, b.options = nil, nil, embed
	if _, err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.embedded(good)
	for i, layout := range []schemas.Layout{schemas.LayoutSplit, schemas.LayoutRecords, schemas.LayoutRecords} {
		b.sink.marks, b.sink.visible, b.options = nil, nil, embed
		b.also(func(o *pipeline.Options) {
			features, _ := prompts.Bind([]prompts.Feature{{Name: fmt.Sprint("n", max(1, i)), Column: "id"}, {Name: "word", Column: "body"}}, b.source.Schema())
			o.Question.Task, o.Question.Features, o.Question.Layout = schemas.TaskPredictions, features, layout
		})
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(model.sizes, []int{4, 4, 4, 4}) {
		t.Errorf("calls of %v rows, want one of each task, layout and list of features", model.sizes)
	}
	if tokens := b.column("input_tokens"); tokens[len(tokens)-1] != "0" {
		t.Errorf("features have %s tokens", tokens[len(tokens)-1])
	}
}

// TestOneFailedCallOfMany: the rows of one failed call are no sample.
func TestOneFailedCallOfMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1280)
		model := newCrowd(b, 128)
		model.down = 1
		b.also(func(o *pipeline.Options) { o.Question.Retries, o.FailAbove = 0, 0.15 })
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.done()
	})
}

// TestIncompleteRequestsAreSent: rows that wait for their request to be full are sent before the reader waits, for the window,
// for memory or for the queue: what it waits for may be theirs.
func TestIncompleteRequestsAreSent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ rows, batchRows, size int }{
		"memory": {30_000, 5_000, 30_001}, "queue": {1_500, 1, 1_501},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.rows)
			b.source.batchRows = c.batchRows
			newCrowd(b, c.size)
			b.also(func(o *pipeline.Options) { o.Question.BatchTokens = 1 << 40 })
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if _, err := b.run(ctx); err != nil {
				t.Fatal(err)
			}
			b.embedded(good)
		})
	}
}

// TestBatchWhileTheServerIsDown: a server that is not there is no fault of a row, and is asked again whole.
func TestBatchWhileTheServerIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 10)
		b.source.text = func(row int) string { return fmt.Sprintf("row %d", row/2) }
		model := newCrowd(b, 10)
		model.down = 6
		b.also(func(o *pipeline.Options) {
			o.Question.Retries, o.Question.Reuse, o.Window = 2, pipeline.ReuseRequest, 100
		})
		if _, err := b.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.embedded(func(string) string { return "status_503" })
		// Five rows wait for their equals, and then ask for themselves: an error is no answer that could be shared.
		if !slices.Equal(model.sizes, []int{5, 5, 5, 5, 5, 5}) {
			t.Errorf("calls of %v rows, want six of five", model.sizes)
		}
		b.done()
	})
}

// TestBatchesOnceUnderInterrupts: whatever the sizes, equal texts, waits and interrupts, every row comes out once, and no
// text is paid twice where equal texts share an answer.
func TestBatchesOnceUnderInterrupts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 0))
				b := newBench(t, 150)
				kinds, reuse := 1+random.IntN(200), pipeline.ReuseRequest
				if seed%2 == 0 { // every row its own
					kinds, reuse = 1009, pipeline.ReuseRow
				}
				b.source.batchRows = 1 + random.IntN(40)
				b.source.text = func(row int) string {
					if row*7%kinds == 5 {
						return fmt.Sprintf("bad %d", row*7%kinds)
					}
					return fmt.Sprintf("row %d", row*7%kinds)
				}
				model := newCrowd(b, 1+random.IntN(30))
				var mu sync.Mutex
				model.wait = func() time.Duration {
					mu.Lock()
					defer mu.Unlock()
					return time.Duration(random.IntN(300)) * time.Millisecond
				}
				b.also(func(o *pipeline.Options) {
					o.Question.Reuse, o.Limiter, o.Window = reuse, concurrent(1+int(seed%8)), 1
					o.Question.BatchTokens = int64(seed % 5 * 10)
					o.Drain = time.Minute
				})
				for run := 0; ; run++ {
					if run == 200 {
						t.Fatal("it never ends")
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(100+200*run)*time.Millisecond)
					_, err := b.run(ctx)
					cancel()
					if err == nil {
						break
					}
					if !errors.Is(err, pipeline.ErrInterrupted) {
						t.Fatal(err)
					}
				}
				b.embedded(func(text string) string {
					if strings.HasPrefix(text, "bad") {
						return "status_400"
					}
					return ""
				})
				for text, times := range model.paid {
					if times != 1 {
						t.Errorf("%q was paid %d times", text, times)
					}
				}
				if from := b.column("reused_from"); len(from) == 0 || reuse == pipeline.ReuseRow && strings.Join(from, "") != "" {
					t.Errorf("a row has another's answer: %v", from)
				}
				b.done()
			})
		})
	}
}

// TestPredictions: features are written with all their digits, an answer of another type is the error of its row alone,
// and so is a value that has no JSON.
func TestPredictions(t *testing.T) {
	t.Parallel()
	b := newBench(t, 12)
	b.source.text = func(row int) string {
		if row == 4 {
			return "high"
		}
		return "low"
	}
	kind, problems := answers.ParseValue(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
		{Kind: yaml.ScalarNode, Value: "label"},
		{Kind: yaml.ScalarNode, Value: "enum(low)"},
		{Kind: yaml.ScalarNode, Value: "score"},
		{Kind: yaml.ScalarNode, Value: "bigint"},
	}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	model := newCrowd(b, 5)
	b.also(func(o *pipeline.Options) {
		features, problems := prompts.Bind([]prompts.Feature{{Name: "n", Column: "id"}, {Name: "word", Column: "body"}}, b.source.Schema())
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		o.Question.Task, o.Question.Features, o.Question.Answer, o.Question.Prompt = schemas.TaskPredictions, features, kind, nil
		o.Limiter = limits.New(limits.Options{Concurrency: 8, TokensPerMinute: 1}) // features are no tokens
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := b.run(ctx); err != nil {
		t.Fatal(err)
	}
	for i, r := range b.results() {
		want, code := fmt.Sprintf(`{"label":"low","score":%d}`, i), ""
		if i == 4 {
			want, code = "", "invalid_answer"
		}
		if r.response != want || r.code != code {
			t.Errorf("row %d: got %+v, want %s %s", i, r, want, code)
		}
	}
	if slices.Sort(model.sizes); !slices.Equal(model.sizes, []int{2, 5, 5}) {
		t.Errorf("calls of %v rows: a row of another type is no reason to ask again", model.sizes)
	}
	if _, asked := model.paid[`[4,"high"]`]; !asked {
		t.Errorf("got %v", model.paid)
	}
	b.done()
}
