package pipeline

import (
	"context"
	"sync"

	"github.com/inflowhq/inflow/schemas"
)

// auditRows is the number of usage rows built at a time; it bounds memory, not the size of a commit.
const auditRows = 4096

// audit copies ended invocations from the ledger into the usage table, each exactly once: the mark names the
// ledger and the sequence number it has come to.
type audit struct {
	options *Options
	mark    string
	wake    chan struct{}
	builder *schemas.UsageBuilder
}

func newAudit(options *Options) *audit {
	return &audit{
		options: options, mark: "ledger-" + options.Ledger.ID(),
		wake: make(chan struct{}, 1), builder: schemas.NewUsageBuilder(options.Memory),
	}
}

// poke says that a commit of results has just happened: a good moment for one of usage.
func (a *audit) poke() {
	select {
	case a.wake <- struct{}{}:
	default: // it is awake already
	}
}

// start keeps the usage table up to date until the returned function is called.
func (a *audit) start(ctx context.Context, owner *sync.WaitGroup, fail context.CancelCauseFunc) (stop func()) {
	if a.options.Usage == nil {
		return func() {}
	}
	stopped := make(chan struct{})
	owner.Go(func() {
		for {
			select {
			case <-stopped:
				return
			case <-a.wake:
				if err := a.copy(ctx); err != nil {
					fail(err)
					return
				}
			}
		}
	})
	return func() { close(stopped) }
}

// flush brings the usage table to the ledger's end and frees the builder.
func (a *audit) flush(ctx context.Context) error {
	defer a.builder.Release()
	if a.options.Usage == nil {
		return nil
	}
	if err := a.copy(ctx); err != nil {
		return err
	}
	return a.options.Usage.Close(ctx)
}

func (a *audit) copy(ctx context.Context) error {
	from, err := a.options.Usage.Marks(ctx)
	if err != nil {
		return err
	}
	after, upTo := from[a.mark], a.options.Ledger.Sequence()
	if upTo <= after {
		return nil
	}
	for invocation, err := range a.options.Ledger.Ended(after, upTo) {
		if err != nil {
			return err
		}
		a.builder.Append(invocation)
		if a.builder.Len() >= auditRows {
			if err := a.write(ctx); err != nil {
				return err
			}
		}
	}
	if err := a.write(ctx); err != nil {
		return err
	}
	if err := a.options.Usage.Commit(ctx, from, schemas.Marks{a.mark: upTo}); err != nil {
		return err
	}
	return a.options.Ledger.Forget(upTo)
}

func (a *audit) write(ctx context.Context) error {
	if a.builder.Len() == 0 {
		return nil
	}
	record := a.builder.NewRecord()
	defer record.Release()
	return a.options.Usage.Write(ctx, record)
}
