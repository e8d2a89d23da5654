package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/jobs"
	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/schemas"
)

// withJob prepares the job of a file and closes it behind use.
func (a *app) withJob(ctx context.Context, path string, use func(*jobs.Job) error) (err error) {
	file, err := jobs.Load(path)
	if err != nil {
		return err
	}
	job, err := jobs.Prepare(ctx, file, jobs.Environment{LookupEnv: a.lookupEnv, Logger: a.logger()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, job.Close(context.WithoutCancel(ctx))) }()
	return use(job)
}

func (a *app) check() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Find every fault of a job before it costs anything: the file, names, permissions, schemas, parameters",
		Args:  exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withJob(c.Context(), args[0], func(job *jobs.Job) error {
				if err := job.Check(c.Context()); err != nil {
					return err
				}
				if a.output == outputJSON {
					a.printJSON(a.stdout, map[string]any{"job": job.File.Job, "ok": true, "principal": job.Principal})
					return nil
				}
				a.printf("%s: ok\n", args[0])
				a.printf("  %s may read the source, ask %s and write the results\n", job.Principal, job.Endpoint.Name)
				for _, destination := range job.Endpoint.Destinations {
					a.printf("  %s answers with %s at %s (%d%% of the traffic)\n",
						job.Endpoint.Name, destination.Model, destination.Provider, destination.TrafficPercentage)
				}
				a.printf("\nNext: inflow plan %s\n", args[0])
				return nil
			})
		},
	}
}

func (a *app) plan() *cobra.Command {
	return &cobra.Command{
		Use:   "plan FILE",
		Short: "Say what a run would do: rows, tokens, dollars, time",
		Args:  exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withJob(c.Context(), args[0], func(job *jobs.Job) error {
				plan, err := job.Plan(c.Context())
				if err != nil {
					return err
				}
				if a.output == outputJSON {
					a.printJSON(a.stdout, plan)
					return nil
				}
				a.printPlan(plan)
				if plan.RowsToDo != 0 {
					a.printf("\nNext: inflow run %s\n", args[0])
				}
				return nil
			})
		},
	}
}

func (a *app) printPlan(plan *jobs.Plan) {
	about := func(known int64, estimated bool) string {
		switch {
		case known < 0:
			return "not known before reading"
		case estimated:
			return "about " + count(known)
		}
		return count(known)
	}
	cost := "no price is known for this model"
	if plan.CostUSD != nil {
		cost = fmt.Sprintf("at most %s (prices of %s)", dollars(plan.CostUSD.Dollars()), plan.PriceVersion)
	}
	under := "no limit but the concurrency"
	if plan.UnderLimits > 0 {
		under = "at least " + plan.UnderLimits.Round(time.Second).String()
	}
	scaled := plan.RowsToDo > plan.KeptRows
	a.printTable([]string{"job " + plan.Job, ""}, [][]any{
		{"rows in the source", about(plan.SourceRows, false)},
		{"already done", count(plan.DoneRows)},
		{"to do", about(plan.RowsToDo, plan.Estimated)},
		{"tokens in", about(plan.InputTokens, scaled)},
		{"tokens out, at most", about(plan.OutputTokens, scaled)},
		{"dollars", cost},
		{"concurrency", plan.Concurrency},
		{"time under the limits", under},
	})
	a.printf("%s rows sampled; tokens are estimated as characters / 4\n", count(plan.SampledRows))
}

func (a *app) runJob() *cobra.Command {
	return &cobra.Command{
		Use:   "run FILE",
		Short: "Ask about every row that is not done yet, and commit the answers",
		Long: "Run asks about every row that is not done yet and commits the answers. It may be stopped at any moment and\n" +
			"started again: what was paid is not paid again, what was committed is not committed again.",
		Args: exactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withJob(c.Context(), args[0], func(job *jobs.Job) error {
				return a.runToEnd(c.Context(), job, args[0])
			})
		},
	}
}

// runToEnd runs a prepared job with its progress shown, and says how it ended.
func (a *app) runToEnd(ctx context.Context, job *jobs.Job, path string) error {
	total, done, err := job.Count(ctx)
	if err != nil {
		return err
	}
	toDo := total - done
	if total < 0 {
		toDo = -1
	}
	stats := &pipeline.Stats{}
	started := time.Now()
	stop := a.watch(ctx, stats, toDo, a.logger())
	err = job.Run(ctx, stats)
	stop()
	a.printSummary(job, stats, time.Since(started), err)
	switch {
	case errors.Is(err, pipeline.ErrInterrupted):
		return fmt.Errorf("%w: what was finished is committed, what was paid is kept\n  to resume: inflow run %s", err, path)
	case errors.Is(err, pipeline.ErrTooManyErrors):
		return fmt.Errorf("%w\n  the rows since the last commit are not written, their answers are kept: mend the cause, "+
			"or raise on_error.fail_above, and: inflow run %s", err, path)
	case errors.Is(err, limits.ErrBudget):
		return fmt.Errorf("%w\n  what was finished is committed; raise limits.budget_usd and: inflow run %s", err, path)
	case errors.Is(err, schemas.ErrFenced):
		return fmt.Errorf("job %s: %w: its rows are committed, this run's are not\n"+
			"  what this run paid is kept in its ledger; to go on from there: inflow run %s", job.File.Job, err, path)
	}
	return err
}

func (a *app) printSummary(job *jobs.Job, stats *pipeline.Stats, took time.Duration, err error) {
	cost, priced := stats.Cost()
	if a.output == outputJSON {
		failures := map[string]int64{}
		for code, failure := range stats.Failures() {
			failures[code] = failure.Rows
		}
		summary := map[string]any{
			"job": job.File.Job, "run_id": job.RunID, "rows": stats.Rows.Load(), "skipped": stats.Skipped.Load(),
			"committed": stats.Committed.Load(), "commits": stats.Commits.Load(), "errors": stats.Errors.Load(),
			"errors_by_code": failures, "reused": stats.Reused.Load(), "invocations": stats.Invocations.Load(),
			"retries": stats.Retries.Load(), "throttles": stats.Throttles.Load(), "input_tokens": stats.InputTokens.Load(),
			"output_tokens": stats.OutputTokens.Load(), "cost_usd": cost, "cost_complete": priced,
			"seconds": took.Seconds(), "ok": err == nil,
		}
		a.printJSON(a.stdout, summary)
		return
	}
	if stats.Rows.Load() == 0 && stats.Skipped.Load() == 0 && err == nil {
		a.printf("%s: nothing to do: every row of the source is done\n", job.File.Job)
		return
	}
	parts := []string{
		fmt.Sprintf("%s rows committed", count(stats.Committed.Load())),
		fmt.Sprintf("%s calls", count(stats.Invocations.Load())),
		fmt.Sprintf("%s tokens in, %s out", count(stats.InputTokens.Load()), count(stats.OutputTokens.Load())),
	}
	if priced {
		parts = append(parts, dollars(cost.Dollars()))
	} else {
		parts = append(parts, "no price known")
	}
	if reused := stats.Reused.Load(); reused > 0 {
		parts = append(parts, fmt.Sprintf("%s rows at no cost from the ledger", count(reused)))
	}
	if skipped := stats.Skipped.Load(); skipped > 0 {
		parts = append(parts, fmt.Sprintf("%s rows left out by the condition", count(skipped)))
	}
	parts = append(parts, took.Round(10*time.Millisecond).String())
	a.printf("%s: %s\n", job.File.Job, strings.Join(parts, " · "))
	a.printFailures(stats)
}

// printFailures lists the row errors by code, the most frequent first.
func (a *app) printFailures(stats *pipeline.Stats) {
	failures := stats.Failures()
	if len(failures) == 0 {
		return
	}
	codes := slices.SortedFunc(maps.Keys(failures), func(x, y string) int {
		return int(failures[y].Rows - failures[x].Rows)
	})
	rows := make([][]any, 0, len(codes))
	for _, code := range codes {
		failure := failures[code]
		rows = append(rows, []any{count(failure.Rows), code, failure.Example.Class.String(), shorten(failure.Example.Message, 80)})
	}
	a.printTable([]string{"rows", "error", "class", "for example"}, rows)
}

// shorten cuts a text for a table, on one line.
func shorten(text string, limit int) string {
	text = strings.Join(strings.Fields(text), " ")
	letters := []rune(text)
	if len(letters) <= limit {
		return text
	}
	return string(letters[:limit-1]) + "…"
}
