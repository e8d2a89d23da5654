package integration

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/inflowhq/inflow/jobs"
)

// TestExamples prepares every example as `inflow check` does: names, secrets, columns, parameters, permissions.
func TestExamples(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../examples/*/job.yaml")
	if err != nil || len(paths) < 3 {
		t.Fatalf("found %q: %v", paths, err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			t.Parallel()
			file, err := jobs.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			job, err := jobs.Prepare(t.Context(), file, jobs.Environment{
				LookupEnv: func(string) (string, bool) { return "a key", true }, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := job.Plan(t.Context()); err != nil {
				t.Error(err)
			}
			if err := job.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
