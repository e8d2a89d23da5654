package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/inflowhq/inflow/schemas"
)

// temporaryPrefix begins the file names of objects that are still being written. No object can have such a name.
const temporaryPrefix = ".tmp-"

// Local is a Store in a folder of a file system that has hard links and atomic renames: any local disk, NFS v3
// and later. Any number of processes may share the folder.
//
// An object is written to a temporary file beside its name, synced, and then linked or renamed into place, so
// no reader ever sees half of one. A process that is killed leaves its temporary file behind; no listing shows
// it. Symbolic links to files are followed, those to folders are not listed.
type Local struct{ dir string }

// NewLocal returns the store in dir, which need not exist yet.
func NewLocal(dir string) *Local { return &Local{dir: dir} }

var _ Store = (*Local)(nil)

// Open implements Store.
func (l *Local) Open(ctx context.Context, name string) (Reader, error) {
	file, err := l.path(ctx, name)
	if err != nil {
		return nil, err
	}
	opened, err := os.Open(file) //nolint:gosec // path refuses names outside the folder
	if err != nil {
		return nil, missing(err, name)
	}
	info, err := opened.Stat()
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("store: %s is not a file: %w", name, fs.ErrNotExist), opened.Close())
	}
	return &localReader{File: opened, size: info.Size()}, nil
}

type localReader struct {
	*os.File
	size int64
}

func (r *localReader) Size() int64 { return r.size }

// List implements Store. It holds one folder's entries for each level of folders in memory.
func (l *Local) List(ctx context.Context, prefix, startAfter string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		folder, _ := path.Split(prefix)
		folder = strings.TrimSuffix(folder, "/")
		if folder == "" {
			folder = "."
		}
		dir, err := l.path(ctx, folder)
		if err != nil {
			yield(Object{}, err)
			return
		}
		walk := listing{ctx: ctx, prefix: prefix, startAfter: startAfter, yield: yield}
		walk.folder(dir, strings.TrimPrefix(folder+"/", "./"))
	}
}

// listing is one walk. Folders that cannot hold a wanted name are not read.
type listing struct {
	ctx                context.Context //nolint:containedctx // lives as long as the call of List's iterator
	prefix, startAfter string
	yield              func(Object, error) bool
}

// folder lists one folder; base is "" or its name with a slash behind. It reports whether to go on.
func (w *listing) folder(dir, base string) bool {
	if err := w.ctx.Err(); err != nil {
		w.yield(Object{}, err)
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if isMissing(err) {
			return true
		}
		w.yield(Object{}, fmt.Errorf("store: list: %w", err))
		return false
	}
	// Folders sort with their slash: "a.txt" stands before what is in "a".
	names := make(map[string]string, len(entries))
	sorted := make([]fs.DirEntry, 0, len(entries))
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), temporaryPrefix) {
			continue
		}
		name := entry.Name()
		if entry.IsDir() {
			name += "/"
		}
		names[entry.Name()] = base + name
		sorted = append(sorted, entry)
	}
	slices.SortFunc(sorted, func(a, b fs.DirEntry) int { return cmp.Compare(names[a.Name()], names[b.Name()]) })

	for _, entry := range sorted {
		name, file := names[entry.Name()], filepath.Join(dir, entry.Name())
		if entry.IsDir() {
			if w.mayHold(name) && !w.folder(file, name) {
				return false
			}
			continue
		}
		if !strings.HasPrefix(name, w.prefix) || name <= w.startAfter {
			continue
		}
		info, err := os.Stat(file)
		switch {
		case isMissing(err):
			continue // deleted since the folder was read
		case err != nil:
			w.yield(Object{}, fmt.Errorf("store: list: %w", err))
			return false
		case !info.Mode().IsRegular():
			continue
		}
		if !w.yield(Object{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil) {
			return false
		}
	}
	return true
}

// mayHold reports whether a name under folder, which ends in a slash, can be wanted.
func (w *listing) mayHold(folder string) bool {
	inPrefix := strings.HasPrefix(folder, w.prefix) || strings.HasPrefix(w.prefix, folder)
	return inPrefix && (folder > w.startAfter || strings.HasPrefix(w.startAfter, folder))
}

// PutIfAbsent implements Store.
func (l *Local) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	writer, err := l.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, err := writer.Write(data); err != nil {
		return errors.Join(err, writer.Abort())
	}
	if err := writer.CommitIfAbsent(ctx); err != nil {
		return errors.Join(err, writer.Abort())
	}
	return nil
}

// Create implements Store. It makes the folders that name stands in.
func (l *Local) Create(ctx context.Context, name string) (Writer, error) {
	file, err := l.path(ctx, name)
	if err != nil {
		return nil, err
	}
	if name == "." {
		return nil, refused(name)
	}
	folder := filepath.Dir(file)
	if err := makeFolder(folder); err != nil {
		return nil, fmt.Errorf("store: create %s: %w", name, err)
	}
	temporary := filepath.Join(folder, temporaryPrefix+rand.Text())
	opened, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // tables are shared: the umask decides; path refuses names outside the folder
	if err != nil {
		return nil, fmt.Errorf("store: create %s: %w", name, err)
	}
	return &localWriter{file: opened, name: name, target: file}, nil
}

// Delete implements Store.
func (l *Local) Delete(ctx context.Context, name string) error {
	file, err := l.path(ctx, name)
	if err != nil {
		return err
	}
	// os.Remove would take an empty folder too, and a folder is no object.
	if info, err := os.Lstat(file); err == nil && info.IsDir() {
		return nil
	}
	if err := os.Remove(file); err != nil && !isMissing(err) {
		return fmt.Errorf("store: delete %s: %w", name, err)
	}
	return nil
}

// path returns the file behind name.
func (l *Local) path(ctx context.Context, name string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	local := filepath.FromSlash(name)
	if !fs.ValidPath(name) || !filepath.IsLocal(local) || strings.ContainsRune(name, 0) ||
		strings.HasPrefix(path.Base(name), temporaryPrefix) {
		return "", refused(name)
	}
	return filepath.Join(l.dir, local), nil
}

func refused(name string) error {
	return fmt.Errorf("store: %q is no name of an object: use a relative path without . or .. elements: %w", name, fs.ErrInvalid)
}

// localWriter fills a temporary file. It is not safe for concurrent use.
type localWriter struct {
	file         *os.File // the temporary one
	name, target string
	synced       bool // written, durable and closed
	ended        bool // the temporary file is gone
}

func (w *localWriter) Write(data []byte) (int, error) { return w.file.Write(data) }

func (w *localWriter) Commit(ctx context.Context) error {
	if err := w.finish(ctx); err != nil {
		return err
	}
	if err := os.Rename(w.file.Name(), w.target); err != nil {
		return fmt.Errorf("store: commit %s: %w", w.name, err)
	}
	w.ended = true
	return w.settle()
}

func (w *localWriter) CommitIfAbsent(ctx context.Context) error {
	if err := w.finish(ctx); err != nil {
		return err
	}
	// Of all processes that link to one name, the file system lets one through. (A rename would replace, and
	// O_EXCL on the name itself would show an empty object before a whole one.)
	if err := os.Link(w.file.Name(), w.target); err != nil {
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM) {
			return fmt.Errorf("store: commit %s: this file system has no hard links, use another folder or an object store: %w", w.name, err)
		}
		return fmt.Errorf("store: commit %s: %w", w.name, err)
	}
	w.ended = true
	// The object is there. A second name of it that cannot be removed is never listed and harms nobody.
	_ = os.Remove(w.file.Name())
	return w.settle()
}

// finish makes the temporary file durable.
func (w *localWriter) finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.ended {
		return fmt.Errorf("store: commit %s: %w", w.name, fs.ErrClosed)
	}
	if w.synced {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("store: commit %s: %w", w.name, err)
	}
	if err := w.file.Close(); err != nil {
		return fmt.Errorf("store: commit %s: %w", w.name, err)
	}
	w.synced = true
	return nil
}

// settle makes the new name durable. Where that fails the object is visible, yet a power cut may take it.
func (w *localWriter) settle() error {
	if err := syncFolder(filepath.Dir(w.target)); err != nil {
		return &schemas.Error{Op: "store: commit " + w.name, Class: schemas.Ambiguous, Code: "commit_not_synced", Err: err}
	}
	return nil
}

func (w *localWriter) Abort() error {
	if w.ended {
		return nil
	}
	w.ended = true
	_ = w.file.Close() // may be closed already; what it held is discarded
	if err := os.Remove(w.file.Name()); err != nil && !isMissing(err) {
		return fmt.Errorf("store: abort %s: %w", w.name, err)
	}
	return nil
}

// makeFolder makes dir and its parents durable.
func makeFolder(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeFolder(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o777); err != nil { //nolint:gosec // tables are shared: the umask decides
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return nil // another process was faster
		}
		return err
	}
	return syncFolder(parent)
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir) //nolint:gosec // a folder of the store
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// isMissing also takes a file that stands where a folder of the name would be: an object store knows no folders.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func missing(err error, name string) error {
	if isMissing(err) {
		return fmt.Errorf("store: open %s: %w: %w", name, err, fs.ErrNotExist)
	}
	return fmt.Errorf("store: open %s: %w", name, err)
}
