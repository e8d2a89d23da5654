//go:build integration

package peers_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/inflowhq/inflow/integration/peers"
)

// TestRegistry registers schemas of every kind that refer to others, and reads them back, again after a kill.
func TestRegistry(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t)
	registry, err := peers.StartRegistry(t.Context(), kafka)
	if err != nil {
		t.Fatal(err)
	}
	// Before the broker's cleanup, which it needs to stop.
	t.Cleanup(func() {
		if err := registry.Stop(); err != nil {
			t.Error(err)
		}
	})
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client, err := sr.NewClient(sr.URLs(registry.URL), sr.HTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}

	kinds := map[sr.SchemaType]struct{ name, line, order string }{
		sr.TypeAvro: {
			name:  "shop.Line",
			line:  `{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"sku","type":"string"}]}`,
			order: `{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"line","type":"shop.Line"}]}`,
		},
		sr.TypeProtobuf: {
			name:  "shop/line.proto",
			line:  "syntax = \"proto3\";\npackage shop;\n\nmessage Line {\n  string sku = 1;\n}\n",
			order: "syntax = \"proto3\";\npackage shop;\n\nimport \"shop/line.proto\";\n\nmessage Order {\n  Line line = 1;\n}\n",
		},
		sr.TypeJSON: {
			name:  "line.json",
			line:  `{"$id":"line.json","type":"object","properties":{"sku":{"type":"string"}}}`,
			order: `{"type":"object","properties":{"line":{"$ref":"line.json"}}}`,
		},
	}
	registered := map[int]sr.Schema{}
	for kind, schema := range kinds {
		line, err := client.CreateSchema(t.Context(), kind.String()+"-line", sr.Schema{Type: kind, Schema: schema.line})
		if err != nil {
			t.Fatal(err)
		}
		order, err := client.CreateSchema(t.Context(), kind.String()+"-value", sr.Schema{
			Type: kind, Schema: schema.order,
			References: []sr.SchemaReference{{Name: schema.name, Subject: line.Subject, Version: line.Version}},
		})
		if err != nil {
			t.Fatal(err)
		}
		registered[line.ID], registered[order.ID] = line.Schema, order.Schema
	}
	if len(registered) != 2*len(kinds) {
		t.Fatalf("%d schemas have ids of their own, want %d", len(registered), 2*len(kinds))
	}
	readAll := func(when string) {
		for id, want := range registered {
			got, err := client.SchemaByID(t.Context(), id)
			if err != nil {
				t.Errorf("%s: %v", when, err)
				continue
			}
			if len(got.References) == 0 {
				got.References = want.References // none: nil or empty
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
	}
	readAll("at first")

	if _, err := client.SchemaByVersion(t.Context(), "nothing-value", -1); status(err) != http.StatusNotFound {
		t.Errorf("a subject that does not exist: %v", err)
	}
	subject := sr.TypeAvro.String() + "-line"
	for _, result := range client.SetCompatibility(t.Context(), sr.SetCompatibility{Level: sr.CompatBackward}, subject) {
		if result.Err != nil {
			t.Fatal(result.Err)
		}
	}
	_, err = client.CreateSchema(t.Context(), subject, sr.Schema{Schema: `{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"paid","type":"boolean"}]}`})
	if status(err) != http.StatusConflict {
		t.Errorf("a schema that cannot read the last one's records: %v", err)
	}

	testOrders(t, kafka, registry, client)

	if err := registry.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := registry.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	readAll("after the kill")
}

// status is the registry's answer that err is, 0 where it is none.
func status(err error) int {
	if answer, ok := errors.AsType[*sr.ResponseError](err); ok {
		return answer.StatusCode
	}
	return 0
}

// testOrders compares what the other client says that it wrote with what is in the topic.
func testOrders(t *testing.T, kafka *peers.Kafka, registry *peers.Registry, client *sr.Client) {
	t.Helper()
	const partitions, count = 3, 100
	for _, format := range []string{"avro", "protobuf", "json_schema"} {
		createTopic(t, kafka, format, partitions)
		orders, err := registry.Produce(t.Context(), format, format, count)
		if err != nil {
			t.Fatal(err)
		}
		type place struct {
			partition int32
			offset    int64
		}
		written := map[place]peers.Order{}
		ids := map[int]bool{}
		for _, order := range orders {
			written[place{order.Partition, order.Offset}] = order
			ids[order.SchemaID] = true
		}
		if len(written) != count {
			t.Fatalf("%s: %d orders at places of their own, want %d", format, len(written), count)
		}
		for _, version := range []int{1, 2} {
			schema, err := client.SchemaByVersion(t.Context(), format+"-value", version)
			if err != nil {
				t.Fatal(err)
			}
			if !ids[schema.ID] || len(schema.References) != 1 {
				t.Errorf("%s: version %d has id %d and refers to %v; the ids written are %v", format, version, schema.ID, schema.References, ids)
			}
		}
		consume(t, kafka.Addr, count, func(record *kgo.Record) {
			order := written[place{record.Partition, record.Offset}]
			if string(record.Key) != order.Key {
				t.Errorf("%s: key %s, want %s", format, record.Key, order.Key)
			}
			const prefix = 5 // a zero and the schema's id
			if id := int(binary.BigEndian.Uint32(record.Value[1:prefix])); record.Value[0] != 0 || id != order.SchemaID {
				t.Errorf("%s: %s begins with % x, want a zero and %d", format, order.Key, record.Value[:prefix], order.SchemaID)
			}
		}, kgo.ConsumeTopics(format))

		// The first has version 1, and was read with version 2.
		var first struct {
			Number                   json.RawMessage `json:"order_id"`
			Customer, Buyer, Channel string
			Seal                     []byte
		}
		if err := json.Unmarshal(orders[0].Value, &first); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"avro":        `9007199254740992 "" "customer 0 ☂" "web"`,
			"protobuf":    `"9007199254740992" "" "customer 0 ☂" ""`,
			"json_schema": `9007199254740992 "customer 0 ☂" "" ""`,
		}[format]
		if got := fmt.Sprintf("%s %q %q %q", first.Number, first.Customer, first.Buyer, first.Channel); got != want || len(first.Seal) != 4 {
			t.Errorf("%s: the first order is %s, want %s", format, got, want)
		}
	}
}
