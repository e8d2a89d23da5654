package files

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

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
