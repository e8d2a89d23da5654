package delta

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

func (s *Source) checkStart() error {
	at := s.options.StartVersion
	switch {
	case at != nil && !s.options.StartTimestamp.IsZero():
		return fmt.Errorf("delta: source: a start version and a start timestamp: give one of them: %w", schemas.ErrInvalid)
	case at != nil && *at < StartLatest:
		return fmt.Errorf("delta: source: there is no version %d to start at: %w", *at, schemas.ErrInvalid)
	}
	return nil
}

// start is where a reading without marks begins. One that does not begin with the whole table stands in front of the
// version that it begins with.
func (s *Source) start(ctx context.Context) (position, error) {
	newest := s.Version()
	at := s.options.StartVersion
	switch {
	case at != nil && *at == StartLatest:
		return position{snapshot: -1, version: newest + 1}, nil
	case at != nil:
		return position{snapshot: -1, version: *at}, s.checkHeld(ctx, *at)
	case !s.options.StartTimestamp.IsZero():
		version, err := s.versionSince(ctx, s.options.StartTimestamp)
		return position{snapshot: -1, version: version}, err
	}
	return position{snapshot: newest, version: newest}, nil
}

// checkHeld makes sure that the log holds a version, or that it is the next one.
func (s *Source) checkHeld(ctx context.Context, version int64) error {
	listed, err := listLog(ctx, s.table.store, -1)
	if err != nil {
		return err
	}
	newest := max(listed.newest(), s.Version())
	if version > newest+1 {
		return &schemas.Error{
			Op: "delta: read " + s.name, Code: "start_in_the_future",
			Err:  fmt.Errorf("there is no version %d to start at: the table is at %d: %w", version, newest, schemas.ErrInvalid),
			Mend: fmt.Sprintf("start at a version up to %d, or at latest", newest+1),
		}
	}
	if _, held := listed.modified[version]; held || version == newest+1 {
		return nil
	}
	return s.beforeLog(fmt.Sprintf("version %d", version), listed)
}

func (s *Source) beforeLog(what string, listed *listing) error {
	return &schemas.Error{
		Op: "delta: read " + s.name, Code: "start_before_log",
		Err:  fmt.Errorf("the log no longer holds what %s brought: it begins at version %d: %w", what, listed.first, schemas.ErrInvalid),
		Mend: fmt.Sprintf("start at version %d or later, or without a start version to read the whole table first", listed.first),
	}
}

// versionSince returns the first version that was committed at a time or later, the next one where there is none. It
// reads few commits, as versions are in the order of their times.
func (s *Source) versionSince(ctx context.Context, since time.Time) (int64, error) {
	listed, err := listLog(ctx, s.table.store, -1)
	if err != nil {
		return 0, err
	}
	versions := slices.Sorted(maps.Keys(listed.modified))
	found := sort.Search(len(versions), func(i int) bool {
		at, readErr := commitTime(ctx, s.table.store, versions[i])
		if readErr != nil {
			err = readErr
			return true
		}
		if at.IsZero() {
			at = listed.modified[versions[i]]
		}
		return !at.Before(since)
	})
	switch {
	case err != nil:
		return 0, err
	case found == len(versions):
		return max(listed.newest(), s.Version()) + 1, nil
	case found == 0 && versions[0] > 0:
		return 0, s.beforeLog("was committed since "+since.UTC().Format(time.RFC3339), listed)
	}
	return versions[found], nil
}

// commitTime is when a version was committed, zero where it does not say.
func commitTime(ctx context.Context, st store.Store, version int64) (time.Time, error) {
	for action, err := range readCommit(ctx, st, version) {
		if err != nil {
			return time.Time{}, err
		}
		if action.CommitInfo != nil {
			return action.CommitInfo.Time(), nil
		}
	}
	return time.Time{}, nil
}
