package serde

import (
	"context"
	"sync"
	"time"
)

// maxKnown bounds what a memo holds: records of strangers may name any schema.
const maxKnown = 10_000

// forever is for what never changes.
const forever time.Duration = 0

// memo remembers what was found, and has one caller look for it while the others wait. It is safe for concurrent use.
type memo[K comparable, V any] struct {
	mu    sync.Mutex
	known map[K]found[V]
	open  map[K]*search[V]
}

type found[V any] struct {
	value V
	until time.Time // zero: forever
}

type search[V any] struct {
	done  chan struct{}
	value V
	err   error
	given bool // up, because the caller's context ended
}

// get returns what is known, or finds it and keeps it for as long as find says. A failure is that of all who wait, and is
// not kept.
func (m *memo[K, V]) get(ctx context.Context, key K, find func(context.Context) (V, time.Duration, error)) (V, error) {
	for {
		m.mu.Lock()
		if entry, ok := m.known[key]; ok && (entry.until.IsZero() || time.Now().Before(entry.until)) {
			m.mu.Unlock()
			return entry.value, nil
		}
		under, ok := m.open[key]
		if !ok {
			return m.find(ctx, key, find)
		}
		m.mu.Unlock()
		select {
		case <-under.done:
			if !under.given {
				return under.value, under.err
			}
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
}

// find is entered with the lock, and leaves without it.
func (m *memo[K, V]) find(ctx context.Context, key K, find func(context.Context) (V, time.Duration, error)) (V, error) {
	if m.open == nil {
		m.open = map[K]*search[V]{}
	}
	own := &search[V]{done: make(chan struct{}), given: true}
	m.open[key] = own
	m.mu.Unlock()
	keep := forever
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if own.err == nil && !own.given {
			if len(m.known) >= maxKnown || m.known == nil {
				m.known = map[K]found[V]{}
			}
			entry := found[V]{value: own.value}
			if keep != forever {
				entry.until = time.Now().Add(keep)
			}
			m.known[key] = entry
		}
		delete(m.open, key)
		close(own.done)
	}()
	own.value, keep, own.err = find(ctx)
	own.given = ctx.Err() != nil
	return own.value, own.err
}
