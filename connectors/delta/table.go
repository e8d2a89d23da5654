package delta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/connectors/store"
)

// Table is a Delta table in a store. It is safe for concurrent use.
type Table struct {
	store store.Store
	settings
	mu      sync.Mutex
	current *Snapshot // the newest one seen
}

// settings are what an Option sets.
type settings struct {
	location string
	engine   string
	now      func() time.Time
	warn     func(error)
}

// Option changes how a table is used.
type Option func(*settings)

// WithLocation tells the table's own URI or absolute folder, which resolves absolute paths in its log and stands
// in messages.
func WithLocation(location string) Option { return func(s *settings) { s.location = location } }

// WithEngine tells the name and version that commits carry as engineInfo, "inflow/1.2.3".
func WithEngine(name string) Option { return func(s *settings) { s.engine = name } }

// WithClock replaces the clock.
func WithClock(now func() time.Time) Option { return func(s *settings) { s.now = now } }

// WithWarnings calls warn with what went wrong without failing the call: a checkpoint that could not be written
// after a commit that stands. A Sink calls it on a goroutine of its own.
func WithWarnings(warn func(error)) Option { return func(s *settings) { s.warn = warn } }

func newTable(st store.Store, options []Option) *Table {
	table := &Table{store: st, settings: settings{engine: "inflow", now: time.Now, warn: func(error) {}}}
	for _, option := range options {
		option(&table.settings)
	}
	return table
}

// Open opens the table in st and reads its newest snapshot. Where there is none the error wraps fs.ErrNotExist;
// a table that this package cannot read is an UnsupportedError.
func Open(ctx context.Context, st store.Store, options ...Option) (*Table, error) {
	table := newTable(st, options)
	if _, err := table.Snapshot(ctx); err != nil {
		return nil, err
	}
	return table, nil
}

// Snapshot returns the newest version. It reads only what was committed since the last call.
func (t *Table) Snapshot(ctx context.Context) (*Snapshot, error) {
	t.mu.Lock()
	current := t.current
	t.mu.Unlock()

	var s *state
	var err error
	if current != nil {
		s = current.state.clone()
		err = advance(ctx, t.store, s)
	}
	if current == nil || errors.Is(err, errOutrun) {
		s, err = load(ctx, t.store, t.location, latest, true)
	}
	if err != nil {
		return nil, err
	}
	snapshot := &Snapshot{state: s, table: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil || t.current.state.version <= s.version { // also one that was seen later
		t.current = snapshot
	}
	return snapshot, nil
}

// SnapshotAt returns the table as it was at a version, as long as the log still reaches back to it.
func (t *Table) SnapshotAt(ctx context.Context, version int64) (*Snapshot, error) {
	if version < 0 {
		return nil, fmt.Errorf("delta: there is no version %d", version)
	}
	t.mu.Lock()
	current := t.current
	t.mu.Unlock()
	if current != nil && current.state.version == version {
		return current, nil
	}
	s, err := load(ctx, t.store, t.location, version, true)
	if err != nil {
		return nil, err
	}
	return &Snapshot{state: s, table: t}, nil
}

// loaded returns the newest snapshot that this Table has read.
func (t *Table) loaded() *Snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current
}

// Changes yields the actions of one commit. A version whose commit is not in the log (any more) is fs.ErrNotExist.
func (t *Table) Changes(ctx context.Context, version int64) iter.Seq2[Action, error] {
	return readCommit(ctx, t.store, version)
}

// Commit is one line of a table's history.
type Commit struct {
	Version      int64
	Time         time.Time
	Operation    string // "WRITE"; empty where the commit does not say
	EngineInfo   string
	FilesAdded   int64
	FilesRemoved int64
	// RowsAdded is -1 where an added file has no statistics.
	RowsAdded int64
	Txns      []Txn
}

// History yields the commits that are still in the log, newest first.
func (t *Table) History(ctx context.Context) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		listed, err := listLog(ctx, t.store, -1)
		if err != nil {
			yield(Commit{}, err)
			return
		}
		versions := slices.Sorted(maps.Keys(listed.modified))
		for _, version := range slices.Backward(versions) {
			commit, err := t.summarise(ctx, version)
			if isNotExist(err) {
				return // cleaned away since the listing, and with it all before
			}
			if err == nil && commit.Time.IsZero() {
				commit.Time = listed.modified[version].UTC()
			}
			if !yield(commit, err) || err != nil {
				return
			}
		}
	}
}

func (t *Table) summarise(ctx context.Context, version int64) (Commit, error) {
	commit := Commit{Version: version}
	for action, err := range readCommit(ctx, t.store, version) {
		switch {
		case err != nil:
			return Commit{}, err
		case action.CommitInfo != nil:
			info := action.CommitInfo
			commit.Operation, commit.EngineInfo = info.Operation, info.EngineInfo
			commit.Time = info.Time()
		case action.Add != nil:
			commit.FilesAdded++
			if rows := action.Add.Rows(); rows < 0 || commit.RowsAdded < 0 {
				commit.RowsAdded = -1
			} else {
				commit.RowsAdded += rows
			}
		case action.Remove != nil:
			commit.FilesRemoved++
		case action.Txn != nil:
			commit.Txns = append(commit.Txns, *action.Txn)
		}
	}
	return commit, nil
}

// Snapshot is a table at one version. It does not change, and needs no closing.
type Snapshot struct {
	state *state
	table *Table
}

// Version is the table's version.
func (s *Snapshot) Version() int64 { return s.state.version }

// Schema returns the columns as Arrow sees them. A field of it is what Scan returns.
func (s *Snapshot) Schema() *arrow.Schema { return arrow.NewSchema(s.state.schema.arrowFields(), nil) }

// Columns returns the columns in the protocol's terms; Field.Type.SQL is how SQL spells them.
func (s *Snapshot) Columns() []Field { return slices.Clone(s.state.schema.Fields) }

// Metadata returns the table's metaData action.
func (s *Snapshot) Metadata() Metadata { return *s.state.metadata }

// Protocol returns the table's protocol action.
func (s *Snapshot) Protocol() Protocol { return *s.state.protocol }

// Properties returns the table's configuration.
func (s *Snapshot) Properties() map[string]string { return maps.Clone(s.state.metadata.Configuration) }

// Files returns the live data files, sorted by name.
func (s *Snapshot) Files() []File { return s.state.sortedFiles() }

// Txn returns how far an application has come.
func (s *Snapshot) Txn(appID string) (version int64, ok bool) {
	txn, ok := s.state.txns[appID]
	return txn.Version, ok
}

// Txns returns how far every application has come, sorted by name.
func (s *Snapshot) Txns() []Txn {
	out := slices.Collect(maps.Values(s.state.txns))
	slices.SortFunc(out, func(a, b Txn) int { return strings.Compare(a.AppID, b.AppID) })
	return out
}

// DomainMetadata returns the configuration of a metadata domain.
func (s *Snapshot) DomainMetadata(domain string) (configuration string, ok bool) {
	found, ok := s.state.domains[domain]
	return found.Configuration, ok
}

// Rows returns the number of rows that the statistics of the add tell, -1 where they do not.
func (a *Add) Rows() int64 {
	var stats struct {
		NumRecords *int64 `json:"numRecords"`
	}
	if a.Stats == "" || json.Unmarshal([]byte(a.Stats), &stats) != nil || stats.NumRecords == nil || *stats.NumRecords < 0 {
		return -1
	}
	return *stats.NumRecords
}
