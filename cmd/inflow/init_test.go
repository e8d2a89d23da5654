package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestInitRunsAsItIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := workspace{filepath.Join(dir, "my job")}
	golden(t, dir, ends(t, exitDone, "init", w.dir).stdout, `wrote DIR/my job/job.yaml, DIR/my job/catalog.yaml and a Delta table of reviews in DIR/my job/data/reviews

Next: inflow check 'DIR/my job/job.yaml'  is everything right?
      inflow plan 'DIR/my job/job.yaml'   rows, tokens, dollars, time
      inflow run 'DIR/my job/job.yaml'    again and again: only new rows are asked
`)
	for _, command := range []string{"check", "plan", "run", "run"} {
		ends(t, exitDone, command, w.job())
	}
	if rows := w.rows(t, starterResults); len(rows) != 40 {
		t.Errorf("%d rows, want 40", len(rows))
	}
}

func TestInitInJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got := decode[map[string]string](t, ends(t, exitDone, "init", "-o", "json", dir).stdout)
	for key, name := range map[string]string{"job": starterJob, "catalog": starterCatalog, "table": starterTable} {
		if got[key] != filepath.Join(dir, name) {
			t.Errorf("%s is %q", key, got[key])
		}
		if _, err := os.Stat(got[key]); err != nil {
			t.Error(err)
		}
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{starterJob, starterCatalog, starterRows, starterTable} {
		w := workspace{t.TempDir()}
		if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.path(name), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		out := ends(t, exitUsage, "init", w.dir)
		contains(t, out.stderr, w.path(name)+" is there already and is not overwritten", "inflow init DIR")
		if w.read(t, name) != "mine" {
			t.Errorf("%s was changed", name)
		}
		files, err := os.ReadDir(w.dir)
		if err != nil || len(files) != 1 {
			t.Errorf("beside %s there is now: %v %v", name, files, err)
		}
	}
}
