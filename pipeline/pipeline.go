// Package pipeline is the engine: it takes the rows of a source through one chain of policies to a model and
// back into a sink, every row answered once, paid once and committed once.
//
// It owns order, windows, retries and settlement. It speaks to nothing outside: sources, sinks and models are
// handed to it, and its one file of its own is the ledger. See DESIGN.md.
package pipeline

import (
	"context"
	"io/fs"
	"iter"
	"log/slog"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/pipeline/answers"
	"github.com/inflowhq/inflow/pipeline/filters"
	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/pipeline/prices"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// Source is where rows come from.
type Source interface {
	// Schema returns the columns of every batch.
	Schema() *arrow.Schema
	// Count returns how many rows there are and how many of them the marks say are done; total is -1 where
	// it cannot be known without reading everything.
	Count(ctx context.Context, from schemas.Marks) (total, done int64, err error)
	// Read yields the rows that follow the marks, those of one partition in an order that is the same at every
	// reading. It blocks on I/O and ends with the rows that were there when the source was made, or never where it
	// follows what comes; at the first error, or with ctx's error. The consumer owns each batch.
	Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error]
}

// Shared is a Source whose partitions are shared out among the processes of a group, anew whenever one comes or goes.
type Shared interface {
	Source
	// Assign waits until this process is given its partitions, which may be none. It fails with ctx's error, and where
	// trying again would not help.
	Assign(ctx context.Context) (Assignment, error)
}

// Assignment is what one process reads until the partitions are shared out again.
type Assignment interface {
	// Partitions are the marks that are this process's to move.
	Partitions() []string
	// Read is that of Source, of these partitions. It ends without an error once they are lost.
	Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error]
	// Lost is closed when the partitions are to be given to others: what was read is to be committed soon, or left to them.
	Lost() <-chan struct{}
	// Committed tells the group how far the sink is, for those who look there. It does not block and does not fail.
	Committed(marks schemas.Marks)
	// Release lets the partitions go; the next Assign follows it. It may be called more than once.
	Release()
}

// Lagging is a Source that knows how many rows stand behind marks.
type Lagging interface {
	// Lag returns them by partition, as the source is now. It blocks on I/O.
	Lag(ctx context.Context, from schemas.Marks) (map[string]int64, error)
}

// Sink is where rows go. One goroutine may write the next epoch while another commits the last one.
type Sink interface {
	// Marks returns the marks of the last commit, nil where there is none.
	Marks(ctx context.Context) (schemas.Marks, error)
	// Write adds rows to the open epoch; nobody sees them yet. It does not keep the record.
	Write(ctx context.Context, record arrow.Record) error
	// Seal ends the open epoch and returns what commits it, on any goroutine: what is written from now on is of the next
	// one. It does no I/O.
	//
	// commit makes the epoch's rows and the marks of to visible together, and only if the sink has of each of those marks
	// what from has; else it fails with schemas.ErrFenced. Other marks stay what they are. An epoch may have no rows. about
	// is for the sink's history; it may be nil. After a failure the epoch is gone, and what was written since with it.
	// Epochs are committed one at a time, in their order.
	Seal(ctx context.Context) (commit func(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error, err error)
	// Close discards what is not committed. It may be called at any time but during a commit, and more than once; the
	// sink can be used again.
	Close(ctx context.Context) error
}

// Model is one destination. It is safe for concurrent use.
type Model interface {
	// Invoke makes one attempt: no retries. Failures are *schemas.Error. The response is never nil: beside an
	// error it says what is known, and its Usage.Basis is BasisNone only where nothing can have been paid.
	Invoke(ctx context.Context, request *schemas.Request) (*schemas.Response, error)
	// URL is where requests of a task go, as the usage table shows it: without credentials.
	URL(task schemas.Task) string
}

// Files are the media that rows name by path. It blocks on I/O; its errors show nothing of what was read.
type Files interface {
	Stat(path string) (fs.FileInfo, error)
	ReadFile(path string) ([]byte, error)
}

// Reuse says whose answer may serve a row.
type Reuse string

// The kinds of reuse. A row that was asked before a crash always finds its own answer.
const (
	ReuseRow     Reuse = "row"     // an earlier answer for the same key
	ReuseRequest Reuse = "request" // any answer to the same question
	ReuseNone    Reuse = "none"    // only its own
)

// Question is what every row is asked.
type Question struct {
	Endpoint schemas.Endpoint
	Models   []Model // one for each of Endpoint.Destinations
	Task     schemas.Task
	Prompt   *prompts.Template // of one message where the task takes one text
	Features *prompts.Features // of predictions; nil: another task
	Layout   schemas.Layout    // of predictions
	Files    Files             // where rows name media by path; nil: they do not
	Filter   *filters.Filter   // nil keeps every row
	Key      []int             // columns that identify a row; none: its place in the source
	Answer   *answers.Type     // nil: text
	// BatchSize is how many rows one request may have, BatchTokens about how many tokens, 0: any number.
	BatchSize   int
	BatchTokens int64
	// BatchWait is how long a request waits for more rows, from its first one; 0: until the source has no more at hand.
	BatchWait time.Duration
	// OrderBy are the columns of which rows with the same values are asked one after another, by EventTime, a column or
	// -1, and by their place in the source; nil: side by side. BatchSize is 1 then.
	OrderBy    []int
	EventTime  int
	Parameters map[string]any
	Reuse      Reuse
	Timeout    time.Duration // of one attempt
	Retries    int           // attempts after the first that are not answers to throttling
}

// ResponseType is what the response column of the results holds; nil: text.
func (q *Question) ResponseType() schemas.ResponseType {
	switch {
	case q.Task == schemas.TaskEmbeddings:
		return schemas.EmbeddingType{}
	case q.Answer != nil: // a nil *T in an interface is not nil
		return q.Answer
	}
	return nil
}

// Options is everything a run needs.
type Options struct {
	Job        string
	RunID      string
	TaskKey    string
	Requester  string
	SourceName string

	Source Source
	Sink   Sink
	Usage  Sink // nil: no usage table
	// DeadLetters takes the rows without an answer, as they arrived; nil, and for sources that keep no Raw: they are in
	// the results, with their error.
	DeadLetters Sink
	Ledger      *ledger.Ledger

	Question Question
	Limiter  *limits.Limiter
	Prices   *prices.Book

	// Follow says that the source has no end. Member names this process among those that share it.
	Follow bool
	Member string
	// FailAbove is the share of rows with an error, 0 to 1, above which the run stops: of all rows, or, where there is no
	// end to them, of the last ones.
	FailAbove float64
	// EpochRows and EpochAge bound what one commit holds; EpochBytes bounds it by Arrow size. EpochAge 0 follows from how
	// long commits take.
	EpochRows  int64
	EpochBytes int64
	EpochAge   time.Duration
	// Window is the number of rows in flight, at the least four times as many as the concurrency's requests have.
	Window int64
	// Drain is how long calls in flight may take to finish once the run is asked to stop.
	Drain time.Duration

	Memory memory.Allocator
	Logger *slog.Logger
	Stats  *Stats // may be read by others while the run goes on
	// Committed is called after every commit, with what the sink's history has of it; nil: nobody is. It does not block.
	Committed func(about *schemas.Epoch, took time.Duration)
}
