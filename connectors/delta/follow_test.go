package delta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/storetest"
	"github.com/inflowhq/inflow/schemas"
)

// follower reads a source on a goroutine of its own, as far as it is asked to.
type follower struct {
	batches chan schemas.Batch
	ended   chan error
	stop    context.CancelFunc
}

func follow(t *testing.T, s *Source, from schemas.Marks) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{batches: make(chan schemas.Batch), ended: make(chan error, 1), stop: cancel}
	go func() {
		var last error
		for batch, err := range s.Read(ctx, from) {
			if last = err; err != nil {
				break
			}
			f.batches <- batch
		}
		f.ended <- last
	}()
	return f
}

// next waits for a batch and returns its marks and rows in one line.
func (f *follower) next(t *testing.T) (string, schemas.Batch) {
	t.Helper()
	select {
	case batch := <-f.batches:
		rows := lines(batch.Record)
		batch.Release()
		return strings.Join(append([]string{batch.Marks.String()}, rows...), " "), batch
	case err := <-f.ended:
		t.Fatalf("the source ended: %v", err)
		return "", schemas.Batch{}
	}
}

func (f *follower) end(t *testing.T) error {
	t.Helper()
	f.stop()
	return <-f.ended
}

func rearranged(path string) string {
	return strings.Replace(add(path), `"dataChange":true`, `"dataChange":false`, 1)
}

// bubble runs a test on a clock of its own. In it no data file may be written, and one be read only because the decoder,
// which all share, was made outside.
func bubble(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	st := local(t)
	appendRows(t, st, ids(0, 1))
	equal(t, count(t, st), 1)
	synctest.Test(t, run)
}

func TestFollow(t *testing.T) {
	t.Parallel()
	st := local(t)
	appendRows(t, st, ids(0, 1))
	s := source(t, st, SourceOptions{Follow: true, Columns: []string{"id"}, PollMax: 5 * time.Millisecond})
	f := follow(t, s, nil)
	got, batch := f.next(t)
	equal(t, got, `row=1 snapshot=0 version=0 {"id":0}`)
	equal(t, batch.Oldest.IsZero() && batch.Newest.IsZero(), true)

	before := time.Now().Truncate(time.Millisecond)
	appendRows(t, st, ids(1, 2))
	after := time.Now()
	got, batch = f.next(t)
	equal(t, got, `row=1 snapshot=0 version=1 {"id":1}`)
	equal(t, batch.Oldest.Before(before) || batch.Oldest.After(after), false)
	equal(t, batch.Newest.Equal(batch.Oldest), true)

	// Versions without rows bring their marks, so that the log may be cleaned behind them.
	logOf(t, st, 2, []string{`{"commitInfo":{"operation":"OPTIMIZE"}}`, rearranged("optimized.parquet"), strings.Replace(remove("x"), `"dataChange":true`, `"dataChange":false`, 1)})
	got, _ = f.next(t)
	equal(t, got, `row=0 snapshot=0 version=2`)
	logOf(t, st, 3, []string{sparkCommit, remove("x")})
	got, _ = f.next(t)
	equal(t, got, `row=0 snapshot=0 version=3`)
	appendRows(t, st, ids(2, 4))
	got, batch = f.next(t)
	equal(t, got, `row=2 snapshot=0 version=4 {"id":2} {"id":3}`)
	equal(t, batch.Marks.String(), "row=2 snapshot=0 version=4")
	equal(t, errors.Is(f.end(t), context.Canceled), true)

	// The same source goes on where it was, past the version at which it was made, and after a log cleanup.
	must(t, s.table.Checkpoint(t.Context()))
	for version := range int64(4) {
		must(t, st.Delete(t.Context(), commitName(version)))
	}
	f = follow(t, s, schemas.Marks{MarkSnapshot: 0, MarkVersion: 4, MarkRow: 1})
	got, _ = f.next(t)
	equal(t, got, `row=2 snapshot=0 version=4 {"id":3}`)
	equal(t, errors.Is(f.end(t), context.Canceled), true)

	// An update ends it.
	logOf(t, st, 5, []string{sparkCommit, remove("x"), add("y")})
	f = follow(t, s, schemas.Marks{MarkSnapshot: 0, MarkVersion: 4, MarkRow: 2})
	contains(t, <-f.ended, "version 5 (WRITE) changed rows", "change data feed")
	f.stop()
}

// pollTimes notes when a commit that is not there was looked for.
type pollTimes struct {
	store.Store
	mu    sync.Mutex
	times []time.Time
}

func (p *pollTimes) Open(ctx context.Context, name string) (store.Reader, error) {
	reader, err := p.Store.Open(ctx, name)
	if isNotExist(err) && parseLogName(name).kind == commitFile {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.times = append(p.times, time.Now())
	}
	return reader, err
}

func (p *pollTimes) pauses() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for i := 1; i < len(p.times); i++ {
		out = append(out, p.times[i].Sub(p.times[i-1]).String())
	}
	p.times = nil
	return strings.Join(out, " ")
}

func TestFollowBacksOff(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T) {
		t.Helper()
		st := &pollTimes{Store: local(t)}
		logOf(t, st, 0, []string{protocol12, idMetadata})
		f := follow(t, source(t, st, SourceOptions{Follow: true, PollMax: time.Second}), schemas.Marks{MarkSnapshot: 0, MarkVersion: 0, MarkRow: 0})
		synctest.Wait()
		st.pauses()
		<-time.After(4600 * time.Millisecond)
		synctest.Wait()
		equal(t, st.pauses(), "200ms 400ms 800ms 1s 1s 1s")
		logOf(t, st, 1, []string{sparkCommit})
		_, _ = f.next(t)
		synctest.Wait()
		st.pauses()
		<-time.After(750 * time.Millisecond)
		synctest.Wait()
		equal(t, st.pauses(), "200ms 400ms")
		equal(t, errors.Is(f.end(t), context.Canceled), true)
	})
}

// A follower that was held up while the log was cleaned finds out, and so does one whose table was made anew.
func TestFollowerIsOutrun(t *testing.T) {
	t.Parallel()
	later := local(t) // what the others commit meanwhile
	logOf(t, later, 0, []string{protocol12, idMetadata})
	for version := int64(1); version <= 10; version++ {
		logOf(t, later, version, []string{sparkCommit})
	}
	table, err := Open(t.Context(), later)
	must(t, err)
	must(t, table.Checkpoint(t.Context()))
	clean := func(t *testing.T, st store.Store) {
		t.Helper()
		must(t, st.Delete(t.Context(), commitName(0)))
		for _, name := range []string{commitName(10), checkpointName(10), checkpointHint} {
			put(t, st, name, read(t, later, name))
		}
	}
	cases := []struct {
		name     string
		options  SourceOptions
		meantime func(t *testing.T, st store.Store)
		says     []string
		then     string
	}{
		{"cleaned", SourceOptions{}, clean, []string{
			"version 1 was not read to its end", "begins at 10", "new job name", "fail_on_data_loss: false", "logRetentionDuration",
		}, ""},
		{"cleaned, and that is all right", SourceOptions{SkipLost: true}, clean, nil, `row=0 snapshot=0 version=10`},
		{"made anew", SourceOptions{SkipLost: true}, func(t *testing.T, st store.Store) {
			t.Helper()
			must(t, st.Delete(t.Context(), commitName(0)))
		}, []string{"made anew"}, ""},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				t.Helper()
				st := local(t)
				logOf(t, st, 0, []string{protocol12, idMetadata})
				var log bytes.Buffer
				test.options.Follow, test.options.Name, test.options.Logger = true, "main.t", slog.New(slog.NewTextHandler(&log, nil))
				f := follow(t, source(t, st, test.options), nil)
				_, _ = f.next(t)
				synctest.Wait()
				test.meantime(t, st)
				begun := time.Now()
				if test.says != nil {
					contains(t, <-f.ended, append(test.says, "main.t")...)
					f.stop()
				} else {
					got, _ := f.next(t)
					equal(t, got, test.then)
					contains(t, errors.New(log.String()), "level=WARN", "first_version=1 last_version=9", "table=main.t")
					equal(t, errors.Is(f.end(t), context.Canceled), true)
				}
				equal(t, time.Since(begun) < maxStateAge+DefaultPollMax+time.Second, true)
			})
		})
	}
}

func TestFollowMeetsNewColumns(t *testing.T) {
	t.Parallel()
	wider := strings.Replace(idMetadata, `\"fields\":[`, `\"fields\":[{\"name\":\"new\",\"type\":\"string\",\"nullable\":true,\"metadata\":{}},`, 1)
	cases := []struct {
		name, metadata string
		columns        []string
		says, warns    string
	}{
		{"one more", wider, nil, "", "new columns"},
		{"one more than is read", wider, []string{"id"}, "", ""},
		{"one is dropped", strings.Replace(idMetadata, `\"id\"`, `\"other\"`, 1), nil, "changed the column id", ""},
		{"another type", strings.Replace(idMetadata, `\"long\"`, `\"string\"`, 1), nil, "changed the column id", ""},
		{"other partitions", strings.Replace(wider, `"partitionColumns":[]`, `"partitionColumns":["new"]`, 1), nil, "partitioned by", ""},
		{"a feature", strings.Replace(idMetadata, `"configuration":{}`, `"configuration":{"delta.columnMapping.mode":"name"}`, 1), nil, "columnMapping", ""},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T) {
				t.Helper()
				st := local(t)
				logOf(t, st, 0, []string{protocol12, idMetadata})
				var log bytes.Buffer
				f := follow(t, source(t, st, SourceOptions{Follow: true, Columns: test.columns, Logger: slog.New(slog.NewTextHandler(&log, nil))}), nil)
				got, _ := f.next(t)
				equal(t, got, "row=0 snapshot=0 version=0")
				logOf(t, st, 1, []string{sparkCommit, test.metadata})
				if test.says != "" {
					contains(t, <-f.ended, test.says)
					f.stop()
					return
				}
				got, _ = f.next(t)
				equal(t, got, "row=0 snapshot=0 version=1")
				equal(t, strings.Contains(log.String(), "new columns"), test.warns != "")
				equal(t, errors.Is(f.end(t), context.Canceled), true)
			})
		})
	}
}

// Lag is of now, also where the source does not follow, and looks up each version once.
func TestLag(t *testing.T) {
	t.Parallel()
	inner := local(t)
	appendRows(t, inner, ids(0, 3))
	for _, options := range []SourceOptions{{}, {Follow: true, Name: "main.t"}} {
		st := storetest.FailNth(inner, 1<<62, nil)
		s := source(t, st, options)
		name := map[string]string{"": "table", "main.t": "main.t"}[options.Name]
		made := s.Version()
		whole, err := s.Lag(t.Context(), nil)
		must(t, err)
		part, err := s.Lag(t.Context(), schemas.Marks{MarkSnapshot: made, MarkVersion: made, MarkRow: 2})
		must(t, err)
		equal(t, whole[name]-part[name], 2)
		appendRows(t, inner, ids(3, 8))
		later, err := s.Lag(t.Context(), nil)
		must(t, err)
		equal(t, later[name]-whole[name], 5)
		before := st.Operations()
		_, err = s.Lag(t.Context(), nil)
		must(t, err)
		equal(t, st.Operations()-before, 1) // the next version, which is not there
		total, done, err := s.Count(t.Context(), schemas.Marks{MarkSnapshot: made, MarkVersion: made, MarkRow: 1})
		must(t, err)
		equal(t, done, 1)
		if options.Follow {
			equal(t, total, later[name])
		} else {
			equal(t, total, whole[name])
		}
		behind, err := s.Lag(t.Context(), schemas.Marks{MarkSnapshot: made, MarkVersion: made + 1, MarkRow: 5})
		equal(t, fmt.Sprint(behind, err), fmt.Sprintf("map[%s:0] <nil>", name))
	}
}

// A table that is only rearranged for longer than its log is kept goes on: the marks move with it.
func TestMarksMoveWithoutRows(t *testing.T) {
	t.Parallel()
	st := local(t)
	appendRows(t, st, ids(0, 1))
	_, marks := drain(t, source(t, st, SourceOptions{}), nil)
	for version := int64(1); version <= 11; version++ {
		logOf(t, st, version, []string{sparkCommit, rearranged("optimized.parquet")})
		rows, moved := drain(t, source(t, st, SourceOptions{}), marks[len(marks)-1])
		equal(t, len(rows), 0)
		marks = append(marks, moved...)
	}
	equal(t, len(marks), 12)
	equal(t, marks[11].String(), "row=0 snapshot=0 version=11")
	table, err := Open(t.Context(), st)
	must(t, err)
	must(t, table.Checkpoint(t.Context()))
	for version := range int64(11) {
		must(t, st.Delete(t.Context(), commitName(version)))
	}
	appendRows(t, st, ids(1, 2))
	rows, moved := drain(t, source(t, st, SourceOptions{}), marks[11])
	equal(t, len(rows), 1)
	equal(t, moved[0].String(), "row=1 snapshot=0 version=12")
	again, moved := drain(t, source(t, st, SourceOptions{}), moved[0])
	equal(t, len(again)+len(moved), 0) // and nothing is said twice
}
