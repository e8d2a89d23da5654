package limits_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// admitted runs calls that take a while each and returns when each was admitted, from the start.
func admitted(t *testing.T, limiter *limits.Limiter, calls int, takes time.Duration, tokens, used int64) []time.Duration {
	t.Helper()
	start := time.Now()
	var mu sync.Mutex
	var at []time.Duration
	var wait sync.WaitGroup
	for range calls {
		wait.Go(func() {
			reservation, err := send(t.Context(), limiter, 0, tokens)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			at = append(at, time.Since(start))
			mu.Unlock()
			time.Sleep(takes) //nolint:forbidigo // fake time: the call itself
			reservation.Settle(used, schemas.USD{})
		})
	}
	wait.Wait()
	return at
}

// send prepares and sends a call.
func send(ctx context.Context, limiter *limits.Limiter, place, tokens int64) (*limits.Reservation, error) {
	reservation, err := limiter.Admit(ctx, place, tokens, schemas.USD{})
	if err != nil {
		return nil, err
	}
	if err := reservation.Send(ctx); err != nil {
		reservation.Settle(0, schemas.USD{})
		return nil, err
	}
	return reservation, nil
}

// most is the largest number of admissions in any window of that length.
func most(at []time.Duration, window time.Duration) int {
	best := 0
	for i := range at {
		n := 0
		for _, other := range at {
			if other >= at[i] && other < at[i]+window {
				n++
			}
		}
		best = max(best, n)
	}
	return best
}

func TestRequestsPerMinuteHoldInEveryMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(limits.Options{Concurrency: 100, RequestsPerMinute: 600})
		at := admitted(t, limiter, 1800, time.Millisecond, 0, 0)
		if n := most(at, time.Minute); n > 611 {
			t.Errorf("%d requests in a minute", n)
		}
		if last := at[len(at)-1]; last > 181*time.Second {
			t.Errorf("1,800 requests took %s: the limit is not used", last)
		}
	})
}

func TestTokensAreReservedByEstimateAndSettledByTruth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// 6,000 tokens a minute: 60 calls that use 100 each take a minute, though each reserves 500.
		limiter := limits.New(limits.Options{Concurrency: 1, TokensPerMinute: 6000})
		at := admitted(t, limiter, 60, time.Second, 500, 100)
		if last := at[len(at)-1]; last < 55*time.Second || last > 320*time.Second {
			t.Errorf("took %s", last)
		}
	})
}

func TestACallLargerThanTheBurstIsNotStarved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(limits.Options{Concurrency: 4, TokensPerMinute: 600})
		at := admitted(t, limiter, 4, 0, 600, 600)
		if last := at[len(at)-1]; last < 170*time.Second || last > 185*time.Second {
			t.Errorf("four calls of a minute's tokens each were through after %s", last)
		}
	})
}

func TestConcurrencyIsNeverExceeded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(limits.Options{Concurrency: 7})
		at := admitted(t, limiter, 70, time.Second, 0, 0)
		if n := most(at, time.Second); n > 7 {
			t.Errorf("%d at once", n)
		}
		if last := at[len(at)-1]; last != 9*time.Second {
			t.Errorf("the last one started after %s", last)
		}
	})
}

func TestAPauseHoldsEverybodyBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(limits.Options{Concurrency: 7})
		limiter.Pause(10 * time.Second)
		limiter.Pause(time.Second) // a shorter one does not shorten it
		for _, at := range admitted(t, limiter, 20, 0, 0, 0) {
			if at < 10*time.Second {
				t.Errorf("admitted after %s", at)
			}
		}
	})
}

func TestGivingUpWhileWaitingLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(limits.Options{Concurrency: 1, RequestsPerMinute: 60})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		held, err := limiter.Admit(ctx, 0, 0, schemas.USD{})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, err := limiter.Admit(ctx, 0, 0, schemas.USD{}); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
		}
		held.Settle(0, schemas.USD{})
		if _, err := limiter.Admit(t.Context(), 0, 0, schemas.USD{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheBudgetWaitsForWhatCallsInFlightGiveBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cents := func(n int64) schemas.USD { return schemas.USD(decimal128.FromI64(n * 1e16)) }
		budget := cents(10)
		limiter := limits.New(limits.Options{Concurrency: 10, Budget: &budget})
		calls := 0
		var failed error
		for failed == nil {
			first, err := limiter.Admit(t.Context(), 0, 0, cents(6)) // each may cost 6 and costs 2
			if err != nil {
				failed = err
				break
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				second, err := limiter.Admit(t.Context(), 0, 0, cents(6)) // must wait for the first
				if err != nil {
					failed = err
					return
				}
				calls++
				second.Settle(0, cents(2))
			}()
			synctest.Wait()
			calls++
			first.Settle(0, cents(2))
			<-done
		}
		if !errors.Is(failed, limits.ErrBudget) || calls != 3 {
			t.Errorf("%d calls, then %v", calls, failed)
		}
	})
}

func TestTheLowestPlaceIsAdmittedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(limits.Options{Concurrency: 1, RequestsPerMinute: 6000})
		held, err := send(t.Context(), limiter, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, giveUp := context.WithCancel(t.Context())
		var order []int64
		var wait sync.WaitGroup
		ask := func(ctx context.Context, place int64) {
			wait.Go(func() {
				reservation, err := send(ctx, limiter, place, 0)
				if err != nil {
					return
				}
				order = append(order, place)
				time.Sleep(time.Second) //nolint:forbidigo // fake time: the call itself
				reservation.Settle(0, schemas.USD{})
			})
		}
		ask(t.Context(), 1) // prepared, and waiting for the wire
		synctest.Wait()
		for _, place := range []int64{9, 3, 7, 5} {
			ask(t.Context(), place)
		}
		ask(ctx, 2)
		synctest.Wait()
		giveUp()
		synctest.Wait()
		held.Settle(0, schemas.USD{})
		wait.Wait()
		if want := []int64{1, 3, 5, 7, 9}; !slices.Equal(order, want) {
			t.Errorf("admitted in the order %v, want %v", order, want)
		}
	})
}

func TestFewCallsArePreparedAheadOfTheWire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const concurrency = 8
		limiter := limits.New(limits.Options{Concurrency: concurrency})
		var wait sync.WaitGroup
		var mu sync.Mutex
		prepared := 0
		for place := range int64(50) {
			wait.Go(func() {
				reservation, err := limiter.Admit(t.Context(), place, 0, schemas.USD{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				prepared++
				mu.Unlock()
				if err := reservation.Send(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Minute) //nolint:forbidigo // fake time: the call itself
				reservation.Settle(0, schemas.USD{})
			})
		}
		synctest.Wait()
		mu.Lock()
		if want := concurrency + limits.Ahead(concurrency); prepared != want {
			t.Errorf("%d calls are prepared or on the wire, want %d", prepared, want)
		}
		mu.Unlock()
		wait.Wait()
	})
}

func TestNothingIsSentAfterTheEnd(t *testing.T) {
	t.Parallel()
	limiter := limits.New(limits.Options{Concurrency: 4})
	ctx, cancel := context.WithCancel(t.Context())
	prepared, err := limiter.Admit(ctx, 0, 0, schemas.USD{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := prepared.Send(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a prepared call: got %v", err)
	}
	prepared.Settle(0, schemas.USD{})
	if _, err := limiter.Admit(ctx, 1, 0, schemas.USD{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a new call: got %v", err)
	}
}

// TestAHaltLetsWhatIsBeforeTheWireGoOn: calls behind the last one that was sent are sent away wherever they wait, those
// before it are sent; afterwards everything goes on.
func TestAHaltLetsWhatIsBeforeTheWireGoOn(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]limits.Options{
		"slots": {Concurrency: 1}, "rates": {Concurrency: 50, RequestsPerMinute: 60},
		"a pause": {Concurrency: 50},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limiter := limits.New(options)
				first, err := send(t.Context(), limiter, 10, 1)
				if err != nil {
					t.Fatal(err)
				}
				if name == "a pause" {
					limiter.Pause(time.Minute)
				}
				results := map[int64]chan error{5: make(chan error, 1), 11: make(chan error, 1), 12: make(chan error, 1)}
				for place, result := range results {
					go func() {
						reservation, err := send(t.Context(), limiter, place, 1)
						if err == nil {
							reservation.Settle(1, schemas.USD{})
						}
						result <- err
					}()
				}
				synctest.Wait()
				limiter.Halt()
				for _, place := range []int64{11, 12} {
					if err := <-results[place]; !errors.Is(err, limits.ErrHalted) {
						t.Errorf("place %d: %v", place, err)
					}
				}
				if _, err := send(t.Context(), limiter, 13, 1); !errors.Is(err, limits.ErrHalted) {
					t.Errorf("one that comes later, and does not wait for a slot: %v", err)
				}
				first.Settle(1, schemas.USD{})
				if err := <-results[5]; err != nil {
					t.Errorf("the one before: %v", err)
				}
				limiter.Resume()
				again, err := send(t.Context(), limiter, 14, 1)
				if err != nil {
					t.Fatalf("after the halt: %v", err)
				}
				again.Settle(1, schemas.USD{})
			})
		})
	}
}

// TestLimitsChange: other limits hold for what is admitted from then on, up and down, and what was spent stays spent.
func TestLimitsChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(limits.Options{Concurrency: 4})
		if at := admitted(t, limiter, 8, time.Second, 1, 1); most(at, time.Second) != 4 {
			t.Errorf("%d at once, want 4", most(at, time.Second))
		}
		limiter.Change(limits.Options{Concurrency: 2})
		if at := admitted(t, limiter, 8, time.Second, 1, 1); most(at, time.Second) != 2 || limiter.Concurrency() != 2 {
			t.Errorf("%d at once, want 2", most(at, time.Second))
		}
		limiter.Change(limits.Options{Concurrency: 8, RequestsPerMinute: 60})
		if at := admitted(t, limiter, 10, time.Millisecond, 1, 1); slices.Max(at) < 8*time.Second || slices.Max(at) > 10*time.Second {
			t.Errorf("ten calls at one a second took %v", slices.Max(at))
		}
		limiter.Change(limits.Options{Concurrency: 8})
		if at := admitted(t, limiter, 16, time.Second, 1, 1); most(at, time.Second) != 8 || slices.Max(at) > 2*time.Second {
			t.Errorf("%d at once for %v, want 8", most(at, time.Second), slices.Max(at))
		}
	})
}

// TestFewerSlotsWhileAllAreInUse: places that are taken away go once they are left.
func TestFewerSlotsWhileAllAreInUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := limits.New(limits.Options{Concurrency: 3})
		var held []*limits.Reservation
		for place := range int64(3) {
			reservation, err := send(t.Context(), limiter, place, 1)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, reservation)
		}
		limiter.Change(limits.Options{Concurrency: 1})
		sent := make(chan struct{})
		go func() {
			reservation, err := send(t.Context(), limiter, 3, 1)
			if err != nil {
				t.Error(err)
				return
			}
			close(sent)
			reservation.Settle(1, schemas.USD{})
		}()
		for i, reservation := range held {
			synctest.Wait()
			select {
			case <-sent:
				t.Errorf("sent with %d calls on the wire, and one may be", len(held)-i)
			default:
			}
			reservation.Settle(1, schemas.USD{})
		}
		<-sent
	})
}
