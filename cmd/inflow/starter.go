package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
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
	starterTable   = "data/reviews"
	starterResults = "out/reviews_mood"
	starterUsage   = "out/inference_usage"
)

func (a *app) init() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a commented job, its catalog and a small table that run as they are",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			for _, name := range []string{starterJob, starterCatalog, starterTable} {
				if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
					return fmt.Errorf("%w: %s is there already and is not overwritten; name another folder: inflow init DIR",
						errUsage, filepath.Join(dir, name))
				}
			}
			if err := start(c.Context(), dir); err != nil {
				return err
			}
			job := filepath.Join(dir, starterJob)
			if a.output == outputJSON {
				a.printJSON(a.stdout, map[string]string{"job": job, "catalog": filepath.Join(dir, starterCatalog)})
				return nil
			}
			a.printf("wrote %s, %s and a Delta table of reviews in %s\n\nNext: inflow check %s\n      inflow run %s\n",
				job, filepath.Join(dir, starterCatalog), filepath.Join(dir, starterTable), job, job)
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
	for _, name := range []string{starterJob, starterCatalog} {
		text, err := starter.ReadFile("starter/" + name)
		if err != nil {
			return err
		}
		if err := writeNew(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	reviews, err := starter.ReadFile("starter/reviews.jsonl")
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(dir, "data", "reviews-0000.jsonl"), reviews); err != nil {
		return err
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

func (a *app) demo() *cobra.Command {
	dir := "inflow-demo"
	command := &cobra.Command{
		Use:   "demo",
		Short: "The whole way of a row on this machine: a Delta table, a small real model, answers, audit",
		Long: "Demo makes a folder with a job, a catalog and a Delta table of product reviews, asks the model inside this\n" +
			"binary about each, and shows what came of it. Every further demo adds some reviews and asks only about those.",
		Args: exactArgs(0),
		RunE: func(c *cobra.Command, _ []string) error { return a.runDemo(c, dir) },
	}
	command.Flags().StringVar(&dir, "dir", dir, "the folder to work in")
	return command
}

func (a *app) runDemo(c *cobra.Command, dir string) error {
	ctx := c.Context()
	_, err := os.Stat(filepath.Join(dir, starterJob))
	again := err == nil
	if err := start(ctx, dir); err != nil {
		return err
	}
	if again {
		if err := moreReviews(dir); err != nil {
			return err
		}
		if err := load(ctx, dir); err != nil {
			return err
		}
		a.printf("The demo ran before: some new reviews have arrived in %s since.\n\n", filepath.Join(dir, starterTable))
	} else {
		a.printf("A Delta table of product reviews: %s\n\n", filepath.Join(dir, starterTable))
	}
	job := filepath.Join(dir, starterJob)
	err = a.withJob(ctx, job, func(prepared *jobs.Job) error { return a.runToEnd(ctx, prepared, job) })
	if err != nil {
		return err
	}
	a.printf("\nRows and answers:\n\n")
	if err := a.head(c, filepath.Join(dir, starterResults), []string{"review_id", "body", "response"}, 10); err != nil {
		return err
	}
	a.printf("\nWhat it took, from the audit table:\n\n")
	totals, err := jobs.UsageTotals(ctx, filepath.Join(dir, starterUsage))
	if err != nil {
		return err
	}
	a.printUsage(totals)
	a.printf("\nNext: inflow run %s                   nothing new, so nothing is asked\n", job)
	a.printf("      inflow demo                                       more reviews arrive, only those are asked\n")
	a.printf("      inflow table show %s\n", filepath.Join(dir, starterResults))
	a.printf("      inflow usage %s\n", filepath.Join(dir, starterUsage))
	a.printf("      edit %s and %s: your own table, your own endpoint\n", job, filepath.Join(dir, starterCatalog))
	return nil
}

// moreReviews puts another file of reviews beside the others, with ids of its own.
func moreReviews(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "data", "*.jsonl"))
	if err != nil {
		return err
	}
	source, err := starter.ReadFile("starter/more.jsonl")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	lines := bufio.NewScanner(bytes.NewReader(source))
	for lines.Scan() {
		var review struct {
			ID      int    `json:"review_id"`
			Product string `json:"product"`
			Body    string `json:"body"`
		}
		if err := json.Unmarshal(lines.Bytes(), &review); err != nil {
			return err
		}
		review.ID += 1000 * len(files)
		line, err := json.Marshal(review)
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
	}
	return writeNew(filepath.Join(dir, "data", fmt.Sprintf("reviews-%04d.jsonl", len(files))), out.Bytes())
}
