package delta

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
	"github.com/inflowhq/inflow/schemas"
)

// everyChange is what the feed of testdata/changes says by delta-rs's own reader, in our order. The table is delta-rs's
// 1.6.6: it was written, updated, deleted from, merged into, overwritten, emptied and appended to, partitioned by region.
func everyChange() []string {
	return []string{
		`0 insert {"id":1,"region":"eu","text":"a"}`,
		`0 insert {"id":3,"region":"eu","text":"c"}`,
		`0 insert {"id":2,"region":"us","text":"b"}`,
		`1 update_preimage {"id":2,"region":"us","text":"b"}`,
		`1 update_postimage {"id":2,"region":"us","text":"B"}`,
		`2 delete {"id":1,"region":"eu","text":"a"}`,
		`3 update_preimage {"id":3,"region":"eu","text":"c"}`,
		`3 update_postimage {"id":3,"region":"eu","text":"C"}`,
		`3 insert {"id":9,"region":"us","text":"n"}`,
		`4 insert {"id":20,"region":"eu","text":"ow"}`,
		`4 delete {"id":3,"region":"eu","text":"C"}`,
		`4 delete {"id":2,"region":"us","text":"B"}`,
		`4 delete {"id":9,"region":"us","text":"n"}`,
		`5 delete {"id":20,"region":"eu","text":"ow"}`,
		`6 insert {"id":30,"region":"us","text":"z"}`,
	}
}

// ofKinds leaves the changes of some kinds.
func ofKinds(changes []string, kinds ...string) []string {
	var out []string
	for _, change := range changes {
		for _, kind := range kinds {
			if strings.Fields(change)[1] == kind {
				out = append(out, change)
			}
		}
	}
	return out
}

// behindBatch has the marks of a batch and how many rows were read by then.
type behindBatch struct {
	marks schemas.Marks
	rows  int
}

// feed reads changes from marks.
func feed(t *testing.T, s *Source, from schemas.Marks) (changes []string, marks []behindBatch) {
	t.Helper()
	for batch, err := range s.Read(t.Context(), from) {
		must(t, err)
		columns := make([]arrow.Array, 0, 3)
		for _, field := range s.Schema().Fields() {
			if field.Name[0] != '_' {
				continue
			}
			columns = append(columns, batch.Record.Column(s.Schema().FieldIndices(field.Name)[0]))
		}
		plain := make([]arrow.Field, 0, 3)
		values := make([]arrow.Array, 0, 3)
		for i, field := range s.Schema().Fields() {
			if field.Name[0] != '_' {
				plain, values = append(plain, field), append(values, batch.Record.Column(i))
			}
		}
		record := newRecord(plain, values, batch.Record.NumRows())
		for i, line := range lines(record) {
			equal(t, columns[1].ValueStr(i), fmt.Sprint(batch.Version))
			changes = append(changes, fmt.Sprintf("%s %s %s", columns[1].ValueStr(i), columns[0].ValueStr(i), line))
			if !batch.Oldest.IsZero() {
				equal(t, columns[2].ValueStr(i), batch.Oldest.Format("2006-01-02 15:04:05.999Z"))
			}
		}
		record.Release()
		marks = append(marks, behindBatch{batch.Marks, len(changes)})
		batch.Release()
	}
	return changes, marks
}

func fixture(t *testing.T, name string) store.Store {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS("testdata/"+name)))
	return store.NewLocal(dir)
}

func allKinds() []string {
	return []string{ChangeInsert, ChangeUpdateBefore, ChangeUpdateAfter, ChangeDelete}
}

// The feed is what delta-rs reads of it, at every batch size and from every row on, whatever kinds are asked for.
func TestChangeFeedOfDeltaRS(t *testing.T) {
	t.Parallel()
	st := fixture(t, "changes")
	options := func(batchRows int, kinds ...string) SourceOptions {
		return SourceOptions{ChangeFeed: true, ChangeTypes: kinds, BatchRows: batchRows, StartVersion: new(int64(0))}
	}
	for _, kinds := range [][]string{allKinds(), {ChangeInsert, ChangeUpdateAfter}, {ChangeDelete}, {ChangeUpdateBefore}, {ChangeInsert}} {
		want := ofKinds(everyChange(), kinds...)
		for _, batchRows := range []int{1, 3} {
			whole, marks := feed(t, source(t, st, options(batchRows, kinds...)), nil)
			equal(t, strings.Join(whole, "\n"), strings.Join(want, "\n"))
			equal(t, marks[len(marks)-1].marks[MarkVersion], 6)
			for _, from := range marks {
				rest, _ := feed(t, source(t, st, options(4-batchRows, kinds...)), from.marks)
				equal(t, strings.Join(rest, "\n"), strings.Join(want[from.rows:], "\n"))
			}
		}
	}
	byDefault, _ := feed(t, source(t, st, SourceOptions{ChangeFeed: true, StartVersion: new(int64(0))}), nil)
	equal(t, strings.Join(byDefault, "\n"), strings.Join(ofKinds(everyChange(), ChangeInsert, ChangeUpdateAfter), "\n"))
}

// The same position holds in every selection: marks count changes before they are selected.
func TestChangeMarksDoNotDependOnTheSelection(t *testing.T) {
	t.Parallel()
	st := fixture(t, "changes")
	from := schemas.Marks{MarkSnapshot: -1, MarkVersion: 3, MarkRow: 1}
	for _, test := range []struct {
		kinds []string
		want  string
	}{
		{allKinds(), `3 update_postimage {"id":3,"region":"eu","text":"C"}`},
		{[]string{ChangeInsert}, `3 insert {"id":9,"region":"us","text":"n"}`},
		{[]string{ChangeUpdateBefore}, ""},
		{[]string{ChangeDelete}, `4 delete {"id":3,"region":"eu","text":"C"}`},
	} {
		got, _ := feed(t, source(t, st, SourceOptions{ChangeFeed: true, ChangeTypes: test.kinds}), from)
		equal(t, strings.Join(got[:min(len(got), 1)], ""), test.want)
	}
}

// Without marks the whole table comes first, as inserts.
func TestChangeFeedBeginsWithTheTable(t *testing.T) {
	t.Parallel()
	st := fixture(t, "changes")
	s := source(t, st, SourceOptions{ChangeFeed: true, Columns: []string{"_change_type", "text"}})
	names := make([]string, 0, 4)
	for _, field := range s.Schema().Fields() {
		names = append(names, field.Name)
	}
	equal(t, strings.Join(names, " "), "_change_type text _commit_version _commit_timestamp")
	for batch, err := range s.Read(t.Context(), nil) {
		must(t, err)
		equal(t, strings.Join(lines(batch.Record), ""), `{"_change_type":"insert","_commit_timestamp":"2026-11-25 12:39:43.312Z","_commit_version":6,"text":"z"}`)
		equal(t, batch.Oldest.IsZero(), true)
		equal(t, batch.Marks.String(), "row=1 snapshot=6 version=6")
		batch.Release()
	}
}

// Rows that are left say where they stand in their file.
func TestChangePlaces(t *testing.T) {
	t.Parallel()
	st := fixture(t, "changes")
	for batch, err := range source(t, st, SourceOptions{ChangeFeed: true}).Read(t.Context(), schemas.Marks{MarkSnapshot: -1, MarkVersion: 1, MarkRow: 0}) {
		must(t, err)
		if batch.Version == 1 {
			equal(t, batch.Record.NumRows(), 1)
			equal(t, batch.Place(0), 1)
			equal(t, batch.Offset, 1)
			equal(t, strings.HasPrefix(batch.Partition, "_change_data/region=us/"), true)
		}
		batch.Release()
	}
}

func TestChangeCounts(t *testing.T) {
	t.Parallel()
	st := fixture(t, "changes")
	at := func(version int64) schemas.Marks {
		return schemas.Marks{MarkSnapshot: -1, MarkVersion: version, MarkRow: 0}
	}
	for _, test := range []struct {
		kinds         []string
		version, want int64
	}{
		{allKinds(), 0, 15}, {nil, 0, -1}, {nil, 4, 2}, {[]string{ChangeDelete}, 4, 5}, // an insert stands before deletes
	} {
		total, done, err := source(t, st, SourceOptions{ChangeFeed: true, ChangeTypes: test.kinds}).Count(t.Context(), at(test.version))
		must(t, err)
		equal(t, fmt.Sprint(total, done), fmt.Sprint(test.want, 0))
	}
	lag, err := source(t, st, SourceOptions{ChangeFeed: true}).Lag(t.Context(), at(2))
	must(t, err)
	equal(t, lag["table"], 6) // of versions 2 and 3 all, of the others the inserts
}

// What nobody asks for may be vacuumed: removed files are opened for deletes only.
func TestChangeFeedNeedsNoRemovedFiles(t *testing.T) {
	t.Parallel()
	st := fixture(t, "changes")
	live := open(t, st).Files()[0].Name
	for _, name := range listNames(t, st, ".parquet") {
		if name != live && !strings.HasPrefix(name, "_change_data/") && !strings.Contains(read(t, st, commitName(4)), `"add":{"path":"`+name) {
			must(t, st.Delete(t.Context(), name))
		}
	}
	after := schemas.Marks{MarkSnapshot: -1, MarkVersion: 1, MarkRow: 0}
	got, _ := feed(t, source(t, st, SourceOptions{ChangeFeed: true}), after)
	equal(t, len(got), 5)
	logOf(t, st, 7, []string{strings.Replace(remove("gone"), `"dataChange"`, aVector+`"dataChange"`, 1)})
	got, _ = feed(t, source(t, st, SourceOptions{ChangeFeed: true}), after)
	equal(t, len(got), 5)
	for _, err := range source(t, st, SourceOptions{ChangeFeed: true, ChangeTypes: []string{ChangeDelete}}).Read(t.Context(), schemas.Marks{MarkSnapshot: -1, MarkVersion: 4, MarkRow: 0}) {
		if err != nil {
			failure, ok := errors.AsType[*schemas.Error](err)
			equal(t, ok && failure.Code == "files_vacuumed", true)
			return
		}
	}
	t.Fatal("no error")
}

const aVector = `"deletionVector":{"storageType":"i","pathOrInlineDv":"x","sizeInBytes":1,"cardinality":1},`

// A follower of the feed knows of each version whether the table kept one.
func TestFollowChanges(t *testing.T) {
	t.Parallel()
	written := fixture(t, "changes")
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS("testdata/changes")))
	st := store.NewLocal(dir)
	for version := int64(1); version <= 6; version++ {
		must(t, st.Delete(t.Context(), commitName(version)))
	}
	f := follow(t, source(t, st, SourceOptions{ChangeFeed: true, ChangeTypes: allKinds(), Follow: true, PollMax: 5 * time.Millisecond, Columns: []string{"id"}}), nil)
	rows := 0
	for version := range int64(7) {
		if version > 0 {
			put(t, st, commitName(version), read(t, written, commitName(version)))
		}
		for _, change := range everyChange() {
			if change[0] != byte('0'+version) {
				continue
			}
			if rows == 0 {
				got, batch := f.next(t)
				equal(t, batch.Version, version)
				rows = strings.Count(got, "_change_type")
			}
			rows--
		}
		equal(t, rows, 0)
	}
	var metadata string
	for line := range strings.SplitSeq(read(t, written, commitName(0)), "\n") {
		if strings.Contains(line, "metaData") {
			metadata = line
		}
	}
	put(t, st, commitName(7), strings.Join([]string{strings.Replace(metadata, `"true"`, `"false"`, 1), remove("a"), add("b")}, "\n"))
	contains(t, <-f.ended, "version 7 (a commit without a name) changed rows", "delta.enableChangeDataFeed")
	f.stop()
}

func TestChangeFeedRefuses(t *testing.T) {
	t.Parallel()
	enabled := strings.Replace(idMetadata, `"configuration":{}`, `"configuration":{"delta.enableChangeDataFeed":"true"}`, 1)
	cases := []struct {
		name   string
		kinds  []string
		commit []string
		says   []string
	}{
		{"no feed", nil, []string{strings.Replace(sparkCommit, "WRITE", "MERGE", 1), remove("a"), add("b")}, []string{"version 1 (MERGE) changed rows", "delta.enableChangeDataFeed"}},
		{"the feed is switched off with it", nil, []string{sparkCommit, idMetadata, remove("a"), add("b")}, []string{"version 1 (WRITE) changed rows"}},
		{"an add with a deletion vector", nil, []string{strings.Replace(add("b"), `"dataChange"`, aVector+`"dataChange"`, 1)}, []string{"deletionVectors", "file b"}},
		{"a remove with a deletion vector", allKinds(), []string{strings.Replace(remove("b"), `"dataChange"`, aVector+`"dataChange"`, 1)}, []string{"deletionVectors", "removed file b"}},
		{"a file without change types", nil, []string{`{"cdc":{"path":"_change_data/ids.parquet","partitionValues":{},"size":1,"dataChange":false}}`}, []string{"version 1", "_change_data/ids.parquet", "change type"}},
		{"a missing file", nil, []string{`{"cdc":{"path":"_change_data/gone.parquet","partitionValues":{},"size":1,"dataChange":false}}`}, []string{"_change_data/gone.parquet", "vacuumed or deleted"}},
		{"a path outside", nil, []string{`{"cdc":{"path":"../x.parquet","partitionValues":{},"size":1,"dataChange":false}}`}, []string{"version 1", "does not name a file"}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := local(t)
			metadata := enabled
			if test.name == "no feed" {
				metadata = idMetadata
			}
			logOf(t, st, 0, []string{protocol12, metadata}, test.commit)
			putRows(t, st, "_change_data/ids.parquet", ids(0, 2))
			var failure error
			for batch, err := range source(t, st, SourceOptions{ChangeFeed: true, ChangeTypes: test.kinds}).Read(t.Context(), schemas.Marks{MarkSnapshot: 0, MarkVersion: 0, MarkRow: 0}) {
				if failure = err; err == nil {
					batch.Release()
				}
			}
			contains(t, failure, test.says...)
		})
	}

	st := local(t)
	logOf(t, st, 0, []string{protocol12, strings.Replace(idMetadata, `\"id\"`, `\"_Commit_Version\"`, 1)})
	table, err := Open(t.Context(), st)
	must(t, err)
	_, err = NewSource(table, SourceOptions{ChangeFeed: true})
	contains(t, err, "_commit_version of its own")
	st = local(t)
	appendRows(t, st, ids(0, 1))
	table, err = Open(t.Context(), st)
	must(t, err)
	for says, options := range map[string]SourceOptions{
		`no change type "upsert"`: {ChangeFeed: true, ChangeTypes: []string{"upsert"}},
		"no change type is":       {ChangeFeed: true, ChangeTypes: []string{}},
		"without a change feed":   {ChangeTypes: []string{ChangeInsert}},
		"give one of them":        {StartVersion: new(int64(1)), StartTimestamp: time.Now()},
		"no version -2":           {StartVersion: new(int64(-2))},
	} {
		_, err := NewSource(table, options)
		contains(t, err, says)
	}
}

// putRows writes a data file that no commit names yet.
func putRows(t *testing.T, st store.Store, name string, record arrow.Record) {
	t.Helper()
	defer record.Release()
	var out bytes.Buffer
	writer, err := parquet.NewWriter(&out, record.Schema(), parquet.WriterOptions{})
	must(t, err)
	must(t, writer.Write(record))
	_, err = writer.Close()
	must(t, err)
	put(t, st, name, out.String())
}

// Every kind of column comes through the selection.
func TestChangeFeedOfEveryType(t *testing.T) {
	t.Parallel()
	st := local(t)
	table, err := Create(t.Context(), st, Definition{Schema: everyType()})
	must(t, err)
	rows := strings.NewReplacer(
		`[{"s":"é"`, `[{"_change_type":"update_preimage","s":"é"`, `{"s":null`, `{"_change_type":"update_postimage","s":null`, `{"s":"b"`, `{"_change_type":"insert","s":"b"`,
	).Replace(everyRow)
	fields := append(everyType().Fields(), arrow.Field{Name: ColumnChangeType, Type: arrow.BinaryTypes.String})
	changed := fromJSON(t, arrow.NewSchema(fields, nil), strings.Replace(rows, `{"_change_type":"insert"`, `{"_change_type":"delete"},{"_change_type":"insert"`, 1))
	whole := lines(changed)
	putRows(t, st, "_change_data/c.parquet", changed)
	logOf(t, st, 1, []string{sparkCommit, `{"cdc":{"path":"_change_data/c.parquet","partitionValues":{},"size":1,"dataChange":false}}`})
	_, err = table.Snapshot(t.Context())
	must(t, err)
	s, err := NewSource(table, SourceOptions{ChangeFeed: true})
	must(t, err)
	var got []string
	for batch, err := range s.Read(t.Context(), schemas.Marks{MarkSnapshot: 0, MarkVersion: 0, MarkRow: 0}) {
		must(t, err)
		got = append(got, lines(batch.Record)...)
		equal(t, batch.Record.Column(batch.Record.Schema().FieldIndices("x")[0]).NullN(), 1)
		equal(t, fmt.Sprint(batch.Offsets, batch.Marks), "[1 3] row=4 snapshot=0 version=1")
		batch.Release()
	}
	stamp := `"_commit_timestamp":"2020-04-27 06:23:06.154Z","_commit_version":1,`
	for i, row := range []int{1, 3} {
		kind, rest, _ := strings.Cut(whole[row][1:], ",")
		// Arrow's JSON has an empty binary without a buffer as null.
		equal(t, strings.Replace(got[i], `"x":null`, `"x":""`, i), "{"+kind+","+stamp+rest)
	}
}

// A commit without a name and time has changes without a time.
func TestChangesOfAnAnonymousCommit(t *testing.T) {
	t.Parallel()
	st := local(t)
	logOf(t, st, 0, []string{protocol12, idMetadata}, []string{add("ids.parquet")})
	putRows(t, st, "ids.parquet", ids(0, 2))
	got, _ := drain(t, source(t, st, SourceOptions{ChangeFeed: true}), schemas.Marks{MarkSnapshot: 0, MarkVersion: 0, MarkRow: 0})
	equal(t, got[1], `1 ids.parquet 1 {"_change_type":"insert","_commit_timestamp":null,"_commit_version":1,"id":1}`)
}

// Where a table keeps inCommitTimestamp it is the time of a commit, and not what the writer's clock said.
func TestCommitTime(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"commitInfo":{"timestamp":2000}}`:                                      "1970-01-01T00:00:02Z",
		`{"commitInfo":{"timestamp":2000,"inCommitTimestamp":1000}}`:             "1970-01-01T00:00:01Z",
		`{"commitInfo":{"operation":"WRITE"}}`:                                   "0001-01-01T00:00:00Z",
		`{"commitInfo":{"timestamp":"yesterday","inCommitTimestamp":{"a":"b"}}}`: "0001-01-01T00:00:00Z",
	} {
		action, err := decodeAction([]byte(line))
		must(t, err)
		equal(t, action.CommitInfo.Time().Format(time.RFC3339), want)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	st := local(t)
	begun := time.UnixMilli(1_700_000_000_000)
	for i := range int64(12) {
		tx, err := Begin(t.Context(), st, AppendOptions{Create: &Definition{Schema: idsSchema()}}, WithClock(func() time.Time { return begun.Add(time.Duration(i) * time.Hour) }))
		must(t, err)
		record := ids(i, i+1)
		must(t, tx.Write(t.Context(), record))
		record.Release()
		_, err = tx.Commit(t.Context())
		must(t, err)
	}
	for version := range int64(3) {
		must(t, st.Delete(t.Context(), commitName(version)))
	}
	hours := func(n float64) time.Time { return begun.Add(time.Duration(n * float64(time.Hour))) }
	cases := []struct {
		name    string
		options SourceOptions
		rows    int
		first   string // marks
		says    []string
	}{
		{"a version", SourceOptions{StartVersion: new(int64(7))}, 5, "row=1 snapshot=-1 version=7", nil},
		{"the first version", SourceOptions{StartVersion: new(int64(3))}, 9, "row=1 snapshot=-1 version=3", nil},
		{"latest", SourceOptions{StartVersion: new(StartLatest)}, 0, "row=0 snapshot=-1 version=12", nil},
		{"the next one", SourceOptions{StartVersion: new(int64(12))}, 0, "row=0 snapshot=-1 version=12", nil},
		{"too early", SourceOptions{StartVersion: new(int64(2))}, 0, "", []string{"main.t", "no longer holds what version 2 brought", "begins at version 3", "start at version 3 or later, or without"}},
		{"too late", SourceOptions{StartVersion: new(int64(13))}, 0, "", []string{"no version 13 to start at", "the table is at 11"}},
		{"a time", SourceOptions{StartTimestamp: hours(5.5)}, 6, "row=1 snapshot=-1 version=6", nil},
		{"a commit's time", SourceOptions{StartTimestamp: hours(5)}, 7, "row=1 snapshot=-1 version=5", nil},
		{"a time to come", SourceOptions{StartTimestamp: hours(12)}, 0, "row=0 snapshot=-1 version=12", nil},
		{"a time before the log", SourceOptions{StartTimestamp: hours(2)}, 0, "", []string{"was committed since 2023-11-15T00:13:20Z", "begins at version 3"}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.options.Name = "main.t"
			if test.says != nil {
				var failure error
				for _, err := range source(t, st, test.options).Read(t.Context(), nil) {
					failure = err
				}
				contains(t, failure, test.says...)
				return
			}
			rows, marks := drain(t, source(t, st, test.options), nil)
			equal(t, len(rows), test.rows)
			equal(t, marks[0].String(), test.first)
			again, said := drain(t, source(t, st, SourceOptions{}), marks[len(marks)-1])
			equal(t, len(again)+len(said), 0)
		})
	}
	// The log of a new table reaches back to its beginning, whatever the time.
	young := local(t)
	appendRows(t, young, ids(0, 1))
	rows, _ := drain(t, source(t, young, SourceOptions{StartTimestamp: begun}), nil)
	equal(t, len(rows), 1)
	// What comes after latest is read from there.
	_, marks := drain(t, source(t, young, SourceOptions{StartVersion: new(StartLatest)}), nil)
	appendRows(t, young, ids(1, 3))
	rows, _ = drain(t, source(t, young, SourceOptions{}), marks[0])
	equal(t, len(rows), 2)
}

// Files that VACUUM took and versions that log cleanup took stop a reader, or are passed over with a warning.
func TestLost(t *testing.T) {
	t.Parallel()
	build := func(t *testing.T) store.Store {
		t.Helper()
		st := local(t)
		for i := range int64(12) {
			appendRows(t, st, ids(2*i, 2*i+2))
		}
		return st
	}
	at := func(snapshot, version, row int64) schemas.Marks {
		return schemas.Marks{MarkSnapshot: snapshot, MarkVersion: version, MarkRow: row}
	}
	vacuum := func(t *testing.T, st store.Store, versions ...int64) {
		t.Helper()
		for _, version := range versions {
			for action, err := range readCommit(t.Context(), st, version) {
				must(t, err)
				if action.Add != nil {
					must(t, st.Delete(t.Context(), action.Add.Path))
				}
			}
		}
	}
	clean := func(t *testing.T, st store.Store, before int64) {
		t.Helper()
		for version := range before {
			must(t, st.Delete(t.Context(), commitName(version)))
		}
	}
	cases := []struct {
		name   string
		from   schemas.Marks
		damage func(t *testing.T, st store.Store)
		code   string
		says   []string
		rows   int // with SkipLost
		warns  []string
	}{
		{
			"a file of a version", at(0, 5, 0), func(t *testing.T, st store.Store) { t.Helper(); vacuum(t, st, 7) }, "files_vacuumed",
			[]string{"version 7", "vacuumed", "new job name", "fail_on_data_loss: false", "delta.deletedFileRetentionDuration"},
			12,
			[]string{"version=7", "files=1", "known_rows=2"},
		},
		{
			"the rest of a file", at(0, 7, 1), func(t *testing.T, st store.Store) { t.Helper(); vacuum(t, st, 7) }, "files_vacuumed",
			[]string{"version 7"},
			8,
			[]string{"version=7", "known_rows=1"},
		},
		{
			"files of a snapshot", at(4, 4, 0), func(t *testing.T, st store.Store) { t.Helper(); vacuum(t, st, 1, 2) }, "files_vacuumed",
			[]string{"version 4"},
			20,
			[]string{"version=4", "files=2", "known_rows=4"},
		},
		{
			"a file of a snapshot, half read", at(4, 4, 1), func(t *testing.T, st store.Store) {
				t.Helper()
				table, err := Open(t.Context(), st)
				must(t, err)
				snapshot, err := table.SnapshotAt(t.Context(), 4)
				must(t, err)
				must(t, st.Delete(t.Context(), snapshot.Files()[0].Name))
			}, "files_vacuumed", []string{"version 4"}, 22, []string{"version=4", "files=1", "known_rows=1"},
		},
		{
			"the log", at(0, 5, 1), func(t *testing.T, st store.Store) { t.Helper(); clean(t, st, 10) }, "log_cleaned_away",
			[]string{"version 5", "begins at 10", "new job name", "fail_on_data_loss: false", "delta.logRetentionDuration"},
			4,
			[]string{"first_version=5", "last_version=9"},
		},
		{
			"the log of a snapshot", at(4, 4, 1), func(t *testing.T, st store.Store) { t.Helper(); clean(t, st, 10) }, "log_cleaned_away",
			[]string{"version 4"},
			4,
			[]string{"first_version=4", "last_version=9"},
		},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := build(t)
			test.damage(t, st)
			for _, options := range []SourceOptions{{}, {Follow: true}} {
				var failure error
				for batch, err := range source(t, st, options).Read(t.Context(), test.from) {
					if failure = err; err == nil {
						batch.Release()
					}
				}
				contains(t, failure, test.says...)
				classified, ok := errors.AsType[*schemas.Error](failure)
				equal(t, ok && classified.Code == test.code && classified.Class == schemas.Fatal, true)
				equal(t, isNotExist(failure), false) // there is a table
			}
			var log bytes.Buffer
			s := source(t, st, SourceOptions{SkipLost: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			rows, marks := drain(t, s, test.from)
			equal(t, len(rows), test.rows)
			equal(t, marks[len(marks)-1][MarkVersion], 11)
			contains(t, errors.New(log.String()), test.warns...)
			for i, from := range marks {
				rest, after := drain(t, source(t, st, SourceOptions{SkipLost: true}), from)
				equal(t, strings.Join(rest, "\n"), strings.Join(rows[len(rows)-len(rest):], "\n"))
				equal(t, fmt.Sprint(after), fmt.Sprint(marks[i+1:]))
			}
			total, _, err := s.Count(t.Context(), test.from)
			must(t, err)
			equal(t, total >= int64(test.rows), true)
		})
	}
}
