package schemas_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/schemas"
)

var update = flag.Bool("update", false, "rewrite the golden files") //nolint:gochecknoglobals // a test flag

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; review and run with -update\ngot:\n%s", path, got)
	}
}

func columns(schema *arrow.Schema) string {
	var out strings.Builder
	for _, field := range schema.Fields() {
		fmt.Fprintf(&out, "%s %s\n", field.Name, field.Type)
	}
	return out.String()
}

func TestUsageColumns(t *testing.T) {
	t.Parallel()
	golden(t, "usage.columns", columns(schemas.UsageSchema()))
}

func TestResultColumns(t *testing.T) {
	t.Parallel()
	input := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	results, err := schemas.ResultSchema(input, nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "results.columns", columns(results))
	if _, err := schemas.ResultSchema(results, nil); err == nil || !strings.Contains(err.Error(), "response") {
		t.Errorf("a source with a column response: %v", err)
	}
}

// TestUsageRow shows every field of an invocation in its column.
func TestUsageRow(t *testing.T) {
	t.Parallel()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	builder := schemas.NewUsageBuilder(mem)
	defer builder.Release()
	when := time.Date(2026, 11, 24, 23, 59, 59, 123456000, time.UTC)
	number := int64(7)
	cost := new(schemas.USD)
	if err := cost.UnmarshalBinary([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x8d, 0x7e, 0xa4, 0xc6, 0x80, 0}); err != nil {
		t.Fatal(err)
	}
	builder.Append(&schemas.Invocation{
		Origin: &schemas.Origin{
			EndpointID: "eid", EndpointName: "triage", EndpointTags: map[string]string{"team": "a"},
			EndpointCreator: "me", EndpointCreated: when, EndpointLastUpdated: when, Destinations: []string{"mini"},
			DestinationType: "EXTERNAL_MODEL", DestinationName: "mini", DestinationID: "did",
			Requester: "etl@example.com", URL: "http://host/v1", APIType: "llm/v1/chat",
			Job: "job", RunID: "run", TaskKey: "task", SourceName: "main.s.t", PromptName: "p", PromptVersion: "3",
		},
		InvocationID: "inv", RequestID: "req", EventTime: when, Model: "gpt-4o-mini",
		Latency: 1500 * time.Millisecond, TimeToFirstByte: 20 * time.Millisecond, StatusCode: 429, ContentType: "application/json",
		InputTokens: 10, OutputTokens: 2, TotalTokens: 12, CacheReadInputTokens: &number, BillableBasis: schemas.BasisProvider,
		ProviderUsage: `{"x":1}`, CostUSD: cost, PriceVersion: "v1",
		Attempts:       []schemas.Attempt{{Action: "PRIMARY", Destination: "mini", StatusCode: 429, Latency: time.Second}},
		IdempotencyKey: "key", ReusedFrom: "", Attempt: 2,
		SourcePartition: "part-0", SourceOffset: 3, SourceVersion: 4, RowKey: "row",
		Error: &schemas.RowError{Code: "rate", Class: schemas.Throttled, Message: "slow down", HTTPStatus: 429},
	})
	builder.Append(&schemas.Invocation{Origin: new(schemas.Origin), InvocationID: "bare", SourceVersion: -1})
	builder.Append(&schemas.Invocation{Origin: new(schemas.Origin), InvocationID: "flex", SourceVersion: -1, ServiceTier: "flex"})
	if builder.Len() != 3 {
		t.Errorf("%d rows", builder.Len())
	}
	record := builder.NewRecord()
	defer record.Release()
	var out strings.Builder
	for row := range 3 {
		for i, field := range record.Schema().Fields() {
			if value := schemas.Value(record.Column(i), row); value != nil {
				text, err := json.Marshal(value)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "%d %s = %s\n", row, field.Name, text)
			}
		}
	}
	golden(t, "usage.row", out.String())
}

func TestSecretsStayHidden(t *testing.T) {
	t.Parallel()
	secret := schemas.NewSecret("sk-very-secret")
	data, err := json.Marshal(map[string]any{"key": secret})
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	shown.Write(data)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&shown, verb, secret)
	}
	if strings.Contains(shown.String(), "very") {
		t.Errorf("shown: %s", shown.String())
	}
	if secret.Reveal() != "sk-very-secret" || secret.IsZero() {
		t.Error("the secret is lost")
	}
}
