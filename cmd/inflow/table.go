package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/connectors/store"
)

func (a *app) table() *cobra.Command {
	command := &cobra.Command{
		Use: "table", Short: "Look at a Delta table in a folder", Args: cobra.ArbitraryArgs, RunE: group,
	}
	command.AddCommand(a.tableShow(), a.tableLog(), a.tableHead())
	return command
}

// openTable opens a Delta table of this machine.
func openTable(ctx context.Context, path string) (*delta.Table, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("%s: there is no such folder\n  PATH is the folder that a table lies in, not its name in a catalog", path)
	}
	location, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	table, err := delta.Open(ctx, store.NewLocal(path), delta.WithLocation(location))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, usagef("%s: not a Delta table: there is no _delta_log in it", path)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return table, nil
}

func openSnapshot(ctx context.Context, path string) (*delta.Snapshot, error) {
	table, err := openTable(ctx, path)
	if err != nil {
		return nil, err
	}
	snapshot, err := table.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return snapshot, nil
}

func (a *app) tableShow() *cobra.Command {
	return &cobra.Command{
		Use: "show PATH", Short: "Columns, size, version, properties and progress marks", Args: argCount(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			snapshot, err := openSnapshot(c.Context(), args[0])
			if err != nil {
				return err
			}
			shown := describe(args[0], snapshot)
			if a.output == outputJSON {
				return a.printJSON(shown)
			}
			a.printShown(&shown)
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
	Partition bool   `json:"partition"`
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
		out.Columns = append(out.Columns, shownColumn{
			Name: field.Name, Type: field.Type.SQL(), Nullable: field.Nullable, Partition: partitions[field.Name],
		})
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

func (a *app) printShown(shown *shownTable) {
	rows := "an unknown number of rows"
	if shown.Rows >= 0 {
		rows = counted(shown.Rows, "row")
	}
	a.printf("%s · version %d · %s in %s, %s\n\n",
		shown.Path, shown.Version, rows, counted(int64(shown.Files), "file"), size(shown.Bytes))
	columns := make([][]string, 0, len(shown.Columns))
	for _, column := range shown.Columns {
		var notes string
		if column.Partition {
			notes = "partition"
		}
		columns = append(columns, []string{printable(column.Name), shorten(column.Type, 90), notes})
	}
	a.printTable([]string{"column", "type", ""}, columns)
	if len(shown.Properties) > 0 {
		a.printf("\n")
		a.printTable([]string{"property", "value"}, sortedPairs(shown.Properties))
	}
	if len(shown.Transactions) > 0 {
		a.printf("\n")
		marks := make([][]string, 0, len(shown.Transactions))
		for _, txn := range shown.Transactions {
			marks = append(marks, []string{printable(txn.AppID), count(txn.Version)})
		}
		a.printTable([]string{"mark (txn)", "value"}, marks)
	}
}
