package main

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/jobs"
)

//go:embed starter
var starter embed.FS

// The places inside a started folder.
const (
	starterJob     = "job.yaml"
	starterCatalog = "catalog.yaml"
	starterRows    = "data/reviews-0000.jsonl"
	starterTable   = "data/reviews"
	starterResults = "out/reviews_mood"
	starterUsage   = "out/inference_usage"
)

func (a *app) init() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a job, its catalog and a small table that run as they are",
		Args:  argCount(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			for _, name := range []string{starterJob, starterCatalog, starterRows, starterTable} {
				if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
					return usagef("%s is there already and is not overwritten\n  name another folder: %s DIR",
						filepath.Join(dir, name), a.command("init"))
				}
			}
			if err := start(c.Context(), dir); err != nil {
				return err
			}
			wrote := struct {
				Job     string `json:"job"`
				Catalog string `json:"catalog"`
				Table   string `json:"table"`
			}{filepath.Join(dir, starterJob), filepath.Join(dir, starterCatalog), filepath.Join(dir, starterTable)}
			if a.output == outputJSON {
				return a.printJSON(wrote)
			}
			a.printf("wrote %s, %s and a Delta table of reviews in %s\n", wrote.Job, wrote.Catalog, wrote.Table)
			a.printNext(
				suggestion{a.command("check", wrote.Job), "is everything right?"},
				suggestion{a.command("plan", wrote.Job), "rows, tokens, dollars, time"},
				suggestion{a.command("run", wrote.Job), "again and again: only new rows are asked"})
			return nil
		},
	}
}

// start makes a folder with a job that runs. What is there already stays.
func start(ctx context.Context, dir string) error {
	for _, folder := range []string{"data", "out"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o750); err != nil {
			return err
		}
	}
	for name, from := range map[string]string{
		starterJob: starterJob, starterCatalog: starterCatalog, starterRows: "reviews.jsonl",
	} {
		text, err := starter.ReadFile("starter/" + from)
		if err != nil {
			return err
		}
		if err := writeNew(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return load(ctx, dir)
}

// load copies the reviews that the table has not got yet from the files beside it.
func load(ctx context.Context, dir string) error {
	return jobs.LoadFiles(ctx, filepath.Join(dir, "data"), "*.jsonl", filepath.Join(dir, starterTable))
}

func writeNew(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // a file of the folder that the user named
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}
