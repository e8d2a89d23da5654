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

// jsonDecoder reads one object a line. Blank lines are no rows.
type jsonDecoder struct {
	lines  *bufio.Reader
	buf    []byte
	line   int
	start  int  // of the text in its line: 3 behind a byte order mark
	open   bool // the line has no end: it is the file's last
	row    textRow
	places []int // of the cells, in the text
}

func newJSONDecoder(r io.Reader) *jsonDecoder {
	return &jsonDecoder{lines: bufio.NewReaderSize(r, bufferBytes)}
}

func (d *jsonDecoder) place(cell int) (line, column int) { return d.line, d.start + d.places[cell] + 1 }

func (d *jsonDecoder) next() (textRow, error) {
	for {
		text, err := d.readLine()
		if err != nil {
			return textRow{}, err
		}
		d.start = 0
		if rest, marked := bytes.CutPrefix(text, []byte("\ufeff")); marked && d.line == 1 {
			text, d.start = rest, len(text)-len(rest)
		}
		if len(bytes.Trim(text, " \t\r")) > 0 {
			return d.object(text)
		}
	}
}

// readLine returns the next line without its end. It holds one line, up to maxLineBytes.
func (d *jsonDecoder) readLine() ([]byte, error) {
	d.buf, d.open = d.buf[:0], false
	d.line++
	for {
		part, err := d.lines.ReadSlice('\n')
		d.buf = append(d.buf, part...)
		switch {
		case len(d.buf) > maxLineBytes+len("\r\n"):
			return nil, faultAt(d.line, maxLineBytes, "the line is longer than %d bytes", maxLineBytes)
		case err == nil:
			return bytes.TrimSuffix(bytes.TrimSuffix(d.buf, []byte("\n")), []byte("\r")), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(d.buf) > 0:
			d.open = true
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
		return textRow{}, d.fault(invalidAt(text), "the text is not UTF-8: convert the file")
	}
	d.row = textRow{size: len(text), columns: d.row.columns[:0], cells: d.row.cells[:0]}
	d.places = d.places[:0]
	decoder := json.NewDecoder(bytes.NewReader(text))
	// fault hides the decoder's own text: it may quote the data.
	fault := func(err error) error {
		if d.open && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			return d.fault(len(text), "the last line is cut off: is the file still being written?")
		}
		at := 0
		var whole json.RawMessage // the decoder counts from the last token, and not always
		if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(text, &whole)); ok {
			at = clip(syntax.Offset) - 1
		}
		return d.fault(at, "the line is not one JSON object: put each row on a line of its own (jq -c does, jq -c '.[]' for an array)")
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
			return textRow{}, d.fault(clip(decoder.InputOffset()), "the key %q stands twice", name)
		}
		if len(d.row.columns) >= maxColumns {
			return textRow{}, d.fault(clip(decoder.InputOffset()), "the row has more than %d keys", maxColumns)
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
		d.places = append(d.places, clip(decoder.InputOffset())-len(raw))
	}
	if _, err := decoder.Token(); err != nil {
		return textRow{}, fault(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return textRow{}, fault(err)
	}
	return d.row, nil
}

// fault is an error at a byte of the line's text.
func (d *jsonDecoder) fault(at int, format string, args ...any) error {
	return faultAt(d.line, d.start+at+1, format, args...)
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

// csvDecoder reads RFC 4180 records below a header. A file without a single line has no rows.
type csvDecoder struct {
	input  *bufio.Reader
	limit  *allowance
	reader *csv.Reader
	header []string
	line   int // where the next record begins
	row    textRow
}

// allowance ends the input of a record that is too long.
type allowance struct {
	io.Reader
	left int
}

// errTooLong says which limit a record has passed, and what mostly is the reason.
var errTooLong = fmt.Errorf("the record is longer than %d bytes: is a closing quote missing?", maxLineBytes)

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errTooLong
	}
	n, err := a.Reader.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

func newCSVDecoder(r io.Reader) *csvDecoder {
	buffered := bufio.NewReaderSize(r, bufferBytes)
	limit := &allowance{Reader: buffered}
	d := &csvDecoder{input: buffered, limit: limit, reader: csv.NewReader(limit), line: 1}
	d.reader.ReuseRecord = true
	return d
}

func (d *csvDecoder) place(cell int) (line, column int) { return d.reader.FieldPos(cell) }

func (d *csvDecoder) read() ([]string, error) {
	d.limit.left = maxLineBytes
	record, err := d.reader.Read()
	if err != nil {
		return nil, d.fault(err, len(record))
	}
	for i, field := range record {
		line, column := d.reader.FieldPos(i)
		if !utf8.ValidString(field) {
			return nil, faultAt(line, column, "the text is not UTF-8: convert the file")
		}
		d.line = line + strings.Count(field, "\n") + 1
	}
	return record, nil
}

// fault says what is wrong with a record of so many fields, and how to mend it.
func (d *csvDecoder) fault(err error, fields int) error {
	parse, ok := errors.AsType[*csv.ParseError](err)
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case !ok:
		return faultAt(d.line, 1, "%w", err)
	case errors.Is(parse.Err, csv.ErrFieldCount):
		return faultAt(parse.Line, parse.Column, "the record has %d fields, the header %d: quote fields that hold commas", fields, len(d.header))
	case errors.Is(parse.Err, csv.ErrBareQuote):
		return faultAt(parse.Line, parse.Column, "a quote stands in a field without quotes: quote the field and double the quotes inside it")
	case errors.Is(parse.Err, csv.ErrQuote):
		return faultAt(parse.Line, parse.Column, "the quoted field of the record that begins in line %d does not end well: double the quotes inside it", parse.StartLine)
	}
	return faultAt(parse.Line, parse.Column, "%w", parse.Err)
}

// columns reads the header.
func (d *csvDecoder) columns() ([]string, error) {
	if d.header != nil {
		return d.header, nil
	}
	mark, err := d.input.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, faultAt(1, 1, "%w", err)
	}
	if string(mark) == "\ufeff" {
		_, _ = d.input.Discard(len(mark)) // they were just seen
	}
	record, err := d.read()
	if err != nil {
		return nil, err
	}
	if len(record) > maxColumns {
		return nil, faultAt(1, 1, "the header names more than %d columns", maxColumns)
	}
	header := slices.Clone(record)
	for i, name := range header {
		if name == "" || slices.Contains(header[:i], name) {
			line, column := d.place(i)
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
	d.row = textRow{columns: header, cells: d.row.cells[:0], header: true}
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
