package kafka

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// minFetchVersion is the first version of Fetch that tells of aborted transactions and brings a record of any size.
const minFetchVersion = 4

// session is one authenticated connection to one broker. It is not safe for concurrent use.
//
// It asks with the messages of kafka-go. Only the answers to a fetch are read here: kafka-go's decoder of record sets
// loses the last offset of a batch, without which a compacted batch cannot be passed; takes records that it cannot read
// for the end of the batch; and allocates whatever a batch claims to hold.
type session struct {
	conn     net.Conn
	wire     *protocol.Conn
	clientID string
	// fetchVersion is the version of Fetch that both sides speak.
	fetchVersion int16
	correlation  int32
	buffer       []byte // the last answer to a fetch
}

// open dials a broker and authenticates. Its errors are classified.
func (c *Connection) open(ctx context.Context, address string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{KeepAlive: 30 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, c.classify(ctx, "kafka: "+address, err)
	}
	s := &session{conn: conn, clientID: c.options.ClientID}
	release := s.bind(ctx)
	defer release()
	if err := s.handshake(ctx, c, address); err != nil {
		s.close()
		return nil, c.classify(ctx, "kafka: "+address, err)
	}
	return s, nil
}

func (s *session) handshake(ctx context.Context, c *Connection, address string) error {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if c.tls != nil {
		config := c.tls
		if config.ServerName == "" {
			config = config.Clone()
			config.ServerName = host
		}
		secure := tls.Client(s.conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		s.conn = secure
	}
	s.wire = protocol.NewConn(s.conn, s.clientID)
	if err := s.negotiate(); err != nil {
		return err
	}
	if c.mechanism == nil {
		return nil
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	err = s.authenticate(sasl.WithMetadata(ctx, &sasl.Metadata{Host: host, Port: port}), c.mechanism)
	if (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) && !c.reached.Load() {
		// Some brokers say no by hanging up. One that answered before is rather going away.
		err = fmt.Errorf("%w: the broker closed the connection", kafka.SASLAuthenticationFailed)
	}
	return err
}

// negotiate learns which versions of each request the broker speaks.
func (s *session) negotiate() error {
	versions, err := ask[*apiversions.Response](s, &apiversions.Request{})
	if err != nil {
		return err
	}
	if versions.ErrorCode != 0 {
		return kafka.Error(versions.ErrorCode)
	}
	spoken := make(map[protocol.ApiKey]int16, len(versions.ApiKeys))
	for _, each := range versions.ApiKeys {
		key := protocol.ApiKey(each.ApiKey)
		switch key { //nolint:exhaustive // what is asked here
		case protocol.Fetch:
			s.fetchVersion = min(each.MaxVersion, key.MaxVersion())
		case protocol.Produce, protocol.ListOffsets, protocol.Metadata, protocol.OffsetCommit, protocol.OffsetFetch,
			protocol.FindCoordinator, protocol.Heartbeat, protocol.SaslHandshake, protocol.SaslAuthenticate:
			spoken[key] = key.SelectVersion(each.MinVersion, each.MaxVersion)
		}
	}
	if s.fetchVersion < minFetchVersion {
		return fmt.Errorf("the broker speaks version %d of Fetch, %d is the least: %w", s.fetchVersion, minFetchVersion, kafka.UnsupportedVersion)
	}
	s.wire.SetVersions(spoken)
	return nil
}

func (s *session) authenticate(ctx context.Context, mechanism sasl.Mechanism) error {
	handshake, err := ask[*saslhandshake.Response](s, &saslhandshake.Request{Mechanism: mechanism.Name()})
	if err != nil {
		return err
	}
	if handshake.ErrorCode != 0 {
		return fmt.Errorf("%w: the broker has %v", kafka.Error(handshake.ErrorCode), handshake.Mechanisms)
	}
	exchange, message, err := mechanism.Start(ctx)
	if err != nil {
		return err
	}
	for done := false; !done; {
		// What the broker says of a failure may repeat what it was told; the code is enough.
		answer, err := ask[*saslauthenticate.Response](s, &saslauthenticate.Request{AuthBytes: message})
		if err != nil {
			return err
		}
		if answer.ErrorCode != 0 {
			return kafka.Error(answer.ErrorCode)
		}
		if done, message, err = exchange.Next(ctx, answer.AuthBytes); err != nil {
			return fmt.Errorf("%w: %w", kafka.SASLAuthenticationFailed, err)
		}
	}
	return nil
}

// ask sends a request and waits for its answer.
func ask[T protocol.Message](s *session, request protocol.Message) (T, error) {
	var none T
	message, err := s.wire.RoundTrip(request)
	if err != nil {
		return none, err
	}
	answer, ok := message.(T)
	if !ok {
		return none, fmt.Errorf("%w: an answer to something else", errFormat)
	}
	return answer, nil
}

// bind makes whatever the session waits for fail once ctx ends. The function that it returns unbinds it.
func (s *session) bind(ctx context.Context) func() {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Time{}
	}
	// An error of setting a deadline is that of a closed connection, which the next read tells.
	_ = s.conn.SetDeadline(deadline)
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = s.conn.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
		_ = s.conn.SetDeadline(time.Time{})
	}
}

func (s *session) close() {
	_ = s.conn.Close() // nothing is written that would have to arrive
}

// askFetch sends a request for the records of a partition; readFetch reads the answer. Between the two the broker
// works, so the answer to the next request is under way while this one's is decoded.
func (s *session) askFetch(topic string, partition int32, offset int64, o *fetchOptions) error {
	s.correlation++
	return protocol.WriteRequest(s.wire, s.fetchVersion, s.correlation, s.clientID, &fetch.Request{
		ReplicaID: -1, MaxWaitTime: int32(o.wait.Milliseconds()), MinBytes: 1, MaxBytes: o.bytes, IsolationLevel: o.isolation, //nolint:gosec // half a second
		SessionEpoch: -1, // no fetch session
		Topics: []fetch.RequestTopic{{Topic: topic, Partitions: []fetch.RequestPartition{{
			Partition: partition, CurrentLeaderEpoch: -1, FetchOffset: offset, LogStartOffset: -1, PartitionMaxBytes: o.bytes,
		}}}},
	})
}

// fetchOptions are the same for every fetch of a source.
type fetchOptions struct {
	wait      time.Duration // how long the broker holds an answer back that would be empty
	bytes     int32         // of an answer, where no single batch is larger
	limit     int           // of any answer, and of a record
	isolation int8
	timeout   time.Duration // beyond wait
}

// readFetch reads the answer to the last askFetch. What it returns is good until the next call.
func (s *session) readFetch(ctx context.Context, o *fetchOptions) (*fetched, error) {
	// The context is looked at after the deadline was set: it may have ended, and set its own, just before.
	_ = s.conn.SetReadDeadline(time.Now().Add(o.wait + o.timeout))
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var head [8]byte
	if _, err := io.ReadFull(s.wire, head[:]); err != nil {
		return nil, err
	}
	size, correlation := int(int32(binary.BigEndian.Uint32(head[:]))), int32(binary.BigEndian.Uint32(head[4:])) //nolint:gosec // as they are on the wire
	size -= 4
	if size < 0 || correlation != s.correlation {
		return nil, fmt.Errorf("%w: %d bytes for request %d", errFormat, size, correlation)
	}
	if size > o.limit+responseOverhead {
		return nil, tooLarge(int64(size), o.limit)
	}
	if cap(s.buffer) < size || cap(s.buffer) > 4*int(o.bytes) && size <= int(o.bytes) { // one large record is not paid for forever
		s.buffer = make([]byte, max(size, 64<<10))
	}
	s.buffer = s.buffer[:size]
	if _, err := io.ReadFull(s.wire, s.buffer); err != nil {
		return nil, err
	}
	return parseFetch(s.buffer, s.fetchVersion)
}
