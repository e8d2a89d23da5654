package gemini

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

const (
	reasonLimit = 63 // characters of an ErrorInfo's reason (google/rpc/error_details.proto)
	waitLimit   = 24 * time.Hour
	// quotaPerDay is our own word for a quota that no wait of seconds refills.
	quotaPerDay = "daily_quota_exceeded"
)

// rules are Google's words: the reasons of google/api/error_reason.proto first, which say more than the status of
// google/rpc/code.proto that stands beside them. What the Gemini API means by a status is told in
// ai.google.dev/gemini-api/docs/troubleshooting.
func rules() []wire.Rule {
	return []wire.Rule{
		// The Gemini API says 400 INVALID_ARGUMENT to a bad key, and means the key.
		{Word: "API_KEY_INVALID", Class: schemas.Fatal, Code: "invalid_api_key"},
		// The key exists and may not be used for this API, from this address or by this application.
		{Word: "API_KEY_SERVICE_BLOCKED", Class: schemas.Fatal, Code: "api_key_restricted"},
		{Word: "API_KEY_IP_ADDRESS_BLOCKED", Class: schemas.Fatal, Code: "api_key_restricted"},
		{Word: "API_KEY_HTTP_REFERRER_BLOCKED", Class: schemas.Fatal, Code: "api_key_restricted"},
		// The project has not switched the API on, has no billing, or is closed.
		{Word: "SERVICE_DISABLED", Class: schemas.Fatal, Code: "service_disabled"},
		{Word: "BILLING_DISABLED", Class: schemas.Fatal, Code: "billing_not_active"},
		{Word: "CONSUMER_SUSPENDED", Class: schemas.Fatal, Code: "account_deactivated"},
		// A quota by the day: the run cannot wait for tomorrow (google.rpc.QuotaFailure, its quotaId).
		{Word: quotaPerDay, Class: schemas.Fatal, Code: quotaPerDay},
		// A quota by the minute, or at Vertex AI the shared capacity: wait.
		{Word: "RESOURCE_EXHAUSTED", Class: schemas.Throttled, Code: "rate_limit_exceeded"},
		// No credentials, or such as nobody knows.
		{Word: "UNAUTHENTICATED", Class: schemas.Fatal, Code: "unauthenticated"},
		// The key may not use this model, or the account lacks the role Vertex AI User.
		{Word: "PERMISSION_DENIED", Class: schemas.Fatal, Code: "permission_denied"},
		// The model is unknown, retired, or not in this region.
		{Word: "NOT_FOUND", Class: schemas.Fatal, Code: "model_not_found"},
		// The free tier is not offered in this country, or billing is not enabled: of no row's making.
		{Word: "FAILED_PRECONDITION", Class: schemas.Fatal, Code: "failed_precondition"},
		{Word: "UNIMPLEMENTED", Class: schemas.Fatal, Code: "not_implemented"},
		// The body is malformed, a value is out of range, or the prompt is longer than the model reads.
		{Word: "INVALID_ARGUMENT", Class: schemas.Rejected, Code: "invalid_argument"},
		{Word: "OUT_OF_RANGE", Class: schemas.Rejected, Code: "out_of_range"},
		// The model is overloaded or down for the moment.
		{Word: "UNAVAILABLE", Class: schemas.Transient, Code: "service_unavailable"},
		// The model did not finish in its own time.
		{Word: "DEADLINE_EXCEEDED", Class: schemas.Transient, Code: "gateway_timeout"},
		// Something broke on their side; 499 is theirs as well, for we hang up without asking.
		{Word: "INTERNAL", Class: schemas.Transient, Code: "server_error"},
		{Word: "UNKNOWN", Class: schemas.Transient, Code: "server_error"},
		{Word: "DATA_LOSS", Class: schemas.Transient, Code: "server_error"},
		{Word: "ABORTED", Class: schemas.Transient, Code: "conflict"},
		{Word: "CANCELLED", Class: schemas.Transient, Code: "canceled_by_provider"},
	}
}

// readProblem reads a google.rpc.Status: its reasons go before its status, and it may say how long to wait.
func readProblem(body []byte) wire.Problem {
	problem := wire.ParseProblem(body)
	if !json.Valid(body) { // and not gjson.Valid, which has no bound on nesting
		return problem
	}
	failure := gjson.ParseBytes(body)
	if failure.IsArray() { // a stream that is not of events is a list
		failure = failure.Get("0")
	}
	var reasons []string
	failure.Get("error.details").ForEach(func(_, detail gjson.Result) bool {
		kind := detail.Get(`\@type`).Str
		switch kind[strings.LastIndexByte(kind, '/')+1:] {
		case "google.rpc.ErrorInfo":
			if reason := detail.Get("reason").Str; isReason(reason) {
				reasons = append(reasons, reason)
			}
		case "google.rpc.QuotaFailure":
			detail.Get("violations").ForEach(func(_, violation gjson.Result) bool {
				if strings.Contains(violation.Get("quotaId").Str, "PerDay") {
					reasons = append(reasons, quotaPerDay)
					return false
				}
				return true
			})
		case "google.rpc.RetryInfo":
			// A google.protobuf.Duration, "7.5s".
			if after, err := time.ParseDuration(detail.Get("retryDelay").Str); err == nil && after > 0 {
				problem.RetryAfter = min(after, waitLimit)
			}
		}
		return true
	})
	problem.Words = append(reasons, problem.Words...)
	return problem
}

// isReason accepts UPPER_SNAKE_CASE, as the definition has it.
func isReason(text string) bool {
	return text != "" && len(text) <= reasonLimit && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	})
}
