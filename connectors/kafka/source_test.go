package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/inflowhq/inflow/schemas"
)

func TestReadsAllPartitionsInOrder(t *testing.T) {
	t.Parallel()
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := newCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(3, "in"))
			client := newClient(t, cluster, kgo.ProducerBatchCompression(codec))
			const n = 3000
			for partition := range int32(3) {
				produceAll(t, client, texts("in", partition, strings.Repeat("x", 100), n)...)
			}
			connection, _ := connect(t, cluster)
			options := textOptions("in")
			options.BatchRows = 700
			source := newTestSource(t, connection, options)
			rows, marks := readAll(t, source, nil)
			next := map[string]int64{}
			for _, each := range rows {
				if each.offset != next[each.partition] || each.text != fmt.Sprintf("%s%d", strings.Repeat("x", 100), each.offset) {
					t.Fatalf("%s: row %d after %d: %q", each.partition, each.offset, next[each.partition], each.text)
				}
				next[each.partition]++
			}
			want := schemas.Marks{"in/0": n, "in/1": n, "in/2": n}
			if !marks.Equal(want) || len(rows) != 3*n {
				t.Fatalf("%d rows, marks %s", len(rows), marks)
			}
			// From the middle of a batch.
			rows, _ = readAll(t, source, schemas.Marks{"in/0": n, "in/1": n - 5, "in/2": n})
			if len(rows) != 5 || rows[0].offset != n-5 {
				t.Fatalf("after the marks: %v", rows)
			}
			total, done, err := source.Count(testContext(t), schemas.Marks{"in/1": 10})
			if err != nil || total != 3*n || done != 10 {
				t.Fatalf("counted %d of %d, %v", done, total, err)
			}
			lag, err := source.Lag(testContext(t), want)
			if err != nil || !maps.Equal(lag, map[string]int64{"in/0": 0, "in/1": 0, "in/2": 0}) {
				t.Fatalf("lag %v, %v", lag, err)
			}
		})
	}
}

func TestMetadataColumns(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	at := time.UnixMilli(1700000000123)
	produceAll(t, newClient(t, cluster),
		&kgo.Record{Topic: "in", Key: []byte("a b"), Value: []byte("one"), Timestamp: at, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "n"}}},
		&kgo.Record{Topic: "in", Value: []byte("!two"), Timestamp: at.Add(time.Second)},
		&kgo.Record{Topic: "in", Key: []byte("nokey"), Value: []byte("three"), Timestamp: at.Add(2 * time.Second)},
		&kgo.Record{Topic: "in", Key: []byte("a b"), Timestamp: at.Add(3 * time.Second)})
	connection, _ := connect(t, cluster)
	options := textOptions("in")
	options.Key, options.KeepRaw, options.TombstoneRows = wordsDecoder{}, true, true
	options.Columns = []string{"text", ColumnHeaders, ColumnKey, ColumnOffset, ColumnTimestamp, ColumnTopic, ColumnPartition}
	source := newTestSource(t, connection, options)
	var batches []schemas.Batch
	for batch, err := range source.Read(testContext(t), nil) {
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, batch)
	}
	if len(batches) != 1 {
		t.Fatalf("%d batches", len(batches))
	}
	batch := batches[0]
	defer batch.Release()
	got, err := batch.Record.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"_headers":[{"key":"h","value":"MQ=="},{"key":"n","value":null}],"_key":{"first":"a","second":"b"},"_offset":0,"_partition":0,"_timestamp":"2023-11-14 22:13:20.123","_topic":"in","text":"one"}` +
		`,{"_headers":[],"_key":null,"_offset":1,"_partition":0,"_timestamp":"2023-11-14 22:13:21.123","_topic":"in","text":null}` +
		`,{"_headers":[],"_key":null,"_offset":2,"_partition":0,"_timestamp":"2023-11-14 22:13:22.123","_topic":"in","text":"three"}` +
		`,{"_headers":[],"_key":{"first":"a","second":"b"},"_offset":3,"_partition":0,"_timestamp":"2023-11-14 22:13:23.123","_topic":"in","text":null}]`
	if compact := strings.NewReplacer("\n", "", "Z", "").Replace(string(got)); compact != want {
		t.Errorf("got  %s\nwant %s", compact, want)
	}
	if len(batch.Faults) != 2 || batch.Faults[1].Code != "undecodable" || batch.Faults[1].Class != schemas.Rejected || batch.Faults[2] == nil {
		t.Errorf("faults %v", batch.Faults)
	}
	if !batch.Oldest.Equal(at) || !batch.Newest.Equal(at.Add(3*time.Second)) || batch.Version != -1 || batch.Offsets != nil {
		t.Errorf("batch %v %v %d %v", batch.Oldest, batch.Newest, batch.Version, batch.Offsets)
	}
	if !batch.Raw.Schema().Equal(schemas.RawSchema()) || batch.Raw.NumRows() != 4 || string(as[*array.Binary](batch.Raw.Column(1)).Value(1)) != "!two" {
		t.Errorf("raw %v", batch.Raw)
	}
}

func TestTombstonesLeaveGaps(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	produceAll(t, newClient(t, cluster),
		&kgo.Record{Topic: "in", Key: []byte("a"), Value: []byte("one")},
		&kgo.Record{Topic: "in", Key: []byte("a")},
		&kgo.Record{Topic: "in", Key: []byte("b"), Value: []byte("two")},
		&kgo.Record{Topic: "in", Key: []byte("b")})
	connection, _ := connect(t, cluster)
	rows, marks := readAll(t, newTestSource(t, connection, textOptions("in")), nil)
	if want := []row{{"in/0", 0, "one", false}, {"in/0", 2, "two", false}}; !slices.Equal(rows, want) || marks["in/0"] != 4 {
		t.Fatalf("%v, %s", rows, marks)
	}
	// Nothing but a tombstone is left: the mark moves all the same.
	rows, marks = readAll(t, newTestSource(t, connection, textOptions("in")), schemas.Marks{"in/0": 3})
	if len(rows) != 0 || marks["in/0"] != 4 {
		t.Fatalf("%v, %s", rows, marks)
	}
}

func TestAbortedTransactions(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	ctx := testContext(t)
	plain := newClient(t, cluster)
	producer := newClient(t, cluster, kgo.TransactionalID("tx"))
	transaction := func(end kgo.TransactionEndTry, prefix string, between ...*kgo.Record) {
		if err := producer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produceAll(t, producer, texts("in", 0, prefix, 3)...)
		if len(between) > 0 {
			produceAll(t, plain, between...)
		}
		if err := producer.EndTransaction(testContext(t), end); err != nil {
			t.Fatal(err)
		}
	}
	transaction(kgo.TryAbort, "aborted-", texts("in", 0, "plain-", 2)...)
	transaction(kgo.TryCommit, "committed-")
	transaction(kgo.TryAbort, "aborted-")
	connection, _ := connect(t, cluster)
	source := newTestSource(t, connection, textOptions("in"))
	rows, marks := readAll(t, source, nil)
	var got []string
	for _, each := range rows {
		got = append(got, each.text)
	}
	if want := []string{"plain-0", "plain-1", "committed-0", "committed-1", "committed-2"}; !slices.Equal(got, want) {
		t.Errorf("read %v", got)
	}
	if marks["in/0"] != 14 { // 11 records and 3 markers
		t.Errorf("marks %s", marks)
	}
	options := textOptions("in")
	options.Uncommitted = true
	if rows, _ := readAll(t, newTestSource(t, connection, options), nil); len(rows) != 11 {
		t.Errorf("uncommitted: %d rows", len(rows))
	}
	// What an open transaction wrote is not read, nor waited for.
	if err := producer.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produceAll(t, producer, texts("in", 0, "open-", 2)...)
	if rows, _ := readAll(t, newTestSource(t, connection, textOptions("in")), marks); len(rows) != 0 {
		t.Errorf("of an open transaction: %v", rows)
	}
	if err := producer.EndTransaction(ctx, kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
}

func TestCompaction(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	compact := "compact"
	if err := cluster.CreateTopic("in", 1, map[string]string{"cleanup.policy": compact, "min.compaction.lag.ms": "0"}); err != nil {
		t.Fatal(err)
	}
	client := newClient(t, cluster)
	for i := range 20 {
		produceAll(t, client, &kgo.Record{Topic: "in", Key: fmt.Appendf(nil, "k%d", i%3), Value: fmt.Appendf(nil, "v%d", i)})
	}
	cluster.Compact()
	connection, _ := connect(t, cluster)
	rows, marks := readAll(t, newTestSource(t, connection, textOptions("in")), nil)
	if len(rows) >= 20 || len(rows) < 3 || marks["in/0"] != 20 {
		t.Fatalf("%d rows, %s", len(rows), marks)
	}
	for _, each := range rows {
		if each.text != fmt.Sprintf("v%d", each.offset) {
			t.Errorf("%q at %d", each.text, each.offset)
		}
	}
}

func TestRecordsLost(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	produceAll(t, newClient(t, cluster), texts("in", 0, "v", 20)...)
	if err := cluster.DeleteRecords("in", 0, 10); err != nil {
		t.Fatal(err)
	}
	connection, logs := connect(t, cluster)
	source := newTestSource(t, connection, textOptions("in"))
	if rows, _ := readAll(t, source, nil); len(rows) != 10 { // without a mark nothing was promised
		t.Errorf("%d rows", len(rows))
	}
	for mark, want := range map[int64]string{4: "records_lost", 25: "topic_made_anew"} {
		class, code := codeOf(t, failure(t, source.Read(testContext(t), schemas.Marks{"in/0": mark})))
		if class != schemas.Fatal || code != want {
			t.Errorf("mark %d: %v %s", mark, class, code)
		}
	}
	options := textOptions("in")
	options.AcceptDataLoss = true
	source = newTestSource(t, connection, options)
	var rows []row
	for batch, err := range source.Read(testContext(t), schemas.Marks{"in/0": 4}) {
		if err != nil {
			t.Fatal(err)
		}
		rows = collect(batch, rows)
	}
	if len(rows) != 10 || logs.count("lost=6") != 1 {
		t.Errorf("%d rows, %d warnings", len(rows), logs.count("lost=6"))
	}
}

func TestStarts(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(2, "in"))
	at := time.UnixMilli(1700000000000)
	records := texts("in", 0, "v", 10)
	for i, each := range records {
		each.Timestamp = at.Add(time.Duration(i) * time.Second)
	}
	produceAll(t, newClient(t, cluster), records...)
	connection, _ := connect(t, cluster)
	cases := map[string]struct {
		change func(*SourceOptions)
		rows   int
		marks  schemas.Marks
	}{
		"earliest":  {func(*SourceOptions) {}, 10, schemas.Marks{"in/0": 10}},
		"latest":    {func(o *SourceOptions) { o.Start = Latest }, 0, schemas.Marks{"in/0": 10, "in/1": 0}},
		"timestamp": {func(o *SourceOptions) { o.Start, o.Timestamp = AtTimestamp, at.Add(6500*time.Millisecond) }, 3, schemas.Marks{"in/0": 10, "in/1": 0}},
		"offsets":   {func(o *SourceOptions) { o.Start, o.Offsets = AtOffsets, map[string]int64{"in/0": 8, "in/1": 0} }, 2, schemas.Marks{"in/0": 10, "in/1": 0}},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := textOptions("in")
			test.change(&options)
			rows, marks := readAll(t, newTestSource(t, connection, options), nil)
			if len(rows) != test.rows || !marks.Equal(test.marks) {
				t.Errorf("%d rows, %s", len(rows), marks)
			}
			// The sink's mark counts for more than any of them.
			if rows, _ := readAll(t, newTestSource(t, connection, options), schemas.Marks{"in/0": 9}); len(rows) != 1 {
				t.Errorf("after a mark %d rows", len(rows))
			}
		})
	}
}

func TestLargeRecords(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	if err := cluster.CreateTopic("in", 1, map[string]string{"max.message.bytes": "16000000"}); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("L", 5<<20)
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.ZstdCompression(), kgo.SnappyCompression()} {
		produceAll(t, newClient(t, cluster, kgo.ProducerBatchCompression(codec)), &kgo.Record{Topic: "in", Value: []byte(large)})
	}
	produceAll(t, newClient(t, cluster), texts("in", 0, "small", 2)...)
	connection, _ := connect(t, cluster)
	rows, _ := readAll(t, newTestSource(t, connection, textOptions("in")), nil)
	if len(rows) != 5 || rows[0].text != large || rows[1].text != large || rows[2].text != large || rows[4].text != "small1" {
		t.Fatalf("%d rows", len(rows))
	}
	options := textOptions("in")
	options.MaxRecordBytes = 1 << 20
	source := newTestSource(t, connection, options)
	for mark := range int64(3) {
		class, code := codeOf(t, failure(t, source.Read(testContext(t), schemas.Marks{"in/0": mark})))
		if class != schemas.Fatal || code != "record_too_large" {
			t.Errorf("at %d: %v %s", mark, class, code)
		}
	}
}

func TestSurvivesTheLeaderAndItsConnections(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(1, "in"))
	produceAll(t, newClient(t, cluster, kgo.ProducerBatchMaxBytes(16<<10), kgo.ProducerBatchCompression(kgo.NoCompression())), texts("in", 0, strings.Repeat("x", 1000), 5000)...)
	connection, logs := connect(t, cluster)
	options := textOptions("in")
	options.FetchBytes = 64 << 10
	source := newTestSource(t, connection, options)
	var fetches atomic.Int32
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if n := fetches.Add(1); n > 3 && n < 10 {
			return nil, errors.New("cut"), true
		}
		return nil, nil, false
	})
	var rows []row
	for batch, err := range source.Read(testContext(t), nil) {
		if err != nil {
			t.Fatal(err)
		}
		before := len(rows) / 1000
		rows = collect(batch, rows)
		if after := len(rows) / 1000; after != before {
			if err := cluster.MoveTopicPartition("in", 0, 1-cluster.LeaderFor("in", 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, each := range rows {
		if each.offset != int64(i) {
			t.Fatalf("offset %d in place of %d", each.offset, i)
		}
	}
	if len(rows) != 5000 {
		t.Fatalf("%d rows", len(rows))
	}
	if away, back := logs.count("kafka is away"), logs.count("kafka is back"); away != 1 || back != 1 {
		t.Errorf("%d and %d lines about one outage", away, back)
	}
}

func TestAnUndecodableBatchIsFetchedAgainAndThenFatal(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	produceAll(t, newClient(t, cluster), texts("in", 0, "v", 3)...)
	connection, _ := connect(t, cluster)
	source := newTestSource(t, connection, textOptions("in"))
	var fetches atomic.Int32
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		fetches.Add(1)
		batch := append(make([]byte, 8), 0, 0, 0, 60, 0, 0, 0, 0, 2)
		return fetchResponse(request, append(batch, make([]byte, 55)...)), nil, true
	})
	class, code := codeOf(t, failure(t, source.Read(testContext(t), nil)))
	if class != schemas.Fatal || code != "corrupt_batch" || fetches.Load() < 3 {
		t.Errorf("%v %s after %d fetches", class, code, fetches.Load())
	}
}

func TestRowsBeforeABadBatchAreReadOnce(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	produceAll(t, newClient(t, cluster), texts("in", 0, "v", 3)...)
	connection, _ := connect(t, cluster)
	source := newTestSource(t, connection, textOptions("in"))
	good := slices.Concat(packedRecord(0, "v0"), packedRecord(1, "v1"))
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		return fetchResponse(request, append(packed(0, 2, 2, 0, -1, good), packed(2, 1, 1, 0, -1, []byte{99})...)), nil, true
	})
	rows, marks := readAll(t, source, nil)
	if want := []row{{"in/0", 0, "v0", false}, {"in/0", 1, "v1", false}, {"in/0", 2, "v2", false}}; !slices.Equal(rows, want) || marks["in/0"] != 3 {
		t.Errorf("%v, %s", rows, marks)
	}
}

func TestOffsetsAtTheEndThatNoFetchBrings(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	produceAll(t, newClient(t, cluster), texts("in", 0, "v", 3)...)
	connection, _ := connect(t, cluster)
	source := newTestSource(t, connection, textOptions("in"))
	var fetches atomic.Int32
	cluster.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		response := fetchResponse(request, nil)
		if fetches.Add(1) == 1 { // a quota makes empty answers as well
			as[*kmsg.FetchResponse](response).ThrottleMillis = 1
		}
		return response, nil, true
	})
	rows, marks := readAll(t, source, schemas.Marks{"in/0": 2})
	if len(rows) != 0 || marks["in/0"] != 3 || fetches.Load() != 2 {
		t.Errorf("%v, %s, %d fetches", rows, marks, fetches.Load())
	}
}

// fetchResponse answers a fetch of the topic in with a set of batches.
func fetchResponse(request kmsg.Request, batches []byte) kmsg.Response {
	response := as[*kmsg.FetchResponse](request.ResponseKind())
	topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
	topic.Topic = "in"
	partition.HighWatermark, partition.LastStableOffset, partition.RecordBatches = 3, 3, batches
	topic.Partitions = append(topic.Partitions, partition)
	response.Topics = append(response.Topics, topic)
	return response
}

func TestARegistryThatIsDownIsWaitedFor(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	produceAll(t, newClient(t, cluster), texts("in", 0, "v", 3)...)
	connection, _ := connect(t, cluster)
	var asked atomic.Int32
	options := textOptions("in")
	options.Value = textDecoder{"text", func() error {
		if asked.Add(1) < 4 {
			return &schemas.Error{Class: schemas.Transient, Err: errors.New("down")}
		}
		return nil
	}}
	rows, _ := readAll(t, newTestSource(t, connection, options), nil)
	if len(rows) != 3 || rows[0].null {
		t.Errorf("%v", rows)
	}
}

func TestNothingIsFetchedForAReaderThatStops(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	produceAll(t, newClient(t, cluster, kgo.ProducerBatchMaxBytes(16<<10), kgo.ProducerBatchCompression(kgo.NoCompression())), texts("in", 0, strings.Repeat("x", 1000), 5000)...)
	connection, _ := connect(t, cluster)
	options := textOptions("in")
	options.FetchBytes = 16 << 10
	source := newTestSource(t, connection, options)
	var fetches atomic.Int32
	cluster.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		fetches.Add(1)
		return nil, nil, false
	})
	read, rows := 0, 0
	for batch, err := range source.Read(testContext(t), nil) {
		if err != nil {
			t.Fatal(err)
		}
		rows += int(batch.Record.NumRows())
		batch.Release()
		if read++; read == 2 {
			// Three batches are taken or held, and one more answer may be under way. A source that ran ahead would be
			// through with all of it within this time.
			timer := time.NewTimer(200 * time.Millisecond)
			<-timer.C
			if n := fetches.Load(); n > 4 {
				t.Fatalf("%d fetches while 2 batches were taken", n)
			}
		}
	}
	if rows != 5000 || fetches.Load() < 50 {
		t.Errorf("%d rows in %d fetches", rows, fetches.Load())
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "a.in", "b.in", "b.input"))
	for _, topic := range []string{"a.in", "b.in", "b.input"} {
		produceAll(t, newClient(t, cluster), texts(topic, 0, "v", 2)...)
	}
	connection, _ := connect(t, cluster)
	options := textOptions()
	options.Patterns = []string{`.\.in`}
	_, marks := readAll(t, newTestSource(t, connection, options), nil)
	if !marks.Equal(schemas.Marks{"a.in/0": 2, "b.in/0": 2}) {
		t.Errorf("marks %s", marks)
	}
	options.Patterns = []string{"none"}
	_, err := NewSource(testContext(t), connection, options)
	if class, code := codeOf(t, err); class != schemas.Fatal || code != "unknown_topic" {
		t.Errorf("%v", err)
	}
}

func TestRefusedOptions(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	connection, _ := connect(t, cluster)
	cases := map[string]func(*SourceOptions){
		"no topic":        func(o *SourceOptions) { o.Topics = nil },
		"a bad pattern":   func(o *SourceOptions) { o.Patterns = []string{"("} },
		"no decoder":      func(o *SourceOptions) { o.Value = nil },
		"a negative size": func(o *SourceOptions) { o.BatchRows = -1 },
		"no start":        func(o *SourceOptions) { o.Start = "sometime" },
		"no timestamp":    func(o *SourceOptions) { o.Start = AtTimestamp },
		"a lone offset":   func(o *SourceOptions) { o.Offsets = map[string]int64{"in/0": 1} },
		"no such place":   func(o *SourceOptions) { o.Start, o.Offsets = AtOffsets, map[string]int64{"in/9": 1} },
		"negative offset": func(o *SourceOptions) { o.Start, o.Offsets = AtOffsets, map[string]int64{"in/0": -1} },
		"unknown column":  func(o *SourceOptions) { o.Columns = []string{"nope"} },
		"a column twice":  func(o *SourceOptions) { o.Columns = []string{"text", "text"} },
		"a taken name":    func(o *SourceOptions) { o.Value = textDecoder{name: ColumnOffset} },
	}
	for name, change := range cases {
		options := textOptions("in")
		change(&options)
		if _, err := NewSource(testContext(t), connection, options); !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := NewSource(testContext(t), connection, textOptions("nope"))
	if class, code := codeOf(t, err); class != schemas.Fatal || code != "unknown_topic" || !strings.Contains(err.Error(), "kafka-topics") {
		t.Errorf("%v", err)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(2, "in"))
	produceAll(t, newClient(t, cluster), texts("in", 0, "v", 3)...)
	connection, _ := connect(t, cluster)
	group, err := NewGroup(testContext(t), connection, GroupOptions{SourceOptions: textOptions("in"), ID: "g"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	var last error
	for batch, err := range group.Read(ctx, nil) {
		if last = err; err != nil {
			break
		}
		batch.Release()
		cancel()
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("ended with %v", last)
	}
}
