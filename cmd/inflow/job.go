package main

import (
	"context"
	"errors"

	"github.com/inflowhq/inflow/jobs"
)

// withJob prepares the job of a file and closes it behind use.
func (a *app) withJob(ctx context.Context, path string, use func(*jobs.Job) error) (err error) {
	file, err := jobs.Load(path)
	if err != nil {
		return err
	}
	job, err := jobs.Prepare(ctx, file, jobs.Environment{LookupEnv: a.lookupEnv, Logger: a.logger()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, job.Close(context.WithoutCancel(ctx))) }()
	return use(job)
}
