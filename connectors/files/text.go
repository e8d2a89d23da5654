package files

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/zstd"

	"github.com/inflowhq/inflow/schemas"
)

// maxWindowBytes bounds the memory of one zstd stream; zstd's own command line goes no further unasked.
const maxWindowBytes = 128 << 20

// bufferBytes is how much of a text file is read at once.
const bufferBytes = 64 << 10

// cell is one value of a text row. The zero cell is NULL.
type cell struct {
	kind cellKind
	text string // the string's text, or the literal as it stands
}

type cellKind uint8

const (
	nullCell    cellKind = iota
	literalCell          // a JSON number, true, false, object or array
	stringCell           // a JSON string
	fieldCell            // a CSV field: only its text can tell what it is
)

// textRow is one row of a text file. Its columns are those of the file, in any order.
type textRow struct {
	size    int // about how many bytes it holds
	columns []string
	cells   []cell
	// header says that columns are all that the file has: what they lack is missing, not NULL.
	header bool
}

// decoder reads the rows of one text file. A row is valid until the next call; io.EOF ends them. Errors begin
// with line and column.
type decoder interface {
	next() (textRow, error)
	// place is where a cell of the last row begins: line and byte, from 1.
	place(cell int) (line, column int)
}

// textFile is an open text file.
type textFile struct {
	name  string
	rows  decoder
	input *input
	close func() error
}

func (s *Source) openText(ctx context.Context, object found) (*textFile, error) {
	reader, err := s.options.Store.Open(ctx, object.name)
	if err != nil {
		return nil, readError(object.name, err)
	}
	file := &textFile{name: object.name, close: reader.Close}
	file.input = &input{Reader: io.NewSectionReader(reader, 0, reader.Size()), ended: ctx.Err}
	stream, err := file.decompress()
	if err != nil {
		return nil, errors.Join(file.fault(faultAt(1, 1, "%w", err)), file.close())
	}
	if object.format == JSONL {
		file.rows = newJSONDecoder(stream)
	} else {
		file.rows = newCSVDecoder(stream)
	}
	return file, nil
}

// next returns the next row; io.EOF, and no error that wraps it, ends them.
func (f *textFile) next() (textRow, error) {
	row, err := f.rows.next()
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.fault(err)
	}
	return row, err
}

// fault completes an error that begins with its place. Where the file could not be read, that alone is told:
// what was made of the bytes says nothing about the file.
func (f *textFile) fault(err error) error {
	if f.input.failure != nil {
		return readError(f.name, f.input.failure)
	}
	return fmt.Errorf("files: %s:%w: %w", f.name, err, schemas.ErrInvalid)
}

// input is the bytes of a file. It heeds the end of the context, however long a decoder goes on, and remembers
// a failure to read, which decoders may reword.
type input struct {
	io.Reader
	ended   func() error
	failure error
}

func (i *input) Read(p []byte) (int, error) {
	if err := i.live(); err != nil {
		return 0, err
	}
	n, err := i.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		i.failure = err
	}
	return n, err
}

func (i *input) live() error {
	err := i.ended()
	if err != nil {
		i.failure = err
	}
	return err
}

// decompress returns what the decoder reads.
func (f *textFile) decompress() (io.Reader, error) {
	switch _, suffix := cutCompression(f.name); suffix {
	case ".gz":
		stream, err := gzip.NewReader(bufio.NewReaderSize(f.input, bufferBytes))
		if err != nil {
			return nil, errBroken("gzip", err)
		}
		return unpacked{Reader: stream, input: f.input, format: "gzip"}, nil
	case ".zst":
		stream, err := zstd.NewReader(f.input, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindowBytes))
		if err != nil {
			return nil, errBroken("zstd", err)
		}
		closeFile := f.close
		f.close = func() error { stream.Close(); return closeFile() }
		return unpacked{Reader: stream, input: f.input, format: "zstd"}, nil
	}
	return f.input, nil
}

// unpacked says of an error that it is the compression's. It heeds the context too: a few bytes of input can
// unpack to gigabytes.
type unpacked struct {
	io.Reader
	input  *input
	format string
}

func (u unpacked) Read(p []byte) (int, error) {
	if err := u.input.live(); err != nil {
		return 0, err
	}
	n, err := u.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = errBroken(u.format, err)
	}
	return n, err
}

// errBroken takes io.EOF, which would mean an empty file, for what it is here: a file that is cut off.
func errBroken(format string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the %s data is broken or cut off: %w", format, err)
}

// textRows yields the rows of a file from row done on. The rows before are decoded too: only so is it known
// where one ends.
func (s *Source) textRows(ctx context.Context, object found, done int64) iter.Seq2[arrow.Record, error] {
	return func(yield func(arrow.Record, error) bool) {
		file, err := s.openText(ctx, object)
		if err != nil {
			yield(nil, err)
			return
		}
		if s.batches(file, done, yield) {
			if err := file.close(); err != nil {
				yield(nil, readError(object.name, err))
			}
			return
		}
		_ = file.close() // the consumer has its error, or wants no more
	}
}

// batches yields the rows before an error too, so that it stands behind the same row at every batch size.
func (s *Source) batches(file *textFile, done int64, yield func(arrow.Record, error) bool) bool {
	table := newTable(s.memory, s.schema, s.strict)
	defer table.release()
	for number, size := int64(0), 0; ; number++ {
		row, err := file.next()
		if err == nil && number >= done {
			if err = table.append(row, file.rows.place); err != nil {
				err = file.fault(err)
			}
			size += row.size
		}
		if table.rows > 0 && (err != nil || table.rows >= s.options.BatchRows || size >= maxBatchBytes) {
			if !yield(table.record(), nil) {
				return false
			}
			size = 0
		}
		ended := errors.Is(err, io.EOF)
		if ended && number < done {
			ended, err = false, errShrunk(file.name, number, done)
		}
		if ended {
			return true
		}
		if err != nil {
			yield(nil, err)
			return false
		}
	}
}

// sample lets guess see the first rows of a file.
func (s *Source) sample(ctx context.Context, object found, guess *guess) error {
	file, err := s.openText(ctx, object)
	if err != nil {
		return err
	}
	defer func() { _ = file.close() }() // nothing was written
	if records, ok := file.rows.(*csvDecoder); ok {
		columns, err := records.columns()
		if err != nil && !errors.Is(err, io.EOF) {
			return file.fault(err)
		}
		guess.columns(columns)
	}
	for !guess.full() {
		row, err := file.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		guess.observe(row)
	}
	return nil
}

// faultAt is an error that begins with its place: the file's name and a colon go before it.
func faultAt(line, column int, format string, args ...any) error {
	return fmt.Errorf("%d:%d: %w", line, column, fmt.Errorf(format, args...)) //nolint:err113 // the callers give constant formats
}

// table collects rows into records.
type table struct {
	schema  *arrow.Schema
	builder *array.RecordBuilder
	columns []tableColumn
	index   map[string]int
	strict  bool
	rows    int
}

type tableColumn struct {
	name   string
	append func(cell) error
	filled bool // in the current row
}

func newTable(mem memory.Allocator, schema *arrow.Schema, strict bool) *table {
	t := &table{schema: schema, builder: array.NewRecordBuilder(mem, schema), index: make(map[string]int), strict: strict}
	for i, field := range schema.Fields() {
		t.columns = append(t.columns, tableColumn{name: field.Name, append: appender(t.builder.Field(i))})
		t.index[field.Name] = i
	}
	return t
}

// append adds a row. After an error only record and release may be called; the row is not in the record.
func (t *table) append(row textRow, place func(cell int) (line, column int)) error {
	for i := range t.columns {
		t.columns[i].filled = false
	}
	for i, name := range row.columns {
		at, ok := t.index[name]
		if !ok && !t.strict {
			continue
		}
		var err error
		if ok {
			err = t.columns[at].append(row.cells[i])
		} else {
			err = errors.New("it is not in the rows that the types were inferred from: name the columns that you want")
		}
		if err != nil {
			line, column := place(i)
			return faultAt(line, column, "column %q: %w", name, err)
		}
		t.columns[at].filled = true
	}
	for i := range t.columns {
		if t.columns[i].filled {
			continue
		}
		if row.header {
			return faultAt(1, 1, "column %q is missing in the header: name columns that all files have, or read the others apart", t.columns[i].name)
		}
		t.builder.Field(i).AppendNull()
	}
	t.rows++
	return nil
}

// record returns the rows since the last one.
func (t *table) record() arrow.Record {
	columns := make([]arrow.Array, len(t.columns))
	for i := range columns {
		whole := t.builder.Field(i).NewArray()
		columns[i] = array.NewSlice(whole, 0, int64(t.rows)) // without the beginning of a row that failed
		whole.Release()
	}
	record := array.NewRecord(t.schema, columns, int64(t.rows))
	for _, column := range columns {
		column.Release()
	}
	t.rows = 0
	return record
}

func (t *table) release() { t.builder.Release() }
