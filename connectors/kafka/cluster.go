package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"github.com/inflowhq/inflow/schemas"
)

// place is one partition of one topic.
type place struct {
	topic string
	id    int32
}

// name is the partition's in marks and batches. A topic's name holds no slash.
func (p place) name() string { return p.topic + "/" + strconv.Itoa(int(p.id)) }

// topic is what is known of one.
type topic struct {
	code     kafka.Error // why nothing is; 0: something is
	internal bool
	leaders  map[int32]string // by partition; empty: it has none at the moment
}

// metadata asks for topics, nil: for all that this client may see. Topics are not made by asking.
func (c *Connection) metadata(ctx context.Context, names []string) (map[string]topic, error) {
	out := make(map[string]topic)
	err := c.anywhere(ctx, func(s *session) error {
		answer, err := ask[*metadata.Response](s, &metadata.Request{TopicNames: names})
		if err != nil {
			return err
		}
		brokers := make(map[int32]string, len(answer.Brokers))
		for _, each := range answer.Brokers {
			brokers[each.NodeID] = net.JoinHostPort(each.Host, strconv.Itoa(int(each.Port)))
		}
		for _, each := range answer.Topics {
			found := topic{code: kafka.Error(each.ErrorCode), internal: each.IsInternal, leaders: make(map[int32]string, len(each.Partitions))}
			for _, partition := range each.Partitions {
				found.leaders[partition.PartitionIndex] = brokers[partition.LeaderID]
			}
			out[each.Name] = found
		}
		return nil
	})
	return out, err
}

// topicCache knows who leads what, for as long as nobody says otherwise.
type topicCache struct {
	ask func(ctx context.Context, names []string) (map[string]topic, error)

	mu    sync.Mutex // held while a broker is asked: the others wait for the same answer
	known map[string]cachedTopic
}

type cachedTopic struct {
	topic
	at time.Time
}

// get returns a topic as it was after stale.
func (t *topicCache) get(ctx context.Context, name string, stale time.Time) (topic, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known, ok := t.known[name]; ok && known.at.After(stale) {
		return known.topic, nil
	}
	at := time.Now()
	found, err := t.ask(ctx, []string{name})
	if err != nil {
		return topic{}, err
	}
	if t.known == nil {
		t.known = make(map[string]cachedTopic)
	}
	for name, each := range found {
		t.known[name] = cachedTopic{each, at}
	}
	return found[name], nil
}

// leader returns the address of the broker that leads a partition, as it was known after stale. That there is none yet
// is Transient.
func (c *Connection) leader(ctx context.Context, p place, stale time.Time) (string, error) {
	found, err := c.topics.get(ctx, p.topic, stale)
	if err != nil {
		return "", err
	}
	code := found.code
	address, ok := found.leaders[p.id]
	switch {
	case code == 0 && !ok:
		code = kafka.UnknownTopicOrPartition
	case code == 0 && address == "":
		code = kafka.LeaderNotAvailable
	}
	if code != 0 {
		return "", c.classify(ctx, "kafka: "+p.name(), code)
	}
	return address, nil
}

// The timestamps that stand for the ends of a log.
const (
	logEnd   int64 = -1
	logStart int64 = -2
)

// offsets asks the leaders where in their partitions a timestamp stands, in milliseconds: the first record of that time
// or later, -1 where there is none. Read committed, the end of a log is where the first open transaction begins.
func (c *Connection) offsets(ctx context.Context, places []place, timestamp int64, isolation int8) (map[place]int64, error) {
	out := make(map[place]int64, len(places))
	var stale time.Time
	err := c.persist(ctx, c.options.Patience, func(ctx context.Context) error {
		leaders := make(map[string]map[string][]listoffsets.RequestPartition)
		for _, each := range places {
			if _, ok := out[each]; ok {
				continue
			}
			address, err := c.leader(ctx, each, stale)
			if err != nil {
				stale = time.Now()
				return err
			}
			if leaders[address] == nil {
				leaders[address] = make(map[string][]listoffsets.RequestPartition)
			}
			leaders[address][each.topic] = append(leaders[address][each.topic],
				listoffsets.RequestPartition{Partition: each.id, CurrentLeaderEpoch: -1, Timestamp: timestamp})
		}
		var faults []error
		for address, topics := range leaders {
			request := &listoffsets.Request{ReplicaID: -1, IsolationLevel: isolation}
			for name, partitions := range topics {
				request.Topics = append(request.Topics, listoffsets.RequestTopic{Topic: name, Partitions: partitions})
			}
			faults = append(faults, c.at(ctx, address, func(s *session) error {
				answer, err := ask[*listoffsets.Response](s, request)
				if err != nil {
					return err
				}
				return c.takeOffsets(ctx, answer, out)
			}))
		}
		stale = time.Now()
		return worst(faults)
	})
	return out, err
}

func (c *Connection) takeOffsets(ctx context.Context, answer *listoffsets.Response, out map[place]int64) error {
	var faults []error
	for _, topic := range answer.Topics {
		for _, each := range topic.Partitions {
			p := place{topic.Topic, each.Partition}
			if each.ErrorCode != 0 {
				faults = append(faults, c.classify(ctx, "kafka: offsets of "+p.name(), kafka.Error(each.ErrorCode)))
				continue
			}
			out[p] = each.Offset
		}
	}
	return worst(faults)
}

// worst returns the error for which trying again helps least.
func worst(faults []error) error {
	var out error
	for _, err := range faults {
		if err != nil && (out == nil || schemas.ClassOf(err) == schemas.Fatal) {
			out = err
		}
	}
	return out
}

// coordinator does something with a session to the broker that keeps a group's offsets.
func (c *Connection) coordinator(ctx context.Context, group string, do func(*session) error) error {
	var address string
	err := c.anywhere(ctx, func(s *session) error {
		answer, err := ask[*findcoordinator.Response](s, &findcoordinator.Request{Key: group})
		if err != nil {
			return err
		}
		if answer.ErrorCode != 0 {
			return c.classify(ctx, "kafka: group "+group, kafka.Error(answer.ErrorCode))
		}
		address = net.JoinHostPort(answer.Host, strconv.Itoa(int(answer.Port)))
		return nil
	})
	if err != nil {
		return err
	}
	return c.at(ctx, address, do)
}

// existing returns the partitions of topics that must be there.
func (c *Connection) existing(ctx context.Context, names []string) (map[string]topic, error) {
	var found map[string]topic
	err := c.persist(ctx, c.options.Patience, func(ctx context.Context) error {
		var err error
		if found, err = c.metadata(ctx, names); err != nil {
			return err
		}
		var faults []error
		for _, name := range names {
			each, ok := found[name]
			switch {
			case !ok || each.code == kafka.UnknownTopicOrPartition:
				faults = append(faults, &schemas.Error{
					Op: "kafka", Class: schemas.Fatal, Code: codeUnknownTopic,
					Err:  fmt.Errorf("there is no topic %s, or this client may not see it", name),
					Mend: "make it, or grant DESCRIBE on it: " + c.createTopic(name),
				})
			case each.code == kafka.InvalidTopic:
				faults = append(faults, &schemas.Error{
					Op: "kafka", Class: schemas.Fatal, Code: codeUnknownTopic,
					Err: errors.New("no topic can have the name " + strconv.Quote(name)), Mend: "letters, digits, '.', '_' and '-' make a topic's name",
				})
			case each.code != 0:
				faults = append(faults, c.classify(ctx, "kafka: topic "+name, each.code))
			}
		}
		return worst(faults)
	})
	return found, err
}

func (c *Connection) createTopic(name string) string {
	return "kafka-topics --bootstrap-server " + c.options.Brokers[0] + " --create --topic " + name + " --partitions 6"
}

// topicGoneAfter is how long brokers may say that there is no topic before they are believed: one that has just come up
// does not know all of them.
const topicGoneAfter = 30 * time.Second

// vanished turns the lack of a topic that was there into a fatal error once it lasts.
type vanished struct {
	topic string
	mend  string
	since time.Time
}

func (v *vanished) look(err error) error {
	failed, ok := errors.AsType[*schemas.Error](err)
	if !ok || failed.Code != codeUnknownTopic {
		v.since = time.Time{}
		return err
	}
	if v.since.IsZero() {
		v.since = time.Now()
	}
	if time.Since(v.since) < topicGoneAfter {
		return err
	}
	return &schemas.Error{
		Op: "kafka", Class: schemas.Fatal, Code: codeUnknownTopic, Err: fmt.Errorf("topic %s was deleted in the meantime: %w", v.topic, failed.Err), Mend: v.mend,
	}
}
