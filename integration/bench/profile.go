package main

import (
	"cmp"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// share is one line of the table: a stage of a row's way, and the functions below which its time is spent. The
// innermost one of a stack counts.
type share struct {
	name string
	of   []string
}

func shares() []share {
	return []share{
		{"HTTP: sockets and net/http", []string{"net/http.", "net.", "internal/poll.", "inflow/connectors/models/wire."}},
		{"provider: encode, decode", []string{"inflow/connectors/models/openai."}},
		{"ledger: Pebble, fsync", []string{"cockroachdb/pebble", "cockroachdb/", "inflow/pipeline/ledger.", "fxamacker/cbor"}},
		{"source: read Parquet", []string{"inflow/connectors/delta.(*scan)", "inflow/connectors/delta.(*Source)", "inflow/connectors/store/parquet.(*File)"}},
		{"results and usage: write Parquet, commit", []string{
			"inflow/connectors/delta.(*Sink)", "inflow/connectors/delta.(*Append)", "inflow/connectors/store/parquet.(*Writer)",
			"inflow/schemas.(*UsageBuilder)", "inflow/schemas.(*ResultBuilder)", "inflow/pipeline.(*audit)", "inflow/pipeline.(*committer)", "parquet-go",
		}},
		{"engine: render, hash, limits, windows", []string{"inflow/pipeline", "inflow/schemas."}},
		{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.bgsweep", "runtime.bgscavenge"}},
		{"scheduler", []string{"runtime.mcall", "runtime.schedule", "runtime.morestack", "runtime.sysmon", "runtime.mstart", "runtime.goexit0"}},
	}
}

const elsewhere = "everything else"

// printProfile adds up a CPU profile by stage.
func (c *config) printProfile(path string) error {
	file, err := os.Open(path) //nolint:gosec // the binary wrote it for us
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // only read
	parsed, err := profile.Parse(file)
	if err != nil {
		return err
	}
	spent, total := map[string]int64{}, int64(0)
	for _, sample := range parsed.Sample {
		value := sample.Value[len(sample.Value)-1] // nanoseconds
		spent[stage(sample)] += value
		total += value
	}
	for _, name := range slices.SortedFunc(maps.Keys(spent), func(a, b string) int { return cmp.Compare(spent[b], spent[a]) }) {
		c.say("%-42s %5.1f%%", name, 100*float64(spent[name])/float64(total))
	}
	return nil
}

// stage walks a stack from its innermost function outwards to the first that belongs to a stage.
func stage(sample *profile.Sample) string {
	for _, location := range sample.Location {
		for _, line := range location.Line {
			for _, each := range shares() {
				if slices.ContainsFunc(each.of, func(part string) bool { return strings.Contains(line.Function.Name, part) }) {
					return each.name
				}
			}
		}
	}
	return elsewhere
}
