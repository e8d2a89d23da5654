package peers

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

//go:embed mlflow.txt
var mlflowRequirements string

//go:embed mlflow.py
var mlflowScript string

// ScoringServer is MLflow's own, once for each of two models: the price of a wine is a number, its taste a frame of a
// label and a score.
type ScoringServer struct {
	*server

	Price, Taste ScoredModel
	Wines        Wines
}

// ScoredModel is a model that is served.
type ScoredModel struct {
	URL    string
	Folder string // where its MLmodel is
}

// Wines are rows, a list for each column, with what both models say of them when they are asked directly.
type Wines struct {
	Sugar []*float64
	Year  []int64
	Kind  []string

	Price []float64
	Label []string
	Score []*float64 // nil is NaN
}

// StartScoringServer installs MLflow where it is not in the cache yet, trains and saves the models in folder, and serves
// each on a free port.
func StartScoringServer(ctx context.Context, folder string, rows int) (*ScoringServer, error) {
	python, err := install(ctx, "mlflow", mlflowRequirements, mlflowScript, nil)
	if err != nil {
		return nil, err
	}
	server, line, err := python.start(ctx, "MLflow scoring server", folder, strconv.Itoa(rows))
	if err != nil {
		return nil, err
	}
	started := &ScoringServer{server: server}
	if err := started.describe(folder, line); err != nil {
		_ = server.Stop() // the error below says more
		return nil, fmt.Errorf("peers: MLflow scoring server: %w", err)
	}
	return started, nil
}

// describe takes what the script says: its one line, and the rows in the folder.
func (s *ScoringServer) describe(folder, line string) error {
	var addresses struct{ Price, Taste string }
	if err := json.Unmarshal([]byte(line), &addresses); err != nil {
		return err
	}
	s.Price = ScoredModel{URL: addresses.Price, Folder: filepath.Join(folder, "price")}
	s.Taste = ScoredModel{URL: addresses.Taste, Folder: filepath.Join(folder, "taste")}
	rows, err := os.ReadFile(filepath.Join(folder, "rows.json")) //nolint:gosec // the script's own
	if err != nil {
		return err
	}
	return json.Unmarshal(rows, &s.Wines)
}
