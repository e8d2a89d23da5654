package delta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

const (
	// maxCommitAttempts bounds the races that one commit may lose.
	maxCommitAttempts = 200
	// maxUnknownAttempts bounds how often an unanswered put is asked after.
	maxUnknownAttempts = 5
	// settleTimeout bounds what is done for a commit after its context ended.
	settleTimeout = 30 * time.Second
	minBackoff    = 2 * time.Millisecond
	maxBackoff    = time.Second
)

// ConflictError says that a concurrent commit changed what this one was planned on. Nothing of it is visible; plan
// it anew on the newest snapshot.
type ConflictError struct {
	Version int64  // the commit that won
	Changed string // "protocol", "metaData"
}

// Error names the version and what it changed.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("delta: version %d, committed meanwhile, changed the table's %s; read the table anew and try again", e.Version, e.Changed)
}

// outcome is how an attempt to create a version ended.
type outcome uint8

const (
	unknown   outcome = iota // only beside an error
	committed                // the version is ours
	taken                    // the version is someone else's
)

// committer creates log entries. id is the txnId of its commitInfo, by which it knows its own.
type committer struct {
	store store.Store
	id    string
}

// put tries to make data the given version.
//
// A put that fails otherwise than by losing may have taken effect: its answer was lost. So the version is read
// back. Ours: committed. Someone else's: taken, and ours can never land any more. Absent: a put that said for
// certain that it changed nothing is over. One that did not might still land, so the same version is put again
// (whichever of the two lands, it is ours) until an answer is had; without any, the error is Ambiguous and the
// data files must stay.
func (c *committer) put(ctx context.Context, version int64, data []byte) (outcome, error) {
	for attempt := 1; ; attempt++ {
		err := c.store.PutIfAbsent(ctx, commitName(version), data)
		if err == nil {
			return committed, nil
		}
		// Also after fs.ErrExist: a store that retries by itself meets its own first try, and whoever took that for
		// another's commit would delete files that the table refers to.
		owner, readErr := c.owner(ctx, version)
		switch {
		case readErr == nil && owner:
			return committed, nil
		case readErr == nil:
			return taken, nil
		case isNotExist(readErr) && !errors.Is(err, fs.ErrExist) && schemas.ClassOf(err) != schemas.Ambiguous:
			return unknown, fmt.Errorf("delta: commit version %d: %w", version, err)
		case attempt >= maxUnknownAttempts || ctx.Err() != nil:
			return unknown, &schemas.Error{
				Op: fmt.Sprintf("delta: commit version %d", version), Class: schemas.Ambiguous, Code: "commit_unknown", Err: err,
				Mend: "it is not known whether the commit stands: look at the table's txn before writing the rows again",
			}
		}
		if err := backoff(ctx, attempt); err != nil {
			continue // asked once more above, and then given up as unknown
		}
	}
}

// owner reports whether a version is ours. It answers even when ctx has ended: the outcome is needed then too.
func (c *committer) owner(ctx context.Context, version int64) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	for action, err := range readCommit(ctx, c.store, version) {
		if err != nil {
			return false, err
		}
		if action.CommitInfo != nil {
			return action.CommitInfo.TxnID == c.id, nil
		}
	}
	return false, nil
}

// backoff waits a little longer each time, at random so that racers part.
func backoff(ctx context.Context, attempt int) error {
	ceiling := min(minBackoff<<min(attempt, 20), maxBackoff)
	timer := time.NewTimer(rand.N(ceiling) + time.Millisecond) //nolint:gosec // jitter is no secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
