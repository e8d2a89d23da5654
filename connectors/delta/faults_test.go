package delta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/storetest"
	"github.com/inflowhq/inflow/schemas"
)

// faultsApp records how many of a story's commits stand, each of which brings faultsRows rows.
const (
	faultsApp  = "app/m"
	faultsRows = 5
)

// Whatever operation fails, and whether it took effect or not, a commit stands whole or not at all, and what was
// said of it agrees with the table.
func TestFailEveryOperation(t *testing.T) {
	t.Parallel()
	stories := []struct {
		name    string
		before  int64 // commits of one row each before the story
		commits int64 // that the story makes
		tell    func(ctx context.Context, st store.Store) error
	}{
		{"create", 0, 0, func(ctx context.Context, st store.Store) error {
			_, err := Create(ctx, st, Definition{Schema: idsSchema()})
			return err
		}},
		{"create by appending", 0, 2, appendTwice},
		{"append and checkpoint", 1, 2, appendTwice},
		{"sink, new table", 0, 2, sinkTwice},
		{"sink, epochs side by side, and checkpoint", 1, 2, sinkBeside},
		{"checkpoint", 1, 0, func(ctx context.Context, st store.Store) error {
			table, err := Open(ctx, st)
			if err != nil {
				return err
			}
			return table.Checkpoint(ctx)
		}},
	}
	for _, story := range stories {
		begun := t.TempDir()
		for i := range story.before {
			appendTo(t, store.NewLocal(begun), &Definition{Schema: idsSchema(), Properties: map[string]string{"delta.checkpointInterval": "2"}}, ids(i, i+1))
		}
		for _, kind := range []struct{ after, lasting, ambiguous bool }{
			{false, false, false},
			{true, false, false},
			{false, true, false},
			{true, true, false},
			{false, false, true},
			{true, false, true},
			{false, true, true},
			{true, true, true},
		} {
			t.Run(fmt.Sprintf("%s %+v", story.name, kind), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					dir := t.TempDir()
					must(t, os.CopyFS(dir, os.DirFS(begun)))
					inner := store.NewLocal(dir)
					failure := errors.New("disk on fire")
					if kind.ambiguous {
						failure = &schemas.Error{Class: schemas.Ambiguous, Err: failure}
					}
					faulty := storetest.FailNth(inner, n, failure)
					faulty.AfterEffect, faulty.Lasting = kind.after, kind.lasting
					err := story.tell(t.Context(), faulty)

					stand := standing(t, inner, story.before)
					if err == nil && stand != story.commits {
						t.Fatalf("operation %d: no error, and %d of %d commits stand", n, stand, story.commits)
					}
					if err != nil && story.commits > 0 && stand == story.commits && schemas.ClassOf(err) != schemas.Ambiguous {
						t.Fatalf("operation %d: every commit stands, and yet: %v", n, err)
					}
					if files := len(listNames(t, inner, ".parquet")); !kind.lasting && schemas.ClassOf(err) != schemas.Ambiguous && int64(files) != story.before+stand {
						t.Fatalf("operation %d: %d data files for %d commits: %v", n, files, story.before+stand, err)
					}
					// The table takes the next commit.
					appendRows(t, inner, ids(100, 101))
					if !faulty.Failed() {
						must(t, err)
						return
					}
				}
			})
		}
	}
}

// standing opens the table, by its commits and by its checkpoints, and returns how many of a story's commits it holds.
func standing(t *testing.T, st store.Store, before int64) int64 {
	t.Helper()
	table, err := Open(t.Context(), st)
	if before == 0 && errors.Is(err, fs.ErrNotExist) {
		return 0 // the old state
	}
	must(t, err)
	s := table.loaded()
	rows, err := rowsOf(t.Context(), s, ScanOptions{})
	must(t, err)
	stand, _ := s.Txn(faultsApp)
	equal(t, int64(len(rows)), before+stand*faultsRows)
	listed, err := listLog(t.Context(), st, -1)
	must(t, err)
	for _, written := range listed.checkpoints {
		fromCheckpoint, fromCommits := newState("", true), newState("", true)
		must(t, readCheckpoint(t.Context(), st, fromCheckpoint, written))
		must(t, replay(t.Context(), st, fromCommits, written.version))
		equal(t, dump(t, fromCheckpoint), dump(t, fromCommits))
	}
	return stand
}

func appendTwice(ctx context.Context, st store.Store) error {
	for i := range int64(2) {
		tx, err := Begin(ctx, st, AppendOptions{Create: &Definition{Schema: idsSchema()}})
		if err != nil {
			return err
		}
		record := ids(50+i*faultsRows, 50+(i+1)*faultsRows)
		err = tx.Write(ctx, record)
		record.Release()
		if err != nil {
			return errors.Join(err, tx.Abort(ctx))
		}
		tx.SetTxn(faultsApp, i+1)
		if _, err := tx.Commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

func sinkTwice(ctx context.Context, st store.Store) (err error) {
	s, err := NewSink(ctx, st, SinkOptions{Prefix: "app/", Schema: idsSchema()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	marks, err := s.Marks(ctx)
	if err != nil {
		return err
	}
	for i := range int64(2) {
		record := ids(50+i*faultsRows, 50+(i+1)*faultsRows)
		err := s.Write(ctx, record)
		record.Release()
		if err != nil {
			return err
		}
		next := schemas.Marks{"m": i + 1}
		if err := commit(ctx, s, marks, next, nil); err != nil {
			return err
		}
		marks = next
	}
	return nil
}

// sinkBeside writes the second epoch while the first one is committed.
func sinkBeside(ctx context.Context, st store.Store) (err error) {
	s, err := NewSink(ctx, st, SinkOptions{Prefix: "app/", Schema: idsSchema()})
	if err != nil {
		return err
	}
	first := make(chan error, 1)
	first <- nil
	defer func() { err = errors.Join(err, <-first, s.Close(ctx)) }()
	marks := schemas.Marks(nil)
	for i := range int64(2) {
		record := ids(50+i*faultsRows, 50+(i+1)*faultsRows)
		err := s.Write(ctx, record)
		record.Release()
		if err != nil {
			return err
		}
		sealed, err := s.Seal(ctx)
		if err != nil {
			return err
		}
		last := <-first
		if last != nil {
			first <- nil
			return last
		}
		from, to := marks, schemas.Marks{"m": i + 1}
		go func() { first <- sealed(ctx, from, to, &schemas.Epoch{Job: "app"}) }()
		marks = to
	}
	return nil
}

// Whatever read fails, a source that is started again behind the last batch that it yielded reads every row once, and
// what it says in the meantime is the truth or an error.
func TestSourceFailsEveryOperation(t *testing.T) {
	t.Parallel()
	inner := fixture(t, "changes")
	rows := fixtureRows(t, inner)
	for n := 1; ; n++ {
		faulty := storetest.FailNth(inner, n, errors.New("disk on fire"))
		var got []string
		var marks schemas.Marks
		read := func(st store.Store) error {
			table, err := Open(t.Context(), st)
			if err != nil {
				return err
			}
			s, err := NewSource(table, SourceOptions{ChangeFeed: true, ChangeTypes: allKinds(), StartVersion: new(int64(3)), SkipLost: true, Columns: []string{"id"}})
			if err != nil {
				return err
			}
			if _, err := s.Lag(t.Context(), marks); err != nil {
				return err
			}
			for batch, err := range s.Read(t.Context(), marks) {
				if err != nil {
					return err
				}
				got, marks = append(got, lines(batch.Record)...), batch.Marks
				batch.Release()
			}
			return nil
		}
		err := read(faulty)
		equal(t, err != nil, faulty.Failed())
		if err != nil {
			contains(t, err, "disk on fire")
			must(t, read(inner))
		}
		equal(t, strings.Join(got, "\n"), strings.Join(rows, "\n"))
		if _, _, err := Epochs(t.Context(), storetest.FailNth(inner, n, errors.New("disk on fire")), "p/", 3); err != nil {
			contains(t, err, "disk on fire")
		}
		if !faulty.Failed() {
			return
		}
	}
}

func fixtureRows(t *testing.T, st store.Store) []string {
	t.Helper()
	var rows []string
	s := source(t, st, SourceOptions{ChangeFeed: true, ChangeTypes: allKinds(), StartVersion: new(int64(3)), Columns: []string{"id"}})
	for batch, err := range s.Read(t.Context(), nil) {
		must(t, err)
		rows = append(rows, lines(batch.Record)...)
		batch.Release()
	}
	equal(t, len(rows), 9)
	return rows
}
