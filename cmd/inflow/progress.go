package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/inflowhq/inflow/pipeline"
)

const (
	refreshEvery = 150 * time.Millisecond
	logEvery     = 5 * time.Second
)

// watch shows a run's progress until stop is called: a bar for a person, log lines for a file. total is -1
// where nobody knows it.
func (a *app) watch(ctx context.Context, stats *pipeline.Stats, total int64, logger *slog.Logger) (stop func()) {
	started := time.Now()
	if !a.terminal() {
		return every(logEvery, func() {
			cost, _ := stats.Cost()
			logger.InfoContext(ctx, "progress", "rows", stats.Rows.Load(), "of", total, "committed", stats.Committed.Load(),
				"rows_per_second", int64(float64(stats.Rows.Load())/time.Since(started).Seconds()),
				"input_tokens", stats.InputTokens.Load(), "output_tokens", stats.OutputTokens.Load(),
				"usd", cost.Dollars(), "errors", stats.Errors.Load(), "throttles", stats.Throttles.Load())
		})
	}
	progress := mpb.New(mpb.WithOutput(a.stderr), mpb.WithAutoRefresh(), mpb.WithRefreshRate(refreshEvery), mpb.WithWidth(24))
	done := func() int64 { return stats.Rows.Load() + stats.Skipped.Load() }
	bar := progress.New(max(total, 0),
		mpb.BarStyle().Lbound("").Filler("█").Tip("█").Padding("░").Rbound(""),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string {
			if total < 0 {
				return fmt.Sprintf("%s rows ", count(stats.Rows.Load()))
			}
			return fmt.Sprintf("%s/%s rows ", count(done()), count(total))
		})),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			return status(stats, done(), total, time.Since(started))
		})))
	stopRefresh := every(refreshEvery, func() { bar.SetCurrent(done()) })
	return func() {
		stopRefresh()
		bar.SetCurrent(done())
		bar.Abort(false) // it stays on the screen as it is
		progress.Wait()
	}
}

// status is the text behind the bar.
func status(stats *pipeline.Stats, done, total int64, passed time.Duration) string {
	rate := float64(done) / max(passed.Seconds(), 0.001)
	text := fmt.Sprintf(" %s/s", count(int64(rate)))
	if total > 0 && rate > 0 && done < total {
		left := time.Duration(float64(total-done) / rate * float64(time.Second))
		text += " · ETA " + left.Round(time.Second).String()
	}
	text += fmt.Sprintf(" · %s tokens", count(stats.InputTokens.Load()+stats.OutputTokens.Load()))
	if cost, complete := stats.Cost(); complete {
		text += " · " + dollars(cost.Dollars())
	}
	if errors := stats.Errors.Load(); errors > 0 {
		text += fmt.Sprintf(" · %s errors", count(errors))
	}
	if throttles := stats.Throttles.Load(); throttles > 0 {
		text += fmt.Sprintf(" · %s throttled", count(throttles))
	}
	return text
}

// every calls do at an interval, from one goroutine, until the returned function has returned.
func every(interval time.Duration, do func()) (stop func()) {
	quit := make(chan struct{})
	var owner sync.WaitGroup
	owner.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				do()
			}
		}
	})
	return func() {
		close(quit)
		owner.Wait()
	}
}

// count writes a number with thousands apart.
func count(n int64) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

func dollars(amount float64) string {
	if amount > 0 && amount < 1 {
		return fmt.Sprintf("$%.6f", amount)
	}
	return fmt.Sprintf("$%.2f", amount)
}
