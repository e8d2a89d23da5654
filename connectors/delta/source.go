package delta

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

// The marks of a Source.
const (
	// MarkSnapshot is the version at which the first, full reading was taken, -1 where there was none.
	MarkSnapshot = "snapshot"
	// MarkVersion is the version being read: of MarkSnapshot every live file, of a later one what it brought.
	MarkVersion = "version"
	// MarkRow is how many rows of that version are done, in the order in which they are read and before any selection.
	MarkRow = "row"
)

// DefaultPollMax is the longest wait between two looks for a new version where SourceOptions.PollMax does not say.
const DefaultPollMax = 10 * time.Second

// StartLatest is the StartVersion that reads only what is committed from now on.
const StartLatest = int64(-1)

// SourceOptions say what a Source reads.
type SourceOptions struct {
	Columns   []string // in the order wanted; nil: all
	BatchRows int      // the largest number of rows of a batch; 0: 8192
	Name      string   // of the table, for messages and as the key of Lag

	// Follow goes on with new versions as they are committed. They are looked for 100 ms after the last one, then half
	// as often each time, down to once in PollMax.
	Follow  bool
	PollMax time.Duration // 0: DefaultPollMax

	// StartVersion and StartTimestamp begin with the changes of a version instead of the whole table, where there are no
	// marks yet: that version, or the first one that was committed then or later. At most one of them is set.
	StartVersion   *int64
	StartTimestamp time.Time

	// ChangeFeed reads how rows changed, with the columns of ChangeColumns, and not only what was added. ChangeTypes
	// selects; nil: ChangeInsert and ChangeUpdateAfter.
	ChangeFeed  bool
	ChangeTypes []string

	// SkipLost goes on behind what VACUUM or log cleanup took before it was read, with a warning, instead of failing.
	SkipLost bool
	Logger   *slog.Logger // of warnings; nil: nobody
}

// Source reads a table once as a whole, and from then on what later commits add or, with ChangeFeed, change. It stops at
// the version that was current when it was made, or never where it follows. It is safe for concurrent use.
//
// Commits that rearrange files (OPTIMIZE) bring nothing, and without ChangeFeed those that only remove rows do so neither.
// One that changes rows, by removing and adding files, is refused unless the table says how: its rows cannot be told from
// those that were read before.
type Source struct {
	table    *Table
	snapshot *Snapshot
	options  SourceOptions
	name     string // for messages
	logger   *slog.Logger
	scan     *scan // of data files
	changes  *scan // of the files of a change data feed; nil: rows that are added are all there is
	types    map[string]bool
	tally    tally
}

// NewSource reads at the newest version that table has seen: its Open, or the last call of Snapshot.
func NewSource(table *Table, options SourceOptions) (*Source, error) {
	snapshot := table.loaded()
	if snapshot == nil {
		return nil, errors.New("delta: source: the table has not been opened")
	}
	s := &Source{table: table, snapshot: snapshot, options: options, name: options.Name, logger: options.Logger}
	if s.name == "" {
		s.name = "the table"
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.options.PollMax <= 0 {
		s.options.PollMax = DefaultPollMax
	}
	if err := s.checkStart(); err != nil {
		return nil, err
	}
	if options.ChangeFeed {
		return s, s.openChanges()
	}
	if options.ChangeTypes != nil {
		return nil, fmt.Errorf("delta: source: change types without a change feed: %w", schemas.ErrInvalid)
	}
	var err error
	s.scan, err = newScan(table.store, snapshot.state, options.Columns, options.BatchRows)
	return s, err
}

// Schema returns the columns of the batches.
func (s *Source) Schema() *arrow.Schema { return s.scan.schema }

// Version returns the version that was current when the source was made.
func (s *Source) Version() int64 { return s.snapshot.Version() }

// position is what marks say.
type position struct{ snapshot, version, row int64 }

func (p position) marks() schemas.Marks {
	return schemas.Marks{MarkSnapshot: p.snapshot, MarkVersion: p.version, MarkRow: p.row}
}

// whole reports whether the version is read as the full table.
func (p position) whole() bool { return p.version == p.snapshot }

func (s *Source) position(ctx context.Context, from schemas.Marks) (position, error) {
	if len(from) == 0 {
		return s.start(ctx)
	}
	p := position{snapshot: from[MarkSnapshot], version: from[MarkVersion], row: from[MarkRow]}
	for _, name := range []string{MarkSnapshot, MarkVersion, MarkRow} {
		if _, ok := from[name]; !ok || len(from) != 3 {
			return p, fmt.Errorf("delta: the marks %v are not those of a Delta source: %w", from, schemas.ErrInvalid)
		}
	}
	if p.snapshot < -1 || p.version < max(p.snapshot, 0) || p.row < 0 {
		return p, fmt.Errorf("delta: the marks %v cannot be: %w", from, schemas.ErrInvalid)
	}
	newest := s.Version()
	if p.version > newest {
		listed, err := listLog(ctx, s.table.store, newest)
		if err != nil {
			return p, err
		}
		newest = max(newest, listed.newest())
	}
	return p, s.checkNewest(p, newest)
}

// checkNewest refuses marks of versions that the table has not got. The next one may be named, of which nothing is done.
func (s *Source) checkNewest(p position, newest int64) error {
	if p.version <= newest || p.version == newest+1 && p.row == 0 {
		return nil
	}
	return &schemas.Error{
		Op: "delta: read " + s.name, Code: "version_went_back",
		Err:  fmt.Errorf("version %d was read before, and the table is at %d: it was made anew: %w", p.version, newest, schemas.ErrInvalid),
		Mend: "run under a new job name to read it from the start",
	}
}

// Read yields the rows behind the marks. They are the same whatever BatchRows is, and so is what the marks at a row mean.
// After the last batch of a version its marks say that the version is done: the batch has no rows where none were left
// to bring that news.
func (s *Source) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		at, err := s.position(ctx, from)
		if err != nil {
			yield(schemas.Batch{}, err)
			return
		}
		r := &reading{source: s, at: at, yield: yield, told: len(from) > 0}
		if err := r.run(ctx); err != nil && !errors.Is(err, errStopped) {
			yield(schemas.Batch{}, err)
		}
	}
}

// reading is one call of Read.
type reading struct {
	source *Source
	yield  func(schemas.Batch, error) bool
	at     position
	told   bool   // the consumer knows that it is at at
	table  *state // its description as of the version before at, once that is not the source's
	failed error  // while a file was read
	lookout
}

func (r *reading) run(ctx context.Context) error {
	s := r.source
	if r.at.version > s.Version() { // it begins with what comes after now, and that is kept from here on
		if err := r.tell(); err != nil {
			return err
		}
	}
	for {
		if r.at.version > s.Version() && !s.options.Follow {
			return nil
		}
		err := r.step(ctx)
		switch {
		case err == nil && !s.options.Follow && r.at.version == s.Version():
			return nil
		case err == nil:
			r.at.version, r.at.row, r.told = r.at.version+1, 0, false
			r.news()
		case errors.Is(err, errNotYet):
			if err := r.wait(ctx, s.options.PollMax); err != nil {
				return err
			}
		default:
			next, ok := s.behindGap(ctx, err)
			if !ok {
				return err
			}
			r.at.version, r.at.row, r.told, r.table = next, 0, false, nil
		}
	}
}

// step reads the version at which r is to its end.
func (r *reading) step(ctx context.Context) error {
	s := r.source
	brought, err := s.version(ctx, r.at, r.table)
	if err != nil {
		if isNotExist(err) && s.options.Follow && r.at.version > s.Version() {
			return r.absent(ctx, s, r.at)
		}
		return s.cleanedAway(ctx, r.at.version, err)
	}
	if r.at.version > s.Version() {
		if err := r.checkTable(ctx, brought); err != nil {
			return err
		}
	}
	return r.read(ctx, brought)
}

// tell yields a batch without rows, for the sake of its marks.
func (r *reading) tell() error {
	if r.told {
		return nil
	}
	schema := r.source.Schema()
	columns := make([]arrow.Array, schema.NumFields())
	for i, field := range schema.Fields() {
		columns[i] = array.MakeArrayOfNull(memory.DefaultAllocator, field.Type, 0)
		defer columns[i].Release()
	}
	return r.give(schemas.Batch{Record: array.NewRecord(schema, columns, 0), Marks: r.at.marks(), Version: r.at.version})
}

func (r *reading) give(batch schemas.Batch) error {
	r.told = true
	if !r.yield(batch, nil) {
		return errStopped
	}
	return nil
}

// read yields the rows of one version that are not done.
func (r *reading) read(ctx context.Context, brought *version) error {
	s, skip := r.source, r.at.row
	var lost lostFiles
	defer func() { lost.warn(ctx, s, r.at.version) }()
	for i := range brought.pieces {
		piece := &brought.pieces[i]
		rows := piece.file.Rows()
		if rows >= 0 && rows <= skip {
			skip -= rows
			continue
		}
		err := r.piece(ctx, brought, piece, &skip)
		if err != nil && isNotExist(err) && ctx.Err() == nil {
			if !s.options.SkipLost {
				return s.vacuumed(r.at.version, piece.file.Name, err)
			}
			rows = max(rows, 0) // one that nobody counted is passed over by nothing
			lost.add(piece.file.Name, rows-min(skip, rows))
			r.at.row += rows - min(skip, rows)
			skip -= min(skip, rows)
			r.told = false
			continue
		}
		if err != nil {
			if errors.Is(err, errStopped) || ctx.Err() != nil {
				return err
			}
			return fmt.Errorf("delta: version %d: data file %s: %w", r.at.version, piece.file.Name, err)
		}
	}
	if skip > 0 && !brought.cut && lost.files == 0 {
		return fmt.Errorf("delta: version %d of %s has %d rows, and %d are marked as done: %w",
			r.at.version, s.name, r.at.row-skip, r.at.row, schemas.ErrInvalid)
	}
	return r.tell()
}

// piece yields the rows of one file of a version.
func (r *reading) piece(ctx context.Context, brought *version, piece *piece, skip *int64) error {
	s := r.source
	if !piece.wanted {
		rows, err := s.fileRows(ctx, &piece.file)
		if err != nil {
			return err
		}
		r.at.row += max(rows-*skip, 0)
		*skip = max(*skip-rows, 0)
		return nil
	}
	scan := s.scan
	if piece.changes {
		scan = s.changes
	}
	err := scan.file(ctx, &piece.file, skip, func(found ScanBatch, _ error) bool {
		r.at.row += found.Record.NumRows()
		r.told = false
		batch := schemas.Batch{
			Record: found.Record, Marks: r.at.marks(), Partition: found.File, Offset: found.Offset, Version: r.at.version,
			Oldest: brought.at, Newest: brought.at,
		}
		if r.at.whole() {
			batch.Oldest, batch.Newest = time.Time{}, time.Time{}
		}
		if piece.changes {
			if r.failed = s.choose(&batch); r.failed != nil {
				return false
			}
			if batch.Record.NumRows() == 0 {
				batch.Release()
				return true
			}
		}
		return r.give(batch) == nil
	})
	if r.failed != nil {
		return r.failed
	}
	return err
}
