package serde

import (
	"context"
	"errors"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
)

// textCodec reads UTF-8 into a column of its name.
type textCodec struct{ column string }

func (c textCodec) fields() []arrow.Field {
	return []arrow.Field{nullable(c.column, arrow.BinaryTypes.String)}
}

func (c textCodec) read(_ context.Context, a *arena, data []byte) ([]cell, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8()
	}
	return single(a, data)
}

func errNotUTF8() error { return errors.New("the text is not UTF-8") }

// bytesCodec takes the bytes as they are.
type bytesCodec struct{ column string }

func (c bytesCodec) fields() []arrow.Field {
	return []arrow.Field{nullable(c.column, arrow.BinaryTypes.Binary)}
}

func (c bytesCodec) read(_ context.Context, a *arena, data []byte) ([]cell, error) {
	return single(a, data)
}

func single(a *arena, data []byte) ([]cell, error) {
	cells, err := a.take(1)
	if err != nil {
		return nil, err
	}
	cells[0] = text(data)
	return cells, nil
}
