package kafka

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"

	"github.com/inflowhq/inflow/schemas"
)

// The limits of a producer.
const (
	// maxProduceBytes bounds the records of one request to one partition, below the 1 MiB that a broker takes by default.
	maxProduceBytes = 512 << 10
	// maxProduceRecords bounds what must be sent again where one record is refused.
	maxProduceRecords = 10_000
	// maxOpenBytes bounds what is held back of the open epoch.
	maxOpenBytes = 4 << 20
	// recordOverhead is about what a record takes beside its key, its value and its headers.
	recordOverhead = 32
)

// message is a record on its way.
type message struct {
	key, value []byte
	headers    []protocol.Header
	time       time.Time
	from       string // the coordinates of its row, for whoever looks for it
}

func (m *message) size() int {
	size := recordOverhead + len(m.key) + len(m.value)
	for _, each := range m.headers {
		size += len(each.Key) + len(each.Value) + 4
	}
	return size
}

// producer writes to one topic with acknowledgement by all in-sync replicas. One goroutine adds; any may flush.
type producer struct {
	connection  *Connection
	topic       string
	compression kafka.Compression
	partitions  []int
	delivered   atomic.Int64

	// turn is held by whoever sends, so that each partition has its records in order: what was added first is sent by
	// the flush that has the turn first.
	turn chan struct{}

	mu     sync.Mutex // guards the rest; never held over I/O
	open   map[int][]message
	bytes  int
	sticky int // the partition of records without a key; the next one after every flush
	// lost is what records were lost with: nothing more is taken until reset. It is set before the turn is given away,
	// or else the flush behind would find nothing to send and take that for success.
	lost error
}

// add puts a message to its partition: by the key's hash as Java's clients do it, so that all of them agree. It reports
// whether there is enough for a flush.
func (p *producer) add(m message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	partition := p.partitions[p.sticky%len(p.partitions)]
	if m.key != nil {
		partition = kafka.Murmur2Balancer{}.Balance(kafka.Message{Key: m.key}, p.partitions...)
	}
	if p.open == nil {
		p.open = make(map[int][]message)
	}
	p.open[partition] = append(p.open[partition], m)
	p.bytes += m.size()
	return p.bytes >= maxOpenBytes
}

// lose drops what was not sent, and refuses more. The first reason stays.
func (p *producer) lose(err error) {
	p.take()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost == nil {
		p.lost = err
	}
}

// broken returns why nothing is taken, nil: it is.
func (p *producer) broken() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost == nil {
		return nil
	}
	return fmt.Errorf("kafka: rows written before were lost: %w", p.lost)
}

// reset drops what was not sent and begins anew.
func (p *producer) reset() {
	p.take()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost = nil
}

// take returns what was added and not sent.
func (p *producer) take() map[int][]message {
	p.mu.Lock()
	defer p.mu.Unlock()
	open := p.open
	p.open, p.bytes = nil, 0
	p.sticky++
	return open
}

// flush sends everything that was added and returns once all of it is acknowledged, in the order of each partition. It
// tries for as long as ctx lives where trying helps.
func (p *producer) flush(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := p.broken(); err != nil {
		return err
	}
	open := p.take()
	for len(open) > 0 {
		chunks := make(map[int][]message, len(open))
		for partition, messages := range open {
			n := cut(messages)
			chunks[partition] = messages[:n]
			if open[partition] = messages[n:]; n == len(messages) {
				delete(open, partition)
			}
		}
		if err := p.send(ctx, chunks); err != nil {
			p.lose(err)
			return err
		}
	}
	return nil
}

// cut returns how many messages go into one request.
func cut(messages []message) int {
	size := 0
	for i := range messages {
		if size += messages[i].size(); i > 0 && size > maxProduceBytes || i == maxProduceRecords {
			return i
		}
	}
	return len(messages)
}

// send writes one chunk to each partition.
func (p *producer) send(ctx context.Context, chunks map[int][]message) error {
	var stale time.Time
	gone := vanished{topic: p.topic, mend: p.connection.createTopic(p.topic)}
	return p.connection.persist(ctx, 0, func(ctx context.Context) error {
		leaders := make(map[string][]int)
		for partition := range chunks {
			address, err := p.connection.leader(ctx, place{p.topic, int32(partition)}, stale) //nolint:gosec // Kafka's are 32 bits
			if err != nil {
				stale = time.Now()
				return gone.look(err)
			}
			leaders[address] = append(leaders[address], partition)
		}
		var faults []error
		for address, partitions := range leaders {
			faults = append(faults, p.request(ctx, address, partitions, chunks))
		}
		stale = time.Now()
		return worst(faults)
	})
}

// request sends the chunks of partitions that one broker leads. Chunks that are acknowledged are taken out.
func (p *producer) request(ctx context.Context, address string, partitions []int, chunks map[int][]message) error {
	request := &produce.Request{Acks: int16(kafka.RequireAll), Timeout: int32(p.connection.options.Timeout.Milliseconds())} //nolint:gosec // seconds
	topic := produce.RequestTopic{Topic: p.topic}
	for _, partition := range partitions {
		records := make([]protocol.Record, 0, len(chunks[partition]))
		for i := range chunks[partition] {
			m := &chunks[partition][i]
			record := protocol.Record{Time: m.time, Headers: m.headers}
			if m.key != nil {
				record.Key = protocol.NewBytes(m.key)
			}
			if m.value != nil {
				record.Value = protocol.NewBytes(m.value)
			}
			records = append(records, record)
		}
		topic.Partitions = append(topic.Partitions, produce.RequestPartition{
			Partition: int32(partition), //nolint:gosec // Kafka's are 32 bits
			RecordSet: protocol.RecordSet{
				Attributes: protocol.Attributes(p.compression), Records: protocol.NewRecordReader(records...),
			},
		})
	}
	request.Topics = []produce.RequestTopic{topic}
	var answer *produce.Response
	err := p.connection.at(ctx, address, func(s *session) error {
		var err error
		answer, err = ask[*produce.Response](s, request)
		return err
	})
	if err != nil {
		return err
	}
	var faults []error
	for _, topic := range answer.Topics {
		for _, each := range topic.Partitions {
			faults = append(faults, p.settle(ctx, int(each.Partition), kafka.Error(each.ErrorCode), chunks))
		}
	}
	return worst(faults)
}

// settle looks at the answer about one chunk.
func (p *producer) settle(ctx context.Context, partition int, code kafka.Error, chunks map[int][]message) error {
	chunk := chunks[partition]
	switch code { //nolint:exhaustive // the others mean what they always mean
	case 0:
		p.delivered.Add(int64(len(chunk)))
		delete(chunks, partition)
		return nil
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge:
		if len(chunk) == 1 {
			return &schemas.Error{
				Op: "kafka: write to " + p.topic, Class: schemas.Fatal, Code: codeTooLarge,
				Err:  fmt.Errorf("the record of %s has %d bytes, more than the topic takes", chunk[0].from, chunk[0].size()),
				Mend: "raise the topic's max.message.bytes, or write fewer columns",
			}
		}
		half := len(chunk) / 2 // one after the other, so that the order stays
		for _, part := range [][]message{chunk[:half], chunk[half:]} {
			if err := p.send(ctx, map[int][]message{partition: part}); err != nil {
				return err
			}
		}
		delete(chunks, partition)
		return nil
	}
	return p.connection.classify(ctx, "kafka: write to "+place{p.topic, int32(partition)}.name(), code) //nolint:gosec // Kafka's are 32 bits
}
