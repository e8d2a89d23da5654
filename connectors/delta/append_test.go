package delta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

func everyType() *arrow.Schema {
	nullable := func(name string, dataType arrow.DataType) arrow.Field {
		return arrow.Field{Name: name, Type: dataType, Nullable: true}
	}
	return arrow.NewSchema([]arrow.Field{
		nullable("s", arrow.BinaryTypes.String), nullable("l", arrow.PrimitiveTypes.Int64), nullable("i", arrow.PrimitiveTypes.Int32),
		nullable("h", arrow.PrimitiveTypes.Int16), nullable("b", arrow.PrimitiveTypes.Int8), nullable("f", arrow.PrimitiveTypes.Float32),
		nullable("d", arrow.PrimitiveTypes.Float64), nullable("m", &arrow.Decimal128Type{Precision: 38, Scale: 18}),
		nullable("y", arrow.FixedWidthTypes.Boolean), nullable("x", arrow.BinaryTypes.Binary), nullable("t", arrow.FixedWidthTypes.Date32),
		nullable("u", &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}), nullable("n", &arrow.TimestampType{Unit: arrow.Microsecond}),
		nullable("st", arrow.StructOf(nullable("code", arrow.BinaryTypes.String), nullable("deep", arrow.StructOf(nullable("k", arrow.PrimitiveTypes.Int64))))),
		nullable("a", arrow.ListOf(arrow.PrimitiveTypes.Int64)), nullable("mp", arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Float64)),
	}, nil)
}

const everyRow = `[{"s":"é","l":1,"i":2,"h":3,"b":4,"f":1.5,"d":2.5,"m":"1.25","y":true,"x":"AAE=","t":"2024-02-29","u":"2024-02-29 01:02:03.123456","n":"2024-02-29 01:02:03.123456","st":{"code":"x","deep":{"k":5}},"a":[1,null],"mp":[{"key":"k","value":1.5}]},
	{"s":null,"l":null,"i":null,"h":null,"b":null,"f":null,"d":null,"m":null,"y":null,"x":null,"t":null,"u":null,"n":null,"st":null,"a":null,"mp":null},
	{"s":"b","l":-1,"i":-2,"h":-3,"b":-4,"f":-1.5,"d":-2.5,"m":"-1.25","y":false,"x":"","t":"1969-01-01","u":"1969-01-01 00:00:00.000001","n":"1969-01-01 00:00:00.000001","st":{"code":null,"deep":null},"a":[],"mp":[]}]`

func TestEveryTypeComesBack(t *testing.T) {
	t.Parallel()
	st := local(t)
	record := fromJSON(t, everyType(), everyRow)
	want := lines(record)
	appendRows(t, st, record)
	s := open(t, st)
	got, err := rowsOf(t.Context(), s, ScanOptions{})
	must(t, err)
	equal(t, strings.Join(got, "\n"), strings.Join(want, "\n"))
	equal(t, s.Protocol().MinReaderVersion, 3) // timestamp_ntz

	var stats map[string]any
	must(t, json.Unmarshal([]byte(s.Files()[0].Stats), &stats))
	text, err := json.Marshal(stats)
	must(t, err)
	equal(t, string(text), `{"maxValues":{"b":4,"d":2.5,"f":1.5,"h":3,"i":2,"l":1,"m":1.25,"n":"2024-02-29T01:02:03.124","s":"é","st":{"code":"x","deep":{"k":5}},"t":"2024-02-29","u":"2024-02-29T01:02:03.124Z"},`+
		`"minValues":{"b":-4,"d":-2.5,"f":-1.5,"h":-3,"i":-2,"l":-1,"m":-1.25,"n":"1969-01-01T00:00:00.000","s":"b","st":{"code":"x","deep":{"k":5}},"t":"1969-01-01","u":"1969-01-01T00:00:00.000Z"},`+
		`"nullCount":{"a":1,"b":1,"d":1,"f":1,"h":1,"i":1,"l":1,"m":1,"mp":1,"n":1,"s":1,"st":{"code":2,"deep":{"k":2}},"t":1,"u":1,"x":1,"y":1},"numRecords":3}`)
}

func TestTextBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 40)
	cases := []struct{ text, least, greatest string }{
		{"short", "short", "short"},
		{long, long[:32], long[:31] + "b"},
		{strings.Repeat("\U0010FFFF", 33), strings.Repeat("\U0010FFFF", 32), ""},
		{"x" + strings.Repeat("\U0010FFFF", 40), "x" + strings.Repeat("\U0010FFFF", 31), "y"},
		{strings.Repeat("\uD7FF", 33), strings.Repeat("\uD7FF", 32), strings.Repeat("\uD7FF", 31) + "\uE000"},
	}
	for _, test := range cases {
		least, _ := cutText(test.text, false)
		equal(t, least, any(test.least))
		greatest, ok := cutText(test.text, true)
		equal(t, ok, test.greatest != "")
		if ok {
			equal(t, greatest, any(test.greatest))
			equal(t, fmt.Sprint(greatest) >= test.text, true)
		}
	}
	_, ok := cutText("\xff", false)
	equal(t, ok, false)
}

// No byte of a silent column may stand in the log or in a data file outside of its pages.
func TestNoStatistics(t *testing.T) {
	t.Parallel()
	st := local(t)
	tx, err := Begin(t.Context(), st, AppendOptions{Create: &Definition{Schema: idsSchema()}, NoStatistics: []string{"TEXT"}})
	must(t, err)
	record := fromJSON(t, idsSchema(), `[{"id":1,"text":"my secret prompt"}]`)
	defer record.Release()
	must(t, tx.Write(t.Context(), record))
	_, err = tx.Commit(t.Context())
	must(t, err)
	s := open(t, st)
	equal(t, s.Files()[0].Stats, `{"numRecords":1,"minValues":{"id":1},"maxValues":{"id":1},"nullCount":{"id":0,"text":0}}`)
	equal(t, strings.Contains(read(t, st, commitName(0)), "secret"), false)
	equal(t, strings.Count(read(t, st, s.Files()[0].Name), "my secret prompt") <= 1, true)
	equal(t, s.Files()[0].Size, int64(len(read(t, st, s.Files()[0].Name))))
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	st := local(t)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "Region", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
		{Name: "m", Type: &arrow.Decimal128Type{Precision: 5, Scale: 2}, Nullable: true},
	}, nil)
	tx, err := Begin(t.Context(), st, AppendOptions{Create: &Definition{Schema: schema, PartitionBy: []string{"region", "at", "m"}}})
	must(t, err)
	rows := `[{"Region":"a/b %=é","id":1,"at":"2024-01-02 03:04:05.000006","m":"1.50"},{"Region":"a/b %=é","id":2,"at":"2024-01-02 03:04:05.000006","m":"1.50"},{"Region":null,"id":3,"at":null,"m":null},{"Region":"a/b %=é","id":4,"at":"2024-01-02 03:04:05.000006","m":"1.50"}]`
	record := fromJSON(t, schema, rows)
	defer record.Release()
	must(t, tx.Write(t.Context(), record))
	_, err = tx.Commit(t.Context())
	must(t, err)

	s := open(t, st)
	equal(t, len(s.Files()), 2)
	for _, file := range s.Files() {
		equal(t, len(file.PartitionValues), 3)
	}
	got, err := rowsOf(t.Context(), s, ScanOptions{})
	must(t, err)
	want := lines(record)
	slices.Sort(got)
	slices.Sort(want)
	equal(t, strings.Join(got, "\n"), strings.Join(want, "\n"))
	only, err := rowsOf(t.Context(), s, ScanOptions{Columns: []string{"REGION"}, BatchRows: 1})
	must(t, err)
	equal(t, len(only), 4)
}

func TestManyPartitionsStayBounded(t *testing.T) {
	t.Parallel()
	st := local(t)
	tx, err := Begin(t.Context(), st, AppendOptions{Create: &Definition{Schema: idsSchema(), PartitionBy: []string{"id"}}})
	must(t, err)
	for range 2 {
		record := ids(0, maxOpenPartitions+8)
		must(t, tx.Write(t.Context(), record))
		record.Release()
		equal(t, len(tx.files.open) <= maxOpenPartitions, true)
	}
	_, err = tx.Commit(t.Context())
	must(t, err)
	rows, err := rowsOf(t.Context(), open(t, st), ScanOptions{})
	must(t, err)
	equal(t, len(rows), 2*(maxOpenPartitions+8))
}

func TestRolling(t *testing.T) {
	t.Parallel()
	st := local(t)
	tx, err := Begin(t.Context(), st, AppendOptions{Create: &Definition{Schema: idsSchema()}})
	must(t, err)
	tx.files.target = 1
	for i := range int64(3) {
		record := ids(i, i+1)
		must(t, tx.Write(t.Context(), record))
		record.Release()
	}
	_, err = tx.Commit(t.Context())
	must(t, err)
	equal(t, len(open(t, st).Files()), 3)
}

func TestWritesRefused(t *testing.T) {
	t.Parallel()
	st := local(t)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "k", Type: arrow.PrimitiveTypes.Int64}), Nullable: true},
	}, nil)
	table, err := Create(t.Context(), st, Definition{Schema: schema})
	must(t, err)
	loose := func(name string) *arrow.Schema {
		return arrow.NewSchema([]arrow.Field{
			{Name: name, Type: arrow.PrimitiveTypes.Int64, Nullable: true},
			{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "k", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), Nullable: true},
		}, nil)
	}
	for rows, says := range map[string]string{
		`id [{"id":null,"s":null}]`:    "the column id is NOT NULL",
		`id [{"id":1,"s":{"k":null}}]`: "the column s.k is NOT NULL",
		`other [{"other":1,"s":null}]`: "the column id is NOT NULL",
		`id [{"id":1,"s":null}]`:       "",
		`id [{"id":1,"s":{"k":7}}]`:    "",
	} {
		name, data, _ := strings.Cut(rows, " ")
		tx, err := table.Append(t.Context(), AppendOptions{})
		must(t, err)
		record := fromJSON(t, loose(name), data)
		err = tx.Write(t.Context(), record)
		record.Release()
		if says != "" {
			contains(t, err, says)
			equal(t, errors.Is(err, schemas.ErrInvalid), true)
		} else {
			must(t, err)
		}
		must(t, tx.Abort(t.Context()))
	}
	equal(t, len(listNames(t, st, "")), 0)

	_, err = Create(t.Context(), st, Definition{Schema: schema})
	equal(t, errors.Is(err, fs.ErrExist), true)
	_, err = Create(t.Context(), local(t), Definition{Schema: schema, Properties: map[string]string{"delta.enableDeletionVectors": "true"}})
	refused(t, err, "delta.enableDeletionVectors")
	_, err = Create(t.Context(), local(t), Definition{Schema: schema, PartitionBy: []string{"nope"}})
	contains(t, err, `no column "nope"`)
	_, err = Begin(t.Context(), st, AppendOptions{Create: &Definition{Schema: idsSchema()}})
	contains(t, err, "text STRING is not in the table")
}

// Version 0 of a table whose log was cleaned is free, and yet there is a table.
func TestCreateOverCleanedLog(t *testing.T) {
	t.Parallel()
	st := local(t)
	cleanedTable(t, st)
	_, err := Create(t.Context(), st, Definition{Schema: idsSchema()})
	equal(t, errors.Is(err, fs.ErrExist), true)
	_, err = st.Open(t.Context(), commitName(0))
	equal(t, errors.Is(err, fs.ErrNotExist), true)
}

// An empty partition value means NULL, so a NOT NULL column cannot hold the empty text.
func TestEmptyPartitionIsNull(t *testing.T) {
	t.Parallel()
	st := local(t)
	schema := arrow.NewSchema([]arrow.Field{{Name: "p", Type: arrow.BinaryTypes.String}, {Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	tx, err := Begin(t.Context(), st, AppendOptions{Create: &Definition{Schema: schema, PartitionBy: []string{"p"}}})
	must(t, err)
	record := fromJSON(t, schema, `[{"p":"x","id":1},{"p":"","id":2}]`)
	defer record.Release()
	contains(t, tx.Write(t.Context(), record), "the column p is NOT NULL")
	// A part of the record was written: nothing of it may become visible.
	_, err = tx.Commit(t.Context())
	contains(t, err, "the column p is NOT NULL")
	equal(t, len(listNames(t, st, "")), 0)
	_, err = Open(t.Context(), st)
	equal(t, errors.Is(err, fs.ErrNotExist), true)
}

func TestColumnTwiceInARecord(t *testing.T) {
	t.Parallel()
	st := local(t)
	appendRows(t, st, ids(0, 1))
	tx, err := Begin(t.Context(), st, AppendOptions{})
	must(t, err)
	twice := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "ID", Type: arrow.PrimitiveTypes.Int64}}, nil)
	record := fromJSON(t, twice, `[{"id":1,"ID":2}]`)
	defer record.Release()
	contains(t, tx.Write(t.Context(), record), `"ID"`, "twice")
	must(t, tx.Abort(t.Context()))
}

// A column whose name has a dot in it looks like a field of a struct. Neither may get the other's bounds.
func TestStatisticsOfDottedNames(t *testing.T) {
	t.Parallel()
	st := local(t)
	number := arrow.Field{Name: "b", Type: arrow.PrimitiveTypes.Int64, Nullable: true}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "a", Type: arrow.StructOf(number), Nullable: true},
		{Name: "a.b", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil)
	appendRows(t, st, fromJSON(t, schema, `[{"a":{"b":1},"a.b":100},{"a":{"b":2},"a.b":null}]`))
	equal(t, open(t, st).Files()[0].Stats,
		`{"numRecords":2,"minValues":{"a":{"b":1},"a.b":100},"maxValues":{"a":{"b":2},"a.b":100},"nullCount":{"a":{"b":0},"a.b":1}}`)
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, winner string
		check        func(err error) bool
	}{
		{"blind append", add("other.parquet"), func(err error) bool { return err == nil }},
		{"delete", remove("other.parquet"), func(err error) bool { return err == nil }},
		{"another's txn", `{"txn":{"appId":"theirs","version":1}}`, func(err error) bool { return err == nil }},
		{"our txn", `{"txn":{"appId":"ours","version":1}}`, func(err error) bool { return errors.Is(err, schemas.ErrFenced) }},
		{"metaData", idMetadata, changed("metaData")},
		{"protocol", `{"protocol":{"minReaderVersion":1,"minWriterVersion":3}}`, changed("protocol")},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			st := local(t)
			appendRows(t, st, ids(0, 1))
			tx, err := Begin(t.Context(), st, AppendOptions{})
			must(t, err)
			record := ids(1, 2)
			defer record.Release()
			must(t, tx.Write(t.Context(), record))
			tx.SetTxn("ours", 2)
			logOf(t, st, 1, []string{sparkCommit, test.winner}, []string{add("more.parquet")})
			version, err := tx.Commit(t.Context())
			if !test.check(err) {
				t.Fatalf("%v", err)
			}
			if err == nil {
				equal(t, version, 3)
				return
			}
			equal(t, len(listNames(t, st, ".parquet")), 1) // the first commit's alone
		})
	}
}

func changed(what string) func(error) bool {
	return func(err error) bool {
		conflict, ok := errors.AsType[*ConflictError](err)
		return ok && conflict.Changed == what && conflict.Version == 1
	}
}

func TestConcurrentAppenders(t *testing.T) {
	t.Parallel()
	st := local(t)
	const writers, commits = 8, 20
	failures := make([]error, writers)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() { failures[w] = appendMany(t.Context(), st, w, commits) })
	}
	group.Wait()
	must(t, errors.Join(failures...))

	checkRace(t, st, writers, commits)
}

const racerCommits = 15

// Processes share nothing but the folder, as two runs of one job do.
func TestProcessesRace(t *testing.T) {
	t.Parallel()
	const writers = 4
	folder := t.TempDir()
	failures := make([]error, writers)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			process := exec.CommandContext(t.Context(), os.Args[0], racerArgument, folder, strconv.Itoa(w))
			if output, err := process.CombinedOutput(); err != nil {
				failures[w] = fmt.Errorf("writer %d: %w\n%s", w, err, output)
			}
		})
	}
	group.Wait()
	must(t, errors.Join(failures...))
	checkRace(t, store.NewLocal(folder), writers, racerCommits)
}

// checkRace looks for every row of every writer once, in as many versions as there were commits.
func checkRace(t *testing.T, st store.Store, writers, commits int) {
	t.Helper()
	s := open(t, st)
	equal(t, s.Version(), int64(writers*commits-1))
	rows, err := rowsOf(t.Context(), s, ScanOptions{Columns: []string{"id"}})
	must(t, err)
	equal(t, len(rows), writers*commits)
	slices.Sort(rows)
	equal(t, len(slices.Compact(rows)), writers*commits)
	for w := range writers {
		version, _ := s.Txn(fmt.Sprint("writer", w))
		equal(t, version, int64(commits-1))
	}
	equal(t, len(listNames(t, st, ".parquet")), writers*commits)
}

// appendMany appends as one of several writers, all of which may create the table.
func appendMany(ctx context.Context, st store.Store, writer, commits int) error {
	for i := range commits {
		tx, err := Begin(ctx, st, AppendOptions{Create: &Definition{Schema: idsSchema()}})
		if err != nil {
			return err
		}
		id := int64(writer*1000 + i)
		record := ids(id, id+1)
		err = tx.Write(ctx, record)
		record.Release()
		if err != nil {
			return err
		}
		tx.SetTxn(fmt.Sprint("writer", writer), int64(i))
		if _, err := tx.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lostAnswers is a store whose log entries land while the answer is lost, and whose log cannot be read then.
type lostAnswers struct {
	store.Store
	lost atomic.Bool
}

func (s *lostAnswers) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	s.lost.Store(true)
	return errors.Join(s.Store.PutIfAbsent(ctx, name, data), &schemas.Error{Class: schemas.Ambiguous, Err: errors.New("connection reset")})
}

func (s *lostAnswers) Open(ctx context.Context, name string) (store.Reader, error) {
	if s.lost.Load() {
		return nil, errors.New("connection refused")
	}
	return s.Store.Open(ctx, name)
}

// While nobody knows whether the commit stands, its data files stay: here it does stand.
func TestUnknownOutcomeKeepsFiles(t *testing.T) {
	t.Parallel()
	inner := local(t)
	appendRows(t, inner, ids(0, 1))
	tx, err := Begin(t.Context(), &lostAnswers{Store: inner}, AppendOptions{})
	must(t, err)
	record := ids(1, 3)
	defer record.Release()
	must(t, tx.Write(t.Context(), record))
	_, err = tx.Commit(t.Context())
	equal(t, schemas.ClassOf(err), schemas.Ambiguous)
	equal(t, count(t, inner), 3)
}
