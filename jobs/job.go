package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/uuid"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/catalog/local"
	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/connectors/files"
	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/ledger"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/pipeline/prices"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

const (
	maxBatch   = 1024 // rows of a source batch
	minBatch   = 16
	minWindow  = 8192      // rows in flight, at the least
	epochBytes = 256 << 20 // Arrow bytes of one commit, at the most
	// shard is the part of the source that this process reads. One process reads all of it.
	shard = "0"
)

// keepAnswers is how long a stream finds an earlier answer to the same question.
const keepAnswers = 24 * time.Hour

// Drain is how long calls on the wire may take to finish once a run was asked to stop.
const Drain = 30 * time.Second

// Catalog resolves names and privileges.
type Catalog interface {
	Principal() string
	Table(ctx context.Context, name string) (schemas.Table, error)
	Endpoint(ctx context.Context, name string) (schemas.Endpoint, error)
	// Secret returns the value of "scope/key".
	Secret(ctx context.Context, name string) (schemas.Secret, error)
	// Authorize reports every privilege that is missing; the error is then schemas.ErrPermission.
	Authorize(ctx context.Context, needs []schemas.Need) error
}

// Environment is what a job gets from its process.
type Environment struct {
	LookupEnv func(string) (string, bool)
	Logger    *slog.Logger
}

// Job is a job file whose names are resolved, whose privileges are there and whose parts fit together. It has
// asked no model and written nothing.
type Job struct {
	File      *File
	Principal string
	Endpoint  schemas.Endpoint
	RunID     string

	environment Environment
	source      pipeline.Source
	sourceName  string
	sink        *namedSink
	usage       *namedSink // nil: no usage table
	letters     *namedSink // nil: no dead letters are kept
	names       Catalog
	closers     []func(context.Context) error // of the source, the last one first
	question    pipeline.Question
	features    []prompts.Feature // of predictions
	limits      limits.Options
	prices      *prices.Book
	models      models
	media       pipeline.Files // nil: no message has media
	folder      *os.Root       // of the media; nil as well
}

// Prepare resolves a job. It reports as many faults as it can find in one go. Close the job when done.
func Prepare(ctx context.Context, file *File, environment Environment) (job *Job, err error) {
	book, err := priceBook(file.Prices)
	if err != nil {
		return nil, file.Join(file.Fault(err.Error(), "", "prices"))
	}
	j := &Job{File: file, RunID: uuid.NewString(), environment: environment, prices: book}
	defer func() {
		if err != nil {
			err = errors.Join(err, j.Close(context.WithoutCancel(ctx)))
		}
	}()
	names, err := local.Open(file.Catalog.Local, environment.LookupEnv)
	if err != nil {
		return nil, err
	}
	j.Principal, j.names = names.Principal(), names
	locations, err := j.resolve(ctx, names)
	if err != nil {
		return nil, err
	}
	if err := j.pose(); err != nil {
		return nil, err
	}
	if err := errors.Join(j.openSource(ctx, locations), j.openModels(ctx)); err != nil {
		return nil, err
	}
	if err := errors.Join(j.openFolder(), j.bind()); err != nil {
		return nil, err
	}
	return j, j.openSinks(ctx, locations)
}

// locations are where a job's tables lie; empty where a table is not of Delta, or not there at all.
type locations struct{ source, sink, usage, letters string }

// resolve turns names into places and endpoints, once the principal may use them.
func (j *Job) resolve(ctx context.Context, names Catalog) (locations, error) {
	var found locations
	var needs []schemas.Need
	var faults []error
	for _, table := range []struct {
		ref       TableRef
		location  *string
		privilege schemas.Privilege
		path      []string
	}{
		{j.File.Source.Delta, &found.source, schemas.PrivilegeSelect, []string{"source", "delta"}},
		{j.File.Sink.Delta, &found.sink, schemas.PrivilegeModify, []string{"sink", "delta"}},
		{j.File.Audit.Usage, &found.usage, schemas.PrivilegeModify, []string{"audit", "usage"}},
		{j.File.OnError.DeadLetters, &found.letters, schemas.PrivilegeModify, []string{"on_error", "dead_letters"}},
	} {
		*table.location = table.ref.Location
		if table.ref.Name == "" {
			continue
		}
		entry, err := names.Table(ctx, table.ref.Name)
		if err != nil {
			faults = append(faults, j.at(err, table.path...))
			continue
		}
		*table.location = entry.Location
		needs = append(needs, schemas.Need{Privilege: table.privilege, Kind: schemas.SecurableTable, Name: table.ref.Name})
	}
	needs = append(needs, schemas.Need{
		Privilege: schemas.PrivilegeQuery, Kind: schemas.SecurableEndpoint, Name: j.File.Request.Endpoint,
	})
	if err := names.Authorize(ctx, needs); err != nil {
		faults = append(faults, err)
	}
	endpoint, err := names.Endpoint(ctx, j.File.Request.Endpoint)
	if err != nil && !errors.Is(err, schemas.ErrPermission) {
		faults = append(faults, j.at(err, "request", "endpoint"))
	}
	j.Endpoint = endpoint
	j.limits = j.effectiveLimits()
	return found, errors.Join(faults...)
}

// at places an error of the catalog at the value of the job file that led to it.
func (j *Job) at(err error, path ...string) error {
	if _, placed := errors.AsType[*document.Faults](err); placed {
		return err
	}
	return j.File.Join(j.File.Fault(err.Error(), "", path...))
}

func (j *Job) openSource(ctx context.Context, found locations) error {
	if j.File.Source.Kafka != nil {
		return j.openKafka(ctx)
	}
	if found.source == "" {
		// A file's identity, and so its mark, is its absolute path: it stays the same whatever patterns the job
		// has next time.
		patterns := make([]string, 0, len(j.File.Source.Files))
		for _, pattern := range j.File.Source.Files {
			patterns = append(patterns, strings.TrimPrefix(filepath.ToSlash(pattern), "/"))
		}
		source, err := files.NewSource(ctx, files.SourceOptions{
			Store: store.NewLocal("/"), Patterns: patterns, Format: files.Format(j.File.Source.Format), Columns: j.File.Source.Columns, BatchRows: j.batchRows(),
		})
		if err != nil {
			return fmt.Errorf("source.files: %w", err)
		}
		j.source, j.sourceName = source, j.File.Source.Files[0]
		return nil
	}
	j.sourceName = j.File.Source.Delta.String()
	table, err := delta.Open(ctx, store.NewLocal(found.source), delta.WithLocation(found.source))
	if errors.Is(err, fs.ErrNotExist) { // the job names what is not there: it cannot work as written
		err = fmt.Errorf("%w: %w", err, schemas.ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("source.delta: %s: %w", j.sourceName, err)
	}
	source, err := delta.NewSource(table, delta.SourceOptions{
		Columns: j.File.Source.Columns, BatchRows: j.batchRows(), Name: j.sourceName,
		Follow: j.File.Source.Follow, ChangeFeed: j.File.Source.ChangeFeed, SkipLost: !j.File.Source.FailOnDataLoss,
		Logger: j.environment.Logger,
	})
	if err != nil {
		return fmt.Errorf("source.delta: %s: %w", j.sourceName, err)
	}
	j.source = source
	return nil
}

// batchRows is the length of a source batch. A batch is committed whole, so it must not take long: where few
// calls go out at once, or few a minute, it is short.
func (j *Job) batchRows() int {
	calls := 4 * j.limits.Concurrency
	if perMinute := j.limits.RequestsPerMinute; perMinute > 0 {
		calls = int(min(int64(calls), perMinute/2))
	}
	size := j.question.BatchSize
	return max(min(max(calls*size, minBatch), maxBatch), size)
}

// openFolder opens the job's folder, where messages have media.
func (j *Job) openFolder() (err error) {
	if !slices.ContainsFunc(j.File.Request.Messages, func(m Message) bool { return m.Parts != nil }) {
		return nil
	}
	if j.folder, err = os.OpenRoot(filepath.Dir(j.File.Path)); err == nil {
		j.media = folder{j.folder}
	}
	return err
}

// effectiveLimits are the stricter ones of the file and of the endpoint's gateway.
func (j *Job) effectiveLimits() limits.Options {
	asked := j.File.Limits
	out := limits.Options{
		Concurrency: asked.Concurrency, RequestsPerMinute: asked.RequestsPerMinute, TokensPerMinute: asked.TokensPerMinute,
	}
	if asked.Budget.Cmp(schemas.USD{}) > 0 {
		out.Budget = &asked.Budget
	}
	stricter := func(limit *int64, gateway int64, period time.Duration) {
		if gateway <= 0 || period <= 0 {
			return
		}
		perMinute := max(1, int64(float64(gateway)*time.Minute.Seconds()/period.Seconds()))
		if *limit == 0 || perMinute < *limit {
			*limit = perMinute
		}
	}
	for _, limit := range j.Endpoint.RateLimits {
		stricter(&out.RequestsPerMinute, limit.Calls, limit.Period)
		stricter(&out.TokensPerMinute, limit.Tokens, limit.Period)
	}
	return out
}

func (j *Job) openSinks(ctx context.Context, found locations) error {
	results, err := schemas.ResultSchema(j.source.Schema(), j.question.ResponseType())
	if err != nil {
		return j.File.Join(j.File.Fault(err.Error(), "", "source", "columns"))
	}
	var faults []error
	if found.sink == "" {
		hidden := textColumns(results)
		j.sink = &namedSink{"sink.files: " + j.File.Sink.Files, files.NewSink(files.SinkOptions{
			Store: store.NewLocal(j.File.Sink.Files), Prefix: j.prefix(), Schema: results,
			NoStatistics: func(column string) bool { return slices.Contains(hidden, column) },
		})}
	} else {
		j.sink, err = openDelta(ctx, "sink.delta: "+j.File.Sink.Delta.String(), found.sink, delta.SinkOptions{
			Prefix: j.prefix(), Schema: results, NoStatistics: textColumns(results),
		})
		faults = append(faults, err)
	}
	if found.usage != "" {
		j.usage, err = openDelta(ctx, "audit.usage: "+j.File.Audit.Usage.String(), found.usage, delta.SinkOptions{
			Prefix: j.prefix(), Schema: schemas.UsageSchema(), NoStatistics: []string{"provider_usage", "error"},
			Dictionary: schemas.UsageRepeats(),
		})
		faults = append(faults, err)
	}
	if found.letters != "" {
		j.letters, err = openDelta(ctx, "on_error.dead_letters: "+j.File.OnError.DeadLetters.String(), found.letters, delta.SinkOptions{
			Prefix: j.prefix(), Schema: schemas.DeadLetterSchema(), NoStatistics: textColumns(schemas.DeadLetterSchema()),
		})
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// prefix is what a job's marks are stored under in a sink.
func (j *Job) prefix() string { return j.File.Job + "/" + shard + "/" }

func openDelta(ctx context.Context, name, location string, options delta.SinkOptions) (*namedSink, error) {
	opened, err := delta.NewSink(ctx, store.NewLocal(location), options, delta.WithLocation(location))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &namedSink{name, opened}, nil
}

// textColumns are the columns that may hold prompts or answers, whose values must not leak into statistics:
// every text but the key's.
func textColumns(schema *arrow.Schema) []string {
	var out []string
	for _, field := range schema.Fields() {
		switch field.Type.ID() { //nolint:exhaustive // numbers and times are no texts
		case arrow.STRING, arrow.LARGE_STRING, arrow.BINARY, arrow.STRUCT, arrow.LIST, arrow.MAP:
			out = append(out, field.Name)
		}
	}
	return out
}

// Check finds out whether the sinks can be written, without writing.
func (j *Job) Check(ctx context.Context) error {
	faults := []error{j.sink.Check(ctx)}
	for _, each := range []*namedSink{j.usage, j.letters} {
		if each != nil {
			faults = append(faults, each.Check(ctx))
		}
	}
	return errors.Join(faults...)
}

// Count returns how many rows the source has and how many of them are done; total is -1 where only reading
// everything would tell.
func (j *Job) Count(ctx context.Context) (total, done int64, err error) {
	marks, err := j.sink.Marks(ctx)
	if err != nil {
		return 0, 0, err
	}
	return j.source.Count(ctx, marks)
}

// Run runs the job to its end. What it has done can be read from stats meanwhile.
func (j *Job) Run(ctx context.Context, stats *pipeline.Stats) (err error) {
	if err := j.Check(ctx); err != nil {
		return err
	}
	folder := filepath.Join(j.File.State, j.File.Job)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	record, err := ledger.Open(filepath.Join(folder, "ledger"))
	if errors.Is(err, ledger.ErrLocked) {
		return fmt.Errorf("job %s is running already: %w\n  wait for it, or stop it first; this run has asked nothing",
			j.File.Job, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()
	// A nil *T in an interface is not nil: the usage table is handed over only where there is one.
	var usage, letters pipeline.Sink
	if j.usage != nil {
		usage = j.usage
	}
	if j.letters != nil {
		letters = j.letters
	}
	if j.File.Source.Follow {
		record.KeepFor(keepAnswers)
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	return pipeline.Run(ctx, pipeline.Options{
		Job: j.File.Job, RunID: j.RunID, Requester: j.Principal, SourceName: j.sourceName,
		Source: j.source, Sink: j.sink, Usage: usage, DeadLetters: letters, Ledger: record,
		Follow: j.File.Source.Follow, Member: host + "/" + strconv.Itoa(os.Getpid()),
		Question: j.question, Limiter: limits.New(j.limits), Prices: j.prices,
		FailAbove: j.File.OnError.FailAbove,
		EpochRows: int64(j.File.Commit.Rows), EpochBytes: epochBytes, EpochAge: j.File.Commit.Interval,
		Window: minWindow, Drain: Drain,
		Memory: memory.DefaultAllocator, Logger: j.environment.Logger, Stats: stats,
	})
}

// Close ends what Prepare started.
func (j *Job) Close(ctx context.Context) error {
	faults := []error{j.models.close(ctx)}
	if j.folder != nil {
		faults = append(faults, j.folder.Close())
	}
	if j.sink != nil {
		faults = append(faults, j.sink.Close(ctx))
	}
	for _, each := range []*namedSink{j.usage, j.letters} {
		if each != nil {
			faults = append(faults, each.Close(ctx))
		}
	}
	for _, end := range slices.Backward(j.closers) {
		faults = append(faults, end(ctx))
	}
	return errors.Join(faults...)
}
