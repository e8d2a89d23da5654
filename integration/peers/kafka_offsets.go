package peers

import (
	"context"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Ends is where the next record of each of the topic's partitions will stand.
func (k *Kafka) Ends(ctx context.Context, topic string) (map[int32]int64, error) {
	client, err := k.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	metadata, err := describe(ctx, client, topic)
	if err != nil {
		return nil, fmt.Errorf("peers: Apache Kafka: ends of %s: %w", topic, err)
	}
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for _, described := range metadata.Topics[0].Partitions {
		const latest = -1
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = described.Partition, latest
		asked.Partitions = append(asked.Partitions, partition)
	}
	request := kmsg.NewPtrListOffsetsRequest()
	request.Topics = append(request.Topics, asked)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("peers: Apache Kafka: ends of %s: %w", topic, err)
	}
	ends := map[int32]int64{}
	for _, listed := range response.Topics {
		for _, partition := range listed.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return nil, fmt.Errorf("peers: Apache Kafka: ends of %s: partition %d: %w", topic, partition.Partition, err)
			}
			ends[partition.Partition] = partition.Offset
		}
	}
	return ends, nil
}

// Committed is what the group has committed of the topic; a partition of which it has committed nothing is not in it.
func (k *Kafka) Committed(ctx context.Context, group, topic string) (map[int32]int64, error) {
	ends, err := k.Ends(ctx, topic)
	if err != nil {
		return nil, err
	}
	client, err := k.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	asked := kmsg.NewOffsetFetchRequestTopic()
	asked.Topic = topic
	for partition := range maps.Keys(ends) {
		asked.Partitions = append(asked.Partitions, partition)
	}
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Group, request.Topics = group, []kmsg.OffsetFetchRequestTopic{asked}
	var response *kmsg.OffsetFetchResponse
	// A broker's first group waits until there is a topic for what groups commit.
	err = k.process.await(ctx, func(ctx context.Context) (err error) {
		if response, err = request.RequestWith(ctx, client); err != nil {
			return err
		}
		return kerr.ErrorForCode(response.ErrorCode)
	})
	if err != nil {
		return nil, fmt.Errorf("peers: Apache Kafka: what %s has committed: %w", group, err)
	}
	committed := map[int32]int64{}
	for _, fetched := range response.Topics {
		for _, partition := range fetched.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return nil, fmt.Errorf("peers: Apache Kafka: what %s has committed: partition %d: %w", group, partition.Partition, err)
			}
			if partition.Offset >= 0 {
				committed[partition.Partition] = partition.Offset
			}
		}
	}
	return committed, nil
}
