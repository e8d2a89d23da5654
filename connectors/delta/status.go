package delta

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

// maxStatusCommits bounds how many commits of others are looked at for one of a prefix.
const maxStatusCommits = 50

// EpochInfo is a commit of a Sink as the table's log has it.
type EpochInfo struct {
	Version    int64
	Time       time.Time // zero: the commit does not say
	Rows       int64     // added; -1: the log does not say
	FilesAdded int64
	BytesAdded int64
	Marks      schemas.Marks  // that were moved
	About      *schemas.Epoch // nil: the commit says nothing, or nothing of ours
}

// Epochs returns where the marks of a prefix stand, and the newest commits that moved one of them, newest first, at most
// limit of them. It reads no data, and of the log one checkpoint and the newest commits: of every commit of the prefix
// that it returns at most maxStatusCommits that are not, so one that lies far behind others' may be left out. Where there is
// no table the error is fs.ErrNotExist.
func Epochs(ctx context.Context, st store.Store, prefix string, limit int, options ...Option) (schemas.Marks, []EpochInfo, error) {
	table := newTable(st, options)
	s, err := load(ctx, st, table.location, latest, false)
	if err != nil {
		return nil, nil, err
	}
	marks := marksOf(s, prefix)
	epochs := []EpochInfo{}
	for version := s.version; version >= 0 && marks != nil && len(epochs) < limit; version-- {
		if s.version-version >= int64(len(epochs)+1)*maxStatusCommits {
			break
		}
		epoch, err := readEpoch(ctx, st, prefix, version)
		if isNotExist(err) {
			break // cleaned away, and with it all before
		}
		if err != nil {
			return nil, nil, err
		}
		if epoch.Marks != nil {
			epochs = append(epochs, epoch)
		}
	}
	return marks, epochs, nil
}

func readEpoch(ctx context.Context, st store.Store, prefix string, version int64) (EpochInfo, error) {
	epoch := EpochInfo{Version: version}
	told := int64(-1)
	for action, err := range readCommit(ctx, st, version) {
		switch {
		case err != nil:
			return EpochInfo{}, err
		case action.CommitInfo != nil:
			info := action.CommitInfo
			epoch.Time, epoch.About = info.Time(), parseAbout(info.UserMetadata)
			if rows, err := strconv.ParseInt(info.OperationMetrics["numOutputRows"], 10, 64); err == nil {
				told = rows
			}
		case action.Txn != nil:
			if name, ok := strings.CutPrefix(action.Txn.AppID, prefix); ok {
				if epoch.Marks == nil {
					epoch.Marks = schemas.Marks{}
				}
				epoch.Marks[name] = action.Txn.Version
			}
		case action.Add != nil:
			epoch.FilesAdded++
			epoch.BytesAdded += action.Add.Size
			if rows := action.Add.Rows(); rows < 0 || epoch.Rows < 0 {
				epoch.Rows = -1
			} else {
				epoch.Rows += rows
			}
		}
	}
	if epoch.Rows < 0 {
		epoch.Rows = told
	}
	return epoch, nil
}

// parseAbout takes a commit's userMetadata, where anybody may write anything.
func parseAbout(text string) *schemas.Epoch {
	var about schemas.Epoch
	if text == "" || json.Unmarshal([]byte(text), &about) != nil || about.Job == "" {
		return nil
	}
	return &about
}
