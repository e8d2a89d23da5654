package parquet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	apq "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

const (
	// maxFooterBytes bounds a footer; those of wide tables with many row groups reach a few megabytes.
	maxFooterBytes = 64 << 20
	// maxPageBytes bounds one page; writers aim at one megabyte, and a single long text can exceed that.
	maxPageBytes = 256 << 20
	// maxPageHeaderBytes bounds one page's header, which may hold its least and greatest text.
	maxPageHeaderBytes = 1 << 20
	// readAhead is the buffer of one column, in a file that is longer.
	readAhead = 256 << 10
	// arrowSchemaKey is where Arrow's writers keep their own schema, which would bring types back that no table has.
	arrowSchemaKey = "ARROW:schema"
)

// File is an open Parquet file. It is safe for concurrent use as far as the store.Reader behind it is.
//
// The bytes are not trusted: whatever they are, the outcome is records or an error that wraps
// schemas.ErrInvalid, never a panic, and no allocation by a number that the bytes behind it do not bear out. What
// a compressed page may swell to is not bounded: Arrow looks at its size only afterwards.
type File struct {
	source   *source
	reader   *file.Reader
	schema   *arrow.Schema
	columns  []*readColumn
	metadata map[string]string
	mem      memory.Allocator
}

// Open reads the footer. The File does not own r: the caller closes it when it is done with the File.
func Open(r store.Reader) (*File, error) {
	f := &File{source: &source{Reader: r}, mem: memory.DefaultAllocator, metadata: make(map[string]string)}
	if err := f.guard("footer", f.open); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) open() error {
	r := f.source
	if err := checkFooter(r); err != nil {
		return err
	}
	reader, err := file.NewParquetReader(io.NewSectionReader(r, 0, r.Size()), file.WithReadProps(apq.NewReaderProperties(f.mem)))
	if err != nil {
		return corrupt("footer", err)
	}
	root := reader.MetaData().Schema.Root()
	walk := schemaReader{}
	fields := make([]arrow.Field, 0, root.NumFields())
	for i := range root.NumFields() {
		column, err := walk.column(root.Field(i), 0, 0, 0, 1)
		if err != nil {
			return corrupt("schema", err)
		}
		f.columns, fields = append(f.columns, column), append(fields, column.field)
	}
	pairs := reader.MetaData().KeyValueMetadata()
	for _, key := range pairs.Keys() {
		if value := pairs.FindValue(key); value != nil && key != arrowSchemaKey {
			f.metadata[key] = *value
		}
	}
	rows := int64(0)
	for i := range reader.NumRowGroups() {
		count := reader.MetaData().RowGroup(i).NumRows()
		if count < 0 {
			return corrupt("footer", fmt.Errorf("row group %d has %d rows", i, count))
		}
		rows += count
	}
	if rows != reader.NumRows() {
		return corrupt("footer", fmt.Errorf("its row groups have %d rows, the file says %d", rows, reader.NumRows()))
	}
	f.reader, f.schema = reader, arrow.NewSchema(fields, nil)
	return nil
}

// checkFooter looks at what would make the footer too large to be read before anything is read.
func checkFooter(r store.Reader) error {
	const ending = 8 // the footer's length and the magic bytes
	if r.Size() < ending+4 {
		return corrupt("file", fmt.Errorf("%d bytes are no Parquet file", r.Size()))
	}
	var last [ending]byte
	if _, err := r.ReadAt(last[:], r.Size()-ending); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch string(last[4:]) {
	case "PAR1":
	case "PARE":
		return fmt.Errorf("parquet: the file is encrypted, which is not supported: %w", schemas.ErrInvalid)
	default:
		return corrupt(fmt.Sprintf("footer at byte %d", r.Size()-4), errors.New("the magic bytes PAR1 are missing: cut off, or no Parquet file"))
	}
	length := int64(binary.LittleEndian.Uint32(last[:4]))
	if length > r.Size()-ending-4 || length > maxFooterBytes {
		return corrupt(fmt.Sprintf("footer at byte %d", r.Size()-ending), fmt.Errorf("it says to be %d bytes long, in a file of %d; the limit is %d", length, r.Size(), maxFooterBytes))
	}
	footer := make([]byte, length)
	if _, err := r.ReadAt(footer, r.Size()-ending-length); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := checkThrift(footer); err != nil {
		return corrupt(fmt.Sprintf("footer at byte %d", r.Size()-ending-length), err)
	}
	return nil
}

// Schema returns the top-level columns: text as utf8, timestamps in microseconds with the zone UTC or none,
// never a dictionary.
func (f *File) Schema() *arrow.Schema { return f.schema }

// NumRows is the number of rows of all row groups.
func (f *File) NumRows() int64 { return f.reader.NumRows() }

// Metadata returns the footer's key-values, without Arrow's own schema.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Read yields the rows from first on, in records of at most batchRows rows; a record ends with its row group
// and where its texts grow past a limit. columns nil means all; their order is the records'. The consumer
// owns and releases each record. Row groups before first are not read. The first error ends the sequence.
//
// Memory is bounded by one record and one page a column.
func (f *File) Read(ctx context.Context, columns []string, first int64, batchRows int) iter.Seq2[arrow.Record, error] {
	return func(yield func(arrow.Record, error) bool) {
		chosen, err := f.choose(columns)
		if err == nil && (batchRows < 1 || first < 0) {
			err = fmt.Errorf("parquet: read %d rows from row %d: %w", batchRows, first, schemas.ErrInvalid)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		fields := make([]arrow.Field, len(chosen))
		for i, column := range chosen {
			fields[i] = column.field
		}
		schema := arrow.NewSchema(fields, nil)
		for i := range f.reader.NumRowGroups() {
			rows := f.reader.MetaData().RowGroup(i).NumRows()
			if first >= rows {
				first -= rows
				continue
			}
			group := rowGroup{file: f, index: i, columns: chosen, schema: schema, left: rows, skip: first}
			if !group.read(ctx, batchRows, yield) {
				return
			}
			first = 0
		}
	}
}

func (f *File) choose(names []string) ([]*readColumn, error) {
	if names == nil {
		return f.columns, nil
	}
	chosen := make([]*readColumn, 0, len(names))
	for _, name := range names {
		i := slices.IndexFunc(f.columns, func(c *readColumn) bool { return c.field.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("parquet: there is no column %q, but %q: %w", name, f.names(), schemas.ErrInvalid)
		}
		chosen = append(chosen, f.columns[i])
	}
	return chosen, nil
}

func (f *File) names() []string {
	names := make([]string, len(f.columns))
	for i, column := range f.columns {
		names[i] = column.field.Name
	}
	return names
}

// rowGroup reads one row group.
type rowGroup struct {
	file    *File
	index   int
	columns []*readColumn
	schema  *arrow.Schema
	leaves  []leafReader // by position in the file; nil: not read
	skip    int64        // rows to pass over
	left    int64        // rows not yet loaded
}

// read yields the group's records and reports whether to go on.
func (g *rowGroup) read(ctx context.Context, batchRows int, yield func(arrow.Record, error) bool) bool {
	if err := g.file.guard("columns", g.start); err != nil {
		yield(nil, fmt.Errorf("row group %d: %w", g.index, err))
		return false
	}
	for g.left > 0 {
		if err := ctx.Err(); err != nil {
			yield(nil, err)
			return false
		}
		var record arrow.Record
		err := g.file.guard("values", func() (err error) {
			record, err = g.next(batchRows)
			return err
		})
		if err != nil {
			yield(nil, fmt.Errorf("row group %d: %w", g.index, err))
			return false
		}
		if record != nil && !yield(record, nil) {
			return false
		}
	}
	return true
}

func (g *rowGroup) start() error {
	g.leaves = make([]leafReader, g.file.reader.MetaData().Schema.NumColumns())
	for _, column := range g.columns {
		if err := g.open(column); err != nil {
			return err
		}
	}
	return nil
}

func (g *rowGroup) open(column *readColumn) error {
	for _, child := range column.children {
		if err := g.open(child); err != nil {
			return err
		}
	}
	if column.kind != leafColumn {
		return nil
	}
	chunk, err := g.openChunk(column)
	if err != nil {
		return corrupt("column "+column.node.Path(), err)
	}
	reader, err := newLeafReader(column, chunk, g.file.mem)
	if err != nil {
		return corrupt("column "+column.node.Path(), err)
	}
	g.leaves[column.leaf] = reader
	return nil
}

// next returns the next record, nil while rows are passed over.
func (g *rowGroup) next(batchRows int) (arrow.Record, error) {
	rows := int(min(int64(batchRows), g.left))
	passing := g.skip > 0
	if passing {
		rows = int(min(g.skip, g.left, readLevels))
	}
	fit := rows
	for position, leaf := range g.leaves {
		if leaf == nil {
			continue
		}
		where := "column " + g.file.reader.MetaData().Schema.Column(position).Path()
		if err := g.file.guard(where, func() error { return leaf.load(rows) }); err != nil {
			return nil, err
		}
		fit = min(fit, leaf.fit(rows, maxBatchBytes))
	}
	for _, leaf := range g.leaves {
		if leaf != nil {
			leaf.take(fit)
		}
	}
	g.left -= int64(fit)
	if passing {
		g.skip -= int64(fit)
		return nil, nil //nolint:nilnil // no record and no error: the rows were passed over
	}
	arrays := make([]arrow.Array, 0, len(g.columns))
	defer func() {
		for _, built := range arrays {
			built.Release()
		}
	}()
	for _, column := range g.columns {
		built, err := g.build(column)
		if err != nil {
			return nil, corrupt("column "+column.field.Name, err)
		}
		arrays = append(arrays, built)
		if built.Len() != fit {
			return nil, corrupt("column "+column.field.Name, fmt.Errorf("%d rows where %d are due", built.Len(), fit))
		}
	}
	return array.NewRecord(g.schema, arrays, int64(fit)), nil
}

// build makes the array of one column from the levels of its leaves.
func (g *rowGroup) build(column *readColumn) (arrow.Array, error) {
	if column.kind == leafColumn {
		return g.leaves[column.leaf].build()
	}
	children := make([]arrow.ArrayData, 0, len(column.children))
	defer func() {
		for _, child := range children {
			child.Release()
		}
	}()
	for _, child := range column.children {
		built, err := g.build(child)
		if err != nil {
			return nil, err
		}
		built.Data().Retain()
		children = append(children, built.Data())
		built.Release()
		if built := children[len(children)-1]; built.Len() != children[0].Len() {
			return nil, errors.New("the fields disagree about the number of values")
		}
	}
	// Every leaf below tells the same of this column; the first is asked.
	defs, reps := g.leaves[column.leaf].levels()
	if column.kind == structColumn {
		return column.assembleStruct(defs, reps, children)
	}
	return column.assembleList(defs, reps, children)
}

func corrupt(where string, err error) error {
	return fmt.Errorf("parquet: %s: %w: %w", where, err, schemas.ErrInvalid)
}

// guard runs do and says where its error arose: a panic, which is Arrow's answer to some broken files, anything
// else that the bytes brought about, or a failure to read them, which says nothing about the file. It must
// never surround a consumer.
func (f *File) guard(where string, do func() error) (err error) {
	defer func() {
		if caught := recover(); caught != nil {
			err = fmt.Errorf("broken: %v", caught)
		}
		if err == nil {
			return
		}
		if _, ok := errors.AsType[*readError](err); ok || errors.Is(err, schemas.ErrInvalid) && f.source.failure.Load() == nil {
			return // said already
		}
		if failure := f.source.failure.Swap(nil); failure != nil {
			err = &readError{where: where, err: *failure}
		} else {
			err = corrupt(where, err)
		}
	}()
	return do()
}

// readError is a failure of the store: the file may be sound.
type readError struct {
	where string
	err   error
}

func (e *readError) Error() string { return fmt.Sprintf("parquet: read %s: %v", e.where, e.err) }

func (e *readError) Unwrap() error { return e.err }

// source remembers a failure to read, which the decoders may swallow or reword.
type source struct {
	store.Reader
	failure atomic.Pointer[error]
}

func (s *source) ReadAt(p []byte, offset int64) (int, error) {
	n, err := s.Reader.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failure.Store(&err)
	}
	return n, err
}

// limited refuses the buffers that no sound column chunk needs: one that is too large, and too many at a time, as
// pages of kinds that nobody knows would take. The panic is caught by guard.
type limited struct {
	memory.Allocator
	held int
}

// Allocate implements memory.Allocator.
func (l *limited) Allocate(size int) []byte {
	l.hold(size, size)
	return l.Allocator.Allocate(size)
}

// Reallocate implements memory.Allocator.
func (l *limited) Reallocate(size int, b []byte) []byte {
	l.hold(size, size-len(b))
	return l.Allocator.Reallocate(size, b)
}

// Free implements memory.Allocator.
func (l *limited) Free(b []byte) {
	l.held -= len(b)
	l.Allocator.Free(b)
}

func (l *limited) hold(size, more int) {
	if size < 0 || size > maxPageBytes || l.held+more > 2*maxPageBytes {
		panic(fmt.Sprintf("a page of %d bytes beside %d; the limit is %d each", size, l.held, maxPageBytes))
	}
	l.held += more
}
