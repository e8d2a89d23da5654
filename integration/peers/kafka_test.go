//go:build integration

package peers_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/integration/peers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// consumeTimeout bounds the reading of what a test has written.
const consumeTimeout = time.Minute

func startKafka(t *testing.T) *peers.Kafka {
	t.Helper()
	kafka, err := peers.StartKafka(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kafka.Stop(); err != nil {
			t.Error(err)
		}
	})
	return kafka
}

func createTopic(t *testing.T, kafka *peers.Kafka, name string, partitions int32) {
	t.Helper()
	if err := kafka.CreateTopic(t.Context(), name, partitions, map[string]string{"retention.ms": "-1"}); err != nil {
		t.Fatal(err)
	}
}

// consume gives take every record until there have been so many, and leaves them committed where opts name a group.
func consume(t *testing.T, addr string, count int, take func(*kgo.Record), opts ...kgo.Opt) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), consumeTimeout)
	defer cancel()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	seen := 0
	for seen < count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", seen, count, err)
		}
		fetches.EachRecord(take)
		seen += fetches.NumRecords()
	}
	if seen != count {
		t.Errorf("%d records, want %d", seen, count)
	}
	if group, _ := client.GroupMetadata(); group != "" {
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKafka kills the broker and finds everything again: records, topics, what a group has committed.
func TestKafka(t *testing.T) {
	t.Parallel()
	const partitions, count, group = 6, 12_000, "readers"
	kafka := startKafka(t)
	createTopic(t, kafka, "tickets", partitions)
	if err := kafka.CreateTopic(t.Context(), "tickets", partitions, nil); !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Errorf("the topic was made twice: %v", err)
	}
	if err := kafka.Produce(t.Context(), "tickets", 0, count/2); err != nil {
		t.Fatal(err)
	}
	if err := kafka.Produce(t.Context(), "tickets", count/2, count); err != nil {
		t.Fatal(err)
	}
	if err := kafka.Produce(t.Context(), "tikcets", 0, 1); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("a topic that does not exist was written: %v", err)
	}
	each := map[int32]int64{}
	for partition := range int32(partitions) {
		each[partition] = count / partitions
	}
	login := scram.Auth{User: peers.KafkaUser, Pass: peers.KafkaPassword}
	read := func(when, addr string, opts ...kgo.Opt) {
		consume(t, addr, count, func(record *kgo.Record) {
			number := record.Offset*partitions + int64(record.Partition)
			key, value := peers.Ticket(number)
			if string(record.Key) != string(key) || string(record.Value) != string(value) {
				t.Errorf("%s: partition %d, offset %d: %s: %s", when, record.Partition, record.Offset, record.Key, record.Value)
			}
		}, append(opts, kgo.ConsumeTopics("tickets"))...)
		if ends, err := kafka.Ends(t.Context(), "tickets"); err != nil || !maps.Equal(ends, each) {
			t.Errorf("%s: the topic ends at %v, %v, want %v", when, ends, err, each)
		}
	}
	read("at first", kafka.Addr, kgo.ConsumerGroup(group), kgo.DisableAutoCommit())
	read("over SCRAM-SHA-256", kafka.SASLAddr, kgo.SASL(login.AsSha256Mechanism()))

	stranger, err := kgo.NewClient(kgo.SeedBrokers(kafka.SASLAddr), kgo.SASL(scram.Auth{User: peers.KafkaUser, Pass: "a guess"}.AsSha256Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Ping(t.Context()); !errors.Is(err, kerr.SaslAuthenticationFailed) {
		t.Errorf("a wrong password: %v", err)
	}

	const many = 1_000_000
	createTopic(t, kafka, "many", partitions)
	start := time.Now()
	if err := kafka.Produce(t.Context(), "many", 0, many); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d tickets in %s", many, time.Since(start))

	addr := kafka.Addr
	if err := kafka.Kill(); err != nil {
		t.Fatal(err)
	}
	if connection, err := net.Dial("tcp", addr); err == nil {
		_ = connection.Close()
		t.Error("the broker still listens after it was killed")
	}
	if err := kafka.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kafka.Addr != addr {
		t.Errorf("it is at %s now and was at %s", kafka.Addr, addr)
	}
	read("after the kill", kafka.Addr)
	var found int64
	ends, err := kafka.Ends(t.Context(), "many")
	for _, end := range ends {
		found += end
	}
	if err != nil || found != many || len(ends) != partitions {
		t.Errorf("many ends at %v, %v: %d records, want %d", ends, err, found, many)
	}
	if committed, err := kafka.Committed(t.Context(), group, "tickets"); err != nil || !maps.Equal(committed, each) {
		t.Errorf("%s has committed %v, %v, want %v", group, committed, err, each)
	}
	if committed, err := kafka.Committed(t.Context(), "nobody", "tickets"); err != nil || len(committed) != 0 {
		t.Errorf("nobody has committed %v, %v", committed, err)
	}

	if err := kafka.Restart(t.Context()); err != nil { // in order, this time
		t.Fatal(err)
	}
	read("after a stop", kafka.SASLAddr, kgo.SASL(login.AsSha512Mechanism()))
}
