// Package store moves bytes in and out of one folder of a file system or object store. It knows nothing of
// tables or formats; its one hard promise is PutIfAbsent, on which Delta's log rests.
package store

import (
	"context"
	"io"
	"iter"
	"time"
)

// Store is a folder of objects. Names are relative, slash-separated and never escaped; a name that is
// absolute or climbs out of the folder is refused. Missing objects are fs.ErrNotExist, present ones
// fs.ErrExist. Every method may block on I/O and is safe for concurrent use.
type Store interface {
	// Open opens an object for reading at any offset. The caller closes it.
	Open(ctx context.Context, name string) (Reader, error)
	// List yields the objects whose names begin with prefix and sort after startAfter, in name order.
	// A missing folder yields nothing.
	List(ctx context.Context, prefix, startAfter string) iter.Seq2[Object, error]
	// PutIfAbsent makes name hold data, whole and durable, or changes nothing and fails with fs.ErrExist.
	// Of any number of concurrent callers exactly one succeeds. Where it cannot be known whether the object
	// is there now, the error's class is schemas.Ambiguous.
	PutIfAbsent(ctx context.Context, name string, data []byte) error
	// Create begins an object that appears whole under its name on Commit, replacing an older one, and
	// not at all before.
	Create(ctx context.Context, name string) (Writer, error)
	// Delete removes an object; a missing one is no error.
	Delete(ctx context.Context, name string) error
}

// Object is what a listing tells.
type Object struct {
	Name     string
	Size     int64
	Modified time.Time
}

// Reader reads one object.
type Reader interface {
	io.ReaderAt
	io.Closer
	// Size is the object's length in bytes.
	Size() int64
}

// Writer writes one object. Commit, CommitIfAbsent or Abort ends it; Abort after a commit that succeeded does
// nothing, after one that failed it discards.
type Writer interface {
	io.Writer
	// Commit makes the object durable and visible under its name.
	Commit(ctx context.Context) error
	// CommitIfAbsent is Commit with the promise of PutIfAbsent: it never replaces, it fails with fs.ErrExist.
	CommitIfAbsent(ctx context.Context) error
	// Abort discards what was written.
	Abort() error
}
