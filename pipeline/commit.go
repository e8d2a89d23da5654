package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

// overflow is how many times as large as its bounds an epoch may grow while the one before it is being committed.
const overflow = 4

// committer writes complete batches into the sink in source order and commits them in epochs: while one is being
// committed the next one is written. It is of one goroutine.
type committer struct {
	*run

	results   *schemas.ResultBuilder
	letters   *schemas.DeadLetterBuilder
	at        position // of the last commit
	open      *epoch   // being written; nil: nothing was written since the last commit began
	committed chan error
	sealed    *epoch // being committed; nil: none
	age       *time.Timer
}

// epoch is what one commit makes visible.
type epoch struct {
	about   schemas.Epoch
	to      schemas.Marks
	size    int64
	due     bool
	started time.Time // of its commit
}

func newCommitter(r *run, at position) *committer {
	w := &committer{
		run: r, at: at, committed: make(chan error, 1), age: time.NewTimer(emptyAge),
		results: schemas.NewResultBuilder(r.options.Memory, r.options.Question.ResponseType()),
		letters: schemas.NewDeadLetterBuilder(r.options.Memory),
	}
	w.age.Stop()
	return w
}

// commitAll takes batches in order until the queue ends, or until the run stops and one of them will not be
// complete any more. What is complete by then is committed, unless the run fails for its errors: then the
// open epoch is left out, so that its failed rows are asked again once the cause is mended.
func (w *committer) commitAll(ctx context.Context, queue <-chan *batch, quiet <-chan struct{}) error {
	for {
		select {
		case <-w.age.C:
			if err := w.ripen(ctx); err != nil {
				return err
			}
		case err := <-w.committed:
			if err := w.settle(ctx, err); err != nil {
				return err
			}
		case b, more := <-queue:
			if !more {
				return w.finish(ctx)
			}
			complete, err := w.wait(ctx, b, quiet)
			switch {
			case err != nil:
			case complete:
				err = w.write(ctx, b, b.rows)
			default:
				err = w.writeBeginnings(ctx, b, queue)
			}
			w.release(b)
			if err != nil {
				return err
			}
			if !complete {
				return w.finish(ctx)
			}
			if err := w.bound(ctx); err != nil {
				return err
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
			if err := w.ripen(ctx); err != nil {
				return false, err
			}
		case err := <-w.committed:
			if err := w.settle(ctx, err); err != nil {
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

// writeBeginnings writes what is answered of the batches that are left once no more answers come: of each partition as
// far as there is no gap. The first of them stays its caller's to release.
func (w *committer) writeBeginnings(ctx context.Context, first *batch, queue <-chan *batch) error {
	broken := map[string]bool{} // marks that cannot move any more
	for b, more := first, true; more; b, more = <-queue {
		rows := b.beginning()
		for name := range b.Marks {
			if broken[name] {
				rows = -1
			}
		}
		var err error
		if rows == b.rows || rows > 0 && b.Until != nil {
			err = w.write(ctx, b, rows)
		}
		if rows < b.rows {
			for name := range b.Marks {
				broken[name] = true
			}
		}
		if b != first {
			w.release(b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// write adds the first so many of a batch's rows to the open epoch: those with an answer to the results, and those without
// one to them as well, or to the dead letters where there are any.
func (w *committer) write(ctx context.Context, b *batch, rows int) error {
	if w.open == nil {
		w.open = &epoch{about: schemas.Epoch{Job: w.options.Job, RunID: w.options.RunID, Member: w.options.Member}, to: schemas.Marks{}}
		w.age.Reset(max(emptyAge, w.paced.age()))
	}
	if rows == b.rows {
		maps.Copy(w.open.to, b.Marks)
	} else {
		maps.Copy(w.open.to, b.Until(b.row(rows)))
	}
	if rows == 0 {
		return nil
	}
	about := &w.open.about
	if about.Rows+about.DeadLetters == 0 {
		w.age.Reset(w.paced.age())
	}
	if !b.Oldest.IsZero() && (about.Oldest.IsZero() || b.Oldest.Before(about.Oldest)) {
		about.Oldest = b.Oldest
	}
	if b.Newest.After(about.Newest) {
		about.Newest = b.Newest
	}
	answered, dead := w.divide(b, rows)
	for _, i := range answered {
		if b.answers[i].Error != nil {
			about.Errors++
		}
		if err := w.results.Append(&b.answers[i], w.options.RunID); err != nil {
			return fmt.Errorf("results: request %s: %w", b.answers[i].Invocation.RequestID, err)
		}
	}
	if len(answered) > 0 {
		if err := w.writeRows(ctx, w.options.Sink, b, b.Record, answered, w.results.NewRecord); err != nil {
			return err
		}
		about.Rows += int64(len(answered))
	}
	if len(dead) > 0 {
		now := time.Now().UTC().Truncate(time.Microsecond)
		for _, i := range dead {
			w.letters.Append(&b.answers[i], w.options.Job, w.options.RunID, now)
		}
		if err := w.writeRows(ctx, w.options.DeadLetters, b, b.Raw, dead, w.letters.NewRecord); err != nil {
			return err
		}
		about.DeadLetters += int64(len(dead))
		about.Errors += int64(len(dead))
	}
	w.audit.poke(false)
	return nil
}

// divide says which of a batch's rows go to the results, and which to the dead letters. A dead letter that is there
// already, because a process died between the two commits, goes nowhere.
func (w *committer) divide(b *batch, rows int) (answered, dead []int) {
	answered = make([]int, 0, rows)
	there := w.at.letters[b.Partition]
	for i := range b.answers[:rows] {
		switch {
		case b.answers[i].Error == nil || w.options.DeadLetters == nil || b.Raw == nil:
			answered = append(answered, i)
		case b.Place(b.row(i)) >= there:
			dead = append(dead, i)
		}
	}
	return answered, dead
}

// writeRows writes some of a batch's rows, taken from record, with what the builder has for them.
func (w *committer) writeRows(
	ctx context.Context, to Sink, b *batch, from arrow.Record, rows []int, with func(arrow.Record) arrow.Record,
) error {
	chosen := rows
	if b.selected != nil {
		chosen = make([]int, len(rows))
		for at, i := range rows {
			chosen[at] = b.selected[i]
		}
	}
	input := selectRows(from, chosen)
	defer input.Release()
	record := with(input)
	defer record.Release()
	w.open.size += schemas.RecordSize(record)
	return to.Write(ctx, record)
}

// selectRows returns rows of a record, by their ascending indices, as runs of the original columns put together.
func selectRows(record arrow.Record, rows []int) arrow.Record {
	if len(rows) == int(record.NumRows()) {
		record.Retain()
		return record
	}
	columns := make([]arrow.Array, record.NumCols())
	for c := range columns {
		var pieces []arrow.Array
		for i := 0; i < len(rows); {
			end := i + 1
			for end < len(rows) && rows[end] == rows[end-1]+1 {
				end++
			}
			pieces = append(pieces, array.NewSlice(record.Column(c), int64(rows[i]), int64(rows[end-1]+1)))
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
	out := array.NewRecord(record.Schema(), columns, int64(len(rows)))
	for _, column := range columns {
		column.Release()
	}
	return out
}

// ripen says that the open epoch is to be committed, and does so unless another one still is.
func (w *committer) ripen(ctx context.Context) error {
	if w.open == nil {
		return nil
	}
	w.open.due = true
	if w.sealed == nil {
		return w.begin(ctx)
	}
	return nil
}

// bound commits the open epoch once it is large. While another one is being committed it may grow, but not without end.
func (w *committer) bound(ctx context.Context) error {
	for w.full(1) {
		if w.sealed == nil {
			return w.begin(ctx)
		}
		w.open.due = true
		if !w.full(overflow) {
			return nil
		}
		if err := w.settle(ctx, <-w.committed); err != nil {
			return err
		}
	}
	return nil
}

func (w *committer) full(times int64) bool {
	return w.open != nil && (w.open.about.Rows+w.open.about.DeadLetters >= times*w.options.EpochRows || w.open.size >= times*w.options.EpochBytes)
}

// begin starts the commit of the open epoch.
func (w *committer) begin(ctx context.Context) error {
	w.age.Stop()
	e, at := w.open, w.at
	rows, err := w.options.Sink.Seal(ctx)
	if err != nil {
		return err
	}
	letters := rows
	if e.about.DeadLetters > 0 {
		if letters, err = w.options.DeadLetters.Seal(ctx); err != nil {
			return err
		}
	}
	w.open, w.sealed = nil, e
	e.about.Lag = w.options.Stats.Progress().Lag
	e.started = time.Now()
	go func() {
		// First the dead letters, so that none is lost, and then the rows with the marks that say so.
		if e.about.DeadLetters > 0 {
			if err := letters(ctx, at.letters, ahead(at.letters, e.to), &e.about); err != nil {
				w.committed <- err
				return
			}
		}
		w.committed <- rows(ctx, at.results, e.to, &e.about)
	}()
	return nil
}

// settle takes in how a commit ended, and starts the next one if it is time for it.
func (w *committer) settle(ctx context.Context, err error) error {
	e := w.sealed
	w.sealed = nil
	if err != nil {
		return err
	}
	took := time.Since(e.started)
	w.paced.learn(took)
	w.at.results = merged(w.at.results, e.to)
	if e.about.DeadLetters > 0 {
		w.at.letters = merged(w.at.letters, ahead(w.at.letters, e.to))
	}
	w.options.Stats.commit(e, took)
	if w.options.Committed != nil {
		w.options.Committed(&e.about, took)
	}
	if w.assignment != nil {
		w.assignment.Committed(e.to)
	}
	w.options.Logger.InfoContext(ctx, "committed", "rows", e.about.Rows, "dead_letters", e.about.DeadLetters, "marks", e.to.String(),
		"took_ms", took.Milliseconds())
	w.audit.poke(true)
	if err := w.forget(); err != nil {
		return err
	}
	if w.open != nil && w.open.due {
		return w.begin(ctx)
	}
	return nil
}

// forget lets the ledger of a stream drop what nobody will ask for.
func (w *committer) forget() error {
	if !w.options.Follow {
		return nil
	}
	if w.options.Usage == nil { // nobody will read of ended calls
		if err := w.options.Ledger.Forget(w.options.Ledger.Sequence()); err != nil {
			return err
		}
	}
	return w.options.Ledger.Expire()
}

// merged are marks some of which have moved.
func merged(marks, moved schemas.Marks) schemas.Marks {
	out := make(schemas.Marks, len(marks)+len(moved))
	maps.Copy(out, marks)
	maps.Copy(out, moved)
	return out
}

// ahead are those of the marks that move beyond where others are: dead letters may be further than the results.
func ahead(of, marks schemas.Marks) schemas.Marks {
	out := make(schemas.Marks, len(marks))
	for name, mark := range marks {
		if mark > of[name] {
			out[name] = mark
		}
	}
	return out
}

// finish commits the last epoch, if the run may end well.
func (w *committer) finish(ctx context.Context) error {
	if err := w.verdict.final(); err != nil {
		return err
	}
	for w.sealed != nil || w.open != nil {
		if w.sealed == nil {
			if err := w.begin(ctx); err != nil {
				return err
			}
		}
		if err := w.settle(ctx, <-w.committed); err != nil {
			return err
		}
	}
	return nil
}

// close waits for a commit that is on its way, and discards what is not committed.
func (w *committer) close(ctx context.Context) error {
	w.age.Stop()
	w.open = nil
	var err error
	if w.sealed != nil {
		err = w.settle(ctx, <-w.committed)
	}
	w.results.Release()
	w.letters.Release()
	closed := w.options.Sink.Close(ctx)
	if w.options.DeadLetters != nil {
		closed = errors.Join(closed, w.options.DeadLetters.Close(ctx))
	}
	return errors.Join(err, closed)
}
