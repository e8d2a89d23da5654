package jobs

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/inflowhq/inflow/connectors/delta"
	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

// UsageTotal is what one endpoint's model came to on one day, by status.
type UsageTotal struct {
	Day          string      `json:"day"`
	Endpoint     string      `json:"endpoint"`
	Model        string      `json:"model"`
	Status       string      `json:"status"` // an HTTP status, or the class of the error where there was none
	Invocations  int64       `json:"invocations"`
	Reused       int64       `json:"reused"`
	InputTokens  int64       `json:"input_tokens"`
	OutputTokens int64       `json:"output_tokens"`
	CostUSD      schemas.USD `json:"cost_usd"`
	Unpriced     int64       `json:"unpriced"` // invocations without a known price
}

// UsageTotals adds up a usage table that lies in a folder. The totals come by day, endpoint, model and status.
func UsageTotals(ctx context.Context, folder string) ([]UsageTotal, error) {
	location, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	table, err := delta.Open(ctx, store.NewLocal(folder), delta.WithLocation(location))
	if err != nil {
		return nil, err
	}
	snapshot, err := table.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	type group struct{ day, endpoint, model, status string }
	totals := map[group]*UsageTotal{}
	columns := []string{
		"request_date", "endpoint_name", "destination_model", "status_code", "error",
		"input_tokens", "output_tokens", "cost_usd", "reused_from",
	}
	for batch, err := range snapshot.Scan(ctx, delta.ScanOptions{Columns: columns, BatchRows: maxBatch}) {
		if err != nil {
			return nil, err
		}
		record := batch.Record
		for row := range int(record.NumRows()) {
			key := group{
				day: schemas.Text(record.Column(0), row), endpoint: schemas.Text(record.Column(1), row),
				model: schemas.Text(record.Column(2), row), status: status(record, row),
			}
			total := totals[key]
			if total == nil {
				total = &UsageTotal{Day: key.day, Endpoint: key.endpoint, Model: key.model, Status: key.status}
				totals[key] = total
			}
			total.add(record, row)
		}
		record.Release()
	}
	out := make([]UsageTotal, 0, len(totals))
	for _, total := range totals {
		out = append(out, *total)
	}
	slices.SortFunc(out, func(a, b UsageTotal) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Endpoint, b.Endpoint),
			cmp.Compare(a.Model, b.Model), cmp.Compare(a.Status, b.Status))
	})
	return out, nil
}

// status is the HTTP status, or what happened instead of one.
func status(record arrow.Record, row int) string {
	if code := schemas.Text(record.Column(3), row); code != "" {
		return code
	}
	if failed, ok := record.Column(4).(*array.Struct); ok && !failed.IsNull(row) {
		if fields, ok := schemas.Value(failed, row).(map[string]any); ok {
			if class, ok := fields["class"].(string); ok {
				return class
			}
		}
	}
	return "-"
}

func (t *UsageTotal) add(record arrow.Record, row int) {
	t.Invocations++
	if !record.Column(8).IsNull(row) {
		t.Reused++
	}
	if tokens, ok := schemas.Value(record.Column(5), row).(int64); ok {
		t.InputTokens += tokens
	}
	if tokens, ok := schemas.Value(record.Column(6), row).(int64); ok {
		t.OutputTokens += tokens
	}
	costs, ok := record.Column(7).(*array.Decimal128)
	if !ok || costs.IsNull(row) {
		t.Unpriced++
		return
	}
	t.CostUSD = t.CostUSD.Add(schemas.USD(costs.Value(row)))
}
