package pipeline

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

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

	DeadLetters atomic.Int64 // of Errors, those that are visible among the dead letters

	mu       sync.Mutex
	cost     schemas.USD
	unpriced bool
	failures map[string]Failure
	progress Progress
}

// Progress is how far a run has come.
type Progress struct {
	Started     time.Time
	Marks       schemas.Marks    // committed, and where a look at the sink found them
	Committed   time.Time        // the last commit's; zero: there was none
	CommitTook  time.Duration    // of the last one
	Watermark   time.Time        // when the newest committed row came into being; zero: not known
	Freshness   time.Duration    // how old the oldest row of the last commit was when it became visible
	Lag         map[string]int64 // rows behind the marks, by partition; nil: not known
	LagTaken    time.Time        // when that was so
	Assigned    []string         // partitions; nil: the source is not shared
	Assignments int64            // so far
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

// Progress is how far the run has come.
func (s *Stats) Progress() Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.progress
	out.Marks, out.Lag = out.Marks.Clone(), maps.Clone(out.Lag)
	return out
}

// look takes in where the sink stands, and what this process is to read from there on.
func (s *Stats) look(marks schemas.Marks, assigned []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.progress
	p.Marks, p.Assigned = make(schemas.Marks), assigned
	maps.Copy(p.Marks, marks)
	if p.Assignments++; p.Started.IsZero() {
		p.Started = time.Now()
	}
	if assigned != nil { // the lag of others' partitions is others'
		p.Lag, p.LagTaken = nil, time.Time{}
	}
}

// commit takes in an epoch that became visible.
func (s *Stats) commit(e *epoch, took time.Duration) {
	s.Committed.Add(e.about.Rows)
	s.DeadLetters.Add(e.about.DeadLetters)
	s.Commits.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.progress
	maps.Copy(p.Marks, e.to)
	p.Committed, p.CommitTook = time.Now(), took
	if e.about.Newest.After(p.Watermark) {
		p.Watermark = e.about.Newest
	}
	if !e.about.Oldest.IsZero() {
		p.Freshness = p.Committed.Sub(e.about.Oldest)
	}
}

// lag takes in how many rows stand behind the marks.
func (s *Stats) lag(rows map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.Lag, s.progress.LagTaken = rows, time.Now()
}
