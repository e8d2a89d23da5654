package limits

import (
	"container/heap"
	"context"
	"math"
	"sync"
)

// queue is a semaphore that lets so many callers through at a time, of those that wait always the one with the
// lowest place.
//
// Rows ask in whatever order the scheduler runs them, and come back after a retry; but only rows that are done
// from the first on can be committed. So the order of the source is kept here.
type queue struct {
	mu      sync.Mutex
	free    int
	waiting waiters
	horizon int64 // callers behind it are sent away
}

func newQueue(atOnce int) *queue { return &queue{free: atOnce, horizon: everywhere} }

// everywhere is a horizon that nobody is behind.
const everywhere = math.MaxInt64

// waiter is a caller that is not through yet.
type waiter struct {
	place int64
	turn  chan struct{} // closed when it is through, or sent away
	index int           // in the heap; -1: not there any more
	away  bool          // it was sent away
}

// enter waits until the caller is through; it must leave then. It fails with ctx's error, and with ErrHalted.
func (q *queue) enter(ctx context.Context, place int64) error {
	if err := ctx.Err(); err != nil { // a free place is no reason to go on
		return err
	}
	q.mu.Lock()
	if place > q.horizon {
		q.mu.Unlock()
		return ErrHalted
	}
	if q.free > 0 {
		q.free--
		q.mu.Unlock()
		return nil
	}
	w := &waiter{place: place, turn: make(chan struct{})}
	heap.Push(&q.waiting, w)
	q.mu.Unlock()
	select {
	case <-w.turn:
		if w.away {
			return ErrHalted
		}
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.away {
		return ErrHalted
	}
	if w.index < 0 { // its turn came while it gave up: the next one takes it
		q.next()
	} else {
		heap.Remove(&q.waiting, w.index)
	}
	return ctx.Err()
}

// leave lets the next caller through.
func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next()
}

// sendAway sends away who waits behind a place, and who comes.
func (q *queue) sendAway(behind int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.horizon = behind
	stay := q.waiting[:0:0]
	for _, w := range q.waiting {
		if w.place > behind {
			w.away, w.index = true, -1
			close(w.turn)
			continue
		}
		w.index = len(stay)
		stay = append(stay, w)
	}
	q.waiting = stay
	heap.Init(&q.waiting)
}

// grow lets so many more through at a time; a negative number takes places away, those in use once they are left.
func (q *queue) grow(places int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ; places > 0; places-- {
		q.next()
	}
	q.free += places
}

func (q *queue) next() {
	if len(q.waiting) == 0 || q.free < 0 {
		q.free++
		return
	}
	close(heap.Pop(&q.waiting).(*waiter).turn) //nolint:errcheck,forcetypeassert // it holds nothing else
}

// waiters is a heap by place.
type waiters []*waiter //nolint:recvcheck // container/heap asks for both kinds

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].place < w[j].place }

func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (w *waiters) Push(added any) {
	entry := added.(*waiter) //nolint:errcheck,forcetypeassert // enter pushes nothing else
	entry.index = len(*w)
	*w = append(*w, entry)
}

func (w *waiters) Pop() any {
	last := len(*w) - 1
	entry := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	entry.index = -1
	return entry
}
