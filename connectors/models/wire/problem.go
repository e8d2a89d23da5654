package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/inflowhq/inflow/schemas"
)

const (
	messageLimit = 300 // characters of a provider's message that an error shows
	wordLimit    = 64
	// waitLimit bounds what a Retry-After may say. The engine caps it further; this keeps it from overflowing.
	waitLimit = 24 * time.Hour
)

// Problem is a provider's structured account of a failure. Every field may be empty.
type Problem struct { //nolint:errname // an account of a failure, which is an error only where a format returns it
	Words      []string // its words for it, the most exact first: "context_length_exceeded", "invalid_request_error"
	Status     int      // an HTTP status inside the body, as gateways that answer 200 send
	Message    string
	RetryAfter time.Duration
}

// problemFields is the union of what providers send. A field is raw where they disagree on its type.
type problemFields struct {
	Error      json.RawMessage `json:"error"`
	ErrorCode  json.RawMessage `json:"error_code"` // Databricks, MLflow
	Code       json.RawMessage `json:"code"`       // a word at OpenAI, the status as a number at Gemini and vLLM
	Type       json.RawMessage `json:"type"`
	Status     json.RawMessage `json:"status"` // Gemini's word
	Message    json.RawMessage `json:"message"`
	RetryAfter json.RawMessage `json:"retry_after"` // seconds
}

// ParseProblem reads an error body: {"error": {...}} of OpenAI, Anthropic and Gemini (also in a list of one),
// {"error": "text"} of Ollama, and {"error_code", "message"} of Databricks. Anything else is a Problem that
// says nothing: text that is not in its place is never shown.
func ParseProblem(body []byte) Problem {
	body = bytes.TrimSpace(body)
	if len(body) > 0 && body[0] == '[' {
		var list []json.RawMessage
		if json.Unmarshal(body, &list) != nil || len(list) == 0 {
			return Problem{}
		}
		body = list[0]
	}
	var outer problemFields
	if json.Unmarshal(body, &outer) != nil {
		return Problem{}
	}
	var problem Problem
	if len(outer.Error) > 0 && outer.Error[0] == '{' {
		var inner problemFields
		if json.Unmarshal(outer.Error, &inner) == nil {
			problem.add(&inner)
		}
	} else if text, ok := rawString(outer.Error); ok {
		problem.Message = text
	}
	problem.add(&outer)
	return problem
}

func (p *Problem) add(from *problemFields) {
	for _, raw := range []json.RawMessage{from.Code, from.ErrorCode, from.Status, from.Type} {
		if text, ok := rawString(raw); ok && isWord(text) {
			p.Words = append(p.Words, text)
		} else if status, ok := rawNumber(raw); ok && p.Status == 0 && status >= 400 && status <= 599 {
			p.Status = int(status)
		}
	}
	if text, ok := rawString(from.Message); ok && p.Message == "" {
		p.Message = text
	}
	if seconds, ok := rawNumber(from.RetryAfter); ok && p.RetryAfter == 0 {
		p.RetryAfter = wait(seconds, time.Second)
	}
}

// class decides what a failure with this status and problem is, and the word for it.
func (p *Problem) class(status int, rules []Rule) (schemas.Class, string) {
	if p.Status != 0 && status >= 200 && status <= 299 {
		status = p.Status
	}
	for i := range rules {
		if rule := &rules[i]; rule.matches(status, p.Words) {
			return rule.Class, rule.Code
		}
	}
	class, code := ClassOfStatus(status)
	for _, word := range p.Words {
		if known, ok := classOfWord(word); ok {
			return known, word
		}
	}
	if len(p.Words) > 0 && (class == schemas.Rejected || class == schemas.Fatal) {
		code = p.Words[0] // why this row or this set-up is refused, the provider says best
	}
	return class, code
}

// retryAfter is how long the provider asked to wait: the exacter header first, then the standard one, then
// the body; 0 where it did not say.
func retryAfter(header http.Header, problem *Problem, now time.Time) time.Duration {
	if millis, err := strconv.ParseFloat(strings.TrimSpace(header.Get("Retry-After-Ms")), 64); err == nil {
		if d := wait(millis, time.Millisecond); d > 0 {
			return d
		}
	}
	if text := strings.TrimSpace(header.Get("Retry-After")); text != "" {
		if seconds, err := strconv.ParseFloat(text, 64); err == nil {
			if d := wait(seconds, time.Second); d > 0 {
				return d
			}
		} else if date, err := http.ParseTime(text); err == nil {
			if d := wait(date.Sub(now).Seconds(), time.Second); d > 0 {
				return d
			}
		}
	}
	return problem.RetryAfter
}

// wait turns a provider's number into a duration between 0 and waitLimit; NaN is 0.
func wait(count float64, unit time.Duration) time.Duration {
	if math.IsNaN(count) || count <= 0 {
		return 0
	}
	if count >= float64(waitLimit/unit) {
		return waitLimit
	}
	return time.Duration(count * float64(unit))
}

// redact removes the key from the words and the message, whatever the provider echoes.
func (p *Problem) redact(key schemas.Secret) {
	text := key.Reveal()
	p.Words = slices.DeleteFunc(p.Words, func(word string) bool { return text != "" && strings.Contains(word, text) })
	p.Message = cleanMessage(p.Message, text)
}

// cleanMessage makes a provider's message fit for an error: one line of printable text, without the key,
// shortened last so that no cut can leave half a key behind.
func cleanMessage(message, key string) string {
	message = withoutKey(message, key)
	message = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(message, "\uFFFD"))
	message = withoutKey(strings.Join(strings.Fields(message), " "), key) // again: cleaning may have joined it
	if utf8.RuneCountInString(message) > messageLimit {
		message = string([]rune(message)[:messageLimit]) + "…"
	}
	return message
}

func withoutKey(message, key string) string {
	if key == "" {
		return message
	}
	return strings.ReplaceAll(message, key, "[redacted]")
}

// isWord accepts what may stand in a code column.
func isWord(text string) bool {
	if text == "" || len(text) > wordLimit {
		return false
	}
	for _, char := range []byte(text) {
		switch {
		case char >= 'a' && char <= 'z', char >= 'A' && char <= 'Z', char >= '0' && char <= '9',
			char == '_', char == '-', char == '.':
		default:
			return false
		}
	}
	return true
}

func rawString(raw json.RawMessage) (string, bool) {
	var text string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", false
	}
	return text, true
}

// rawNumber takes a number or a string that holds one.
func rawNumber(raw json.RawMessage) (float64, bool) {
	text, ok := rawString(raw)
	if !ok {
		text = string(raw)
	}
	number, err := strconv.ParseFloat(text, 64)
	return number, err == nil
}
