package jobs

import (
	"context"
	"time"

	"github.com/inflowhq/inflow/schemas"
)

// planSample is the number of rows that a plan looks at.
const planSample = 1000

// Plan says what a run would do, without asking any model.
type Plan struct {
	Job         string `json:"job"`
	Endpoint    string `json:"endpoint"`
	SourceRows  int64  `json:"source_rows"`  // -1: not known without reading everything
	DoneRows    int64  `json:"done_rows"`    // read and committed by earlier runs
	RowsToDo    int64  `json:"rows_to_do"`   // -1: not known; an estimate where the source has a condition
	SampledRows int64  `json:"sampled_rows"` // of the rows to do, read for the figures below
	KeptRows    int64  `json:"kept_rows"`    // of the sampled ones, those that meet the condition
	Estimated   bool   `json:"estimated"`    // rows_to_do is scaled up from the sample
	Requests    int64  `json:"requests"`     // each of one row, or of batch_size; -1: not known

	InputTokensPerRow float64 `json:"input_tokens_per_row"` // by (characters + 1) / 4
	OutputTokensMax   int64   `json:"output_tokens_max_per_row"`
	InputTokens       int64   `json:"input_tokens"` // -1: not known, as rows_to_do
	OutputTokens      int64   `json:"output_tokens_max"`

	// CostUSD is at most, with every answer as long as it may be; nil where a price or the rows are not known.
	CostUSD      *schemas.USD `json:"cost_usd_max"`
	PriceVersion string       `json:"price_version,omitempty"`

	RequestsPerMinute int64         `json:"requests_per_minute"` // 0: no limit
	TokensPerMinute   int64         `json:"tokens_per_minute"`
	Concurrency       int           `json:"concurrency"`
	UnderLimits       time.Duration `json:"under_limits_ns"` // the least time that the limits leave; 0: no limit
}

// Plan reads a sample of the rows that are to be done and reckons with it.
func (j *Job) Plan(ctx context.Context) (*Plan, error) {
	marks, err := j.sink.Marks(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{
		Job: j.File.Job, Endpoint: j.Endpoint.Name,
		RequestsPerMinute: j.limits.RequestsPerMinute, TokensPerMinute: j.limits.TokensPerMinute,
		Concurrency: j.limits.Concurrency, OutputTokensMax: j.question.OutputTokens(),
	}
	plan.SourceRows, plan.DoneRows, err = j.source.Count(ctx, marks)
	if err != nil {
		return nil, err
	}
	ended, characters, err := j.sample(ctx, marks, plan)
	if err != nil {
		return nil, err
	}
	if plan.KeptRows > 0 {
		plan.InputTokensPerRow = float64(schemas.EstimateTokens(characters)) / float64(plan.KeptRows)
	}
	switch {
	case ended: // the sample was all there is
		plan.RowsToDo = plan.KeptRows
	case plan.SourceRows < 0:
		plan.RowsToDo, plan.Requests, plan.InputTokens, plan.OutputTokens = -1, -1, -1, -1
		return plan, nil
	default:
		share := float64(plan.KeptRows) / float64(max(1, plan.SampledRows))
		plan.RowsToDo = int64(float64(plan.SourceRows-plan.DoneRows)*share + 0.5)
		plan.Estimated = j.question.Filter != nil
	}
	plan.InputTokens = int64(plan.InputTokensPerRow*float64(plan.RowsToDo) + 0.5)
	plan.OutputTokens = plan.OutputTokensMax * plan.RowsToDo
	plan.Requests = over(plan.RowsToDo, int64(j.question.BatchSize))
	if limit := j.question.BatchTokens; limit > 0 {
		plan.Requests = max(plan.Requests, over(plan.InputTokens, limit))
	}
	j.price(plan)
	plan.UnderLimits = max(
		underLimit(plan.Requests, plan.RequestsPerMinute),
		underLimit(plan.InputTokens, plan.TokensPerMinute))
	return plan, nil
}

// sample reads rows and counts the characters of their prompts; ended is true where there were no more.
func (j *Job) sample(ctx context.Context, marks schemas.Marks, plan *Plan) (ended bool, characters int, err error) {
	for batch, err := range j.source.Read(ctx, marks) {
		if err != nil {
			return false, 0, err
		}
		for row := range int(batch.Record.NumRows()) {
			if plan.SampledRows == planSample {
				batch.Record.Release()
				return false, characters, nil
			}
			plan.SampledRows++
			keep, err := j.question.Filter.Keep(batch.Record, row)
			if err != nil {
				batch.Record.Release()
				return false, 0, err
			}
			if keep {
				plan.KeptRows++
				if j.question.Prompt != nil { // features are no tokens
					request := schemas.Request{Messages: j.question.Prompt.Render(batch.Record, row)}
					characters += request.TextLength()
				}
			}
		}
		batch.Record.Release()
	}
	return true, characters, nil
}

// price reckons with the dearest destination that gets traffic.
func (j *Job) price(plan *Plan) {
	usage := &schemas.Usage{InputTokens: plan.InputTokens, OutputTokens: plan.OutputTokens}
	for i := range j.Endpoint.Destinations {
		to := &j.Endpoint.Destinations[i]
		if to.TrafficPercentage == 0 {
			continue
		}
		cost, known := j.prices.Sum(to.Provider, to.Model, usage, plan.Requests)
		if !known {
			plan.CostUSD = nil
			return
		}
		if plan.CostUSD == nil || cost.Cmp(*plan.CostUSD) > 0 {
			plan.CostUSD, plan.PriceVersion = &cost, j.prices.Version()
		}
	}
}

// over divides and rounds up.
func over(amount, by int64) int64 { return (amount + by - 1) / by }

func underLimit(amount, perMinute int64) time.Duration {
	if perMinute <= 0 {
		return 0
	}
	return time.Duration(float64(amount) / float64(perMinute) * float64(time.Minute))
}
