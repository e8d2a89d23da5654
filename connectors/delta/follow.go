package delta

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// pollMin is how long after news a follower looks for more.
const pollMin = 100 * time.Millisecond

// errNotYet says that nobody has committed the next version so far.
const errNotYet = notYetError("delta: there is no such version yet")

type notYetError string

func (e notYetError) Error() string { return string(e) }

// lookout paces a follower.
type lookout struct {
	pause time.Duration
	sure  time.Time // when it was known that the next version is absent because nobody committed it
}

// news starts the pace anew.
func (l *lookout) news() { l.pause, l.sure = 0, time.Now() }

func (l *lookout) wait(ctx context.Context, longest time.Duration) error {
	l.pause = min(max(2*l.pause, pollMin), longest)
	timer := time.NewTimer(l.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// absent says why the version at is not in the log. That nobody committed it yet is taken for granted for a while; a
// follower that slept longer may have been outrun by log cleanup, and would wait for ever.
func (l *lookout) absent(ctx context.Context, s *Source, at position) error {
	if !l.sure.IsZero() && time.Since(l.sure) < maxStateAge {
		return errNotYet
	}
	listed, err := listLog(ctx, s.table.store, at.version-1)
	if err != nil {
		return err
	}
	newest := listed.newest()
	if err := s.checkNewest(at, newest); err != nil {
		return err
	}
	if newest < at.version {
		l.sure = time.Now()
		return errNotYet
	}
	// It may have come since it was looked for, and a listing does not show holes for certain.
	if _, err := commitTime(ctx, s.table.store, at.version); !isNotExist(err) {
		return cmp.Or(err, error(errNotYet))
	}
	return s.logCleaned(at.version, listed, fmt.Errorf("version %d is not in the log", at.version))
}

// checkTable makes sure that the columns are still those that the source was made for.
func (r *reading) checkTable(ctx context.Context, brought *version) error {
	s := r.source
	if r.table == nil && r.at.version != s.Version()+1 {
		// What came between is not known. The commit before this one may be gone, so it is not looked for.
		table, err := load(ctx, s.table.store, s.table.location, r.at.version, false)
		if err != nil {
			return err
		}
		r.table = table
		return s.sameColumns(ctx, table, r.at.version)
	}
	if r.table == nil {
		known := *s.snapshot.state
		known.files, known.removed = nil, nil
		r.table = known.clone()
	}
	if brought.protocol == nil && brought.metadata == nil {
		return nil
	}
	for _, action := range []Action{{Protocol: brought.protocol}, {Metadata: brought.metadata}} {
		if err := r.table.apply(&action); err != nil {
			return err
		}
	}
	if err := r.table.settle(); err != nil {
		return fmt.Errorf("delta: version %d: %w", r.at.version, err)
	}
	return s.sameColumns(ctx, r.table, r.at.version)
}

func (s *Source) sameColumns(ctx context.Context, table *state, number int64) error {
	changed := func(what string) error {
		return &schemas.Error{
			Op: "delta: read " + s.name, Code: "schema_changed",
			Err:  fmt.Errorf("version %d changed %s, which is being read: %w", number, what, schemas.ErrInvalid),
			Mend: "start the job again to read the table as it is now",
		}
	}
	if !sameList(table.metadata.PartitionColumns, s.snapshot.state.metadata.PartitionColumns) {
		return changed("what the table is partitioned by")
	}
	fields := table.schema.arrowFields()
	for _, field := range s.scan.schema.Fields() {
		if _, ours := s.snapshot.state.schema.field(field.Name); !ours {
			continue // the feed's own
		}
		index, found := table.schema.field(field.Name)
		if !found || !arrow.TypeEqual(fields[index].Type, field.Type) {
			return changed("the column " + field.Name)
		}
	}
	if s.options.Columns == nil && len(table.schema.Fields) > len(s.snapshot.state.schema.Fields) {
		s.logger.WarnContext(ctx, "the table has new columns, which are read from the next start on", "table", s.name, "version", number)
	}
	return nil
}

// counted are the rows of a version: those that are read of it or, where only the change data feed tells which ones are
// wanted, all.
type counted struct {
	rows  int64
	exact bool
}

// tally remembers the rows of versions that are behind the marks, so that each is looked up once.
type tally struct {
	mu       sync.Mutex
	versions map[position]counted // with row 0
}

func (t *tally) look(at position) (counted, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok := t.versions[at]
	return found, ok
}

func (t *tally) keep(at position, found counted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.versions == nil {
		t.versions = map[position]counted{}
	}
	t.versions[at] = found
}

// forget leaves out what lies before at.
func (t *tally) forget(at position) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.versions, func(known position, _ counted) bool { return known.version < at.version })
}

// Count returns how many rows the version that from stands in and those behind it bring, and how many of them are done:
// of those up to the version that was current when the source was made, or of all where it follows. total is -1 where
// only reading a change data feed would tell. Files without statistics are opened for their footer.
func (s *Source) Count(ctx context.Context, from schemas.Marks) (total, done int64, err error) {
	at, err := s.position(ctx, from)
	if err != nil {
		return 0, 0, err
	}
	total, exact, err := s.rowsBehind(ctx, at, !s.options.Follow)
	if err != nil {
		return 0, 0, err
	}
	if !exact {
		return -1, at.row, nil
	}
	return max(total, at.row), at.row, nil
}

// Lag returns how many rows stand behind the marks as the table is now, also where the source does not follow. The key is
// SourceOptions.Name, or "table". Of a change data feed the rows of all kinds count.
func (s *Source) Lag(ctx context.Context, from schemas.Marks) (map[string]int64, error) {
	at, err := s.position(ctx, from)
	if err != nil {
		return nil, err
	}
	total, _, err := s.rowsBehind(ctx, at, false)
	if err != nil {
		return nil, err
	}
	name := s.options.Name
	if name == "" {
		name = "table"
	}
	return map[string]int64{name: max(total-at.row, 0)}, nil
}

// rowsBehind adds up the rows of the version at and of those behind it.
func (s *Source) rowsBehind(ctx context.Context, at position, bounded bool) (total int64, exact bool, err error) {
	exact, at.row = true, 0
	s.tally.forget(at)
	for !bounded || at.version <= s.Version() {
		found, err := s.countVersion(ctx, at)
		if err != nil {
			if isNotExist(err) && at.version > s.Version() {
				break // the next one, which nobody has committed
			}
			err = s.cleanedAway(ctx, at.version, err)
			gap, ok := s.gapEnd(err)
			if !ok {
				return 0, false, err
			}
			at.version = gap.next
			continue
		}
		total, exact = total+found.rows, exact && found.exact
		at.version++
	}
	return total, exact, nil
}

func (s *Source) countVersion(ctx context.Context, at position) (counted, error) {
	if found, ok := s.tally.look(at); ok {
		return found, nil
	}
	brought, err := s.version(ctx, at, nil)
	if err != nil {
		return counted{}, err
	}
	found := counted{exact: true}
	for i := range brought.pieces {
		piece := &brought.pieces[i]
		rows, err := s.fileRows(ctx, &piece.file)
		if isNotExist(err) && s.options.SkipLost && ctx.Err() == nil {
			continue
		}
		if err != nil {
			if isNotExist(err) {
				err = s.vacuumed(at.version, piece.file.Name, err)
			}
			return counted{}, err
		}
		found.rows += rows
		found.exact = found.exact && (!piece.changes || len(s.types) == 4)
	}
	s.tally.keep(at, found)
	return found, nil
}

func (s *Source) fileRows(ctx context.Context, file *File) (int64, error) {
	if rows := file.Rows(); rows >= 0 {
		return rows, nil
	}
	reader, err := s.table.store.Open(ctx, file.Name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = reader.Close() }() // only read
	opened, err := parquet.Open(reader)
	if err != nil {
		return 0, fmt.Errorf("delta: data file %s: %w", file.Name, err)
	}
	return opened.NumRows(), nil
}
