package delta

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

const (
	// maxActionBytes bounds one line of a commit: a metaData action with thousands of columns is a few MiB.
	maxActionBytes = 32 << 20
	// maxHintBytes bounds _last_checkpoint, which may hold the checkpoint's schema.
	maxHintBytes = 4 << 20
	// commitReadBytes is read at a time; most commits are smaller.
	commitReadBytes = 1 << 20
	// maxCheckpointParts bounds what a file name can make us look for.
	maxCheckpointParts = 100_000
)

// errNoTable says that there is no log. It is the only error of a replay that wraps fs.ErrNotExist.
func errNoTable(location string) error {
	where := "this folder"
	if location != "" {
		where = location
	}
	return fmt.Errorf("delta: no _delta_log in %s: not a Delta table: %w", where, fs.ErrNotExist)
}

// readLines yields the lines of an object, each valid until the next one, and refuses one that is too long.
func readLines(ctx context.Context, reader store.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		size := int(min(max(reader.Size(), 16), commitReadBytes))
		buffered := bufio.NewReaderSize(io.NewSectionReader(reader, 0, reader.Size()), size)
		var long []byte
		for {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			piece, err := buffered.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				if len(long)+len(piece) > maxActionBytes {
					yield(nil, fmt.Errorf("a line is longer than %d bytes", maxActionBytes))
					return
				}
				long = append(long, piece...)
				continue
			}
			if err != nil && !errors.Is(err, io.EOF) {
				yield(nil, err)
				return
			}
			line := piece
			if len(long) > 0 {
				line = append(long, piece...) //nolint:gocritic // long is emptied below
				long = long[:0]
			}
			if line = bytes.TrimSpace(line); len(line) > 0 && !yield(line, nil) {
				return
			}
			if err != nil {
				return
			}
		}
	}
}

// readCommit yields the actions of one version. A missing commit is fs.ErrNotExist, at once.
func readCommit(ctx context.Context, st store.Store, version int64) iter.Seq2[Action, error] {
	return func(yield func(Action, error) bool) {
		reader, err := st.Open(ctx, commitName(version))
		if err != nil {
			yield(Action{}, fmt.Errorf("delta: version %d: %w", version, err))
			return
		}
		defer func() { _ = reader.Close() }() // only read
		number := 0
		for line, err := range readLines(ctx, reader) {
			number++
			var action Action
			if err == nil {
				action, err = decodeAction(line)
			}
			if err != nil {
				yield(Action{}, fmt.Errorf("delta: %s line %d: %w: %w", commitName(version), number, err, schemas.ErrInvalid))
				return
			}
			if !yield(action, nil) {
				return
			}
		}
		if number == 0 {
			yield(Action{}, fmt.Errorf("delta: %s is empty: %w", commitName(version), schemas.ErrInvalid))
		}
	}
}

// applyCommit brings s from the version before to version. On a failure s is spoilt.
func applyCommit(ctx context.Context, st store.Store, s *state, version int64) error {
	for action, err := range readCommit(ctx, st, version) {
		if err != nil {
			return err
		}
		if err := s.apply(&action); err != nil {
			return fmt.Errorf("delta: version %d: %w", version, err)
		}
	}
	s.version = version
	return nil
}

// hint is _last_checkpoint.
type hint struct {
	Version       int64 `json:"version"`
	Size          int64 `json:"size"`
	Parts         *int  `json:"parts,omitempty"`
	SizeInBytes   int64 `json:"sizeInBytes,omitempty"`
	NumOfAddFiles int64 `json:"numOfAddFiles,omitempty"`
}

// readHint returns the version that _last_checkpoint names, -1 where it says nothing that can be used. It is only
// a hint: whatever it says is checked against the listing.
func readHint(ctx context.Context, st store.Store) (int64, error) {
	reader, err := st.Open(ctx, checkpointHint)
	if isNotExist(err) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("delta: %w", err)
	}
	defer func() { _ = reader.Close() }() // only read
	if reader.Size() > maxHintBytes {
		return -1, nil
	}
	data, err := io.ReadAll(io.NewSectionReader(reader, 0, reader.Size()))
	if err != nil {
		return -1, fmt.Errorf("delta: %s: %w", checkpointHint, err)
	}
	found := hint{Version: -1}
	if json.Unmarshal(data, &found) != nil || found.Version < 0 {
		return -1, nil // a corrupt hint is no hint
	}
	return found.Version, nil
}

// checkpoint is a complete one that the listing shows.
type checkpoint struct {
	version int64
	parts   int // 0: classic
}

func (c checkpoint) names() []string {
	if c.parts == 0 {
		return []string{checkpointName(c.version)}
	}
	names := make([]string, c.parts)
	for i := range names {
		names[i] = checkpointPartName(c.version, i+1, c.parts)
	}
	return names
}

// listing is what the log folder shows from some version on.
type listing struct {
	checkpoints []checkpoint // newest first; a classic one before a multi-part one
	first, last int64        // of the commits; -1: none
	modified    map[int64]time.Time
	v2          bool // there are V2 checkpoints, which are not read
	anything    bool // the folder is not empty
}

func (l *listing) newest() int64 {
	newest := l.last
	if len(l.checkpoints) > 0 {
		newest = max(newest, l.checkpoints[0].version)
	}
	return newest
}

// listLog lists the log from a version on.
func listLog(ctx context.Context, st store.Store, from int64) (*listing, error) {
	out := &listing{first: -1, last: -1, modified: map[int64]time.Time{}}
	parts := map[checkpoint]map[int]bool{}
	startAfter := ""
	if from > 0 {
		startAfter = fmt.Sprintf("%s%020d", logFolder, from)
	}
	for object, err := range st.List(ctx, logFolder, startAfter) {
		if err != nil {
			return nil, fmt.Errorf("delta: list the log: %w", err)
		}
		out.anything = true
		if strings.HasPrefix(object.Name, logFolder+"_") {
			break // behind the versions: hints, sidecars, staged commits
		}
		file := parseLogName(object.Name)
		switch file.kind {
		case otherFile:
		case commitFile:
			if out.first < 0 {
				out.first = file.version
			}
			out.last = file.version
			out.modified[file.version] = object.Modified
		case classicCheckpoint:
			out.checkpoints = append(out.checkpoints, checkpoint{version: file.version})
		case multipartCheckpoint:
			// It cannot be created atomically: it counts once every part is there.
			whole := checkpoint{version: file.version, parts: file.parts}
			if parts[whole] == nil {
				parts[whole] = map[int]bool{}
			}
			parts[whole][file.part] = true
			if len(parts[whole]) == file.parts {
				out.checkpoints = append(out.checkpoints, whole)
			}
		case v2Checkpoint:
			out.v2 = true
		}
	}
	slices.SortStableFunc(out.checkpoints, func(a, b checkpoint) int {
		if a.version != b.version {
			return int(b.version - a.version)
		}
		return a.parts - b.parts
	})
	return out, nil
}

// latest asks load for the newest version.
const latest = int64(-1)

// load replays the log up to a version. It returns fs.ErrNotExist only where there is no table.
func load(ctx context.Context, st store.Store, location string, version int64, files bool) (*state, error) {
	hinted, err := readHint(ctx, st)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	start := hinted
	if version != latest && hinted > version {
		start = -1
	}
	listed, err := listLog(ctx, st, start)
	if err != nil {
		return nil, err
	}
	if hinted < 0 && !listed.anything {
		return nil, errNoTable(location)
	}
	s, err := loadListed(ctx, st, location, version, files, listed)
	if err == nil {
		s.seen = begun
		return s, nil
	}
	if start <= 0 || ctx.Err() != nil {
		return nil, err
	}
	// The hint was stale, or what it points to cannot be read: look at the whole log.
	whole, listErr := listLog(ctx, st, -1)
	if listErr != nil {
		return nil, listErr
	}
	s, err = loadListed(ctx, st, location, version, files, whole)
	if err != nil {
		return nil, err
	}
	s.seen = begun
	return s, nil
}

// loadListed tries the checkpoints from the newest on, and at last the commits from version 0.
func loadListed(ctx context.Context, st store.Store, location string, version int64, files bool, listed *listing) (*state, error) {
	newest := listed.newest()
	if newest < 0 {
		if listed.v2 {
			return nil, &UnsupportedError{Feature: "v2Checkpoint"}
		}
		return nil, fmt.Errorf("delta: there is a _delta_log, but the log holds no version: restore the folder, or delete it if no table is meant to be here: %w", schemas.ErrInvalid)
	}
	if version == latest {
		version = newest
	}
	if version > newest {
		return nil, fmt.Errorf("delta: there is no version %d yet: the table is at %d", version, newest)
	}
	var failures []error
	for _, candidate := range listed.checkpoints {
		if candidate.version > version {
			continue
		}
		s := newState(location, files)
		err := readCheckpoint(ctx, st, s, candidate)
		if err == nil {
			err = replay(ctx, st, s, version)
		}
		if err == nil {
			return s, nil
		}
		if _, unsupported := errors.AsType[*UnsupportedError](err); unsupported || ctx.Err() != nil {
			return nil, err
		}
		failures = append(failures, err)
	}
	s := newState(location, files)
	err := replay(ctx, st, s, version)
	if err == nil {
		return s, nil
	}
	if listed.v2 {
		return nil, &UnsupportedError{Feature: "v2Checkpoint", Detail: err.Error()}
	}
	return nil, errors.Join(append(failures, err)...)
}

// replay applies the commits behind s up to version and settles it.
func replay(ctx context.Context, st store.Store, s *state, version int64) error {
	for s.version < version {
		next := s.version + 1
		err := applyCommit(ctx, st, s, next)
		if isNotExist(err) {
			// Not wrapped: a hole in a log must not be taken for "no table".
			return fmt.Errorf("delta: version %d is missing from the log, which is needed for version %d: "+
				"it was cleaned away or deleted: %w", next, version, schemas.ErrInvalid)
		}
		if err != nil {
			return err
		}
	}
	if err := s.settle(); err != nil {
		return fmt.Errorf("delta: version %d: %w", s.version, err)
	}
	return nil
}

// maxStateAge is how long it is taken for granted that a log still holds the commit behind a state.
const maxStateAge = 5 * time.Minute

// errOutrun says that a state is so old that the commits behind it are gone: it cannot be advanced.
const errOutrun = outrunError("delta: the log was cleaned up past the version that was read; read the table anew")

type outrunError string

func (e outrunError) Error() string { return string(e) }

// checkReach makes sure that the version behind s is absent because nobody committed it. Where s was read long
// ago, it may be absent because log cleanup took it: whoever then commits it writes a version of the past.
func checkReach(ctx context.Context, st store.Store, s *state) error {
	if time.Since(s.seen) < maxStateAge {
		return nil
	}
	listed, err := listLog(ctx, st, s.version)
	if err != nil {
		return err
	}
	if _, there := listed.modified[s.version+1]; !there && listed.newest() > s.version {
		return errOutrun
	}
	s.seen = time.Now()
	return nil
}

// advance applies the commits that came since, until one is absent. Listings may show holes while others
// commit; the absence of one name does not.
func advance(ctx context.Context, st store.Store, s *state) error {
	if err := checkReach(ctx, st, s); err != nil {
		return err
	}
	for {
		err := applyCommit(ctx, st, s, s.version+1)
		if isNotExist(err) {
			break
		}
		if err != nil {
			return err
		}
	}
	return s.settle()
}
