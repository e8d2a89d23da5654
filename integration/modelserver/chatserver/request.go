package chatserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// chatRequest is a chat completions request: every field that OpenAI documents and nothing else. Fields that
// the server accepts without acting on them are kept raw.
type chatRequest struct {
	Model               string        `json:"model"`
	Messages            []chatMessage `json:"messages"`
	Temperature         *float64      `json:"temperature"`
	TopP                *float64      `json:"top_p"`
	N                   *int          `json:"n"`
	MaxTokens           *int64        `json:"max_tokens"`
	MaxCompletionTokens *int64        `json:"max_completion_tokens"`
	PresencePenalty     *float64      `json:"presence_penalty"`
	FrequencyPenalty    *float64      `json:"frequency_penalty"`
	Seed                *int64        `json:"seed"`
	Stream              *bool         `json:"stream"`
	User                *string       `json:"user"`

	Stop             json.RawMessage   `json:"stop"`
	ResponseFormat   json.RawMessage   `json:"response_format"`
	LogitBias        map[string]int    `json:"logit_bias"`
	LogProbs         *bool             `json:"logprobs"`
	TopLogProbs      *int              `json:"top_logprobs"`
	Metadata         map[string]string `json:"metadata"`
	ServiceTier      *string           `json:"service_tier"`
	Store            *bool             `json:"store"`
	ReasoningEffort  *string           `json:"reasoning_effort"`
	SafetyIdentifier *string           `json:"safety_identifier"`
	PromptCacheKey   *string           `json:"prompt_cache_key"`
}

type chatMessage struct {
	Role    string  `json:"role"`
	Content *string `json:"content"`
	Name    *string `json:"name"`
}

// question is the text of the last user message; parseRequest saw to it that there is one.
func (r *chatRequest) question() string {
	for _, message := range slices.Backward(r.Messages) {
		if message.Role == "user" {
			return *message.Content
		}
	}
	return ""
}

func (r *chatRequest) promptTokens() int64 {
	total := int64(3)
	for i := range r.Messages {
		total += Tokens(*r.Messages[i].Content) + 3
	}
	return total
}

// parseRequest reads a request as strictly as OpenAI does: the wrong method, path or type, an unknown or a
// missing field, a value out of range are all refused.
func parseRequest(r *http.Request, body []byte) (chatRequest, *refused) {
	var request chatRequest
	if r.URL.Path != "/v1/chat/completions" {
		return request, &refused{
			status: http.StatusNotFound, kind: "invalid_request_error",
			message: fmt.Sprintf("Invalid URL (%s %s)", r.Method, r.URL.Path),
		}
	}
	if r.Method != http.MethodPost {
		return request, &refused{
			status: http.StatusMethodNotAllowed, kind: "invalid_request_error", code: "method_not_supported",
			message: "Only POST requests are accepted.",
		}
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return request, invalid("", "you must provide a JSON body with Content-Type application/json")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return request, decodeRefusal(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return request, invalid("", "could not parse the JSON body: something follows the object")
	}
	return request, request.validate()
}

func decodeRefusal(err error) *refused {
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return invalid(mismatch.Field, fmt.Sprintf("Invalid type for '%s': got %s instead.", mismatch.Field, mismatch.Value))
	}
	return invalid("", "could not use the JSON body: "+err.Error())
}

func (r *chatRequest) validate() *refused {
	if r.Model == "" {
		return invalid("model", "you must provide a model parameter")
	}
	if len(r.Messages) == 0 {
		return invalid("messages", "Missing required parameter: 'messages'.")
	}
	users := 0
	for i := range r.Messages {
		field := fmt.Sprintf("messages[%d]", i)
		switch r.Messages[i].Role {
		case "user":
			users++
		case "system", "developer", "assistant":
		default:
			return invalid(field+".role", fmt.Sprintf("Invalid value: '%s'.", r.Messages[i].Role))
		}
		if r.Messages[i].Content == nil {
			return invalid(field+".content", "Invalid value for 'content': expected a string, got null.")
		}
	}
	if users == 0 {
		return invalid("messages", "this server answers user messages and there is none")
	}
	if r.Stream != nil && *r.Stream {
		return invalid("stream", "this server does not stream")
	}
	if r.MaxTokens != nil && r.MaxCompletionTokens != nil {
		return invalid("max_tokens", "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
	}
	for _, limit := range []struct {
		field     string
		value     *float64
		low, high float64
	}{
		{"temperature", r.Temperature, 0, 2},
		{"top_p", r.TopP, 0, 1},
		{"presence_penalty", r.PresencePenalty, -2, 2},
		{"frequency_penalty", r.FrequencyPenalty, -2, 2},
		{"n", float(r.N), 1, 1},
		{"max_tokens", float(r.MaxTokens), 1, 1 << 20},
		{"max_completion_tokens", float(r.MaxCompletionTokens), 1, 1 << 20},
	} {
		if limit.value != nil && (*limit.value < limit.low || *limit.value > limit.high) {
			return invalid(limit.field, fmt.Sprintf("Invalid '%s': expected a value from %v to %v, but got %v instead.",
				limit.field, limit.low, limit.high, *limit.value))
		}
	}
	return nil
}

func float[T int | int64](value *T) *float64 {
	if value == nil {
		return nil
	}
	converted := float64(*value)
	return &converted
}

// refused is an answer in OpenAI's error shape.
type refused struct {
	status              int
	kind, code, message string
	param               string
	retryAfter          time.Duration // 0: no header
}

func invalid(param, message string) *refused {
	return &refused{status: http.StatusBadRequest, kind: "invalid_request_error", param: param, message: message}
}

// write sends the refusal and reports whether the socket took all of it.
func (r *refused) write(w http.ResponseWriter) bool {
	optional := func(text string) *string {
		if text == "" {
			return nil
		}
		return &text
	}
	body, err := json.Marshal(map[string]any{"error": map[string]any{
		"message": r.message, "type": r.kind, "param": optional(r.param), "code": optional(r.code),
	}})
	if err != nil {
		return false // strings always marshal
	}
	w.Header().Set("Content-Type", "application/json")
	if r.retryAfter > 0 {
		seconds := int64((r.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(r.status)
	if _, err := w.Write(body); err != nil {
		return false
	}
	return http.NewResponseController(w).Flush() == nil
}
