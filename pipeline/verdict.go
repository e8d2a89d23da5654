package pipeline

import (
	"fmt"
	"sync"
)

const (
	// minSample is the number of rows before the share of failed ones means anything.
	minSample = 100
	// minCalls is the number of requests, where each has many rows: the rows of one fail together.
	minCalls = 10
	// lookBack is how many samples a run without an end looks back.
	lookBack = 100
)

// verdict is whether too many rows fail: of all rows, or of the last ones where there is no end to them.
type verdict struct {
	above  float64
	sample int64 // rows
	moving bool

	mu           sync.Mutex
	rows, failed int64
}

// count takes in a finished row, and returns ErrTooManyErrors once there are too many.
func (v *verdict) count(failed bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.moving && v.rows >= v.sample*lookBack {
		v.rows, v.failed = v.rows/2, v.failed/2
	}
	v.rows++
	if failed {
		v.failed++
	}
	if v.rows < v.sample {
		return nil
	}
	return v.judge()
}

// final is the verdict at the end, however few rows there were. What has no end is only paused.
func (v *verdict) final() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.moving && v.rows < v.sample {
		return nil
	}
	return v.judge()
}

func (v *verdict) judge() error {
	if v.rows == 0 || float64(v.failed) <= v.above*float64(v.rows) {
		return nil
	}
	return fmt.Errorf("%w: %d of %d rows, more than on_error.fail_above allows (%g%%)", ErrTooManyErrors, v.failed, v.rows, v.above*100)
}
