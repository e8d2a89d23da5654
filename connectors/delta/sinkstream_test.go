package delta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/storetest"
	"github.com/inflowhq/inflow/schemas"
)

// Two members of a group share a prefix. Each commits its own marks, at the same time as the other, and neither is refused.
func TestMembersShareAPrefix(t *testing.T) {
	t.Parallel()
	const commits = 100
	st := local(t)
	failures := make([]error, 2)
	var group sync.WaitGroup
	for member := range failures {
		group.Go(func() { failures[member] = commitMany(t.Context(), st, member, commits) })
	}
	group.Wait()
	must(t, errors.Join(failures...))
	equal(t, open(t, st).Version(), int64(len(failures)*commits-1))
	equal(t, count(t, st), len(failures)*commits)
	marks, err := sink(t, st, "group/").Marks(t.Context())
	must(t, err)
	equal(t, marks.String(), "topic-0=100 topic-1=100")
}

func commitMany(ctx context.Context, st store.Store, member, commits int) (err error) {
	s, err := NewSink(ctx, st, SinkOptions{Prefix: "group/", Schema: idsSchema()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	mark := fmt.Sprint("topic-", member)
	from := schemas.Marks{} // of the other's marks it knows nothing
	for i := range int64(commits) {
		record := ids(int64(member)*1000+i, int64(member)*1000+i+1)
		err := s.Write(ctx, record)
		record.Release()
		if err != nil {
			return err
		}
		to := schemas.Marks{mark: i + 1}
		if err := commit(ctx, s, from, to, nil); err != nil {
			return fmt.Errorf("member %d, commit %d: %w", member, i, err)
		}
		from = to
	}
	return nil
}

// Of two members that believe to have the same partition one is refused, in every round, and its rows do not show.
func TestOneMarkRaces(t *testing.T) {
	t.Parallel()
	const rounds = 20
	st := local(t)
	members := []*Sink{sink(t, st, "group/"), sink(t, st, "group/")}
	for round := range int64(rounds) {
		failures := make([]error, len(members))
		var group sync.WaitGroup
		for m, member := range members {
			write(t, member, round, round+1)
			from := schemas.Marks{"topic-0": round, fmt.Sprint("mine-", m): round}
			to := schemas.Marks{"topic-0": round + 1}
			if round == 0 {
				from = nil
			}
			group.Go(func() { failures[m] = commit(t.Context(), member, from, to, nil) })
		}
		group.Wait()
		fenced := 0
		for _, err := range failures {
			if errors.Is(err, schemas.ErrFenced) {
				fenced++
			} else {
				must(t, err)
			}
		}
		equal(t, fenced, 1)
	}
	equal(t, count(t, st), rounds) // each id once
	for _, member := range members {
		must(t, member.Close(t.Context()))
	}
	equal(t, len(listNames(t, st, ".parquet")), rounds)
}

// The next epoch is written while the last one is committed. Every epoch holds its own rows, and no others.
func TestWriteBesideCommit(t *testing.T) {
	t.Parallel()
	const epochs, rows = 40, 3
	st := local(t)
	s := sink(t, st, "j/")
	ended := make(chan error, 1)
	ended <- nil
	from := schemas.Marks(nil)
	for epoch := range int64(epochs) {
		for row := range int64(rows) {
			id := epoch*rows + row
			write(t, s, id, id+1)
			_, err := s.Marks(t.Context())
			must(t, err)
		}
		must(t, <-ended)
		sealed, err := s.Seal(t.Context())
		must(t, err)
		before, to := from, schemas.Marks{"row": (epoch + 1) * rows}
		go func() { ended <- sealed(t.Context(), before, to, &schemas.Epoch{Job: "j", Rows: rows}) }()
		from = to
	}
	must(t, <-ended)
	must(t, s.Close(t.Context()))
	equal(t, count(t, st), epochs*rows)
	for _, file := range open(t, st).Files() {
		equal(t, file.Rows(), int64(rows))
	}
}

// blockedPut is a store whose next log entry waits, and then fails or lands.
type blockedPut struct {
	store.Store
	begun, proceed chan struct{}
	fail           error
	lands          bool
	used           atomic.Bool
}

func (b *blockedPut) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	if b.used.Swap(true) {
		return b.Store.PutIfAbsent(ctx, name, data)
	}
	close(b.begun)
	<-b.proceed
	if b.lands {
		return errors.Join(b.Store.PutIfAbsent(ctx, name, data), b.fail)
	}
	return b.fail
}

// What was written behind a commit that failed is not committed, also where that commit stands in the end and the marks
// would fit.
func TestEpochBehindAFailure(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st := &blockedPut{Store: store.NewLocal(dir), begun: make(chan struct{}), proceed: make(chan struct{}), fail: errors.New("disk on fire")}
	s := sink(t, st, "j/")
	write(t, s, 0, 1)
	first, err := s.Seal(t.Context())
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- first(t.Context(), nil, schemas.Marks{"row": 1}, nil) }()
	<-st.begun
	write(t, s, 1, 2)
	sealed, err := s.Seal(t.Context())
	must(t, err)
	write(t, s, 2, 3)
	close(st.proceed)
	contains(t, <-ended, "disk on fire")

	// Another run did the work of the first commit, so that the marks fit again.
	other := sink(t, st.Store, "j/")
	write(t, other, 0, 1)
	must(t, commit(t.Context(), other, nil, schemas.Marks{"row": 1}, nil))
	must(t, other.Close(t.Context()))

	contains(t, sealed(t.Context(), schemas.Marks{"row": 1}, schemas.Marks{"row": 2}, nil), "the commit before these rows failed", "disk on fire")
	record := ids(3, 4)
	defer record.Release()
	contains(t, s.Write(t.Context(), record), "the commit before these rows failed")
	contains(t, commit(t.Context(), s, schemas.Marks{"row": 1}, schemas.Marks{"row": 2}, nil), "the commit before these rows failed")
	must(t, s.Close(t.Context()))
	equal(t, count(t, st), 1)
	left, err := os.ReadDir(dir)
	must(t, err)
	equal(t, len(left), 2) // the log and the other run's file: nothing that was begun

	// From here on it starts over.
	marks, err := s.Marks(t.Context())
	must(t, err)
	write(t, s, 1, 2)
	must(t, commit(t.Context(), s, marks, schemas.Marks{"row": 2}, nil))
	must(t, s.Close(t.Context()))
	equal(t, count(t, st), 2)
	contains(t, sealed(t.Context(), nil, nil, nil), "has ended")
}

// A commit that was canceled before it got to its rows leaves none of them to the next one.
func TestCommitCanceled(t *testing.T) {
	t.Parallel()
	st := local(t)
	s := sink(t, st, "j/")
	write(t, s, 0, 1)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	equal(t, errors.Is(commit(canceled, s, nil, schemas.Marks{"row": 1}, nil), context.Canceled), true)
	must(t, s.Close(t.Context()))
	write(t, s, 1, 2)
	must(t, commit(t.Context(), s, nil, schemas.Marks{"row": 2}, nil))
	must(t, s.Close(t.Context()))
	rows, err := rowsOf(t.Context(), open(t, st), ScanOptions{Columns: []string{"id"}})
	must(t, err)
	equal(t, strings.Join(rows, " "), `{"id":1}`)
}

// What an epoch says of itself stands in the commit, also in the one that makes the table, and comes back.
func TestEpochsInTheLog(t *testing.T) {
	t.Parallel()
	st := local(t)
	_, _, err := Epochs(t.Context(), st, "j/", 5)
	equal(t, isNotExist(err), true)
	s := sink(t, st, "j/")
	from := schemas.Marks(nil)
	for i := range int64(3) {
		write(t, s, 2*i, 2*i+2)
		to := schemas.Marks{"row": 2*i + 2}
		about := &schemas.Epoch{
			Job: "j", RunID: fmt.Sprint("run-", i), Rows: 2, Errors: 1, Oldest: time.UnixMilli(1000).UTC(), Lag: map[string]int64{"table": i},
		}
		must(t, commit(t.Context(), s, from, to, about))
		from = to
	}
	must(t, commit(t.Context(), s, from, schemas.Marks{"row": 6, "more": 1}, nil))
	must(t, s.Close(t.Context()))
	appendRows(t, st, ids(100, 101)) // somebody else's
	logOf(t, st, 5, []string{
		strings.Replace(sparkCommit, `"txnId"`, `"userMetadata":"{\"rows\":7}","txnId"`, 1), `{"txn":{"appId":"j/more","version":2}}`,
		strings.Replace(add("foreign.parquet"), `"stats":"{\"numRecords\":2}"`, `"stats":""`, 1),
	})

	marks, epochs, err := Epochs(t.Context(), st, "j/", 10)
	must(t, err)
	equal(t, marks.String(), "more=2 row=6")
	equal(t, len(epochs), 5)
	newest := &epochs[0]
	equal(t, fmt.Sprint(newest.Version, newest.Rows, newest.FilesAdded, newest.BytesAdded, newest.Marks, newest.About), "5 -1 1 262 more=2 <nil>")
	equal(t, newest.Time.UnixMilli(), int64(1587968586154))
	equal(t, fmt.Sprint(epochs[1].Version, epochs[1].Rows, epochs[1].FilesAdded, epochs[1].Marks, epochs[1].About), "3 0 0 more=1 row=6 <nil>")
	for i := range int64(3) {
		epoch := &epochs[4-i]
		equal(t, fmt.Sprint(epoch.Version, epoch.Rows, epoch.FilesAdded, epoch.Marks), fmt.Sprintf("%d 2 1 row=%d", i, 2*i+2))
		equal(t, epoch.BytesAdded > 0, true)
		text, err := json.Marshal(epoch.About)
		must(t, err)
		want := fmt.Sprintf(`{"job":"j","run_id":"run-%d","rows":2,"errors":1,"oldest":"1970-01-01T00:00:01Z","lag":{"table":%d}}`, i, i)
		equal(t, string(text), want)
	}
	equal(t, parseAbout("nightly load") == nil, true)
	_, epochs, err = Epochs(t.Context(), st, "j/", 2)
	must(t, err)
	equal(t, len(epochs), 2)
	marks, epochs, err = Epochs(t.Context(), st, "nobody/", 2)
	must(t, err)
	equal(t, len(marks)+len(epochs), 0)
}

// However many commits of others there are, few of them are looked at.
func TestEpochsAreBounded(t *testing.T) {
	t.Parallel()
	inner := local(t)
	must(t, commitMany(t.Context(), inner, 0, 2))
	for version := range int64(3 * maxStatusCommits) {
		logOf(t, inner, 2+version, []string{sparkCommit})
	}
	table, err := Open(t.Context(), inner)
	must(t, err)
	must(t, table.Checkpoint(t.Context()))
	st := storetest.FailNth(inner, 1<<30, nil)
	marks, epochs, err := Epochs(t.Context(), st, "group/", 5)
	must(t, err)
	equal(t, marks.String(), "topic-0=2")
	equal(t, len(epochs), 0)
	equal(t, st.Operations() < 3*maxStatusCommits, true)
}

// slowCheckpoints holds up whoever writes a checkpoint.
type slowCheckpoints struct {
	store.Store
	begun, proceed chan struct{}
}

func (s *slowCheckpoints) Create(ctx context.Context, name string) (store.Writer, error) {
	if parseLogName(name).kind == classicCheckpoint {
		s.begun <- struct{}{}
		select {
		case <-s.proceed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s.Store.Create(ctx, name)
}

// Commits go on while a checkpoint is written; Close waits for it, as long as it may.
func TestCheckpointBesideCommits(t *testing.T) {
	t.Parallel()
	inner := local(t)
	appendTo(t, inner, &Definition{Schema: idsSchema(), Properties: map[string]string{"delta.checkpointInterval": "2"}}, ids(0, 1))
	st := &slowCheckpoints{Store: inner, begun: make(chan struct{}), proceed: make(chan struct{})}
	var warnings atomic.Int64
	s, err := NewSink(t.Context(), st, SinkOptions{Prefix: "j/", Schema: idsSchema()}, WithWarnings(func(error) { warnings.Add(1) }))
	must(t, err)
	from := schemas.Marks(nil)
	step := func(i int64) {
		write(t, s, i, i+1)
		to := schemas.Marks{"row": i}
		must(t, commit(t.Context(), s, from, to, nil))
		from = to
	}
	step(1)
	step(2) // a checkpoint is due
	<-st.begun
	step(3)
	step(4) // another one, while the first is not done: it is left out
	close(st.proceed)
	must(t, s.Close(t.Context()))
	listed, err := listLog(t.Context(), inner, -1)
	must(t, err)
	equal(t, fmt.Sprint(listed.checkpoints), "[{2 0}]")

	st.proceed = make(chan struct{})
	step(5)
	step(6)
	<-st.begun
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	must(t, s.Close(canceled)) // gives it up, and leaves nothing running
	equal(t, warnings.Load(), 1)
	equal(t, count(t, inner), 7)
}

// A stream commits for months: what one commit costs must not depend on how many there were.
func TestTenThousandEpochs(t *testing.T) { //nolint:paralleltest // it measures the heap
	inner := local(t)
	appendTo(t, inner, &Definition{Schema: idsSchema(), Properties: map[string]string{"delta.checkpointInterval": "2500"}}, ids(0, 1))
	st := storetest.FailNth(inner, 1<<62, nil)
	s := sink(t, st, "j/")
	from := schemas.Marks(nil)
	epoch := int64(0)
	run := func(epochs int64) (operations int, heap uint64) {
		before := st.Operations()
		for range epochs {
			if epoch%250 == 0 {
				write(t, s, epoch, epoch+1)
			}
			epoch++
			to := schemas.Marks{"version": epoch, "row": 0}
			must(t, commit(t.Context(), s, from, to, &schemas.Epoch{Job: "j", RunID: "r", Rows: 1}))
			from = to
		}
		operations = st.Operations() - before
		s.checkpoints.wait(t.Context())
		runtime.GC()
		runtime.GC() // what pools held is free now
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		return operations, memory.HeapAlloc
	}
	run(2600) // past the first checkpoint
	early, small := run(500)
	run(6300)
	late, large := run(500)
	run(100)
	must(t, s.Close(t.Context()))
	equal(t, open(t, inner).Version(), int64(10_000))
	equal(t, late, early)
	equal(t, early < 500*3, true) // the log entry, and now and then a file
	if large > small+1<<20 {
		t.Fatalf("the heap grew from %d to %d bytes", small, large)
	}
	equal(t, len(s.base.txns), 2)
}
