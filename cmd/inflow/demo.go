package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/inflowhq/inflow/jobs"
)

const (
	demoFolder = "inflow-demo"
	demoHead   = 10
)

func (a *app) demo() *cobra.Command {
	dir := demoFolder
	command := &cobra.Command{
		Use:   "demo",
		Short: "Take a small Delta table the whole way, with a model inside",
		Long: "Demo makes a folder with a job, a catalog and a Delta table of product reviews, asks the model inside this\n" +
			"binary about each, and shows what came of it. Every further demo adds some reviews and asks only about those.",
		Args: argCount(0, 0),
		RunE: func(c *cobra.Command, _ []string) error { return a.runDemo(c.Context(), dir) },
	}
	command.Flags().StringVar(&dir, "dir", dir, "the folder to work in")
	return command
}

// demonstrated is what a demo has to show.
type demonstrated struct {
	Folder string            `json:"folder"`
	Run    *summary          `json:"run"`
	Rows   []object          `json:"rows"` // the first ones of the results
	Usage  []jobs.UsageTotal `json:"usage"`
}

func (a *app) runDemo(ctx context.Context, dir string) error {
	job := filepath.Join(dir, starterJob)
	_, err := os.Stat(job)
	again := err == nil
	if again {
		if err := a.stillDemo(ctx, job); err != nil {
			return err
		}
	}
	if err := start(ctx, dir); err != nil {
		return err
	}
	news := fmt.Sprintf("A Delta table of product reviews: %s\n\n", filepath.Join(dir, starterTable))
	if again {
		if err := moreReviews(dir); err != nil {
			return err
		}
		if err := load(ctx, dir); err != nil {
			return err
		}
		news = fmt.Sprintf("The demo ran before: some new reviews have arrived in %s since.\n\n", filepath.Join(dir, starterTable))
	}
	if a.output == outputText {
		a.printf("%s", news)
	}
	shown := demonstrated{Folder: dir}
	err = a.withJob(ctx, job, func(prepared *jobs.Job) (err error) {
		shown.Run, err = a.runToEnd(ctx, prepared, job)
		return err
	})
	if err != nil {
		return err
	}
	head, err := readHead(ctx, filepath.Join(dir, starterResults), []string{"review_id", "body", "response"}, demoHead)
	if err != nil {
		return err
	}
	shown.Rows = head.rows
	shown.Usage, err = jobs.UsageTotals(ctx, filepath.Join(dir, starterUsage))
	if err != nil {
		return err
	}
	if a.output == outputJSON {
		return a.printJSON(shown)
	}
	a.printSummary(shown.Run)
	a.printf("\nRows and answers:\n\n")
	a.printHead(head)
	a.printf("\nWhat it took, from the audit table:\n\n")
	a.printUsage(shown.Usage)
	more := []string{"demo"}
	if dir != demoFolder {
		more = append(more, "--dir", dir)
	}
	a.printNext(
		suggestion{a.command("run", job), "nothing new, so nothing is asked"},
		suggestion{a.command(more...), "more reviews arrive, only those are asked"},
		suggestion{a.command("table", "head", filepath.Join(dir, starterResults)), "the results"},
		suggestion{a.command("usage", filepath.Join(dir, starterUsage)), "what was asked and what it cost"},
		suggestion{a.command("init", "mine"), "a job of your own to begin with"})
	return nil
}

// stillDemo refuses a job that somebody has made their own: a demo asks nobody but the model inside the binary.
func (a *app) stillDemo(ctx context.Context, path string) error {
	return a.withJob(ctx, path, func(job *jobs.Job) error {
		for _, to := range job.Endpoint.Destinations {
			if to.Provider != "embedded" {
				return usagef("%s asks %s at %s: it is no demo any more\n  to run it: %s\n  for a new demo: %s DIR",
					path, to.Model, to.Provider, a.command("run", path), a.command("demo", "--dir"))
			}
		}
		return nil
	})
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
