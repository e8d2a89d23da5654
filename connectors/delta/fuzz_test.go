package delta

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store"
)

func FuzzDecodeAction(f *testing.F) {
	for _, line := range []string{protocol12, idMetadata, sparkCommit, add("a%20b"), remove("file:///x"), `{"txn":{"appId":"a","version":1}}`, `{"x":1}`, `{}`, `null`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		action, err := decodeAction(line)
		if err != nil {
			return
		}
		s := newState("/table", true)
		if s.apply(&action) != nil {
			return
		}
		_ = s.settle() // must not panic
		encoded, err := encodeActions([]Action{action})
		must(t, err)
		if _, err := decodeAction(encoded); err != nil {
			t.Fatalf("what was read does not come back: %v", err)
		}
	})
}

func FuzzParseSchema(f *testing.F) {
	var schema string
	_ = json.Unmarshal([]byte(`"`+idSchema+`"`), &schema)
	f.Add(schema)
	f.Add(`{"type":"struct","fields":[{"name":"a","type":{"type":"array","elementType":"decimal(38,18)","containsNull":true},"nullable":true},{"name":"m","type":{"type":"map","keyType":"string","valueType":{"type":"struct","fields":[]},"valueContainsNull":true}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := ParseSchema(text)
		if err != nil {
			return
		}
		_, _ = parsed.SQL(), parsed.arrow()
		encoded, err := json.Marshal(parsed)
		must(t, err)
		again, err := ParseSchema(string(encoded))
		must(t, err)
		equal(t, again.SQL(), parsed.SQL())
	})
}

func FuzzPartitionValue(f *testing.F) {
	for i, text := range []string{"1", "-1.50", "2024-01-02", "2024-01-02 03:04:05.000006", "2024-01-02T03:04:05Z", "true", "\x01", "1e9", "+", "-"} {
		f.Add(i, text)
	}
	f.Fuzz(func(t *testing.T, column int, text string) {
		fields := everyType().Fields()
		dataType := fields[uint(column)%uint(len(fields))].Type
		builder := array.NewBuilder(memory.DefaultAllocator, dataType)
		defer builder.Release()
		if appendPartitionValue(builder, &text) != nil {
			return
		}
		values := builder.NewArray()
		defer values.Release()
		equal(t, values.Len(), 1)
		back, err := partitionValue(values, 0)
		if err != nil || back == nil {
			return // a type that cannot partition, or NULL
		}
		again := array.NewBuilder(memory.DefaultAllocator, dataType)
		defer again.Release()
		must(t, appendPartitionValue(again, back))
		second := again.NewArray()
		defer second.Release()
		if !array.Equal(values, second) {
			t.Fatalf("%q became %q", text, *back)
		}
	})
}

func FuzzReadCheckpoint(f *testing.F) {
	dir := f.TempDir()
	st := store.NewLocal(dir)
	table, err := Create(f.Context(), st, Definition{Schema: idsSchema(), Properties: map[string]string{"a": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	if err := table.Checkpoint(f.Context()); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(filepath.Join(dir, checkpointName(0)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		inner := store.NewLocal(t.TempDir())
		put(t, inner, checkpointName(0), string(data))
		_ = readCheckpoint(t.Context(), inner, newState("", true), checkpoint{version: 0}) // must not panic or run out of memory
	})
}
