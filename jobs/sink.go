package jobs

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/schemas"
)

// sink is what a job needs of a sink beyond what the engine does.
type sink interface {
	pipeline.Sink
	// Check finds out whether a commit can work, without leaving anything behind.
	Check(ctx context.Context) error
}

// namedSink is a sink whose errors say which one it is: a run has two, and a job file names them.
type namedSink struct {
	name string // "sink.delta: main.support.tickets_triaged"
	sink sink
}

func (n *namedSink) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", n.name, err)
}

// Marks implements pipeline.Sink.
func (n *namedSink) Marks(ctx context.Context) (schemas.Marks, error) {
	marks, err := n.sink.Marks(ctx)
	return marks, n.named(err)
}

// Write implements pipeline.Sink.
func (n *namedSink) Write(ctx context.Context, record arrow.Record) error {
	return n.named(n.sink.Write(ctx, record))
}

// Seal implements pipeline.Sink.
func (n *namedSink) Seal(ctx context.Context) (func(context.Context, schemas.Marks, schemas.Marks, *schemas.Epoch) error, error) {
	commit, err := n.sink.Seal(ctx)
	if err != nil {
		return nil, n.named(err)
	}
	return func(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error {
		return n.named(commit(ctx, from, to, about))
	}, nil
}

// Close implements pipeline.Sink.
func (n *namedSink) Close(ctx context.Context) error { return n.named(n.sink.Close(ctx)) }

// Check finds out whether a commit can work, without leaving anything behind.
func (n *namedSink) Check(ctx context.Context) error { return n.named(n.sink.Check(ctx)) }
