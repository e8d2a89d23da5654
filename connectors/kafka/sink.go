package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/inflowhq/inflow/connectors/kafka/serde"
	"github.com/inflowhq/inflow/schemas"
)

// The headers of results.
const (
	HeaderInvocationID = "invocation_id"
	HeaderRequestID    = "request_id"
)

// SinkOptions say what is written where.
type SinkOptions struct {
	// Topic must be there; it is not made.
	Topic string
	// Prefix names the marks: they are kept under the group id inflow.<prefix>.
	Prefix string
	// Value makes the values, Key the keys; Key nil: records have none. A dead letter has those that it came with.
	Value, Key serde.Encoder
	// Compression is none, gzip, snappy, lz4 or zstd; empty means zstd.
	Compression string
}

// Sink writes rows to a topic, at least once: what a failed epoch has sent stays there and is sent again, with the same
// invocation_id. Its marks are the metadata of an offset that a group without members has committed for partition 0.
//
// The group's offsets outlive their last commit by the brokers' offsets.retention.minutes, seven days if nobody set it:
// a job that stops for longer begins anew.
type Sink struct {
	connection *Connection
	options    SinkOptions
	letters    bool
	marks      markStore
	producer   producer
	era        atomic.Int64 // how often it was closed
}

// NewSink finds the topic. ctx bounds the call alone.
func NewSink(ctx context.Context, connection *Connection, options SinkOptions) (*Sink, error) {
	if options.Value == nil {
		return nil, fmt.Errorf("kafka: an encoder of values is needed: %w", schemas.ErrInvalid)
	}
	return newSink(ctx, connection, options, false)
}

// NewDeadLetterSink writes rows of schemas.DeadLetterSchema as the records that they were, with headers that say why
// they have no answer and where they stood. It uses no encoders.
func NewDeadLetterSink(ctx context.Context, connection *Connection, options SinkOptions) (*Sink, error) {
	return newSink(ctx, connection, options, true)
}

func newSink(ctx context.Context, connection *Connection, options SinkOptions, letters bool) (*Sink, error) {
	compression, err := codecOf(cmp.Or(options.Compression, "zstd"))
	if err != nil {
		return nil, err
	}
	if options.Topic == "" || options.Prefix == "" {
		return nil, fmt.Errorf("kafka: a sink needs a topic and a prefix for its marks: %w", schemas.ErrInvalid)
	}
	s := &Sink{
		connection: connection, options: options, letters: letters,
		marks:    markStore{connection: connection, topic: options.Topic, group: "inflow." + options.Prefix},
		producer: producer{connection: connection, topic: options.Topic, compression: compression, turn: make(chan struct{}, 1)},
	}
	found, err := connection.existing(ctx, []string{options.Topic})
	if err != nil {
		return nil, err
	}
	for id := range found[options.Topic].leaders {
		s.producer.partitions = append(s.producer.partitions, int(id))
	}
	slices.Sort(s.producer.partitions)
	return s, nil
}

func codecOf(name string) (kafka.Compression, error) {
	var out kafka.Compression
	if name == "none" {
		return out, nil
	}
	if err := out.UnmarshalText([]byte(name)); err != nil {
		return out, fmt.Errorf("kafka: compression %q is none of none, gzip, snappy, lz4, zstd: %w", name, schemas.ErrInvalid)
	}
	return out, nil
}

// Check finds out whether the sink can work: whether the topic and the marks may be read. It writes nothing, so a
// missing right to write shows only at the first row.
func (s *Sink) Check(ctx context.Context) error {
	if _, err := s.connection.existing(ctx, []string{s.options.Topic}); err != nil {
		return err
	}
	_, err := s.Marks(ctx)
	return err
}

// Delivered returns how many records were acknowledged, those of failed epochs too. It may be called at any time.
func (s *Sink) Delivered() int64 { return s.producer.delivered.Load() }

// Marks returns the marks of the last commit, nil where there is none.
func (s *Sink) Marks(ctx context.Context) (schemas.Marks, error) {
	stored, err := s.marks.load(ctx)
	return stored.marks, err
}

// Write adds rows to the open epoch. It sends them when there are enough, and waits for that.
func (s *Sink) Write(ctx context.Context, record arrow.Record) error {
	if err := s.producer.broken(); err != nil {
		return err
	}
	err := s.write(ctx, record)
	if err != nil {
		s.producer.lose(err)
	}
	return err
}

func (s *Sink) write(ctx context.Context, record arrow.Record) error {
	messages := s.results
	if s.letters {
		messages = s.deadLetters
	}
	for m, err := range messages(ctx, record) {
		if err != nil {
			return err
		}
		if s.producer.add(m) {
			if err := s.producer.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Seal ends the open epoch and returns what commits it. Rows of the next one may be sent along with it: nothing takes a
// record back, and they count only with marks of their own.
//
// A commit waits until every row is acknowledged, and stores the marks then. They are compared with what is stored right
// before, not in one step with it: two jobs of one prefix that commit at the same time may both succeed, and their
// records are there twice, as after any failure.
//
// After any failure nothing is taken until Close: it would be committed on top of rows that are not there.
func (s *Sink) Seal(context.Context) (func(ctx context.Context, from, to schemas.Marks, about *schemas.Epoch) error, error) {
	if err := s.producer.broken(); err != nil {
		return nil, err
	}
	era := s.era.Load()
	return func(ctx context.Context, from, to schemas.Marks, _ *schemas.Epoch) error {
		if s.era.Load() != era {
			return errors.New("kafka: the epoch was discarded")
		}
		err := s.producer.flush(ctx)
		if err == nil {
			err = s.marks.store(ctx, from, to)
		}
		if err != nil {
			s.producer.lose(err)
		}
		return err
	}, nil
}

// Close discards what was not sent; the sink can be used again. The connection stays its owner's.
func (s *Sink) Close(context.Context) error {
	s.era.Add(1)
	s.producer.reset()
	return nil
}

// results makes messages of rows.
func (s *Sink) results(ctx context.Context, record arrow.Record) func(yield func(message, error) bool) {
	where := newCoordinates(record)
	ids := inferenceIDs(record)
	return func(yield func(message, error) bool) {
		for row := range int(record.NumRows()) {
			from, known := where.of(row)
			m := message{from: from}
			var err error
			if s.options.Key != nil {
				if m.key, err = s.encode(ctx, s.options.Key, record, row); err != nil {
					yield(m, s.unencoded("key", m.from, err))
					return
				}
			}
			if m.value, err = s.encode(ctx, s.options.Value, record, row); err != nil {
				yield(m, s.unencoded("value", m.from, err))
				return
			}
			for i, name := range []string{HeaderInvocationID, HeaderRequestID} {
				if ids[i] != nil && !ids[i].IsNull(row) {
					m.headers = append(m.headers, protocol.Header{Key: name, Value: []byte(ids[i].Value(row))})
				}
			}
			if known {
				m.headers = append(m.headers, protocol.Header{Key: HeaderSource, Value: []byte(m.from)})
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

// encode asks a registry that does not answer until it does.
func (s *Sink) encode(ctx context.Context, encoder serde.Encoder, record arrow.Record, row int) ([]byte, error) {
	var out []byte
	err := s.connection.persist(ctx, 0, func(ctx context.Context) error {
		var err error
		out, err = encoder.Encode(ctx, record, row)
		return err
	})
	return out, err
}

func (s *Sink) unencoded(what, from string, err error) error {
	if ctxErr := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded); ctxErr {
		return err
	}
	return fmt.Errorf("kafka: the %s of the row at %s for topic %s: %w", what, from, s.options.Topic, err)
}

// coordinates are where the rows of a record come from, where its columns say so.
type coordinates struct {
	known     bool
	topic     *array.String
	partition *array.Int32
	offset    *array.Int64
}

func newCoordinates(record arrow.Record) coordinates {
	return coordinatesOf(record, ColumnTopic, ColumnPartition, ColumnOffset)
}

func coordinatesOf(record arrow.Record, topic, partition, offset string) coordinates {
	var c coordinates
	var ok [3]bool
	c.topic, ok[0] = column[*array.String](record, topic)
	c.partition, ok[1] = column[*array.Int32](record, partition)
	c.offset, ok[2] = column[*array.Int64](record, offset)
	c.known = ok[0] && ok[1] && ok[2]
	return c
}

// of returns topic/partition/offset, or the row's number where they are not known.
func (c *coordinates) of(row int) (string, bool) {
	if !c.known || c.topic.IsNull(row) || c.partition.IsNull(row) || c.offset.IsNull(row) {
		return "row " + strconv.Itoa(row) + " of its batch", false
	}
	return place{c.topic.Value(row), c.partition.Value(row)}.name() + "/" + strconv.FormatInt(c.offset.Value(row), 10), true
}

// column returns a record's column of a name and a type.
func column[T arrow.Array](record arrow.Record, name string) (T, bool) {
	var none T
	indices := record.Schema().FieldIndices(name)
	if len(indices) != 1 {
		return none, false
	}
	out, ok := record.Column(indices[0]).(T)
	return out, ok
}

// inferenceIDs returns invocation_id and request_id of the inference column, nil where there are none.
func inferenceIDs(record arrow.Record) [2]*array.String {
	var out [2]*array.String
	inference, ok := column[*array.Struct](record, schemas.ColumnInference)
	if !ok {
		return out
	}
	kind, ok := inference.DataType().(*arrow.StructType)
	if !ok {
		return out
	}
	for i, name := range []string{HeaderInvocationID, HeaderRequestID} {
		if at, ok := kind.FieldIdx(name); ok {
			out[i], _ = inference.Field(at).(*array.String)
		}
	}
	return out
}

// deadLetters makes the records that rows were once, with what went wrong beside them.
func (s *Sink) deadLetters(_ context.Context, record arrow.Record) func(yield func(message, error) bool) {
	return func(yield func(message, error) bool) {
		if !record.Schema().Equal(schemas.DeadLetterSchema()) {
			yield(message{}, fmt.Errorf("kafka: dead letters have other columns than these: %w", schemas.ErrInvalid))
			return
		}
		where := coordinatesOf(record, "topic", "partition", "offset")
		for row := range int(record.NumRows()) {
			if !yield(deadLetter(record, row, &where), nil) {
				return
			}
		}
	}
}

func deadLetter(record arrow.Record, row int, where *coordinates) message {
	from, known := where.of(row)
	m := message{from: from}
	m.key, m.value = binaryAt(record, "key", row), binaryAt(record, "value", row)
	if at, ok := column[*array.Timestamp](record, "timestamp"); ok && !at.IsNull(row) {
		m.time = time.UnixMicro(int64(at.Value(row)))
	}
	if list, ok := column[*array.List](record, "headers"); ok && !list.IsNull(row) {
		m.headers = headersAt(list, row)
	}
	add := func(key, value string) {
		m.headers = append(m.headers, protocol.Header{Key: key, Value: []byte(value)})
	}
	if known {
		add(HeaderSource, from)
	}
	if fault, ok := column[*array.Struct](record, schemas.ColumnError); ok && !fault.IsNull(row) {
		for i, name := range []string{HeaderErrorCode, HeaderErrorClass, HeaderErrorMessage} {
			if text, ok := fault.Field(i).(*array.String); ok && !text.IsNull(row) {
				add(name, text.Value(row))
			}
		}
	}
	if id, ok := column[*array.String](record, "run_id"); ok && !id.IsNull(row) {
		add(HeaderRunID, id.Value(row))
	}
	return m
}

// binaryAt copies a value, which outlives the record. NULL is nil, nothing is not.
func binaryAt(record arrow.Record, name string, row int) []byte {
	values, ok := column[*array.Binary](record, name)
	if !ok || values.IsNull(row) {
		return nil
	}
	return append([]byte{}, values.Value(row)...)
}

// headersAt returns a record's own headers. Those of an earlier death are left out: there are newer ones.
func headersAt(list *array.List, row int) []protocol.Header {
	pairs, ok := list.ListValues().(*array.Struct)
	if !ok {
		return nil
	}
	keys, isText := pairs.Field(0).(*array.String)
	values, isBinary := pairs.Field(1).(*array.Binary)
	if !isText || !isBinary {
		return nil
	}
	start, end := list.ValueOffsets(row)
	var out []protocol.Header
	for i := int(start); i < int(end); i++ {
		name := keys.Value(i)
		if strings.HasPrefix(name, headerPrefix) && name != schemas.HeaderReplays {
			continue
		}
		each := protocol.Header{Key: strings.Clone(name)}
		if !values.IsNull(i) {
			each.Value = append([]byte{}, values.Value(i)...)
		}
		out = append(out, each)
	}
	return out
}

// differ returns the first of the marks of to that stored has otherwise than from.
func differ(stored, from, to schemas.Marks) (string, bool) {
	for _, name := range slices.Sorted(maps.Keys(to)) {
		is, has := stored[name]
		was, had := from[name]
		if has != had || is != was {
			return name, true
		}
	}
	return "", false
}
