package parquet

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	apq "github.com/apache/arrow/go/v17/parquet"
	"github.com/apache/arrow/go/v17/parquet/compress"
	"github.com/apache/arrow/go/v17/parquet/file"
	"github.com/apache/arrow/go/v17/parquet/schema"

	"github.com/inflowhq/inflow/schemas"
)

// A decoder allocates by these counts before it looks at the values.
func TestCountsThatPagesCannotHold(t *testing.T) {
	t.Parallel()
	node := schema.NewByteArrayNode("text", apq.Repetitions.Optional, -1)
	pages := checkedPages{column: &readColumn{node: node, def: 1}}
	// Two levels, both 1, in one run.
	levels := []byte{2, 0, 0, 0, 2 << 1, 1}
	differences := func(numbers ...uint64) []byte {
		var data []byte
		for _, number := range numbers {
			data = binary.AppendUvarint(data, number)
		}
		return data
	}
	dataPage := func(encoding apq.Encoding, body []byte) file.Page {
		return file.NewDataPageV1(memory.NewBufferBytes(append(levels[:len(levels):len(levels)], body...)), 2, encoding,
			apq.Encodings.RLE, apq.Encodings.RLE, 100)
	}
	lengths := append(differences(128, 4, 2, 0, 0), 0, 0, 0, 0) // two lengths of 0
	cases := map[string]struct {
		page  file.Page
		sound bool
	}{
		"dictionary":               {file.NewDictionaryPage(memory.NewBufferBytes(make([]byte, 8)), 2, apq.Encodings.Plain), true},
		"dictionary, too many":     {file.NewDictionaryPage(memory.NewBufferBytes(make([]byte, 8)), math.MaxInt32, apq.Encodings.Plain), false},
		"lengths":                  {dataPage(apq.Encodings.DeltaLengthByteArray, lengths), true},
		"lengths, fewer for NULLs": {dataPage(apq.Encodings.DeltaLengthByteArray, differences(128, 4, 1, 0)), true},
		"lengths, too many":        {dataPage(apq.Encodings.DeltaLengthByteArray, differences(128, 4, 1<<33, 0)), false},
		"lengths, large blocks":    {dataPage(apq.Encodings.DeltaLengthByteArray, differences(1<<34, 1, 2, 0)), false},
		"lengths, cut":             {dataPage(apq.Encodings.DeltaLengthByteArray, differences(128, 4)), false},
		"no miniblocks":            {dataPage(apq.Encodings.DeltaLengthByteArray, differences(128, 0, 2, 0)), false},
		"prefixes":                 {dataPage(apq.Encodings.DeltaByteArray, append(lengths[:len(lengths):len(lengths)], lengths...)), true},
		"suffixes, too many":       {dataPage(apq.Encodings.DeltaByteArray, append(lengths[:len(lengths):len(lengths)], differences(128, 4, 1<<33, 0)...)), false},
		"prefixes, cut":            {dataPage(apq.Encodings.DeltaByteArray, lengths[:len(lengths)-2]), false},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := pages.check(test.page); err == nil != test.sound {
				t.Errorf("%v", err)
			}
		})
	}
}

// Rows of long texts are decoded until they fill a batch, and not all that were asked for.
func TestLongTextsAreDecodedAsNeeded(t *testing.T) {
	t.Parallel()
	decoded := 0
	leaf := &typedLeaf[int]{
		column: &readColumn{},
		size:   func(int) int { return 1 << 20 },
		decode: func(count int64, values []int, _, _ []int16) (int64, int, error) {
			for i := range values {
				values[i] = decoded
				decoded++
			}
			return count, len(values), nil
		},
	}
	const batch = maxBatchBytes >> 20
	for first := 0; first < 5*batch; first += batch {
		if err := leaf.load(10_000); err != nil {
			t.Fatal(err)
		}
		if fit := leaf.fit(10_000, maxBatchBytes); fit != batch {
			t.Fatalf("%d rows fit, want %d", fit, batch)
		}
		leaf.take(batch)
		if leaf.values[0] != first || leaf.usedValues != batch {
			t.Fatalf("the batch begins at %d and has %d values, want %d and %d", leaf.values[0], leaf.usedValues, first, batch)
		}
		if decoded > first+2*batch {
			t.Fatalf("%d values were decoded for a batch that begins at %d", decoded, first)
		}
	}
}

// Pages of kinds that nobody knows are passed over, and each takes the room that it asks for until the next known one.
func TestManyUnknownPages(t *testing.T) {
	t.Parallel()
	header := []byte{0x15, 1 << 1, 0x15} // an index page, of so many bytes
	header = binary.AppendUvarint(header, maxPageBytes<<1)
	header = append(header, 0x15, 0, 0) // compressed, none
	f := &File{source: &source{}, mem: memory.NewGoAllocator()}
	mem := &limited{Allocator: f.mem}
	stream := &pageStream{bufio.NewReader(bytes.NewReader(bytes.Repeat(header, 100)))}
	err := f.guard("pages", func() error {
		pages, err := file.NewPageReader(stream, 1, compress.Codecs.Uncompressed, mem, nil)
		if err == nil && !pages.Next() {
			err = pages.Err()
		}
		return err
	})
	if !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
}

// A walk that finds nothing wrong has seen the whole structure and no count beyond its bytes.
func FuzzCheckThrift(f *testing.F) {
	f.Add([]byte{0x15, 2, 0x19, 0x1c, 0x15, 4, 0, 0})
	f.Add([]byte{0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x0f, 0})
	f.Add([]byte{0x1b, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x88})
	f.Add(bytes.Repeat([]byte{0x1c}, 100))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_ = checkThrift(data) // must not panic or go on without end
	})
}

// Pages that pass the checks are decoded to as many values as they say, or to an error.
func FuzzPage(f *testing.F) {
	lengths := []byte{128, 1, 4, 2, 0, 0, 0, 0, 0, 0}
	for _, encoding := range []apq.Encoding{apq.Encodings.Plain, apq.Encodings.DeltaLengthByteArray, apq.Encodings.DeltaByteArray, apq.Encodings.RLE} {
		f.Add(append([]byte{2, 0, 0, 0, 2 << 1, 1}, append(lengths, lengths...)...), int32(2), int8(encoding), true)
		f.Add(append(lengths, lengths...), int32(2), int8(encoding), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, count int32, encoding int8, optional bool) {
		if count < 0 { // Arrow refuses it
			return
		}
		repetition, def := apq.Repetitions.Required, 0
		if optional {
			repetition, def = apq.Repetitions.Optional, 1
		}
		node := schema.NewByteArrayNode("text", repetition, -1)
		column := &readColumn{node: node, def: def, field: arrow.Field{Name: "text", Type: arrow.BinaryTypes.String}}
		pages := &onePage{page: file.NewDataPageV1(memory.NewBufferBytes(data), count, apq.Encoding(encoding), apq.Encodings.RLE, apq.Encodings.RLE, int32(len(data)))}
		descriptor := schema.NewColumn(node, int16(def), 0)
		f := &File{source: &source{}, mem: memory.NewGoAllocator()}
		err := f.guard("page", func() error {
			leaf, err := newLeafReader(column, file.NewColumnReader(descriptor, &checkedPages{PageReader: pages, column: column}, &limited{Allocator: f.mem}, nil), f.mem)
			if err != nil {
				return err
			}
			rows := int(min(count, 10_000))
			if err := leaf.load(rows); err != nil {
				return err
			}
			leaf.take(leaf.fit(rows, maxBatchBytes))
			built, err := leaf.build()
			if err != nil {
				return err
			}
			defer built.Release()
			if built.Len() > rows {
				t.Errorf("%d values where %d are due", built.Len(), rows)
			}
			return nil
		})
		if err != nil && !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid or nothing", err)
		}
	})
}

// onePage is a column chunk of one page.
type onePage struct {
	file.PageReader
	page file.Page
	read bool
}

func (p *onePage) Next() bool      { next := !p.read; p.read = true; return next }
func (p *onePage) Page() file.Page { return p.page }
func (p *onePage) Err() error      { return nil }
