package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/inflowhq/inflow/connectors/kafka"
	"github.com/inflowhq/inflow/connectors/kafka/serde"
	"github.com/inflowhq/inflow/pipeline"
)

// Kafka says which topics are read, and how. Exactly one of Topics and Pattern is set.
type Kafka struct {
	Brokers    []string        `yaml:"-"`
	Topics     []string        `yaml:"-"`
	Pattern    string          `yaml:"topic_pattern"`
	Group      string          `yaml:"group"` // empty: the job's name
	Start      string          `yaml:"start"` // earliest, latest, or a time; empty: earliest
	Value      KafkaFormat     `yaml:"value"`
	Key        KafkaFormat     `yaml:"key"`
	Tombstones string          `yaml:"tombstones"`
	Registry   *SchemaRegistry `yaml:"schema_registry"`
	TLS        *KafkaTLS       `yaml:"tls"`
	SASL       *KafkaSASL      `yaml:"sasl"`
}

// KafkaFormat is how keys or values are written.
type KafkaFormat struct {
	Format  serde.Format `yaml:"format"`
	Schema  string       `yaml:"schema"`
	Subject string       `yaml:"subject"`
	Version int          `yaml:"version"`
	Message string       `yaml:"message"`
}

// SchemaRegistry is a registry with Confluent's API. Password and Token refer to secrets.
type SchemaRegistry struct {
	URL      string `yaml:"url"`
	Username string `yaml:"username"`
	Password string `yaml:"password"`
	Token    string `yaml:"token"`
}

// KafkaTLS is encryption; its files are paths.
type KafkaTLS struct {
	CA          string `yaml:"ca_file"`
	Certificate string `yaml:"certificate_file"`
	Key         string `yaml:"key_file"`
	ServerName  string `yaml:"server_name"`
}

// KafkaSASL says who the client is. Password and ClientSecret refer to secrets.
type KafkaSASL struct {
	Mechanism    string   `yaml:"mechanism"`
	Username     string   `yaml:"username"`
	Password     string   `yaml:"password"`
	TokenURL     string   `yaml:"token_url"`
	ClientID     string   `yaml:"client_id"`
	ClientSecret string   `yaml:"client_secret"`
	Scopes       []string `yaml:"-"`
	Region       string   `yaml:"region"`
}

// kafka completes what of a Kafka source YAML has no type for.
func (d decoder) kafka(file *File) {
	k := file.Source.Kafka
	if k == nil {
		return
	}
	file.Source.Follow = !d.doc.Has("source", "follow") || file.Source.Follow
	k.Brokers, k.Topics = d.doc.Texts("source", "kafka", "brokers"), d.doc.Texts("source", "kafka", "topics")
	k.Group, k.Value.Format, k.Key.Format = cmp.Or(k.Group, file.Job), cmp.Or(k.Value.Format, serde.JSON), cmp.Or(k.Key.Format, serde.Bytes)
	if k.TLS != nil {
		k.TLS.CA, k.TLS.Certificate, k.TLS.Key = d.path(k.TLS.CA), d.path(k.TLS.Certificate), d.path(k.TLS.Key)
	}
	if k.SASL != nil {
		k.SASL.Scopes = d.doc.Texts("source", "kafka", "sasl", "scopes")
	}
	if _, _, err := k.begin(); err != nil {
		d.doc.Add("`source.kafka.start` is no time", "write `earliest`, `latest`, or a time such as `2026-11-01T00:00:00Z`", "source", "kafka", "start")
	}
}

func (k *Kafka) begin() (start kafka.Start, at time.Time, err error) {
	switch k.Start {
	case "", "earliest":
		return kafka.Earliest, at, nil
	case "latest":
		return kafka.Latest, at, nil
	}
	at, err = time.Parse(time.RFC3339, k.Start)
	return kafka.AtTimestamp, at, err
}

// secret reads a secret that the job file refers to; empty where it refers to none.
func (j *Job) secret(ctx context.Context, reference string, faults *[]error, path ...string) string {
	if reference == "" {
		return ""
	}
	value, err := j.names.Secret(ctx, strings.TrimPrefix(strings.TrimSpace(strings.Trim(reference, "{}")), "secrets/"))
	if err != nil {
		*faults = append(*faults, j.at(err, path...))
	}
	return value.Reveal()
}

// file reads a file that the job file names; nil where it names none.
func (j *Job) file(name string, faults *[]error, path ...string) []byte {
	if name == "" {
		return nil
	}
	data, err := os.ReadFile(name) //nolint:gosec // the file that the job names
	if err != nil {
		*faults = append(*faults, j.at(err, path...))
	}
	return data
}

// connect returns a connection to the cluster, on which nothing is opened yet.
func (j *Job) connect(ctx context.Context) (*kafka.Connection, error) {
	k := j.File.Source.Kafka
	options := kafka.Options{Brokers: k.Brokers, Logger: j.environment.Logger}
	var faults []error
	if k.TLS != nil {
		at := func(key string) []string { return []string{"source", "kafka", "tls", key} }
		options.TLS = &kafka.TLS{
			CA:          j.file(k.TLS.CA, &faults, at("ca_file")...),
			Certificate: j.file(k.TLS.Certificate, &faults, at("certificate_file")...),
			Key:         j.file(k.TLS.Key, &faults, at("key_file")...), ServerName: k.TLS.ServerName,
		}
	}
	if k.SASL != nil {
		options.SASL = &kafka.SASL{
			Mechanism: k.SASL.Mechanism, Username: k.SASL.Username, Region: k.SASL.Region,
			Password: j.secret(ctx, k.SASL.Password, &faults, "source", "kafka", "sasl", "password"),
		}
		if k.SASL.TokenURL != "" {
			options.SASL.OIDC = &kafka.ClientCredentials{
				TokenURL: k.SASL.TokenURL, ClientID: k.SASL.ClientID, Scopes: k.SASL.Scopes,
				ClientSecret: j.secret(ctx, k.SASL.ClientSecret, &faults, "source", "kafka", "sasl", "client_secret"),
			}
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	connection, err := kafka.NewConnection(options)
	if err != nil {
		return nil, fmt.Errorf("source.kafka: %w", err)
	}
	return connection, nil
}

// decoders returns what reads keys and values. It asks the registry where there is one.
func (j *Job) decoders(ctx context.Context) (key, value serde.Decoder, err error) {
	k := j.File.Source.Kafka
	var registry *serde.Registry
	if r := k.Registry; r != nil {
		var faults []error
		options := serde.RegistryOptions{
			URL: r.URL, Username: r.Username,
			Password: j.secret(ctx, r.Password, &faults, "source", "kafka", "schema_registry", "password"),
			Token:    j.secret(ctx, r.Token, &faults, "source", "kafka", "schema_registry", "token"),
		}
		if err := errors.Join(faults...); err != nil {
			return nil, nil, err
		}
		if registry, err = serde.NewRegistry(options); err != nil {
			return nil, nil, j.at(err, "source", "kafka", "schema_registry", "url")
		}
	}
	decoder := func(f KafkaFormat, isKey bool, path string) serde.Decoder {
		options := serde.Options{
			Format: f.Format, Key: isKey, Subject: f.Subject, Version: f.Version, Schema: f.Schema, Message: f.Message,
		}
		if len(k.Topics) > 0 {
			options.Topic = k.Topics[0]
		}
		if f.Schema == "" {
			options.Registry = registry
		}
		made, failure := serde.NewDecoder(ctx, options)
		if failure != nil {
			err = errors.Join(err, j.at(failure, "source", "kafka", path))
		}
		return made
	}
	value = decoder(k.Value, false, "value")
	if k.Key.Format != serde.Bytes { // which is what keys are by themselves
		key = decoder(k.Key, true, "key")
	}
	return key, value, err
}

// openKafka opens the topics: as one of a group where they are followed, else as they are now.
func (j *Job) openKafka(ctx context.Context) error {
	k := j.File.Source.Kafka
	connection, err := j.connect(ctx)
	if err != nil {
		return err
	}
	j.closers = append(j.closers, func(context.Context) error { return connection.Close() })
	options := kafka.SourceOptions{
		Topics: k.Topics, Columns: j.File.Source.Columns, BatchRows: j.batchRows(), TombstoneRows: k.Tombstones == "row",
		AcceptDataLoss: !j.File.Source.FailOnDataLoss, KeepRaw: !j.File.OnError.DeadLetters.IsZero(),
	}
	j.sourceName = strings.Join(k.Topics, ",")
	if k.Pattern != "" {
		options.Patterns, j.sourceName = []string{k.Pattern}, k.Pattern
	}
	if options.Start, options.Timestamp, err = k.begin(); err != nil {
		return err
	}
	if options.Key, options.Value, err = j.decoders(ctx); err != nil {
		return err
	}
	if !j.File.Source.Follow {
		source, err := kafka.NewSource(ctx, connection, options)
		if err != nil {
			return fmt.Errorf("source.kafka: %w", err)
		}
		j.source = source
		return nil
	}
	opened, err := kafka.NewGroup(ctx, connection, kafka.GroupOptions{SourceOptions: options, ID: k.Group, Rebalance: 2 * Drain})
	if err != nil {
		return fmt.Errorf("source.kafka: %w", err)
	}
	j.source = group{opened}
	j.closers = append(j.closers, opened.Close)
	return nil
}

// group is a Kafka group as the engine's source.
type group struct{ *kafka.Group }

// Assign implements pipeline.Shared.
func (g group) Assign(ctx context.Context) (pipeline.Assignment, error) {
	assignment, err := g.Group.Assign(ctx)
	if err != nil {
		return nil, err // a nil *Assignment would be no nil interface
	}
	return assignment, nil
}

var (
	_ pipeline.Shared  = group{}
	_ pipeline.Lagging = group{}
	_ pipeline.Source  = (*kafka.Source)(nil)
	_ pipeline.Sink    = (*kafka.Sink)(nil)
)
