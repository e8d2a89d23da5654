package kafka

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"

	"github.com/inflowhq/inflow/schemas"
)

// maxMarkBytes is what brokers take as the metadata of an offset if nobody set offset.metadata.max.bytes.
const maxMarkBytes = 4096

// markStore keeps marks where a group of nobody keeps its offsets: as the metadata of the offset of partition 0. The
// offset itself counts the commits.
type markStore struct {
	connection *Connection
	topic      string
	group      string
}

// storedMarks are marks with the number of their commit, -1 where there was none.
type storedMarks struct {
	marks  schemas.Marks
	commit int64
}

// encodeMarks writes marks as JSON, names in order.
func encodeMarks(marks schemas.Marks) (string, error) {
	out, err := json.Marshal(marks)
	if err != nil {
		return "", err
	}
	if len(out) > maxMarkBytes {
		return "", &schemas.Error{
			Op: "kafka: commit", Class: schemas.Fatal, Code: codeMarksTooLarge,
			Err:  fmt.Errorf("%d marks take %d bytes, a Kafka sink keeps at most %d", len(marks), len(out), maxMarkBytes),
			Mend: "write to a Delta table, or read fewer partitions in one job",
		}
	}
	return string(out), nil
}

// decodeMarks reads what encodeMarks wrote.
func decodeMarks(text string) (schemas.Marks, error) {
	var out schemas.Marks
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	if err := decoder.Decode(&out); err != nil {
		return nil, fmt.Errorf("no marks: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("no marks: something stands behind them")
	}
	if out == nil {
		return nil, errors.New("no marks: null")
	}
	return out, nil
}

// load returns the marks of the last commit.
func (m *markStore) load(ctx context.Context) (storedMarks, error) {
	var out storedMarks
	err := m.connection.persist(ctx, m.connection.options.Patience, func(ctx context.Context) error {
		var err error
		out, err = m.ask(ctx)
		return err
	})
	return out, err
}

func (m *markStore) ask(ctx context.Context) (storedMarks, error) {
	out := storedMarks{commit: -1}
	var answer *offsetfetch.Response
	err := m.connection.coordinator(ctx, m.group, func(s *session) error {
		var err error
		answer, err = ask[*offsetfetch.Response](s, &offsetfetch.Request{
			GroupID: m.group, Topics: []offsetfetch.RequestTopic{{Name: m.topic, PartitionIndexes: []int32{0}}},
		})
		return err
	})
	if err != nil {
		return out, err
	}
	code := answer.ErrorCode
	for _, topic := range answer.Topics {
		for _, each := range topic.Partitions {
			if each.ErrorCode != 0 {
				code = each.ErrorCode
			}
			if each.CommittedOffset < 0 || code != 0 {
				continue
			}
			if out.marks, err = decodeMarks(each.Metadata); err != nil {
				return out, &schemas.Error{
					Op: "kafka: marks of " + m.topic, Class: schemas.Fatal, Err: fmt.Errorf("the group %s holds %w", m.group, err),
					Mend: "another program commits under this group: give the job another name",
				}
			}
			out.commit = each.CommittedOffset
		}
	}
	if code != 0 && kafka.Error(code) != kafka.GroupIdNotFound { // nothing was committed yet
		return out, m.connection.classify(ctx, "kafka: marks of "+m.topic, kafka.Error(code))
	}
	return out, nil
}

// store moves the marks of to, if they are still those of from. What an answer that was lost came to is looked up
// before anything is sent again.
func (m *markStore) store(ctx context.Context, from, to schemas.Marks) error {
	sent := int64(-2) // the number of our commit
	return m.connection.persist(ctx, 0, func(ctx context.Context) error {
		stored, err := m.ask(ctx)
		if err != nil {
			return err
		}
		merged := stored.marks.Clone()
		if merged == nil {
			merged = make(schemas.Marks)
		}
		maps.Copy(merged, to)
		if stored.commit == sent && merged.Equal(stored.marks) {
			return nil
		}
		if name, ok := differ(stored.marks, from, to); ok {
			return fmt.Errorf("kafka: the mark %s of topic %s: %w", name, m.topic, schemas.ErrFenced)
		}
		metadata, err := encodeMarks(merged)
		if err != nil {
			return err
		}
		sent = stored.commit + 1
		return m.commit(ctx, sent, metadata)
	})
}

func (m *markStore) commit(ctx context.Context, offset int64, metadata string) error {
	var answer *offsetcommit.Response
	err := m.connection.coordinator(ctx, m.group, func(s *session) error {
		var err error
		answer, err = ask[*offsetcommit.Response](s, &offsetcommit.Request{
			GroupID: m.group, GenerationID: -1, RetentionTimeMs: -1,
			Topics: []offsetcommit.RequestTopic{{Name: m.topic, Partitions: []offsetcommit.RequestPartition{{
				CommittedOffset: offset, CommittedLeaderEpoch: -1, CommittedMetadata: metadata,
			}}}},
		})
		return err
	})
	if err != nil {
		return err
	}
	for _, topic := range answer.Topics {
		for _, each := range topic.Partitions {
			switch code := kafka.Error(each.ErrorCode); code { //nolint:exhaustive // the others mean what they always mean
			case 0:
			case kafka.OffsetMetadataTooLarge:
				return &schemas.Error{
					Op: "kafka: commit", Class: schemas.Fatal, Code: codeMarksTooLarge, Err: code,
					Mend: "raise the brokers' offset.metadata.max.bytes to 4096",
				}
			case kafka.UnknownMemberId, kafka.IllegalGeneration:
				return &schemas.Error{
					Op: "kafka: commit", Class: schemas.Fatal, Err: fmt.Errorf("the group %s has members: %w", m.group, code),
					Mend: "the group id is for the marks of this sink alone: stop the consumers that use it",
				}
			default:
				return m.connection.classify(ctx, "kafka: commit", code)
			}
		}
	}
	return nil
}
