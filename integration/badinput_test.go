//go:build integration

package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// badInput is one thing that is wrong before a run, and how the binary says so.
type badInput struct {
	spoil func(t *testing.T, w *workspace) // after the source is there, before the files are saved
	after func(t *testing.T, w *workspace) // after the files are saved
	code  int
	says  []string
}

// grants gives the principal privileges on the workspace's three tables and the endpoint; an empty one leaves
// the grant out.
func grants(source, results, usage, endpoint string) []any {
	out := []any{
		map[string]any{"on": "main", "principal": "etl@example.com", "privileges": []any{"USE CATALOG"}},
		map[string]any{"on": "main.test", "principal": "etl@example.com", "privileges": []any{"USE SCHEMA"}},
	}
	for _, each := range [][2]string{
		{"main.test.source", source},
		{"main.test.results", results},
		{"main.test.usage", usage},
		{"ask", endpoint},
	} {
		if each[1] != "" {
			out = append(out, map[string]any{"on": each[0], "principal": "etl@example.com", "privileges": []any{each[1]}})
		}
	}
	return out
}

func badInputs() map[string]badInput {
	set := func(value any, path ...string) func(*testing.T, *workspace) {
		return func(_ *testing.T, w *workspace) { w.set(value, path...) }
	}
	granted := func(list []any) func(*testing.T, *workspace) {
		return func(_ *testing.T, w *workspace) { w.catalog["grants"] = list }
	}
	return map[string]badInput{
		"unknown key":      {spoil: set(1, "sorce"), code: 2, says: []string{"job.yaml:", "sorce", "source"}},
		"unknown request":  {spoil: set("x", "request", "endpont"), code: 2, says: []string{"job.yaml:", "endpont", "endpoint"}},
		"wrong type":       {spoil: set("many", "limits", "concurrency"), code: 2, says: []string{"job.yaml:", "concurrency"}},
		"negative":         {spoil: set(-1, "limits", "concurrency"), code: 2, says: []string{"concurrency"}},
		"no such endpoint": {spoil: set("aks", "request", "endpoint"), code: 2, says: []string{"aks", "ask"}},
		"bad CEL":          {spoil: set("id ==", "source", "where"), code: 2, says: []string{"where"}},
		"CEL of no column": {spoil: set("idd > 1", "source", "where"), code: 2, says: []string{"where", "idd"}},
		"CEL not boolean":  {spoil: set("id + 1", "source", "where"), code: 2, says: []string{"where"}},
		"missing column":   {spoil: set([]any{"id", "txet"}, "source", "columns"), code: 2, says: []string{"txet", "text"}},
		"missing key":      {spoil: set([]any{"idd"}, "request", "key"), code: 2, says: []string{"idd", "id"}},
		"template column": {
			spoil: set([]any{map[string]any{"role": "user", "content": "{{ txet }}"}}, "request", "messages"),
			code:  2, says: []string{"txet", "text"},
		},
		"bad parameter":   {spoil: set(map[string]any{"temprature": 1}, "request", "parameters"), code: 2, says: []string{"temprature"}},
		"missing table":   {spoil: set("main.test.sorce", "source", "delta"), code: 2, says: []string{"main.test.sorce", "main.test.source"}},
		"no catalog file": {spoil: set("nowhere.yaml", "catalog", "local"), code: 2, says: []string{"nowhere.yaml"}},
		"no such folder": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			must(t, os.RemoveAll(w.path("source")))
		}, code: 2, says: []string{"main.test.source"}},
		"no _delta_log": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			must(t, os.RemoveAll(w.path("source/_delta_log")))
		}, code: 2, says: []string{"main.test.source", "_delta_log"}},
		"truncated checkpoint": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			w.peer(t, "checkpoint", map[string]any{"path": w.path("source")}, nil)
			dropCommitsBeforeCheckpoint(t, w, "source")
			truncate(t, w, "source/_delta_log", ".checkpoint.parquet")
		}, code: 2, says: []string{"main.test.source", "checkpoint.parquet"}},
		"a gap in the log": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			must(t, os.Remove(w.path("source/_delta_log/00000000000000000000.json")))
		}, code: 2, says: []string{"main.test.source"}},
		"half a commit": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			truncate(t, w, "source/_delta_log", "00000000000000000001.json")
		}, code: 2, says: []string{"main.test.source", "00000000000000000001.json"}},
		"unknown reader feature": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			const future = `{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["timeTravelToTheFuture"],"writerFeatures":["timeTravelToTheFuture"]}}`
			must(t, os.WriteFile(w.path("source/_delta_log/00000000000000000002.json"), []byte(future+"\n"), 0o600))
		}, code: 2, says: []string{"main.test.source", "timeTravelToTheFuture"}},
		"corrupt parquet": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			truncate(t, w, "source", ".parquet")
		}, code: 2, says: []string{".parquet"}},
		"missing data file": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			for path := range w.files(t, "source") {
				if strings.HasSuffix(path, ".parquet") {
					must(t, os.Remove(path))
				}
			}
		}, code: 1, says: []string{".parquet"}},
		"another table as sink": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			w.peer(t, "write", map[string]any{"path": w.path("results"), "columns": map[string]any{"other": []int{1}}}, nil)
		}, code: 2, says: []string{"main.test.results", "other"}},
		"a column named response": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			must(t, os.RemoveAll(w.path("source")))
			w.peer(t, "write", map[string]any{"path": w.path("source"), "columns": map[string]any{
				"id": []int{1}, "text": []string{"x"}, "response": []string{"y"},
			}}, nil)
		}, code: 2, says: []string{"response", "source.columns"}},
		"unwritable sink": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			must(t, os.WriteFile(w.path("file"), nil, 0o600))
			setAt(w.catalog, w.path("file/results"), "tables", "main.test.results", "location")
		}, code: 1, says: []string{"main.test.results", "file"}},
		"unwritable state": {spoil: func(t *testing.T, w *workspace) {
			t.Helper()
			must(t, os.WriteFile(w.path("file"), nil, 0o600))
			w.set("file/state", "state")
		}, code: 1, says: []string{"state", "file"}},
		"secret not set": {spoil: func(_ *testing.T, w *workspace) { w.env = nil }, code: 2, says: []string{"test/model", "MODEL_KEY"}},
		"no SELECT": {
			spoil: granted(grants("", "MODIFY", "MODIFY", "CAN QUERY")), code: 3,
			says: []string{"GRANT SELECT ON TABLE", "main.test.source", "etl@example.com"},
		},
		"no MODIFY": {
			spoil: granted(grants("SELECT", "SELECT", "MODIFY", "CAN QUERY")), code: 3,
			says: []string{"GRANT MODIFY ON TABLE", "main.test.results", "etl@example.com"},
		},
		"no MODIFY of usage": {
			spoil: granted(grants("SELECT", "MODIFY", "", "CAN QUERY")), code: 3,
			says: []string{"GRANT MODIFY ON TABLE", "main.test.usage"},
		},
		"no EXECUTE": {spoil: granted(grants("SELECT", "MODIFY", "MODIFY", "")), code: 3, says: []string{"ask", "CAN QUERY"}},
		"nothing granted": {
			spoil: granted(grants("", "", "", "")), code: 3,
			says: []string{"GRANT SELECT", "GRANT MODIFY", "main.test.source", "main.test.results", "main.test.usage", "ask"},
		},
		"not YAML": {after: func(t *testing.T, w *workspace) {
			t.Helper()
			must(t, os.WriteFile(w.path("job.yaml"), []byte("job: [\n"), 0o600))
		}, code: 2, says: []string{"job.yaml"}},
		"no job file": {after: func(t *testing.T, w *workspace) {
			t.Helper()
			must(t, os.Remove(w.path("job.yaml")))
		}, code: 2, says: []string{"job.yaml"}},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// truncate cuts every file of a folder whose name ends so in half.
func truncate(t *testing.T, w *workspace, folder, suffix string) {
	t.Helper()
	cut := 0
	for path, size := range w.files(t, folder) {
		if strings.HasSuffix(path, suffix) && (folder != "source" || filepath.Dir(path) == w.path("source")) {
			must(t, os.Truncate(path, size/2))
			cut++
		}
	}
	if cut == 0 {
		t.Fatalf("%s has no file that ends in %s", folder, suffix)
	}
}

// TestBadInput: each fault ends with its exit code and a message that names what is wrong, asks nothing and
// leaves nothing half-written.
func TestBadInput(t *testing.T) {
	t.Parallel()
	for name, test := range badInputs() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startModelServer(t)
			w := newWorkspace(t, "id", served(server.url))
			w.rows(t, 0, 20, 2)
			if test.spoil != nil {
				test.spoil(t, w)
			}
			w.save(t)
			if test.after != nil {
				test.after(t, w)
			}
			before := w.latest(t, "results")
			got := w.run(t, "run", "job.yaml")
			if got.code != test.code {
				t.Errorf("exit %d, want %d", got.code, test.code)
			}
			checkMessage(t, got, test.says)
			checkNothingWritten(t, w, before)
			if calls := server.received(t); calls > 0 && !strings.Contains(name, "parquet") && name != "missing data file" {
				t.Errorf("it asked %d times before it noticed", calls)
			}
		})
	}
}

func checkMessage(t *testing.T, got outcome, says []string) {
	t.Helper()
	for _, part := range says {
		if !strings.Contains(got.stderr, part) {
			t.Errorf("the message does not say %q:\n%s", part, got.stderr)
		}
	}
	for _, leak := range []string{"panic:", "goroutine ", "secret-of-the-test"} {
		if strings.Contains(got.stdout+got.stderr, leak) {
			t.Errorf("the output has %q in it:\n%s%s", leak, got.stdout, got.stderr)
		}
	}
}

// checkNothingWritten: no commit after version before, and no file that no commit names.
func checkNothingWritten(t *testing.T, w *workspace, before int64) {
	t.Helper()
	if now := w.latest(t, "results"); now != before {
		t.Errorf("the results went from version %d to %d", before, now)
	}
	named := map[string]bool{}
	for _, table := range []string{"results", "usage"} {
		for _, actions := range w.commits(t, table) {
			for _, line := range actions {
				if add := string(line["add"]); add != "" {
					_, rest, _ := strings.Cut(add, `"path":"`)
					path, _, _ := strings.Cut(rest, `"`)
					named[w.path(filepath.Join(table, path))] = true
				}
			}
		}
		for path := range w.files(t, table) {
			if filepath.Dir(path) != w.path(filepath.Join(table, "_delta_log")) && !named[path] {
				t.Errorf("%s is left over", path)
			} else if !strings.HasSuffix(path, ".json") && !named[path] && !strings.Contains(path, "checkpoint") {
				t.Errorf("%s is left over in the log", path)
			}
		}
	}
}

// TestFullDisk writes results to a file system of 1 MB: the run fails and says so, no half-written commit is
// left, and with room it goes on without paying twice.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	const rows = 3000
	server := startModelServer(t)
	w := newWorkspace(t, "id", served(server.url))
	w.set(map[string]any{"rows": 200}, "commit")
	w.save(t)
	w.rows(t, 0, rows, 15)
	must(t, os.Mkdir(w.path("results"), 0o700))
	release := fill(t, w)

	got := w.run(t, "run", "job.yaml")
	if got.code != 1 {
		t.Errorf("exit %d, want 1", got.code)
	}
	checkMessage(t, got, []string{"main.test.results"})
	if !strings.Contains(got.stderr, "no space left") && !strings.Contains(got.stderr, "file too large") {
		t.Errorf("the message does not say that the disk is full:\n%s", got.stderr)
	}
	checkNothingWrittenHalf(t, w)
	release()

	w.mustRun(t)
	checkExactlyOnce(t, w.results(t), rows)
	if calls := server.received(t); calls != rows {
		t.Errorf("the server was asked %d times for %d rows", calls, rows)
	}
	checkBill(t, w.usage(t), server.calls(t))
}

// fill gives the results folder a file system of 160 kB; release makes it large. It needs root.
func fill(t *testing.T, w *workspace) (release func()) {
	t.Helper()
	target := w.path("results")
	if err := syscall.Mount("tmpfs", target, "tmpfs", 0, "size=160k"); err != nil {
		t.Fatalf("mount a small file system (this test needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(target, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	})
	return func() {
		t.Helper()
		must(t, syscall.Mount("tmpfs", target, "tmpfs", syscall.MS_REMOUNT, "size=64m"))
	}
}

// checkNothingWrittenHalf: every commit is whole and every data file is one that a commit names.
func checkNothingWrittenHalf(t *testing.T, w *workspace) {
	t.Helper()
	before := w.latest(t, "results")
	checkNothingWritten(t, w, before)
	if before >= 0 {
		w.results(t) // delta-rs reads all of it
	}
}
