//go:build integration

package peers_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/integration/peers"
)

func TestPinsMatch(t *testing.T) {
	t.Parallel()
	lists, err := filepath.Glob("*.txt")
	if err != nil || len(lists) == 0 {
		t.Fatal(lists, err)
	}
	for _, list := range lists {
		pins, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(pins)) {
			if name, version, ok := strings.Cut(strings.TrimSpace(line), "=="); !ok || name == "" || version == "" {
				t.Errorf("%s: %q is not pinned to one version", list, line)
			}
		}
	}
}

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	python, err := peers.Install(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir() + "/rows"
	if err := python.Call(t.Context(), "rows", map[string]any{"path": path, "start": 0, "count": 10, "files": 3}, nil); err != nil {
		t.Fatal(err)
	}
	if err := python.Call(t.Context(), "clone_last", map[string]any{"path": path, "column": "id"}, nil); err != nil {
		t.Fatal(err)
	}
	var read struct{ Rows []map[string]any }
	if err := python.Call(t.Context(), "read", map[string]any{"path": path}, &read); err != nil {
		t.Fatal(err)
	}
	if len(read.Rows) != 11 {
		t.Errorf("delta-rs reads %d rows, want 11", len(read.Rows))
	}
	var answers struct{ Answers [][]map[string]json.Number }
	err = python.Call(t.Context(), "sql", map[string]any{
		"tables":     map[string]string{"rows": path},
		"statements": []string{"SELECT count(DISTINCT id) AS n FROM rows"},
	}, &answers)
	if err != nil {
		t.Fatal(err)
	}
	if got := answers.Answers[0][0]["n"].String(); got != "11" {
		t.Errorf("DuckDB counts %s ids, want 11", got)
	}
	if err := python.Call(t.Context(), "read", map[string]any{"path": path + "-nowhere"}, nil); err == nil {
		t.Error("a missing table was read")
	}
}
