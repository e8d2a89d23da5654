package main

import (
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/jobs"
	"github.com/inflowhq/inflow/schemas"
)

func (a *app) table() *cobra.Command {
	group := &cobra.Command{Use: "table", Short: "Look at a Delta table in a folder"}
	group.AddCommand(a.tableShow(), a.tableLog(), a.tableHead())
	return group
}

// openTable opens a Delta table of this machine.
func (*app) openTable(c *cobra.Command, path string) (*delta.Table, error) {
	return delta.Open(c.Context(), store.NewLocal(path))
}

func (a *app) tableShow() *cobra.Command {
	return &cobra.Command{
		Use: "show PATH", Short: "Columns, size, version, properties and progress marks", Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			table, err := a.openTable(c, args[0])
			if err != nil {
				return err
			}
			snapshot, err := table.Snapshot(c.Context())
			if err != nil {
				return err
			}
			shown := describe(args[0], snapshot)
			if a.output == outputJSON {
				a.printJSON(a.stdout, shown)
				return nil
			}
			a.printf("%s · version %d · %s rows in %d files, %s\n", args[0], shown.Version, rowsText(shown.Rows), shown.Files, size(shown.Bytes))
			rows := make([][]any, 0, len(shown.Columns))
			for _, column := range shown.Columns {
				rows = append(rows, []any{column.Name, shorten(column.Type, 90), column.Partition})
			}
			a.printTable([]string{"column", "type", ""}, rows)
			if len(shown.Transactions) > 0 {
				a.printf("\n")
				marks := make([][]any, 0, len(shown.Transactions))
				for _, txn := range shown.Transactions {
					marks = append(marks, []any{txn.AppID, txn.Version})
				}
				a.printTable([]string{"mark (txn)", "value"}, marks)
			}
			return nil
		},
	}
}

type shownTable struct {
	Path         string            `json:"path"`
	Version      int64             `json:"version"`
	Rows         int64             `json:"rows"` // -1: a file has no statistics
	Files        int               `json:"files"`
	Bytes        int64             `json:"bytes"`
	Columns      []shownColumn     `json:"columns"`
	Properties   map[string]string `json:"properties"`
	Transactions []delta.Txn       `json:"transactions"`
	Protocol     delta.Protocol    `json:"protocol"`
}

type shownColumn struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Nullable  bool   `json:"nullable"`
	Partition string `json:"partition,omitempty"`
}

func describe(path string, snapshot *delta.Snapshot) shownTable {
	out := shownTable{
		Path: path, Version: snapshot.Version(), Properties: snapshot.Properties(),
		Transactions: snapshot.Txns(), Protocol: snapshot.Protocol(),
	}
	partitions := map[string]bool{}
	for _, name := range snapshot.Metadata().PartitionColumns {
		partitions[name] = true
	}
	for _, field := range snapshot.Columns() {
		column := shownColumn{Name: field.Name, Type: field.Type.SQL(), Nullable: field.Nullable}
		if partitions[field.Name] {
			column.Partition = "partition"
		}
		out.Columns = append(out.Columns, column)
	}
	for _, file := range snapshot.Files() {
		out.Files++
		out.Bytes += file.Size
		if rows := file.Rows(); rows < 0 || out.Rows < 0 {
			out.Rows = -1
		} else {
			out.Rows += rows
		}
	}
	return out
}

func rowsText(rows int64) string {
	if rows < 0 {
		return "an unknown number of"
	}
	return count(rows)
}

func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", bytes)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

func (a *app) tableLog() *cobra.Command {
	limit := 20
	command := &cobra.Command{
		Use: "log PATH", Short: "The commits, newest first", Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			table, err := a.openTable(c, args[0])
			if err != nil {
				return err
			}
			var commits []delta.Commit
			for commit, err := range table.History(c.Context()) {
				if err != nil {
					return err
				}
				commits = append(commits, commit)
				if len(commits) == limit {
					break
				}
			}
			if a.output == outputJSON {
				a.printJSON(a.stdout, commits)
				return nil
			}
			rows := make([][]any, 0, len(commits))
			for i := range commits {
				commit := &commits[i]
				marks := make([]string, 0, len(commit.Txns))
				for _, txn := range commit.Txns {
					marks = append(marks, fmt.Sprintf("%s=%d", txn.AppID, txn.Version))
				}
				rows = append(rows, []any{
					commit.Version, commit.Time.UTC().Format(time.RFC3339), commit.Operation,
					rowsText(commit.RowsAdded), commit.FilesAdded, commit.FilesRemoved, commit.EngineInfo, strings.Join(marks, " "),
				})
			}
			a.printTable([]string{"version", "time", "operation", "rows", "files +", "files -", "writer", "marks"}, rows)
			return nil
		},
	}
	command.Flags().IntVarP(&limit, "limit", "n", limit, "how many commits")
	return command
}

func (a *app) tableHead() *cobra.Command {
	limit := 10
	var columns []string
	command := &cobra.Command{
		Use: "head PATH", Short: "The first rows", Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.head(c, args[0], columns, limit) },
	}
	command.Flags().IntVarP(&limit, "limit", "n", limit, "how many rows")
	command.Flags().StringSliceVarP(&columns, "columns", "c", nil, "which columns (default all)")
	return command
}

func (a *app) head(c *cobra.Command, path string, columns []string, limit int) error {
	table, err := a.openTable(c, path)
	if err != nil {
		return err
	}
	snapshot, err := table.Snapshot(c.Context())
	if err != nil {
		return err
	}
	var names []string
	var rows [][]any
	for batch, err := range snapshot.Scan(c.Context(), delta.ScanOptions{Columns: columns, BatchRows: limit}) {
		if err != nil {
			return err
		}
		names = names[:0]
		for _, field := range batch.Record.Schema().Fields() {
			names = append(names, field.Name)
		}
		for row := range min(int(batch.Record.NumRows()), limit-len(rows)) {
			values := make([]any, 0, len(names))
			for _, column := range batch.Record.Columns() {
				if a.output == outputJSON {
					values = append(values, schemas.Value(column, row))
				} else {
					values = append(values, shorten(schemas.Text(column, row), 48))
				}
			}
			rows = append(rows, values)
		}
		batch.Record.Release()
		if len(rows) >= limit {
			break
		}
	}
	if a.output != outputJSON {
		a.printTable(names, rows)
		return nil
	}
	objects := make([]map[string]any, 0, len(rows))
	for _, row := range rows {
		object := make(map[string]any, len(names))
		for i, name := range names {
			object[name] = row[i]
		}
		objects = append(objects, object)
	}
	a.printJSON(a.stdout, objects)
	return nil
}

func (a *app) usage() *cobra.Command {
	return &cobra.Command{
		Use: "usage PATH", Short: "Add up a usage table by day, endpoint, model and status", Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := os.Stat(args[0]); err != nil {
				return fmt.Errorf("%s: %w", args[0], fs.ErrNotExist)
			}
			totals, err := jobs.UsageTotals(c.Context(), args[0])
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				a.printJSON(a.stdout, totals)
				return nil
			}
			a.printUsage(totals)
			return nil
		},
	}
}

func (a *app) printUsage(totals []jobs.UsageTotal) {
	var sum jobs.UsageTotal
	rows := make([][]any, 0, len(totals)+1)
	for i := range totals {
		t := &totals[i]
		rows = append(rows, usageRow(t))
		sum.Invocations += t.Invocations
		sum.Reused += t.Reused
		sum.InputTokens += t.InputTokens
		sum.OutputTokens += t.OutputTokens
		sum.Unpriced += t.Unpriced
		sum.CostUSD = sum.CostUSD.Add(t.CostUSD)
	}
	if len(totals) > 1 {
		sum.Day = "total"
		rows = append(rows, usageRow(&sum))
	}
	a.printTable([]string{"day", "endpoint", "model", "status", "calls", "reused", "tokens in", "tokens out", "dollars"}, rows)
}

func usageRow(t *jobs.UsageTotal) []any {
	cost := dollars(t.CostUSD.Dollars())
	if t.Unpriced > 0 {
		cost += fmt.Sprintf(" + %s without a price", count(t.Unpriced))
	}
	return []any{
		t.Day, t.Endpoint, t.Model, t.Status, count(t.Invocations - t.Reused), count(t.Reused),
		count(t.InputTokens), count(t.OutputTokens), cost,
	}
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "The version of this binary", Args: exactArgs(0),
		RunE: func(*cobra.Command, []string) error {
			version, revision, compiler := buildVersion()
			if a.output == outputJSON {
				a.printJSON(a.stdout, map[string]string{"version": version, "revision": revision, "go": compiler})
				return nil
			}
			a.printf("inflow %s (%s, %s)\n", version, revision, compiler)
			return nil
		},
	}
}

// buildVersion reads what the Go tool wrote into the binary.
func buildVersion() (version, revision, compiler string) {
	version, revision = "development", "no revision"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, revision, "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		version = info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			revision = setting.Value
		}
	}
	return version, revision, info.GoVersion
}
