package files

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/zstd"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

// maxWindowBytes bounds the memory of one zstd stream; zstd's own command line goes no further unasked.
const maxWindowBytes = 128 << 20

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
	line    int // where it begins, from 1
	size    int // about how many bytes it holds
	columns []string
	cells   []cell
}

// decoder reads the rows of one text file. The row is valid until the next call; io.EOF ends them. Errors name
// line and column.
type decoder interface {
	next() (textRow, error)
}

// openText returns the decoder of one file. The caller calls done.
func (s *Source) openText(ctx context.Context, object found) (rows decoder, done func() error, err error) {
	reader, err := s.options.Store.Open(ctx, object.name)
	if err != nil {
		return nil, nil, readError(object.name, err)
	}
	stream, closeStream, err := decompress(reader, object.name)
	if err != nil {
		return nil, nil, errors.Join(readError(object.name, err), reader.Close())
	}
	done = func() error { return errors.Join(closeStream(), reader.Close()) }
	if object.format == JSONL {
		return newJSONDecoder(stream), done, nil
	}
	return newCSVDecoder(stream), done, nil
}

func decompress(reader store.Reader, name string) (io.Reader, func() error, error) {
	raw := io.NewSectionReader(reader, 0, reader.Size())
	switch name = strings.ToLower(name); {
	case strings.HasSuffix(name, ".gz"):
		stream, err := gzip.NewReader(bufio.NewReaderSize(raw, 64<<10))
		if err != nil {
			return nil, nil, err
		}
		return stream, stream.Close, nil
	case strings.HasSuffix(name, ".zst"):
		stream, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindowBytes))
		if err != nil {
			return nil, nil, err
		}
		return stream, func() error { stream.Close(); return nil }, nil
	}
	return raw, func() error { return nil }, nil
}

// textRows yields the rows of a file from row done on. The rows before are decoded too: only so is it known
// where one ends.
func (s *Source) textRows(ctx context.Context, object found, done int64) iter.Seq2[arrow.Record, error] {
	return func(yield func(arrow.Record, error) bool) {
		rows, closeFile, err := s.openText(ctx, object)
		if err != nil {
			yield(nil, err)
			return
		}
		if s.batches(ctx, object, rows, done, yield) {
			if err := closeFile(); err != nil {
				yield(nil, readError(object.name, err))
			}
			return
		}
		_ = closeFile() // the consumer has its error, or wants no more
	}
}

func (s *Source) batches(ctx context.Context, object found, rows decoder, done int64, yield func(arrow.Record, error) bool) bool {
	table := newTable(s.schema, s.strict)
	defer table.release()
	for number, size := int64(0), 0; ; number++ {
		if number%sampleRows == 0 && ctx.Err() != nil {
			yield(nil, ctx.Err())
			return false
		}
		row, err := rows.next()
		ended := errors.Is(err, io.EOF)
		switch {
		case ended && number < done:
			yield(nil, errShrunk(object.name, number, done))
			return false
		case err != nil && !ended:
			yield(nil, fmt.Errorf("files: %s:%w: %w", object.name, err, schemas.ErrInvalid))
			return false
		case !ended && number >= done:
			if err := table.append(row); err != nil {
				yield(nil, fmt.Errorf("files: %s:%w: %w", object.name, err, schemas.ErrInvalid))
				return false
			}
			size += row.size
		}
		if table.rows > 0 && (ended || table.rows >= s.options.BatchRows || size >= maxBatchBytes) {
			if !yield(table.record(), nil) {
				return false
			}
			size = 0
		}
		if ended {
			return true
		}
	}
}

// sample lets guess see the first rows of a file.
func (s *Source) sample(ctx context.Context, object found, guess *guess) error {
	rows, closeFile, err := s.openText(ctx, object)
	if err != nil {
		return err
	}
	defer func() { _ = closeFile() }() // nothing was written
	if header, ok := rows.(*csvDecoder); ok {
		columns, err := header.columns()
		if err != nil {
			return fmt.Errorf("files: %s:%w: %w", object.name, err, schemas.ErrInvalid)
		}
		guess.columns(columns)
	}
	for !guess.full() {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("files: %s:%w: %w", object.name, err, schemas.ErrInvalid)
		}
		guess.observe(row)
	}
	return nil
}

// faultAt is an error that begins with its place: the file's name and a colon go before it.
func faultAt(line, column int, format string, args ...any) error {
	return fmt.Errorf("%d:%d: %w", line, column, fmt.Errorf(format, args...)) //nolint:err113 // the callers give constant formats
}

// jsonDecoder reads one object a line. Blank lines are no rows.
type jsonDecoder struct {
	lines *bufio.Reader
	buf   []byte
	line  int
	row   textRow
}

func newJSONDecoder(r io.Reader) *jsonDecoder {
	return &jsonDecoder{lines: bufio.NewReaderSize(r, 64<<10)}
}

func (d *jsonDecoder) next() (textRow, error) {
	for {
		text, err := d.readLine()
		if err != nil {
			return textRow{}, err
		}
		if d.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		return d.object(text)
	}
}

// readLine returns the next line without its end. It holds one line, up to maxLineBytes.
func (d *jsonDecoder) readLine() ([]byte, error) {
	d.buf = d.buf[:0]
	d.line++
	for {
		part, err := d.lines.ReadSlice('\n')
		d.buf = append(d.buf, part...)
		switch {
		case len(d.buf) > maxLineBytes+1:
			return nil, faultAt(d.line, maxLineBytes, "the line is longer than %d bytes", maxLineBytes)
		case err == nil:
			return bytes.TrimSuffix(bytes.TrimSuffix(d.buf, []byte("\n")), []byte("\r")), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(d.buf) > 0:
			return d.buf, nil
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		default:
			return nil, faultAt(d.line, len(d.buf)+1, "%w", err)
		}
	}
}

func (d *jsonDecoder) object(text []byte) (textRow, error) {
	if !utf8.Valid(text) {
		return textRow{}, faultAt(d.line, invalidAt(text)+1, "the text is not UTF-8")
	}
	d.row = textRow{line: d.line, size: len(text), columns: d.row.columns[:0], cells: d.row.cells[:0]}
	decoder := json.NewDecoder(bytes.NewReader(text))
	// fault hides the decoder's own text: it may quote the data.
	fault := func(err error) error {
		at := decoder.InputOffset()
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			at = max(at, syntax.Offset-1)
		}
		return faultAt(d.line, clip(at)+1, "the line is not one JSON object")
	}
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return textRow{}, fault(err)
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return textRow{}, fault(err)
		}
		name, ok := key.(string)
		if !ok {
			return textRow{}, fault(nil)
		}
		if slices.Contains(d.row.columns, name) {
			return textRow{}, faultAt(d.line, clip(decoder.InputOffset())+1, "key %q stands twice", name)
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			return textRow{}, fault(err)
		}
		value, err := jsonCell(raw)
		if err != nil {
			return textRow{}, fault(err)
		}
		d.row.columns, d.row.cells = append(d.row.columns, name), append(d.row.cells, value)
	}
	if _, err := decoder.Token(); err != nil {
		return textRow{}, fault(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return textRow{}, fault(err)
	}
	return d.row, nil
}

func jsonCell(raw json.RawMessage) (cell, error) {
	switch raw[0] {
	case 'n':
		return cell{}, nil
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return cell{}, err
		}
		return cell{kind: stringCell, text: text}, nil
	default:
		return cell{kind: literalCell, text: string(raw)}, nil
	}
}

func invalidAt(text []byte) int {
	for i := 0; i < len(text); {
		char, size := utf8.DecodeRune(text[i:])
		if char == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(text)
}

// csvDecoder reads RFC 4180 records below a header.
type csvDecoder struct {
	reader *csv.Reader
	input  *allowance
	header []string
	row    textRow
}

// allowance ends the input of a record that is too long.
type allowance struct {
	io.Reader
	left int
}

var errTooLong = fmt.Errorf("the record is longer than %d bytes; is a quote missing", maxLineBytes)

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errTooLong
	}
	n, err := a.Reader.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

func newCSVDecoder(r io.Reader) *csvDecoder {
	buffered := bufio.NewReaderSize(r, 64<<10)
	if mark, err := buffered.Peek(3); err == nil && string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3) // they were just seen
	}
	input := &allowance{Reader: buffered}
	d := &csvDecoder{reader: csv.NewReader(input), input: input}
	d.reader.ReuseRecord = true
	return d
}

func (d *csvDecoder) read() ([]string, error) {
	d.input.left = maxLineBytes
	record, err := d.reader.Read()
	if err == nil {
		for i, field := range record {
			if !utf8.ValidString(field) {
				line, column := d.reader.FieldPos(i)
				return nil, faultAt(line, column, "the text is not UTF-8")
			}
		}
		return record, nil
	}
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if parse, ok := errors.AsType[*csv.ParseError](err); ok {
		if errors.Is(parse.Err, csv.ErrFieldCount) {
			return nil, faultAt(parse.Line, parse.Column, "the record has %d fields, the header %d", len(record), len(d.header))
		}
		return nil, faultAt(parse.Line, parse.Column, "%w", parse.Err)
	}
	line, column := 1, 1
	if d.header != nil {
		line, column = d.row.line+1, 1
	}
	return nil, faultAt(line, column, "%w", err)
}

// columns reads the header.
func (d *csvDecoder) columns() ([]string, error) {
	if d.header != nil {
		return d.header, nil
	}
	record, err := d.read()
	if errors.Is(err, io.EOF) {
		return nil, faultAt(1, 1, "the file is empty: the first line must name the columns")
	}
	if err != nil {
		return nil, err
	}
	header := slices.Clone(record)
	for i, name := range header {
		if name == "" || slices.Contains(header[:i], name) {
			line, column := d.reader.FieldPos(i)
			return nil, faultAt(line, column, "the header names column %d %q: every column needs a name of its own", i+1, name)
		}
	}
	d.header = header
	return header, nil
}

func (d *csvDecoder) next() (textRow, error) {
	header, err := d.columns()
	if err != nil {
		return textRow{}, err
	}
	record, err := d.read()
	if err != nil {
		return textRow{}, err
	}
	line, _ := d.reader.FieldPos(0)
	d.row = textRow{line: line, columns: header, cells: d.row.cells[:0]}
	for _, field := range record {
		value := cell{kind: fieldCell, text: field}
		if field == "" {
			value = cell{}
		}
		d.row.cells = append(d.row.cells, value)
		d.row.size += len(field)
	}
	return d.row, nil
}

// table collects rows into records.
type table struct {
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

func newTable(schema *arrow.Schema, strict bool) *table {
	t := &table{builder: array.NewRecordBuilder(memory.NewGoAllocator(), schema), index: make(map[string]int), strict: strict}
	for i, field := range schema.Fields() {
		t.columns = append(t.columns, tableColumn{name: field.Name, append: appender(t.builder.Field(i))})
		t.index[field.Name] = i
	}
	return t
}

func (t *table) append(row textRow) error {
	for i := range t.columns {
		t.columns[i].filled = false
	}
	for i, name := range row.columns {
		at, ok := t.index[name]
		if !ok {
			if t.strict {
				return faultAt(row.line, i+1, "%q is no column: it is not in the rows that the types were inferred from; name the columns that you want", name)
			}
			continue
		}
		if err := t.columns[at].append(row.cells[i]); err != nil {
			return faultAt(row.line, i+1, "column %q: %w", name, err)
		}
		t.columns[at].filled = true
	}
	for i := range t.columns {
		if !t.columns[i].filled {
			t.builder.Field(i).AppendNull()
		}
	}
	t.rows++
	return nil
}

func (t *table) record() arrow.Record {
	t.rows = 0
	return t.builder.NewRecord()
}

func (t *table) release() { t.builder.Release() }
