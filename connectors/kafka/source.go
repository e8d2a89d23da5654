package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/kafka/serde"
	"github.com/inflowhq/inflow/schemas"
)

// The defaults and limits of a source.
const (
	defaultBatchRows   = 1024
	defaultMaxRecord   = 64 << 20
	defaultFetchBytes  = 1 << 20
	defaultFetchWait   = 500 * time.Millisecond
	readCommitted      = 1
	maxPartitions      = 100_000 // each has a mark and a connection
	maxCorruptAttempts = 3
)

// Start is where a partition begins of which the sink has no mark.
type Start string

// The places to start at. What is not named is read from its earliest record.
const (
	Earliest    Start = "earliest"
	Latest      Start = "latest"    // what comes from now on
	AtTimestamp Start = "timestamp" // the first record that is not older
	AtOffsets   Start = "offsets"   // by partition
)

// SourceOptions choose records and columns.
type SourceOptions struct {
	// Topics are names, Patterns regular expressions that a whole name matches; topics of Kafka's own match none.
	Topics   []string
	Patterns []string

	// Start is where partitions without a mark begin; empty means Earliest. Timestamp and Offsets are those of its kinds;
	// the offsets are by topic/partition.
	Start     Start
	Timestamp time.Time
	Offsets   map[string]int64

	// Uncommitted reads what open and aborted transactions wrote as well.
	Uncommitted bool
	// AcceptDataLoss goes on, with a warning, where records that were not read are gone, or the topic was made anew:
	// Spark's failOnDataLoss=false.
	AcceptDataLoss bool

	// Value decodes values. Key decodes keys; nil: they stay bytes. The source makes copies of both.
	Value, Key serde.Decoder
	// Columns are the columns, in this order; nil: the value's fields, then all of the metadata but _headers.
	Columns []string
	// TombstoneRows makes a record without a value a row whose value columns are NULL; else it is passed over.
	TombstoneRows bool
	// KeepRaw keeps the records as they arrived beside the rows, for dead letters.
	KeepRaw bool
	// DeadLetters takes the records for dead letters that are sent through again: rows are where the header
	// inflow-source says, and Inflow's own headers, but for the count of replays, are taken off. Marks stay this topic's.
	DeadLetters bool

	// BatchRows is the most rows of a batch; 0 means 1024.
	BatchRows int
	// MaxRecordBytes is the largest record that is read, and the largest batch as it is sent; 0 means 64 MiB.
	MaxRecordBytes int
	// FetchBytes is about how much of a partition is fetched at once; 0 means 1 MiB.
	FetchBytes int
	// FetchWait is how long a broker holds back an empty answer; 0 means 500 ms.
	FetchWait time.Duration
}

// reader is what Source and Group have in common.
type reader struct {
	connection *Connection
	options    SourceOptions
	layout     *layout
	fetch      fetchOptions
	patterns   []*regexp.Regexp
	memory     memory.Allocator
	// known are the partitions that were there when it was made: Start is about them. One that appears later is read
	// from its first record.
	known map[place]bool
}

func newReader(ctx context.Context, connection *Connection, options SourceOptions) (*reader, error) {
	options.Start = cmp.Or(options.Start, Earliest)
	options.BatchRows = cmp.Or(options.BatchRows, defaultBatchRows)
	options.MaxRecordBytes = cmp.Or(options.MaxRecordBytes, defaultMaxRecord)
	options.FetchBytes = cmp.Or(options.FetchBytes, defaultFetchBytes)
	options.FetchWait = cmp.Or(options.FetchWait, defaultFetchWait)
	r := &reader{connection: connection, options: options, memory: memory.DefaultAllocator, known: make(map[place]bool)}
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("kafka: %w: %w", schemas.ErrInvalid, err)
	}
	r.fetch = fetchOptions{wait: options.FetchWait, bytes: int32(options.FetchBytes), limit: options.MaxRecordBytes, timeout: connection.options.Timeout} //nolint:gosec // validated
	if !options.Uncommitted {
		r.fetch.isolation = readCommitted
	}
	var err error
	if r.layout, err = newLayout(options.Value, options.Key, options.Columns); err != nil {
		return nil, err
	}
	places, err := r.discover(ctx)
	if err != nil {
		return nil, err
	}
	for _, each := range places {
		r.known[each] = true
	}
	for name := range options.Offsets {
		if !slices.ContainsFunc(places, func(p place) bool { return p.name() == name }) {
			return nil, fmt.Errorf("kafka: there is no partition %s to start at an offset of: %w", name, schemas.ErrInvalid)
		}
	}
	return r, nil
}

func (r *reader) validate() error {
	o := &r.options
	var faults []error
	if len(o.Topics) == 0 && len(o.Patterns) == 0 {
		faults = append(faults, errors.New("name a topic or a pattern"))
	}
	for _, pattern := range o.Patterns {
		compiled, err := regexp.Compile("^(?:" + pattern + ")$")
		if err != nil {
			faults = append(faults, fmt.Errorf("the pattern %q: %w", pattern, err))
			continue
		}
		r.patterns = append(r.patterns, compiled)
	}
	if o.Value == nil {
		faults = append(faults, errors.New("a decoder of values is needed"))
	}
	if o.BatchRows < 0 || o.FetchBytes < 0 || o.FetchBytes > math.MaxInt32/4 || o.MaxRecordBytes < 0 || o.MaxRecordBytes > math.MaxInt32/2 ||
		o.FetchWait < 0 || o.FetchWait > time.Minute {
		faults = append(faults, errors.New("sizes and waits cannot be negative or beyond 512 MiB, 1 GiB and a minute"))
	}
	switch o.Start {
	case Earliest, Latest:
	case AtTimestamp:
		if o.Timestamp.IsZero() || o.Timestamp.Before(time.UnixMilli(0)) {
			faults = append(faults, errors.New("to start at a timestamp, give one after 1970"))
		}
	case AtOffsets:
		for name, offset := range o.Offsets {
			if offset < 0 {
				faults = append(faults, fmt.Errorf("the offset of %s is negative", name))
			}
		}
	default:
		faults = append(faults, fmt.Errorf("start %q is none of earliest, latest, timestamp, offsets", o.Start))
	}
	if o.Start != AtOffsets && len(o.Offsets) > 0 || o.Start != AtTimestamp && !o.Timestamp.IsZero() {
		faults = append(faults, fmt.Errorf("start %q goes with neither a timestamp nor offsets of its own", o.Start))
	}
	return errors.Join(faults...)
}

// Schema returns the columns of every batch.
func (r *reader) Schema() *arrow.Schema { return r.layout.schema }

// topics returns the names that are read at the moment, in order, with the partitions of each.
func (r *reader) topics(ctx context.Context) (map[string]topic, error) {
	out := make(map[string]topic)
	if len(r.options.Topics) > 0 {
		found, err := r.connection.existing(ctx, r.options.Topics)
		if err != nil {
			return nil, err
		}
		for _, name := range r.options.Topics {
			out[name] = found[name]
		}
	}
	if len(r.patterns) > 0 {
		var all map[string]topic
		err := r.connection.persist(ctx, r.connection.options.Patience, func(ctx context.Context) error {
			var err error
			all, err = r.connection.metadata(ctx, nil)
			return err
		})
		if err != nil {
			return nil, err
		}
		for name, each := range all {
			if each.code == 0 && !each.internal && slices.ContainsFunc(r.patterns, func(p *regexp.Regexp) bool { return p.MatchString(name) }) {
				out[name] = each
			}
		}
	}
	return out, nil
}

// discover returns the partitions that there are, in order.
func (r *reader) discover(ctx context.Context) ([]place, error) {
	topics, err := r.topics(ctx)
	if err != nil {
		return nil, err
	}
	return placesOf(topics)
}

func placesOf(topics map[string]topic) ([]place, error) {
	var out []place
	for name, each := range topics {
		for id := range each.leaders {
			out = append(out, place{name, id})
		}
	}
	if len(out) > maxPartitions {
		return nil, fmt.Errorf("kafka: there are %d partitions, more than %d: narrow the pattern: %w", len(out), maxPartitions, schemas.ErrInvalid)
	}
	slices.SortFunc(out, func(a, b place) int { return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id)) })
	return out, nil
}

// begin is where the reading of a partition begins.
type begin struct {
	place
	next int64
	// end is where a bounded reading ends.
	end     int64
	bounded bool
	// chosen says that next is neither the sink's mark nor the log's first offset. It is yielded as a mark before any
	// row, so that a run that stops before the first row starts at the same place.
	chosen bool
}

// begins resolves where partitions are read from.
func (r *reader) begins(ctx context.Context, places []place, from schemas.Marks) ([]begin, error) {
	out := make([]begin, 0, len(places))
	var earliest, latest, timed []place
	for _, each := range places {
		b := begin{place: each}
		mark, marked := from[each.name()]
		offset, given := r.options.Offsets[each.name()]
		switch {
		case marked:
			b.next = mark
		case !r.known[each] || r.options.Start == Earliest || r.options.Start == AtOffsets && !given:
			earliest = append(earliest, each)
		case given:
			b.next, b.chosen = offset, true
		case r.options.Start == AtTimestamp:
			timed, b.chosen = append(timed, each), true
		default:
			latest, b.chosen = append(latest, each), true
		}
		out = append(out, b)
	}
	found := make(map[place]int64)
	resolve := func(places []place, timestamp int64) error {
		if len(places) == 0 {
			return nil
		}
		offsets, err := r.connection.offsets(ctx, places, timestamp, r.fetch.isolation)
		maps.Copy(found, offsets)
		return err
	}
	if err := resolve(timed, r.options.Timestamp.UnixMilli()); err != nil {
		return nil, err
	}
	for _, each := range timed {
		if found[each] < 0 { // everything is older
			latest = append(latest, each)
		}
	}
	if err := errors.Join(resolve(earliest, logStart), resolve(latest, logEnd)); err != nil {
		return nil, err
	}
	for i := range out {
		if offset, ok := found[out[i].place]; ok {
			out[i].next = offset
		}
	}
	return out, nil
}

// item is what a partition sends to the one that reads all of them.
type item struct {
	batch schemas.Batch
	err   error
}

// read yields the batches of partitions as they come. The channel that all of them send to serves those that wait in
// the order in which they came, which is what makes it fair. It ends once lost is closed.
func (r *reader) read(ctx context.Context, begins []begin, lost <-chan struct{}) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		inner, cancel := context.WithCancel(ctx)
		items, ended := make(chan item), make(chan struct{})
		var group sync.WaitGroup
		for _, each := range begins {
			group.Go(func() { r.partition(each).run(inner, items) })
		}
		go func() {
			group.Wait()
			close(ended)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		finished := ended
		if lost != nil { // without partitions a member waits for some
			finished = nil
		}
		for {
			select {
			case <-ctx.Done():
				yield(schemas.Batch{}, ctx.Err())
				return
			case <-lost:
				return
			case <-finished:
				if ctx.Err() != nil {
					yield(schemas.Batch{}, ctx.Err())
				}
				return
			case each := <-items:
				if !yield(each.batch, each.err) || each.err != nil {
					return
				}
			}
		}
	}
}

// partition makes the reader of one partition.
func (r *reader) partition(b begin) *partition {
	p := &partition{begin: b, reader: r, unpacker: unpacker{limit: r.options.MaxRecordBytes}}
	p.missing = vanished{topic: b.topic, mend: "make it anew, and start a job of another name"}
	p.rows = rows{
		layout: r.layout, place: b.place, name: b.name(), limit: r.options.BatchRows, letter: r.options.DeadLetters,
		value: r.options.Value.Clone(),
		retry: func(ctx context.Context, do func(context.Context) error) error {
			return r.connection.persist(ctx, 0, do)
		},
	}
	if r.options.Key != nil {
		p.rows.key = r.options.Key.Clone()
	}
	if r.options.KeepRaw {
		p.rows.raw = array.NewRecordBuilder(r.memory, schemas.RawSchema())
	}
	p.rows.init(r.memory)
	return p
}

// lag returns how many records stand behind the marks.
func (r *reader) lag(ctx context.Context, places []place, from schemas.Marks) (map[string]int64, error) {
	begins, err := r.begins(ctx, places, from)
	if err != nil {
		return nil, err
	}
	ends, err := r.connection.offsets(ctx, places, logEnd, r.fetch.isolation)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(places))
	for _, each := range begins {
		out[each.name()] = max(0, ends[each.place]-each.next)
	}
	return out, nil
}

// Source reads topics from where marks stand to the ends that they had when it was made. Its marks are one a
// partition, topic/partition, and the offset of the next record.
//
// A Source is safe for concurrent use.
type Source struct {
	*reader
	places []place
	ends   map[place]int64
}

// NewSource finds the partitions and their ends. ctx bounds the call alone.
func NewSource(ctx context.Context, connection *Connection, options SourceOptions) (*Source, error) {
	r, err := newReader(ctx, connection, options)
	if err != nil {
		return nil, err
	}
	s := &Source{reader: r}
	for each := range r.known {
		s.places = append(s.places, each)
	}
	if len(s.places) == 0 {
		return nil, &schemas.Error{
			Op: "kafka", Class: schemas.Fatal, Code: codeUnknownTopic,
			Err: fmt.Errorf("no topic matches %s", strings.Join(options.Patterns, ", ")), Mend: "correct the pattern, or grant DESCRIBE on the topics",
		}
	}
	slices.SortFunc(s.places, func(a, b place) int { return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id)) })
	if s.ends, err = connection.offsets(ctx, s.places, logEnd, r.fetch.isolation); err != nil {
		return nil, err
	}
	return s, nil
}

// Count returns how many offsets there are and how many of them are done: no fewer than rows, since compaction, aborted
// transactions and the markers of transactions leave offsets without a record.
func (s *Source) Count(ctx context.Context, from schemas.Marks) (total, done int64, err error) {
	begins, err := s.begins(ctx, s.places, from)
	if err != nil {
		return 0, 0, err
	}
	starts, err := s.connection.offsets(ctx, s.places, logStart, s.fetch.isolation)
	if err != nil {
		return 0, 0, err
	}
	for _, each := range begins {
		start, end := starts[each.place], s.ends[each.place]
		if _, marked := from[each.name()]; marked {
			done += max(0, min(each.next, end)-start)
		} else {
			start = each.next
		}
		total += max(0, end-start)
	}
	return total, done, nil
}

// Lag returns how many records stand behind the marks by now, also beyond the end of what is read.
func (s *Source) Lag(ctx context.Context, from schemas.Marks) (map[string]int64, error) {
	return s.lag(ctx, s.places, from)
}

// Read yields the records that follow the marks. Partitions take turns; the offsets of each are in order.
func (s *Source) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		begins, err := s.begins(ctx, s.places, from)
		if err != nil {
			yield(schemas.Batch{}, err)
			return
		}
		open := begins[:0]
		for _, each := range begins {
			each.end, each.bounded = s.ends[each.place], true
			// A mark beyond the end is read from as well: the broker knows better whether there is such an offset.
			if each.next != each.end || each.chosen {
				open = append(open, each)
			}
		}
		s.read(ctx, open, nil)(yield)
	}
}
