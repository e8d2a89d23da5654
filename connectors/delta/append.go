package delta

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/google/uuid"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// AppendOptions say how rows are added.
type AppendOptions struct {
	// Create makes the table where there is none, in the commit that brings the first rows.
	Create *Definition
	// NoStatistics names the columns of which no value may stand in a statistic: prompts, answers.
	NoStatistics []string
	// Dictionary names the columns that repeat few values, which are then written as numbers into a list of them.
	Dictionary []string
	// Operation is what the history shows; empty: WRITE.
	Operation string
	// UserMetadata stands in the history as it is.
	UserMetadata string
}

// Append is one transaction that adds rows. Either Commit or Abort ends it. It is not safe for concurrent use.
//
// It is a blind append: it holds whatever others commit meanwhile, unless that changes the table's columns,
// properties or protocol (ConflictError), or the progress of an application that it records (schemas.ErrFenced).
type Append struct {
	table   *Table
	base    *state // what the transaction is planned on; without files
	options AppendOptions
	files   *dataFiles
	txns    []Txn
	// expect, if set, looks at the table's txns before each attempt and refuses to go on.
	expect func(*state) error
	failed error // of a Write, which may have left half a record in the files
	ended  bool
}

// Begin starts a transaction on the table in st, which need not exist where options.Create is set.
func Begin(ctx context.Context, st store.Store, transaction AppendOptions, options ...Option) (*Append, error) {
	table := newTable(st, options)
	base, err := loadBase(ctx, table, transaction.Create)
	if err != nil {
		return nil, err
	}
	return newAppend(table, base, transaction)
}

// Append starts a transaction on the newest version.
func (t *Table) Append(ctx context.Context, options AppendOptions) (*Append, error) {
	base, err := loadBase(ctx, t, options.Create)
	if err != nil {
		return nil, err
	}
	return newAppend(t, base, options)
}

// loadBase reads the table's description, or makes one up from the definition where there is no table.
func loadBase(ctx context.Context, table *Table, definition *Definition) (*state, error) {
	base, err := load(ctx, table.store, table.location, latest, false)
	if definition == nil || err != nil && !isNotExist(err) {
		return base, err
	}
	if err != nil {
		return definition.state(table.location, table.now())
	}
	wanted, err := SchemaOf(definition.Schema)
	if err != nil {
		return nil, fmt.Errorf("delta: %w: %w", err, schemas.ErrInvalid)
	}
	return base, mismatch(base, wanted)
}

// newAppend starts on a base that the transaction may change.
func newAppend(table *Table, base *state, options AppendOptions) (*Append, error) {
	if err := checkWritable(base.protocol, base.metadata, base.schema); err != nil {
		return nil, err
	}
	if options.Operation == "" {
		options.Operation = "WRITE"
	}
	files := newDataFiles(table.store, base, table.now, parquet.WriterOptions{
		NoStatistics: among(base.schema, options.NoStatistics), Dictionary: among(base.schema, options.Dictionary),
	})
	return &Append{table: table, base: base, options: options, files: files}, nil
}

// among returns what tells whether a column of the schema is one of those named.
func among(schema *DataType, names []string) func(column string) bool {
	named := make(map[string]bool, len(names))
	for _, name := range names {
		if index, found := schema.field(name); found {
			named[schema.Fields[index].Name] = true
		}
	}
	return func(column string) bool { return named[column] }
}

// Schema returns the table's columns. Rows may leave out those that are nullable.
func (a *Append) Schema() *arrow.Schema { return a.files.arrow }

// Write adds the rows of record, which it does not retain. Files are written as they fill. After a failure Commit
// fails too.
func (a *Append) Write(ctx context.Context, record arrow.Record) error {
	if a.ended {
		return errEnded
	}
	if a.failed == nil {
		a.failed = a.files.write(ctx, record)
	}
	return a.failed
}

const errEnded = endedError("delta: the transaction has ended")

type endedError string

func (e endedError) Error() string { return string(e) }

// SetTxn records how far an application has come once this transaction stands. One record an application.
func (a *Append) SetTxn(appID string, version int64) {
	for i := range a.txns {
		if a.txns[i].AppID == appID {
			a.txns[i].Version = version
			return
		}
	}
	a.txns = append(a.txns, Txn{AppID: appID, Version: version})
}

// Commit makes the rows visible and returns the version that brought them. After any failure the transaction is
// over and its files are deleted, but for a failure of class schemas.Ambiguous: then it may stand.
func (a *Append) Commit(ctx context.Context) (int64, error) {
	version, err := a.finish(ctx)
	if err == nil && a.checkpointDue(version) {
		if err := a.table.checkpointAt(ctx, version); err != nil {
			a.table.warn(err) // the commit stands whatever becomes of it
		}
	}
	return version, err
}

// finish is Commit without the checkpoint.
func (a *Append) finish(ctx context.Context) (int64, error) {
	if a.ended {
		return 0, errEnded
	}
	a.ended = true
	version, err := a.commit(ctx)
	if err == nil || schemas.ClassOf(err) == schemas.Ambiguous {
		return version, err
	}
	return 0, errors.Join(err, a.discard(ctx))
}

// Abort ends the transaction and deletes its files. After Commit it does nothing.
func (a *Append) Abort(ctx context.Context) error {
	if a.ended {
		return nil
	}
	a.ended = true
	return a.discard(ctx)
}

func (a *Append) discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := a.files.discard(ctx); err != nil {
		return fmt.Errorf("delta: delete the files of an aborted transaction: %w", err)
	}
	return nil
}

func (a *Append) commit(ctx context.Context) (int64, error) {
	if a.failed != nil {
		return 0, classed(a.failed)
	}
	if err := a.files.close(ctx); err != nil {
		return 0, classed(err)
	}
	if err := checkReach(ctx, a.table.store, a.base); err != nil {
		return 0, classed(err)
	}
	committer := committer{store: a.table.store, id: uuid.NewString()}
	for attempt := 1; attempt <= maxCommitAttempts; attempt++ {
		if a.expect != nil {
			if err := a.expect(a.base); err != nil {
				return 0, err
			}
		}
		version := a.base.version + 1
		data, err := encodeActions(a.actions(committer.id))
		if err != nil {
			return 0, err
		}
		outcome, err := committer.put(ctx, version, data)
		if err != nil {
			return 0, err
		}
		if outcome == committed {
			a.base.version, a.base.seen = version, time.Now()
			for _, txn := range a.txns {
				a.base.txns[txn.AppID] = txn
			}
			return version, nil
		}
		if err := a.rebase(ctx); err != nil {
			return 0, classed(err)
		}
		if attempt > 1 {
			if err := backoff(ctx, attempt); err != nil {
				return 0, err
			}
		}
	}
	return 0, &schemas.Error{
		Op: "delta: commit", Class: schemas.Transient, Code: "commit_conflicts",
		Err: fmt.Errorf("%d other commits were faster", maxCommitAttempts),
	}
}

// classed takes the class Ambiguous off a failure that came before the log was touched: nothing refers to the files.
func classed(err error) error {
	if schemas.ClassOf(err) != schemas.Ambiguous {
		return err
	}
	return &schemas.Error{Op: "delta: write", Class: schemas.Transient, Code: "write_failed", Err: err}
}

// rebase takes in the commits that won, if they leave what this transaction was planned on.
func (a *Append) rebase(ctx context.Context) error {
	creating := a.base.version < 0
	for {
		version := a.base.version + 1
		next := a.base
		if creating {
			next = newState(a.base.location, false) // the winner's protocol and metaData are the table's
		}
		for action, err := range readCommit(ctx, a.table.store, version) {
			switch {
			case isNotExist(err):
				return nil
			case err != nil:
				return err
			case action.Protocol != nil && !creating:
				return &ConflictError{Version: version, Changed: "protocol"}
			case action.Metadata != nil && !creating:
				return &ConflictError{Version: version, Changed: "metaData"}
			case action.Txn != nil && a.records(action.Txn.AppID):
				return fmt.Errorf("delta: version %d, committed meanwhile, recorded %s for %q: %w",
					version, strconv.FormatInt(action.Txn.Version, 10), action.Txn.AppID, schemas.ErrFenced)
			}
			if err := next.apply(&action); err != nil {
				return err
			}
		}
		next.version = version
		if creating {
			if err := a.join(next); err != nil {
				return err
			}
			creating = false
		}
	}
}

// adopt plans the transaction on a later state, if that leaves what it was planned on.
func (a *Append) adopt(newer *state) {
	if newer.version > a.base.version && newer.protocol == a.base.protocol && newer.metadata == a.base.metadata {
		a.base = newer.clone()
	}
}

// catchUp is a rebase before the first attempt. Commits that record our applications decide nothing yet.
func (a *Append) catchUp(ctx context.Context) error {
	txns := a.txns
	a.txns = nil
	defer func() { a.txns = txns }()
	return classed(a.rebase(ctx))
}

// join makes a transaction that would have created the table one that appends to what another created. The data
// files stand already, so the columns must be the same ones.
func (a *Append) join(table *state) error {
	if err := table.settle(); err != nil {
		return fmt.Errorf("delta: version %d: %w", table.version, err)
	}
	if err := checkWritable(table.protocol, table.metadata, table.schema); err != nil {
		return err
	}
	if table.metadata.SchemaString != a.base.metadata.SchemaString || !sameList(table.metadata.PartitionColumns, a.base.metadata.PartitionColumns) {
		return &ConflictError{Version: table.version, Changed: "metaData"}
	}
	a.base = table
	return nil
}

func (a *Append) records(appID string) bool {
	for _, txn := range a.txns {
		if txn.AppID == appID {
			return true
		}
	}
	return false
}

// actions returns the commit: who, the table where it is new, how far, and the files.
func (a *Append) actions(id string) []Action {
	now := a.table.now()
	actions := []Action{{CommitInfo: &CommitInfo{
		Timestamp: now.UnixMilli(), Operation: a.options.Operation, EngineInfo: a.table.engine, IsBlindAppend: true, TxnID: id,
		OperationParameters: map[string]string{"mode": "Append", "partitionBy": jsonList(a.base.metadata.PartitionColumns)},
		OperationMetrics: map[string]string{
			"numFiles":       strconv.Itoa(len(a.files.adds)),
			"numOutputRows":  strconv.FormatInt(a.files.rows, 10),
			"numOutputBytes": strconv.FormatInt(a.files.bytes, 10),
		},
		UserMetadata: a.options.UserMetadata,
	}}}
	if a.base.version < 0 {
		actions = append(actions, Action{Protocol: a.base.protocol}, Action{Metadata: a.base.metadata})
	}
	for i := range a.txns {
		a.txns[i].LastUpdated = milliseconds(now)
		txn := a.txns[i]
		actions = append(actions, Action{Txn: &txn})
	}
	for i := range a.files.adds {
		actions = append(actions, Action{Add: &a.files.adds[i]})
	}
	return actions
}

// checkpointDue reports whether the table's interval asks for a checkpoint of a version.
func (a *Append) checkpointDue(version int64) bool {
	interval := int64(defaultCheckpointInterval)
	if text, ok := a.base.metadata.Configuration["delta.checkpointInterval"]; ok {
		if set, err := strconv.ParseInt(text, 10, 64); err == nil && set > 0 {
			interval = set
		}
	}
	return version > 0 && version%interval == 0
}

// mismatch says how a table's columns differ from what is to be written.
func mismatch(table *state, wanted *DataType) error {
	found := differences(table, wanted)
	if len(found) == 0 {
		return nil
	}
	return &schemas.Error{
		Op: "delta: write", Class: schemas.Fatal, Code: "schema_mismatch",
		Err:  fmt.Errorf("%w: the table has other columns: %s", schemas.ErrInvalid, strings.Join(found, "; ")),
		Mend: "write to a new table, or drop this one, or change its columns to match",
	}
}
