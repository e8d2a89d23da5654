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
	"github.com/apache/arrow/go/v17/arrow/memory"

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
	// maxColumns bounds the columns of a source and the keys of a row.
	maxColumns = 10_000
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
	// Patterns name the files relative to the store: path.Match's wildcards, and ** for any folders. As in a
	// shell, no wildcard stands for a name that begins with a dot.
	Patterns []string
	// Format is that of every file; empty means each file's extension tells.
	Format Format
	// Columns are the columns to read, in this order; nil means all.
	Columns []string
	// BatchRows is the most rows of a batch; 0 means 1024.
	BatchRows int
}

// Source reads the rows of files, file by file in name order. Its marks are one a file: the name, relative to
// the store, and how many of the file's rows are done. It reads the files that were there when it was made, each
// to the end that it has when it is opened. A file may grow; it must be whole at any time, so write it elsewhere
// and move it in, since half a CSV field looks like a field.
//
// The types of text files are inferred from the first 1000 rows: BOOLEAN, BIGINT, DOUBLE, DATE, TIMESTAMP
// (with a zone in UTC, without one as it stands; cut to microseconds) and STRING. What is of several types is
// a STRING, and so are nested JSON values, as their JSON text, and numbers that would not read back the same,
// "007" or more than 64 bits. A missing key, a JSON null and an empty CSV field are NULL; line breaks within a
// CSV field come out as \n. A row that does not fit ends the sequence with an error that names file, line and
// column and stands behind all rows before; no row is dropped.
//
// A Source is safe for concurrent use.
type Source struct {
	options SourceOptions
	files   []found
	schema  *arrow.Schema
	// strict refuses columns that the schema lacks: nobody chose columns.
	strict bool
	memory memory.Allocator // of text rows
}

// NewSource finds the files and the schema. No file at all is schemas.ErrInvalid: nothing would tell the
// columns. ctx bounds the call alone.
func NewSource(ctx context.Context, options SourceOptions) (*Source, error) {
	options.BatchRows = cmp.Or(options.BatchRows, defaultBatchRows)
	if options.BatchRows < 0 || len(options.Patterns) == 0 {
		return nil, fmt.Errorf("files: give at least one pattern and no negative batch size: %w", schemas.ErrInvalid)
	}
	for _, pattern := range options.Patterns {
		for part := range strings.SplitSeq(pattern, "/") { // match looks no further than the first part that differs
			if _, err := path.Match(part, ""); err != nil {
				return nil, fmt.Errorf("files: pattern %q: %w: close the [ or write \\[ for the character: %w", pattern, err, schemas.ErrInvalid)
			}
		}
	}
	s := &Source{options: options, strict: options.Columns == nil, memory: memory.NewGoAllocator()}
	var err error
	if s.files, err = list(ctx, options); err != nil {
		return nil, err
	}
	if len(s.files) == 0 {
		return nil, fmt.Errorf("files: no file matches %q: correct the pattern, or put the files there first: %w", options.Patterns, schemas.ErrInvalid)
	}
	schema, err := s.infer(ctx)
	if err != nil {
		return nil, err
	}
	if s.schema, err = choose(schema, options.Columns); err != nil {
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
	if len(columns) > maxColumns {
		return nil, fmt.Errorf("files: there are %d columns, more than %d: name those that you want: %w", len(columns), maxColumns, schemas.ErrInvalid)
	}
	fields := make([]arrow.Field, 0, len(columns))
	for i, name := range columns {
		indices := schema.FieldIndices(name)
		if len(indices) == 0 {
			return nil, fmt.Errorf("files: there is no column %q, but %s: %w", name, strings.Join(fieldNames(schema), ", "), schemas.ErrInvalid)
		}
		if len(indices) > 1 || slices.Contains(columns[:i], name) {
			return nil, fmt.Errorf("files: there is more than one column %q: every column needs a name of its own: %w", name, schemas.ErrInvalid)
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
		marks := from.Clone()
		if marks == nil {
			marks = make(schemas.Marks)
		}
		for _, object := range s.files {
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
	for _, object := range s.files {
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

// list finds the files that match, in name order.
func list(ctx context.Context, options SourceOptions) ([]found, error) {
	var all []found
	for _, prefix := range prefixes(options.Patterns) {
		for object, err := range options.Store.List(ctx, prefix, "") {
			if err != nil {
				return nil, fmt.Errorf("files: %w", err)
			}
			if !slices.ContainsFunc(options.Patterns, func(pattern string) bool { return match(pattern, object.Name) }) {
				continue
			}
			format := cmp.Or(options.Format, formatOf(object.Name))
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
	return all, nil
}

func formatOf(name string) Format {
	stem, compression := cutCompression(name)
	switch path.Ext(stem) {
	case ".parquet":
		if compression == "" {
			return Parquet
		}
	case ".jsonl", ".ndjson", ".json":
		return JSONL
	case ".csv":
		return CSV
	}
	return ""
}

// cutCompression cuts .gz or .zst off a name, in lower case.
func cutCompression(name string) (stem, compression string) {
	name = strings.ToLower(name)
	switch extension := path.Ext(name); extension {
	case ".gz", ".zst":
		return strings.TrimSuffix(name, extension), extension
	}
	return name, ""
}

// prefixes are what the names begin with before the first wildcard, in order and without those that another
// covers: listing each yields every name once, in order.
func prefixes(patterns []string) []string {
	var all, apart []string
	for _, pattern := range patterns {
		if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
			pattern = pattern[:i]
		}
		all = append(all, pattern)
	}
	slices.Sort(all)
	for _, prefix := range all {
		if len(apart) == 0 || !strings.HasPrefix(prefix, apart[len(apart)-1]) {
			apart = append(apart, prefix)
		}
	}
	return apart
}

// match is path.Match with ** for any number of folders.
func match(pattern, name string) bool {
	return matchParts(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

func matchParts(pattern, name []string) bool {
	for i, part := range pattern {
		if part == "**" {
			for skip := i; skip <= len(name); skip++ {
				if matchParts(pattern[i+1:], name[skip:]) {
					return true
				}
				if skip < len(name) && strings.HasPrefix(name[skip], ".") {
					break
				}
			}
			return false
		}
		if i >= len(name) || strings.HasPrefix(name[i], ".") && !strings.HasPrefix(part, ".") {
			return false
		}
		if matched, err := path.Match(part, name[i]); !matched || err != nil {
			return false
		}
	}
	return len(pattern) == len(name)
}

// infer finds the columns: of Parquet files in the first one's footer, of text files in their first rows.
func (s *Source) infer(ctx context.Context) (*arrow.Schema, error) {
	if s.files[0].format == Parquet {
		return s.parquetSchema(ctx, s.files[0])
	}
	guess := newGuess()
	for _, object := range s.files {
		if object.format == Parquet || guess.full() {
			break
		}
		if err := s.sample(ctx, object, guess); err != nil {
			return nil, err
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
