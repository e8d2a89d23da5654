package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/inflowhq/inflow/pipeline"
)

const (
	refreshEvery = 150 * time.Millisecond
	logEvery     = 5 * time.Second
	barWidth     = 24
)

// watch shows a run's progress until stop is called: a bar for a person, log lines for a file. total is -1
// where nobody knows it.
func (a *app) watch(ctx context.Context, stats *pipeline.Stats, total int64) (stop func()) {
	started := time.Now()
	if !a.watched() {
		logger := a.logger()
		return every(logEvery, func() { logProgress(ctx, logger, stats, total, time.Since(started)) })
	}
	draw := func(ended bool) {
		a.stderr.show(frame(stats, total, time.Since(started), ended, a.stderr.width()-1))
	}
	draw(false)
	stopDrawing := every(refreshEvery, func() { draw(false) })
	return func() {
		stopDrawing()
		draw(true)
		a.stderr.leave()
	}
}

func logProgress(ctx context.Context, logger *slog.Logger, stats *pipeline.Stats, total int64, passed time.Duration) {
	spent, _ := stats.Cost()
	rows := []slog.Attr{slog.Int64("rows", read(stats))}
	if total >= 0 {
		rows = append(rows, slog.Int64("of", total))
	}
	logger.LogAttrs(ctx, slog.LevelInfo, "progress", append(rows,
		slog.Int64("committed", stats.Committed.Load()),
		slog.Int64("rows_per_second", int64(rate(read(stats), passed))),
		slog.Int64("input_tokens", stats.InputTokens.Load()), slog.Int64("output_tokens", stats.OutputTokens.Load()),
		slog.String("usd", fmt.Sprintf("%.6f", spent.Dollars())),
		slog.Int64("errors", stats.Errors.Load()), slog.Int64("throttles", stats.Throttles.Load()))...)
}

// read is the number of rows that are over and done with, those left out by the condition too.
func read(stats *pipeline.Stats) int64 { return stats.Rows.Load() + stats.Skipped.Load() }

func rate(rows int64, passed time.Duration) float64 {
	return float64(rows) / max(passed.Seconds(), 0.001)
}

// frame is what a person sees of a run, in lines of width columns at the most: how far it is, and what it takes.
func frame(stats *pipeline.Stats, total int64, passed time.Duration, ended bool, width int) []string {
	done := read(stats)
	perSecond := rate(done, passed)
	rows := count(done) + " rows"
	if total >= 0 {
		rows = count(done) + "/" + count(total) + " rows"
	}
	far := []string{rows, count(int64(perSecond)) + "/s"}
	switch {
	case ended:
		far = append(far, "in "+passed.Round(100*time.Millisecond).String())
	case total >= 0 && perSecond > 0:
		left := time.Duration(float64(max(0, total-done)) / perSecond * float64(time.Second))
		far = append(far, "ETA "+left.Round(time.Second).String())
	default:
		far = append(far, "ETA unknown")
	}
	spent, complete := stats.Cost()
	took := []string{
		counted(stats.InputTokens.Load()+stats.OutputTokens.Load(), "token"),
		cost(spent.Dollars(), complete),
		counted(stats.Errors.Load(), "error"),
		counted(stats.Throttles.Load(), "throttle"),
	}
	lines := flow(far, width)
	if ahead := bar(done, total); ahead != "" && text.StringWidth(ahead+lines[0]) <= width {
		lines[0] = ahead + lines[0]
	}
	return append(lines, flow(took, width)...)
}

// bar draws done out of total, and says it in per cent.
func bar(done, total int64) string {
	if total <= 0 {
		return ""
	}
	share := min(1, float64(done)/float64(total))
	filled := int(share * barWidth)
	return strings.Repeat("█", filled) + strings.Repeat("░", barWidth-filled) + fmt.Sprintf(" %3d%%  ", int(share*100))
}

// flow sets parts one behind the other and begins a new line where the next one would not fit.
func flow(parts []string, width int) []string {
	const between = " · "
	var lines []string
	for _, part := range parts {
		last := len(lines) - 1
		if last >= 0 && text.StringWidth(lines[last]+between+part) <= width {
			lines[last] += between + part
			continue
		}
		lines = append(lines, snip(part, width))
	}
	return lines
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
