package ledger_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/schemas"
)

// TestTextsThatAreNoUTF8: a text that is none, from whatever source, must not make a ledger of paid answers unreadable.
func TestTextsThatAreNoUTF8(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := ledger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	origin := &schemas.Origin{Job: "j\xff"}
	ended := &schemas.Invocation{Origin: origin, InvocationID: uuid.NewString(), RowKey: "caf\xe9"}
	begun := &schemas.Invocation{Origin: origin, InvocationID: uuid.NewString(), ContentType: "x=\xff"}
	ctx := context.Background()
	if err := l.End(ctx, ended); err != nil {
		t.Fatal(err)
	}
	if err := l.Begin(ctx, begun); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = ledger.Open(dir); err != nil {
		t.Fatalf("a note cannot be read again: %v", err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	seen := 0
	for invocation, err := range l.Ended(0, l.Sequence()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; invocation.InvocationID != ended.InvocationID && invocation.InvocationID != begun.InvocationID {
			t.Errorf("got %+v", invocation)
		}
	}
	if seen != 2 {
		t.Errorf("%d invocations of 2", seen)
	}
}
