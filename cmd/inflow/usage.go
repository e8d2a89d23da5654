package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/jobs"
)

func (a *app) usage() *cobra.Command {
	return &cobra.Command{
		Use: "usage PATH", Short: "Add up a usage table by day, endpoint, model and status", Args: argCount(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			snapshot, err := openSnapshot(c.Context(), args[0])
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(snapshot.Columns(), func(field delta.Field) bool { return field.Name == "request_date" }) {
				return usagef("%s: not a usage table: it has no column request_date\n"+
					"  a usage table is what a job names under audit.usage", args[0])
			}
			totals, err := jobs.UsageTotals(c.Context(), args[0])
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if a.output == outputJSON {
				return a.printJSON(totals)
			}
			a.printUsage(totals)
			return nil
		},
	}
}

func (a *app) printUsage(totals []jobs.UsageTotal) {
	var sum jobs.UsageTotal
	rows := make([][]string, 0, len(totals)+1)
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
	headers := []string{"day", "endpoint", "model", "status", "calls", "tokens\nin", "tokens\nout", "dollars"}
	if sum.Reused > 0 {
		headers = append(headers, "reused")
		for i := range totals {
			rows[i] = append(rows[i], count(totals[i].Reused))
		}
		if len(rows) > len(totals) {
			rows[len(totals)] = append(rows[len(totals)], count(sum.Reused))
		}
	}
	a.printTable(headers, rows)
}

func usageRow(t *jobs.UsageTotal) []string {
	spent := dollars(t.CostUSD.Dollars())
	if t.Unpriced > 0 {
		spent += fmt.Sprintf(" + %s without a price", count(t.Unpriced))
	}
	return []string{
		t.Day, printable(t.Endpoint), printable(t.Model), t.Status, count(t.Invocations - t.Reused),
		count(t.InputTokens), count(t.OutputTokens), spent,
	}
}
