package parquet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// nested has every way in which values are laid out.
func nested() *arrow.Schema {
	text := arrow.Field{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true}
	return arrow.NewSchema([]arrow.Field{
		text,
		{Name: "number", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "cost", Type: &arrow.Decimal128Type{Precision: 38, Scale: 18}, Nullable: true},
		{Name: "error", Type: arrow.StructOf(text, arrow.Field{Name: "codes", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true}), Nullable: true},
		{Name: "tags", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String), Nullable: true},
	}, nil)
}

func sound(tb testing.TB, seed uint64, count int) []byte {
	tb.Helper()
	record := newRandom(seed).record(memory.NewGoAllocator(), nested(), count)
	defer record.Release()
	data, _ := write(tb, parquet.WriterOptions{Dictionary: func(column string) bool { return column == "text" && seed%2 == 0 }}, record)
	return data
}

// readAll reads everything and returns the first error.
func readAll(ctx context.Context, data []byte) error {
	file, err := parquet.Open(newObject(data))
	if err != nil {
		return err
	}
	for record, err := range file.Read(ctx, nil, 0, 16) {
		if err != nil {
			return err
		}
		for _, column := range record.Columns() {
			_ = fmt.Sprint(column) // touches every value
		}
		record.Release()
	}
	return nil
}

func TestTruncatedFiles(t *testing.T) {
	t.Parallel()
	data := sound(t, 1, 50)
	for length := range data {
		if err := readAll(t.Context(), data[:length]); !errors.Is(err, schemas.ErrInvalid) {
			t.Fatalf("the first %d of %d bytes: %v, want ErrInvalid", length, len(data), err)
		}
	}
}

func TestBrokenBytes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		data := sound(t, seed, 50)
		for i := range data {
			for _, flip := range []byte{0x01, 0xff} {
				broken := bytes.Clone(data)
				broken[i] ^= flip
				if err := readAll(t.Context(), broken); err != nil && !errors.Is(err, schemas.ErrInvalid) {
					t.Fatalf("byte %d flipped by %x: %v, want ErrInvalid or nothing", i, flip, err)
				}
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	// Small ones: the fuzzer is as fast as they are short.
	for _, data := range byArrow(f, nested(), newRandom(1), 8) {
		f.Add(data)
	}
	for seed := range uint64(2) {
		f.Add(sound(f, seed, 4))
	}
	f.Add([]byte("PAR1\x00\x00\x00\x00PAR1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := readAll(t.Context(), data); err != nil && !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid or nothing", err)
		}
	})
}

// flaky fails every read after the first few.
type flaky struct {
	object
	left int
}

var errWire = errors.New("connection reset")

func (f *flaky) ReadAt(p []byte, offset int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errWire
	}
	return f.object.ReadAt(p, offset)
}

func TestFailingReadsAreNotBrokenFiles(t *testing.T) {
	t.Parallel()
	data := sound(t, 1, 50)
	for left := range 100 {
		reader := &flaky{object: newObject(data), left: left}
		file, err := parquet.Open(reader)
		if err == nil {
			for record, readErr := range file.Read(t.Context(), nil, 0, 16) {
				if err = readErr; err == nil {
					record.Release()
				}
			}
		}
		if err == nil {
			if left < 3 {
				t.Errorf("%d reads were enough", left)
			}
			return
		}
		if !errors.Is(err, errWire) || errors.Is(err, schemas.ErrInvalid) {
			t.Fatalf("after %d reads: %v, want the failure alone", left, err)
		}
	}
	t.Error("100 reads were not enough")
}
