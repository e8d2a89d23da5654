package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/jobs"
)

func (a *app) plan() *cobra.Command {
	return &cobra.Command{
		Use:   "plan FILE",
		Short: "Say what a run would do: rows, tokens, dollars, time",
		Long: "Plan counts the rows that are done and to do, and reckons tokens, dollars and time from a sample of them.\n" +
			"It asks no model and writes nothing.",
		Args: argCount(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withJob(c.Context(), args[0], func(job *jobs.Job) error {
				plan, err := job.Plan(c.Context())
				if err != nil {
					return err
				}
				if a.output == outputJSON {
					return a.printJSON(plan)
				}
				a.printPlan(plan)
				if plan.RowsToDo != 0 {
					a.printNext(suggestion{a.command("run", args[0]), ""})
				}
				return nil
			})
		},
	}
}

func (a *app) printPlan(plan *jobs.Plan) {
	const unknown = "not known before reading"
	about := func(known int64, estimated bool) string {
		switch {
		case known < 0:
			return unknown
		case estimated:
			return "about " + count(known)
		}
		return count(known)
	}
	// Where nobody knows how many rows there are, what one of them takes is still known.
	in, out := about(plan.InputTokens, plan.RowsToDo > plan.SampledRows), about(plan.OutputTokens, plan.Estimated)
	price, under := "no price is known for this model", "no limit but the concurrency"
	if plan.CostUSD != nil {
		price = fmt.Sprintf("at most %s (prices of %s)", dollars(plan.CostUSD.Dollars()), plan.PriceVersion)
	}
	if plan.UnderLimits > 0 {
		under = "at least " + plan.UnderLimits.Round(time.Second).String()
	}
	if plan.RowsToDo < 0 {
		in = fmt.Sprintf("about %.0f a row", plan.InputTokensPerRow)
		out = count(plan.OutputTokensMax) + " a row"
		price = unknown
		if plan.RequestsPerMinute > 0 || plan.TokensPerMinute > 0 {
			under = unknown
		}
	}
	rows := [][]string{
		{"endpoint", plan.Endpoint},
		{"rows in the source", about(plan.SourceRows, false)},
		{"rows done", count(plan.DoneRows)},
		{"rows to do", about(plan.RowsToDo, plan.Estimated)},
		{"rows sampled", sampled(plan)},
		{"tokens in", in},
		{"tokens out, at most", out},
		{"dollars", price},
		{"calls at once", count(int64(plan.Concurrency))},
	}
	if plan.Requests < plan.RowsToDo { // each has many rows
		rows = slices.Insert(rows, 5, []string{"requests", about(plan.Requests, plan.Estimated)})
	}
	for _, limit := range []struct {
		name      string
		perMinute int64
	}{{"calls a minute", plan.RequestsPerMinute}, {"tokens a minute", plan.TokensPerMinute}} {
		if limit.perMinute > 0 {
			rows = append(rows, []string{limit.name, count(limit.perMinute)})
		}
	}
	a.printTable([]string{"job", plan.Job}, append(rows, []string{"time under the limits", under}))
	if plan.SampledRows > 0 {
		a.printf("Tokens are estimated from the sample, as characters / 4.\n")
	}
}

func sampled(plan *jobs.Plan) string {
	text := count(plan.SampledRows)
	if out := plan.SampledRows - plan.KeptRows; out > 0 {
		text += fmt.Sprintf(", %s left out by the condition", count(out))
	}
	return text
}
