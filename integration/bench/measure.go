package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/inflowhq/inflow/integration/modelserver/chatserver"
)

// measured is what one process took for its rows.
type measured struct {
	rows    int
	seconds float64
	cpu     time.Duration // user and system
	rss     int64         // peak, bytes
}

func (m measured) rate() float64      { return float64(m.rows) / m.seconds }
func (m measured) cpuPerRow() float64 { return float64(m.cpu.Microseconds()) / float64(m.rows) }

func byMemory(a, b measured) int { return cmp.Compare(a.rss, b.rss) }

// median is the run of median speed.
func median(runs []measured) measured {
	sorted := slices.SortedFunc(slices.Values(runs), func(a, b measured) int { return cmp.Compare(a.seconds, b.seconds) })
	return sorted[len(sorted)/2]
}

// server is the model server of this process.
type server struct {
	url   string
	http  *http.Server
	ended chan error
	first atomic.Int64 // when the first call since it was 0 came, in Unix nanoseconds
}

func startServer(ctx context.Context, options chatserver.Options) (*server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + listener.Addr().String() + "/v1", ended: make(chan error, 1)}
	answer := chatserver.New(options, nil)
	s.http = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.first.CompareAndSwap(0, time.Now().UnixNano())
		answer.ServeHTTP(w, r)
	})}
	go func() { s.ended <- s.http.Serve(listener) }()
	return s, nil
}

func (s *server) close() {
	_ = s.http.Close() // the calls are over
	<-s.ended
}

// bare runs the bare loop.
func (*config) bare(ctx context.Context, url string, rows, concurrency int) (measured, error) {
	self, err := os.Executable()
	if err != nil {
		return measured{}, err
	}
	cmd := exec.CommandContext(ctx, self, "bare", "-url", url, "-rows", strconv.Itoa(rows), "-concurrency", strconv.Itoa(concurrency)) //nolint:gosec // ourselves
	out, m, err := call(cmd)
	if err != nil {
		return m, err
	}
	m.rows = rows
	m.seconds, err = strconv.ParseFloat(strings.TrimSpace(out), 64)
	return m, err
}

// inflow runs the binary on a table, from an empty state, and sees that all is there in the end. Where profile is not
// empty, a CPU profile is written there.
func (c *config) inflow(ctx context.Context, url, table string, rows, concurrency int, profile string) (measured, error) {
	dir, err := os.MkdirTemp(c.dir, "run-")
	if err != nil {
		return measured{}, err
	}
	if err := writeJob(dir, url, table, concurrency); err != nil {
		return measured{}, err
	}
	args := []string{"run", "-o", "json", filepath.Join(dir, "job.yaml")}
	if profile != "" {
		args = append(args, "--cpuprofile", profile)
	}
	cmd := exec.CommandContext(ctx, c.binary, args...) //nolint:gosec // the binary under test
	cmd.Env = append(os.Environ(), "BENCH_KEY=none")
	out, m, err := call(cmd)
	if err != nil {
		return m, err
	}
	var summary struct {
		Committed   int     `json:"committed"`
		Invocations int     `json:"invocations"`
		Errors      int     `json:"errors"`
		Seconds     float64 `json:"seconds"`
	}
	if err := json.Unmarshal([]byte(out), &summary); err != nil {
		return m, err
	}
	if summary.Committed != rows || summary.Invocations != rows || summary.Errors != 0 {
		return m, fmt.Errorf("of %d rows %d were committed, with %d calls and %d errors",
			rows, summary.Committed, summary.Invocations, summary.Errors)
	}
	m.rows, m.seconds = rows, summary.Seconds
	return m, os.RemoveAll(dir)
}

func writeJob(dir, url, table string, concurrency int) error {
	catalog := map[string]any{
		"principal": "bench@example.com",
		"secrets":   map[string]any{"bench/key": map[string]any{"env": "BENCH_KEY"}},
		"endpoints": []any{map[string]any{"name": "ask", "config": map[string]any{"served_entities": []any{map[string]any{
			"name": "mini", "external_model": map[string]any{
				"name": "gpt-4o-mini", "provider": "openai", "task": "llm/v1/chat",
				"openai_config": map[string]any{"openai_api_key": "{{secrets/bench/key}}", "openai_api_base": url},
			},
		}}}}},
	}
	job := map[string]any{
		"job": "bench", "catalog": map[string]any{"local": "catalog.yaml"},
		"source": map[string]any{"delta": table},
		"request": map[string]any{
			"endpoint": "ask", "key": []string{"id"}, "parameters": map[string]any{"temperature": 0, "max_tokens": 50},
			"messages": []any{map[string]any{"role": "user", "content": "{{ text }}"}},
		},
		"limits": map[string]any{"concurrency": concurrency},
		"sink":   map[string]any{"delta": "./results"},
		"audit":  map[string]any{"usage": "./usage"},
	}
	for name, value := range map[string]any{"job.yaml": job, "catalog.yaml": catalog} {
		data, err := json.MarshalIndent(value, "", "  ") // JSON is YAML
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// call runs a command to its end and returns its standard output and what it took.
func call(cmd *exec.Cmd) (string, measured, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", measured{}, fmt.Errorf("%s: %w\n%s", cmd, err, stderr.String())
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return "", measured{}, errors.New("the system does not say what a process took")
	}
	return stdout.String(), measured{
		cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), rss: usage.Maxrss << 10,
	}, nil
}
