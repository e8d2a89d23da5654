package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/inflowhq/inflow/schemas"
)

// columnEncoder writes a column of text.
type columnEncoder int

func (c columnEncoder) Encode(_ context.Context, record arrow.Record, row int) ([]byte, error) {
	return []byte(as[*array.String](record.Column(int(c))).Value(row)), nil
}

func resultsSchema() *arrow.Schema {
	text := arrow.BinaryTypes.String
	return arrow.NewSchema([]arrow.Field{
		{Name: "text", Type: text},
		{Name: "key", Type: text},
		{Name: ColumnTopic, Type: text},
		{Name: ColumnPartition, Type: arrow.PrimitiveTypes.Int32},
		{Name: ColumnOffset, Type: arrow.PrimitiveTypes.Int64},
		{Name: schemas.ColumnInference, Type: arrow.StructOf(arrow.Field{Name: "request_id", Type: text}, arrow.Field{Name: "invocation_id", Type: text})},
	}, nil)
}

// results makes n rows, with offsets from first on.
func results(first, n int, text string) arrow.Record {
	builder := array.NewRecordBuilder(memory.DefaultAllocator, resultsSchema())
	defer builder.Release()
	for i := first; i < first+n; i++ {
		as[*array.StringBuilder](builder.Field(0)).Append(fmt.Sprint(text, i))
		as[*array.StringBuilder](builder.Field(1)).Append(fmt.Sprint("k", i%10))
		as[*array.StringBuilder](builder.Field(2)).Append("in")
		as[*array.Int32Builder](builder.Field(3)).Append(3)
		as[*array.Int64Builder](builder.Field(4)).Append(int64(i))
		inference := as[*array.StructBuilder](builder.Field(5))
		inference.Append(true)
		as[*array.StringBuilder](inference.FieldBuilder(0)).Append(fmt.Sprint("r", i))
		as[*array.StringBuilder](inference.FieldBuilder(1)).Append(fmt.Sprint("i", i))
	}
	return builder.NewRecord()
}

func newTestSink(t *testing.T, connection *Connection, change ...func(*SinkOptions)) *Sink {
	t.Helper()
	options := SinkOptions{Topic: "out", Prefix: "job/0", Value: columnEncoder(0), Key: columnEncoder(1)}
	for _, each := range change {
		each(&options)
	}
	sink, err := NewSink(testContext(t), connection, options)
	if err != nil {
		t.Fatal(err)
	}
	return sink
}

func write(t *testing.T, sink *Sink, record arrow.Record) error {
	t.Helper()
	defer record.Release()
	return sink.Write(testContext(t), record)
}

// commit seals and commits.
func commit(ctx context.Context, from, to schemas.Marks, sink *Sink) error {
	seal, err := sink.Seal(ctx)
	if err != nil {
		return err
	}
	return seal(ctx, from, to, nil)
}

// consume returns n records of a topic.
func consume(t *testing.T, cluster *kfake.Cluster, topic string, n int) []*kgo.Record {
	t.Helper()
	client := newClient(t, cluster, kgo.ConsumeTopics(topic))
	ctx := testContext(t)
	var out []*kgo.Record
	for len(out) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(out), n, err)
		}
		out = append(out, fetches.Records()...)
	}
	return out
}

func headerOf(record *kgo.Record, name string) string {
	for _, each := range record.Headers {
		if each.Key == name {
			return string(each.Value)
		}
	}
	return "none"
}

func TestSinkWritesAndKeepsMarks(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"", "none", "gzip", "snappy", "lz4"} {
		t.Run("compression "+compression, func(t *testing.T) {
			t.Parallel()
			cluster := newCluster(t, kfake.NumBrokers(3), kfake.SeedTopics(4, "out"))
			connection, _ := connect(t, cluster)
			sink := newTestSink(t, connection, func(o *SinkOptions) { o.Compression = compression })
			ctx := testContext(t)
			if err := sink.Check(ctx); err != nil {
				t.Fatal(err)
			}
			if marks, err := sink.Marks(ctx); marks != nil || err != nil {
				t.Fatalf("at first %s, %v", marks, err)
			}
			if err := write(t, sink, results(0, 1000, strings.Repeat("x", 5000))); err != nil {
				t.Fatal(err)
			}
			first := schemas.Marks{"in/0": 10, "in/1": 5}
			if err := commit(ctx, nil, first, sink); err != nil {
				t.Fatal(err)
			}
			if n := sink.Delivered(); n != 1000 {
				t.Errorf("%d delivered", n)
			}
			// Other marks stay what they are, and so do those of another sink.
			if err := commit(ctx, schemas.Marks{"in/1": 5}, schemas.Marks{"in/1": 6}, sink); err != nil {
				t.Fatal(err)
			}
			again := newTestSink(t, connection)
			if marks, err := again.Marks(ctx); err != nil || !marks.Equal(schemas.Marks{"in/0": 10, "in/1": 6}) {
				t.Errorf("marks %s, %v", marks, err)
			}
			for _, from := range []schemas.Marks{nil, first, {"in/1": 7}} {
				if err := commit(ctx, from, schemas.Marks{"in/1": 8}, again); !errors.Is(err, schemas.ErrFenced) {
					t.Errorf("from %s: %v", from, err)
				}
				if _, err := again.Seal(ctx); err == nil {
					t.Error("it goes on after a failure")
				}
				if err := again.Close(ctx); err != nil {
					t.Error(err)
				}
			}
			other := newTestSink(t, connection, func(o *SinkOptions) { o.Prefix = "job/1" })
			if marks, err := other.Marks(ctx); marks != nil || err != nil {
				t.Errorf("another prefix has %s, %v", marks, err)
			}
			partitions, last := map[string]int32{}, map[string]int{}
			for _, record := range consume(t, cluster, "out", 1000) {
				key := string(record.Key)
				if at, ok := partitions[key]; ok && at != record.Partition {
					t.Errorf("the key %s in partitions %d and %d", key, at, record.Partition)
				}
				partitions[key] = record.Partition
				var i int
				if _, err := fmt.Sscanf(strings.TrimLeft(string(record.Value), "x"), "%d", &i); err != nil || i < last[key] {
					t.Errorf("%s: %d after %d, %v", key, i, last[key], err)
				}
				last[key] = i
				if headerOf(record, "invocation_id") != fmt.Sprint("i", i) || headerOf(record, "request_id") != fmt.Sprint("r", i) ||
					headerOf(record, "inflow-source") != fmt.Sprint("in/3/", i) {
					t.Errorf("headers %v", record.Headers)
				}
			}
			spread := map[int32]bool{}
			for _, each := range partitions {
				spread[each] = true
			}
			if len(spread) < 2 {
				t.Errorf("all keys in %v", maps.Keys(spread))
			}
		})
	}
}

func TestSinkWritesWhileItCommits(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(3, "out"))
	connection, _ := connect(t, cluster)
	sink := newTestSink(t, connection)
	ctx := testContext(t)
	const epochs, rows = 20, 300
	var from schemas.Marks
	committed := make(chan error, 1)
	committed <- nil
	for i := range epochs {
		if err := write(t, sink, results(i*rows, rows, strings.Repeat("x", 5000))); err != nil { // a part is sent at once
			t.Fatal(err)
		}
		seal, err := sink.Seal(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-committed; err != nil {
			t.Fatal(err)
		}
		last, to := from, schemas.Marks{"in/3": int64((i + 1) * rows)}
		from = to
		go func() { committed <- seal(ctx, last, to, nil) }()
	}
	if err := <-committed; err != nil {
		t.Fatal(err)
	}
	last := map[string]int64{}
	for _, record := range consume(t, cluster, "out", epochs*rows) {
		_, offset, ok := parseSource(headerOf(record, HeaderSource))
		if before, seen := last[string(record.Key)]; !ok || seen && offset <= before {
			t.Fatalf("%s: %d after %d", record.Key, offset, before)
		}
		last[string(record.Key)] = offset
	}
	if sink.Delivered() != epochs*rows {
		t.Errorf("%d delivered", sink.Delivered())
	}
}

func TestALossOfTheNextEpochFailsTheOneBefore(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	if err := cluster.CreateTopic("out", 1, map[string]string{"max.message.bytes": "20000"}); err != nil {
		t.Fatal(err)
	}
	connection, _ := connect(t, cluster)
	sink := newTestSink(t, connection, func(o *SinkOptions) { o.Compression = "none" })
	ctx := testContext(t)
	if err := write(t, sink, results(0, 1, "small")); err != nil {
		t.Fatal(err)
	}
	seal, err := sink.Seal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// Large enough to be sent by Write itself, together with what was sealed.
	if err := write(t, sink, results(1, 1, strings.Repeat("x", maxOpenBytes))); schemas.ClassOf(err) != schemas.Fatal || err == nil {
		t.Fatalf("write: %v", err)
	}
	if err := seal(ctx, nil, schemas.Marks{"in/3": 1}, nil); err == nil {
		t.Error("committed, although its rows may be gone")
	}
	if marks, err := sink.Marks(ctx); marks != nil || err != nil {
		t.Errorf("marks %s, %v", marks, err)
	}
	if err := sink.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := seal(ctx, nil, schemas.Marks{"in/3": 1}, nil); err == nil {
		t.Error("committed what was discarded")
	}
}

func TestAFlushBehindALossIsNoSuccess(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	if err := cluster.CreateTopic("out", 1, map[string]string{"max.message.bytes": "20000"}); err != nil {
		t.Fatal(err)
	}
	connection, _ := connect(t, cluster)
	sink := newTestSink(t, connection, func(o *SinkOptions) { o.Compression = "none" })
	sink.producer.add(message{value: make([]byte, 30_000)})
	for i := range 2 {
		if err := sink.producer.flush(testContext(t)); schemas.ClassOf(err) != schemas.Fatal || err == nil {
			t.Errorf("flush %d: %v", i, err)
		}
	}
}

func TestSinkSurvivesBrokers(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(2, "out"))
	connection, _ := connect(t, cluster)
	sink := newTestSink(t, connection)
	var produces, commits atomic.Int32
	cluster.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		switch produces.Add(1) {
		case 1, 2:
			return nil, errors.New("cut"), true
		case 3:
			for partition := range int32(2) {
				if err := cluster.MoveTopicPartition("out", partition, 1-cluster.LeaderFor("out", partition)); err != nil {
					return nil, err, true
				}
			}
		}
		return nil, nil, false
	})
	// The first commit takes effect, but its answer is lost: it is found, and not taken for somebody else's.
	cluster.ControlKey(int16(kmsg.OffsetFetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if commits.Add(1) == 2 {
			return nil, errors.New("cut"), true
		}
		return nil, nil, false
	})
	if err := write(t, sink, results(0, 100, "v")); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	if err := commit(ctx, nil, schemas.Marks{"in/0": 100}, sink); err != nil {
		t.Fatal(err)
	}
	if sink.Delivered() != 100 || len(consume(t, cluster, "out", 100)) < 100 {
		t.Errorf("%d delivered", sink.Delivered())
	}
}

func TestACommitWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "out"))
	connection, _ := connect(t, cluster)
	ctx := testContext(t)
	// The connection ends at the answer, after the broker did what it was asked to.
	var commits atomic.Int32
	store := markStore{connection: connection, topic: "out", group: "inflow.job"}
	cluster.ControlKey(int16(kmsg.OffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if commits.Add(1) == 1 {
			// By the time of the answer the marks are there.
			go func() {
				other, _ := connect(t, cluster)
				_ = (&markStore{connection: other, topic: "out", group: "inflow.job"}).commit(ctx, 0, `{"in/0":5}`)
			}()
			return nil, errors.New("cut"), true
		}
		return nil, nil, false
	})
	if err := store.store(ctx, nil, schemas.Marks{"in/0": 5}); err != nil {
		t.Fatal(err)
	}
	stored, err := store.load(ctx)
	if err != nil || !stored.marks.Equal(schemas.Marks{"in/0": 5}) {
		t.Errorf("%v, %v", stored, err)
	}
}

func TestRecordsTooLarge(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	if err := cluster.CreateTopic("out", 1, map[string]string{"max.message.bytes": "20000"}); err != nil {
		t.Fatal(err)
	}
	connection, _ := connect(t, cluster)
	sink := newTestSink(t, connection, func(o *SinkOptions) { o.Compression = "none" })
	ctx := testContext(t)
	// A request of all of them is too large; each alone is not.
	if err := write(t, sink, results(0, 40, strings.Repeat("x", 5000))); err != nil {
		t.Fatal(err)
	}
	if err := commit(ctx, nil, schemas.Marks{"in/3": 40}, sink); err != nil {
		t.Fatal(err)
	}
	for i, record := range consume(t, cluster, "out", 40) {
		if got := headerOf(record, "inflow-source"); got != fmt.Sprint("in/3/", i) {
			t.Fatalf("%s at %d", got, i)
		}
	}
	if err := write(t, sink, results(77, 1, strings.Repeat("x", 30_000))); err != nil {
		t.Fatal(err)
	}
	err := commit(ctx, schemas.Marks{"in/3": 40}, schemas.Marks{"in/3": 41}, sink)
	if class, code := codeOf(t, err); class != schemas.Fatal || code != "record_too_large" || !strings.Contains(err.Error(), "in/3/77") || !strings.Contains(err.Error(), "max.message.bytes") {
		t.Errorf("%v", err)
	}
	// Nothing is committed on top of rows that are gone, until they were discarded.
	if err := commit(ctx, schemas.Marks{"in/3": 40}, schemas.Marks{"in/3": 41}, sink); err == nil {
		t.Error("committed without the rows")
	}
	if err := sink.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := commit(ctx, schemas.Marks{"in/3": 40}, schemas.Marks{"in/3": 41}, sink); err != nil {
		t.Error(err)
	}
}

func TestSinkRefuses(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "out"))
	connection, _ := connect(t, cluster)
	ctx := testContext(t)
	_, err := NewSink(ctx, connection, SinkOptions{Topic: "nope", Prefix: "p", Value: columnEncoder(0)})
	if class, code := codeOf(t, err); class != schemas.Fatal || code != "unknown_topic" || !strings.Contains(err.Error(), "kafka-topics") {
		t.Errorf("%v", err)
	}
	if cluster.TopicInfo("nope") != nil {
		t.Error("the topic was made")
	}
	for name, options := range map[string]SinkOptions{
		"no encoder":  {Topic: "out", Prefix: "p"},
		"no prefix":   {Topic: "out", Value: columnEncoder(0)},
		"compression": {Topic: "out", Prefix: "p", Value: columnEncoder(0), Compression: "rar"},
	} {
		if _, err := NewSink(ctx, connection, options); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	sink := newTestSink(t, connection)
	many := schemas.Marks{}
	for i := range 300 {
		many[fmt.Sprint("a.topic.with.a.long.name/", i)] = 1 << 40
	}
	if class, code := codeOf(t, commit(ctx, nil, many, sink)); class != schemas.Fatal || code != "marks_too_large" {
		t.Errorf("%s", code)
	}
	if err := sink.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := sink.marks.commit(ctx, 3, "somebody else's"); err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Marks(ctx); schemas.ClassOf(err) != schemas.Fatal || err == nil {
		t.Errorf("foreign marks: %v", err)
	}
	// The reason of a broker gets through.
	cluster.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		response := as[*kmsg.ProduceResponse](request.ResponseKind())
		topic, partition := kmsg.NewProduceResponseTopic(), kmsg.NewProduceResponseTopicPartition()
		topic.Topic, partition.ErrorCode = "out", kerr.TopicAuthorizationFailed.Code
		topic.Partitions = append(topic.Partitions, partition)
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	if err := write(t, sink, results(0, 1, "v")); err != nil {
		t.Fatal(err)
	}
	if err := commit(ctx, nil, schemas.Marks{"in/0": 1}, sink); !errors.Is(err, schemas.ErrPermission) {
		t.Errorf("%v", err)
	}
}

func TestDeadLettersGoOutAndComeBack(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(2, "in"), kfake.SeedTopics(1, "dead"))
	at := time.UnixMilli(1700000000123)
	client := newClient(t, cluster)
	for partition := range int32(2) {
		for i := range 3 {
			produceAll(t, client, &kgo.Record{
				Topic: "in", Partition: partition, Key: []byte("k"), Value: fmt.Appendf(nil, "!v%d", i), Timestamp: at,
				Headers: []kgo.RecordHeader{{Key: "own", Value: []byte("x")}, {Key: schemas.HeaderReplays, Value: []byte("2")}, {Key: "inflow-old", Value: []byte("y")}},
			})
		}
	}
	connection, _ := connect(t, cluster)
	options := textOptions("in")
	options.KeepRaw = true
	sink, err := NewDeadLetterSink(testContext(t), connection, SinkOptions{Topic: "dead", Prefix: "dead"})
	if err != nil {
		t.Fatal(err)
	}
	builder := schemas.NewDeadLetterBuilder(memory.DefaultAllocator)
	defer builder.Release()
	for batch, err := range newTestSource(t, connection, options).Read(testContext(t), nil) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(batch.Record.NumRows()) {
			builder.Append(&schemas.Answer{Error: &schemas.RowError{Code: batch.Faults[i].Code, Class: batch.Faults[i].Class, Message: batch.Faults[i].Error()}}, "job", "run-1", at)
		}
		record := builder.NewRecord(batch.Raw)
		if err := write(t, sink, record); err != nil {
			t.Fatal(err)
		}
		batch.Release()
	}
	if err := commit(testContext(t), nil, schemas.Marks{"dead": 1}, sink); err != nil {
		t.Fatal(err)
	}
	letters := consume(t, cluster, "dead", 6)
	for _, letter := range letters {
		if string(letter.Key) != "k" || !bytes.HasPrefix(letter.Value, []byte("!v")) || !letter.Timestamp.Equal(at) || headerOf(letter, "own") != "x" ||
			headerOf(letter, "inflow-error-code") != "undecodable" || headerOf(letter, "inflow-error-class") != "REJECTED" || headerOf(letter, "inflow-run-id") != "run-1" ||
			headerOf(letter, schemas.HeaderReplays) != "2" || headerOf(letter, "inflow-old") != "none" || !strings.Contains(headerOf(letter, "inflow-error-message"), "a bang before it") {
			t.Errorf("%s %s %v", letter.Key, letter.Value, letter.Headers)
		}
	}
	// And back: rows stand where they stood, marks are this topic's.
	options = textOptions("dead")
	options.KeepRaw, options.DeadLetters, options.Columns = true, true, []string{"text", ColumnTopic, ColumnPartition, ColumnOffset, ColumnHeaders}
	seen := map[string]bool{}
	next := int64(0)
	for batch, err := range newTestSource(t, connection, options).Read(testContext(t), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if batch.Until(0)["dead/0"] != next || len(batch.Marks) != 1 {
			t.Errorf("marks %s, %s, at %d", batch.Marks, batch.Until(0), next)
		}
		next = batch.Marks["dead/0"]
		for i := range int(batch.Record.NumRows()) {
			if topic, partition := as[*array.String](batch.Record.Column(1)).Value(i), as[*array.Int32](batch.Record.Column(2)).Value(i); batch.Partition != fmt.Sprint(topic, "/", partition) || topic != "in" {
				t.Errorf("%s in %s/%d", batch.Partition, topic, partition)
			}
			if got := as[*array.Int64](batch.Record.Column(3)).Value(i); got != batch.Place(i) || as[*array.Int64](batch.Raw.Column(4)).Value(i) != got {
				t.Errorf("offset %d at %d", got, batch.Place(i))
			}
			seen[fmt.Sprint(batch.Partition, "/", batch.Place(i))] = true
		}
		headers, err := batch.Record.Column(4).MarshalJSON()
		if err != nil || strings.Contains(string(headers), "error") || strings.Contains(string(headers), "source") || !strings.Contains(string(headers), schemas.HeaderReplays) {
			t.Errorf("headers %s, %v", headers, err)
		}
		batch.Release()
	}
	if len(seen) != 6 || next != 6 {
		t.Errorf("%v, %d", seen, next)
	}
}
