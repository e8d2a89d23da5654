package ledger_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/schemas"
)

// childFolder makes this test binary a process that writes into the ledger of that folder until it is killed.
const childFolder = "INFLOW_TEST_LEDGER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" { //nolint:forbidigo // how a test talks to its own child process
		child(dir)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, dir string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closed(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func invocation(i int) *schemas.Invocation {
	return &schemas.Invocation{
		Origin:       &schemas.Origin{Job: "job", RunID: "run"},
		InvocationID: fmt.Sprintf("invocation-%d", i), RequestID: "r", EventTime: time.UnixMicro(1_700_000_000_123_456).UTC(),
		InputTokens: int64(i), SourceVersion: -1, BillableBasis: schemas.BasisProvider,
	}
}

// settle returns when the answer is durable.
func settle(ctx context.Context, l *ledger.Ledger, key ledger.Key, answer *schemas.Answer) error {
	done := make(chan error, 1)
	if err := l.Settle(ctx, &answer.Invocation, []ledger.Kept{{Key: key, Answer: answer}}, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}

func ended(t *testing.T, l *ledger.Ledger, after int64) []*schemas.Invocation {
	t.Helper()
	var out []*schemas.Invocation
	for inv, err := range l.Ended(after, l.Sequence()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, inv)
	}
	return out
}

func TestAnswersSurviveAndAreCountedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	id := l.ID()
	var wait sync.WaitGroup
	for i := range 200 {
		wait.Go(func() {
			inv := invocation(i)
			if err := l.Begin(t.Context(), inv); err != nil {
				t.Error(err)
			}
			key := ledger.Key(sha256.Sum256([]byte{byte(i)}))
			if err := settle(t.Context(), l, key, &schemas.Answer{Text: fmt.Sprint(i), Invocation: *inv}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	closed(t, l)
	closed(t, l) // twice is once

	l = open(t, dir)
	defer closed(t, l)
	if l.ID() != id || l.Sequence() != 200 {
		t.Fatalf("ledger %s at %d", l.ID(), l.Sequence())
	}
	for i := range 200 {
		answer, err := l.Lookup(sha256.Sum256([]byte{byte(i)}))
		if err != nil || answer == nil || answer.Text != fmt.Sprint(i) || !answer.Invocation.EventTime.Equal(invocation(0).EventTime) {
			t.Fatalf("answer %d: %+v, %v", i, answer, err)
		}
	}
	if missing, err := l.Lookup(ledger.Key{1}); missing != nil || err != nil {
		t.Errorf("an answer that nobody gave: %v, %v", missing, err)
	}
	seen := map[string]bool{}
	for _, inv := range ended(t, l, 0) {
		seen[inv.InvocationID] = true
	}
	if len(seen) != 200 {
		t.Errorf("%d invocations ended", len(seen))
	}
	if err := l.Forget(150); err != nil {
		t.Fatal(err)
	}
	if left := ended(t, l, 150); len(left) != 50 || len(ended(t, l, 0)) != 50 {
		t.Errorf("%d left", len(left))
	}
}

func TestACallOnTheWireIsClosedAsAmbiguous(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	for i := range 3 {
		if err := l.Begin(t.Context(), invocation(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.End(t.Context(), invocation(1)); err != nil {
		t.Fatal(err)
	}
	// One that was noted and then not sent has never been.
	if err := errors.Join(l.Begin(t.Context(), invocation(3)), l.Withdraw(t.Context(), invocation(3))); err != nil {
		t.Fatal(err)
	}
	closed(t, l)
	for range 2 { // opening again closes them once
		l = open(t, dir)
		all := ended(t, l, 0)
		if len(all) != 3 {
			t.Fatalf("%d invocations", len(all))
		}
		for _, inv := range all {
			lost := inv.Error != nil && inv.Error.Class == schemas.Ambiguous
			if lost != (inv.InvocationID != "invocation-1") {
				t.Errorf("%s: %+v", inv.InvocationID, inv.Error)
			}
		}
		closed(t, l)
	}
}

func TestASecondProcessIsToldWhoHoldsTheLedger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	defer closed(t, l)
	_, err := ledger.Open(dir)
	if !errors.Is(err, ledger.ErrLocked) {
		t.Fatalf("got %v", err)
	}
}

func TestAppendsAfterCloseFail(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	closed(t, l)
	if err := l.Begin(t.Context(), invocation(0)); err == nil {
		t.Error("a closed ledger took an invocation")
	}
}

// child settles one answer after the other and says so on its standard output when it is durable.
func child(dir string) {
	l, err := ledger.Open(dir)
	if err != nil {
		panic(err)
	}
	for i := int(l.Sequence()); ; i++ {
		inv := invocation(i)
		ctx, stop := contextOf()
		if err := errors.Join(l.Begin(ctx, inv), settle(ctx, l, ledger.Key(sha256.Sum256([]byte(inv.InvocationID))),
			&schemas.Answer{Invocation: *inv})); err != nil {
			panic(err)
		}
		stop()
		if _, err := fmt.Fprintf(os.Stdout, "%s\n", inv.InvocationID); err != nil {
			panic(err)
		}
	}
}

func TestWhatWasSaidToBeDurableSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	promised := map[string]bool{}
	for round := range 8 {
		said := filepath.Join(t.TempDir(), "said")
		out, err := os.Create(said)
		if err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), self)
		command.Env, command.Stdout = append(os.Environ(), childFolder+"="+dir), out
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		for size := int64(0); size < int64(200*(round+1)); { // until it has promised something
			info, err := out.Stat()
			if err != nil {
				t.Fatal(err)
			}
			size = info.Size()
		}
		if err := command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = command.Wait()
		text, err := os.ReadFile(said)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range splitLines(string(text)) {
			promised[line] = true
		}
		l := open(t, dir)
		kept := map[string]int{}
		for _, inv := range ended(t, l, 0) {
			kept[inv.InvocationID]++
		}
		for id := range promised {
			if kept[id] == 0 {
				t.Fatalf("%s was promised and is gone", id)
			}
			if answer, err := l.Lookup(sha256.Sum256([]byte(id))); err != nil || answer == nil {
				t.Fatalf("the answer of %s is gone: %v", id, err)
			}
		}
		closed(t, l)
	}
}
