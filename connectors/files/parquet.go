package files

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// openParquet opens one file. The caller calls done.
func (s *Source) openParquet(ctx context.Context, name string) (file *parquet.File, done func() error, err error) {
	reader, err := s.options.Store.Open(ctx, name)
	if err != nil {
		return nil, nil, readError(name, err)
	}
	if file, err = parquet.Open(reader); err != nil {
		return nil, nil, errors.Join(readError(name, err), reader.Close())
	}
	return file, reader.Close, nil
}

func (s *Source) parquetSchema(ctx context.Context, object found) (*arrow.Schema, error) {
	file, done, err := s.openParquet(ctx, object.name)
	if err != nil {
		return nil, err
	}
	return file.Schema(), done()
}

func (s *Source) parquetCount(ctx context.Context, object found) (int64, error) {
	file, done, err := s.openParquet(ctx, object.name)
	if err != nil {
		return 0, err
	}
	return file.NumRows(), done()
}

// parquetRows yields the rows of a file from row done on.
func (s *Source) parquetRows(ctx context.Context, object found, done int64) iter.Seq2[arrow.Record, error] {
	return func(yield func(arrow.Record, error) bool) {
		file, closeFile, err := s.openParquet(ctx, object.name)
		if err != nil {
			yield(nil, err)
			return
		}
		stopped := false
		defer func() {
			if err := closeFile(); err != nil && !stopped {
				yield(nil, readError(object.name, err))
			}
		}()
		if file.NumRows() < done {
			stopped = true
			yield(nil, errShrunk(object.name, file.NumRows(), done))
			return
		}
		if file.NumRows() == done {
			return // whatever its columns are
		}
		if err := s.agrees(object.name, file.Schema()); err != nil {
			stopped = true
			yield(nil, err)
			return
		}
		for record, err := range file.Read(ctx, fieldNames(s.schema), done, s.options.BatchRows) {
			if err != nil {
				stopped = true
				yield(nil, readError(object.name, err))
				return
			}
			if !yield(conform(record, s.schema), nil) {
				stopped = true
				return
			}
		}
	}
}

// agrees refuses a file whose columns are not those of the source.
func (s *Source) agrees(name string, schema *arrow.Schema) error {
	var differing []error
	for _, want := range s.schema.Fields() {
		indices := schema.FieldIndices(want.Name)
		if len(indices) == 0 {
			differing = append(differing, fmt.Errorf("column %q is missing", want.Name))
			continue
		}
		if got := schema.Field(indices[0]); !arrow.TypeEqual(got.Type, want.Type) {
			differing = append(differing, fmt.Errorf("column %q is %s, not %s", want.Name, got.Type, want.Type))
		}
	}
	for _, got := range schema.Fields() {
		if s.strict && !s.schema.HasField(got.Name) {
			differing = append(differing, fmt.Errorf("column %q is new", got.Name))
		}
	}
	if differing == nil {
		return nil
	}
	return fmt.Errorf("files: %s differs from the files before it: name columns that all have, or read the others apart: %w: %w", name, errors.Join(differing...), schemas.ErrInvalid)
}
