package peers

import (
	"context"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Ticket is the record number i that Produce writes: key and value are known from the number alone. The value is one
// JSON object of about 150 bytes; its ticket_id is i.
func Ticket(i int64) (key, value []byte) {
	const subjects = 7
	key = strconv.AppendInt([]byte("ticket-"), i, 10)
	value = make([]byte, 0, 192)
	value = append(value, `{"ticket_id":`...)
	value = strconv.AppendInt(value, i, 10)
	value = append(value, `,"subject":"Order `...)
	value = strconv.AppendInt(value, i*subjects, 10)
	value = append(value, ` has not come","body":"It was due days ago, and nobody answers. Please look.","amount":`...)
	value = strconv.AppendInt(value, i%1000, 10)
	value = append(value, `.25,"urgent":`...)
	value = strconv.AppendBool(value, i%subjects == 0)
	return key, append(value, '}')
}

// Produce writes the tickets from to until, without the last, to a topic of JSON records: number i to partition i mod
// the number of partitions, in order. In a topic that nobody else writes its offset is i div that number.
func (k *Kafka) Produce(ctx context.Context, topic string, from, until int64) error {
	client, err := k.client(
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		// Batches are filled by the loop below, which is faster than any network; waiting would only be waiting.
		kgo.ProducerLinger(0),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	metadata, err := describe(ctx, client, topic)
	if err != nil {
		return fmt.Errorf("peers: produce to %s: %w", topic, err)
	}
	partitions := int64(len(metadata.Topics[0].Partitions))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	acknowledged := func(_ *kgo.Record, err error) {
		if err != nil {
			cancel(err) // the first is the cause
		}
	}
	for i := from; i < until && ctx.Err() == nil; i++ {
		key, value := Ticket(i)
		client.Produce(ctx, &kgo.Record{Key: key, Value: value, Partition: int32(i % partitions)}, acknowledged) //nolint:gosec // less than an int32
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("peers: produce to %s: %w", topic, context.Cause(ctx))
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("peers: produce to %s: %w", topic, err)
	}
	return nil
}
