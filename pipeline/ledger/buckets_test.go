package ledger_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/schemas"
)

// TestAnswersOfAStreamGo: an answer is there for as long as it is to be kept, also after a restart, goes once it is too
// old and the usage table has its call, and never before; one that is kept for good stays.
func TestAnswersOfAStreamGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, dir)
		put := func(i int) {
			t.Helper()
			if err := settle(t.Context(), l, ledger.Key{byte(i)}, &schemas.Answer{Text: "a", Invocation: *invocation(i)}); err != nil {
				t.Fatal(err)
			}
		}
		there := func(i int) bool {
			t.Helper()
			if err := l.Expire(); err != nil {
				t.Fatal(err)
			}
			answer, err := l.Lookup(ledger.Key{byte(i)})
			if err != nil {
				t.Fatal(err)
			}
			return answer != nil
		}
		wait := func(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // fake time
		put(0)                                          // for good
		l.KeepFor(10 * time.Hour)
		put(1)
		wait(6 * time.Hour)
		put(2) // begins another span
		wait(9 * time.Hour)
		if !there(1) || !there(2) {
			t.Fatal("an answer went before its time")
		}
		wait(2 * time.Hour)
		if !there(1) {
			t.Fatal("the usage table has not read of it")
		}
		closed(t, l)
		l = open(t, dir)
		l.KeepFor(10 * time.Hour)
		if !there(0) || !there(1) || !there(2) {
			t.Fatal("an answer did not survive")
		}
		if len(ended(t, l, 0)) != 3 {
			t.Fatal("calls are missing")
		}
		put(3)
		if err := l.Forget(l.Sequence()); err != nil {
			t.Fatal(err)
		}
		wait(30 * time.Minute)
		if !there(1) {
			t.Fatal("what a dead process left is kept for an hour after the start")
		}
		wait(time.Hour)
		if there(1) || !there(2) || !there(3) || !there(0) {
			t.Fatalf("after their time: %v %v %v %v", there(0), there(1), there(2), there(3))
		}
		closed(t, l)
		l = open(t, dir)
		if there(1) || !there(2) {
			t.Error("it is gone from memory, and not from disk")
		}
		closed(t, l)
	})
}
