package delta

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestGate(t *testing.T) {
	t.Parallel()
	protocol := func(reader, writer int, readers, writers string) string {
		return fmt.Sprintf(`{"protocol":{"minReaderVersion":%d,"minWriterVersion":%d,"readerFeatures":[%s],"writerFeatures":[%s]}}`, reader, writer, readers, writers)
	}
	property := func(name, value string) string {
		return strings.Replace(idMetadata, `"configuration":{}`, fmt.Sprintf(`"configuration":{%q:%q}`, name, value), 1)
	}
	column := func(key string) string {
		return strings.Replace(idMetadata, `\"metadata\":{}`, `\"metadata\":{\"`+key+`\":\"1\"}`, 1)
	}
	cases := []struct{ name, protocol, metadata, read, write string }{
		{"plain", protocol12, idMetadata, "", ""},
		{"old versions that imply unused features", `{"protocol":{"minReaderVersion":2,"minWriterVersion":6}}`, idMetadata, "", ""},
		{"known features, unused", protocol(3, 7, `"columnMapping","timestampNtz","vacuumProtocolCheck","deletionVectors"`, `"columnMapping","timestampNtz","vacuumProtocolCheck","deletionVectors","domainMetadata","invariants","checkConstraints","changeDataFeed","generatedColumns","identityColumns","allowColumnDefaults","appendOnly"`), idMetadata, "", ""},
		{"reader version", protocol(4, 7, ``, ``), idMetadata, "reader version 4", "reader version 4"},
		{"writer version", protocol(1, 8, ``, ``), idMetadata, "", "writer version 8"},
		{"unknown reader feature", protocol(3, 7, `"martian"`, `"martian"`), idMetadata, "martian", "martian"},
		{"unknown writer feature", protocol(1, 7, ``, `"martian"`), idMetadata, "", "martian"},
		{"mapped", `{"protocol":{"minReaderVersion":2,"minWriterVersion":5}}`, property("delta.columnMapping.mode", "name"), "columnMapping", "columnMapping"},
		{"mapping none", `{"protocol":{"minReaderVersion":2,"minWriterVersion":5}}`, property("delta.columnMapping.mode", "none"), "", ""},
		{"check", protocol12, property("delta.constraints.positive", "id > 0"), "", "checkConstraints"},
		{"invariant", protocol12, column("delta.invariants"), "", "invariants"},
		{"generated", protocol12, column("delta.generationExpression"), "", "generatedColumns"},
		{"identity", protocol12, column("delta.identity.start"), "", "identityColumns"},
		{"default", protocol12, column("CURRENT_DEFAULT"), "", "allowColumnDefaults"},
		{"append only", protocol12, property("delta.appendOnly", "true"), "", ""},
		{"widened", protocol(3, 7, `"typeWidening"`, `"typeWidening"`), idMetadata, "", "typeWidening"},
		{"orc", protocol12, strings.Replace(idMetadata, "parquet", "orc", 1), "orc", "orc"},
		{"void", protocol12, strings.Replace(idMetadata, "long", "void", 1), "", "void"},
	}
	for _, feature := range []string{"v2Checkpoint", "catalogManaged", "variantType", "variantShredding", "collations"} {
		cases = append(cases, struct{ name, protocol, metadata, read, write string }{feature, protocol(3, 7, `"`+feature+`"`, `"`+feature+`"`), idMetadata, feature, feature})
	}
	for _, feature := range []string{"rowTracking", "inCommitTimestamp", "clustering", "icebergCompatV1", "icebergCompatV2", "checkpointProtection", "materializePartitionColumns"} {
		cases = append(cases, struct{ name, protocol, metadata, read, write string }{feature, protocol(1, 7, ``, `"`+feature+`"`), idMetadata, "", feature})
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := local(t)
			logOf(t, st, 0, []string{test.protocol, test.metadata})
			_, err := Open(t.Context(), st)
			refused(t, err, test.read)
			_, err = Begin(t.Context(), st, AppendOptions{})
			refused(t, err, test.write)
		})
	}
}

func refused(t *testing.T, err error, feature string) {
	t.Helper()
	if feature == "" {
		must(t, err)
		return
	}
	unsupported, ok := errors.AsType[*UnsupportedError](err)
	if !ok {
		t.Fatalf("%v is no UnsupportedError", err)
	}
	if !strings.Contains(unsupported.Feature, feature) {
		t.Fatalf("it names %q, want %q", unsupported.Feature, feature)
	}
}
