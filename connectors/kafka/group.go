package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/heartbeat"

	"github.com/inflowhq/inflow/schemas"
)

// The times of a group.
const (
	defaultSession   = 30 * time.Second
	defaultHeartbeat = 3 * time.Second
	defaultRebalance = time.Minute
	defaultDiscovery = 30 * time.Second
	joinBackoff      = time.Second
	groupTimeout     = 10 * time.Second // of one request about the group
)

// GroupOptions say which group reads what.
type GroupOptions struct {
	SourceOptions
	// ID is the group's.
	ID string
	// Session is how long a member may be silent before it is taken for dead; 0 means 30 s. Heartbeat is how often it
	// speaks; 0 means 3 s.
	Session, Heartbeat time.Duration
	// Rebalance is how long members may take to let their partitions go when these are shared out anew; 0 means 1 min.
	// A member that takes longer is out, and the sink refuses what it commits.
	Rebalance time.Duration
	// Discovery is how often it is looked for new topics and partitions; 0 means 30 s.
	Discovery time.Duration
}

// Group reads topics as one member of a consumer group, without an end. Its marks are those of Source.
//
// Assign is called by one goroutine; the rest may be called by any.
type Group struct {
	*reader
	options GroupOptions

	mu      sync.Mutex // guards the rest
	closed  bool
	member  *kafka.ConsumerGroup
	names   []string // that member asks for
	current *Assignment
	lines   *lines
}

// NewGroup checks that the topics are there. It joins nothing: Assign does. ctx bounds the call alone.
func NewGroup(ctx context.Context, connection *Connection, options GroupOptions) (*Group, error) {
	options.Session = cmp.Or(options.Session, defaultSession)
	options.Heartbeat = cmp.Or(options.Heartbeat, defaultHeartbeat)
	options.Rebalance = cmp.Or(options.Rebalance, defaultRebalance)
	options.Discovery = cmp.Or(options.Discovery, defaultDiscovery)
	var faults []error
	if options.ID == "" {
		faults = append(faults, errors.New("a group needs an id"))
	}
	if min(options.Session, options.Heartbeat, options.Rebalance, options.Discovery) < time.Millisecond || options.Heartbeat > options.Session/3 {
		faults = append(faults, errors.New("the times of a group are to be positive, and the heartbeat at most a third of the session timeout"))
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("kafka: %w: %w", schemas.ErrInvalid, errors.Join(faults...))
	}
	r, err := newReader(ctx, connection, options.SourceOptions)
	if err != nil {
		return nil, err
	}
	return &Group{reader: r, options: options}, nil
}

// Count says that a stream has no end.
func (*Group) Count(context.Context, schemas.Marks) (total, done int64, err error) { return -1, 0, nil }

// Read reads all partitions, as if there were no group.
func (g *Group) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		places, err := g.discover(ctx)
		if err != nil {
			yield(schemas.Batch{}, err)
			return
		}
		begins, err := g.begins(ctx, places, from)
		if err != nil {
			yield(schemas.Batch{}, err)
			return
		}
		g.read(ctx, begins, make(chan struct{}))(yield)
	}
}

// Lag returns how many records stand behind the marks, of the partitions that are this member's at the moment.
func (g *Group) Lag(ctx context.Context, from schemas.Marks) (map[string]int64, error) {
	g.mu.Lock()
	current := g.current
	g.mu.Unlock()
	if current == nil {
		return map[string]int64{}, nil
	}
	return g.lag(ctx, current.places, from)
}

// Assign lets the last assignment go, joins the group and waits for the partitions of this member, which may be none.
func (g *Group) Assign(ctx context.Context) (*Assignment, error) {
	g.mu.Lock()
	last := g.current
	g.mu.Unlock()
	if last != nil {
		last.Release()
		select {
		case <-last.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	trouble := g.connection.outages.party()
	defer trouble.over(false)
	for attempt := 0; ; attempt++ {
		out, err := g.next(ctx)
		if err == nil {
			trouble.over(true)
			return out, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if class := schemas.ClassOf(err); class != schemas.Transient && class != schemas.Throttled {
			return nil, err
		}
		if attempt > 0 && !errors.Is(err, kafka.RebalanceInProgress) {
			trouble.began(ctx, err)
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, err
		}
	}
}

// next waits for one generation. Its errors are classified.
func (g *Group) next(ctx context.Context) (*Assignment, error) {
	topics, err := g.topics(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(topics))
	if len(names) == 0 {
		return nil, &schemas.Error{
			Op: "kafka: group " + g.options.ID, Class: schemas.Transient, Code: codeUnknownTopic, Err: errors.New("no topic matches the patterns yet"),
		}
	}
	member, err := g.join(ctx, names)
	if err != nil {
		return nil, err
	}
	generation, err := member.Next(ctx)
	if err != nil {
		return nil, g.failed(ctx, err)
	}
	places, err := placesOf(topics)
	if err != nil {
		return nil, err
	}
	a := newAssignment(g, generation, places)
	g.mu.Lock()
	g.current = a
	closed := g.closed
	g.mu.Unlock()
	generation.Start(a.run)
	generation.Start(a.watch)
	if closed {
		a.Release()
	}
	return a, nil
}

// join returns the member that asks for the topics of these names. A member cannot change what it asks for.
func (g *Group) join(ctx context.Context, names []string) (*kafka.ConsumerGroup, error) {
	g.mu.Lock()
	last, lines := g.member, g.lines
	if g.closed {
		g.mu.Unlock()
		return nil, g.failed(ctx, kafka.ErrGroupClosed)
	}
	if last != nil && slices.Equal(names, g.names) {
		g.mu.Unlock()
		return last, nil
	}
	g.member = nil
	g.mu.Unlock()
	if last != nil {
		if err := leave(ctx, last, lines); err != nil {
			return nil, err
		}
	}
	lines = newLines()
	dialer := g.connection.dialer()
	dialer.DialFunc = lines.dial
	member, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: g.options.ID, Brokers: g.connection.options.Brokers, Dialer: dialer, Topics: names,
		GroupBalancers:    []kafka.GroupBalancer{kafka.RangeGroupBalancer{}, kafka.RoundRobinGroupBalancer{}},
		HeartbeatInterval: g.options.Heartbeat, SessionTimeout: g.options.Session, RebalanceTimeout: g.options.Rebalance,
		JoinGroupBackoff: joinBackoff, Timeout: groupTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("kafka: group %s: %w: %w", g.options.ID, schemas.ErrInvalid, err)
	}
	g.mu.Lock()
	closed := g.closed
	if !closed {
		g.member, g.names, g.lines = member, names, lines
	}
	g.mu.Unlock()
	if closed { // in the meantime
		return nil, errors.Join(leave(ctx, member, lines), g.failed(ctx, kafka.ErrGroupClosed))
	}
	return member, nil
}

// failed classifies what the group was refused with.
func (g *Group) failed(ctx context.Context, err error) error {
	op := "kafka: group " + g.options.ID
	switch {
	case errors.Is(err, kafka.ErrGroupClosed):
		return &schemas.Error{Op: op, Class: schemas.Fatal, Err: err}
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		// A broker that goes away during the handshake looks like this too. A session of our own can tell them apart.
		if err := g.connection.persist(ctx, g.connection.options.Patience, func(ctx context.Context) error {
			return g.connection.anywhere(ctx, (*session).negotiate)
		}); err != nil {
			return err
		}
		return &schemas.Error{Op: op, Class: schemas.Transient, Code: codeUnavailable, Err: err}
	case errors.Is(err, kafka.InconsistentGroupProtocol):
		return &schemas.Error{
			Op: op, Class: schemas.Fatal, Err: err,
			Mend: "another program is in this group and shares partitions out differently: give the job a group id of its own",
		}
	}
	return g.connection.classify(ctx, op, err)
}

// Close leaves the group, so that the others take over at once. A member that the group keeps waiting leaves when ctx
// ends, at the latest. It may be called more than once.
func (g *Group) Close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	current, member, lines := g.current, g.member, g.lines
	g.member = nil
	g.mu.Unlock()
	var err error
	if current != nil {
		current.Release()
	}
	if member != nil {
		err = leave(ctx, member, lines)
	}
	if current != nil {
		<-current.done
	}
	return err
}

// leave ends a member. Where the group keeps it waiting its connections are cut once ctx ends.
func leave(ctx context.Context, member *kafka.ConsumerGroup, lines *lines) error {
	left := make(chan error, 1)
	go func() { left <- member.Close() }()
	select {
	case err := <-left:
		return err
	case <-ctx.Done():
	}
	lines.cut()
	return errors.Join(ctx.Err(), <-left)
}

// Assignment is what one member reads for one generation of the group.
type Assignment struct {
	group      *Group
	generation *kafka.Generation
	all        []place // that the group shares out
	places     []place
	names      []string

	lost     chan struct{}
	loseOnce sync.Once
	released chan struct{}
	release  sync.Once
	done     chan struct{} // run has returned

	moved chan struct{} // has room for one: there is something in marks
	mu    sync.Mutex    // guards marks
	marks schemas.Marks // how far the sink is
	told  schemas.Marks // how far the group knows it is; run's alone
}

func newAssignment(g *Group, generation *kafka.Generation, all []place) *Assignment {
	a := &Assignment{
		group: g, generation: generation, all: all,
		lost: make(chan struct{}), released: make(chan struct{}), done: make(chan struct{}), moved: make(chan struct{}, 1),
		marks: make(schemas.Marks), told: make(schemas.Marks),
	}
	for topic, partitions := range generation.Assignments {
		for _, each := range partitions {
			a.places = append(a.places, place{topic, int32(each.ID)}) //nolint:gosec // Kafka's are 32 bits
		}
	}
	slices.SortFunc(a.places, func(a, b place) int { return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.id, b.id)) })
	for _, each := range a.places {
		a.names = append(a.names, each.name())
	}
	return a
}

// Partitions are the marks that are this member's to move.
func (a *Assignment) Partitions() []string { return slices.Clone(a.names) }

// Lost is closed when the group shares its partitions out anew, or the member is out.
func (a *Assignment) Lost() <-chan struct{} { return a.lost }

// Read yields the records behind the marks until the partitions are lost.
func (a *Assignment) Read(ctx context.Context, from schemas.Marks) iter.Seq2[schemas.Batch, error] {
	return func(yield func(schemas.Batch, error) bool) {
		begins, err := a.group.begins(ctx, a.places, from)
		if err != nil {
			yield(schemas.Batch{}, err)
			return
		}
		a.group.read(ctx, begins, a.lost)(yield)
	}
}

// Committed tells the group how far the sink is. Marks that go back or are not this member's are passed over.
func (a *Assignment) Committed(marks schemas.Marks) {
	a.mu.Lock()
	for _, name := range a.names {
		if mark, ok := marks[name]; ok && mark > a.marks[name] {
			a.marks[name] = mark
		}
	}
	a.mu.Unlock()
	select {
	case a.moved <- struct{}{}:
	default: // run will look anyway
	}
}

// Release lets the partitions go: the member joins again, or leaves if it is closed.
func (a *Assignment) Release() { a.release.Do(func() { close(a.released) }) }

// run lives as long as the generation, and after that until it is released: kafka-go joins again only when it returns.
// In between it goes on with the heartbeats that kafka-go has stopped, since a member that drains is not dead.
func (a *Assignment) run(ctx context.Context) {
	defer close(a.done)
	lost := ctx.Done()
	outside := context.WithoutCancel(ctx)
	var beat <-chan time.Time
	for {
		select {
		case <-lost:
			a.lose()
			lost = nil
			ticker := time.NewTicker(a.group.options.Heartbeat)
			defer ticker.Stop()
			beat = ticker.C
		case <-beat:
			if !a.beat(outside) {
				beat = nil
			}
		case <-a.moved:
			a.commit(outside)
		case <-a.released:
			a.lose()
			a.commit(outside)
			return
		}
	}
}

func (a *Assignment) lose() { a.loseOnce.Do(func() { close(a.lost) }) }

// watch ends the generation when topics or partitions have come or gone.
func (a *Assignment) watch(ctx context.Context) {
	ticker := time.NewTicker(a.group.options.Discovery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if places, err := a.group.discover(ctx); err == nil && !slices.Equal(places, a.all) {
			a.group.connection.logger.InfoContext(ctx, "kafka: topics or partitions have come or gone, the group shares them out anew",
				"group", a.group.options.ID, "before", len(a.all), "now", len(places))
			return
		}
	}
}

// beat tells the group that this member is alive, and reports whether it is one still.
func (a *Assignment) beat(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, a.group.options.Heartbeat)
	defer cancel()
	code := kafka.Error(0)
	err := a.group.connection.coordinator(ctx, a.group.options.ID, func(s *session) error {
		answer, err := ask[*heartbeat.Response](s, &heartbeat.Request{
			GroupID: a.generation.GroupID, GenerationID: a.generation.ID, MemberID: a.generation.MemberID,
		})
		if err == nil {
			code = kafka.Error(answer.ErrorCode)
		}
		return err
	})
	return err != nil || code == 0 || code == kafka.RebalanceInProgress
}

// commit tells the group the offsets that have moved since it last did. kafka-go refuses those of an old generation.
func (a *Assignment) commit(ctx context.Context) {
	offsets := make(map[string]map[int]int64)
	a.mu.Lock()
	for i, each := range a.places {
		mark := a.marks[a.names[i]]
		if mark <= a.told[a.names[i]] {
			continue
		}
		if offsets[each.topic] == nil {
			offsets[each.topic] = make(map[int]int64)
		}
		offsets[each.topic][int(each.id)] = mark
	}
	told := a.marks.Clone()
	a.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	if err := a.generation.CommitOffsets(offsets); err != nil {
		a.group.connection.logger.WarnContext(ctx, "kafka: the group was not told how far the sink is; the sink's marks are what counts",
			"group", a.group.options.ID, "error", err.Error())
		return
	}
	a.told = told
}

// lines are the connections of one member, so that they can be cut.
type lines struct {
	dialer net.Dialer
	mu     sync.Mutex // guards open
	open   map[*line]bool
}

type line struct {
	net.Conn
	lines *lines
}

func newLines() *lines {
	return &lines{dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}, open: make(map[*line]bool)}
}

func (l *lines) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := l.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	out := &line{conn, l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[out] = true
	return out, nil
}

// Close implements net.Conn.
func (l *line) Close() error {
	l.lines.mu.Lock()
	delete(l.lines.open, l)
	l.lines.mu.Unlock()
	return l.Conn.Close()
}

// cut ends all connections that are open.
func (l *lines) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for each := range l.open {
		_ = each.Conn.Close() // whoever uses it is told
	}
}
