// Package ledger keeps the durable record of every call that was or may have been paid for. It owns what is
// never paid twice and what the usage table still has to learn; it does not decide what to ask or when.
//
// On disk it is one Pebble store. Keys:
//
//	a/<key>             the answer of a request
//	b/<bucket><key>     the same, where answers are kept for a time; the bucket is the time at which it began
//	i/<invocation id>   an invocation that is about to be sent
//	u/<sequence>        an invocation that ended, until the usage table has it
//	o/<hash>            an origin: what invocations share, kept once: CBOR of schemas.Origin
//	m/id, m/sequence    the ledger's name and the last sequence number given out
//
// The values of the first four are CBOR of record.
//
// Everything goes through one goroutine that gathers what is waiting, writes it as one batch and syncs it
// once, so that the cost of an fsync is shared by all calls in flight.
package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/fxamacker/cbor/v2"
	"github.com/google/uuid"

	"github.com/inflowhq/inflow/schemas"
)

// ErrLocked is returned by Open while another process holds the ledger.
var ErrLocked = errors.New("another run holds the ledger")

// errClosed is what waits of a closed ledger get.
var errClosed = errors.New("the ledger is closed")

const (
	cacheBytes   = 32 << 20 // Pebble's block cache, in which it also reserves its write buffers
	memTableSize = 8 << 20  // Pebble's write buffer
	// walSyncInterval is the least time between two syncs: what arrives meanwhile shares the next one. A sync is a
	// good part of what a call costs, and a millisecond a small part of what a model takes.
	walSyncInterval = time.Millisecond
)

// Key identifies a question of a row: what must be equal for an answer to serve again.
type Key [32]byte

// Ledger is the record. Its methods are safe for concurrent use.
type Ledger struct {
	db       *pebble.DB
	lock     *pebble.Lock
	encoding cbor.EncMode
	decoding cbor.DecMode
	id       string
	queue    chan entry
	stop     chan struct{} // closed by Close: nothing more is taken
	finished chan struct{} // closed when the writer has ended
	closing  sync.Once
	durable  atomic.Int64 // last sequence number on disk
	recent   recent
	origins  origins
	seen     *seen // nil: there were answers when it was opened, and every lookup goes to disk
	failure  atomic.Pointer[error]
	buckets  buckets
}

// record is a value on disk: an answer, an invocation without one, or the key of the answer that holds it.
type record struct {
	Origin     []byte              `cbor:"1,keyasint,omitempty"` // where the invocation's origin is
	Answer     *schemas.Answer     `cbor:"2,keyasint,omitempty"`
	Invocation *schemas.Invocation `cbor:"3,keyasint,omitempty"`
	Key        []byte              `cbor:"4,keyasint,omitempty"`
}

// Kept is an answer, and the key under which it is found again.
type Kept struct {
	Key    Key
	Answer *schemas.Answer
}

// Open opens the ledger in dir, making it where there is none. Invocations that were on the wire when the
// last process ended without a word are closed as ambiguous: they may have been paid.
func Open(dir string) (*Ledger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the ledger's folder: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("lock the ledger: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w in %s%s", ErrLocked, dir, holder(dir))
	}
	db, err := open(dir, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	encoding, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		return nil, errors.Join(err, db.Close(), lock.Close())
	}
	// A text that is no UTF-8 must not make a ledger of paid answers unreadable; what is written is cleaned before.
	decoding, err := cbor.DecOptions{UTF8: cbor.UTF8DecodeInvalid}.DecMode()
	if err != nil {
		return nil, errors.Join(err, db.Close(), lock.Close())
	}
	l := &Ledger{
		db:       db,
		lock:     lock,
		encoding: encoding,
		decoding: decoding,
		queue:    make(chan entry, queueLength),
		stop:     make(chan struct{}),
		finished: make(chan struct{}),
	}
	if err := errors.Join(l.identify(), l.find(), l.recover()); err != nil {
		return nil, errors.Join(fmt.Errorf("read the ledger in %s: %w", dir, err), db.Close(), lock.Close())
	}
	// Only a hint for the message that a second run prints; the lock above is what counts.
	if err := os.WriteFile(filepath.Join(dir, "holder"), fmt.Appendf(nil, "%d", os.Getpid()), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write into the ledger's folder: %w", err), db.Close(), lock.Close())
	}
	go l.write()
	return l, nil
}

// holder says which process holds the ledger, where that can be read.
func holder(dir string) string {
	pid, err := os.ReadFile(filepath.Join(dir, "holder")) //nolint:gosec // a file of our own folder
	if err != nil {
		return ""
	}
	return " (process " + string(pid) + ")"
}

func open(dir string, lock *pebble.Lock) (*pebble.DB, error) {
	options := &pebble.Options{
		Lock:               lock,
		Logger:             quiet{},
		MemTableSize:       memTableSize,
		FormatMajorVersion: pebble.FormatNewest,
		CacheSize:          cacheBytes,
	}
	options.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 128, MaxBlobReferenceDepth: 1000, RewriteMinimumAge: time.Hour, TargetGarbageRatio: 0.5}
	}
	options.WALMinSyncInterval = func() time.Duration { return walSyncInterval }
	for level := range options.Levels {
		options.Levels[level].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(dir, options)
	if err != nil {
		return nil, fmt.Errorf("open the ledger in %s: %w", dir, err)
	}
	return db, nil
}

// ID names this ledger. A ledger that was lost and made anew has another one, so that the sequence numbers of
// the two are never taken for each other.
func (l *Ledger) ID() string { return l.id }

// Sequence is the number of the last ended invocation that is on disk.
func (l *Ledger) Sequence() int64 { return l.durable.Load() }

// Lookup returns the answer kept under key, nil where there is none.
//
// Most keys have none. An iterator that seeks a prefix asks the filters of every level for that, while Get reads a
// block of the lowest one.
func (l *Ledger) Lookup(key Key) (answer *schemas.Answer, err error) {
	if l.seen != nil && !l.seen.maybe(&key) {
		return nil, nil //nolint:nilnil // no answer is an answer here, and the caller's common case
	}
	scan, err := l.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, fmt.Errorf("ledger: look up: %w", err)
	}
	defer func() { err = errors.Join(err, scan.Close()) }()
	found := false
	for list, i := l.buckets.all(), 0; i <= len(list) && !found; i++ { // the newest first
		at := answerKey(&key)
		if last := len(list) - 1 - i; last >= 0 {
			at = append(bucketKey(list[last].began), key[:]...)
		}
		found = scan.SeekPrefixGE(at)
	}
	if !found {
		if err := scan.Error(); err != nil {
			return nil, fmt.Errorf("ledger: look up: %w", err)
		}
		return nil, nil //nolint:nilnil // no answer is an answer here, and the caller's common case
	}
	kept, err := l.decode(scan.Value())
	if err != nil {
		return nil, err
	}
	if kept.Answer == nil {
		return nil, errors.New("ledger: an answer is no answer")
	}
	return kept.Answer, nil
}

// Begin notes an invocation that is about to be sent and returns when the note is durable, so that whatever
// happens next there is a row for it.
func (l *Ledger) Begin(ctx context.Context, invocation *schemas.Invocation) error {
	note, origin, err := l.encodeAbout(invocation, &record{Invocation: invocation})
	if err != nil {
		return err
	}
	return l.appendAndWait(ctx, entry{origin: origin, begun: []byte(invocation.InvocationID), note: note})
}

// Withdraw takes back the note of an invocation that was not sent after all. It returns when that is durable.
func (l *Ledger) Withdraw(ctx context.Context, invocation *schemas.Invocation) error {
	return l.appendAndWait(ctx, entry{unsent: []byte(invocation.InvocationID)})
}

// End closes an invocation whose outcome serves no row: it failed and another attempt follows, or it was cut
// off. It returns when the record is durable. The invocation must not change any more.
func (l *Ledger) End(ctx context.Context, invocation *schemas.Invocation) error {
	ending, origin, err := l.encodeAbout(invocation, &record{Invocation: invocation})
	if err != nil {
		return err
	}
	return l.appendAndWait(ctx, entry{origin: origin, ended: invocation, ending: ending})
}

// Settle closes an invocation together with the answers that it brought, all or none. It returns when the records are
// queued, and done is called once they are durable, or have failed; done must not block. Where Settle itself fails,
// done is not called. Nothing that it is given must change any more.
//
// Where there is one answer, the invocation is the answer's own. Where there are several, each has its share of it.
func (l *Ledger) Settle(ctx context.Context, invocation *schemas.Invocation, kept []Kept, done func(error)) error {
	e := entry{ended: invocation, answers: make([]answer, 0, len(kept)), complete: done}
	for i := range kept {
		value, origin, err := l.encodeAbout(&kept[i].Answer.Invocation, &record{Answer: kept[i].Answer})
		if err != nil {
			return err
		}
		e.origin = origin
		e.answers = append(e.answers, answer{key: &kept[i].Key, value: value})
	}
	var err error
	if len(kept) == 1 && invocation == &kept[0].Answer.Invocation {
		e.ending, err = l.encode(&record{Key: kept[0].Key[:]})
	} else {
		e.ending, e.origin, err = l.encodeAbout(invocation, &record{Invocation: invocation})
	}
	if err != nil {
		return err
	}
	if l.seen != nil {
		for i := range kept {
			l.seen.add(&kept[i].Key)
		}
	}
	return l.append(ctx, e)
}

// encodeAbout writes a record that holds the invocation, and returns its origin where the entry has to carry it.
func (l *Ledger) encodeAbout(invocation *schemas.Invocation, value *record) ([]byte, *origin, error) {
	from, err := l.origin(invocation.Origin)
	if err != nil {
		return nil, nil, err
	}
	value.Origin = from.id
	data, err := l.encode(value)
	if from.durable.Load() {
		from = nil
	}
	return data, from, err
}

func (l *Ledger) encode(value *record) ([]byte, error) {
	data, err := l.encoding.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("ledger: encode: %w", err)
	}
	return data, nil
}

// decode reads a record and gives its invocation the origin.
func (l *Ledger) decode(data []byte) (*record, error) {
	value := new(record)
	if err := l.decoding.Unmarshal(data, value); err != nil {
		return nil, fmt.Errorf("ledger: read a record: %w", err)
	}
	if value.Answer == nil && value.Invocation == nil {
		return value, nil
	}
	origin, err := l.originOf(value.Origin)
	if err != nil {
		return nil, err
	}
	if value.Answer != nil {
		value.Answer.Invocation.Origin = origin
	} else {
		value.Invocation.Origin = origin
	}
	return value, nil
}

// Ended yields the ended invocations with sequence numbers in (after, upTo], in order: the last ones from memory.
func (l *Ledger) Ended(after, upTo int64) iter.Seq2[*schemas.Invocation, error] {
	return func(yield func(*schemas.Invocation, error) bool) {
		for after < upTo {
			if invocation := l.recent.at(after + 1); invocation != nil {
				if after++; !yield(invocation, nil) {
					return
				}
				continue
			}
			onDisk := min(upTo, max(after+1, l.recent.oldest()-1))
			for invocation, err := range l.stored(after, onDisk) {
				if !yield(invocation, err) || err != nil {
					return
				}
			}
			after = onDisk
		}
	}
}

// stored is Ended from disk.
func (l *Ledger) stored(after, upTo int64) iter.Seq2[*schemas.Invocation, error] {
	return func(yield func(*schemas.Invocation, error) bool) {
		scan, err := l.db.NewIter(&pebble.IterOptions{LowerBound: usageKey(after + 1), UpperBound: usageKey(upTo + 1)})
		if err != nil {
			yield(nil, fmt.Errorf("ledger: scan: %w", err))
			return
		}
		defer scan.Close() //nolint:errcheck // what it reports was reported by scan.Error
		for scan.First(); scan.Valid(); scan.Next() {
			invocation, err := l.invocation(scan.Value())
			if !yield(invocation, err) || err != nil {
				return
			}
		}
		if err := scan.Error(); err != nil {
			yield(nil, fmt.Errorf("ledger: scan: %w", err))
		}
	}
}

// invocation reads the record of an ending.
func (l *Ledger) invocation(data []byte) (*schemas.Invocation, error) {
	end, err := l.decode(data)
	if err != nil {
		return nil, err
	}
	if end.Invocation != nil {
		return end.Invocation, nil
	}
	var key Key
	copy(key[:], end.Key)
	answer, err := l.Lookup(key)
	if err != nil {
		return nil, err
	}
	if answer == nil { // both are written in one batch
		return nil, errors.New("ledger: an answer is missing")
	}
	return &answer.Invocation, nil
}

// Forget drops the ended invocations up to and including sequence number upTo: the usage table has them.
func (l *Ledger) Forget(upTo int64) error {
	if err := l.db.DeleteRange(usageKey(0), usageKey(upTo+1), pebble.NoSync); err != nil {
		return fmt.Errorf("ledger: forget: %w", err)
	}
	return nil
}

// Close writes what is queued and closes the ledger. Appends after it fail.
func (l *Ledger) Close() error {
	var err error
	l.closing.Do(func() {
		close(l.stop)
		<-l.finished
		err = errors.Join(l.db.Close(), l.lock.Close())
		if cause := l.failure.Load(); cause != nil {
			err = errors.Join(err, *cause)
		}
	})
	return err
}

// identify reads the ledger's name and last sequence number, and gives a new ledger its name.
func (l *Ledger) identify() error {
	id, closer, err := l.db.Get([]byte("m/id"))
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		l.id, l.seen = uuid.NewString(), new(seen)
		return l.db.Set([]byte("m/id"), []byte(l.id), pebble.Sync)
	case err != nil:
		return err
	}
	l.id = string(id)
	if err := closer.Close(); err != nil {
		return err
	}
	value, closer, err := l.db.Get(sequenceKey())
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(value) != 8 {
		return errors.Join(errors.New("its sequence number is damaged"), closer.Close())
	}
	l.durable.Store(int64(binary.BigEndian.Uint64(value))) //nolint:gosec // written from an int64
	return closer.Close()
}

// recover closes the invocations that a process left on the wire.
func (l *Ledger) recover() error {
	scan, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte("i/"), UpperBound: []byte("i0")})
	if err != nil {
		return err
	}
	var group []entry
	for scan.First(); scan.Valid(); scan.Next() {
		noted, err := l.decode(scan.Value())
		if err != nil {
			return errors.Join(err, scan.Close())
		}
		invocation := noted.Invocation
		if invocation == nil {
			return errors.Join(errors.New("a note is no invocation"), scan.Close())
		}
		invocation.Error = &schemas.RowError{
			Code: "answer_never_arrived", Class: schemas.Ambiguous, Attempts: invocation.Attempt,
			Message: "the process ended while this call was on the wire; it may have been paid",
		}
		ending, _, err := l.encodeAbout(invocation, noted)
		if err != nil {
			return errors.Join(err, scan.Close())
		}
		group = append(group, entry{ended: invocation, ending: ending})
	}
	if err := errors.Join(scan.Error(), scan.Close()); err != nil || len(group) == 0 {
		return err
	}
	return l.commit(group)
}

func answerKey(key *Key) []byte { return append([]byte("a/"), key[:]...) }

func intentKey(invocationID []byte) []byte { return append([]byte("i/"), invocationID...) }

func usageKey(sequence int64) []byte {
	return binary.BigEndian.AppendUint64([]byte("u/"), uint64(sequence)) //nolint:gosec // never negative
}

func sequenceKey() []byte { return []byte("m/sequence") }

// quiet drops Pebble's own log lines; its errors come back through its calls. Fatalf is a broken invariant
// inside Pebble, after which it must not go on.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("ledger: "+format, args...))
}
