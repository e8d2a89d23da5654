package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
)

// Registry is Apicurio's schema registry, which has the API of Confluent's too. Its schemas are in a topic of the
// broker's: they stay when it starts again, and with the broker's data.
type Registry struct {
	// URL is what a client of Confluent's registry is told. It stays the same when the registry starts again.
	URL string

	kafka                   *Kafka
	port, management, ready string
	process                 *process
}

// StartRegistry starts a registry beside the broker.
func StartRegistry(ctx context.Context, kafka *Kafka) (*Registry, error) {
	ports, err := freePorts(ctx, 2)
	if err != nil {
		return nil, err
	}
	r := &Registry{
		URL:   "http://" + net.JoinHostPort(loopback, ports[0]) + "/apis/ccompat/v7",
		kafka: kafka,
		port:  ports[0], management: ports[1],
		ready: "http://" + net.JoinHostPort(loopback, ports[1]) + "/health/ready",
	}
	if err := r.Restart(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Restart starts the registry with the schemas that it had, however it ended. One that runs is stopped first.
func (r *Registry) Restart(ctx context.Context) error {
	if err := r.Stop(); err != nil {
		return err
	}
	folder := filepath.Join(r.kafka.folder, "registry")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("peers: Apicurio Registry: %w", err)
	}
	process, err := startProcess(ctx, "Apicurio Registry", filepath.Join(folder, "registry.log"), r.kafka.jars.java,
		"-Xmx384m",
		"-XX:TieredStopAtLevel=1", // half of its start is the compiler
		"-Dquarkus.http.host="+loopback,
		"-Dquarkus.http.port="+r.port,
		"-Dquarkus.http.access-log.enabled=false",
		"-Dquarkus.management.host="+loopback,
		"-Dquarkus.management.port="+r.management,
		"-Dapicurio.log.level=WARN",
		"-Dapicurio.storage.kind=kafkasql",
		"-Dapicurio.kafkasql.bootstrap.servers="+r.kafka.Addr,
		"-Dapicurio.kafkasql.consumer.poll.timeout=100",
		"-jar", r.kafka.jars.registry,
	)
	if err != nil {
		return err
	}
	if err := process.await(ctx, r.answers); err != nil {
		return errors.Join(err, process.kill())
	}
	r.process = process
	return nil
}

// answers says why the registry does not.
func (r *Registry) answers(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.ready, http.NoBody)
	if err != nil {
		return err
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return errors.Join(err, response.Body.Close())
}

// Stop ends the registry in order and waits for it. One that has ended already is fine.
func (r *Registry) Stop() error {
	if r.process == nil {
		return nil
	}
	return r.process.stop()
}

// Kill ends the registry as a crash would.
func (r *Registry) Kill() error { return r.process.kill() }

// Order is a record that Produce has written.
type Order struct {
	Key       string
	Partition int32
	Offset    int64
	SchemaID  int `json:"schema_id"` // of the version that it was written with
	// Value is what another decoder than ours makes of the record's bytes when it reads them with the newer version.
	// Times are ISO 8601 in UTC, decimals exact text, bytes base64; Protobuf's are in its own JSON, which has 64-bit
	// numbers as text.
	Value json.RawMessage
}

// Produce lets librdkafka and Confluent's serializers write orders to a topic that exists, the older half with version 1
// of the subject <topic>-value, the newer half with version 2, both of which refer to the subject <topic>-line. format
// is avro, protobuf or json_schema; the message of Protobuf is shop.Order, the second of its file. registry.py has the
// schemas.
func (r *Registry) Produce(ctx context.Context, topic, format string, count int) ([]Order, error) {
	var out struct{ Records []Order }
	err := r.kafka.jars.python.Call(ctx, "produce", map[string]any{
		"brokers": r.kafka.Addr, "registry": r.URL, "topic": topic, "format": format, "count": count,
	}, &out)
	return out.Records, err
}
