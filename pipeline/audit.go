package pipeline

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/inflowhq/inflow/schemas"
)

const (
	// auditRows is the number of usage rows built at a time; it bounds memory, not the size of a commit.
	auditRows = 4096
	// auditStep is the number of ended calls that are worth a look before a commit: a record of few rows costs as
	// much as one of many.
	auditStep = 2048
)

// audit copies ended invocations from the ledger into the usage table, each exactly once: the mark names the
// ledger and the sequence number it has come to. Rows are written as calls end and committed in the rhythm of the
// results. Its methods but poke are for one goroutine at a time.
type audit struct {
	options   *Options
	mark      string
	wake      chan struct{}
	due       atomic.Bool // a commit is wanted
	builder   *schemas.UsageBuilder
	from      schemas.Marks // of the usage table; nil before the first look
	committed int64         // sequence number that the usage table has come to
	written   int64         // and that its open epoch has
}

func newAudit(options *Options) *audit {
	return &audit{
		options: options, mark: "ledger-" + options.Ledger.ID(),
		wake: make(chan struct{}, 1), builder: schemas.NewUsageBuilder(options.Memory),
	}
}

// poke says that calls have ended, and with commit that results were committed: a good moment for usage too.
func (a *audit) poke(commit bool) {
	if commit {
		a.due.Store(true)
	}
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
				var err error
				if a.due.Swap(false) {
					err = a.commit(ctx)
				} else if a.options.Ledger.Sequence() >= a.written+auditStep {
					err = a.write(ctx)
				}
				if err != nil {
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
	return errors.Join(a.commit(ctx), a.options.Usage.Close(ctx))
}

// write adds what has ended since to the usage table's open epoch.
func (a *audit) write(ctx context.Context) error {
	if a.from == nil {
		if err := a.look(ctx); err != nil {
			return err
		}
	}
	upTo := a.options.Ledger.Sequence()
	for invocation, err := range a.options.Ledger.Ended(a.written, upTo) {
		if err != nil {
			return err
		}
		a.builder.Append(invocation)
		if a.builder.Len() >= auditRows {
			if err := a.writeBuilt(ctx); err != nil {
				return err
			}
		}
	}
	if err := a.writeBuilt(ctx); err != nil {
		return err
	}
	a.written = max(a.written, upTo)
	return nil
}

func (a *audit) writeBuilt(ctx context.Context) error {
	if a.builder.Len() == 0 {
		return nil
	}
	record := a.builder.NewRecord()
	defer record.Release()
	return a.options.Usage.Write(ctx, record)
}

// commit makes the open epoch visible. Runs with other ledgers may write the same usage table under the same job: their
// commits move other marks.
func (a *audit) commit(ctx context.Context) error {
	if err := a.write(ctx); err != nil {
		return err
	}
	if a.written == a.committed {
		return nil
	}
	to := schemas.Marks{a.mark: a.written}
	commit, err := a.options.Usage.Seal(ctx)
	if err != nil {
		return err
	}
	if err := commit(ctx, a.from, to, nil); err != nil {
		return err
	}
	a.from, a.committed = merged(a.from, to), a.written
	return a.options.Ledger.Forget(a.committed)
}

// look finds out where the usage table stands. Whatever the open epoch held has to be written again.
func (a *audit) look(ctx context.Context) error {
	from, err := a.options.Usage.Marks(ctx)
	if err != nil {
		return err
	}
	if from == nil {
		from = schemas.Marks{}
	}
	a.from, a.committed, a.written = from, from[a.mark], from[a.mark]
	return nil
}
