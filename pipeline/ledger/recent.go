package ledger

import (
	"sync"

	"github.com/inflowhq/inflow/schemas"
)

// recentLength is how many ended invocations stay in memory. The usage table is written a little behind the
// calls, and reads what it needs here; what has left is read from disk.
const recentLength = 8192

// recent holds the last ended invocations by sequence number.
type recent struct {
	mu   sync.Mutex
	ring [recentLength]*schemas.Invocation
	next int64 // the sequence number after the newest one; the numbers in the ring have no gap
	held int64
}

// add takes in the invocation with that sequence number. A gap before it empties the ring.
func (r *recent) add(sequence int64, invocation *schemas.Invocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sequence != r.next {
		r.held = 0
	}
	r.ring[sequence%recentLength] = invocation
	r.next, r.held = sequence+1, min(r.held+1, recentLength)
}

// oldest is the lowest sequence number in the ring, the next one to come where it is empty.
func (r *recent) oldest() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next - r.held
}

// at returns the invocation with that sequence number, nil where the ring has it not.
func (r *recent) at(sequence int64) *schemas.Invocation {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sequence < r.next-r.held || sequence >= r.next {
		return nil
	}
	return r.ring[sequence%recentLength]
}
