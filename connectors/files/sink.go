package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/google/uuid"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// The footer's keys. Every file holds the marks of all prefixes, so that the last file is enough to know them.
const (
	markKey   = "inflow.mark:"
	commitKey = "inflow.commit"
)

// maxMarksBytes bounds the marks of one file, well below what a footer may hold: a footer that is too large to
// be read again would be the folder's end.
const maxMarksBytes = 32 << 20

// settleTimeout bounds how long a commit whose answer was lost is looked for.
const settleTimeout = 30 * time.Second

// SinkOptions say where rows go.
type SinkOptions struct {
	Store  store.Store
	Schema *arrow.Schema
	// Prefix keeps the marks of this job apart from those of others in the same folder, "job/0/".
	Prefix string
	// NoStatistics names the columns whose values must stay out of file statistics: prompts and answers.
	NoStatistics func(column string) bool
}

// Sink appends Parquet files to a folder: part-00000000000000000001.parquet and on, one a commit. A commit's
// rows and marks are one file, which appears whole or not at all, so rows are written exactly once. Of two
// writers that continue from the same file one gets its successor's name and the other schemas.ErrFenced;
// writers that run at once want folders of their own.
//
// A Sink is not safe for concurrent use.
type Sink struct {
	options SinkOptions
	open    *pending     // being written; nil between commits
	sealed  atomic.Int64 // number of the file that is being committed; 0: none
}

// pending is a file in progress.
type pending struct {
	object store.Writer
	rows   *parquet.Writer
	number int64
	commit string // its identity
}

// NewSink returns a sink; nothing is read or written before the first call.
func NewSink(options SinkOptions) *Sink { return &Sink{options: options} }

// last is the newest file of the folder.
type last struct {
	number   int64 // 0: there is none
	schema   *arrow.Schema
	metadata map[string]string
}

// Check tells whether a commit can work: whether Parquet holds the columns, whether the folder's rows have the
// same ones, and whether the folder takes files. It leaves nothing behind.
func (s *Sink) Check(ctx context.Context) error {
	if _, err := s.writer(io.Discard); err != nil {
		return err
	}
	if _, err := s.last(ctx); err != nil {
		return err
	}
	name := "_inflow_check_" + uuid.NewString()
	probe, err := s.options.Store.Create(ctx, name)
	if err != nil {
		return fmt.Errorf("files: the folder does not take files: %w", err)
	}
	_, err = probe.Write([]byte("check"))
	if err == nil {
		err = probe.CommitIfAbsent(ctx) // what a commit needs, and not every file system has
	}
	if err != nil {
		return errors.Join(fmt.Errorf("files: the folder does not take files: %w", err), probe.Abort(), s.options.Store.Delete(ctx, name))
	}
	if err := s.options.Store.Delete(ctx, name); err != nil {
		return fmt.Errorf("files: nothing can be deleted from the folder: %w", err)
	}
	return nil
}

// Marks returns the marks of the last commit under the prefix.
func (s *Sink) Marks(ctx context.Context) (schemas.Marks, error) {
	newest, err := s.last(ctx)
	if err != nil {
		return nil, err
	}
	return s.marks(newest)
}

// Write appends the rows of record to the next commit. It keeps no reference.
func (s *Sink) Write(ctx context.Context, record arrow.Record) error {
	if s.open == nil {
		number := s.sealed.Load() + 1
		if number == 1 {
			newest, err := s.last(ctx)
			if err != nil {
				return err
			}
			number = newest.number + 1
		}
		begun, err := s.begin(ctx, number)
		if err != nil {
			return err
		}
		s.open = begun
	}
	if err := s.open.rows.Write(record); err != nil {
		return fmt.Errorf("files: %w", err)
	}
	return nil
}

func (s *Sink) begin(ctx context.Context, number int64) (*pending, error) {
	object, err := s.options.Store.Create(ctx, partName(number))
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	rows, err := s.writer(object)
	if err != nil {
		return nil, errors.Join(err, object.Abort())
	}
	return &pending{object: object, rows: rows, number: number, commit: uuid.NewString()}, nil
}

func (s *Sink) writer(to io.Writer) (*parquet.Writer, error) {
	rows, err := parquet.NewWriter(to, s.options.Schema, parquet.WriterOptions{NoStatistics: s.options.NoStatistics})
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return rows, nil
}

// Commit is Seal, and what that returns.
func (s *Sink) Commit(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error {
	commit, err := s.Seal(ctx)
	if err != nil {
		return err
	}
	return commit(ctx, from, to, about)
}

// Seal ends the file in progress and returns what makes its rows, and the marks of to, durable as one file. Where of these
// marks one is not what from has any more, or another writer took the file's number, it is refused with schemas.ErrFenced.
// The rows are discarded when it fails. What is written meanwhile is of the file after it.
func (s *Sink) Seal(context.Context) (func(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error, error) {
	sealed := s.open
	s.open = nil
	if sealed != nil {
		s.sealed.Store(sealed.number)
	}
	return func(ctx context.Context, from, to schemas.Marks, _ *schemas.Epoch) error {
		if sealed == nil && from.Equal(to) {
			return nil
		}
		defer s.sealed.Store(0)
		return s.settle(ctx, sealed, from, to)
	}, nil
}

func (s *Sink) settle(ctx context.Context, sealed *pending, from, to schemas.Marks) (err error) {
	defer func() {
		if sealed != nil {
			err = errors.Join(err, sealed.discard())
		}
	}()
	newest, err := s.last(ctx)
	if err != nil {
		return err
	}
	marks, err := s.marks(newest)
	if err != nil {
		return err
	}
	for name := range to {
		there, ok := marks[name]
		if was, had := from[name]; ok != had || there != was {
			return fmt.Errorf("files: the folder is at %s, this run continues from %s: %w", marks, from, schemas.ErrFenced)
		}
	}
	if sealed == nil { // no rows, yet progress: a file without rows holds the marks
		if sealed, err = s.begin(ctx, newest.number+1); err != nil {
			return err
		}
	}
	if sealed.number != newest.number+1 {
		return fmt.Errorf("files: %s is there already: another run writes to this folder: %w", partName(newest.number), schemas.ErrFenced)
	}
	size := 0
	for key, value := range s.footer(newest, sealed, to) {
		sealed.rows.SetMetadata(key, value)
		size += len(key) + len(value)
	}
	if size > maxMarksBytes {
		return fmt.Errorf("files: the marks take %d bytes, more than %d fit: begin a new folder under a new job name: %w", size, maxMarksBytes, schemas.ErrInvalid)
	}
	if _, err := sealed.rows.Close(); err != nil {
		return fmt.Errorf("files: %w", err)
	}
	return s.place(ctx, sealed)
}

// discard gives up what was not committed; of a file that was, it does nothing.
func (p *pending) discard() error {
	if err := p.object.Abort(); err != nil {
		return fmt.Errorf("files: %w", err)
	}
	return nil
}

// footer is what the file in progress says of itself: the marks of all jobs, and its identity.
func (s *Sink) footer(newest last, sealed *pending, to schemas.Marks) map[string]string {
	metadata := map[string]string{commitKey: sealed.commit}
	for key, value := range newest.metadata {
		if strings.HasPrefix(key, markKey) {
			metadata[key] = value
		}
	}
	for name, count := range to {
		metadata[markKey+s.options.Prefix+name] = strconv.FormatInt(count, 10)
	}
	return metadata
}

// place gives the file its name. An error may hide that it took effect: the identity of the commit that has the
// name tells. Where that cannot be read either, the error is Ambiguous and the next run's Marks tell.
func (s *Sink) place(ctx context.Context, sealed *pending) error {
	err := sealed.object.CommitIfAbsent(ctx)
	if err == nil {
		return nil
	}
	name := partName(sealed.number)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout) // also when ctx has ended
	defer cancel()
	present, readErr := s.read(ctx, sealed.number)
	switch {
	case readErr == nil && present.metadata[commitKey] == sealed.commit:
		return nil
	case readErr == nil:
		return fmt.Errorf("files: %s: another run was faster: %w: %w", name, schemas.ErrFenced, err)
	case errors.Is(readErr, fs.ErrNotExist): // where err is Ambiguous it stays so
		return fmt.Errorf("files: %w", err)
	}
	return &schemas.Error{Op: "files: commit " + name, Class: schemas.Ambiguous, Code: "commit_unknown", Err: errors.Join(err, readErr)}
}

// Close discards what is not committed. The sink can be used again.
func (s *Sink) Close(context.Context) error {
	open := s.open
	s.open = nil
	if open == nil {
		return nil
	}
	return open.discard()
}

func (s *Sink) marks(newest last) (schemas.Marks, error) {
	var marks schemas.Marks
	for key, value := range newest.metadata {
		name, ok := strings.CutPrefix(key, markKey+s.options.Prefix)
		if !ok {
			continue
		}
		count, err := strconv.ParseInt(value, 10, 64)
		if err != nil || count < 0 {
			return nil, fmt.Errorf("files: %s: mark %q is no count of rows: %w", partName(newest.number), name, schemas.ErrInvalid)
		}
		if marks == nil {
			marks = make(schemas.Marks)
		}
		marks[name] = count
	}
	return marks, nil
}

// last reads the footer of the newest file.
func (s *Sink) last(ctx context.Context) (last, error) {
	number := int64(0)
	for object, err := range s.options.Store.List(ctx, partPrefix, "") {
		if err != nil {
			return last{}, fmt.Errorf("files: %w", err)
		}
		if found, ok := partNumber(object.Name); ok {
			number = found
		}
	}
	if number == 0 {
		return last{}, nil
	}
	newest, err := s.read(ctx, number)
	if err != nil {
		return last{}, err
	}
	return newest, sameColumns(partName(number), newest.schema, s.options.Schema)
}

func (s *Sink) read(ctx context.Context, number int64) (last, error) {
	reader, err := s.options.Store.Open(ctx, partName(number))
	if err != nil {
		return last{}, readError(partName(number), err)
	}
	file, err := parquet.Open(reader)
	if err != nil {
		return last{}, errors.Join(readError(partName(number), err), reader.Close())
	}
	return last{number: number, schema: file.Schema(), metadata: file.Metadata()}, reader.Close()
}

// sameColumns refuses to put other columns beside those of the folder.
func sameColumns(name string, have, want *arrow.Schema) error {
	var differing []error
	wanted := make(map[string]arrow.DataType)
	for _, field := range want.Fields() {
		wanted[field.Name] = field.Type
	}
	for _, field := range have.Fields() {
		dataType, ok := wanted[field.Name]
		switch {
		case !ok:
			differing = append(differing, fmt.Errorf("column %q of the folder is not written", field.Name))
		case !parquet.SameType(field.Type, dataType):
			differing = append(differing, fmt.Errorf("column %q is %s in the folder and would be %s", field.Name, field.Type, dataType))
		}
		delete(wanted, field.Name)
	}
	for _, name := range sortedKeys(wanted) {
		differing = append(differing, fmt.Errorf("column %q is not in the folder", name))
	}
	if differing == nil {
		return nil
	}
	return fmt.Errorf("files: the rows differ from those of %s, write them to a new folder: %w: %w", name, errors.Join(differing...), schemas.ErrInvalid)
}

func sortedKeys[V any](values map[string]V) []string {
	return slices.Sorted(maps.Keys(values))
}

const (
	partPrefix = "part-"
	partSuffix = ".parquet"
	partDigits = 20
)

func partName(number int64) string {
	return fmt.Sprintf("%s%0*d%s", partPrefix, partDigits, number, partSuffix)
}

func partNumber(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(strings.TrimPrefix(name, partPrefix), partSuffix)
	if !ok || len(digits) != partDigits {
		return 0, false
	}
	number, err := strconv.ParseInt(digits, 10, 64)
	return number, err == nil && number > 0 && partName(number) == name // ParseInt takes a sign too
}
