//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/integration/modelserver/chatserver"
	"github.com/inflowhq/inflow/integration/peers"
)

// runTimeout bounds one run of the binary; what takes longer hangs.
const runTimeout = 3 * time.Minute

// TestMain builds the binaries and installs the peers once. What cannot be built or installed fails the suite.
func TestMain(m *testing.M) {
	os.Exit(testMain(m)) //nolint:forbidigo // here it is the main of the test binary
}

func testMain(m *testing.M) int {
	ctx := context.Background()
	if err := prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	code := m.Run()
	if err := os.RemoveAll(binFolder()); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	return code
}

func prepare(ctx context.Context) error {
	if err := os.MkdirAll(binFolder(), 0o700); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", binFolder()+"/", "../cmd/inflow", "./modelserver")
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, output)
	}
	if _, err := peers.Install(ctx); err != nil {
		return err
	}
	return peers.PackageIndex(ctx)
}

// binFolder is where this process's binaries are.
func binFolder() string {
	return filepath.Join(os.TempDir(), "inflow-integration-"+strconv.Itoa(os.Getpid()))
}

// workspace is a folder with a local catalog and a job, as a user would have them.
type workspace struct {
	dir     string
	python  *peers.Python
	job     map[string]any
	catalog map[string]any
	env     []string // for the binary, beside PATH and HOME
}

// newWorkspace writes nothing yet: change job and catalog, then save. The job asks the endpoint `ask` about
// every row of ./source, keyed by `key`, and writes ./results and ./usage.
func newWorkspace(t *testing.T, key string, entity map[string]any) *workspace {
	t.Helper()
	python, err := peers.Install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := &workspace{dir: t.TempDir(), python: python, env: []string{"MODEL_KEY=secret-of-the-test"}}
	w.catalog = map[string]any{
		"principal": "etl@example.com",
		"tables": map[string]any{
			"main.test.source":  map[string]any{"location": w.path("source")},
			"main.test.results": map[string]any{"location": w.path("results")},
			"main.test.usage":   map[string]any{"location": w.path("usage")},
		},
		"endpoints": []any{map[string]any{
			"name":   "ask",
			"config": map[string]any{"served_entities": []any{entity}},
		}},
		"secrets": map[string]any{"test/model": map[string]any{"env": "MODEL_KEY"}},
	}
	w.job = map[string]any{
		"job":     "ask",
		"catalog": map[string]any{"local": "catalog.yaml"},
		"source":  map[string]any{"delta": "main.test.source"},
		"request": map[string]any{
			"endpoint": "ask",
			"key":      []any{key},
			"messages": []any{
				map[string]any{"role": "system", "content": "Answer with a label."},
				map[string]any{"role": "user", "content": "[key={{ " + key + " }}] {{ text }}"},
			},
			"parameters": map[string]any{"temperature": 0, "max_tokens": 50},
			"timeout":    "20s",
		},
		"limits": map[string]any{"concurrency": 16},
		"sink":   map[string]any{"delta": "main.test.results"},
		"audit":  map[string]any{"usage": "main.test.usage"},
	}
	return w
}

// served is a served entity that stands for the model server at url.
func served(url string) map[string]any {
	return map[string]any{
		"name": "mini",
		"external_model": map[string]any{
			"name": "gpt-4o-mini", "provider": "openai", "task": "llm/v1/chat",
			"openai_config": map[string]any{"openai_api_key": "{{secrets/test/model}}", "openai_api_base": url},
		},
	}
}

// embedded is a served entity that stands for a model inside the binary.
func embedded(model string) map[string]any {
	return map[string]any{"name": model, "entity_name": "embedded/" + model}
}

func (w *workspace) path(name string) string { return filepath.Join(w.dir, name) }

// set changes the job at a path of keys, making what is missing: set(5, "limits", "concurrency").
func (w *workspace) set(value any, path ...string) { setAt(w.job, value, path...) }

func setAt(at map[string]any, value any, path ...string) {
	for _, key := range path[:len(path)-1] {
		next, ok := at[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[key] = next
		}
		at = next
	}
	at[path[len(path)-1]] = value
}

// save writes job.yaml and catalog.yaml.
func (w *workspace) save(t *testing.T) {
	t.Helper()
	for name, value := range map[string]any{"job.yaml": w.job, "catalog.yaml": w.catalog} {
		text, err := yaml.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.path(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// peer calls a command of peers/peer.py.
func (w *workspace) peer(t *testing.T, command string, args map[string]any, out any) {
	t.Helper()
	if err := w.python.Call(t.Context(), command, args, out); err != nil {
		t.Fatal(err)
	}
}

// rows lets delta-rs append rows start to start+count-1, of columns id and text, in so many commits.
func (w *workspace) rows(t *testing.T, start, count, files int) {
	t.Helper()
	w.peer(t, "rows", map[string]any{"path": w.path("source"), "start": start, "count": count, "files": files}, nil)
}

// command is the binary, about to run in the workspace with nothing of the tester's environment.
func (w *workspace) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(binFolder(), "inflow"), args...)
	cmd.Dir = w.dir
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + w.dir}, w.env...)
	return cmd
}

// outcome is how a run ended.
type outcome struct {
	code           int // -1: killed by a signal
	stdout, stderr string
	peakRSS        int64 // bytes
}

// run runs the binary to its end.
func (w *workspace) run(t *testing.T, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	p := w.begin(ctx, t, args...)
	got := p.wait(t)
	if ctx.Err() != nil {
		t.Fatalf("inflow %v has not ended after %s\n%s", args, runTimeout, got.stderr)
	}
	return got
}

// mustRun runs the job and fails the test unless it is done.
func (w *workspace) mustRun(t *testing.T) outcome {
	t.Helper()
	got := w.run(t, "run", "job.yaml")
	if got.code != 0 {
		t.Fatalf("inflow run: exit %d\n%s\n%s", got.code, got.stdout, got.stderr)
	}
	return got
}

// process is a run that has begun.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{}
	err            error
}

func (w *workspace) begin(ctx context.Context, t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: w.command(ctx, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

// over reports whether the process has ended.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) wait(t *testing.T) outcome {
	t.Helper()
	<-p.ended
	if _, exited := errors.AsType[*exec.ExitError](p.err); p.err != nil && !exited {
		t.Fatal(p.err)
	}
	got := outcome{code: p.cmd.ProcessState.ExitCode(), stdout: p.stdout.String(), stderr: p.stderr.String()}
	if usage, ok := p.cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		got.peakRSS = usage.Maxrss << 10
	}
	return got
}

// signal sends a signal; a process that has ended already is fine.
func (p *process) signal(t *testing.T, which os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(which); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// modelServer is a model server in its own process.
type modelServer struct {
	url, ledger string
}

func startModelServer(t *testing.T, args ...string) *modelServer {
	t.Helper()
	s := &modelServer{ledger: filepath.Join(t.TempDir(), "server.jsonl")}
	// Not t.Context(): the server is to outlive the test's last use of it and to be stopped by the cleanup.
	cmd := exec.Command(filepath.Join(binFolder(), "modelserver"), append([]string{"-ledger", s.ledger}, args...)...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Errorf("modelserver: %v", err)
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal("modelserver: ", err)
	}
	s.url = strings.TrimSpace(line)
	return s
}

// calls is the server's ledger so far.
func (s *modelServer) calls(t *testing.T) []*chatserver.Call {
	t.Helper()
	calls, err := chatserver.ReadLedger(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	return calls
}

// received counts the calls so far without decoding them.
func (s *modelServer) received(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(s.ledger)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(data, []byte(`"event":"received"`))
}

// until polls for a condition of another process, and fails the test where it does not come.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ticks := time.NewTicker(2 * time.Millisecond)
	defer ticks.Stop()
	for !condition() {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatalf("%s: it never came to that", what)
		}
	}
}

// pause waits.
func pause(t *testing.T, howLong time.Duration) {
	t.Helper()
	timer := time.NewTimer(howLong)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// files lists every file below the workspace's folder name, with its size.
func (w *workspace) files(t *testing.T, name string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	err := filepath.WalkDir(w.path(name), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err == nil {
			found[path] = info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// action is one line of a commit.
type action map[string]json.RawMessage

// commits reads the JSON commits of a table that are there, by version.
func (w *workspace) commits(t *testing.T, table string) map[int64][]action {
	t.Helper()
	found := map[int64][]action{}
	for path := range w.files(t, filepath.Join(table, "_delta_log")) {
		version, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(path), ".json"), 10, 64)
		if err != nil {
			continue // a checkpoint, a checksum
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(file)
		for {
			var line action
			if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			found[version] = append(found[version], line)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// latest is the newest version of a table, -1 where there is none.
func (w *workspace) latest(t *testing.T, table string) int64 {
	t.Helper()
	newest := int64(-1)
	for version := range maps.Keys(w.commits(t, table)) {
		newest = max(newest, version)
	}
	return newest
}
