package delta

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// The marks of a Source.
const (
	// MarkSnapshot is the version at which the first, full reading was taken.
	MarkSnapshot = "snapshot"
	// MarkVersion is the version being read: of MarkSnapshot every live file, of a later one the files it added.
	MarkVersion = "version"
	// MarkRow is how many rows of that version are done, files by name and rows in file order, before any filter.
	MarkRow = "row"
)

// SourceOptions say what a Source reads.
type SourceOptions struct {
	Columns   []string // in the order wanted; nil: all
	BatchRows int      // the largest number of rows of a batch; 0: 8192
	Name      string   // of the table, for messages
}

// Source reads a table once as a whole, and from then on what later commits add. It stops at the version that was
// current when it was made; make another to go on.
//
// Commits that rearrange files (OPTIMIZE) or only remove rows bring nothing. One that changes rows, by removing and
// adding files, is refused, as its rows cannot be told from those that were read before.
type Source struct {
	table    *Table
	snapshot *Snapshot
	scan     *scan
	name     string
}

// NewSource reads at the newest version that table has seen: its Open, or the last call of Snapshot.
func NewSource(table *Table, options SourceOptions) (*Source, error) {
	snapshot := table.loaded()
	if snapshot == nil {
		return nil, errors.New("delta: source: the table has not been opened")
	}
	scan, err := newScan(table.store, snapshot.state, options.Columns, options.BatchRows)
	if err != nil {
		return nil, err
	}
	name := options.Name
	if name == "" {
		name = "the table"
	}
	return &Source{table: table, snapshot: snapshot, scan: scan, name: name}, nil
}

// Schema returns the columns of the batches.
func (s *Source) Schema() *arrow.Schema { return s.scan.schema }

// Version returns the last version that is read.
func (s *Source) Version() int64 { return s.snapshot.Version() }

// position is what marks say.
type position struct{ snapshot, version, row int64 }

func (s *Source) position(from schemas.Marks) (position, error) {
	if len(from) == 0 {
		return position{snapshot: s.Version(), version: s.Version()}, nil
	}
	p := position{snapshot: from[MarkSnapshot], version: from[MarkVersion], row: from[MarkRow]}
	for _, name := range []string{MarkSnapshot, MarkVersion, MarkRow} {
		if _, ok := from[name]; !ok || len(from) != 3 {
			return p, fmt.Errorf("delta: the marks %v are not those of a Delta source: %w", from, schemas.ErrInvalid)
		}
	}
	if p.snapshot < 0 || p.version < p.snapshot || p.row < 0 {
		return p, fmt.Errorf("delta: the marks %v cannot be: %w", from, schemas.ErrInvalid)
	}
	if p.version > s.Version() {
		return p, &schemas.Error{
			Op: "delta: read " + s.name, Code: "version_went_back",
			Err:  fmt.Errorf("version %d was read before, and the table is at %d: it was made anew: %w", p.version, s.Version(), schemas.ErrInvalid),
			Mend: "run under a new job name to read it from the start",
		}
	}
	return p, nil
}

func (p position) marks(row int64) schemas.Marks {
	return schemas.Marks{MarkSnapshot: p.snapshot, MarkVersion: p.version, MarkRow: row}
}

// Read yields the rows behind the marks. They are the same whatever BatchRows is, and so is what the marks at a
// row mean. After the last batch of a version its marks say that the version is done.
func (s *Source) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		at, err := s.position(from)
		if err != nil {
			yield(schemas.Batch{}, err)
			return
		}
		for {
			files, err := s.files(ctx, at)
			if err != nil {
				yield(schemas.Batch{}, err)
				return
			}
			if !s.readVersion(ctx, at, files, yield) {
				return
			}
			if at.version == s.Version() {
				return
			}
			at.version, at.row = at.version+1, 0
		}
	}
}

// readVersion reads the files of one version and reports whether to go on.
func (s *Source) readVersion(ctx context.Context, at position, files []File, yield func(schemas.Batch, error) bool) bool {
	row := at.row
	left, err := s.scan.files(ctx, files, at.row, func(batch ScanBatch, err error) bool {
		if err != nil {
			return yield(schemas.Batch{}, fmt.Errorf("delta: version %d: %w", at.version, err))
		}
		row += batch.Record.NumRows()
		return yield(schemas.Batch{
			Record: batch.Record, Marks: at.marks(row), Partition: batch.File, Offset: batch.Offset, Version: at.version,
		}, nil)
	})
	if err != nil {
		return false
	}
	if left > 0 {
		yield(schemas.Batch{}, fmt.Errorf("delta: version %d of %s has %d rows, and %d are marked as done: %w",
			at.version, s.name, at.row-left, at.row, schemas.ErrInvalid))
		return false
	}
	return true
}

// files returns the files whose rows the version at brings, sorted by name.
func (s *Source) files(ctx context.Context, at position) ([]File, error) {
	var files []File
	if at.version == at.snapshot {
		snapshot := s.snapshot
		if at.version != s.Version() {
			older, err := s.table.SnapshotAt(ctx, at.version)
			if err != nil {
				return nil, s.cleanedAway(ctx, at.version, err)
			}
			snapshot = older
		}
		files = snapshot.Files()
	} else {
		added, err := s.added(ctx, at.version)
		if err != nil {
			return nil, err
		}
		files = sortFiles(added)
	}
	return files, refuseDeletionVectors(files)
}

// added returns the files with which a commit brought new rows.
func (s *Source) added(ctx context.Context, version int64) ([]File, error) {
	var files []File
	removed, operation := false, ""
	for action, err := range readCommit(ctx, s.table.store, version) {
		switch {
		case isNotExist(err):
			return nil, s.cleanedAway(ctx, version, err)
		case err != nil:
			return nil, err
		case action.CommitInfo != nil:
			operation = action.CommitInfo.Operation
		case action.Add != nil && action.Add.DataChange:
			name, err := resolvePath(action.Add.Path, s.table.location)
			if err != nil {
				return nil, fmt.Errorf("delta: version %d: %w", version, err)
			}
			files = append(files, File{Name: name, Add: *action.Add})
		case action.Remove != nil && action.Remove.DataChange:
			removed = true
		}
	}
	if !removed {
		return files, nil
	}
	if len(files) == 0 {
		return nil, nil // it only deletes
	}
	if operation == "" {
		operation = "a commit without a name"
	}
	return nil, &schemas.Error{
		Op: "delta: read " + s.name, Code: "rows_changed",
		Err: fmt.Errorf("version %d (%s) changed rows that may have been read before: it removes and adds files", version, operation),
		Mend: "run under a new job name to read the table anew, or read from a table to which rows are only appended " +
			"(ALTER TABLE ... SET TBLPROPERTIES ('delta.appendOnly' = 'true') keeps it so)",
	}
}

// cleanedAway tells a log that no longer reaches back from other failures.
func (s *Source) cleanedAway(ctx context.Context, version int64, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	listed, err := listLog(ctx, s.table.store, -1)
	if err != nil || listed.first <= version && !isNotExist(cause) {
		return cause
	}
	return &schemas.Error{
		Op: "delta: read " + s.name, Code: "log_cleaned_away",
		Err: fmt.Errorf("version %d was not read to its end, and the log no longer holds it (it begins at %d): %w", version, listed.first, cause),
		Mend: "run under a new job name to read the table anew; " +
			"a longer delta.logRetentionDuration, or more frequent runs, keep this from happening again",
	}
}

// Count returns how many rows the version that from stands in and those behind it bring, and how many of them are
// done. Files without statistics are opened for their footer.
func (s *Source) Count(ctx context.Context, from schemas.Marks) (total, done int64, err error) {
	at, err := s.position(from)
	if err != nil {
		return 0, 0, err
	}
	done = at.row
	for {
		files, err := s.files(ctx, at)
		if err != nil {
			return 0, 0, err
		}
		for i := range files {
			rows, err := s.fileRows(ctx, &files[i])
			if err != nil {
				return 0, 0, fmt.Errorf("delta: data file %s: %w", files[i].Name, err)
			}
			total += rows
		}
		if at.version == s.Version() {
			return total, done, nil
		}
		at.version++
	}
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
		return 0, err
	}
	return opened.NumRows(), nil
}
