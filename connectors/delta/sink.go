package delta

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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
// commit, or not at all. A table that is not there is made by the first commit. It is not safe for concurrent use.
type Sink struct {
	table   *Table
	options SinkOptions
	wanted  *DataType
	base    *state  // the newest known; version -1: the table is not there
	stale   bool    // a commit failed: base may be outdated
	epoch   *Append // nil: nothing was written since the last commit
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
	s := &Sink{table: newTable(st, table), options: options, wanted: wanted}
	return s, s.reload(ctx)
}

// reload reads the table's description anew.
func (s *Sink) reload(ctx context.Context) error {
	definition := &Definition{Schema: s.options.Schema, PartitionBy: s.options.PartitionBy, Properties: s.options.Properties}
	base, err := loadBase(ctx, s.table, definition)
	if err != nil {
		return err
	}
	if err := checkWritable(base.protocol, base.metadata, base.schema); err != nil {
		return err
	}
	s.base, s.stale = base, false
	return nil
}

// refresh takes in what was committed since, one missing name when nothing was.
func (s *Sink) refresh(ctx context.Context) error {
	if s.base.version < 0 {
		return s.reload(ctx)
	}
	next := s.base.clone()
	if err := advance(ctx, s.table.store, next); errors.Is(err, errOutrun) {
		return s.reload(ctx)
	} else if err != nil {
		return err
	}
	if err := checkWritable(next.protocol, next.metadata, next.schema); err != nil {
		return err
	}
	if err := mismatch(next, s.wanted); err != nil {
		return err
	}
	s.base, s.stale = next, false
	return nil
}

// Marks returns the marks that the table holds now, nil where it holds none of this prefix.
func (s *Sink) Marks(ctx context.Context) (schemas.Marks, error) {
	if err := s.refresh(ctx); err != nil {
		return nil, err
	}
	return s.marksOf(s.base), nil
}

func (s *Sink) marksOf(table *state) schemas.Marks {
	var marks schemas.Marks
	for id, txn := range table.txns {
		if name, ok := strings.CutPrefix(id, s.options.Prefix); ok {
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
	if err := s.begin(ctx); err != nil {
		return err
	}
	return s.epoch.Write(ctx, record)
}

func (s *Sink) begin(ctx context.Context) error {
	if s.epoch != nil {
		return nil
	}
	if s.stale {
		if err := s.refresh(ctx); err != nil {
			return err
		}
	}
	epoch, err := newAppend(s.table, s.base.clone(), AppendOptions{
		NoStatistics: s.options.NoStatistics, Dictionary: s.options.Dictionary, Operation: s.options.Operation,
	})
	if err != nil {
		return err
	}
	s.epoch = epoch
	return nil
}

// Commit makes the epoch's rows visible and moves the table's marks from one place to another. Where the table's
// marks are not from, or another commit moves them first, the error wraps schemas.ErrFenced. After any failure the
// epoch is gone; Marks tells where the table stands.
func (s *Sink) Commit(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error {
	if s.epoch == nil && from.Equal(to) {
		return nil
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	epoch := s.epoch
	s.epoch = nil
	for _, name := range slices.Sorted(maps.Keys(to)) {
		epoch.SetTxn(s.options.Prefix+name, to[name])
	}
	if !s.marksOf(epoch.base).Equal(from) {
		// What is known may be older than what the caller knows.
		if err := epoch.catchUp(ctx); err != nil {
			return errors.Join(err, epoch.Abort(ctx))
		}
	}
	epoch.expect = func(table *state) error {
		if marks := s.marksOf(table); !marks.Equal(from) {
			return &schemas.Error{
				Op: "delta: commit", Code: "fenced",
				Err: fmt.Errorf("%w: the table is at %v, this run continues from %v", schemas.ErrFenced, marks, from),
			}
		}
		return nil
	}
	s.stale = true
	if _, err := epoch.Commit(ctx); err != nil {
		return err
	}
	s.base, s.stale = epoch.base, false
	return nil
}

// Close discards an epoch that was not committed, with its files.
func (s *Sink) Close(ctx context.Context) error {
	if s.epoch == nil {
		return nil
	}
	epoch := s.epoch
	s.epoch = nil
	return epoch.Abort(ctx)
}

// Check reports whether rows could be written now: the table's features and columns, and that the folder takes an
// object and gives it up again. Nothing of it lasts.
func (s *Sink) Check(ctx context.Context) error {
	if err := s.refresh(ctx); err != nil {
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
