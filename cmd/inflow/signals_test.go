package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// process is the program in a process of its own.
type process struct {
	*exec.Cmd
	stdout bytes.Buffer
	stderr *bufio.Reader
}

func launch(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), self, args...)}
	p.Env = []string{asBinary + "=1", "OPENAI_API_KEY=" + theKey}
	p.Stdout = &p.stdout
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stderr = bufio.NewReader(stderr)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// awaitLine reads stderr up to a line that holds part.
func (p *process) awaitLine(t *testing.T, part string) {
	t.Helper()
	for {
		line, err := p.stderr.ReadString('\n')
		if err != nil {
			t.Fatalf("stderr ended without %q: %v", part, err)
		}
		if strings.Contains(line, part) {
			return
		}
	}
}

func (p *process) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

// end waits for the process and returns the rest of stderr.
func (p *process) end(t *testing.T) string {
	t.Helper()
	var rest bytes.Buffer
	if _, err := rest.ReadFrom(p.stderr); err != nil {
		t.Fatal(err)
	}
	if _, exited := errors.AsType[*exec.ExitError](p.Wait()); !exited && p.ProcessState == nil {
		t.Fatal("it never ran")
	}
	return rest.String()
}

// holding answers only once it is let go; a call that comes in is told to arrived.
func holding(arrived chan<- struct{}, letGo <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that a client is gone
		select {
		case arrived <- struct{}{}:
		default:
		}
		select {
		case <-letGo:
			friendly(w, r)
		case <-r.Context().Done():
		}
	}
}

func TestInterruptDrainsAndResumes(t *testing.T) {
	t.Parallel()
	arrived, letGo := make(chan struct{}, 1), make(chan struct{})
	server := newModelServer(t, holding(arrived, letGo))
	w := asking(t, server)
	p := launch(t, "run", w.job())
	<-arrived
	p.signal(t, os.Interrupt)
	p.awaitLine(t, "stopping: calls on the wire have 30 s to finish; Ctrl-C again ends at once")
	close(letGo)
	rest := p.end(t)
	if code := p.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit %d, want %d\n%s", code, exitInterrupted, rest)
	}
	contains(t, rest, "inflow: interrupted: ", "to resume: inflow run "+w.job())
	if strings.Contains(rest, "stopping") {
		t.Errorf("it says twice that it stops:\n%s", rest)
	}
	answered := server.calls.Load()
	if answered == 0 || answered > 16 {
		t.Errorf("%d calls, want those on the wire", answered)
	}
	ends(t, exitDone, "run", w.job())
	if calls := server.calls.Load(); calls != 40 {
		t.Errorf("%d calls, want 40: none twice", calls)
	}
	if rows := w.rows(t, starterResults); len(rows) != 40 {
		t.Errorf("%d rows, want 40", len(rows))
	}
}

func TestInterruptInJSON(t *testing.T) {
	t.Parallel()
	arrived, letGo := make(chan struct{}, 1), make(chan struct{})
	w := asking(t, newModelServer(t, holding(arrived, letGo)))
	p := launch(t, "run", "-o", "json", w.job())
	<-arrived
	p.signal(t, syscall.SIGTERM)
	p.awaitLine(t, `"msg":"stopping: `)
	close(letGo)
	rest := p.end(t)
	contains(t, rest, `"exit_code":130}`)
	for line := range strings.Lines(rest) {
		decode[map[string]any](t, line)
	}
	if got := decode[shownRun](t, p.stdout.String()); got.OK || got.Invocations == 0 {
		t.Errorf("got %+v", got)
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1)
	w := asking(t, newModelServer(t, holding(arrived, nil)))
	p := launch(t, "run", w.job())
	<-arrived
	p.signal(t, os.Interrupt)
	p.awaitLine(t, "stopping")
	p.signal(t, syscall.SIGTERM)
	p.end(t)
	status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended with %v, want the signal", p.ProcessState)
	}
}

// A run whose output nobody reads any more has still paid for its answers.
func TestARunOutlivesItsReader(t *testing.T) {
	t.Parallel()
	arrived, letGo := make(chan struct{}, 1), make(chan struct{})
	w := asking(t, newModelServer(t, holding(arrived, letGo)))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "run", "-v", w.job())
	cmd.Env = []string{asBinary + "=1", "OPENAI_API_KEY=" + theKey}
	cmd.Stdout, cmd.Stderr = write, write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if err := errors.Join(read.Close(), write.Close()); err != nil {
		t.Fatal(err)
	}
	close(letGo)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if rows := w.rows(t, starterResults); len(rows) != 40 {
		t.Errorf("%d rows, want 40", len(rows))
	}
}
