package pipeline

import (
	"cmp"
	"container/heap"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/array"
)

// order lets rows of one key through one at a time: of those that wait, the one that happened first. The key's next row is
// asked when the last one's answer is durable.
type order struct {
	key  func(row) string
	time int // the column of the event's time; negative: the place in the source alone

	mu   sync.Mutex
	busy map[string]*line // by key; nil: a row is on its way, and none waits
}

// line is a heap of rows of one key, by time and place.
type line []waiting //nolint:recvcheck // container/heap asks for both kinds

type waiting struct {
	time  int64
	place int64
	row   row
}

// enter reports whether a row may go now; else it waits.
func (o *order) enter(at row) bool {
	key := o.key(at)
	o.mu.Lock()
	defer o.mu.Unlock()
	behind, found := o.busy[key]
	if !found {
		o.busy[key] = nil
		return true
	}
	if behind == nil {
		behind = new(line)
		o.busy[key] = behind
	}
	heap.Push(behind, waiting{time: o.happened(at), place: at.batch.place + int64(at.i), row: at})
	return false
}

// leave takes a row out that is done, and returns the next one of its key.
func (o *order) leave(at row) (next row, more bool) {
	key := o.key(at)
	o.mu.Lock()
	defer o.mu.Unlock()
	behind := o.busy[key]
	if behind == nil || behind.Len() == 0 {
		delete(o.busy, key)
		return row{}, false
	}
	return heap.Pop(behind).(waiting).row, true //nolint:errcheck,forcetypeassert // it holds nothing else
}

// happened is a row's time in microseconds; what has none comes first.
func (o *order) happened(at row) int64 {
	if o.time < 0 {
		return 0
	}
	column, ok := at.batch.Record.Column(o.time).(*array.Timestamp)
	index := at.batch.row(at.i)
	if !ok || column.IsNull(index) {
		return 0
	}
	return int64(column.Value(index))
}

func (l line) Len() int { return len(l) }
func (l line) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(l[i].time, l[j].time), cmp.Compare(l[i].place, l[j].place)) < 0
}
func (l line) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l *line) Push(x any)   { *l = append(*l, x.(waiting)) } //nolint:errcheck,forcetypeassert // enter pushes nothing else
func (l *line) Pop() any {
	last := len(*l) - 1
	out := (*l)[last]
	*l = (*l)[:last]
	return out
}
