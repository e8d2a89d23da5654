package parquet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	apq "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/file"
)

// checkedPages refuses pages that hold fewer values than they say. Arrow's decoder asks such a page for the
// missing ones without end, or allocates by what it says.
type checkedPages struct {
	file.PageReader
	column *readColumn
	err    error
}

// openChunk returns the decoder of one column chunk.
func (g *rowGroup) openChunk(column *readColumn) (file.ColumnChunkReader, error) {
	chunk, err := g.file.reader.MetaData().RowGroup(g.index).ColumnChunk(column.leaf)
	if err != nil {
		return nil, err
	}
	start, size := chunk.DataPageOffset(), g.file.source.Size()
	if chunk.HasDictionaryPage() && chunk.DictionaryPageOffset() > 0 {
		start = min(start, chunk.DictionaryPageOffset())
	}
	length := chunk.TotalCompressedSize()
	if start < 0 || length < 0 || start > size || length > size-start {
		return nil, fmt.Errorf("it is said to be %d bytes at byte %d, in a file of %d", length, start, size)
	}
	// The writers of 2013 forgot the dictionary's header in the length (PARQUET-816).
	length = min(length+100, size-start)
	stream := &pageStream{bufio.NewReaderSize(io.NewSectionReader(g.file.source, start, length), int(min(readAhead, max(length, 16))))}
	mem := &limited{Allocator: g.file.mem}
	pages, err := file.NewPageReader(stream, chunk.NumValues(), chunk.Compression(), mem, nil)
	if err != nil {
		return nil, err
	}
	pages.SetMaxPageHeaderSize(maxPageHeaderBytes)
	descriptor := g.file.reader.MetaData().Schema.Column(column.leaf)
	checked := &checkedPages{PageReader: pages, column: column}
	return file.NewColumnReader(descriptor, checked, mem, g.file.reader.BufferPool()), nil
}

// pageStream reads the bytes of one column chunk. (Arrow's own stream shows what it held before when it is at its
// end, and a broken file can make that look like pages, again and again.)
type pageStream struct{ *bufio.Reader }

// Peek implements parquet.BufferedReader. Other than that of bufio it makes room.
func (s *pageStream) Peek(n int) ([]byte, error) {
	if n > s.Size() {
		s.Reader = bufio.NewReaderSize(s.Reader, n)
	}
	return s.Reader.Peek(n)
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
	case *file.DictionaryPage:
		if count > len(data)/p.leastSize() {
			return errors.New("a dictionary has fewer values than it says")
		}
		return nil
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
	least := count
	if p.column.def > 0 {
		least = 0 // the levels tell how many values are due
	}
	return checkDelta(data, apq.Encoding(page.Encoding()), least, count)
}

// leastSize is how many bytes a value of a dictionary takes at least.
func (p *checkedPages) leastSize() int {
	switch p.column.node.PhysicalType() {
	case apq.Types.Int64, apq.Types.Double:
		return 8
	case apq.Types.Int96:
		return 12
	case apq.Types.FixedLenByteArray:
		return max(p.column.node.TypeLength(), 1)
	default:
		return 4 // of a text its length
	}
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

// maxDeltaBlock bounds the values that a block of differences is for; writers have 128 to 2048.
const maxDeltaBlock = 1 << 16

// checkDelta checks that a page of differences has from least to most values, all of its parts.
func checkDelta(data []byte, encoding apq.Encoding, least, most int) error {
	switch encoding {
	case apq.Encodings.DeltaBinaryPacked, apq.Encodings.DeltaLengthByteArray:
		_, err := readDelta(data, least, most)
		return err
	case apq.Encodings.DeltaByteArray: // the lengths of prefixes, then those of suffixes
		header, err := readDelta(data, least, most)
		if err != nil {
			return err
		}
		rest, err := header.skip()
		if err != nil {
			return err
		}
		_, err = readDelta(rest, int(header.total), int(header.total)) //nolint:gosec // at most most
		return err
	default:
		return nil
	}
}

// delta is the header of a run of differences (parquet-format, Encodings.md), and what follows it.
type delta struct {
	block, miniblocks, total uint64
	rest                     []byte
}

var errDelta = errors.New("a page of differences contradicts itself")

func readDelta(data []byte, least, most int) (delta, error) {
	d := delta{rest: data}
	var first uint64
	for _, number := range []*uint64{&d.block, &d.miniblocks, &d.total, &first} {
		value, size := binary.Uvarint(d.rest)
		if size <= 0 {
			return d, errDelta
		}
		*number, d.rest = value, d.rest[size:]
	}
	if d.block > maxDeltaBlock || d.miniblocks == 0 || d.miniblocks > d.block || d.total < uint64(least) || d.total > uint64(most) { //nolint:gosec // not negative
		return d, errDelta
	}
	return d, nil
}

// skip returns what follows the run.
func (d *delta) skip() ([]byte, error) {
	rest, values := d.rest, d.block/d.miniblocks
	for left := int64(d.total) - 1; left > 0; { //nolint:gosec // at most a page's number of values
		_, size := binary.Uvarint(rest)                         // the least difference of the block
		if size <= 0 || uint64(len(rest)-size) < d.miniblocks { //nolint:gosec // size is within rest
			return nil, errDelta
		}
		widths := rest[size:][:d.miniblocks]
		rest = rest[size:][d.miniblocks:]
		for _, width := range widths {
			if left <= 0 {
				break
			}
			bytes := (values*uint64(width) + 7) / 8
			if bytes > uint64(len(rest)) {
				return nil, errDelta
			}
			rest = rest[bytes:]
			left -= int64(values) //nolint:gosec // at most maxDeltaBlock
		}
	}
	return rest, nil
}
