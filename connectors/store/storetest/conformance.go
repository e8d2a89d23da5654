package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/inflowhq/inflow/connectors/store"
)

// Run holds a store to the contract of store.Store. open returns an empty store for each test.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, store.Store){
		"reads back":                 readsBack,
		"missing":                    missing,
		"put if absent":              putIfAbsent,
		"one of many puts":           oneOfManyPuts,
		"one of many commits":        oneOfManyCommits,
		"commit replaces":            commitReplaces,
		"nothing before commit":      nothingBeforeCommit,
		"abort":                      abort,
		"list order":                 listOrder,
		"list stops":                 listStops,
		"delete":                     deletes,
		"refuses names that climb":   refusesNames,
		"a reader keeps its version": keepsVersion,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func put(t *testing.T, s store.Store, name, text string) {
	t.Helper()
	if err := s.PutIfAbsent(t.Context(), name, []byte(text)); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func content(t *testing.T, s store.Store, name string) string {
	t.Helper()
	reader, err := s.Open(t.Context(), name)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	defer func() {
		if err := reader.Close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
	}()
	data, err := io.ReadAll(io.NewSectionReader(reader, 0, reader.Size()))
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return string(data)
}

func names(t *testing.T, s store.Store, prefix, startAfter string) []string {
	t.Helper()
	var found []string
	for object, err := range s.List(t.Context(), prefix, startAfter) {
		if err != nil {
			t.Fatalf("list %q after %q: %v", prefix, startAfter, err)
		}
		found = append(found, object.Name)
	}
	return found
}

func create(t *testing.T, s store.Store, name, text string) store.Writer {
	t.Helper()
	writer, err := s.Create(t.Context(), name)
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	if _, err := writer.Write([]byte(text)); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return writer
}

func readsBack(t *testing.T, s store.Store) {
	t.Helper()
	put(t, s, "a/b c/ü+%20.txt", "hello, world")
	reader, err := s.Open(t.Context(), "a/b c/ü+%20.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	if reader.Size() != 12 {
		t.Errorf("size %d, want 12", reader.Size())
	}
	part := make([]byte, 5)
	if n, err := reader.ReadAt(part, 7); n != 5 || err != nil && !errors.Is(err, io.EOF) || string(part) != "world" {
		t.Errorf("ReadAt = %d %v %q, want world", n, err, part)
	}
	if n, err := reader.ReadAt(part, 10); n != 2 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt over the end = %d, %v, want 2, EOF", n, err)
	}
	if n, err := reader.ReadAt(part, 12); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("ReadAt at the end = %d, %v, want 0, EOF", n, err)
	}
	put(t, s, "empty", "")
	if got := content(t, s, "empty"); got != "" {
		t.Errorf("an empty object reads %q", got)
	}
	for object, err := range s.List(t.Context(), "a/", "") {
		if err != nil || object.Size != 12 || object.Modified.IsZero() {
			t.Errorf("list tells %+v, %v", object, err)
		}
	}
}

func missing(t *testing.T, s store.Store) {
	t.Helper()
	put(t, s, "a/file", "x")
	for _, name := range []string{"nothing", "no/such/folder", "a", "a/file/below"} {
		if _, err := s.Open(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %s: %v, want fs.ErrNotExist", name, err)
		}
	}
	if found := names(t, s, "no/such/", ""); len(found) != 0 {
		t.Errorf("a missing folder lists %q", found)
	}
}

func putIfAbsent(t *testing.T, s store.Store) {
	t.Helper()
	put(t, s, "log/0", "first")
	if err := s.PutIfAbsent(t.Context(), "log/0", []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second put: %v, want fs.ErrExist", err)
	}
	writer := create(t, s, "log/0", "third")
	if err := writer.CommitIfAbsent(t.Context()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("CommitIfAbsent: %v, want fs.ErrExist", err)
	}
	if err := writer.Abort(); err != nil {
		t.Errorf("abort after a lost commit: %v", err)
	}
	if got := content(t, s, "log/0"); got != "first" {
		t.Errorf("the object holds %q, want first", got)
	}
	if found := names(t, s, "", ""); !slices.Equal(found, []string{"log/0"}) {
		t.Errorf("list %q, want log/0 alone", found)
	}
}

const contenders = 16

func oneOfManyPuts(t *testing.T, s store.Store) {
	t.Helper()
	race(t, s, func(text string) error { return s.PutIfAbsent(t.Context(), "log/0", []byte(text)) })
}

func oneOfManyCommits(t *testing.T, s store.Store) {
	t.Helper()
	race(t, s, func(text string) error {
		writer, err := s.Create(t.Context(), "log/0")
		if err != nil {
			return err
		}
		if _, err := writer.Write([]byte(text)); err != nil {
			return err
		}
		return errors.Join(writer.CommitIfAbsent(t.Context()), writer.Abort())
	})
}

// race lets contenders try at once and wants one winner, whose text stands.
func race(t *testing.T, s store.Store, try func(text string) error) {
	t.Helper()
	var all sync.WaitGroup
	var winners atomic.Int64
	var winner atomic.Value
	for i := range contenders {
		all.Go(func() {
			text := fmt.Sprintf("contender %d %s", i, bytes.Repeat([]byte{'x'}, 100_000))
			switch err := try(text); {
			case err == nil:
				winners.Add(1)
				winner.Store(text)
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("contender %d: %v, want fs.ErrExist", i, err)
			}
		})
	}
	all.Wait()
	if winners.Load() != 1 {
		t.Fatalf("%d winners, want 1", winners.Load())
	}
	if content(t, s, "log/0") != winner.Load() {
		t.Error("the object does not hold what the winner wrote")
	}
}

func commitReplaces(t *testing.T, s store.Store) {
	t.Helper()
	put(t, s, "deep/down/object", "old")
	writer := create(t, s, "deep/down/object", "new")
	if _, err := writer.Write([]byte(" and more")); err != nil {
		t.Fatal(err)
	}
	if err := writer.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := writer.Abort(); err != nil {
		t.Errorf("abort after commit: %v", err)
	}
	if got := content(t, s, "deep/down/object"); got != "new and more" {
		t.Errorf("the object holds %q", got)
	}
	if err := writer.Commit(t.Context()); err == nil {
		t.Error("a second commit succeeded")
	}
}

func nothingBeforeCommit(t *testing.T, s store.Store) {
	t.Helper()
	writer := create(t, s, "a/object", "half")
	if _, err := s.Open(t.Context(), "a/object"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open before commit: %v, want fs.ErrNotExist", err)
	}
	if found := names(t, s, "", ""); len(found) != 0 {
		t.Errorf("before commit the list shows %q", found)
	}
	if err := writer.Abort(); err != nil {
		t.Fatal(err)
	}
}

func abort(t *testing.T, s store.Store) {
	t.Helper()
	put(t, s, "object", "old")
	writer := create(t, s, "object", "new")
	for range 2 {
		if err := writer.Abort(); err != nil {
			t.Errorf("abort: %v", err)
		}
	}
	if err := writer.Commit(t.Context()); err == nil {
		t.Error("commit after abort succeeded")
	}
	if got := content(t, s, "object"); got != "old" {
		t.Errorf("after abort the object holds %q", got)
	}
}

func listOrder(t *testing.T, s store.Store) {
	t.Helper()
	// In byte order "a.txt" < "a/": a walk that visits folders by their bare names gets this wrong.
	all := []string{"a-z/1", "a.txt", "a/1", "a/b.c", "a/b/2", "a/b0", "a0", "b/c/d/e", "log/00", "log/01", "log/02", "log/10"}
	for _, name := range slices.Backward(all) {
		put(t, s, name, name)
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "log/0", "log/", "log", "z", "b/c/"} {
		for _, startAfter := range []string{"", "a", "a.txt", "a/b", "a/b/2", "a/zzz", "log/00", "log/01.json", "zz"} {
			var want []string
			for _, name := range all {
				if len(name) >= len(prefix) && name[:len(prefix)] == prefix && name > startAfter {
					want = append(want, name)
				}
			}
			if got := names(t, s, prefix, startAfter); !slices.Equal(got, want) {
				t.Errorf("list %q after %q: %q, want %q", prefix, startAfter, got, want)
			}
		}
	}
}

func listStops(t *testing.T, s store.Store) {
	t.Helper()
	for i := range 5 {
		put(t, s, fmt.Sprintf("f/%d", i), "x")
	}
	count := 0
	for range s.List(t.Context(), "f/", "") {
		if count++; count == 2 {
			break
		}
	}
	if count != 2 {
		t.Errorf("the list went on to %d", count)
	}
}

func deletes(t *testing.T, s store.Store) {
	t.Helper()
	put(t, s, "a/object", "x")
	for range 2 {
		if err := s.Delete(t.Context(), "a/object"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if err := s.Delete(t.Context(), "no/such"); err != nil {
		t.Errorf("delete of a missing object: %v", err)
	}
	put(t, s, "a/object", "again")
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Errorf("delete of a folder: %v", err)
	}
	if got := content(t, s, "a/object"); got != "again" {
		t.Errorf("the object holds %q", got)
	}
}

func refusesNames(t *testing.T, s store.Store) {
	t.Helper()
	for _, name := range []string{"", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a//b", "./a", "a/", "nul\x00l"} {
		if _, err := s.Open(t.Context(), name); err == nil {
			t.Errorf("open %q succeeded", name)
		}
		if err := s.PutIfAbsent(t.Context(), name, nil); err == nil {
			t.Errorf("put %q succeeded", name)
		}
		if _, err := s.Create(t.Context(), name); err == nil {
			t.Errorf("create %q succeeded", name)
		}
		if err := s.Delete(t.Context(), name); err == nil {
			t.Errorf("delete %q succeeded", name)
		}
	}
	for _, err := range s.List(t.Context(), "../", "") {
		if err == nil {
			t.Error("the list climbed out")
		}
		return
	}
	t.Error("a list that climbs out is not refused")
}

func keepsVersion(t *testing.T, s store.Store) {
	t.Helper()
	put(t, s, "object", "old text")
	reader, err := s.Open(t.Context(), "object")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	if err := create(t, s, "object", "new").Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 8)
	if _, err := reader.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) || string(data) != "old text" {
		t.Errorf("an open reader sees %q, %v", data, err)
	}
}
