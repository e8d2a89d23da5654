package peers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// KafkaUser may use the broker's SASL listener.
	KafkaUser = "etl"
	// KafkaPassword is KafkaUser's.
	KafkaPassword = "password-of-the-test"
)

// Kafka is Apache Kafka's own broker: one node, which is its own controller. Topics are made by CreateTopic and never
// by a client that misspells one.
type Kafka struct {
	// Addr takes clients as they are, SASLAddr those that log in by SCRAM-SHA-256 or SCRAM-SHA-512 as KafkaUser. They stay
	// the same when it starts again.
	Addr, SASLAddr string

	folder  string
	jars    *jars
	process *process
}

// StartKafka installs the broker where it is not in the cache yet, and starts it with its data in folder.
func StartKafka(ctx context.Context, folder string) (*Kafka, error) {
	jars, err := installJars(ctx)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(ctx, 3)
	if err != nil {
		return nil, err
	}
	k := &Kafka{
		Addr:     net.JoinHostPort(loopback, ports[0]),
		SASLAddr: net.JoinHostPort(loopback, ports[1]),
		folder:   folder,
		jars:     jars,
	}
	if err := k.format(ctx, net.JoinHostPort(loopback, ports[2])); err != nil {
		return nil, err
	}
	if err := k.Restart(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// format writes the configuration and makes an empty log. Internal topics have one partition, for each takes time to
// make and to recover; nothing that is about durability differs from what Kafka has by default.
func (k *Kafka) format(ctx context.Context, controller string) error {
	config := strings.Join([]string{
		"process.roles=broker,controller",
		"node.id=1",
		"controller.quorum.bootstrap.servers=" + controller,
		"listeners=PLAIN://" + k.Addr + ",SCRAM://" + k.SASLAddr + ",CONTROLLER://" + controller,
		"listener.security.protocol.map=PLAIN:PLAINTEXT,SCRAM:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name=PLAIN",
		"controller.listener.names=CONTROLLER",
		"sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512",
		"listener.name.scram.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;",
		"log.dirs=" + filepath.Join(k.folder, "log"),
		"log.cleaner.dedupe.buffer.size=16777216",
		"auto.create.topics.enable=false",
		"offsets.topic.num.partitions=1",
		"offsets.topic.replication.factor=1",
		"transaction.state.log.num.partitions=1",
		"transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1",
		"share.coordinator.state.topic.num.partitions=1",
		"share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1",
		// A broker that was killed may come back once its controller has missed it, by default after 9 s.
		"broker.session.timeout.ms=2000",
		"broker.heartbeat.interval.ms=500",
		// Nobody is waited for: a group's first member is given its partitions at once, and a test may choose how soon
		// a dead one is missed.
		"group.initial.rebalance.delay.ms=0",
		"group.min.session.timeout.ms=1000",
		"metric.reporters=",
	}, "\n")
	if err := os.MkdirAll(k.folder, 0o700); err != nil {
		return fmt.Errorf("peers: Apache Kafka: %w", err)
	}
	if err := os.WriteFile(k.config(), []byte(config), 0o600); err != nil {
		return fmt.Errorf("peers: Apache Kafka: %w", err)
	}
	if _, err := os.Stat(filepath.Join(k.folder, "log", "meta.properties")); err == nil {
		return nil // it is an older one's folder
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("peers: Apache Kafka: %w", err)
	}
	const cluster = "aW5mbG93LXBlZXJzLTAwMQ" // any 16 bytes
	user := "name=" + KafkaUser + ",password=" + KafkaPassword
	command := k.command("-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "--standalone", "--cluster-id", cluster, "--config", k.config(),
		"--add-scram", "SCRAM-SHA-256=["+user+"]", "--add-scram", "SCRAM-SHA-512=["+user+"]")
	if output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil { //nolint:gosec // what install made
		return fmt.Errorf("peers: Apache Kafka: format %s: %w\n%s", k.folder, err, tail(output))
	}
	return nil
}

func (k *Kafka) config() string { return filepath.Join(k.folder, "server.properties") }

// command is a class of the broker's, with an option for its Java.
func (k *Kafka) command(option string, class ...string) []string {
	return append([]string{k.jars.java, option, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", k.jars.kafka}, class...)
}

// Restart starts the broker over the data that it left, however it ended. One that runs is stopped first.
func (k *Kafka) Restart(ctx context.Context) error {
	if err := k.Stop(); err != nil {
		return err
	}
	process, err := startProcess(ctx, "Apache Kafka", filepath.Join(k.folder, "kafka.log"), k.command("-Xmx512m", "kafka.Kafka", k.config())...)
	if err != nil {
		return err
	}
	client, err := k.client(kgo.RequestRetries(0)) // await tries again
	if err != nil {
		return errors.Join(err, process.kill())
	}
	defer client.Close()
	if err := process.await(ctx, func(ctx context.Context) error { return led(ctx, client) }); err != nil {
		return errors.Join(err, process.kill())
	}
	k.process = process
	return nil
}

// Stop ends the broker in order and waits for it. One that has ended already is fine.
func (k *Kafka) Stop() error {
	if k.process == nil {
		return nil
	}
	return k.process.stop()
}

// Kill ends the broker as a crash would: it closes nothing and tells nobody.
func (k *Kafka) Kill() error { return k.process.kill() }

// CreateTopic makes a topic and waits until its partitions can be written. configs, which may be nil, are the topic's,
// such as cleanup.policy.
func (k *Kafka) CreateTopic(ctx context.Context, name string, partitions int32, configs map[string]string) error {
	client, err := k.client()
	if err != nil {
		return err
	}
	defer client.Close()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for key, value := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = key, &value
		topic.Configs = append(topic.Configs, config)
	}
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("peers: Apache Kafka: create topic %s: %w", name, err)
	}
	for _, created := range response.Topics {
		if err := kerr.ErrorForCode(created.ErrorCode); err != nil {
			if created.ErrorMessage != nil {
				err = fmt.Errorf("%w: %s", err, *created.ErrorMessage)
			}
			return fmt.Errorf("peers: Apache Kafka: create topic %s: %w", name, err)
		}
	}
	return k.process.await(ctx, func(ctx context.Context) error { return led(ctx, client, name) })
}

// led says why not every partition of the topics has its leader; without topics, of all that there are.
func led(ctx context.Context, client *kgo.Client, topics ...string) error {
	metadata, err := describe(ctx, client, topics...)
	if err != nil {
		return err
	}
	if len(metadata.Brokers) == 0 {
		return errors.New("it is not part of its cluster yet")
	}
	for _, topic := range metadata.Topics {
		for _, partition := range topic.Partitions {
			if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe asks for the topics, or without any for all that there are.
func describe(ctx context.Context, client *kgo.Client, topics ...string) (*kmsg.MetadataResponse, error) {
	request := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = &name
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return nil, err
	}
	for _, topic := range response.Topics {
		if err := kerr.ErrorForCode(topic.ErrorCode); err != nil {
			return nil, err
		}
	}
	return response, nil
}

// client talks to the broker.
func (k *Kafka) client(more ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(k.Addr)}, more...)...)
	if err != nil {
		return nil, fmt.Errorf("peers: Apache Kafka: %w", err)
	}
	return client, nil
}
