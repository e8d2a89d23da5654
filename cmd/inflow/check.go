package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/jobs"
	"github.com/inflowhq/inflow/schemas"
)

func (a *app) check() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Find every fault of a job before it costs anything",
		Long: "Check reads the job and the catalog, resolves names and privileges, and fits columns, parameters and schemas\n" +
			"together. It asks no model and writes nothing. Every fault is reported, with the mend.",
		Args: argCount(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withJob(c.Context(), args[0], func(job *jobs.Job) error {
				checks, err := checkAll(c.Context(), args[0], job)
				if err != nil {
					return err
				}
				if a.output == outputJSON {
					return a.printJSON(checked{Job: job.File.Job, OK: true, Principal: job.Principal, Checks: checks})
				}
				rows := make([][]string, 0, len(checks))
				for _, each := range checks {
					rows = append(rows, []string{each.What, each.Found, "ok"})
				}
				a.printTable([]string{"checked", "found", ""}, rows)
				a.printNext(
					suggestion{a.command("plan", args[0]), "what it would take"},
					suggestion{a.command("run", args[0]), ""})
				return nil
			})
		},
	}
}

type checked struct {
	Job       string       `json:"job"`
	OK        bool         `json:"ok"`
	Principal string       `json:"principal"`
	Checks    []checkedOne `json:"checks"`
}

type checkedOne struct {
	What  string `json:"what"`
	Found string `json:"found"`
	OK    bool   `json:"ok"`
}

// checkAll does what is left to check of a job that could be prepared, and tells the whole.
func checkAll(ctx context.Context, path string, job *jobs.Job) ([]checkedOne, error) {
	if err := job.Check(ctx); err != nil {
		return nil, err
	}
	total, done, err := job.Count(ctx)
	if err != nil {
		return nil, err
	}
	file := job.File
	var out []checkedOne
	add := func(what, format string, args ...any) {
		out = append(out, checkedOne{What: what, Found: fmt.Sprintf(format, args...), OK: true})
	}
	add("job file", "%s: %s", path, file.Job)
	add("catalog", "%s", near(file.Catalog.Local))
	for _, need := range []struct {
		privilege schemas.Privilege
		table     jobs.TableRef
	}{
		{schemas.PrivilegeSelect, file.Source.Delta},
		{schemas.PrivilegeModify, file.Sink.Delta},
		{schemas.PrivilegeModify, file.Audit.Usage},
	} {
		if need.table.Name != "" { // a path is no securable
			add("privilege", "%s on %s for %s", need.privilege, need.table, job.Principal)
		}
	}
	add("privilege", "%s on %s for %s", askPrivilege(file.Request.Endpoint), file.Request.Endpoint, job.Principal)
	add("source", "%s: %s", sourceName(file), rowsAndDone(total, done))
	for _, to := range job.Endpoint.Destinations {
		add("endpoint", "%s: %s at %s, %d%% of the traffic", job.Endpoint.Name, to.Model, to.Provider, to.TrafficPercentage)
	}
	add("request", "%s fit the source's columns and the endpoint", parts(file))
	add("results", "%s: the schema fits, it can be written", sinkName(file))
	if !file.Audit.Usage.IsZero() {
		add("usage", "%s: the schema fits, it can be written", tableName(file.Audit.Usage))
	}
	return out, nil
}

// askPrivilege is EXECUTE for a model service, whose name has a catalog and a schema, CAN QUERY for the rest.
func askPrivilege(endpoint string) schemas.Privilege {
	if strings.Contains(endpoint, ".") {
		return schemas.PrivilegeExecute
	}
	return schemas.PrivilegeQuery
}

func sourceName(file *jobs.File) string {
	if !file.Source.Delta.IsZero() {
		return tableName(file.Source.Delta)
	}
	names := make([]string, 0, len(file.Source.Files))
	for _, each := range file.Source.Files {
		names = append(names, near(each))
	}
	return strings.Join(names, ", ")
}

func sinkName(file *jobs.File) string {
	if file.Sink.Delta.IsZero() {
		return near(file.Sink.Files)
	}
	return tableName(file.Sink.Delta)
}

func tableName(ref jobs.TableRef) string {
	if ref.Name != "" {
		return ref.Name
	}
	return near(ref.Location)
}

func rowsAndDone(total, done int64) string {
	if total < 0 {
		return "it can be read"
	}
	return fmt.Sprintf("%s, %s of them done", counted(total, "row"), count(done))
}

// parts names what of the request was checked.
func parts(file *jobs.File) string {
	names := []string{file.Request.Asks()}
	if len(file.Request.Key) > 0 {
		names = append(names, "key")
	}
	if file.Source.Where != "" {
		names = append(names, "condition")
	}
	return strings.Join(append(names, "parameters"), ", ")
}

// near writes a path from the working folder where it lies in it.
func near(path string) string {
	folder, err := os.Getwd()
	if err != nil {
		return path
	}
	relative, err := filepath.Rel(folder, path)
	if err != nil || relative == ".." || strings.HasPrefix(relative, ".."+string(filepath.Separator)) {
		return path
	}
	return relative
}
