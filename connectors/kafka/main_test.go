package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/connectors/kafka/serde"
	"github.com/inflowhq/inflow/connectors/store/storetest"
	"github.com/inflowhq/inflow/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.Buffers{M: m}) }

// as is an assertion that cannot fail.
func as[T any](value any) T {
	out, ok := value.(T)
	if !ok {
		panic(fmt.Sprintf("%T", value))
	}
	return out
}

// patience is more than any test needs.
const patience = 15 * time.Second

func testContext(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}

func newCluster(tb testing.TB, options ...kfake.Opt) *kfake.Cluster {
	tb.Helper()
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cluster.Close)
	return cluster
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func connect(tb testing.TB, cluster *kfake.Cluster, change ...func(*Options)) (*Connection, *logBuffer) {
	tb.Helper()
	logs := new(logBuffer)
	options := Options{Brokers: cluster.ListenAddrs(), Logger: slog.New(slog.NewTextHandler(logs, nil)), Patience: 2 * time.Second}
	for _, each := range change {
		each(&options)
	}
	connection, err := NewConnection(options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = connection.Close() })
	return connection, logs
}

func newClient(tb testing.TB, cluster *kfake.Cluster, options ...kgo.Opt) *kgo.Client {
	tb.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(16 << 20), kgo.MaxBufferedBytes(64 << 20),
	}, options...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	return client
}

func produceAll(tb testing.TB, client *kgo.Client, records ...*kgo.Record) {
	tb.Helper()
	if err := client.ProduceSync(testContext(tb), records...).FirstErr(); err != nil {
		tb.Fatal(err)
	}
}

// texts makes n records of one partition whose values are prefix and a number.
func texts(topic string, partition int32, prefix string, n int) []*kgo.Record {
	var out []*kgo.Record
	for i := range n {
		out = append(out, &kgo.Record{Topic: topic, Partition: partition, Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "%s%d", prefix, i)})
	}
	return out
}

// textDecoder is one column of text. Values that begin with ! are undecodable.
type textDecoder struct {
	name string
	fail func() error // before anything else; nil: never
}

var errBang = errors.New("a bang before it")

func (d textDecoder) Fields() []arrow.Field {
	return []arrow.Field{{Name: d.name, Type: arrow.BinaryTypes.String, Nullable: true}}
}

func (d textDecoder) Append(_ context.Context, data []byte, columns []array.Builder) error {
	if d.fail != nil {
		if err := d.fail(); err != nil {
			return err
		}
	}
	if bytes.HasPrefix(data, []byte("!")) {
		return &schemas.Error{Class: schemas.Rejected, Code: "undecodable", Err: errBang}
	}
	as[*array.StringBuilder](columns[0]).BinaryBuilder.Append(data)
	return nil
}

func (d textDecoder) Clone() serde.Decoder { return d }

// wordsDecoder makes two fields of two words.
type wordsDecoder struct{}

func (wordsDecoder) Fields() []arrow.Field {
	return append(textDecoder{name: "first"}.Fields(), textDecoder{name: "second"}.Fields()...)
}

func (wordsDecoder) Append(_ context.Context, data []byte, columns []array.Builder) error {
	first, second, ok := strings.Cut(string(data), " ")
	if !ok {
		return &schemas.Error{Class: schemas.Rejected, Code: "undecodable", Err: errBang}
	}
	as[*array.StringBuilder](columns[0]).Append(first)
	as[*array.StringBuilder](columns[1]).Append(second)
	return nil
}

func (d wordsDecoder) Clone() serde.Decoder { return d }

func textOptions(topics ...string) SourceOptions {
	return SourceOptions{Topics: topics, Value: textDecoder{name: "text"}, FetchWait: 50 * time.Millisecond}
}

// row is one that was read.
type row struct {
	partition string
	offset    int64
	text      string
	null      bool
}

// collect copies the rows of a batch and releases it.
func collect(batch schemas.Batch, out []row) []row {
	defer batch.Release()
	text := as[*array.String](batch.Record.Column(0))
	for i := range int(batch.Record.NumRows()) {
		out = append(out, row{batch.Partition, batch.Place(i), text.Value(i), text.IsNull(i)})
	}
	return out
}

// readAll reads a bounded source to its end and returns the last marks.
func readAll(tb testing.TB, source *Source, from schemas.Marks) ([]row, schemas.Marks) {
	tb.Helper()
	var out []row
	marks := from.Clone()
	if marks == nil {
		marks = schemas.Marks{}
	}
	for batch, err := range source.Read(testContext(tb), from) {
		if err != nil {
			tb.Fatal(err)
		}
		for name, mark := range batch.Marks {
			if mark < marks[name] {
				tb.Fatalf("the mark %s went back from %d to %d", name, marks[name], mark)
			}
			marks[name] = mark
		}
		out = collect(batch, out)
	}
	return out, marks
}

// failure reads until there is an error.
func failure(tb testing.TB, read func(func(schemas.Batch, error) bool)) error {
	tb.Helper()
	for batch, err := range read {
		if err != nil {
			return err
		}
		batch.Release()
	}
	tb.Fatal("no error")
	return nil
}

func codeOf(tb testing.TB, err error) (schemas.Class, string) {
	tb.Helper()
	failed, ok := errors.AsType[*schemas.Error](err)
	if !ok {
		tb.Fatalf("not classified: %v", err)
	}
	return failed.Class, failed.Code
}

func newTestSource(tb testing.TB, connection *Connection, options SourceOptions) *Source {
	tb.Helper()
	source, err := NewSource(testContext(tb), connection, options)
	if err != nil {
		tb.Fatal(err)
	}
	return source
}
