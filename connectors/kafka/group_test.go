package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/inflowhq/inflow/schemas"
)

func groupOptions(topics ...string) GroupOptions {
	return GroupOptions{
		SourceOptions: textOptions(topics...), ID: "g", Session: 6 * time.Second, Heartbeat: 50 * time.Millisecond, Rebalance: 5 * time.Second,
	}
}

func newTestGroup(t *testing.T, connection *Connection, options GroupOptions) *Group {
	t.Helper()
	group, err := NewGroup(testContext(t), connection, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := group.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return group
}

// ledger is a sink in memory that fences.
type ledger struct {
	mu    sync.Mutex
	marks schemas.Marks
	rows  []row
	moved chan struct{}
}

func newLedger() *ledger { return &ledger{marks: schemas.Marks{}, moved: make(chan struct{}, 1)} }

func (l *ledger) load() schemas.Marks {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.marks.Clone()
}

func (l *ledger) commit(from schemas.Marks, batch schemas.Batch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range batch.Marks {
		if l.marks[name] != from[name] {
			batch.Release()
			return false
		}
	}
	for name, mark := range batch.Marks {
		l.marks[name], from[name] = mark, mark
	}
	l.rows = collect(batch, l.rows)
	select {
	case l.moved <- struct{}{}:
	default:
	}
	return true
}

func (l *ledger) wait(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	for {
		l.mu.Lock()
		have := len(l.rows)
		l.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-l.moved:
		case <-ctx.Done():
			t.Fatalf("%d of %d rows", have, n)
		}
	}
}

// join runs a member until it is closed.
func join(ctx context.Context, t *testing.T, group *Group, sink *ledger) {
	t.Helper()
	for {
		assignment, err := group.Assign(ctx)
		if err != nil {
			return
		}
		from := sink.load()
		for batch, err := range assignment.Read(ctx, from) {
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("read: %v", err)
				}
				break
			}
			if !sink.commit(from, batch) {
				break
			}
			assignment.Committed(from)
		}
		assignment.Release()
	}
}

func TestMembersComeAndGo(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(8, "in"))
	client := newClient(t, cluster)
	ctx := testContext(t)
	sink := newLedger()
	const each = 50
	total := 0
	produceRound := func(round int) {
		for partition := range int32(8) {
			produceAll(t, client, texts("in", partition, fmt.Sprintf("%d-", round), each)...)
		}
		total += 8 * each
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var members []*Group
	for i := range 4 {
		connection, _ := connect(t, cluster)
		group := newTestGroup(t, connection, groupOptions("in"))
		members = append(members, group)
		running.Go(func() { join(ctx, t, group, sink) })
		produceRound(i)
		info, err := cluster.WaitGroupInfo(ctx, "g", func(g *kfake.GroupInfo) bool {
			return g != nil && g.State == "Stable" && len(g.Members) == i+1 && g.NumAssigned() == 8
		})
		if err != nil {
			t.Fatalf("%d members: %v", i+1, err)
		}
		for _, member := range info.Members {
			if n := member.NumAssigned(); n < 8/(i+1) || n > 8/(i+1)+1 {
				t.Errorf("%d members: one has %d partitions", i+1, n)
			}
		}
		sink.wait(ctx, t, total)
	}
	for i, member := range members[:3] {
		began := time.Now()
		if err := member.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("leaving took %s", took)
		}
		produceRound(4 + i)
		sink.wait(ctx, t, total) // long before the session of the one that left would have ended
	}
	next := map[string]int64{}
	for _, each := range sink.rows {
		if each.offset != next[each.partition] {
			t.Fatalf("%s: offset %d in place of %d", each.partition, each.offset, next[each.partition])
		}
		next[each.partition]++
	}
	if len(sink.rows) != total {
		t.Errorf("%d rows of %d", len(sink.rows), total)
	}
	if _, err := cluster.WaitGroupInfo(ctx, "g", func(g *kfake.GroupInfo) bool {
		return g.Commits["in"][7].Offset == 7*each
	}); err != nil {
		t.Errorf("the group was not told: %v", err)
	}
}

func TestAMemberWithoutPartitionsWaits(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	connection, _ := connect(t, cluster)
	first, second := newTestGroup(t, connection, groupOptions("in")), newTestGroup(t, connection, groupOptions("in"))
	ctx := testContext(t)
	held, err := first.Assign(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := held.Partitions(); !slices.Equal(got, []string{"in/0"}) {
		t.Fatalf("partitions %v", got)
	}
	var group sync.WaitGroup
	defer group.Wait()
	assignments := make(chan *Assignment, 2)
	for _, each := range []*Group{first, second} {
		group.Go(func() {
			if each == first {
				<-held.Lost() // the second has come
			}
			a, err := each.Assign(ctx)
			if err != nil {
				t.Error(err)
				close(assignments)
				return
			}
			assignments <- a
		})
	}
	a, b := <-assignments, <-assignments
	if a == nil || b == nil {
		return
	}
	if len(a.Partitions()) > len(b.Partitions()) {
		a, b = b, a
	}
	if len(a.Partitions()) != 0 || len(b.Partitions()) != 1 {
		t.Fatalf("partitions %v and %v", a.Partitions(), b.Partitions())
	}
	ended := make(chan struct{})
	group.Go(func() {
		defer close(ended)
		for range a.Read(ctx, nil) {
			t.Error("a batch of nothing")
		}
	})
	select {
	case <-ended:
		t.Error("it did not wait")
	case <-time.After(100 * time.Millisecond):
	}
	a.Release()
	<-ended
}

func TestAMemberThatDrainsIsNotDead(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(2, "in"), kfake.GroupMinSessionTimeout(100*time.Millisecond))
	connection, _ := connect(t, cluster)
	options := groupOptions("in")
	options.Session, options.Heartbeat = 600*time.Millisecond, 100*time.Millisecond
	first, second := newTestGroup(t, connection, options), newTestGroup(t, connection, options)
	ctx := testContext(t)
	held, err := first.Assign(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	defer group.Wait()
	joined := make(chan struct{})
	group.Go(func() {
		defer close(joined)
		if _, err := second.Assign(ctx); err != nil {
			t.Error(err)
		}
	})
	<-held.Lost()
	select { // more than two sessions
	case <-joined:
		t.Fatal("the partitions were given away while they were held")
	case <-time.After(1500 * time.Millisecond):
	}
	held.Committed(schemas.Marks{"in/0": 0, "in/1": 1})
	held.Committed(schemas.Marks{"in/1": 5, "other/0": 9})
	held.Committed(schemas.Marks{"in/1": 3}) // it does not go back
	group.Go(func() {
		if _, err := first.Assign(ctx); err != nil {
			t.Error(err)
		}
	})
	<-joined
	info := cluster.GroupInfo("g")
	if got := info.Commits["in"][1].Offset; got != 5 || len(info.Commits) != 1 {
		t.Errorf("commits %v", info.Commits)
	}
}

func TestNewTopicsOfAPattern(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t)
	connection, _ := connect(t, cluster)
	options := groupOptions()
	options.Patterns, options.Discovery, options.Start = []string{`in\..*`}, 100*time.Millisecond, Latest
	group := newTestGroup(t, connection, options)
	ctx := testContext(t)
	sink := newLedger()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { join(ctx, t, group, sink) })
	client := newClient(t, cluster)
	for i, topic := range []string{"in.a", "in.b"} {
		if err := cluster.CreateTopic(topic, 1, nil); err != nil {
			t.Fatal(err)
		}
		produceAll(t, client, texts(topic, 0, "v", 10)...)
		sink.wait(ctx, t, 10*(i+1)) // from its first record, although it starts at the latest
	}
	lag, err := group.Lag(ctx, sink.load())
	if err != nil {
		t.Error(err)
	}
	for name, rows := range lag {
		if rows != 0 {
			t.Errorf("%s lags by %d", name, rows)
		}
	}
}

func TestClosingWhileTheGroupKeepsItWaiting(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	connection, _ := connect(t, cluster)
	group := newTestGroup(t, connection, groupOptions("in"))
	stuck, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(release) })
	cluster.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		close(stuck)
		cluster.SleepControl(func() { <-release })
		return nil, errors.New("cut"), true
	})
	assigned := make(chan error, 1)
	go func() {
		_, err := group.Assign(testContext(t))
		assigned <- err
	}()
	<-stuck
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := group.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("close: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second { // and not the rebalance timeout
		t.Errorf("close took %s", took)
	}
	if err := <-assigned; schemas.ClassOf(err) != schemas.Fatal {
		t.Errorf("assign: %v", err)
	}
}

func TestTheLastMarksAreToldBeforeItLeaves(t *testing.T) {
	t.Parallel()
	cluster := newCluster(t, kfake.SeedTopics(1, "in"))
	connection, _ := connect(t, cluster)
	group := newTestGroup(t, connection, groupOptions("in"))
	for mark := range int64(10) {
		a, err := group.Assign(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		a.Committed(schemas.Marks{"in/0": mark + 1})
		a.Release()
		<-a.done
		if got := cluster.GroupInfo("g").Commits["in"][0].Offset; got != mark+1 {
			t.Fatalf("the group knows of %d, not %d", got, mark+1)
		}
	}
}
