package databricks

import (
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// rules are the platform's error codes (docs.databricks.com/api, "error codes", and the error mapping of its SDKs).
// BAD_REQUEST and INVALID_PARAMETER_VALUE have none: the status says it, or the external provider's own word.
func rules() []wire.Rule {
	return []wire.Rule{
		// A guardrail of the endpoint stopped the prompt or the answer: this row never passes.
		{Word: "content_filter", Class: schemas.Rejected, Code: "content_filter"},
		// The prompt is longer than what the model behind the endpoint takes, whatever the status says.
		{Word: "context_length_exceeded", Class: schemas.Rejected, Code: "context_length_exceeded"},

		// The endpoint's or the user's calls or tokens a minute are used up: wait.
		{Word: "REQUEST_LIMIT_EXCEEDED", Class: schemas.Throttled, Code: "rate_limit_exceeded"},
		{Word: "RESOURCE_EXHAUSTED", Class: schemas.Throttled, Code: "rate_limit_exceeded"},

		// The token is wrong, or may not query the endpoint.
		{Word: "PERMISSION_DENIED", Class: schemas.Fatal, Code: "PERMISSION_DENIED"},
		{Word: "UNAUTHENTICATED", Class: schemas.Fatal, Code: "UNAUTHENTICATED"},
		{Word: "CUSTOMER_UNAUTHORIZED", Class: schemas.Fatal, Code: "PERMISSION_DENIED"},
		// The workspace has not got what was asked for, and will not for the next row.
		{Word: "RESOURCE_DOES_NOT_EXIST", Class: schemas.Fatal, Code: "endpoint_not_found"},
		{Word: "ENDPOINT_NOT_FOUND", Class: schemas.Fatal, Code: "endpoint_not_found"},
		{Word: "FEATURE_DISABLED", Class: schemas.Fatal, Code: "FEATURE_DISABLED"},

		// The endpoint starts, is updated, or fails for the moment.
		{Word: "TEMPORARILY_UNAVAILABLE", Class: schemas.Transient, Code: "temporarily_unavailable"},
		{Word: "WORKSPACE_TEMPORARILY_UNAVAILABLE", Class: schemas.Transient, Code: "temporarily_unavailable"},
		{Word: "DEADLINE_EXCEEDED", Class: schemas.Transient, Code: "gateway_timeout"},
		{Word: "INTERNAL_ERROR", Class: schemas.Transient, Code: "server_error"},
		{Word: "ABORTED", Class: schemas.Transient, Code: "conflict"},
	}
}

// readProblem looks into a message that is itself JSON: what an external model's provider said, or a guardrail found.
func readProblem(_ http.Header, body []byte) wire.Problem {
	problem := wire.ParseProblem(body)
	if len(problem.Message) == 0 || problem.Message[0] != '{' || !gjson.Valid(problem.Message) {
		return problem
	}
	inner := gjson.Parse(problem.Message)
	problem.Message = "" // the whole of it may quote the prompt
	if external := inner.Get("external_model_error"); external.IsObject() {
		said := wire.ParseProblem([]byte(external.Raw))
		problem.Message = said.Message
		problem.Words = append(said.Words, problem.Words...)
		if problem.RetryAfter == 0 {
			problem.RetryAfter = said.RetryAfter
		}
	}
	switch inner.Get("finish_reason").Str {
	case "input_guardrail_triggered", "output_guardrail_triggered":
		problem.Words = append([]string{"content_filter"}, problem.Words...)
	}
	return problem
}
