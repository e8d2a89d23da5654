package pipeline

import (
	"sync"
	"time"
)

const (
	// minAge and maxAge bound how long an epoch waits where nobody said how long.
	minAge, maxAge = time.Second, 30 * time.Second
	// commitShare is how many times as long as its commit an epoch lasts: so that of a table's time, commits take a third
	// at the most, and others can write to it as well.
	commitShare = 2
	// emptyAge is how long progress without rows may wait for rows to be committed with.
	emptyAge = time.Minute
)

// pace is how long an epoch waits for more rows.
type pace struct {
	fixed time.Duration // 0: as long as commits suggest

	mu   sync.Mutex
	took time.Duration // by the last commits, the later ones weighing more
}

// learn takes in how long a commit took.
func (p *pace) learn(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.took == 0 {
		p.took = took
	}
	p.took = (3*p.took + took) / 4
}

// age is how old an epoch may get, counted from its first row.
func (p *pace) age() time.Duration {
	if p.fixed > 0 {
		return p.fixed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return min(max(minAge, commitShare*p.took), maxAge)
}
