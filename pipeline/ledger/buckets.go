package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// afterOpen is how long everything is kept after a start, however old: rows that a process paid and did not commit before
// it died are asked about first, and must find their answers.
const afterOpen = time.Hour

// bucket is a span of time whose answers go together. Dropping it is one operation, whatever is in it.
type bucket struct {
	began int64 // ms since the epoch
	ended int64 // when the next one began; 0: it is the one being filled
	last  int64 // the last sequence number that it can have to do with
}

// buckets are those that there are, the oldest first. The list is replaced, never changed.
type buckets struct {
	list   atomic.Pointer[[]bucket]
	keep   atomic.Int64 // ms; 0: answers are kept for good, and in no bucket
	opened time.Time
}

func (b *buckets) all() []bucket {
	if list := b.list.Load(); list != nil {
		return *list
	}
	return nil
}

// KeepFor says how long answers are kept from now on, about half as long again at the most; 0 is for good. It is for
// streams: their marks say what is done, and an answer serves only until its row is committed, or for reuse.
func (l *Ledger) KeepFor(duration time.Duration) { l.buckets.keep.Store(duration.Milliseconds()) }

// find lists the buckets on disk.
func (l *Ledger) find() (err error) {
	l.buckets.opened = time.Now()
	scan, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte("b/"), UpperBound: []byte("b0")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scan.Close()) }()
	var list []bucket
	for scan.First(); scan.Valid(); {
		key := scan.Key()
		if len(key) < len(bucketKey(0)) {
			return errors.New("a bucket has no name")
		}
		began := int64(binary.BigEndian.Uint64(key[2:])) //nolint:gosec // written from an int64
		if len(list) > 0 {
			list[len(list)-1].ended = began
		}
		list = append(list, bucket{began: began, last: l.durable.Load()})
		scan.SeekGE(bucketKey(began + 1))
	}
	l.buckets.list.Store(&list)
	return scan.Error()
}

// place is where an answer is written now. It is of the writer.
func (l *Ledger) place(key *Key) []byte {
	keep := l.buckets.keep.Load()
	if keep == 0 {
		return answerKey(key)
	}
	list, now := l.buckets.all(), time.Now().UnixMilli()
	last := len(list) - 1
	if last < 0 || list[last].ended != 0 || now >= list[last].began+max(keep/2, 1) {
		list = slices.Clone(list)
		began := now
		if last >= 0 {
			began = max(now, list[last].began+1) // a clock may go back
			list[last].ended, list[last].last = began, l.durable.Load()+groupLimit
		}
		list = append(list, bucket{began: began})
		l.buckets.list.Store(&list)
		last++
	}
	return append(bucketKey(list[last].began), key[:]...)
}

// Expire drops the answers that have been kept for long enough and that the usage table has. It is cheap where there are
// none. Rows that are answered and not committed must be younger.
func (l *Ledger) Expire() error {
	list, keep := l.buckets.all(), time.Duration(l.buckets.keep.Load())*time.Millisecond
	if keep == 0 || len(list) == 0 || time.Since(l.buckets.opened) < min(keep, afterOpen) {
		return nil
	}
	oldest := list[0]
	if oldest.ended == 0 || time.Since(time.UnixMilli(oldest.ended)) < keep {
		return nil
	}
	if waits, err := l.unforgotten(oldest.last); err != nil || waits {
		return err
	}
	if err := l.db.DeleteRange(bucketKey(oldest.began), bucketKey(oldest.began+1), pebble.NoSync); err != nil {
		return fmt.Errorf("ledger: expire: %w", err)
	}
	for { // the writer may begin a new one meanwhile
		list := l.buckets.list.Load()
		rest := slices.Clone((*list)[1:])
		if l.buckets.list.CompareAndSwap(list, &rest) {
			return nil
		}
	}
}

// unforgotten reports whether an ended invocation up to a sequence number is still to be read.
func (l *Ledger) unforgotten(upTo int64) (found bool, err error) {
	scan, err := l.db.NewIter(&pebble.IterOptions{LowerBound: usageKey(0), UpperBound: usageKey(upTo + 1)})
	if err != nil {
		return false, fmt.Errorf("ledger: expire: %w", err)
	}
	defer func() { err = errors.Join(err, scan.Close()) }()
	return scan.First(), scan.Error()
}

func bucketKey(began int64) []byte {
	return binary.BigEndian.AppendUint64([]byte("b/"), uint64(began)) //nolint:gosec // never negative
}
