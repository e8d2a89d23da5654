package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/jobs"
	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/limits"
	"github.com/inflowhq/inflow/schemas"
)

func (a *app) runJob() *cobra.Command {
	return &cobra.Command{
		Use:   "run FILE",
		Short: "Ask about every row that is not done yet, and commit the answers",
		Long: "Run asks about every row that is not done yet and commits the answers. It may be stopped at any moment and\n" +
			"started again: what was paid is not paid again, what was committed is not committed again.",
		Args: argCount(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withJob(c.Context(), args[0], func(job *jobs.Job) error {
				did, err := a.runToEnd(c.Context(), job, args[0])
				if did == nil {
					return err
				}
				if a.output == outputJSON {
					return errors.Join(err, a.printJSON(did))
				}
				a.printSummary(did)
				return err
			})
		},
	}
}

// summary is what a run came to.
type summary struct {
	Job          string           `json:"job"`
	RunID        string           `json:"run_id"`
	OK           bool             `json:"ok"`
	Rows         int64            `json:"rows"`      // answered or failed for good
	Skipped      int64            `json:"skipped"`   // left out by the condition
	Committed    int64            `json:"committed"` // of rows, those in the results
	Commits      int64            `json:"commits"`
	Errors       int64            `json:"errors"`
	ErrorsByCode map[string]int64 `json:"errors_by_code"`
	Reused       int64            `json:"reused"`
	Invocations  int64            `json:"invocations"`
	Retries      int64            `json:"retries"`
	Throttles    int64            `json:"throttles"`
	InputTokens  int64            `json:"input_tokens"`
	OutputTokens int64            `json:"output_tokens"`
	CostUSD      schemas.USD      `json:"cost_usd"`
	CostComplete bool             `json:"cost_complete"` // false: some call had no known price
	Seconds      float64          `json:"seconds"`

	failures map[string]pipeline.Failure
}

func summarize(job *jobs.Job, stats *pipeline.Stats, took time.Duration, err error) *summary {
	spent, complete := stats.Cost()
	did := &summary{
		Job: job.File.Job, RunID: job.RunID, OK: err == nil,
		Rows: stats.Rows.Load(), Skipped: stats.Skipped.Load(), Committed: stats.Committed.Load(), Commits: stats.Commits.Load(),
		Errors: stats.Errors.Load(), ErrorsByCode: map[string]int64{}, Reused: stats.Reused.Load(),
		Invocations: stats.Invocations.Load(), Retries: stats.Retries.Load(), Throttles: stats.Throttles.Load(),
		InputTokens: stats.InputTokens.Load(), OutputTokens: stats.OutputTokens.Load(),
		CostUSD: spent, CostComplete: complete, Seconds: took.Seconds(), failures: stats.Failures(),
	}
	for code, failure := range did.failures {
		did.ErrorsByCode[code] = failure.Rows
	}
	return did
}

// runToEnd runs a prepared job with its progress shown. The summary is nil where the run did not begin; an error
// says how to go on.
func (a *app) runToEnd(ctx context.Context, job *jobs.Job, path string) (*summary, error) {
	total, done, err := job.Count(ctx)
	if err != nil {
		return nil, err
	}
	toDo := total - done
	if total < 0 {
		toDo = -1
	}
	// A second signal must find its ordinary effect restored once the first one was answered.
	quiet := context.AfterFunc(ctx, func() {
		a.restoreSignals()
		a.sayDraining(context.WithoutCancel(ctx))
	})
	stats := &pipeline.Stats{}
	started := time.Now()
	stop := a.watch(ctx, stats, toDo)
	err = job.Run(ctx, stats)
	stop()
	quiet()
	did := summarize(job, stats, time.Since(started), err)
	return did, howToGoOn(err, did, a.command("run", path))
}

// sayDraining answers a signal.
func (a *app) sayDraining(ctx context.Context) {
	seconds := int64(jobs.Drain.Seconds())
	if a.output == outputJSON {
		a.logger().WarnContext(ctx, "stopping: calls on the wire may finish; a second signal ends at once", "drain_seconds", seconds)
		return
	}
	_, _ = fmt.Fprintf(a.stderr, "stopping: calls on the wire have %d s to finish; Ctrl-C again ends at once\n", seconds) // as every line of stderr
}

// howToGoOn adds to a run's error what is safe and what to type next.
func howToGoOn(err error, did *summary, again string) error {
	switch {
	case errors.Is(err, pipeline.ErrInterrupted):
		return fmt.Errorf("%w: %s committed, %s more answered and kept\n  to resume: %s",
			err, counted(did.Committed, "row"), count(did.Rows-did.Committed), again)
	case errors.Is(err, pipeline.ErrTooManyErrors):
		return fmt.Errorf("%w\n  the rows since the last commit are not written, their answers are kept: mend the cause, "+
			"or raise on_error.fail_above, and: %s", err, again)
	case errors.Is(err, limits.ErrBudget):
		return fmt.Errorf("%w\n  what was finished is committed; raise limits.budget_usd and: %s", err, again)
	case errors.Is(err, schemas.ErrFenced):
		return fmt.Errorf("job %s: %w: its rows are committed, this run's are not\n"+
			"  what this run paid is kept in its ledger; to go on from there: %s", did.Job, err, again)
	}
	return err
}

func (a *app) printSummary(did *summary) {
	if did.Rows == 0 && did.Skipped == 0 && did.Invocations == 0 {
		if did.OK {
			a.printf("%s: nothing to do: every row of the source is done\n", did.Job)
		}
		return
	}
	parts := []string{
		counted(did.Committed, "row") + " committed",
		counted(did.Invocations, "call"),
		fmt.Sprintf("%s in, %s out", counted(did.InputTokens, "token"), count(did.OutputTokens)),
		cost(did.CostUSD.Dollars(), did.CostComplete),
	}
	if did.Reused > 0 {
		parts = append(parts, counted(did.Reused, "row")+" at no cost from the ledger")
	}
	if did.Skipped > 0 {
		parts = append(parts, counted(did.Skipped, "row")+" left out by the condition")
	}
	took := time.Duration(did.Seconds * float64(time.Second)).Round(10 * time.Millisecond)
	width := math.MaxInt
	if terminal := terminalWidth(a.stdout.out); terminal > 0 {
		width = terminal - 1
	}
	parts[0] = did.Job + ": " + parts[0]
	a.printf("%s\n", strings.Join(flow(append(parts, took.String()), width), "\n"))
	a.printFailures(did.failures)
}

// printFailures lists the row errors by code, the most frequent first.
func (a *app) printFailures(failures map[string]pipeline.Failure) {
	if len(failures) == 0 {
		return
	}
	codes := slices.SortedFunc(maps.Keys(failures), func(x, y string) int {
		return cmp.Or(cmp.Compare(failures[y].Rows, failures[x].Rows), cmp.Compare(x, y))
	})
	rows := make([][]string, 0, len(codes))
	for _, code := range codes {
		failure := failures[code]
		rows = append(rows, []string{count(failure.Rows), code, failure.Example.Class.String(), shorten(failure.Example.Message, 80)})
	}
	a.printTable([]string{"rows", "error", "class", "for example"}, rows)
}
