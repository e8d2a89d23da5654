package wire

import (
	"net/http"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/schemas"
)

const statusOverloaded = 529 // Anthropic's and Databricks' "overloaded"; not registered

// Rule says what a provider means by a word, a status, or both together. The first that fits decides.
type Rule struct {
	Word   string // as the provider spells it, in any case; empty: any
	Status int    // 0: any
	Class  schemas.Class
	Code   string // the stable word for SQL
}

func (r *Rule) matches(status int, words []string) bool {
	if r.Status != 0 && r.Status != status {
		return false
	}
	return r.Word == "" || slices.ContainsFunc(words, func(word string) bool { return strings.EqualFold(word, r.Word) })
}

// ClassOfStatus returns the class of a status that is not 2xx, and the stable word for it. A provider's own
// word, where it is known, goes before (see classOfWord).
//
// Sources: RFC 9110 for the meaning; the error pages of OpenAI, Anthropic and Databricks model serving, and
// what their SDKs retry (408, 409, 429 and 5xx).
func ClassOfStatus(status int) (schemas.Class, string) {
	switch status {
	case http.StatusTooManyRequests: // RFC 6585 §4; all providers: a rate limit, wait
		return schemas.Throttled, "rate_limit_exceeded"
	case statusOverloaded: // Anthropic: the API is temporarily overloaded; the row is as good as before
		return schemas.Throttled, "overloaded"

	case http.StatusRequestTimeout: // RFC 9110 §15.5.9: the server gave up waiting; it may be repeated
		return schemas.Transient, "request_timeout"
	case http.StatusConflict: // the OpenAI SDK retries it: a lock that was not had in time
		return schemas.Transient, "conflict"
	case http.StatusTooEarly: // RFC 8470: send again outside of early data
		return schemas.Transient, "too_early"
	case http.StatusInternalServerError: // OpenAI: "the server had an error", retry after a brief wait
		return schemas.Transient, "server_error"
	case http.StatusBadGateway: // a proxy got nonsense from the model's server
		return schemas.Transient, "bad_gateway"
	case http.StatusServiceUnavailable: // OpenAI: engine overloaded; Databricks: scaled to zero, starting
		return schemas.Transient, "service_unavailable"
	case http.StatusGatewayTimeout: // a proxy's patience ended; providers bill completed calls only
		return schemas.Transient, "gateway_timeout"

	case http.StatusBadRequest: // OpenAI invalid_request_error: this text with these parameters can never work
		return schemas.Rejected, "bad_request"
	case http.StatusRequestEntityTooLarge: // Anthropic request_too_large: this row is too long
		return schemas.Rejected, "request_too_large"
	case http.StatusUnprocessableEntity: // FastAPI servers (vLLM, Mistral): the body is not to their taste
		return schemas.Rejected, "unprocessable"

	case http.StatusUnauthorized: // no row will do better with this key
		return schemas.Fatal, "unauthorized"
	case http.StatusPaymentRequired: // DeepSeek, OpenRouter: the account is empty
		return schemas.Fatal, "payment_required"
	case http.StatusForbidden: // the key may not use this model, or not from this country
		return schemas.Fatal, "forbidden"
	case http.StatusNotFound: // an unknown model, or a base URL that is wrong
		return schemas.Fatal, "not_found"
	case http.StatusMethodNotAllowed: // something lives at the URL, but not a chat endpoint
		return schemas.Fatal, "method_not_allowed"
	case http.StatusGone: // a model that was retired
		return schemas.Fatal, "gone"
	case http.StatusProxyAuthRequired: // our own proxy wants a login
		return schemas.Fatal, "proxy_authentication_required"
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported: // no retry teaches a server that
		return schemas.Fatal, "not_implemented"
	}
	switch {
	case status >= 300 && status < 400: // a base URL that is off; following would send the prompt elsewhere
		return schemas.Fatal, "redirected"
	case status >= 500: // Cloudflare's 520 to 526 and their like
		return schemas.Transient, "server_error"
	}
	return schemas.Fatal, "unexpected_status" // nobody said what it means: do not retry in the dark
}

// classOfWord returns the class of an error word that says more than the status it came with.
func classOfWord(word string) (schemas.Class, bool) {
	switch strings.ToLower(word) {
	case
		// OpenAI sends these with a 429, but no wait refills an account.
		"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated",
		// Refused whatever the status: Gemini answers a bad key with a 400.
		"invalid_api_key", "api_key_invalid", "authentication_error", "unauthenticated",
		"permission_error", "permission_denied",
		"model_not_found", "deploymentnotfound", "endpoint_not_found":
		return schemas.Fatal, true
	case
		// This row's text, whatever the status: some gateways say 500 or 403 to it.
		"context_length_exceeded", "string_above_max_length", "request_too_large",
		"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "invalid_prompt":
		return schemas.Rejected, true
	case
		// Also seen inside a 200 or a 403.
		"rate_limit_exceeded", "rate_limit_error", "request_limit_exceeded", "resource_exhausted",
		"overloaded_error":
		return schemas.Throttled, true
	}
	return schemas.Fatal, false
}
