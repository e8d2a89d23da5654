package pipeline

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

// committer writes complete batches into the sink in source order and commits them in epochs.
type committer struct {
	*run

	results *schemas.ResultBuilder
	marks   schemas.Marks // of the last commit
	next    schemas.Marks // of the last batch written; nil: nothing since the commit
	rows    int64         // written since the commit
	size    int64
	age     *time.Timer // runs from the epoch's first batch
}

func newCommitter(r *run, from schemas.Marks) *committer {
	age := time.NewTimer(r.options.EpochAge)
	age.Stop()
	results := schemas.NewResultBuilder(r.options.Memory, r.options.Question.ResponseType())
	return &committer{run: r, results: results, marks: from, age: age}
}

// commitAll takes batches in order until the queue ends, or until the run stops and one of them will not be
// complete any more. What is complete by then is committed, unless the run fails for its errors: then the
// open epoch is left out, so that its failed rows are asked again once the cause is mended.
func (w *committer) commitAll(ctx context.Context, queue <-chan *batch, quiet <-chan struct{}) error {
	for {
		select {
		case <-w.age.C:
			if err := w.commit(ctx); err != nil {
				return err
			}
		case b, more := <-queue:
			if !more {
				return w.finish(ctx)
			}
			complete, err := w.wait(ctx, b, quiet)
			if complete && err == nil {
				err = w.write(ctx, b)
			}
			w.release(b)
			if err != nil {
				return err
			}
			if !complete {
				return w.finish(ctx)
			}
			if w.rows >= w.options.EpochRows || w.size >= w.options.EpochBytes {
				if err := w.commit(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// wait returns true once every row of b has its answer, false if the run stopped without. The epoch before b
// does not wait with it longer than its age.
func (w *committer) wait(ctx context.Context, b *batch, quiet <-chan struct{}) (complete bool, err error) {
	for {
		select {
		case <-b.done:
			return true, nil
		case <-w.age.C:
			if err := w.commit(ctx); err != nil {
				return false, err
			}
		case <-quiet:
			select {
			case <-b.done:
				return true, nil
			default:
				return false, nil
			}
		}
	}
}

func (w *committer) write(ctx context.Context, b *batch) error {
	if w.next == nil {
		w.age.Reset(w.options.EpochAge)
	}
	w.next = b.Marks
	if b.rows == 0 {
		return nil
	}
	for i := range b.answers {
		if err := w.results.Append(&b.answers[i], w.options.RunID); err != nil {
			return fmt.Errorf("results: request %s: %w", b.answers[i].Invocation.RequestID, err)
		}
	}
	input := selectRows(b)
	defer input.Release()
	record := w.results.NewRecord(input)
	defer record.Release()
	if err := w.options.Sink.Write(ctx, record); err != nil {
		return err
	}
	w.rows += int64(b.rows)
	w.size += schemas.RecordSize(record)
	w.audit.poke(false)
	return nil
}

// selectRows returns the rows of b that the filter kept, as runs of the original columns put together.
func selectRows(b *batch) arrow.Record {
	if b.selected == nil || len(b.selected) == int(b.Record.NumRows()) {
		b.Record.Retain()
		return b.Record
	}
	columns := make([]arrow.Array, b.Record.NumCols())
	for c := range columns {
		var pieces []arrow.Array
		for i := 0; i < len(b.selected); {
			end := i + 1
			for end < len(b.selected) && b.selected[end] == b.selected[end-1]+1 {
				end++
			}
			pieces = append(pieces, array.NewSlice(b.Record.Column(c), int64(b.selected[i]), int64(b.selected[end-1]+1)))
			i = end
		}
		joined, err := array.Concatenate(pieces, memory.DefaultAllocator)
		for _, piece := range pieces {
			piece.Release()
		}
		if err != nil { // slices of one column always fit together
			panic(err)
		}
		columns[c] = joined
	}
	out := array.NewRecord(b.Record.Schema(), columns, int64(len(b.selected)))
	for _, column := range columns {
		column.Release()
	}
	return out
}

// commit ends the epoch.
func (w *committer) commit(ctx context.Context) error {
	w.age.Stop()
	if w.next == nil {
		return nil
	}
	started := time.Now()
	if err := w.options.Sink.Commit(ctx, w.marks, w.next, nil); err != nil {
		return err
	}
	w.options.Stats.Committed.Add(w.rows)
	w.options.Stats.Commits.Add(1)
	w.options.Logger.InfoContext(ctx, "committed", "rows", w.rows, "marks", w.next.String(),
		"took_ms", time.Since(started).Milliseconds())
	w.marks, w.next, w.rows, w.size = w.next, nil, 0, 0
	w.audit.poke(true)
	return nil
}

// finish commits the last epoch, if the run may end well.
func (w *committer) finish(ctx context.Context) error {
	stats := w.options.Stats
	if err := w.tooMany(stats.Errors.Load(), stats.Rows.Load()); err != nil {
		return err
	}
	return w.commit(ctx)
}

func (w *committer) close(ctx context.Context) error {
	w.age.Stop()
	w.results.Release()
	return w.options.Sink.Close(ctx)
}
