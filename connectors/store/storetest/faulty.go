// Package storetest owns what tests of stores share: the conformance suite that every store.Store must pass, and
// a wrapper that makes the n-th I/O operation fail. It refuses to be imported by anything but tests.
package storetest

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/inflowhq/inflow/connectors/store"
)

// Faulty passes every call to another store and fails one. It counts open, read, list, put, create, write,
// commit and delete, in the order in which they begin. Set the fields before the first call.
//
// To fail every operation of a piece of code once, run it with n = 1, 2, ... until Failed is false.
type Faulty struct {
	// AfterEffect lets the failing put, commit, write or delete happen, and then reports failure: the answer
	// that was lost on the way.
	AfterEffect bool
	// Lasting fails every operation after the n-th too, as when the process was killed there.
	Lasting bool

	inner store.Store
	n     int64
	err   error
	count atomic.Int64
}

var _ store.Store = (*Faulty)(nil)

// FailNth returns inner with its n-th operation, counted from 1, failing with err.
func FailNth(inner store.Store, n int, err error) *Faulty {
	return &Faulty{inner: inner, n: int64(n), err: err}
}

// Operations is how many operations have begun.
func (f *Faulty) Operations() int { return int(f.count.Load()) }

// Failed reports whether the n-th operation has been reached.
func (f *Faulty) Failed() bool { return f.count.Load() >= f.n }

// change counts an operation that changes something and does it unless it fails.
func (f *Faulty) change(do func() error) error {
	count := f.count.Add(1)
	if count == f.n && f.AfterEffect {
		if err := do(); err != nil {
			return err
		}
		return f.err
	}
	if f.fails(count) {
		return f.err
	}
	return do()
}

// read counts an operation that changes nothing and returns its failure.
func (f *Faulty) read() error {
	if f.fails(f.count.Add(1)) {
		return f.err
	}
	return nil
}

func (f *Faulty) fails(count int64) bool { return count == f.n || f.Lasting && count > f.n }

// Open implements store.Store.
func (f *Faulty) Open(ctx context.Context, name string) (store.Reader, error) {
	if err := f.read(); err != nil {
		return nil, err
	}
	reader, err := f.inner.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	return &faultyReader{Reader: reader, faulty: f}, nil
}

// List implements store.Store.
func (f *Faulty) List(ctx context.Context, prefix, startAfter string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		if err := f.read(); err != nil {
			yield(store.Object{}, err)
			return
		}
		f.inner.List(ctx, prefix, startAfter)(yield)
	}
}

// PutIfAbsent implements store.Store.
func (f *Faulty) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	return f.change(func() error { return f.inner.PutIfAbsent(ctx, name, data) })
}

// Create implements store.Store.
func (f *Faulty) Create(ctx context.Context, name string) (store.Writer, error) {
	if err := f.read(); err != nil {
		return nil, err
	}
	writer, err := f.inner.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return &faultyWriter{Writer: writer, faulty: f}, nil
}

// Delete implements store.Store.
func (f *Faulty) Delete(ctx context.Context, name string) error {
	return f.change(func() error { return f.inner.Delete(ctx, name) })
}

type faultyReader struct {
	store.Reader
	faulty *Faulty
}

func (r *faultyReader) ReadAt(data []byte, offset int64) (int, error) {
	if err := r.faulty.read(); err != nil {
		return 0, err
	}
	return r.Reader.ReadAt(data, offset)
}

type faultyWriter struct {
	store.Writer
	faulty *Faulty
}

func (w *faultyWriter) Write(data []byte) (written int, err error) {
	err = w.faulty.change(func() error {
		written, err = w.Writer.Write(data)
		return err
	})
	return written, err
}

func (w *faultyWriter) Commit(ctx context.Context) error {
	return w.faulty.change(func() error { return w.Writer.Commit(ctx) })
}

func (w *faultyWriter) CommitIfAbsent(ctx context.Context) error {
	return w.faulty.change(func() error { return w.Writer.CommitIfAbsent(ctx) })
}
