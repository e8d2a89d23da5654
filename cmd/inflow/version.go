package main

import (
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "The version of this binary", Args: argCount(0, 0),
		RunE: func(*cobra.Command, []string) error {
			built := buildVersion()
			if a.output == outputJSON {
				return a.printJSON(built)
			}
			revision := ""
			if built.Revision != "" {
				revision = built.Revision + ", "
			}
			a.printf("inflow %s (%s%s)\n", built.Version, revision, built.Go)
			return nil
		},
	}
}

type built struct {
	Version  string `json:"version"`
	Revision string `json:"revision"` // empty: not built in a repository
	Go       string `json:"go"`
}

// buildVersion reads what the Go tool wrote into the binary.
func buildVersion() built {
	out := built{Version: "development", Go: "unknown Go"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	out.Go = info.GoVersion
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		out.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			out.Revision = setting.Value
		}
	}
	return out
}
