package delta

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// defaultBatchRows is how many rows a scan returns at a time where it is not told.
const defaultBatchRows = 8192

// ScanOptions say what to read of a snapshot.
type ScanOptions struct {
	// Columns in the order wanted; nil: all.
	Columns []string
	// BatchRows is the largest number of rows of a batch; 0: 8192.
	BatchRows int
	// FromRow is how many rows, counted in the order of the scan, are passed over. Files that lie before it
	// whole are not opened where their statistics tell their rows.
	FromRow int64
}

// ScanBatch is a run of rows of one data file.
type ScanBatch struct {
	// Record is the receiver's, who releases it.
	Record arrow.Record
	// File is the name of the data file, Offset the place of the first row in it.
	File   string
	Offset int64
}

// Scan reads the rows: files by name, rows in file order. A batch never spans files, and one batch is in memory
// at a time.
func (s *Snapshot) Scan(ctx context.Context, options ScanOptions) iter.Seq2[ScanBatch, error] {
	return func(yield func(ScanBatch, error) bool) {
		scan, err := newScan(s.table.store, s.state, options.Columns, options.BatchRows)
		if err != nil {
			yield(ScanBatch{}, err)
			return
		}
		files := s.Files()
		if err := refuseDeletionVectors(files); err != nil {
			yield(ScanBatch{}, err)
			return
		}
		if left, err := scan.files(ctx, files, options.FromRow, yield); err == nil && left > 0 {
			yield(ScanBatch{}, fmt.Errorf("delta: version %d has %d rows, fewer than the %d to pass over",
				s.Version(), options.FromRow-left, options.FromRow))
		}
	}
}

func unknownColumn(schema *DataType, name string) error {
	names := make([]string, len(schema.Fields))
	for i := range schema.Fields {
		names[i] = schema.Fields[i].Name
	}
	slices.Sort(names)
	return fmt.Errorf("delta: the table has no column %q; it has %s: %w", name, strings.Join(names, ", "), schemas.ErrInvalid)
}

func refuseDeletionVectors(files []File) error {
	for i := range files {
		if files[i].DeletionVector != nil {
			return &UnsupportedError{Feature: "deletionVectors", Detail: "file " + files[i].Name +
				"; REORG TABLE ... APPLY (PURGE) writes the table without them"}
		}
	}
	return nil
}

// scan reads data files as rows of a table.
type scan struct {
	store      store.Store
	schema     *arrow.Schema // projected
	partitions map[string]bool
	batchRows  int
}

func newScan(st store.Store, s *state, columns []string, batchRows int) (*scan, error) {
	out := &scan{store: st, partitions: map[string]bool{}, batchRows: batchRows}
	if batchRows <= 0 {
		out.batchRows = defaultBatchRows
	}
	fields := s.schema.arrowFields()
	if columns != nil {
		wanted := make([]arrow.Field, 0, len(columns))
		for _, name := range columns {
			index, found := s.schema.field(name)
			if !found {
				return nil, unknownColumn(s.schema, name)
			}
			wanted = append(wanted, fields[index])
		}
		fields = wanted
	}
	for _, name := range s.metadata.PartitionColumns {
		index, _ := s.schema.field(name)
		out.partitions[s.schema.Fields[index].Name] = true
	}
	out.schema = arrow.NewSchema(fields, nil)
	return out, nil
}

// files reads files in the given order after passing over skip rows. It returns what was left to skip. The error
// was yielded too; a consumer that stopped is errStopped.
func (s *scan) files(ctx context.Context, files []File, skip int64, yield func(ScanBatch, error) bool) (left int64, err error) {
	for i := range files {
		if rows := files[i].Rows(); rows >= 0 && rows <= skip {
			skip -= rows
			continue
		}
		if err := s.file(ctx, &files[i], &skip, yield); err != nil {
			if !errors.Is(err, errStopped) {
				yield(ScanBatch{}, fmt.Errorf("delta: data file %s: %w", files[i].Name, err))
			}
			return skip, err
		}
	}
	return skip, nil
}

// errStopped is the consumer's break. Nobody outside sees it.
const errStopped = stoppedError("the consumer stopped")

type stoppedError string

func (e stoppedError) Error() string { return string(e) }

// file reads one file.
func (s *scan) file(ctx context.Context, from *File, skip *int64, yield func(ScanBatch, error) bool) error {
	reader, err := s.store.Open(ctx, from.Name)
	if err != nil {
		if isNotExist(err) {
			return fmt.Errorf("it is in the log but not in the table's folder (vacuumed or deleted): %w", err)
		}
		return err
	}
	defer func() { _ = reader.Close() }() // only read
	file, err := parquet.Open(reader)
	if err != nil {
		return err
	}
	total := file.NumRows()
	if told := from.Rows(); told >= 0 && told != total {
		// Marks count rows by the statistics where they can: a file that contradicts them would lose or repeat rows.
		return fmt.Errorf("it has %d rows where the log says %d", total, told)
	}
	first := min(*skip, total)
	*skip -= first
	if first == total {
		return nil
	}
	columns := s.fileColumns(file.Schema())
	if len(columns) == 0 {
		return s.emptyColumns(ctx, from, first, total, yield)
	}
	at := first
	for record, err := range file.Read(ctx, columns, first, s.batchRows) {
		if err != nil {
			return err
		}
		rows := record.NumRows()
		whole, err := s.complete(ctx, record, from)
		record.Release()
		if err != nil {
			return err
		}
		if !yield(ScanBatch{Record: whole, File: from.Name, Offset: at}, nil) {
			return errStopped
		}
		at += rows
	}
	if at != total {
		return fmt.Errorf("it ends after %d of %d rows", at, total)
	}
	return nil
}

// fileColumns names the file's own columns that the projection needs.
func (s *scan) fileColumns(schema *arrow.Schema) []string {
	var names []string
	for _, field := range s.schema.Fields() {
		if index, found := fieldIndex(schema.Fields(), field.Name); found && !s.partitions[field.Name] && field.Type.ID() != arrow.NULL {
			names = append(names, schema.Field(index).Name)
		}
	}
	return names
}

// complete makes a file's record a record of the projection.
func (s *scan) complete(ctx context.Context, record arrow.Record, from *File) (arrow.Record, error) {
	columns := make([]arrow.Array, 0, s.schema.NumFields())
	defer func() {
		for _, column := range columns {
			column.Release()
		}
	}()
	for _, field := range s.schema.Fields() {
		column, err := s.column(ctx, record, field, from)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", field.Name, err)
		}
		columns = append(columns, column)
	}
	return array.NewRecord(s.schema, columns, record.NumRows()), nil
}

func (s *scan) column(ctx context.Context, record arrow.Record, field arrow.Field, from *File) (arrow.Array, error) {
	if s.partitions[field.Name] {
		return constant(field.Type, partitionOf(from, field.Name), record.NumRows())
	}
	index, found := fieldIndex(record.Schema().Fields(), field.Name)
	if !found {
		return array.MakeArrayOfNull(memory.DefaultAllocator, field.Type, int(record.NumRows())), nil
	}
	return conform(ctx, record.Column(index), field.Type)
}

// emptyColumns yields rows of which nothing stands in the file.
func (s *scan) emptyColumns(ctx context.Context, from *File, first, total int64, yield func(ScanBatch, error) bool) error {
	for first < total {
		rows := min(int64(s.batchRows), total-first)
		bare := array.NewRecord(arrow.NewSchema(nil, nil), nil, rows)
		record, err := s.complete(ctx, bare, from)
		bare.Release()
		if err != nil {
			return err
		}
		if !yield(ScanBatch{Record: record, File: from.Name, Offset: first}, nil) {
			return errStopped
		}
		first += rows
	}
	return nil
}

// partitionOf finds a file's partition value, whatever the case of the column's letters.
func partitionOf(file *File, column string) *string {
	if value, ok := file.PartitionValues[column]; ok {
		return value
	}
	for name, value := range file.PartitionValues {
		if strings.EqualFold(name, column) {
			return value
		}
	}
	return nil
}
