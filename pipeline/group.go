package pipeline

import (
	"context"
	"iter"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// group gathers the rows of one request, which may be of several batches. It is of one goroutine.
type group struct {
	admit context.Context //nolint:containedctx // of the pass, as the group is
	line  interface {
		Acquire(ctx context.Context, n int64) error
	}
	start func([]row)
	size  int
	wait  time.Duration // after its first row; 0: until it is full, or the source has to wait

	rows []row
	due  *time.Timer // runs from the group's first row
}

// add takes a row, and sends the request if it is full; false: the run is stopping.
func (g *group) add(at row) bool {
	if g.rows = append(g.rows, at); len(g.rows) == g.size {
		return g.send()
	}
	if len(g.rows) == 1 && g.due != nil {
		g.due.Reset(g.wait)
	}
	return true
}

// send sends what there is on its way, once there is room in line; false: the run is stopping.
func (g *group) send() bool {
	if len(g.rows) == 0 {
		return true
	}
	if g.due != nil {
		g.due.Stop()
	}
	if g.line.Acquire(g.admit, 1) != nil {
		return false
	}
	g.start(g.rows)
	g.rows = nil
	return true
}

// pulled is what an iterator yields.
type pulled struct {
	batch schemas.Batch
	err   error
}

// awaited yields the batches, and while it waits for the next one it sends the rows that have waited long enough.
func (g *group) awaited(batches iter.Seq2[schemas.Batch, error]) iter.Seq2[schemas.Batch, error] {
	if g.wait <= 0 || g.size == 1 {
		return batches
	}
	return func(yield func(schemas.Batch, error) bool) {
		g.due = time.NewTimer(g.wait)
		g.due.Stop()
		defer g.due.Stop()
		next, ended := make(chan pulled), make(chan struct{})
		go func() {
			defer close(next)
			for batch, err := range batches {
				select {
				case next <- pulled{batch, err}:
				case <-ended:
					if err == nil {
						batch.Release()
					}
					return
				}
			}
		}()
		defer func() {
			close(ended)
			for left := range next { // it may have been handed over already; then wait for the goroutine's end
				if left.err == nil {
					left.batch.Release()
				}
			}
		}()
		for {
			select {
			case <-g.due.C:
				if !g.send() {
					return
				}
			case got, more := <-next:
				if !more || !yield(got.batch, got.err) {
					return
				}
			}
		}
	}
}
