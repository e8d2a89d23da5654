package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/inflowhq/inflow/schemas"
)

const (
	queueLength = 4096     // appends waiting for the writer; more wait in Begin and Settle
	groupLimit  = 2048     // appends in one batch, so that one sync never waits for an endless group
	groupBytes  = 16 << 20 // of their answers, at about the same
)

// entry is one append. complete is called exactly once, after the sync or the failure, from the writer: it must
// not block.
type entry struct {
	origin   *origin             // of the invocation, where the ledger has it not yet
	begun    []byte              // invocation id to note as about to be sent
	note     []byte              // its record
	unsent   []byte              // invocation id whose note is taken back
	ended    *schemas.Invocation // that ended
	ending   []byte              // its record
	answers  []answer            // that it brought
	complete func(error)
}

// size is that of the answers, in bytes.
func (e *entry) size() (size int) {
	for _, each := range e.answers {
		size += len(each.value)
	}
	return size
}

// answer is an answer's key and its record.
type answer struct {
	key   *Key
	value []byte
}

// appendAndWait returns when the entry is durable. Once it is in the queue it will be written: the wait is
// short and is not cut off, or the caller could not know which of the two happened.
func (l *Ledger) appendAndWait(ctx context.Context, e entry) error {
	durable := make(chan error, 1)
	e.complete = func(err error) { durable <- err }
	if err := l.append(ctx, e); err != nil {
		return err
	}
	return <-durable
}

func (l *Ledger) append(ctx context.Context, e entry) error {
	select {
	case <-l.stop:
		return errClosed
	default:
	}
	select {
	case l.queue <- e:
		return nil
	case <-l.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write is the one goroutine that appends. It ends after Close, when the queue is empty.
func (l *Ledger) write() {
	defer close(l.finished)
	group := make([]entry, 0, groupLimit)
	for {
		group = group[:0]
		size := 0
		select {
		case e := <-l.queue:
			group, size = append(group, e), e.size()
		case <-l.stop:
			select {
			case e := <-l.queue:
				group = append(group, e)
			default:
				return
			}
		}
	gather:
		for len(group) < groupLimit && size < groupBytes {
			select {
			case e := <-l.queue:
				group, size = append(group, e), size+e.size()
			default:
				break gather
			}
		}
		err := l.commit(group)
		for i := range group {
			group[i].complete(err)
			group[i] = entry{}
		}
	}
}

// commit makes a group durable. After a failed write nothing more is accepted: what Pebble still holds is not
// known, and an answer that nobody can rely on must not be handed on.
func (l *Ledger) commit(group []entry) error {
	if cause := l.failure.Load(); cause != nil {
		return *cause
	}
	batch := l.db.NewBatch()
	sequence := l.durable.Load()
	var err error
	set := func(key, value []byte) {
		if err == nil {
			err = batch.Set(key, value, nil)
		}
	}
	for i := range group {
		e := &group[i]
		if e.origin != nil {
			set(originKey(e.origin.id), e.origin.data)
		}
		if e.begun != nil {
			set(intentKey(e.begun), e.note)
		}
		if e.unsent != nil && err == nil {
			err = batch.SingleDelete(intentKey(e.unsent), nil)
		}
		if e.ended != nil {
			sequence++
			set(usageKey(sequence), e.ending)
			if err == nil {
				// A note is written once, so that the pair of them can vanish without a trace.
				err = batch.SingleDelete(intentKey([]byte(e.ended.InvocationID)), nil)
			}
		}
		for _, each := range e.answers {
			set(l.place(each.key), each.value)
		}
	}
	set(sequenceKey(), binary.BigEndian.AppendUint64(nil, uint64(sequence))) //nolint:gosec // never negative
	if err == nil {
		err = batch.Commit(pebble.Sync)
	}
	if err != nil {
		err = fmt.Errorf("ledger: write: %w", errors.Join(err, batch.Close()))
		l.failure.Store(&err)
		return err
	}
	ended := l.durable.Load()
	for i := range group {
		if group[i].origin != nil {
			group[i].origin.durable.Store(true)
		}
		if group[i].ended != nil {
			ended++
			l.recent.add(ended, group[i].ended)
		}
	}
	l.durable.Store(sequence)
	return batch.Close()
}
