package delta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/uuid"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

const (
	// targetFileBytes is where a data file is closed and the next one begun.
	targetFileBytes = 128 << 20
	// maxOpenPartitions bounds the files that are open at a time. Where rows jump between more partitions, the
	// file that has waited longest is closed early.
	maxOpenPartitions = 32
)

// dataFiles writes the rows of one transaction into data files. It is not safe for concurrent use.
type dataFiles struct {
	store       store.Store
	now         func() time.Time
	schema      *DataType
	arrow       *arrow.Schema // of the table
	fileColumns []int         // those that stand in the files
	partitions  []int         // those that stand in the paths
	fileSchema  *arrow.Schema
	encoding    parquet.WriterOptions
	rules       statsRules
	target      int64

	open     map[string]*openFile
	sequence int64    // of writes, to find the file that has waited longest
	written  []string // names of every file begun, to delete on abort
	adds     []Add
	rows     int64
	bytes    int64
}

type openFile struct {
	name     string
	values   []*string
	object   store.Writer
	writer   *parquet.Writer
	size     int64
	lastUsed int64
}

// countingWriter knows the exact size that the add must tell.
type countingWriter struct {
	to    io.Writer
	count *int64
}

func (w *countingWriter) Write(data []byte) (int, error) {
	n, err := w.to.Write(data)
	*w.count += int64(n)
	return n, err
}

func newDataFiles(st store.Store, s *state, now func() time.Time, encoding parquet.WriterOptions) *dataFiles {
	d := &dataFiles{
		store: st, now: now, schema: s.schema, encoding: encoding, target: targetFileBytes, open: map[string]*openFile{},
		arrow: arrow.NewSchema(s.schema.arrowFields(), nil),
	}
	inFile := &DataType{Name: typeStruct}
	for _, column := range s.metadata.PartitionColumns {
		index, _ := s.schema.field(column)
		d.partitions = append(d.partitions, index)
	}
	for i := range s.schema.Fields {
		if !slices.Contains(d.partitions, i) {
			d.fileColumns = append(d.fileColumns, i)
			inFile.Fields = append(inFile.Fields, s.schema.Fields[i])
		}
	}
	d.fileSchema = arrow.NewSchema(inFile.arrowFields(), nil)
	d.rules = newStatsRules(inFile, s.metadata.Configuration, encoding.NoStatistics)
	return d
}

// write adds a record, which it does not retain.
func (d *dataFiles) write(ctx context.Context, record arrow.Record) error {
	if record.NumRows() == 0 {
		return nil
	}
	columns, err := d.columns(ctx, record)
	defer func() {
		for _, column := range columns {
			column.Release()
		}
	}()
	if err != nil {
		return err
	}
	if len(d.partitions) == 0 {
		return d.writeRows(ctx, nil, columns, 0, record.NumRows())
	}
	return d.writePartitions(ctx, columns, record.NumRows())
}

// columns returns the record's columns as the table's: by name, missing ones NULL. NOT NULL is enforced here.
func (d *dataFiles) columns(ctx context.Context, record arrow.Record) ([]arrow.Array, error) {
	columns := make([]arrow.Array, 0, d.arrow.NumFields())
	for i, field := range d.arrow.Fields() {
		var column arrow.Array
		if index, found := fieldIndex(record.Schema().Fields(), field.Name); found {
			conformed, err := conform(ctx, record.Column(index), field.Type)
			if err != nil {
				return columns, fmt.Errorf("delta: column %s: %w: %w", field.Name, err, schemas.ErrInvalid)
			}
			column = conformed
		} else {
			column = array.MakeArrayOfNull(memory.DefaultAllocator, field.Type, int(record.NumRows()))
		}
		columns = append(columns, column)
		if err := checkNulls(column, &d.schema.Fields[i], field.Name); err != nil {
			return columns, err
		}
	}
	seen := make(map[int]bool, len(columns))
	for _, field := range record.Schema().Fields() {
		index, known := d.schema.field(field.Name)
		if !known {
			return columns, unknownColumn(d.schema, field.Name)
		}
		if seen[index] {
			return columns, fmt.Errorf("delta: the column %q stands twice in the record (case does not count): %w", field.Name, schemas.ErrInvalid)
		}
		seen[index] = true
	}
	return columns, nil
}

// checkNulls enforces NOT NULL on a column and on the fields of structs in it.
func checkNulls(column arrow.Array, field *Field, path string) error {
	if !field.Nullable && column.NullN() > 0 {
		return notNull(path)
	}
	structs, ok := column.(*array.Struct)
	if !ok {
		return nil
	}
	for i := range field.Type.Fields {
		inner := &field.Type.Fields[i]
		child := structs.Field(i)
		if !inner.Nullable && child.NullN() > 0 {
			for row := range child.Len() {
				if child.IsNull(row) && structs.IsValid(row) {
					return notNull(path + "." + inner.Name)
				}
			}
		}
		relaxed := *inner
		relaxed.Nullable = true
		if err := checkNulls(child, &relaxed, path+"."+inner.Name); err != nil {
			return err
		}
	}
	return nil
}

func notNull(path string) error {
	return fmt.Errorf("delta: the column %s is NOT NULL and a row has NULL in it: %w", path, schemas.ErrInvalid)
}

// writePartitions writes each run of rows with the same partition values.
func (d *dataFiles) writePartitions(ctx context.Context, columns []arrow.Array, rows int64) error {
	var values []*string
	from := int64(0)
	for row := range rows {
		next := make([]*string, len(d.partitions))
		for i, index := range d.partitions {
			value, err := partitionValue(columns[index], int(row))
			if err != nil {
				return fmt.Errorf("delta: partition column %s: %w", d.arrow.Field(index).Name, err)
			}
			if field := &d.schema.Fields[index]; value == nil && !field.Nullable { // an empty text is NULL here
				return notNull(field.Name)
			}
			next[i] = value
		}
		if row > 0 && partitionKey(next) != partitionKey(values) {
			if err := d.writeRows(ctx, values, columns, from, row); err != nil {
				return err
			}
			from = row
		}
		values = next
	}
	return d.writeRows(ctx, values, columns, from, rows)
}

func partitionKey(values []*string) string {
	var key strings.Builder
	for _, value := range values {
		if value == nil {
			key.WriteString("n,")
			continue
		}
		fmt.Fprintf(&key, "%d:%s,", len(*value), *value)
	}
	return key.String()
}

// writeRows writes the rows from one to before another into the open file of their partition.
func (d *dataFiles) writeRows(ctx context.Context, values []*string, columns []arrow.Array, from, to int64) error {
	inFile := make([]arrow.Array, len(d.fileColumns))
	for i, index := range d.fileColumns {
		inFile[i] = columns[index]
	}
	whole := array.NewRecord(d.fileSchema, inFile, int64(columns[0].Len()))
	defer whole.Release()
	part := whole.NewSlice(from, to)
	defer part.Release()

	key := partitionKey(values)
	file := d.open[key]
	if file == nil {
		if len(d.open) >= maxOpenPartitions {
			if err := d.closeOldest(ctx); err != nil {
				return err
			}
		}
		opened, err := d.begin(ctx, values)
		if err != nil {
			return err
		}
		file = opened
		d.open[key] = file
	}
	d.sequence++
	file.lastUsed = d.sequence
	if err := file.writer.Write(part); err != nil {
		return fmt.Errorf("delta: write %s: %w", file.name, err)
	}
	d.rows += part.NumRows()
	if file.writer.Size() < d.target {
		return nil
	}
	delete(d.open, key)
	return d.finish(ctx, file)
}

func (d *dataFiles) begin(ctx context.Context, values []*string) (*openFile, error) {
	names := make([]string, len(d.partitions))
	for i, index := range d.partitions {
		names[i] = d.arrow.Field(index).Name
	}
	file := &openFile{
		name:   fmt.Sprintf("%spart-00000-%s-c000.zstd.parquet", partitionFolder(names, values), uuid.NewString()),
		values: values,
	}
	object, err := d.store.Create(ctx, file.name)
	if err != nil {
		return nil, fmt.Errorf("delta: write a data file: %w", err)
	}
	file.object = object
	file.writer, err = parquet.NewWriter(&countingWriter{to: object, count: &file.size}, d.fileSchema, d.encoding)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("delta: write %s: %w", file.name, err), object.Abort())
	}
	return file, nil
}

// finish makes a file durable and an add of it.
func (d *dataFiles) finish(ctx context.Context, file *openFile) error {
	statistics, err := file.writer.Close()
	if err != nil {
		return errors.Join(fmt.Errorf("delta: write %s: %w", file.name, err), file.object.Abort())
	}
	d.written = append(d.written, file.name) // before the commit: it may take effect and yet fail
	if err := file.object.Commit(ctx); err != nil {
		return errors.Join(fmt.Errorf("delta: write %s: %w", file.name, err), file.object.Abort())
	}
	stats, err := d.rules.encode(statistics)
	if err != nil {
		return err
	}
	partition := make(map[string]*string, len(d.partitions))
	for i, index := range d.partitions {
		partition[d.arrow.Field(index).Name] = file.values[i]
	}
	d.bytes += file.size
	d.adds = append(d.adds, Add{
		Path: escapePath(file.name), PartitionValues: partition, Size: file.size,
		ModificationTime: d.now().UnixMilli(), DataChange: true, Stats: stats,
	})
	return nil
}

func (d *dataFiles) closeOldest(ctx context.Context) error {
	oldest := ""
	for key, file := range d.open {
		if oldest == "" || file.lastUsed < d.open[oldest].lastUsed {
			oldest = key
		}
	}
	file := d.open[oldest]
	delete(d.open, oldest)
	return d.finish(ctx, file)
}

// close finishes every file. A failure leaves the others to discard.
func (d *dataFiles) close(ctx context.Context) error {
	for key, file := range d.open {
		delete(d.open, key)
		if err := d.finish(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// discard deletes what was written. Only for a transaction that is known not to stand.
func (d *dataFiles) discard(ctx context.Context) error {
	var failures []error
	for key, file := range d.open {
		delete(d.open, key)
		_, _ = file.writer.Close() // what it wrote is thrown away
		failures = append(failures, file.object.Abort())
	}
	for _, name := range d.written {
		failures = append(failures, d.store.Delete(ctx, name))
	}
	d.written, d.adds = nil, nil
	return errors.Join(failures...)
}
