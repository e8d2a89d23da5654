package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/connectors/delta"
)

func (a *app) tableLog() *cobra.Command {
	limit := 20
	command := &cobra.Command{
		Use: "log PATH", Short: "The commits, newest first", Args: argCount(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 {
				return usagef("--limit is at least 1, not %d", limit)
			}
			commits, err := readLog(c.Context(), args[0], limit)
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(commits)
			}
			a.printLog(commits)
			return nil
		},
	}
	command.Flags().IntVarP(&limit, "limit", "n", limit, "how many commits")
	return command
}

type shownCommit struct {
	Version      int64       `json:"version"`
	Time         time.Time   `json:"time"`
	Operation    string      `json:"operation"`
	EngineInfo   string      `json:"engine_info"`
	RowsAdded    int64       `json:"rows_added"` // -1: a file has no statistics
	FilesAdded   int64       `json:"files_added"`
	FilesRemoved int64       `json:"files_removed"`
	Transactions []delta.Txn `json:"transactions"`
}

// readLog reads the newest commits.
func readLog(ctx context.Context, path string, limit int) ([]shownCommit, error) {
	table, err := openTable(ctx, path)
	if err != nil {
		return nil, err
	}
	commits := []shownCommit{}
	for commit, err := range table.History(ctx) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		commits = append(commits, shownCommit{
			Version: commit.Version, Time: commit.Time.UTC(), Operation: commit.Operation, EngineInfo: commit.EngineInfo,
			RowsAdded: commit.RowsAdded, FilesAdded: commit.FilesAdded, FilesRemoved: commit.FilesRemoved, Transactions: commit.Txns,
		})
		if len(commits) == limit {
			break
		}
	}
	return commits, nil
}

func (a *app) printLog(commits []shownCommit) {
	rows := make([][]string, 0, len(commits))
	for i := range commits {
		commit := &commits[i]
		marks := make([]string, 0, len(commit.Transactions))
		for _, txn := range commit.Transactions {
			marks = append(marks, fmt.Sprintf("%s=%d", txn.AppID, txn.Version))
		}
		added := "unknown"
		if commit.RowsAdded >= 0 {
			added = count(commit.RowsAdded)
		}
		rows = append(rows, []string{
			count(commit.Version), commit.Time.Format(time.RFC3339), printable(commit.Operation), added,
			count(commit.FilesAdded), count(commit.FilesRemoved), printable(commit.EngineInfo),
			printable(strings.Join(marks, " ")),
		})
	}
	a.printTable([]string{"version", "time", "operation", "rows", "files +", "files -", "writer", "marks"}, rows)
}

// sortedPairs are the rows of a table of names and values.
func sortedPairs(values map[string]string) [][]string {
	out := make([][]string, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, []string{printable(name), shorten(values[name], 90)})
	}
	return out
}
