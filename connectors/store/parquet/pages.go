package parquet

import (
	"encoding/binary"
	"errors"
	"math/bits"

	apq "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
)

// checkedPages refuses pages that hold fewer values than they say. Arrow's decoder asks such a page for the
// missing ones without end.
type checkedPages struct {
	file.PageReader
	column *readColumn
	err    error
}

// openChunk returns the decoder of one column chunk.
func (g *rowGroup) openChunk(column *readColumn) (file.ColumnChunkReader, error) {
	pages, err := g.file.reader.RowGroup(g.index).GetColumnPageReader(column.leaf)
	if err != nil {
		return nil, err
	}
	pages.SetMaxPageHeaderSize(maxPageHeaderBytes)
	descriptor := g.file.reader.MetaData().Schema.Column(column.leaf)
	checked := &checkedPages{PageReader: pages, column: column}
	return file.NewColumnReader(descriptor, checked, limited{g.file.mem}, g.file.reader.BufferPool()), nil
}

// Next implements file.PageReader.
func (p *checkedPages) Next() bool {
	if p.err != nil || !p.PageReader.Next() {
		return false
	}
	p.err = p.check(p.Page())
	return p.err == nil
}

// Err implements file.PageReader.
func (p *checkedPages) Err() error {
	if p.err != nil {
		return p.err
	}
	return p.PageReader.Err()
}

var errFewLevels = errors.New("a page has fewer levels than values")

func (p *checkedPages) check(page file.Page) error {
	count, data := int(page.NumValues()), page.Data()
	switch typed := page.(type) {
	case *file.DataPageV1:
		for _, level := range []struct {
			encoding apq.Encoding
			max      int
		}{{typed.RepetitionLevelEncoding(), p.column.rep}, {typed.DefinitionLevelEncoding(), p.column.def}} {
			rest, err := checkLevels(data, level.encoding, level.max, count)
			if err != nil {
				return err
			}
			data = rest
		}
	case *file.DataPageV2:
		reps, defs := int(typed.RepetitionLevelByteLen()), int(typed.DefinitionLevelByteLen())
		if reps < 0 || defs < 0 || reps > len(data) || defs > len(data)-reps {
			return errFewLevels
		}
		if !holds(data[:reps], p.column.rep, count) || !holds(data[reps:reps+defs], p.column.def, count) {
			return errFewLevels
		}
		data = data[reps+defs:]
	default:
		return nil
	}
	if p.column.def > 0 {
		return nil // the levels tell how many values are due
	}
	return checkDelta(data, apq.Encoding(page.Encoding()), count)
}

// checkLevels checks the levels at the front of a page of version 1 and returns what follows them.
func checkLevels(data []byte, encoding apq.Encoding, highest, count int) ([]byte, error) {
	if highest == 0 {
		return data, nil
	}
	if encoding != apq.Encodings.RLE {
		size := (count*bits.Len(uint(highest)) + 7) / 8
		if size > len(data) {
			return nil, errFewLevels
		}
		return data[size:], nil
	}
	if len(data) < 4 {
		return nil, errFewLevels
	}
	size := int(binary.LittleEndian.Uint32(data))
	data = data[4:]
	if size > len(data) || !holds(data[:size], highest, count) {
		return nil, errFewLevels
	}
	return data[size:], nil
}

// holds reports whether runs of levels up to highest are count at least (parquet-format, Encodings.md: the
// hybrid of run lengths and bit packing).
func holds(runs []byte, highest, count int) bool {
	width := bits.Len(uint(highest))
	if width == 0 {
		return true
	}
	for count > 0 {
		header, size := binary.Uvarint(runs)
		if size <= 0 {
			return false
		}
		runs = runs[size:]
		length := header >> 1
		if header&1 == 0 { // one level, length times
			size = (width + 7) / 8
			if size > len(runs) {
				return false
			}
			runs = runs[size:]
		} else { // length groups of eight levels
			if length > uint64(len(runs)) {
				return false
			}
			size = min(int(length)*width, len(runs))
			length = uint64(size * 8 / width) //nolint:gosec // not negative
			runs = runs[size:]
		}
		if length >= uint64(count) {
			return true
		}
		count -= int(length)
	}
	return true
}

// checkDelta checks the number of values that a page of differences begins with.
func checkDelta(data []byte, encoding apq.Encoding, count int) error {
	switch encoding {
	case apq.Encodings.DeltaBinaryPacked, apq.Encodings.DeltaLengthByteArray, apq.Encodings.DeltaByteArray:
	default:
		return nil
	}
	for range 2 { // the block's size, and its number of miniblocks
		_, size := binary.Uvarint(data)
		if size <= 0 {
			return errors.New("a page of differences has no header")
		}
		data = data[size:]
	}
	if total, size := binary.Uvarint(data); size <= 0 || total < uint64(count) { //nolint:gosec // not negative
		return errors.New("a page has fewer differences than values")
	}
	return nil
}
