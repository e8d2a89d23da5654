package main

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/schemas"
)

// cellWidth is the longest text that a table shows of a value.
const cellWidth = 48

func (a *app) tableHead() *cobra.Command {
	limit := 10
	var columns []string
	command := &cobra.Command{
		Use: "head PATH", Short: "The first rows", Args: argCount(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 1 {
				return usagef("--limit is at least 1, not %d", limit)
			}
			head, err := readHead(c.Context(), args[0], columns, limit)
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(head.rows)
			}
			a.printHead(head)
			return nil
		},
	}
	command.Flags().IntVarP(&limit, "limit", "n", limit, "how many rows")
	command.Flags().StringSliceVarP(&columns, "columns", "c", nil, "which columns (default all)")
	return command
}

// head is the beginning of a table, for a person and for a program.
type head struct {
	names []string
	cells [][]string
	rows  []object
}

func readHead(ctx context.Context, path string, columns []string, limit int) (*head, error) {
	snapshot, err := openSnapshot(ctx, path)
	if err != nil {
		return nil, err
	}
	out := &head{rows: []object{}}
	for _, field := range snapshot.Columns() {
		out.names = append(out.names, field.Name)
	}
	if len(columns) > 0 {
		out.names = columns
	}
	for batch, err := range snapshot.Scan(ctx, delta.ScanOptions{Columns: columns, BatchRows: min(limit, 1024)}) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for row := range min(int(batch.Record.NumRows()), limit-len(out.rows)) {
			cells := make([]string, 0, len(out.names))
			fields := make(object, 0, len(out.names))
			for i, column := range batch.Record.Columns() {
				cells = append(cells, shorten(schemas.Text(column, row), cellWidth))
				fields = append(fields, field{batch.Record.ColumnName(i), schemas.Value(column, row)})
			}
			out.cells, out.rows = append(out.cells, cells), append(out.rows, fields)
		}
		batch.Record.Release()
		if len(out.rows) >= limit {
			break
		}
	}
	return out, nil
}

func (a *app) printHead(head *head) { a.printTable(head.names, head.cells) }

// object is a JSON object whose fields stay in the order of the table.
type object []field

type field struct {
	name  string
	value any
}

// MarshalJSON writes the fields in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, each := range o {
		if i > 0 {
			out.WriteByte(',')
		}
		// Not json.Marshal, which would write < and > as escapes.
		if err := encodeJSON(&out, each.name, ""); err != nil {
			return nil, err
		}
		out.WriteByte(':')
		if err := encodeJSON(&out, plainJSON(each.value), ""); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// plainJSON writes as text what JSON has no number for: NaN and the infinities, however deep.
func plainJSON(value any) any {
	switch v := value.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case []any:
		for i := range v {
			v[i] = plainJSON(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = plainJSON(v[key])
		}
	}
	return value
}
