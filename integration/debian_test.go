//go:build integration

package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// usageColumns are the usage table's columns as analysts know them: Databricks' own, then ours.
const usageColumns = `account_id STRING, workspace_id STRING, request_id STRING, schema_version INT,
endpoint_id STRING, endpoint_name STRING, endpoint_tags MAP<STRING,STRING>,
endpoint_metadata STRUCT<creator STRING, creation_time TIMESTAMP, last_updated_time TIMESTAMP, destinations ARRAY<STRING>, inference_table STRING>,
event_time TIMESTAMP, latency_ms BIGINT, time_to_first_byte_ms BIGINT,
destination_type STRING, destination_name STRING, destination_id STRING, destination_model STRING,
requester STRING, requester_type STRING,
ip_address STRING, url STRING, user_agent STRING, api_type STRING, request_tags MAP<STRING,STRING>,
input_tokens BIGINT, output_tokens BIGINT, total_tokens BIGINT,
token_details STRUCT<cache_read_input_tokens BIGINT, cache_creation_input_tokens BIGINT, output_reasoning_tokens BIGINT>,
response_content_type STRING, status_code INT,
routing_information STRUCT<attempts ARRAY<STRUCT<action STRING, destination STRING, status_code INT, latency_ms BIGINT>>>,
invocation_id STRING, invocation_metadata STRUCT<source STRING, service_tier STRING>,
service_type STRING, service_id STRING, service_name STRING, service_tags MAP<STRING,STRING>,
mcp_metadata STRUCT<json_rpc_method STRING, tool_name STRING, server_type STRING, client_name STRING>,
request_date DATE,
client_request_id STRING, usage_context MAP<STRING,STRING>,
cost_usd DECIMAL(38,18), price_version STRING,
billable_basis STRING, provider_usage STRING,
prompt_name STRING, prompt_version STRING, variant STRING,
idempotency_key STRING, reused_from STRING,
job STRING, run_id STRING, task_key STRING, attempt INT,
source_name STRING, source_partition STRING, source_offset BIGINT, source_version BIGINT, row_key STRING,
error STRUCT<code STRING, class STRING, message STRING, http_status INT>`

const resultColumns = `response STRING, error STRUCT<code STRING, class STRING, message STRING, http_status INT, attempts INT>,
inference STRUCT<request_id STRING, invocation_id STRING, endpoint STRING, destination STRING, model STRING, prompt_version STRING, input_tokens BIGINT, output_tokens BIGINT, cost_usd DECIMAL(38,18), latency_ms BIGINT, reused BOOLEAN, run_id STRING, event_time TIMESTAMP>`

// splitColumns cuts "a X, b STRUCT<c Y, d Z>" at its outer commas.
func splitColumns(text string) []string {
	var out []string
	depth, start := 0, 0
	text = strings.Join(strings.Fields(text), " ")
	for i, char := range text {
		switch char {
		case '<', '(':
			depth++
		case '>', ')':
			depth--
		case ',':
			if depth == 0 {
				out = append(out, strings.TrimSpace(text[start:i]))
				start = i + 1
			}
		}
	}
	return append(out, strings.TrimSpace(text[start:]))
}

// TestDebianDescriptions classifies real text with the model inside the binary, from a partitioned table that
// delta-rs wrote, and lets delta-rs and DuckDB judge what comes out.
func TestDebianDescriptions(t *testing.T) {
	t.Parallel()
	const first, later = 20_000, 500
	w := newWorkspace(t, "package", embedded("sentiment"))
	w.set([]any{map[string]any{"role": "user", "content": "{{ description }}"}}, "request", "messages")
	w.set([]any{"package", "section", "size", "description"}, "source", "columns")
	w.set(map[string]any{"rows": 6000}, "commit")
	w.save(t)
	grow := func(start, count int) {
		t.Helper()
		var wrote struct{ Rows int }
		w.peer(t, "debian", map[string]any{"path": w.path("source"), "start": start, "count": count, "orphans": 97}, &wrote)
		if wrote.Rows != count {
			t.Fatalf("the package index has %d of the rows from %d, want %d", wrote.Rows, start, count)
		}
	}
	grow(0, first)

	w.mustRun(t)
	checkDescriptions(t, w, first)
	checkLayout(t, w)

	w.mustRun(t)
	checkDescriptions(t, w, first) // a run with nothing to do pays nothing and writes nothing twice

	grow(first, later)
	w.mustRun(t)
	checkDescriptions(t, w, first+later)
	runs := w.query(t, "SELECT count(*) AS n FROM usage GROUP BY run_id ORDER BY n DESC", "usage")
	if len(runs) != 2 || fmt.Sprint(runs[0]["n"]) != fmt.Sprint(first) || fmt.Sprint(runs[1]["n"]) != fmt.Sprint(later) {
		t.Errorf("calls by run are %v, want %d and %d", runs, first, later)
	}
}

// checkDescriptions compares what delta-rs and DuckDB read with the source.
func checkDescriptions(t *testing.T, w *workspace, rows int64) {
	t.Helper()
	for _, table := range []string{"results", "usage"} {
		described := w.describe(t, table)
		var inLog int64
		for _, add := range described.Adds {
			inLog += integer(t, add["num_records"])
		}
		if inLog != rows {
			t.Errorf("%s: numRecords of all adds come to %d, want %d", table, inLog, rows)
		}
		if n := w.count(t, "SELECT count(*) AS n FROM "+table, table); n != rows {
			t.Errorf("%s: DuckDB counts %d rows, want %d", table, n, rows)
		}
		var read struct{ Rows []map[string]any }
		w.peer(t, "read", map[string]any{"path": w.path(table), "columns": []string{map[string]string{"results": "package", "usage": "invocation_id"}[table]}}, &read)
		if int64(len(read.Rows)) != rows {
			t.Errorf("%s: delta-rs reads %d rows, want %d", table, len(read.Rows), rows)
		}
	}
	for _, check := range []struct {
		what, sql string
		want      int64
	}{
		{"distinct keys", "SELECT count(DISTINCT package) AS n FROM results", rows},
		{"distinct calls", "SELECT count(DISTINCT invocation_id) AS n FROM usage", rows},
		{"distinct row keys in usage", "SELECT count(DISTINCT row_key) AS n FROM usage", rows},
		{
			"rows that are as in the source", "SELECT count(*) AS n FROM results r JOIN source s ON r.package = s.package AND " +
				"r.description = s.description AND r.size = s.size AND r.response IS NOT NULL AND r.error IS NULL", rows,
		},
		{
			"results that name their call", "SELECT count(*) AS n FROM results r JOIN usage u ON r.inference.invocation_id = u.invocation_id AND " +
				"r.inference.input_tokens = u.input_tokens AND r.inference.request_id = u.request_id", rows,
		},
		{"calls that failed", "SELECT count(*) AS n FROM usage WHERE status_code <> 200 OR error IS NOT NULL", 0},
	} {
		if n := w.count(t, check.sql, "results", "usage", "source"); n != check.want {
			t.Errorf("%s: %d, want %d", check.what, n, check.want)
		}
	}
	// The section stands in the source's log only, not in its files, so delta-rs compares it.
	sections := map[string]map[string]int{}
	for _, table := range []string{"source", "results"} {
		var read struct {
			Rows []struct{ Package, Section *string }
		}
		w.peer(t, "read", map[string]any{"path": w.path(table), "columns": []string{"package", "section"}}, &read)
		sections[table] = map[string]int{}
		for _, row := range read.Rows {
			section := "NULL"
			if row.Section != nil {
				section = "=" + *row.Section
			}
			sections[table][*row.Package+" "+section]++
		}
	}
	if !maps.Equal(sections["source"], sections["results"]) {
		t.Error("the partition column of the source is not as it was in the results")
	}
}

// checkLayout looks at what delta-rs makes of the logs: columns, statistics, marks.
func checkLayout(t *testing.T, w *workspace) {
	t.Helper()
	described := w.describe(t, "usage")
	if got, want := described.columns(), splitColumns(usageColumns); !slices.Equal(got, want) {
		t.Errorf("usage: the columns are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	described = w.describe(t, "results", "ask/0/version", "ask/0/row")
	want := append(splitColumns("package STRING, section STRING, size BIGINT, description STRING"), splitColumns(resultColumns)...)
	if got := described.columns(); !slices.Equal(got, want) {
		t.Errorf("results: the columns are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for app, version := range described.Transactions {
		if version == nil {
			t.Errorf("results: there is no transaction of %s", app)
		}
	}
	for _, column := range described.AddColumns {
		bounds := strings.HasPrefix(column, "min.") || strings.HasPrefix(column, "max.")
		if bounds && (strings.Contains(column, "response") || strings.Contains(column, "description")) {
			t.Errorf("results: the statistics have %s: prompts and answers leak into the log", column)
		}
	}
	if !slices.Contains(described.AddColumns, "min.size") {
		t.Errorf("results: no bounds of size in the statistics, only %v", described.AddColumns)
	}
	types := w.query(t, "SELECT typeof(cost_usd) AS cost, typeof(event_time) AS time, typeof(endpoint_tags) AS tags, typeof(request_date) AS date FROM usage LIMIT 1", "usage")
	if got, want := fmt.Sprint(types), "[map[cost:DECIMAL(38,18) date:DATE tags:MAP(VARCHAR, VARCHAR) time:TIMESTAMP WITH TIME ZONE]]"; got != want {
		t.Errorf("usage: DuckDB finds the types %s, want %s", got, want)
	}
}

func integer(t *testing.T, value any) int64 {
	t.Helper()
	number, ok := value.(interface{ Int64() (int64, error) })
	if !ok {
		t.Fatalf("%v is no number", value)
	}
	n, err := number.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}
