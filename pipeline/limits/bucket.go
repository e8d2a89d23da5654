package limits

import (
	"context"
	"sync"
	"time"
)

// burst is how much of a minute's allowance may be used at once: small, so that no window of a minute sees
// much more than the limit.
const burst = time.Second

// bucket is a token bucket that goes into debt: whoever finds it above zero takes all it needs, and the next
// waits until the debt is paid back. So a call larger than the burst is never starved, and the rate over time
// is exact. A nil bucket has no limit.
type bucket struct {
	mu       sync.Mutex
	rate     float64 // units per second
	capacity float64
	level    float64
	updated  time.Time
}

func newBucket(perMinute int64) *bucket {
	if perMinute <= 0 {
		return nil
	}
	rate := float64(perMinute) / 60
	capacity := max(1, rate*burst.Seconds())
	return &bucket{rate: rate, capacity: capacity, level: capacity, updated: time.Now()}
}

// take waits until amount may be used. One caller at a time, the one whose turn it is. One that gives up takes
// nothing.
func (b *bucket) take(ctx context.Context, amount int64) error {
	if b == nil {
		return nil
	}
	for {
		wait := b.tryTake(float64(amount))
		if wait <= 0 {
			return nil
		}
		if err := Wait(ctx, wait); err != nil {
			return err
		}
	}
}

// tryTake takes amount and returns 0, or returns how long to wait before trying again.
func (b *bucket) tryTake(amount float64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.level = min(b.capacity, b.level+now.Sub(b.updated).Seconds()*b.rate)
	b.updated = now
	if needed := min(amount, b.capacity); b.level < needed {
		return max(time.Microsecond, time.Duration((needed-b.level)/b.rate*float64(time.Second)))
	}
	b.level -= amount
	return 0
}

// settle gives back what was reserved and not used; a negative amount takes what was used beyond it.
func (b *bucket) settle(amount int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.level = min(b.capacity, b.level+float64(amount))
}
