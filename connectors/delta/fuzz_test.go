package delta

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store"
)

func FuzzDecodeAction(f *testing.F) {
	for _, line := range []string{protocol12, idMetadata, sparkCommit, add("a%20b"), remove("file:///x"), `{"txn":{"appId":"a","version":1}}`, `{"cdc":{"path":"_change_data/a","partitionValues":{"p":null},"size":1,"dataChange":false}}`, `{"x":1}`, `{}`, `null`} {
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

// richCheckpoint is a checkpoint with every kind of action in it.
func richCheckpoint(f *testing.F) []byte {
	f.Helper()
	dir := f.TempDir()
	table, err := Create(f.Context(), store.NewLocal(dir), Definition{Schema: idsSchema(), Properties: map[string]string{"a": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	s := table.loaded().state.clone()
	for _, line := range []string{
		vectorAdd, add("a%20b"), `{"txn":{"appId":"a","version":1,"lastUpdated":2}}`, `{"domainMetadata":{"domain":"d","configuration":"{}","removed":false}}`,
		`{"remove":{"path":"r","deletionTimestamp":99999999999999,"dataChange":true,"partitionValues":{"p":null},"size":1}}`,
	} {
		action, err := decodeAction([]byte(line))
		if err == nil {
			err = s.apply(&action)
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	if err := table.writeCheckpoint(f.Context(), s); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, checkpointName(0)))
	if err != nil {
		f.Fatal(err)
	}
	return data
}

func FuzzReadCheckpoint(f *testing.F) {
	seed := richCheckpoint(f)
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		inner := store.NewLocal(t.TempDir())
		put(t, inner, checkpointName(0), string(data))
		_ = readCheckpoint(t.Context(), inner, newState("", true), checkpoint{version: 0}) // must not panic or run out of memory
	})
}

// Whatever stands in the files of a log, opening the table ends, and what is no table is not taken for an absent one.
func FuzzLog(f *testing.F) {
	f.Add([]byte(protocol12+"\n"+idMetadata+"\n"+add("a%20b")), []byte(sparkCommit+"\n"+remove("a%20b")), []byte(`{"version":1,"size":3,"parts":2}`))
	f.Add([]byte(protocol12+"\r\n\r\n"+idMetadata), []byte("\n"), []byte(`{"version":9223372036854775807}`))
	f.Add([]byte("{"), []byte("null"), []byte(`{"version":-1}`))
	f.Fuzz(func(t *testing.T, first, second, hint []byte) {
		st := local(t)
		put(t, st, commitName(0), string(first))
		put(t, st, commitName(1), string(second))
		put(t, st, checkpointHint, string(hint))
		table, err := Open(t.Context(), st, WithLocation("/table"))
		if errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("a damaged log looks like an absent table: %v", err)
		}
		if err != nil {
			return
		}
		equal(t, table.loaded().Version(), 1)
		for _, file := range table.loaded().Files() {
			equal(t, fs.ValidPath(file.Name), true)
			equal(t, file.Rows() >= -1, true)
		}
	})
}

func FuzzResolvePath(f *testing.F) {
	for path, location := range map[string]string{
		"a%20b/c": "", "../x": "/t", "%2e%2e/x": "/t", "/t/a": "/t", "file:///t/a%2Fb": "file:/t/", "s3a://b/t/x": "s3://b/t", "s3://b/t/../x": "s3://b/t", "a:b": "", "%": "", "a//b": "", "%00": "",
	} {
		f.Add(path, location)
	}
	f.Fuzz(func(t *testing.T, path, location string) {
		name, err := resolvePath(path, location)
		if err != nil {
			return
		}
		if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
			t.Fatalf("%q in %q is %q, which is no name", path, location, name)
		}
		again, err := resolvePath(escapePath(name), location)
		if hasScheme(escapePath(name)) {
			return // our own names have no colon
		}
		must(t, err)
		equal(t, again, name)
	})
}

func FuzzLogName(f *testing.F) {
	for _, name := range []string{
		commitName(7), checkpointName(7), checkpointPartName(7, 1, 2), logFolder + "00000000000000000007.checkpoint.x.json",
		logFolder + "00000000000000000007.checkpoint.0000000002.0000000001.parquet", checkpointHint, "", logFolder,
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		file := parseLogName(name)
		switch file.kind {
		case commitFile:
			equal(t, commitName(file.version), name)
		case classicCheckpoint:
			equal(t, checkpointName(file.version), name)
		case multipartCheckpoint:
			equal(t, checkpointPartName(file.version, file.part, file.parts), name)
		case otherFile, v2Checkpoint:
		}
	})
}

// The bounds of a text are bounds, short, and text.
func FuzzTextBounds(f *testing.F) {
	for _, text := range []string{"", "a", strings.Repeat("a", 33), strings.Repeat("\U0010FFFF", 33), strings.Repeat("\uD7FF", 40), "\xff", strings.Repeat("é", 32) + "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, upper := range []bool{false, true} {
			value, ok := cutText(text, upper)
			if !ok {
				continue
			}
			bound, _ := value.(string)
			equal(t, utf8.ValidString(bound) && utf8.RuneCountInString(bound) <= maxStatisticRunes, true)
			if upper && bound < text || !upper && bound > text {
				t.Fatalf("%q is no bound of %q", bound, text)
			}
		}
	})
}

func FuzzTombstoneRetention(f *testing.F) {
	for _, interval := range []string{"interval 7 days", "interval 1 week 2 hours", "7 days", "interval", "interval -1 days", "interval 2147483647 weeks", "interval 36000 days 36000 days 36000 days"} {
		f.Add(interval)
	}
	f.Fuzz(func(t *testing.T, interval string) {
		if tombstoneRetention(interval) < 0 {
			t.Fatalf("%q is negative", interval)
		}
	})
}
