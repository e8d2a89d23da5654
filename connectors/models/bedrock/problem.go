package bedrock

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// rules are Bedrock's words. They come from the errors of Converse and ConverseStream in the API reference and from
// docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html. Streams spell them with a small
// first letter, which makes no difference here.
func rules() []wire.Rule {
	return []wire.Rule{
		// Tokens or requests a minute ran out; AWS's advice is to wait longer each time (troubleshooting page).
		{Word: "ThrottlingException", Class: schemas.Throttled, Code: "rate_limit_exceeded"},
		// A quota of the account, which the page says to wait for; its status is a 400.
		{Word: "ServiceQuotaExceededException", Class: schemas.Throttled, Code: "quota_exceeded"},
		// A model that is being loaded; the AWS SDKs try again (API reference, Converse).
		{Word: "ModelNotReadyException", Class: schemas.Throttled, Code: "model_not_ready"},

		// The model was not done in time; nothing says that the row is to blame (API reference, 408).
		{Word: "ModelTimeoutException", Class: schemas.Transient, Code: "model_timeout"},
		// The model failed on its own (API reference, 424, a status of no other meaning here).
		{Word: "ModelErrorException", Class: schemas.Transient, Code: "model_error"},
		// The same in the middle of a stream: the reference says to try again.
		{Word: "ModelStreamErrorException", Class: schemas.Transient, Code: "model_stream_error"},
		// The service is away or too busy (API reference, 503).
		{Word: "ServiceUnavailableException", Class: schemas.Transient, Code: "service_unavailable"},
		// Their own fault (API reference, 500); the second is the name that the front end uses.
		{Word: "InternalServerException", Class: schemas.Transient, Code: "server_error"},
		{Word: "InternalFailure", Class: schemas.Transient, Code: "server_error"},

		// This row's text, media or parameters; too long an input has no word of its own (API reference, 400).
		{Word: "ValidationException", Class: schemas.Rejected, Code: "bad_request"},

		// The identity may not call this model, or the account has no access to it (API reference, 403).
		{Word: "AccessDeniedException", Class: schemas.Fatal, Code: "access_denied"},
		// No such model, profile or deployment in the region (API reference, 404).
		{Word: "ResourceNotFoundException", Class: schemas.Fatal, Code: "model_not_found"},
		// The access key is unknown or switched off (common errors of AWS APIs).
		{Word: "UnrecognizedClientException", Class: schemas.Fatal, Code: "invalid_access_key"},
		{Word: "InvalidClientTokenId", Class: schemas.Fatal, Code: "invalid_access_key"},
		// The secret does not fit the access key, the region is another, or this machine's clock is wrong (same page).
		{Word: "InvalidSignatureException", Class: schemas.Fatal, Code: "invalid_signature"},
		{Word: "SignatureDoesNotMatch", Class: schemas.Fatal, Code: "invalid_signature"},
		{Word: "IncompleteSignature", Class: schemas.Fatal, Code: "invalid_signature"},
		{Word: "IncompleteSignatureException", Class: schemas.Fatal, Code: "invalid_signature"},
		{Word: "MissingAuthenticationTokenException", Class: schemas.Fatal, Code: "invalid_signature"},
		// The session is over: static temporary keys do not renew themselves (same page).
		{Word: "ExpiredTokenException", Class: schemas.Fatal, Code: "expired_token"},
		{Word: "ExpiredToken", Class: schemas.Fatal, Code: "expired_token"},
		// The signature is older than it may be, which a wrong clock makes every one (same page, a 400).
		{Word: "RequestExpired", Class: schemas.Fatal, Code: "request_expired"},
		// A permission or a subscription that the account has not got, with a 400 or a 403 (same page).
		{Word: "NotAuthorized", Class: schemas.Fatal, Code: "access_denied"},
		{Word: "OptInRequired", Class: schemas.Fatal, Code: "access_denied"},
	}
}

// readProblem reads an error of the AWS JSON protocols: the word is in a header or in the body, perhaps with a
// namespace before it or an address behind.
func readProblem(header http.Header, body []byte) wire.Problem {
	var problem wire.Problem
	words := []string{header.Get("X-Amzn-Errortype")}
	if json.Valid(body) {
		parsed := gjson.ParseBytes(body)
		words = append(words, parsed.Get("__type").Str, parsed.Get("code").Str)
		problem.Message = parsed.Get("message").Str
		if problem.Message == "" {
			problem.Message = parsed.Get("Message").Str
		}
	}
	for _, word := range words {
		word, _, _ = strings.Cut(word, ":")
		if word = word[strings.LastIndexByte(word, '#')+1:]; isWord(word) {
			problem.Words = append(problem.Words, word)
		}
	}
	for _, word := range problem.Words {
		if strings.Contains(word, "Signature") {
			problem.Message = "" // it quotes the whole request that was expected, with the session token in it
		}
	}
	return problem
}

// problemInside is the failure that a 200 tells, in a frame of its stream or in its body. Its status is the one that the
// reference gives the word: without a status, package wire would know no word of ours.
func problemInside(word string, payload []byte) *wire.Problem {
	problem := readProblem(http.Header{"X-Amzn-Errortype": {word}}, payload)
	if len(problem.Words) == 0 {
		return &problem
	}
	switch strings.ToLower(problem.Words[0]) {
	case "throttlingexception", "modelnotreadyexception":
		problem.Status = http.StatusTooManyRequests
	case "validationexception", "servicequotaexceededexception":
		problem.Status = http.StatusBadRequest
	case "modelstreamerrorexception", "modelerrorexception":
		problem.Status = http.StatusFailedDependency
	case "modeltimeoutexception":
		problem.Status = http.StatusRequestTimeout
	case "serviceunavailableexception":
		problem.Status = http.StatusServiceUnavailable
	case "accessdeniedexception", "expiredtokenexception":
		problem.Status = http.StatusForbidden
	}
	return &problem
}

// isWord accepts what may stand in a code column.
func isWord(text string) bool {
	const longest = 64
	return text != "" && len(text) <= longest && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.'
	})
}
