package peers

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed bento.mod
var bentoModules string

// bentoProgram is Bento with the components that carry records from Kafka to Parquet files. Its own binary has those of
// forty other systems too, which is only more to compile.
const bentoProgram = `package main

import (
	"context"

	_ "github.com/warpstreamlabs/bento/public/components/io"
	_ "github.com/warpstreamlabs/bento/public/components/kafka"
	_ "github.com/warpstreamlabs/bento/public/components/pure"
	_ "github.com/warpstreamlabs/bento/public/components/pure/extended"
	"github.com/warpstreamlabs/bento/public/service"
)

func main() { service.RunCLI(context.Background()) }
`

// Bento is the stream processor that Inflow's stream is measured beside.
type Bento struct {
	// Path is its binary.
	Path string
}

// BentoStream is what Bento is to do: to write a topic of tickets to Parquet files.
type BentoStream struct {
	Brokers, Topic string
	Group          string // commits its offsets once a second, and when it stops
	Folder         string // takes the files, and must exist
	// A file has so many records of one partition, fewer where BatchAge passes first.
	BatchRows int
	BatchAge  time.Duration
}

// InstallBento builds Bento where it is not in the cache yet.
func InstallBento(ctx context.Context) (*Bento, error) {
	folder, err := once("bento", bentoModules+bentoProgram, func(folder string) error {
		if err := writeWhole(filepath.Join(folder, "go.mod"), bentoModules); err != nil {
			return err
		}
		if err := writeWhole(filepath.Join(folder, "main.go"), bentoProgram); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, installTimeout)
		defer cancel()
		// Every module's version is in go.mod; -mod=mod lets go write down the sums that it checks them by.
		compile := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", "bento", ".")
		compile.Dir = folder
		compile.Env = append(compile.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		if output, err := compile.CombinedOutput(); err != nil {
			return fmt.Errorf("peers: Bento cannot be built: %w\n%s", err, tail(output))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Bento{Path: filepath.Join(folder, "bento")}, nil
}

// WriteConfig writes the file that `bento -c` reads for this stream.
func (s *BentoStream) WriteConfig(path string) error {
	column := func(name, kind string) map[string]any { return map[string]any{"name": name, "type": kind} }
	config := map[string]any{
		"http":    map[string]any{"enabled": false},
		"logger":  map[string]any{"level": "WARN"},
		"metrics": map[string]any{"none": map[string]any{}},
		"input": map[string]any{"kafka_franz": map[string]any{
			"seed_brokers":   []string{s.Brokers},
			"topics":         []string{s.Topic},
			"consumer_group": s.Group,
			"commit_period":  "1s",
			// So many records of a partition may be under way: one batch that fills and one that is written.
			"checkpoint_limit": 2 * s.BatchRows,
			"batching":         map[string]any{"count": s.BatchRows, "period": s.BatchAge.String()},
		}},
		"pipeline": map[string]any{"processors": []any{map[string]any{"parquet_encode": map[string]any{
			"default_compression": "zstd",
			"default_encoding":    "PLAIN",
			"schema": []any{
				column("ticket_id", "INT64"), column("subject", "UTF8"), column("body", "UTF8"),
				column("amount", "DOUBLE"), column("urgent", "BOOLEAN"),
			},
		}}}},
		"output": map[string]any{"file": map[string]any{
			"path":  filepath.Join(s.Folder, "${! uuid_v4() }.parquet"),
			"codec": "all-bytes",
		}},
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("peers: Bento: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("peers: Bento: %w", err)
	}
	return nil
}
