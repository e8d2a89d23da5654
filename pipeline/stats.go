package pipeline

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/inflowhq/inflow/schemas"
)

// Stats are the counters of a run. They only grow; any goroutine may read them at any time.
type Stats struct {
	Rows         atomic.Int64 // answered or failed for good, filtered ones not counted
	Skipped      atomic.Int64 // left out by the filter
	Errors       atomic.Int64 // rows with an error
	Reused       atomic.Int64 // rows that cost nothing because the ledger had their answer
	Committed    atomic.Int64 // rows visible in the sink
	Commits      atomic.Int64
	Invocations  atomic.Int64 // calls sent
	Retries      atomic.Int64 // calls after a row's first
	Throttles    atomic.Int64 // calls that were told to wait
	InFlight     atomic.Int64 // calls on the wire
	InputTokens  atomic.Int64
	OutputTokens atomic.Int64

	mu       sync.Mutex
	cost     schemas.USD
	unpriced bool
	failures map[string]Failure
}

// Failure is one kind of row error.
type Failure struct {
	Rows    int64
	Example schemas.RowError
}

// Cost is what was spent; complete is false where some call had no known price.
func (s *Stats) Cost() (cost schemas.USD, complete bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cost, !s.unpriced
}

// Failures are the row errors by code.
func (s *Stats) Failures() map[string]Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.failures)
}

func (s *Stats) spend(invocation *schemas.Invocation) {
	s.InputTokens.Add(invocation.InputTokens)
	s.OutputTokens.Add(invocation.OutputTokens)
	s.mu.Lock()
	defer s.mu.Unlock()
	if invocation.CostUSD == nil {
		s.unpriced = true
		return
	}
	s.cost = s.cost.Add(*invocation.CostUSD)
}

func (s *Stats) finish(answer *schemas.Answer) {
	s.Rows.Add(1)
	if answer.Error == nil {
		return
	}
	s.Errors.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failures == nil {
		s.failures = make(map[string]Failure)
	}
	failure := s.failures[answer.Error.Code]
	if failure.Rows == 0 {
		failure.Example = *answer.Error
	}
	failure.Rows++
	s.failures[answer.Error.Code] = failure
}
