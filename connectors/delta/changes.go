package delta

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

// The kinds of change.
const (
	ChangeInsert       = "insert"
	ChangeUpdateBefore = "update_preimage"
	ChangeUpdateAfter  = "update_postimage"
	ChangeDelete       = "delete"
)

// The columns that a change data feed adds.
const (
	ColumnChangeType      = "_change_type"
	ColumnCommitVersion   = "_commit_version"
	ColumnCommitTimestamp = "_commit_timestamp"
)

const propertyChangeFeed = "delta.enableChangeDataFeed"

// ChangeColumns returns the columns that a change data feed adds: what happened to a row, and the version and the time
// that it happened in.
func ChangeColumns() []arrow.Field {
	return []arrow.Field{
		{Name: ColumnChangeType, Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: ColumnCommitVersion, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: ColumnCommitTimestamp, Type: arrowTimestamp(), Nullable: true},
	}
}

func arrowTimestamp() arrow.DataType {
	return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
}

// openChanges plans the two scans of a feed. What stands in no file is a constant of each, as partition values are.
func (s *Source) openChanges() error {
	table := s.snapshot.state
	added := []Field{
		{Name: ColumnChangeType, Type: DataType{Name: typeString}, Nullable: true},
		{Name: ColumnCommitVersion, Type: DataType{Name: typeLong}, Nullable: true},
		{Name: ColumnCommitTimestamp, Type: DataType{Name: typeTimestamp}, Nullable: true},
	}
	columns := s.options.Columns
	for _, field := range added {
		if _, taken := table.schema.field(field.Name); taken {
			return fmt.Errorf("delta: source: the table has a column %s of its own, which the change data feed would hide: %w", field.Name, schemas.ErrInvalid)
		}
		if columns != nil && !slices.Contains(columns, field.Name) {
			columns = append(slices.Clip(columns), field.Name)
		}
	}
	wide := &state{
		schema:   &DataType{Name: typeStruct, Fields: append(slices.Clone(table.schema.Fields), added...)},
		metadata: &Metadata{PartitionColumns: append(slices.Clone(table.metadata.PartitionColumns), ColumnCommitVersion, ColumnCommitTimestamp)},
	}
	var err error
	if s.changes, err = newScan(s.table.store, wide, columns, s.options.BatchRows); err != nil {
		return err
	}
	wide.metadata.PartitionColumns = append(wide.metadata.PartitionColumns, ColumnChangeType)
	if s.scan, err = newScan(s.table.store, wide, columns, s.options.BatchRows); err != nil {
		return err
	}
	wanted := s.options.ChangeTypes
	if wanted == nil {
		wanted = []string{ChangeInsert, ChangeUpdateAfter}
	}
	s.types = map[string]bool{}
	for _, kind := range wanted {
		switch kind {
		case ChangeInsert, ChangeUpdateBefore, ChangeUpdateAfter, ChangeDelete:
			s.types[kind] = true
		default:
			return fmt.Errorf("delta: source: there is no change type %q; there are %s, %s, %s and %s: %w",
				kind, ChangeInsert, ChangeUpdateBefore, ChangeUpdateAfter, ChangeDelete, schemas.ErrInvalid)
		}
	}
	if len(s.types) == 0 {
		return fmt.Errorf("delta: source: no change type is selected: %w", schemas.ErrInvalid)
	}
	return nil
}

// version is what one version of a table brings to a source.
type version struct {
	// pieces are files in the order in which their rows count: those of the change data feed by name, or else what was
	// added, by name, and behind it what was removed. So a reader that does not ask for deletes needs no removed file,
	// which VACUUM may have taken.
	pieces   []piece
	cut      bool      // files that nobody asks for were left out at the end
	at       time.Time // of the commit; zero: it does not say
	protocol *Protocol // nil: as it was
	metadata *Metadata // likewise
}

// piece is a file of a version.
type piece struct {
	file    File
	changes bool // it says of each row what happened to it
	wanted  bool
}

// version reads what the version at brings. Where its commit is not in the log the error is fs.ErrNotExist. table is its
// description as of the version before, nil where it is not at hand.
func (s *Source) version(ctx context.Context, at position, table *state) (*version, error) {
	if at.whole() {
		return s.wholeTable(ctx, at.version)
	}
	read, err := s.commit(ctx, at.version)
	if err != nil {
		return nil, err
	}
	out := &version{at: read.at, protocol: read.protocol, metadata: read.metadata}
	switch {
	case s.changes != nil && len(read.cdc) > 0:
		for i := range read.cdc {
			file := File{Name: read.cdc[i].name, Add: Add{PartitionValues: read.cdc[i].PartitionValues, Size: read.cdc[i].Size}}
			out.pieces = append(out.pieces, piece{file: s.stamped(file, "", at.version, out.at), changes: true, wanted: true})
		}
		sortPieces(out.pieces)
		return out, nil
	case len(read.removes) > 0 && len(read.adds) > 0:
		enabled := false
		if s.changes != nil {
			if enabled, err = s.feeds(ctx, at.version, read.metadata, table); err != nil {
				return nil, err
			}
		}
		if !enabled {
			return nil, s.rowsChanged(at.version, read.operation)
		}
	}
	if err := refuseDeletionVectors(read.adds); err != nil {
		return nil, err
	}
	out.add(s, read.adds, ChangeInsert, at.version)
	switch {
	case len(read.removes) == 0:
	case s.types[ChangeDelete]:
		removed, err := s.removed(read.removes, at.version)
		if err != nil {
			return nil, err
		}
		out.add(s, removed, ChangeDelete, at.version)
	default:
		out.cut = true
	}
	out.trim()
	return out, nil
}

func (s *Source) wholeTable(ctx context.Context, number int64) (*version, error) {
	snapshot := s.snapshot
	if number != s.Version() {
		older, err := s.table.SnapshotAt(ctx, number)
		if err != nil {
			return nil, err
		}
		snapshot = older
	}
	files := snapshot.Files()
	if err := refuseDeletionVectors(files); err != nil {
		return nil, err
	}
	out := &version{}
	if s.changes != nil {
		at, err := commitTime(ctx, s.table.store, number)
		if err != nil && !isNotExist(err) {
			return nil, err
		}
		out.at = at
	}
	out.add(s, files, ChangeInsert, number)
	out.trim()
	return out, nil
}

// add puts files behind the others.
func (v *version) add(s *Source, files []File, change string, number int64) {
	pieces := make([]piece, len(files))
	for i := range files {
		pieces[i] = piece{file: s.stamped(files[i], change, number, v.at), wanted: s.changes == nil || s.types[change]}
	}
	sortPieces(pieces)
	v.pieces = append(v.pieces, pieces...)
}

// trim leaves out what nobody asks for and nothing comes behind.
func (v *version) trim() {
	for len(v.pieces) > 0 && !v.pieces[len(v.pieces)-1].wanted {
		v.pieces, v.cut = v.pieces[:len(v.pieces)-1], true
	}
}

func sortPieces(pieces []piece) {
	slices.SortFunc(pieces, func(a, b piece) int {
		return compareKeys(fileKey{name: a.file.Name}, fileKey{name: b.file.Name})
	})
}

// stamped gives a file the constants of the feed.
func (s *Source) stamped(file File, change string, number int64, at time.Time) File {
	if s.changes == nil {
		return file
	}
	values := make(map[string]*string, len(file.PartitionValues)+3)
	maps.Copy(values, file.PartitionValues)
	text := strconv.FormatInt(number, 10)
	values[ColumnCommitVersion] = &text
	if !at.IsZero() {
		stamp := at.Format(timestampLayout)
		values[ColumnCommitTimestamp] = &stamp
	}
	if change != "" {
		values[ColumnChangeType] = &change
	}
	file.PartitionValues = values
	return file
}

// readChanges is a commit as a source sees it.
type readChanges struct {
	adds      []File
	removes   []Remove
	cdc       []changeFile
	operation string
	at        time.Time
	protocol  *Protocol
	metadata  *Metadata
}

// changeFile is a file of the change data feed by its name in the store.
type changeFile struct {
	name string
	CDC
}

func (s *Source) commit(ctx context.Context, number int64) (*readChanges, error) {
	out := &readChanges{}
	for action, err := range readCommit(ctx, s.table.store, number) {
		var name string
		switch {
		case err != nil:
			return nil, err
		case action.CommitInfo != nil:
			out.operation, out.at = action.CommitInfo.Operation, action.CommitInfo.Time()
		case action.Protocol != nil:
			out.protocol = action.Protocol
		case action.Metadata != nil:
			out.metadata = action.Metadata
		case action.Add != nil && action.Add.DataChange:
			if name, err = resolvePath(action.Add.Path, s.table.location); err == nil {
				out.adds = append(out.adds, File{Name: name, Add: *action.Add})
			}
		case action.Remove != nil && action.Remove.DataChange:
			out.removes = append(out.removes, *action.Remove)
		case action.CDC != nil:
			if name, err = resolvePath(action.CDC.Path, s.table.location); err == nil {
				out.cdc = append(out.cdc, changeFile{name, *action.CDC})
			}
		}
		if err != nil {
			return nil, fmt.Errorf("delta: version %d: %w", number, err)
		}
	}
	return out, nil
}

// removed returns removed files as something to read.
func (s *Source) removed(removes []Remove, number int64) ([]File, error) {
	files := make([]File, len(removes))
	for i := range removes {
		remove := &removes[i]
		name, err := resolvePath(remove.Path, s.table.location)
		if err != nil {
			return nil, fmt.Errorf("delta: version %d: %w", number, err)
		}
		if remove.DeletionVector != nil { // some of its rows were deleted before
			return nil, &UnsupportedError{Feature: "deletionVectors", Detail: "the removed file " + name}
		}
		if len(s.snapshot.state.metadata.PartitionColumns) > 0 && remove.PartitionValues == nil {
			return nil, fmt.Errorf("delta: version %d removes %s and does not say which partition it was in: its rows cannot be read as deletes: %w",
				number, name, schemas.ErrInvalid)
		}
		files[i] = File{Name: name, Add: Add{PartitionValues: remove.PartitionValues}}
	}
	return files, nil
}

// feeds reports whether the table kept a change data feed at a version.
func (s *Source) feeds(ctx context.Context, number int64, metadata *Metadata, table *state) (bool, error) {
	switch {
	case metadata != nil:
	case table != nil:
		metadata = table.metadata
	case number == s.Version()+1:
		metadata = s.snapshot.state.metadata
	default:
		described, err := load(ctx, s.table.store, s.table.location, number, false)
		if err != nil {
			return false, fmt.Errorf("delta: the properties of version %d: %w", number, err)
		}
		metadata = described.metadata
	}
	return metadata.Configuration[propertyChangeFeed] == "true", nil
}

func (s *Source) rowsChanged(number int64, operation string) error {
	if operation == "" {
		operation = "a commit without a name"
	}
	mend := "run under a new job name to read the table anew, or read from a table to which rows are only appended " +
		"(ALTER TABLE ... SET TBLPROPERTIES ('delta.appendOnly' = 'true') keeps it so), or read its change data feed"
	if s.changes != nil {
		mend = "run under a new job name to read the table anew; from then on " +
			"ALTER TABLE ... SET TBLPROPERTIES ('" + propertyChangeFeed + "' = 'true') has its changes recorded"
	}
	return &schemas.Error{
		Op: "delta: read " + s.name, Code: "rows_changed",
		Err:  fmt.Errorf("version %d (%s) changed rows that may have been read before: it removes and adds files", number, operation),
		Mend: mend,
	}
}

// choose leaves in a batch of the feed the rows of the wanted kinds.
func (s *Source) choose(batch *schemas.Batch) error {
	record := batch.Record
	kinds, ok := record.Column(record.Schema().FieldIndices(ColumnChangeType)[0]).(*array.String)
	if !ok {
		batch.Release()
		return errors.New("its column " + ColumnChangeType + " is no text")
	}
	var offsets []int64
	var runs []arrow.Record
	defer func() {
		for _, run := range runs {
			run.Release()
		}
	}()
	for from := 0; from < kinds.Len(); {
		kind := kinds.Value(from)
		switch kind {
		case ChangeInsert, ChangeUpdateBefore, ChangeUpdateAfter, ChangeDelete:
		default:
			batch.Release()
			return fmt.Errorf("%s: row %d has the change type %q: %w", batch.Partition, batch.Offset+int64(from), kind, schemas.ErrInvalid)
		}
		to := from + 1
		for to < kinds.Len() && kinds.Value(to) == kind {
			to++
		}
		if s.types[kind] {
			runs = append(runs, record.NewSlice(int64(from), int64(to)))
			for row := from; row < to; row++ {
				offsets = append(offsets, batch.Offset+int64(row))
			}
		}
		from = to
	}
	if len(offsets) == kinds.Len() {
		return nil
	}
	chosen, err := joined(record.Schema(), runs)
	batch.Release()
	if err != nil {
		return err
	}
	batch.Record, batch.Offsets = chosen, offsets
	if len(offsets) > 0 {
		batch.Offset = offsets[0]
	}
	return nil
}

// joined puts records of one schema behind each other.
func joined(schema *arrow.Schema, records []arrow.Record) (arrow.Record, error) {
	if len(records) == 1 {
		records[0].Retain()
		return records[0], nil
	}
	columns := make([]arrow.Array, 0, schema.NumFields())
	defer func() {
		for _, column := range columns {
			column.Release()
		}
	}()
	rows := int64(0)
	for _, record := range records {
		rows += record.NumRows()
	}
	for i, field := range schema.Fields() {
		pieces := make([]arrow.Array, len(records))
		for at, record := range records {
			pieces[at] = record.Column(i)
		}
		if len(pieces) == 0 {
			columns = append(columns, array.MakeArrayOfNull(memory.DefaultAllocator, field.Type, 0))
			continue
		}
		column, err := array.Concatenate(pieces, memory.DefaultAllocator)
		if err != nil {
			return nil, err
		}
		columns = append(columns, column)
	}
	return array.NewRecord(schema, columns, rows), nil
}
