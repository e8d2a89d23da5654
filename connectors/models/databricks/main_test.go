package databricks_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain waits longer for goroutines than goleak alone: what the SDK began for a caller who gave up ends by itself, but
// in its own time, which is seconds on a busy machine.
func TestMain(m *testing.M) {
	code := m.Run()
	var leak error
	for range 30 {
		if leak = goleak.Find(); leak == nil {
			break
		}
	}
	if leak != nil && code == 0 {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // here it is the main of the test binary
}
