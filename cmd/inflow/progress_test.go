package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/inflowhq/inflow/pipeline"
)

// newTestApp is an app that prints into a buffer.
func newTestApp() (*app, *bytes.Buffer) {
	out := &bytes.Buffer{}
	return &app{name: "inflow", stdout: &printer{out: out}, stderr: &screen{out: out}}, out
}

func someStats() *pipeline.Stats {
	stats := &pipeline.Stats{}
	stats.Rows.Store(1_200)
	stats.Skipped.Store(34)
	stats.InputTokens.Store(120_000)
	stats.OutputTokens.Store(3_456)
	stats.Errors.Store(12)
	stats.Throttles.Store(1)
	return stats
}

func TestFrameHasEverythingOnTwoLinesOfEightyColumns(t *testing.T) {
	t.Parallel()
	stats := someStats()
	for name, c := range map[string]struct {
		total int64
		ended bool
		width int
		want  []string
	}{
		"a bar": {10_000, false, 79, []string{
			"██░░░░░░░░░░░░░░░░░░░░░░  12%  1,234/10,000 rows · 123/s · ETA 1m11s",
			"123,456 tokens · $0.00 · 12 errors · 1 throttle",
		}},
		"the end": {1_234, true, 79, []string{
			"████████████████████████ 100%  1,234/1,234 rows · 123/s · in 10s",
			"123,456 tokens · $0.00 · 12 errors · 1 throttle",
		}},
		"no total": {-1, false, 79, []string{
			"1,234 rows · 123/s · ETA unknown",
			"123,456 tokens · $0.00 · 12 errors · 1 throttle",
		}},
		"narrow": {10_000, false, 39, []string{
			"1,234/10,000 rows · 123/s · ETA 1m11s",
			"123,456 tokens · $0.00 · 12 errors",
			"1 throttle",
		}},
		"very narrow": {10_000, false, 12, []string{
			"1,234/10,00…", "123/s", "ETA 1m11s", "123,456 tok…", "$0.00", "12 errors", "1 throttle",
		}},
	} {
		got := frame(stats, c.total, 10*time.Second, c.ended, c.width)
		if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
		for _, line := range got {
			if text.StringWidth(line) > c.width {
				t.Errorf("%s: %q is wider than %d", name, line, c.width)
			}
		}
	}
}

func TestAFrameOfHugeNumbersStaysWithinEightyColumns(t *testing.T) {
	t.Parallel()
	stats := &pipeline.Stats{}
	stats.Rows.Store(123_456_789)
	stats.InputTokens.Store(98_765_432_109)
	stats.Errors.Store(1_234_567)
	stats.Throttles.Store(7_654_321)
	got := frame(stats, 987_654_321, 5*time.Hour, false, 79)
	if len(got) != 2 {
		t.Errorf("%d lines, want 2:\n%s", len(got), strings.Join(got, "\n"))
	}
	contains(t, strings.Join(got, "\n"), "123,456,789/987,654,321 rows · 6,858/s · ETA 35h0m0s", "98,765,432,109 tokens")
}

func TestScreenKeepsTheFrameBelowWhatIsWritten(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := &screen{out: &out}
	step := func(want string) {
		t.Helper()
		if out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
		out.Reset()
	}
	_, _ = s.Write([]byte("before\n"))
	step("before\n")
	s.show([]string{"one", "two"})
	step("one\ntwo\n")
	s.show([]string{"three"})
	step("\r\x1b[2A\x1b[Jthree\n")
	_, _ = s.Write([]byte("a log line\n"))
	step("\r\x1b[1A\x1b[Ja log line\nthree\n")
	s.leave()
	_, _ = s.Write([]byte("after\n"))
	step("after\n")
}

func TestLoggedProgressHidesATotalThatNobodyKnows(t *testing.T) {
	t.Parallel()
	for total, want := range map[int64]string{
		5_000: "level=INFO msg=progress rows=1234 of=5000 committed=0 rows_per_second=617 input_tokens=120000 " +
			"output_tokens=3456 usd=0.000000 errors=12 throttles=1\n",
		-1: "level=INFO msg=progress rows=1234 committed=0 rows_per_second=617 input_tokens=120000 " +
			"output_tokens=3456 usd=0.000000 errors=12 throttles=1\n",
	} {
		var out bytes.Buffer
		logProgress(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), someStats(), total, 2*time.Second)
		if _, got, _ := strings.Cut(out.String(), " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
