package anthropic

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	spendLimit       = "enforced_spend_limit_reached"
	statusOverloaded = 529 // Anthropic's own; not registered
)

// rules are the error types of platform.claude.com/docs/en/api/errors. A row whose prompt is too long, and one whose
// answer the filter blocks, are invalid_request_error as well: nothing but the message tells them apart.
func rules() []wire.Rule {
	return []wire.Rule{
		// The month's cap of the usage tier: a 429 whose type is rate_limit_error, but no wait of a run outlasts a month.
		{Word: spendLimit, Class: schemas.Fatal, Code: "insufficient_quota"},
		// Wrong format or content of this request.
		{Word: "invalid_request_error", Class: schemas.Rejected, Code: "invalid_request_error"},
		// The key is malformed, revoked or expired: no row will do better.
		{Word: "authentication_error", Class: schemas.Fatal, Code: "authentication_error"},
		// Billing or payment information is in disorder: somebody has to pay first.
		{Word: "billing_error", Class: schemas.Fatal, Code: "payment_required"},
		// The key may not use the model.
		{Word: "permission_error", Class: schemas.Fatal, Code: "permission_error"},
		// An unknown model, or a path that is none.
		{Word: "not_found_error", Class: schemas.Fatal, Code: "not_found_error"},
		// The other side's state was in the way, and the page says to send again.
		{Word: "conflict_error", Class: schemas.Transient, Code: "conflict"},
		// More than 32 MB: this row is too long.
		{Word: "request_too_large", Class: schemas.Rejected, Code: "request_too_large"},
		// Requests or tokens a minute; Retry-After says how long.
		{Word: "rate_limit_error", Class: schemas.Throttled, Code: "rate_limit_exceeded"},
		// An unexpected error on their side.
		{Word: "api_error", Class: schemas.Transient, Code: "server_error"},
		// It took too long to work on.
		{Word: "timeout_error", Class: schemas.Transient, Code: "gateway_timeout"},
		// High traffic of all users: the row is as good as before.
		{Word: "overloaded_error", Class: schemas.Throttled, Code: "overloaded"},
	}
}

// statusOf is the status that an error type comes with, for one that comes in a stream, behind a 200.
func statusOf(words []string) int {
	for _, word := range words {
		switch word {
		case "invalid_request_error":
			return http.StatusBadRequest
		case "authentication_error":
			return http.StatusUnauthorized
		case "billing_error":
			return http.StatusPaymentRequired
		case "permission_error":
			return http.StatusForbidden
		case "not_found_error":
			return http.StatusNotFound
		case "conflict_error":
			return http.StatusConflict
		case "request_too_large":
			return http.StatusRequestEntityTooLarge
		case "rate_limit_error":
			return http.StatusTooManyRequests
		case "api_error":
			return http.StatusInternalServerError
		case "timeout_error":
			return http.StatusGatewayTimeout
		case "overloaded_error":
			return statusOverloaded
		}
	}
	return 0
}

// readProblem reads {"type":"error","error":{"type":..., "message":..., "details":{"error_code":...}}}.
func readProblem(_ http.Header, body []byte) wire.Problem {
	problem := wire.ParseProblem(body)
	problem.Words = slices.DeleteFunc(problem.Words, func(word string) bool { return word == "error" })
	if problem.Status == 0 {
		problem.Status = statusOf(problem.Words)
	}
	if json.Valid(body) && gjson.GetBytes(body, "error.details.error_code").Str == spendLimit {
		problem.Words = slices.Insert(problem.Words, 0, spendLimit)
	}
	return problem
}
