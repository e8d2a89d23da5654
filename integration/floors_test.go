// Package integration tests the house as a whole: its floors, and the built binary against real peers.
package integration

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/inflowhq/inflow/"

// mayImport says, for each folder, which of the house's other folders it may import. It is the table of
// docs/design/house.md.
func mayImport() map[string][]string {
	return map[string][]string{
		"schemas":     {},
		"connectors":  {"schemas"},
		"catalog":     {"schemas"},
		"pipeline":    {"schemas"},
		"jobs":        {"schemas", "connectors", "catalog", "pipeline"},
		"cmd":         {"schemas", "connectors", "catalog", "pipeline", "jobs"},
		"integration": {"schemas", "connectors", "catalog", "pipeline", "jobs"},
	}
}

// TestFloors asks the Go tool who imports whom. The linter enforces the same on files; this sees what it does
// not: every build tag, and connectors that import each other.
func TestFloors(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-tags", "integration", "-f",
		`{{.ImportPath}} {{range .Imports}}{{.}} {{end}}{{range .TestImports}}{{.}} {{end}}`, "./...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from, ok := strings.CutPrefix(fields[0], module)
		if !ok {
			t.Errorf("%s stands at the top of the house", fields[0])
			continue
		}
		floor := folder(from)
		allowed, known := mayImport()[floor]
		if !known {
			t.Errorf("%s: there is no floor for it", from)
		}
		seen[floor] = true
		for _, imported := range fields[1:] {
			to, ours := strings.CutPrefix(imported, module)
			if !ours {
				continue
			}
			if floor != folder(to) && !slices.Contains(allowed, folder(to)) {
				t.Errorf("%s imports %s: %s may import only %v", from, to, floor, allowed)
			}
			if floor == "connectors" && folder(to) == "connectors" && system(from) != system(to) && system(to) != "store" {
				t.Errorf("%s imports %s: one outside system knows no other", from, to)
			}
		}
	}
	for floor := range mayImport() {
		if !seen[floor] {
			t.Errorf("no package in %s: is this the whole house?", floor)
		}
	}
}

// folder is the first step of a path, system the second.
func folder(path string) string { return strings.Split(path, "/")[0] }

func system(path string) string {
	steps := strings.Split(path, "/")
	if len(steps) < 2 {
		return ""
	}
	return steps[1]
}
