// Package files reads rows from folders of Parquet, JSON Lines and CSV files, and writes rows to folders of
// Parquet files. It knows formats and marks; where the bytes are is the store's matter, and tables with a log
// are connectors/delta's.
package files

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

// The limits of a source.
const (
	defaultBatchRows = 1024
	// maxBatchBytes ends a batch of text rows before it has its rows.
	maxBatchBytes = 64 << 20
	// maxLineBytes bounds one line of JSON Lines and one record of CSV.
	maxLineBytes = 16 << 20
	// sampleRows and sampleBytes bound what the types of text files are inferred from.
	sampleRows  = 1000
	sampleBytes = 32 << 20
	// maxFiles bounds the files of one source: each has a mark, and every commit stores all marks.
	maxFiles = 100_000
)

// Format is how the rows of a file are written.
type Format string

// The formats. Files of the last two may be compressed, by name: .gz and .zst.
const (
	Parquet Format = "parquet" // .parquet
	JSONL   Format = "jsonl"   // .jsonl, .ndjson, .json: one object a line
	CSV     Format = "csv"     // .csv: comma, double quotes, a header
)

// SourceOptions choose files and columns.
type SourceOptions struct {
	Store store.Store
	// Patterns name the files relative to the store: path.Match's wildcards, and ** for any folders.
	Patterns []string
	// Format is that of every file; empty means each file's extension tells.
	Format Format
	// Columns are the columns to read, in this order; nil means all.
	Columns []string
	// Schema gives the types of text files instead of inferring them.
	Schema *arrow.Schema
	// BatchRows is the most rows of a batch; 0 means 1024.
	BatchRows int
}

// Source reads the rows of files, file by file in name order. Its marks are one a file: the name, relative to
// the store, and how many of the file's rows are done.
//
// The types of text files are inferred from the first 1000 rows: BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP
// (with a zone in UTC, without one as it stands; cut to microseconds) and STRING. What is of several types is
// a STRING, and so are nested JSON values, as their JSON text, and numbers that would not read back the same,
// "007" or more than 64 bits. A missing key, a JSON null and an empty CSV field are NULL. A row that does not
// fit ends the sequence with an error that names file, line and column; no row is dropped.
//
// A Source is safe for concurrent use.
type Source struct {
	options SourceOptions
	schema  *arrow.Schema
	// strict refuses JSON keys that are no columns: the types were inferred and nobody chose columns.
	strict bool
}

// NewSource finds the files and the schema. No file at all is schemas.ErrInvalid: nothing would tell the
// columns. ctx bounds the call alone.
func NewSource(ctx context.Context, options SourceOptions) (*Source, error) {
	options.BatchRows = cmp.Or(options.BatchRows, defaultBatchRows)
	if options.BatchRows < 0 || len(options.Patterns) == 0 {
		return nil, fmt.Errorf("files: give at least one pattern and no negative batch size: %w", schemas.ErrInvalid)
	}
	for _, pattern := range options.Patterns {
		if _, err := match(pattern, "x"); err != nil {
			return nil, fmt.Errorf("files: pattern %q: %w: %w", pattern, err, schemas.ErrInvalid)
		}
	}
	s := &Source{options: options, schema: options.Schema, strict: options.Schema == nil && options.Columns == nil}
	found, err := s.files(ctx)
	if err != nil {
		return nil, err
	}
	if s.schema == nil {
		if len(found) == 0 {
			return nil, fmt.Errorf("files: no file matches %q, so nothing tells the columns: %w", options.Patterns, schemas.ErrInvalid)
		}
		if s.schema, err = s.infer(ctx, found); err != nil {
			return nil, err
		}
	}
	if s.schema, err = choose(s.schema, options.Columns); err != nil {
		return nil, err
	}
	return s, nil
}

// choose keeps the wanted columns; all of them are nullable, since the next file may lack a value.
func choose(schema *arrow.Schema, columns []string) (*arrow.Schema, error) {
	if columns == nil {
		for _, field := range schema.Fields() {
			columns = append(columns, field.Name)
		}
	}
	fields := make([]arrow.Field, 0, len(columns))
	for _, name := range columns {
		indices := schema.FieldIndices(name)
		if len(indices) != 1 {
			return nil, fmt.Errorf("files: there is no column %q, but %s: %w", name, strings.Join(fieldNames(schema), ", "), schemas.ErrInvalid)
		}
		field := schema.Field(indices[0])
		fields = append(fields, arrow.Field{Name: field.Name, Type: field.Type, Nullable: true})
	}
	return arrow.NewSchema(fields, nil), nil
}

func fieldNames(schema *arrow.Schema) []string {
	names := make([]string, 0, schema.NumFields())
	for _, field := range schema.Fields() {
		names = append(names, field.Name)
	}
	return names
}

// Schema returns the columns of every batch.
func (s *Source) Schema() *arrow.Schema { return s.schema }

// Read yields the rows that from does not count as done. The marks of a batch are from's with those of all files
// read so far. A file that has fewer rows than its mark is an error: it is not the file that was read. The
// consumer releases each record; the first error ends the sequence.
func (s *Source) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		found, err := s.files(ctx)
		if err != nil {
			yield(schemas.Batch{}, err)
			return
		}
		marks := from.Clone()
		if marks == nil {
			marks = make(schemas.Marks)
		}
		for _, object := range found {
			if !s.file(ctx, object, marks, yield) {
				return
			}
		}
	}
}

// file yields the rest of one file, moves its mark and reports whether to go on.
func (s *Source) file(ctx context.Context, object found, marks schemas.Marks, yield func(schemas.Batch, error) bool) bool {
	offset := marks[object.name]
	for record, err := range s.rows(ctx, object, offset) {
		if err != nil {
			yield(schemas.Batch{}, err)
			return false
		}
		marks[object.name] = offset + record.NumRows()
		batch := schemas.Batch{Record: record, Marks: marks.Clone(), Partition: object.name, Offset: offset, Version: -1}
		offset += record.NumRows()
		if !yield(batch, nil) {
			return false
		}
	}
	return true
}

func (s *Source) rows(ctx context.Context, object found, done int64) iter.Seq2[arrow.Record, error] {
	if object.format == Parquet {
		return s.parquetRows(ctx, object, done)
	}
	return s.textRows(ctx, object, done)
}

// errShrunk says that a file is not the one that its mark speaks of.
func errShrunk(name string, rows, done int64) error {
	return fmt.Errorf("files: %s has %d rows, but %d were done before: it was replaced or cut; give new data a new name: %w",
		name, rows, done, schemas.ErrInvalid)
}

// Count tells how many rows there are and how many of them are done. total is -1 where only reading the files
// would tell: of JSON Lines and CSV.
func (s *Source) Count(ctx context.Context, from schemas.Marks) (total, done int64, err error) {
	found, err := s.files(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, object := range found {
		done += from[object.name]
		if object.format != Parquet || total < 0 {
			total = -1
			continue
		}
		rows, err := s.parquetCount(ctx, object)
		if err != nil {
			return 0, 0, err
		}
		total += rows
	}
	return total, done, nil
}

// found is one file of the source.
type found struct {
	name   string
	format Format
}

// files lists the files that match, in name order.
func (s *Source) files(ctx context.Context) ([]found, error) {
	var all []found
	for _, prefix := range prefixes(s.options.Patterns) {
		for object, err := range s.options.Store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("files: %w", err)
			}
			if !slices.ContainsFunc(s.options.Patterns, func(pattern string) bool {
				matched, err := match(pattern, object.Name)
				return matched && err == nil
			}) {
				continue
			}
			format := cmp.Or(s.options.Format, formatOf(object.Name))
			switch format {
			case Parquet, JSONL, CSV:
			default:
				return nil, fmt.Errorf("files: %s: the name does not tell the format: use .parquet, .jsonl or .csv (the last two with .gz or .zst), or give a format: %w", object.Name, schemas.ErrInvalid)
			}
			if all = append(all, found{name: object.Name, format: format}); len(all) > maxFiles {
				return nil, fmt.Errorf("files: more than %d files match: split the job by folder: %w", maxFiles, schemas.ErrInvalid)
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.name, b.name) })
	return slices.CompactFunc(all, func(a, b found) bool { return a.name == b.name }), nil
}

func formatOf(name string) Format {
	name = strings.ToLower(name)
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	switch path.Ext(name) {
	case ".parquet":
		return Parquet
	case ".jsonl", ".ndjson", ".json":
		return JSONL
	case ".csv":
		return CSV
	}
	return ""
}

// prefixes are what the names begin with before the first wildcard, without those that another covers.
func prefixes(patterns []string) []string {
	var all []string
	for _, pattern := range patterns {
		if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
			pattern = pattern[:i]
		}
		all = append(all, pattern)
	}
	slices.Sort(all)
	return slices.CompactFunc(all, func(shorter, longer string) bool { return strings.HasPrefix(longer, shorter) })
}

// match is path.Match with ** for any number of folders.
func match(pattern, name string) (bool, error) {
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func matchParts(pattern, name []string) (bool, error) {
	for i, part := range pattern {
		if part == "**" {
			for skip := i; skip <= len(name); skip++ {
				if matched, err := matchParts(pattern[i+1:], name[skip:]); matched || err != nil {
					return matched, err
				}
			}
			return false, nil
		}
		if i >= len(name) {
			return false, nil
		}
		if matched, err := path.Match(part, name[i]); !matched || err != nil {
			return false, err
		}
	}
	return len(pattern) == len(name), nil
}

// infer finds the columns: of Parquet files in the first one's footer, of text files in their first rows.
func (s *Source) infer(ctx context.Context, files []found) (*arrow.Schema, error) {
	if files[0].format == Parquet {
		return s.parquetSchema(ctx, files[0])
	}
	guess := newGuess()
	for _, object := range files {
		if object.format == Parquet {
			break
		}
		if err := s.sample(ctx, object, guess); err != nil {
			return nil, err
		}
		if guess.full() {
			break
		}
	}
	return guess.schema()
}

// conform gives a file's record the source's schema.
func conform(record arrow.Record, schema *arrow.Schema) arrow.Record {
	defer record.Release()
	return array.NewRecord(schema, record.Columns(), record.NumRows())
}

func readError(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("files: %s has gone since it was listed: %w", name, err)
	}
	return fmt.Errorf("files: %s: %w", name, err)
}

// clip turns a count into an int for messages and slices.
func clip(count int64) int { return int(min(count, math.MaxInt)) }
