package limits

import (
	"sync"
	"time"
)

// burst is how much of a minute's allowance may be used at once: small, so that no window of a minute sees
// much more than the limit.
const burst = time.Second

// bucket is a token bucket that goes into debt: whoever finds it above zero takes all it needs, and the next
// waits until the debt is paid back. So a call larger than the burst is never starved, and the rate over time
// is exact. A rate of zero is no limit.
type bucket struct {
	mu       sync.Mutex
	rate     float64 // units per second
	capacity float64
	level    float64
	updated  time.Time
}

func newBucket() *bucket { return &bucket{updated: time.Now()} }

// change sets the rate. What was used of the old one counts against the new one.
func (b *bucket) change(perMinute int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill()
	unlimited := b.rate == 0
	b.rate = max(0, float64(perMinute)/60)
	b.capacity = max(1, b.rate*burst.Seconds())
	if b.level = min(b.level, b.capacity); unlimited {
		b.level = b.capacity
	}
}

// fill takes in the time that has passed. The caller holds the lock.
func (b *bucket) fill() {
	now := time.Now()
	b.level = min(b.capacity, b.level+now.Sub(b.updated).Seconds()*b.rate)
	b.updated = now
}

// tryTake takes amount and returns 0, or returns how long to wait before trying again. One caller at a time tries, the one
// whose turn it is; one that gives up has taken nothing.
func (b *bucket) tryTake(amount float64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate == 0 {
		return 0
	}
	b.fill()
	if needed := min(amount, b.capacity); b.level < needed {
		return max(time.Microsecond, time.Duration((needed-b.level)/b.rate*float64(time.Second)))
	}
	b.level -= amount
	return 0
}

// settle gives back what was reserved and not used; a negative amount takes what was used beyond it.
func (b *bucket) settle(amount int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rate > 0 {
		b.level = min(b.capacity, b.level+float64(amount))
	}
}
