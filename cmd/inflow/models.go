package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/jobs"
)

func (a *app) models() *cobra.Command {
	return &cobra.Command{
		Use:   "models",
		Short: "List the providers, what each supports, and how it is configured",
		Long: "Models lists every provider whose models an endpoint can name, by the names of Databricks' serving API, what can be\n" +
			"asked of it, and the fields of its configuration in a catalog. What a provider has not got is refused by `inflow check`.",
		Args: argCount(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			providers, err := jobs.Providers(c.Context())
			if err != nil {
				return err
			}
			servers := jobs.Servers()
			if a.output == outputJSON {
				return a.printJSON(struct {
					Providers []jobs.Provider `json:"providers"`
					Servers   []jobs.Server   `json:"servers"`
				}{providers, servers})
			}
			features := jobs.Features()
			rows := make([][]string, 0, len(providers))
			for _, p := range providers {
				row := []string{p.Name}
				for _, feature := range features {
					row = append(row, map[bool]string{true: "yes", false: "-"}[p.Supports[feature]])
				}
				rows = append(rows, row)
			}
			a.printTable(append([]string{"provider"}, features...), rows)
			a.printf("\n")
			rows = rows[:0]
			for _, p := range providers {
				rows = append(rows, []string{p.Name, p.Config, strings.Join(append(append([]string{}, p.Secrets...), p.Settings...), ", ")})
			}
			a.printTable([]string{"provider", "configured under", "fields (secrets first)"}, rows)
			a.printf("\n")
			rows = rows[:0]
			for _, server := range servers {
				rows = append(rows, []string{server.Name, server.BaseURL})
			}
			a.printTable([]string{"custom_provider_name", "usually at"}, rows)
			a.printNext(suggestion{a.command("ask", "ENDPOINT", "QUESTION"), "one question, with its price"})
			return nil
		},
	}
}
