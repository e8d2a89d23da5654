package delta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/google/uuid"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

// SinkOptions say where a Sink's rows and marks go.
type SinkOptions struct {
	// Prefix begins the appId of every mark, "<job>/<shard>/". No two sinks that run for themselves share one.
	Prefix string
	// Schema are the columns written. An existing table must have them.
	Schema *arrow.Schema
	// NoStatistics names the columns of which no value may stand in a statistic: prompts, answers.
	NoStatistics []string
	// Dictionary names the columns that repeat few values.
	Dictionary []string
	// Operation is what the history shows; empty: WRITE.
	Operation string
	// PartitionBy and Properties are used where the table is new.
	PartitionBy []string
	Properties  map[string]string
}

// Sink adds rows to a table in epochs: rows become visible together with the marks up to which they reach, in one
// commit, or not at all. A table that is not there is made by the first commit.
//
// One goroutine writes, seals, asks for the marks and closes; another one may commit meanwhile what was sealed.
type Sink struct {
	table   *Table
	options SinkOptions
	wanted  *DataType

	mu     sync.Mutex       // never held over I/O
	base   *state           // the newest known, which does not change any more; version -1: the table is not there
	stale  bool             // a commit failed: base may be outdated
	open   *Append          // nil: nothing was written since the last epoch was sealed
	sealed map[*Append]bool // ended and not yet committed
	// failed is how a commit failed that open or sealed epochs come behind. What they hold continues from rows that
	// are not there, or of which nobody knows whether they are, so nothing goes on before Close.
	failed error

	checkpoints *checkpoints
}

// NewSink opens the table in st, or plans to make it, and writes nothing. An existing table whose columns differ
// is refused with schemas.ErrInvalid.
func NewSink(ctx context.Context, st store.Store, options SinkOptions, table ...Option) (*Sink, error) {
	if options.Prefix == "" || options.Schema == nil {
		return nil, fmt.Errorf("delta: sink: a prefix for the marks and a schema are needed: %w", schemas.ErrInvalid)
	}
	wanted, err := SchemaOf(options.Schema)
	if err != nil {
		return nil, fmt.Errorf("delta: sink: %w: %w", err, schemas.ErrInvalid)
	}
	opened := newTable(st, table)
	s := &Sink{
		table: opened, options: options, wanted: wanted, sealed: map[*Append]bool{}, checkpoints: &checkpoints{table: opened},
	}
	_, err = s.reload(ctx)
	return s, err
}

// reload reads the table's description anew.
func (s *Sink) reload(ctx context.Context) (*state, error) {
	definition := &Definition{Schema: s.options.Schema, PartitionBy: s.options.PartitionBy, Properties: s.options.Properties}
	base, err := loadBase(ctx, s.table, definition)
	if err != nil {
		return nil, err
	}
	if err := checkWritable(base.protocol, base.metadata, base.schema); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base, s.stale = base, false
	return base, nil
}

// refresh takes in what was committed since, one missing name when nothing was.
func (s *Sink) refresh(ctx context.Context) (*state, error) {
	s.mu.Lock()
	base := s.base
	s.mu.Unlock()
	if base.version < 0 {
		return s.reload(ctx)
	}
	next := base.clone()
	if err := advance(ctx, s.table.store, next); errors.Is(err, errOutrun) {
		return s.reload(ctx)
	} else if err != nil {
		return nil, err
	}
	if err := checkWritable(next.protocol, next.metadata, next.schema); err != nil {
		return nil, err
	}
	if err := mismatch(next, s.wanted); err != nil {
		return nil, err
	}
	s.publish(next)
	return next, nil
}

// publish makes a state the newest known one, unless a commit that ended meanwhile knows more.
func (s *Sink) publish(next *state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next.version >= s.base.version {
		s.base, s.stale = next, false
	}
}

// Marks returns the marks that the table holds now, nil where it holds none of this prefix.
func (s *Sink) Marks(ctx context.Context) (schemas.Marks, error) {
	table, err := s.refresh(ctx)
	if err != nil {
		return nil, err
	}
	return marksOf(table, s.options.Prefix), nil
}

// marksOf returns the txns of a prefix as marks, nil where there are none.
func marksOf(table *state, prefix string) schemas.Marks {
	var marks schemas.Marks
	for id, txn := range table.txns {
		if name, ok := strings.CutPrefix(id, prefix); ok {
			if marks == nil {
				marks = schemas.Marks{}
			}
			marks[name] = txn.Version
		}
	}
	return marks
}

// Write adds rows to the open epoch. It streams them into a data file and does not retain the record.
func (s *Sink) Write(ctx context.Context, record arrow.Record) error {
	s.mu.Lock()
	epoch := s.open
	s.mu.Unlock()
	if epoch == nil {
		opened, err := s.begin(ctx)
		if err != nil {
			return err
		}
		epoch = opened
	}
	if err := s.usable(epoch); err != nil {
		return err
	}
	return epoch.Write(ctx, record)
}

// begin plans an epoch on the newest known state.
func (s *Sink) begin(ctx context.Context) (*Append, error) {
	s.mu.Lock()
	stale := s.stale
	s.mu.Unlock()
	if stale {
		if _, err := s.refresh(ctx); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	base := s.base
	s.mu.Unlock()
	return newAppend(s.table, base.clone(), AppendOptions{
		NoStatistics: s.options.NoStatistics, Dictionary: s.options.Dictionary, Operation: s.options.Operation,
	})
}

// usable makes epoch the open one, unless a commit before it failed.
func (s *Sink) usable(epoch *Append) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return behind(s.failed)
	}
	s.open = epoch
	return nil
}

// behind says that an epoch is not committed because the one before it was not.
func behind(cause error) error {
	class := schemas.ClassOf(cause)
	if class == schemas.Ambiguous {
		class = schemas.Transient // of these rows it is known that they do not stand
	}
	return &schemas.Error{
		Op: "delta: write", Class: class, Code: "epoch_abandoned",
		Err: fmt.Errorf("the commit before these rows failed: %w", cause),
	}
}

// Seal ends the open epoch and returns what commits it, once, on any goroutine: rows that are written from now on
// belong to the next one.
//
// commit makes the epoch's rows visible and moves the marks of to. Where the table has of one of these something else
// than from, or another commit moves one first, the error wraps schemas.ErrFenced; other marks of the prefix are other
// members', whose commits this one comes behind. about stands in the commit as userMetadata. After any failure the epoch
// is gone; Marks tells where the table stands. Where rows were written behind it, they are gone as well, and nothing is
// taken before Close.
func (s *Sink) Seal(_ context.Context) (commit func(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, behind(s.failed)
	}
	epoch := s.open
	s.open = nil
	if epoch != nil {
		s.sealed[epoch] = true
	}
	return func(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error {
		return s.commit(ctx, epoch, from, to, about)
	}, nil
}

// fail keeps what comes behind a commit that failed from being committed.
func (s *Sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = true
	if s.failed == nil && (s.open != nil || len(s.sealed) > 0) {
		s.failed = err
	}
}

// claim takes a sealed epoch for its commit and returns the newest known state.
func (s *Sink) claim(epoch *Append) (*state, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, behind(s.failed)
	}
	if epoch != nil && !s.sealed[epoch] {
		return nil, errEnded // Close was faster
	}
	delete(s.sealed, epoch)
	return s.base, nil
}

func (s *Sink) commit(ctx context.Context, epoch *Append, from, to schemas.Marks, about *schemas.Epoch) (err error) {
	known, err := s.claim(epoch)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.fail(err)
		}
	}()
	if epoch == nil {
		if !moves(from, to) {
			return nil
		}
		if epoch, err = s.begin(ctx); err != nil {
			return err
		}
	}
	epoch.adopt(known)
	if about != nil {
		text, err := json.Marshal(about)
		if err != nil {
			return errors.Join(fmt.Errorf("delta: commit: %w", err), epoch.Abort(ctx))
		}
		epoch.options.UserMetadata = string(text)
	}
	for _, name := range slices.Sorted(maps.Keys(to)) {
		epoch.SetTxn(s.options.Prefix+name, to[name])
	}
	epoch.expect = func(table *state) error { return s.expect(table, from, to) }
	if epoch.expect(epoch.base) != nil {
		// What is known may be older than what the caller knows.
		if err := epoch.catchUp(ctx); err != nil {
			return errors.Join(err, epoch.Abort(ctx))
		}
	}
	version, err := epoch.finish(ctx)
	if err != nil {
		return err
	}
	s.publish(epoch.base)
	if epoch.checkpointDue(version) {
		s.checkpoints.start(ctx, version)
	}
	return nil
}

// moves reports whether to says something new.
func moves(from, to schemas.Marks) bool {
	for name, mark := range to {
		if before, ok := from[name]; !ok || before != mark {
			return true
		}
	}
	return false
}

// expect refuses to go on where the table has of the marks that are to be moved others than from.
func (s *Sink) expect(table *state, from, to schemas.Marks) error {
	for _, name := range slices.Sorted(maps.Keys(to)) {
		txn, there := table.txns[s.options.Prefix+name]
		before, known := from[name]
		if there == known && (!there || txn.Version == before) {
			continue
		}
		have, want := schemas.Marks{}, schemas.Marks{}
		if there {
			have[name] = txn.Version
		}
		if known {
			want[name] = before
		}
		return &schemas.Error{
			Op: "delta: commit", Code: "fenced",
			Err: fmt.Errorf("%w: the table is at %v, this run continues from %v", schemas.ErrFenced, have, want),
		}
	}
	return nil
}

// Close discards what was not committed, with its files, and waits for a checkpoint that is being written until ctx
// ends. It is not called during a commit. The sink can be used again.
func (s *Sink) Close(ctx context.Context) error {
	s.mu.Lock()
	abandoned := slices.Collect(maps.Keys(s.sealed))
	if s.open != nil {
		abandoned = append(abandoned, s.open)
	}
	clear(s.sealed)
	s.open, s.failed = nil, nil
	s.mu.Unlock()
	var failures []error
	for _, epoch := range abandoned {
		failures = append(failures, epoch.Abort(ctx))
	}
	s.checkpoints.wait(ctx)
	return errors.Join(failures...)
}

// checkpoints are written beside the commits that follow, one at a time: with many files one takes seconds.
type checkpoints struct {
	table *Table

	mu     sync.Mutex
	done   chan struct{} // closed when the last one is; nil: there was none
	cancel context.CancelFunc
}

// start begins the checkpoint of a version. While another one is being written it does nothing: the next one that is
// due holds this version too.
func (c *checkpoints) start(ctx context.Context, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done != nil {
		select {
		case <-c.done:
		default:
			return
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the commit's context may end with it; wait ends this one
	done := make(chan struct{})
	c.done, c.cancel = done, cancel
	go func() {
		defer close(done)
		defer cancel()
		if err := c.table.checkpointAt(ctx, version); err != nil {
			c.table.warn(err)
		}
	}()
}

// wait returns when no checkpoint is being written. One that is not done when ctx ends is given up.
func (c *checkpoints) wait(ctx context.Context) {
	c.mu.Lock()
	done, cancel := c.done, c.cancel
	c.mu.Unlock()
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
		cancel()
		<-done
	}
}

// Check reports whether rows could be written now: the table's features and columns, and that the folder takes an
// object and gives it up again. Nothing of it lasts.
func (s *Sink) Check(ctx context.Context) error {
	if _, err := s.refresh(ctx); err != nil {
		return err
	}
	name := "_inflow_check_" + uuid.NewString() // readers and VACUUM pass over names with an underscore
	object, err := s.table.store.Create(ctx, name)
	if err != nil {
		return fmt.Errorf("delta: the table's folder cannot be written: %w", err)
	}
	_, err = object.Write([]byte("check"))
	if err == nil {
		err = object.Commit(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("delta: the table's folder cannot be written: %w", err), object.Abort(), s.table.store.Delete(ctx, name))
	}
	if err := s.table.store.Delete(ctx, name); err != nil {
		return fmt.Errorf("delta: nothing can be deleted from the table's folder: %w", err)
	}
	return nil
}
