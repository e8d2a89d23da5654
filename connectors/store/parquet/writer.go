package parquet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/apache/arrow/go/v17/arrow"
	pq "github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"github.com/inflowhq/inflow/schemas"
)

// The sizes that bound a writer's memory: a row group's compressed pages, and for each column one page.
const (
	rowGroupBytes = 64 << 20
	rowGroupRows  = 128 << 10
	pageBytes     = 1 << 20
	// sliceRows is how many rows of a record are written between two looks at the row group's size.
	sliceRows = 4096
	// maxPending is how many values are handed to a column at once.
	maxPending = 1024
	// maxDictionaryBytes is the size at which a column gives its dictionary up.
	maxDictionaryBytes = 256 << 10
	// maxStatisticBytes is the length above which a least or greatest text stays out of the footer.
	maxStatisticBytes = 256
)

// WriterOptions are what a file needs beyond its schema.
type WriterOptions struct {
	// Metadata are the key-values of the footer.
	Metadata map[string]string
	// NoStatistics names the top-level columns of which no value may reach a statistic: prompts and answers.
	NoStatistics func(column string) bool
	// Dictionary names the top-level columns that repeat few values. Nil: no column does.
	Dictionary func(column string) bool
}

// dictionary reports whether leaves of a top-level column get a dictionary.
func (o WriterOptions) dictionary(column string, dataType arrow.DataType) bool {
	return o.Dictionary != nil && dataType.ID() != arrow.BOOL && o.Dictionary(column)
}

// Writer writes Arrow records as one Parquet file: zstd, data pages of version 1, values plain or with a
// dictionary, so that every reader of Delta tables takes it. Lists and maps have the standard three levels.
//
// It is not safe for concurrent use. After an error only Close may be called, and fails again.
type Writer struct {
	output  *counter
	file    *pq.GenericWriter[any]
	fields  []arrow.Field
	columns []*column // top-level
	leaves  []*column
	rows    []entry // scratch: the places of one slice of rows
	shred   shredder
	inGroup int64 // rows since the last row group
	flushed int64 // bytes up to there
	total   int64
	err     error
}

// counter passes writes on to the file until Close withholds the last ones.
type counter struct {
	io.Writer
	held *bytes.Buffer
}

func (c *counter) Write(data []byte) (int, error) {
	if c.held != nil {
		return c.held.Write(data)
	}
	return c.Writer.Write(data)
}

// NewWriter returns a Writer of schema's columns. A type that Parquet for Delta does not hold is
// schemas.ErrInvalid and named with its column. The caller closes w after Close.
func NewWriter(w io.Writer, schema *arrow.Schema, options WriterOptions) (*Writer, error) {
	t := tree{options: options}
	root, columns, err := t.fields(schema.Fields(), nil, "", 0, 0)
	if err != nil {
		return nil, err
	}
	configured := []pq.WriterOption{
		pq.NewSchema("schema", root), pq.Compression(&zstd.Codec{Level: zstd.SpeedFastest}),
		pq.DataPageVersion(1), pq.PageBufferSize(pageBytes), pq.DictionaryMaxBytes(maxDictionaryBytes),
		pq.MaxRowsPerRowGroup(math.MaxInt64), pq.CreatedBy("inflow", "1.0.0", "0"),
	}
	for key, value := range options.Metadata {
		configured = append(configured, pq.KeyValueMetadata(key, value))
	}
	for i, leafColumn := range t.leaves {
		if leafColumn.leaf.silent || leafColumn.leaf.noBounds {
			configured = append(configured, pq.SkipPageBounds(t.paths[i]...), pq.SkipPageStatistics(t.paths[i]...))
		}
	}
	if _, err := pq.NewWriterConfig(configured...); err != nil {
		return nil, fmt.Errorf("parquet: %w", err)
	}
	output := &counter{Writer: w}
	file := pq.NewGenericWriter[any](output, configured...)
	for i, writer := range file.ColumnWriters() {
		t.leaves[i].leaf.writer = writer
	}
	return &Writer{output: output, file: file, fields: schema.Fields(), columns: columns, leaves: t.leaves}, nil
}

// Write appends the rows of record, whose columns must be those of the schema, in order. It keeps no reference.
func (w *Writer) Write(record arrow.Record) error {
	if w.err != nil {
		return w.err
	}
	if err := w.check(record.Schema()); err != nil {
		return err
	}
	w.err = w.write(record)
	clear(w.shred.values[:cap(w.shred.values)]) // they point into the record
	return w.err
}

func (w *Writer) check(schema *arrow.Schema) error {
	if schema.NumFields() != len(w.fields) {
		return fmt.Errorf("parquet: the record has %d columns, the file %d: %w", schema.NumFields(), len(w.fields), schemas.ErrInvalid)
	}
	for i := range w.fields {
		field, want := schema.Field(i), w.fields[i]
		if field.Name != want.Name || !SameType(field.Type, want.Type) {
			return fmt.Errorf("parquet: column %d of the record is %s %s, of the file %s %s: %w", i, field.Name, field.Type, want.Name, want.Type, schemas.ErrInvalid)
		}
	}
	return nil
}

func (w *Writer) write(record arrow.Record) error {
	rows := record.NumRows()
	for start := int64(0); start < rows; start += sliceRows {
		end := min(start+sliceRows, rows)
		w.rows = w.rows[:0]
		for i := start; i < end; i++ {
			w.rows = append(w.rows, entry{index: int32(i)})
		}
		for i, column := range w.columns {
			if err := w.shred.column(column, record.Column(i), w.rows); err != nil {
				return err
			}
		}
		w.total += end - start
		w.inGroup += end - start
		if w.inGroup < rowGroupRows && w.grouped() < rowGroupBytes {
			continue
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) flush() error {
	w.inGroup = 0
	if err := w.file.Flush(); err != nil {
		return fmt.Errorf("parquet: %w", err)
	}
	w.flushed = w.file.Size()
	return nil
}

// grouped is about how many bytes the row group in progress holds in memory.
func (w *Writer) grouped() int64 { return w.file.Size() - w.flushed }

// Size is about how long the file would be if it were closed now. What is not compressed yet counts in full.
func (w *Writer) Size() int64 { return w.file.Size() }

// SetMetadata adds a key-value to the footer, or replaces one, at any time before Close.
func (w *Writer) SetMetadata(key, value string) { w.file.SetKeyValueMetadata(key, value) }

// Close writes what is buffered and the footer, and tells what the file holds. It does not close the output.
func (w *Writer) Close() (Statistics, error) {
	if w.err != nil {
		return Statistics{}, w.err
	}
	w.err = fmt.Errorf("parquet: the writer is closed: %w", fs.ErrClosed)
	if err := w.flush(); err != nil {
		return Statistics{}, err
	}
	// Page indexes and footer are held back, to mend the footer.
	w.output.held = new(bytes.Buffer)
	if err := w.file.Close(); err != nil {
		return Statistics{}, fmt.Errorf("parquet: %w", err)
	}
	tail, err := w.tail(w.output.held.Bytes())
	if err != nil {
		return Statistics{}, err
	}
	if _, err := w.output.Writer.Write(tail); err != nil {
		return Statistics{}, fmt.Errorf("parquet: %w", err)
	}
	return Statistics{Rows: w.total, Columns: collect(w.columns)}, nil
}

func collect(columns []*column) map[string]ColumnStatistics {
	out := make(map[string]ColumnStatistics, len(columns))
	for _, c := range columns {
		switch {
		case c.stats != nil:
			out[c.name] = c.stats.result()
		case c.kind == structColumn:
			out[c.name] = ColumnStatistics{Fields: collect(c.children)}
		}
	}
	return out
}

// tail returns what follows the row groups, with a footer that claims nothing false. For a column without
// bounds parquet-go writes a column index of zeros and empty texts, by which readers that push filters down
// (Spark, DataFusion) would skip pages that hold the value they look for. So such an index is disowned.
func (w *Writer) tail(held []byte) ([]byte, error) {
	const ending = 8 // the footer's length and the magic bytes
	if len(held) < ending {
		return nil, errors.New("parquet: the footer is missing")
	}
	length := int(binary.LittleEndian.Uint32(held[len(held)-ending:]))
	if length > len(held)-ending {
		return nil, errors.New("parquet: the footer is cut off")
	}
	footer := w.file.File().Metadata()
	for i := range footer.RowGroups {
		chunks := footer.RowGroups[i].Columns
		for j := range chunks {
			mend(&chunks[j], w.leaves[j].leaf)
		}
	}
	tail := bytes.NewBuffer(held[: len(held)-ending-length : len(held)-ending-length])
	before := tail.Len()
	if err := thrift.NewEncoder(new(thrift.CompactProtocol).NewWriter(tail)).Encode(footer); err != nil {
		return nil, fmt.Errorf("parquet: footer: %w", err)
	}
	size := binary.LittleEndian.AppendUint32(nil, uint32(tail.Len()-before)) //nolint:gosec // a footer of 4 GiB does not fit in memory
	tail.Write(size)
	tail.WriteString("PAR1")
	return tail.Bytes(), nil
}

func mend(chunk *format.ColumnChunk, lf *leaf) {
	statistics := &chunk.MetaData.Statistics
	if lf.silent || lf.noBounds {
		chunk.ColumnIndexOffset, chunk.ColumnIndexLength = 0, 0
	}
	if lf.silent || lf.noBounds || len(statistics.MinValue) > maxStatisticBytes || len(statistics.MaxValue) > maxStatisticBytes {
		statistics.Min, statistics.Max, statistics.MinValue, statistics.MaxValue = nil, nil, nil, nil
	}
}
