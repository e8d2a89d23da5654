package files

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"unicode/utf8"
)

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

// readLine returns the next line without its line feed; a carriage return before it is white space to JSON. It holds one line, up to maxLineBytes.
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
			return bytes.TrimSuffix(d.buf, []byte("\n")), nil
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
