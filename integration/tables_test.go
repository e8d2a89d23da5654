//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/integration/modelserver/chatserver"
)

// rowError is the error column of results and usage.
type rowError struct {
	Code, Class, Message string
	HTTPStatus           int `json:"http_status"`
}

// resultRow is what the tests look at of a results row.
type resultRow struct {
	ID        json.Number
	Text      string
	Response  *string
	Error     *rowError
	Inference struct {
		RequestID    string `json:"request_id"`
		InvocationID string `json:"invocation_id"`
		Reused       bool
	}
}

// usageRow is what the tests look at of a usage row.
type usageRow struct {
	RequestID     string  `json:"request_id"`
	InvocationID  string  `json:"invocation_id"`
	RowKey        string  `json:"row_key"`
	BillableBasis string  `json:"billable_basis"`
	ProviderUsage *string `json:"provider_usage"`
	InputTokens   int64   `json:"input_tokens"`
	OutputTokens  int64   `json:"output_tokens"`
	TotalTokens   int64   `json:"total_tokens"`
	StatusCode    *int    `json:"status_code"`
	ReusedFrom    *string `json:"reused_from"`
	RunID         string  `json:"run_id"`
	Error         *rowError
}

// ambiguous reports whether the row says that its call was sent and its answer never seen.
func (u *usageRow) ambiguous() bool { return u.Error != nil && u.Error.Class == "AMBIGUOUS" }

// results reads the results table through delta-rs.
func (w *workspace) results(t *testing.T) []resultRow {
	t.Helper()
	var read struct{ Rows []resultRow }
	w.peer(t, "read", map[string]any{"path": w.path("results")}, &read)
	return read.Rows
}

// usage reads the usage table through delta-rs.
func (w *workspace) usage(t *testing.T) []usageRow {
	t.Helper()
	var read struct{ Rows []usageRow }
	w.peer(t, "read", map[string]any{"path": w.path("usage")}, &read)
	return read.Rows
}

// query runs one statement in DuckDB over the workspace's tables of those names.
func (w *workspace) query(t *testing.T, statement string, tables ...string) []map[string]any {
	t.Helper()
	paths := map[string]string{}
	for _, table := range tables {
		paths[table] = w.path(table)
	}
	var out struct{ Answers [][]map[string]any }
	w.peer(t, "sql", map[string]any{"tables": paths, "statements": []string{statement}}, &out)
	return out.Answers[0]
}

// count runs a statement that yields one number named n.
func (w *workspace) count(t *testing.T, statement string, tables ...string) int64 {
	t.Helper()
	rows := w.query(t, statement, tables...)
	number, ok := rows[0]["n"].(json.Number)
	if !ok {
		t.Fatalf("%s: %v", statement, rows)
	}
	n, err := number.Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// description is what delta-rs makes of a table's log.
type description struct {
	Version int64
	Schema  struct {
		Fields []struct {
			Name string
			Type any
		}
	}
	Transactions map[string]*int64
	Adds         []map[string]any
	AddColumns   []string `json:"add_columns"`
}

func (w *workspace) describe(t *testing.T, table string, apps ...string) description {
	t.Helper()
	var out description
	w.peer(t, "describe", map[string]any{"path": w.path(table), "apps": append([]string{}, apps...)}, &out)
	return out
}

// columns lists a table's columns as "name TYPE", in order.
func (d *description) columns() []string {
	var out []string
	for _, field := range d.Schema.Fields {
		out = append(out, field.Name+" "+sqlType(field.Type))
	}
	return out
}

// sqlType writes a Delta type as Spark SQL does.
func sqlType(deltaType any) string {
	nested, ok := deltaType.(map[string]any)
	if !ok {
		name := fmt.Sprint(deltaType)
		switch name {
		case "long":
			return "BIGINT"
		case "integer":
			return "INT"
		}
		return strings.ToUpper(name)
	}
	switch nested["type"] {
	case "array":
		return "ARRAY<" + sqlType(nested["elementType"]) + ">"
	case "map":
		return "MAP<" + sqlType(nested["keyType"]) + "," + sqlType(nested["valueType"]) + ">"
	case "struct":
		var fields []string
		list, _ := nested["fields"].([]any)
		for _, each := range list {
			field, _ := each.(map[string]any)
			fields = append(fields, fmt.Sprint(field["name"])+" "+sqlType(field["type"]))
		}
		return "STRUCT<" + strings.Join(fields, ", ") + ">"
	}
	return fmt.Sprintf("%v", deltaType)
}

// checkExactlyOnce sees to it that ids 0 to n-1 are there once each, with the server's own answer or an error.
func checkExactlyOnce(t *testing.T, rows []resultRow, n int) (failed int) {
	t.Helper()
	seen := map[string]int{}
	for i := range rows {
		row := &rows[i]
		seen[row.ID.String()]++
		switch {
		case row.Response != nil && row.Error == nil:
			question := fmt.Sprintf("[key=%s] %s", row.ID, row.Text)
			if want := chatserver.Answer(question); *row.Response != want {
				t.Errorf("id %s has the answer %q, want %q", row.ID, *row.Response, want)
			}
		case row.Response == nil && row.Error != nil:
			failed++
		default:
			t.Errorf("id %s has response %v and error %v, want exactly one of them", row.ID, row.Response, row.Error)
		}
	}
	for id := range n {
		if times := seen[fmt.Sprint(id)]; times != 1 {
			t.Errorf("id %d is in the results %d times", id, times)
		}
	}
	if len(rows) != n {
		t.Errorf("the results hold %d rows, want %d", len(rows), n)
	}
	return failed
}

// checkBill compares the usage table with the server's own ledger, row by row.
//
// An answered call's usage object carries the server's call id and is kept verbatim, so it names the call. A
// call whose answer was never seen can only be found by its request id, which the header X-Client-Request-Id
// carried to the server.
func checkBill(t *testing.T, usage []usageRow, calls []*chatserver.Call) {
	t.Helper()
	byID := map[string]*chatserver.Call{}
	sent := map[string]int{} // by request id
	for _, call := range calls {
		byID[call.ID] = call
		sent[call.ClientRequestID]++
		if call.ClientRequestID == "" {
			t.Fatalf("call %s came without X-Client-Request-Id", call.ID)
		}
	}
	invocations, billed, written := map[string]int{}, map[string]int{}, map[string]int{}
	for i := range usage {
		row := &usage[i]
		if row.ReusedFrom != nil {
			continue // no call
		}
		invocations[row.InvocationID]++
		written[row.RequestID]++
		if row.BillableBasis != "provider_usage" {
			continue
		}
		var bill chatserver.Usage
		if row.ProviderUsage == nil {
			t.Errorf("invocation %s was billed by the provider and keeps no usage object", row.InvocationID)
			continue
		}
		if err := json.Unmarshal([]byte(*row.ProviderUsage), &bill); err != nil {
			t.Errorf("invocation %s: provider_usage %q: %v", row.InvocationID, *row.ProviderUsage, err)
			continue
		}
		billed[bill.CallID]++
		call, ok := byID[bill.CallID]
		switch {
		case !ok:
			t.Errorf("invocation %s is billed for call %q, which the server never had", row.InvocationID, bill.CallID)
		case call.Usage == nil || *call.Usage != bill:
			t.Errorf("call %s: the server billed %+v, the usage object says %+v", call.ID, call.Usage, bill)
		case row.InputTokens != bill.PromptTokens || row.OutputTokens != bill.CompletionTokens || row.TotalTokens != bill.TotalTokens:
			t.Errorf("call %s: the server billed %+v, the row says %d+%d=%d", call.ID, bill, row.InputTokens, row.OutputTokens, row.TotalTokens)
		case call.ClientRequestID != row.RequestID:
			t.Errorf("call %s was of request %s, its row says %s", call.ID, call.ClientRequestID, row.RequestID)
		case row.RowKey != call.Key:
			t.Errorf("call %s was for key %s, its row says %s", call.ID, call.Key, row.RowKey)
		}
	}
	for id, times := range invocations {
		if times != 1 {
			t.Errorf("invocation %s is in the usage table %d times", id, times)
		}
	}
	for id, times := range billed {
		if times != 1 {
			t.Errorf("call %s is billed %d times", id, times)
		}
	}
	// Every call has its row; a row without a call was noted and never sent.
	for request, times := range sent {
		if written[request] < times {
			t.Errorf("the server had %d calls of request %s, the usage table has %d", times, request, written[request])
		}
	}
}
