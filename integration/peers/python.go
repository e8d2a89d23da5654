// Package peers installs and calls the independent implementations that Inflow is checked against: for its tables
// delta-rs, DuckDB and Arrow C++, all in one Python environment; for its questions real models behind llama.cpp,
// MLflow's scoring server and the shape of OpenAI's embeddings, each in an environment of its own; for its streams
// Apache Kafka, a schema registry and their own clients, and Bento to be measured beside.
//
// It installs them by itself into the user's cache folder, once for each pinned set of versions. A peer that
// cannot be installed is an error that names it; there is no way to go on without it.
package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

//go:embed requirements.txt
var requirements string

//go:embed peer.py
var script string

const (
	// installTimeout bounds the download and unpacking of all wheels.
	installTimeout = 10 * time.Minute
	// outputLimit bounds how much of a failed command's output an error shows.
	outputLimit = 4 << 10
)

// Python is an environment that holds the pinned peers.
type Python struct {
	folder      string
	interpreter string
	script      string
}

// Install returns the environment, and builds it first where this set of versions is not in the cache yet.
func Install(ctx context.Context) (*Python, error) {
	return install(ctx, "python", requirements, script, nil)
}

// install builds the environment of a list of requirements, once for all test binaries. more, which may be nil, is done
// with the new environment's folder before it counts as built.
func install(ctx context.Context, name, requirements, script string, more func(ctx context.Context, folder string) error) (*Python, error) {
	folder, err := once(name, requirements, func(folder string) error {
		if err := build(ctx, folder, requirements); err != nil || more == nil {
			return err
		}
		return more(ctx, folder)
	})
	if err != nil {
		return nil, err
	}
	peer := &Python{
		folder:      folder,
		interpreter: filepath.Join(folder, "venv", "bin", "python"),
		script:      filepath.Join(folder, "peer-"+fingerprint(script)+".py"),
	}
	if err := writeWhole(peer.script, script); err != nil {
		return nil, err
	}
	return peer, nil
}

// once returns the folder in the cache for a list of pinned versions, and has it filled first where nobody has.
func once(name, pins string, fill func(folder string) error) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	folder := filepath.Join(cache, "inflow-peers", name+"-"+fingerprint(pins))
	// Test binaries run side by side: one builds, the others wait for it.
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // our own cache folder
	if err != nil {
		return "", fmt.Errorf("peers: %w", err)
	}
	defer lock.Close() //nolint:errcheck // closing unlocks; nothing was written
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("peers: lock %s: %w", folder, err)
	}
	ready := filepath.Join(folder, "ready")
	if _, err := os.Stat(ready); err == nil {
		return folder, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("peers: %w", err)
	}
	if err := fill(folder); err != nil {
		return "", err
	}
	return folder, writeWhole(ready, pins)
}

// Call runs a command of peer.py with args as its JSON input and decodes its JSON output into out, which
// may be nil.
func (p *Python) Call(ctx context.Context, command string, args, out any) error {
	input, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("peers: %s: encode the arguments: %w", command, err)
	}
	cmd := exec.CommandContext(ctx, p.interpreter, "-I", p.script, command) //nolint:gosec // the environment that Install made
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("peers: %s: %w\n%s", command, err, tail(stderr.Bytes()))
	}
	if out == nil {
		return nil
	}
	decoder := json.NewDecoder(&stdout)
	decoder.UseNumber()
	if err := decoder.Decode(out); err != nil {
		return fmt.Errorf("peers: %s: decode the answer: %w", command, err)
	}
	return nil
}

// PackageIndex makes sure that apt's package lists are there, the real text that tests read.
func PackageIndex(ctx context.Context) error {
	listed, err := exec.CommandContext(ctx, "apt-cache", "pkgnames").Output()
	if err != nil {
		return fmt.Errorf("peers: Debian package index: apt-cache: %w", err)
	}
	const enough = 20_000
	if bytes.Count(listed, []byte("\n")) >= enough {
		return nil
	}
	update := exec.CommandContext(ctx, "apt-get", "update", "-q")
	if output, err := update.CombinedOutput(); err != nil {
		return fmt.Errorf("peers: Debian package index: apt-get update: %w\n%s", err, tail(output))
	}
	return nil
}

func fingerprint(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

// build installs requirement by requirement, so that a failure names the peer.
func build(ctx context.Context, folder, requirements string) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	venv := filepath.Join(folder, "venv")
	if output, err := exec.CommandContext(ctx, "python3", "-m", "venv", "--clear", venv).CombinedOutput(); err != nil { //nolint:gosec // our own cache folder
		return fmt.Errorf("peers: Python environment: python3 -m venv: %w\n%s\n  install Python 3.11 or newer with its venv module",
			err, tail(output))
	}
	for peer := range strings.Lines(requirements) {
		peer = strings.TrimSpace(peer)
		// Without dependencies: every one is pinned in the same file, and pip check below sees to it.
		install := exec.CommandContext(ctx, filepath.Join(venv, "bin", "pip"), "install", "--quiet", "--no-deps", peer) //nolint:gosec // pinned by the caller
		if output, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("peers: %s cannot be installed: %w\n%s", peer, err, tail(output))
		}
	}
	check := exec.CommandContext(ctx, filepath.Join(venv, "bin", "pip"), "check") //nolint:gosec // our own cache folder
	if output, err := check.CombinedOutput(); err != nil {
		return fmt.Errorf("peers: %s: not every dependency is pinned: %w\n%s", filepath.Base(folder), err, tail(output))
	}
	return nil
}

// writeWhole makes path hold text, never half of it, whoever else writes the same.
func writeWhole(path, text string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	_, err = temp.WriteString(text)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("peers: %w", err), os.Remove(temp.Name()))
	}
	return nil
}

func tail(output []byte) []byte {
	return bytes.TrimSpace(output[max(0, len(output)-outputLimit):])
}
