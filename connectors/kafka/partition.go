package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/inflowhq/inflow/schemas"
)

// partition reads one partition: one goroutine, one connection, at most one answer and one batch in memory. While the
// batch waits to be taken nothing is fetched but the answer that is already under way, and that one stays with the
// broker once the socket's buffers are full.
type partition struct {
	begin
	*reader
	rows     rows
	unpacker unpacker

	pending bool // a fetch of next was asked for on the session
	corrupt int  // batches in a row that could not be read
	missing vanished
}

// errLeader says that another broker is to be asked.
var errLeader = errors.New("the leader moved")

// run sends what it reads until it is at the end, fails or ctx ends.
func (p *partition) run(ctx context.Context, items chan<- item) {
	defer p.unpacker.close()
	defer p.rows.release()
	err := p.follow(ctx, items)
	if err == nil || ctx.Err() != nil {
		return
	}
	select {
	case items <- item{err: err}:
	case <-ctx.Done():
	}
}

// follow reads from one leader after another.
func (p *partition) follow(ctx context.Context, items chan<- item) error {
	if p.chosen {
		if err := p.send(ctx, items, p.next); err != nil || p.done() {
			return err
		}
	}
	var stale time.Time
	for {
		// Where a leader answers, persist begins anew, so every outage has its own backoff.
		var s *session
		err := p.connection.persist(ctx, 0, func(ctx context.Context) error {
			address, err := p.connection.leader(ctx, p.place, stale)
			if err == nil {
				s, err = p.connection.open(ctx, address)
			}
			if err != nil {
				stale = time.Now()
				return p.missing.look(err)
			}
			// The first answer belongs to the outage as well: a broker that cannot serve yet still takes connections.
			p.pending = false
			if err = p.step(ctx, s, items); err != nil {
				s.close()
				s = nil
				stale = time.Now()
			}
			return err
		})
		for err == nil && !p.done() {
			err = p.step(ctx, s, items)
		}
		if s != nil {
			s.close()
		}
		if err == nil || ctx.Err() != nil || schemas.ClassOf(err) != schemas.Transient && schemas.ClassOf(err) != schemas.Throttled {
			return err
		}
		stale = time.Now()
	}
}

func (p *partition) done() bool { return p.bounded && p.next >= p.end }

// step fetches once and sends what came. Its errors are classified.
func (p *partition) step(ctx context.Context, s *session, items chan<- item) error {
	release := s.bind(ctx)
	answer, err := p.ask(ctx, s)
	release()
	if err != nil {
		return p.connection.classify(ctx, "kafka: "+p.name(), err)
	}
	p.missing.since = time.Time{}
	if answer.code != 0 {
		return p.refused(ctx, kafka.Error(answer.code))
	}
	if p.done() { // a mark beyond the end at which the source was made, and there is such an offset by now
		return nil
	}
	if err = p.take(ctx, s, answer, items); err != nil {
		p.rows.discard() // they are fetched again
	}
	if errors.Is(err, errFormat) {
		if p.corrupt++; p.corrupt < maxCorruptAttempts { // it may have been the wire
			return &schemas.Error{Op: "kafka: " + p.name(), Class: schemas.Transient, Code: codeCorrupt, Err: err}
		}
		return &schemas.Error{
			Op: "kafka: " + p.name(), Class: schemas.Fatal, Code: codeCorrupt, Err: fmt.Errorf("at offset %d: %w", p.next, err),
			Mend: "look at the log with kafka-dump-log, and start behind the batch by explicit offsets",
		}
	}
	if err == nil {
		p.corrupt = 0
	}
	return err
}

func (p *partition) ask(ctx context.Context, s *session) (*fetched, error) {
	if !p.pending {
		if err := s.askFetch(p.topic, p.id, p.next, &p.fetch); err != nil {
			return nil, err
		}
	}
	p.pending = false
	return s.readFetch(ctx, &p.fetch)
}

// refused says what an answer without records means.
func (p *partition) refused(ctx context.Context, code kafka.Error) error {
	switch code { //nolint:exhaustive // the others mean what they always mean
	case kafka.OffsetOutOfRange:
		return p.outOfRange(ctx)
	case kafka.NotLeaderForPartition, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.ReplicaNotAvailable:
		return &schemas.Error{Op: "kafka: " + p.name(), Class: schemas.Transient, Code: codeUnavailable, Err: errLeader}
	}
	return p.connection.classify(ctx, "kafka: "+p.name(), code)
}

// outOfRange finds out why the log has not got the next offset.
func (p *partition) outOfRange(ctx context.Context) error {
	one := []place{p.place}
	starts, err := p.connection.offsets(ctx, one, logStart, 0)
	if err != nil {
		return err
	}
	ends, err := p.connection.offsets(ctx, one, logEnd, 0)
	if err != nil {
		return err
	}
	start, end := starts[p.place], ends[p.place]
	out := &schemas.Error{Op: "kafka: " + p.name(), Class: schemas.Fatal}
	switch {
	case p.next < start:
		out.Code = codeRecordsLost
		out.Err = fmt.Errorf("the next offset is %d, but the log begins at %d: %d offsets are gone", p.next, start, start-p.next)
		out.Mend = "raise the topic's retention.ms so that it outlasts any stop of the job; to go on without those records set fail_on_data_loss: false"
	case p.next > end:
		out.Code = codeMadeAnew
		out.Err = fmt.Errorf("the next offset is %d, but the log ends at %d: the topic was made anew or cut", p.next, end)
		out.Mend = "give the job another name to read the new topic from its start, or set fail_on_data_loss: false"
	default: // in the meantime it is in range
		out.Class, out.Code, out.Err = schemas.Transient, codeUnavailable, kafka.OffsetOutOfRange
		return out
	}
	if !p.options.AcceptDataLoss {
		return out
	}
	p.connection.logger.WarnContext(ctx, "kafka: going on from the earliest record, as data loss is accepted",
		"partition", p.name(), "code", out.Code, "next", p.next, "log_start", start, "log_end", end, "lost", max(0, start-p.next))
	p.next = start
	return nil
}

// take sends the records of an answer.
func (p *partition) take(ctx context.Context, s *session, answer *fetched, items chan<- item) error {
	after, err := nextOffset(answer.records, p.next)
	if err != nil {
		return err
	}
	if after == p.next {
		if len(answer.records) > 0 {
			return fmt.Errorf("%w: no whole batch in %d bytes", errFormat, len(answer.records))
		}
		return p.empty(ctx, answer, items)
	}
	if !p.bounded || after < p.end { // while these are decoded the broker is at work on the next ones
		p.pending = s.askFetch(p.topic, p.id, after, &p.fetch) == nil
	}
	sent, dead := p.next, deadTransactions{aborted: answer.aborted}
	for data := answer.records; ; {
		b, rest, ok, err := nextBatch(data)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		data = rest
		if b.last < p.next || !dead.keeps(&b, p.fetch.isolation == readCommitted) {
			continue
		}
		if err := p.records(ctx, &b, items, &sent); err != nil {
			return err
		}
	}
	p.next = after
	if p.bounded {
		p.next = min(p.next, p.end)
	}
	if p.next == sent {
		return nil
	}
	return p.send(ctx, items, p.next)
}

// nextOffset returns where to go on behind a set of batches, whatever is in them.
func nextOffset(data []byte, next int64) (int64, error) {
	for {
		b, rest, ok, err := nextBatch(data)
		if err != nil || !ok {
			return next, err
		}
		next, data = max(next, b.last+1), rest
	}
}

// records adds the records of a batch and sends what is full. sent is how far the partition's mark was sent. p.next is
// moved along, so that what is read again after a failure begins behind what was sent.
func (p *partition) records(ctx context.Context, b *batch, items chan<- item, sent *int64) error {
	if err := p.unpacker.open(b); err != nil {
		return err
	}
	defer p.unpacker.endBatch()
	var r record
	for range b.count {
		if err := p.unpacker.next(b, &r); err != nil {
			return err
		}
		if r.offset < p.next {
			continue
		}
		if p.bounded && r.offset >= p.end {
			return nil
		}
		if r.value == nil && !p.options.TombstoneRows {
			continue
		}
		origin, offset, err := p.rows.where(&r)
		if err != nil {
			return err
		}
		if p.rows.full() || len(p.rows.offsets) > 0 && p.rows.letter && p.rows.origin != origin {
			if err := p.send(ctx, items, r.offset); err != nil {
				return err
			}
			*sent, p.next = r.offset, r.offset
		}
		if err := p.rows.add(ctx, &r, origin, offset); err != nil {
			return err
		}
	}
	return nil
}

// empty looks at an answer without any record. Behind the last batch of a log that was compacted there may be offsets
// that no fetch will bring: then the end is reached.
func (p *partition) empty(ctx context.Context, answer *fetched, items chan<- item) error {
	end := answer.high
	if p.fetch.isolation == readCommitted && answer.stable >= 0 {
		end = min(end, answer.stable)
	}
	if !p.bounded || answer.throttled || end < p.end {
		return nil
	}
	p.next = p.end
	return p.send(ctx, items, p.next)
}

// send hands over the open batch, with the partition read up to next.
func (p *partition) send(ctx context.Context, items chan<- item, next int64) error {
	batch := p.rows.batch(next)
	select {
	case items <- item{batch: batch}:
		return nil
	case <-ctx.Done():
		batch.Release()
		return ctx.Err()
	}
}

// deadTransactions tells which batches of an answer belong to transactions that were aborted.
type deadTransactions struct {
	aborted []aborted // those that have not begun yet, by offset
	dead    map[int64]bool
}

// keeps reports whether the records of a batch are to be read. It is to see every batch of an answer in order.
func (d *deadTransactions) keeps(b *batch, committed bool) bool {
	for len(d.aborted) > 0 && d.aborted[0].offset <= b.last {
		if d.dead == nil {
			d.dead = make(map[int64]bool)
		}
		d.dead[d.aborted[0].producer] = true
		d.aborted = d.aborted[1:]
	}
	if b.attributes&attributeControl != 0 {
		// A marker ends the transaction of its producer, whichever way; a later one has an entry of its own.
		delete(d.dead, b.producer)
		return false
	}
	return !committed || b.attributes&attributeTransactional == 0 || !d.dead[b.producer]
}
