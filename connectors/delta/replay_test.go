package delta

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
)

func names(s *Snapshot) string {
	var out []string
	for _, file := range s.Files() {
		out = append(out, file.Name)
	}
	return strings.Join(out, " ")
}

// A history as Spark writes it, then one as delta-rs does, with actions and fields that nobody here knows.
func TestHistoriesOfOthers(t *testing.T) {
	t.Parallel()
	st := local(t)
	logOf(t, st, 0,
		[]string{sparkCommit, protocol12, idMetadata, add("part-00000-c6ba.c000.snappy.parquet"), add("b%20c/p=a%253Db/part-1.parquet")},
		[]string{
			`{"commitInfo":{"timestamp":1,"operation":"MERGE","operationMetrics":{"execution_time_ms":5,"nested":{"a":[1]}},"clientVersion":"delta-rs.0.21.0","readVersion":7}}`,
			`{"txn":{"appId":"stream","version":3,"lastUpdated":1}}`, `{"cdc":{"path":"_change_data/x","partitionValues":{},"size":1,"dataChange":false}}`,
			`{"somethingNew":{"a":1}}`, remove("back.parquet"), remove("part-00000-c6ba.c000.snappy.parquet"),
			`{"add":{"path":"part-2.parquet","partitionValues":{},"size":1,"modificationTime":0,"dataChange":true,"stats":null,"newField":{},"tags":null}}`,
		},
		[]string{add("back.parquet"), `{"txn":{"appId":"stream","version":4}}`, `{"txn":{"appId":"other","version":9}}`, ""},
	)
	put(t, st, logFolder+"_staged_commits/00000000000000000003.uuid.json", "garbage")
	put(t, st, logFolder+"00000000000000000002.crc", "garbage")
	put(t, st, logFolder+"00000000000000000000.00000000000000000002.compacted.json", "garbage")

	s := open(t, st)
	equal(t, s.Version(), 2)
	equal(t, names(s), "b c/p=a%3Db/part-1.parquet back.parquet part-2.parquet")
	equal(t, len(s.state.removed), 1) // what came back is no tombstone
	version, ok := s.Txn("stream")
	equal(t, version, 4)
	equal(t, ok, true)

	older, err := s.table.SnapshotAt(t.Context(), 0)
	must(t, err)
	equal(t, names(older), "b c/p=a%3Db/part-1.parquet part-00000-c6ba.c000.snappy.parquet")
	_, err = s.table.SnapshotAt(t.Context(), 3)
	contains(t, err, "no version 3 yet", "at 2")

	var history []string
	for commit, err := range s.table.History(t.Context()) {
		must(t, err)
		history = append(history, fmt.Sprintf("%d %s +%d -%d rows %d %s", commit.Version, commit.Operation, commit.FilesAdded, commit.FilesRemoved, commit.RowsAdded, commit.EngineInfo))
	}
	equal(t, strings.Join(history, "\n"), "2  +1 -0 rows 2 \n1 MERGE +1 -2 rows -1 \n0 WRITE +2 -0 rows 4 Apache-Spark/3.5.0 Delta-Lake/3.2.0")
}

func TestNoTable(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), local(t), WithLocation("/data/x"))
	contains(t, err, "no _delta_log in /data/x: not a Delta table")
	equal(t, errors.Is(err, fs.ErrNotExist), true)
}

// Every damaged log says what is missing, and none of them looks like an absent table, which a sink would create.
func TestDamagedLogs(t *testing.T) {
	t.Parallel()
	whole := []string{protocol12, idMetadata, add("a.parquet")}
	cases := map[string]struct {
		build func(t *testing.T, st store.Store)
		says  string
	}{
		"gap": {func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 0, whole)
			logOf(t, st, 2, []string{add("b.parquet")})
		}, "version 1 is missing"},
		"no beginning": {func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 3, []string{add("b.parquet")})
		}, "version 0 is missing"},
		"hint alone": {func(t *testing.T, st store.Store) {
			t.Helper()
			put(t, st, checkpointHint, `{"version":10,"size":1}`)
		}, "the log holds no version"},
		"corrupt hint alone": {func(t *testing.T, st store.Store) {
			t.Helper()
			put(t, st, checkpointHint, `{"version":`)
		}, "the log holds no version"},
		"part of a checkpoint alone": {func(t *testing.T, st store.Store) {
			t.Helper()
			put(t, st, checkpointPartName(10, 1, 2), "PAR1")
		}, "the log holds no version"},
		"V2 checkpoint alone": {func(t *testing.T, st store.Store) {
			t.Helper()
			put(t, st, logFolder+"00000000000000000010.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json", "{}")
		}, "v2Checkpoint"},
		"V2 checkpoint behind which the log was cleaned": {func(t *testing.T, st store.Store) {
			t.Helper()
			put(t, st, logFolder+"00000000000000000010.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet", "PAR1")
			put(t, st, checkpointHint, `{"version":10,"size":1}`)
			logOf(t, st, 10, whole, whole)
		}, "v2Checkpoint"},
		"two actions on one line": {func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 0, append(whole, strings.TrimSuffix(add("b.parquet"), "}")+","+remove("a.parquet")[1:]))
		}, "00000000000000000000.json line 4: 2 actions"},
		"cut JSON": {func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 0, whole, []string{`{"add":{"path":"b.par`})
		}, "00000000000000000001.json line 1"},
		"empty commit": {func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 0, whole, nil)
		}, "00000000000000000001.json is empty"},
		"no protocol": {func(t *testing.T, st store.Store) { t.Helper(); logOf(t, st, 0, []string{idMetadata}) }, "no protocol"},
		"no metadata": {func(t *testing.T, st store.Store) { t.Helper(); logOf(t, st, 0, []string{protocol12}) }, "no metaData"},
		"foreign file": {func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 0, append(whole, add("s3://other/x.parquet")))
		}, "lies outside"},
		"climbing out": {func(t *testing.T, st store.Store) { t.Helper(); logOf(t, st, 0, append(whole, add("../x.parquet"))) }, "inside the table"},
		"escaped climbing": {func(t *testing.T, st store.Store) {
			t.Helper()
			logOf(t, st, 0, append(whole, add("%2E%2E/x.parquet")))
		}, "inside the table"},
		"truncated and alone": {truncated(false), "checkpoint"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := local(t)
			test.build(t, st)
			_, err := Open(t.Context(), st, WithLocation("s3://bucket/table"))
			contains(t, err, test.says)
			equal(t, errors.Is(err, fs.ErrNotExist), false)
		})
	}
}

func TestAbsolutePathsInside(t *testing.T) {
	t.Parallel()
	for location, path := range map[string]string{
		"s3://bucket/table":  "s3a://bucket/table/a%20b.parquet",
		"/data/table":        "file:///data/table/a%20b.parquet",
		"file:/data/table/":  "/data/table/a%20b.parquet",
		"abfss://c@acc/tab":  "abfss://c@acc/tab/a%20b.parquet",
		"file:///data/table": "file:/data/table/a%20b.parquet",
		"/data/my table%":    "file:///data/my%20table%25/a%20b.parquet",
		"s3://b/my%20table":  "s3://b/my%20table/a%20b.parquet",
	} {
		name, err := resolvePath(path, location)
		must(t, err)
		equal(t, name, "a b.parquet")
	}
	_, err := resolvePath("/data/table2/x", "/data/table")
	contains(t, err, "outside")
}

// truncated writes twenty commits with a checkpoint at 10, cuts the checkpoint, and deletes the commits before it
// unless they are kept.
func truncated(keep bool) func(t *testing.T, st store.Store) {
	return func(t *testing.T, st store.Store) {
		t.Helper()
		for range 12 {
			appendRows(t, st, ids(0, 2))
		}
		put(t, st, checkpointName(10), read(t, st, checkpointName(10))[:400])
		if !keep {
			for version := range int64(10) {
				must(t, st.Delete(t.Context(), commitName(version)))
			}
		}
	}
}

func read(t *testing.T, st store.Store, name string) string {
	t.Helper()
	reader, err := st.Open(t.Context(), name)
	must(t, err)
	defer func() { must(t, reader.Close()) }()
	data, err := io.ReadAll(io.NewSectionReader(reader, 0, reader.Size()))
	must(t, err)
	return string(data)
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, st store.Store){
		"as written":      func(*testing.T, store.Store) {},
		"without hint":    func(t *testing.T, st store.Store) { t.Helper(); must(t, st.Delete(t.Context(), checkpointHint)) },
		"corrupt hint":    func(t *testing.T, st store.Store) { t.Helper(); put(t, st, checkpointHint, `{"version":`) },
		"stale hint":      func(t *testing.T, st store.Store) { t.Helper(); put(t, st, checkpointHint, `{"version":3,"size":1}`) },
		"hint too far":    func(t *testing.T, st store.Store) { t.Helper(); put(t, st, checkpointHint, `{"version":99,"size":1}`) },
		"hint past table": func(t *testing.T, st store.Store) { t.Helper(); put(t, st, checkpointHint, `{"version":11,"size":1}`) },
		"cut": func(t *testing.T, st store.Store) {
			t.Helper()
			put(t, st, checkpointName(10), read(t, st, checkpointName(10))[:400])
		},
		"empty": func(t *testing.T, st store.Store) { t.Helper(); put(t, st, checkpointName(10), "") },
		"multi-part, incomplete": func(t *testing.T, st store.Store) {
			t.Helper()
			put(t, st, checkpointPartName(11, 1, 2), read(t, st, checkpointName(10)))
		},
		"cleaned log": func(t *testing.T, st store.Store) {
			t.Helper()
			for version := range int64(11) {
				must(t, st.Delete(t.Context(), commitName(version)))
			}
		},
		"multi-part": func(t *testing.T, st store.Store) {
			t.Helper()
			put(t, st, checkpointPartName(10, 1, 2), read(t, st, checkpointName(10)))
			put(t, st, checkpointPartName(10, 2, 2), read(t, st, checkpointName(10)))
			for version := range int64(11) {
				must(t, st.Delete(t.Context(), commitName(version)))
			}
			must(t, st.Delete(t.Context(), checkpointName(10)))
		},
	}
	cases["multi-part, by kinds of action"] = func(t *testing.T, st store.Store) {
		t.Helper()
		split(t, st, checkpointName(10), checkpointPartName(10, 1, 2), "protocol", "metaData", "txn")
		split(t, st, checkpointName(10), checkpointPartName(10, 2, 2), "add", "remove")
		for version := range int64(11) {
			must(t, st.Delete(t.Context(), commitName(version)))
		}
		must(t, st.Delete(t.Context(), checkpointName(10)))
		sink(t, st, "p/") // which reads no adds
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := local(t)
			for i := range int64(13) {
				appendRows(t, st, ids(2*i, 2*i+2))
			}
			before := open(t, st)
			damage(t, st)
			after := open(t, st)
			equal(t, after.Version(), 12)
			equal(t, names(after), names(before))
			rows, err := rowsOf(t.Context(), after, ScanOptions{Columns: []string{"id"}})
			must(t, err)
			slices.Sort(rows)
			equal(t, len(slices.Compact(rows)), 26)
		})
	}
}

// split writes a file that has some of a checkpoint's columns.
func split(t *testing.T, st store.Store, from, to string, columns ...string) {
	t.Helper()
	reader, err := st.Open(t.Context(), from)
	must(t, err)
	defer func() { must(t, reader.Close()) }()
	file, err := parquet.Open(reader)
	must(t, err)
	object, err := st.Create(t.Context(), to)
	must(t, err)
	var writer *parquet.Writer
	for record, err := range file.Read(t.Context(), columns, 0, 1000) {
		must(t, err)
		if writer == nil {
			writer, err = parquet.NewWriter(object, record.Schema(), parquet.WriterOptions{})
			must(t, err)
		}
		must(t, writer.Write(record))
		record.Release()
	}
	_, err = writer.Close()
	must(t, err)
	must(t, object.Commit(t.Context()))
}

// A checkpoint keeps everything that the log said and that is not expired.
func TestCheckpointKeepsEverything(t *testing.T) {
	t.Parallel()
	st := local(t)
	protocol := `{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors","domainMetadata","appendOnly"]}}`
	logOf(t, st, 0,
		[]string{protocol, strings.Replace(idMetadata, `"configuration":{}`, `"configuration":{"delta.deletedFileRetentionDuration":"interval 36500 days","x":"y"}`, 1), add("v.parquet")},
		[]string{
			vectorAdd, remove("v.parquet"), `{"txn":{"appId":"a/b","version":5,"lastUpdated":6}}`,
			`{"domainMetadata":{"domain":"d","configuration":"{}","removed":false}}`, `{"domainMetadata":{"domain":"gone","configuration":"{}","removed":true}}`,
		},
	)
	table, err := Open(t.Context(), st)
	must(t, err)
	before := table.loaded()
	must(t, table.Checkpoint(t.Context()))
	for version := range int64(2) {
		must(t, st.Delete(t.Context(), commitName(version)))
	}
	after := open(t, st)
	equal(t, after.Version(), 1)
	equal(t, dump(t, after.state), dump(t, before.state))
	equal(t, len(after.state.removed), 1)
	_, err = rowsOf(t.Context(), after, ScanOptions{})
	contains(t, err, "deletionVectors", "v.parquet")
}

func dump(t *testing.T, s *state) string {
	t.Helper()
	var actions []Action
	for action := range s.checkpointActions(time.UnixMilli(0)) {
		actions = append(actions, action)
	}
	data, err := encodeActions(actions)
	must(t, err)
	return string(data)
}
