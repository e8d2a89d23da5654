package delta

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/inflowhq/inflow/schemas"
)

// What was there and is gone is never fs.ErrNotExist here: that would say that there is no table.

// gapError is a hole in the log in front of a reader.
type gapError struct {
	version int64 // that is wanted
	next    int64 // the first one behind it that the log holds, -1: none
	cause   string
}

// Error names the version and where the log goes on.
func (g *gapError) Error() string {
	text := fmt.Sprintf("version %d was not read to its end, and the log no longer holds it", g.version)
	if g.next >= 0 {
		text += fmt.Sprintf(" (it begins at %d)", g.next)
	}
	return text + ": " + g.cause
}

// cleanedAway tells a log that no longer reaches back from other failures.
func (s *Source) cleanedAway(ctx context.Context, version int64, cause error) error {
	_, told := errors.AsType[*schemas.Error](cause)
	_, unsupported := errors.AsType[*UnsupportedError](cause)
	if told || unsupported || ctx.Err() != nil {
		return cause
	}
	listed, err := listLog(ctx, s.table.store, -1)
	if err != nil || listed.first <= version && !isNotExist(cause) {
		return cause
	}
	return s.logCleaned(version, listed, cause)
}

func (s *Source) logCleaned(version int64, listed *listing, cause error) error {
	gap := &gapError{version: version, next: -1, cause: cause.Error()}
	for _, held := range slices.Sorted(maps.Keys(listed.modified)) {
		if held > version {
			gap.next = held
			break
		}
	}
	return &schemas.Error{
		Op: "delta: read " + s.name, Code: "log_cleaned_away", Err: gap,
		Mend: "run under a new job name to read the table anew, or set fail_on_data_loss: false to go on with the versions that are left; " +
			"a longer delta.logRetentionDuration, or more frequent runs, keep this from happening again",
	}
}

// gapEnd returns the version to go on with behind a hole in the log, if that is what err says and what is wanted.
func (s *Source) gapEnd(err error) (*gapError, bool) {
	gap, ok := errors.AsType[*gapError](err)
	return gap, ok && s.options.SkipLost && gap.next >= 0
}

// behindGap is gapEnd, with a warning.
func (s *Source) behindGap(ctx context.Context, err error) (next int64, ok bool) {
	gap, ok := s.gapEnd(err)
	if !ok {
		return 0, false
	}
	s.logger.WarnContext(ctx, "versions were cleaned from the log before they were read to their end, and are passed over",
		"table", s.name, "first_version", gap.version, "last_version", gap.next-1)
	return gap.next, true
}

func (s *Source) vacuumed(version int64, file string, cause error) error {
	return &schemas.Error{
		Op: "delta: read " + s.name, Code: "files_vacuumed",
		Err: fmt.Errorf("version %d was not read to its end, and its data file %s is in the log but not in the table's folder "+
			"(vacuumed or deleted): %s", version, file, cause.Error()),
		Mend: "run under a new job name to read the table anew, or set fail_on_data_loss: false to go on with what is left; " +
			"a longer delta.deletedFileRetentionDuration, or more frequent runs, keep this from happening again",
	}
}

// lostFiles are those of one version that are gone.
type lostFiles struct {
	files, rows int64
	example     string
}

func (l *lostFiles) add(name string, rows int64) {
	l.files, l.rows, l.example = l.files+1, l.rows+rows, name
}

func (l *lostFiles) warn(ctx context.Context, s *Source, version int64) {
	if l.files > 0 {
		s.logger.WarnContext(ctx, "data files were vacuumed before they were read, and are passed over",
			"table", s.name, "version", version, "files", l.files, "known_rows", l.rows, "example", l.example)
	}
}
