// Package chatserver is a strict OpenAI chat-completions server for tests and benchmarks: it refuses what
// OpenAI would refuse, answers every question in a way that a test can predict, and keeps its own ledger of
// what it was asked, what it billed and what it managed to send.
//
// It holds no model and knows nothing of Inflow: where its ledger and a usage table disagree, the usage table
// is wrong. It speaks chat completions without streaming; everything else is refused.
package chatserver

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// requestLimit bounds a request's body; OpenAI refuses larger ones too.
const requestLimit = 16 << 20

// Options are the ways in which a server may be slow, limited or broken.
type Options struct {
	Latency           time.Duration // before every answer
	Jitter            time.Duration // at most this much more, uniformly
	Seed              uint64        // of jitter and of the fault schedule
	Faults            Schedule      // empty: none
	RequestsPerMinute int           // 0: not limited; beyond it 429 with Retry-After
	APIKey            string        // empty: any bearer token is welcome
}

// Server answers POST /v1/chat/completions. It is safe for concurrent use.
type Server struct {
	options Options
	ledger  *Ledger // nil: none is kept
	prefix  string  // of call ids, unique to this process
	calls   atomic.Int64
	window  window

	mu       sync.Mutex
	attempts map[string]int // by row key; kept only where a schedule needs it
}

// New returns a server that keeps its ledger in ledger, or none where that is nil.
func New(options Options, ledger *Ledger) *Server {
	return &Server{
		options:  options,
		ledger:   ledger,
		prefix:   strconv.FormatInt(time.Now().UnixNano(), 36),
		window:   window{limit: options.RequestsPerMinute},
		attempts: map[string]int{},
	}
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received := time.Now()
	call := Entry{
		Event:           Received,
		Time:            received.UTC(),
		ID:              fmt.Sprintf("chatcmpl-%s-%d", s.prefix, s.calls.Add(1)),
		ClientRequestID: r.Header.Get("X-Client-Request-Id"),
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, requestLimit))
	if err != nil {
		return // the client went away before it had asked
	}
	var request chatRequest
	refusal := s.authorise(r)
	if refusal == nil {
		request, refusal = parseRequest(r, body)
	}
	fault := Fault("")
	if refusal == nil {
		call.Key, call.MessageHash = rowKey(request.question()), Hash(request.question())
		call.Usage = &Usage{
			PromptTokens:     request.promptTokens(),
			CompletionTokens: Tokens(Answer(request.question())),
			CallID:           call.ID,
		}
		call.Usage.TotalTokens = call.Usage.PromptTokens + call.Usage.CompletionTokens
		if wait, ok := s.window.take(received); !ok {
			refusal = &refused{
				status: http.StatusTooManyRequests, kind: "requests", code: "rate_limit_exceeded",
				message: "Rate limit reached for requests per min (RPM)", retryAfter: wait,
			}
		} else {
			fault = s.options.Faults.Strikes(s.options.Seed, call.Key, s.attempt(call.Key))
		}
	}
	call.Fault = fault
	call.Status = fault.status()
	if refusal != nil {
		call.Status = refusal.status
	}
	if call.Status != http.StatusOK {
		call.Usage = nil // a refused call is not billed
	}
	s.ledger.append(call)

	s.wait(r)
	var complete bool
	switch {
	case refusal != nil:
		complete = refusal.write(w)
	case fault != "":
		complete = s.fail(w, r, fault, &call, &request)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", call.ID)
		complete = send(w, completion(&call, &request))
	}
	s.ledger.append(Entry{Event: Answered, Time: time.Now().UTC(), ID: call.ID, Complete: complete, Status: call.Status})
}

// attempt counts the calls for a key, from 1.
func (s *Server) attempt(key string) int {
	if len(s.options.Faults.rules) == 0 {
		return 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[key]++
	return s.attempts[key]
}

// wait holds the answer back for as long as the options say; a client that goes away ends it.
func (s *Server) wait(r *http.Request) {
	delay := s.options.Latency
	if s.options.Jitter > 0 {
		delay += rand.N(s.options.Jitter) //nolint:gosec // jitter is no secret
	}
	if delay <= 0 {
		return
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

func (s *Server) authorise(r *http.Request) *refused {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return &refused{
			status: http.StatusUnauthorized, kind: "invalid_request_error",
			message: "You didn't provide an API key. You need to provide it in an Authorization header using Bearer auth.",
		}
	}
	if s.options.APIKey != "" && token != s.options.APIKey {
		return &refused{
			status: http.StatusUnauthorized, kind: "invalid_request_error", code: "invalid_api_key",
			message: "Incorrect API key provided.",
		}
	}
	return nil
}

// Answer is what the server says to a question: a label that depends on nothing but the text.
func Answer(question string) string {
	labels := [...]string{"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}
	digest := fnv.New64a()
	_, _ = digest.Write([]byte(question)) // never fails
	sum := digest.Sum64()
	return labels[sum%uint64(len(labels))] + "-" + strconv.FormatUint(sum>>40, 36)
}

// Hash names a question without repeating it.
func Hash(question string) string {
	digest := fnv.New64a()
	_, _ = digest.Write([]byte(question)) // never fails
	return strconv.FormatUint(digest.Sum64(), 16)
}

// Tokens is the server's own count of a text's tokens.
func Tokens(text string) int64 { return int64(len(text))/4 + 1 }

// rowKey returns what stands in the first "[key=...]" of a question, and nothing where there is none.
func rowKey(question string) string {
	_, rest, found := strings.Cut(question, "[key=")
	if !found {
		return ""
	}
	key, _, found := strings.Cut(rest, "]")
	if !found {
		return ""
	}
	return key
}

type completionMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type completionChoice struct {
	Index        int               `json:"index"`
	Message      completionMessage `json:"message"`
	LogProbs     *string           `json:"logprobs"`
	FinishReason string            `json:"finish_reason"`
}

type completionBody struct {
	ID                string             `json:"id"`
	Object            string             `json:"object"`
	Created           int64              `json:"created"`
	Model             string             `json:"model"`
	Choices           []completionChoice `json:"choices"`
	Usage             *Usage             `json:"usage"`
	ServiceTier       string             `json:"service_tier"`
	SystemFingerprint string             `json:"system_fingerprint"`
}

// completion renders the answer to a call, under a dated model name as OpenAI does.
func completion(call *Entry, request *chatRequest) []byte {
	body, err := json.Marshal(completionBody{
		ID:      call.ID,
		Object:  "chat.completion",
		Created: call.Time.Unix(),
		Model:   request.Model + "-2026-01-01",
		Choices: []completionChoice{{
			Message:      completionMessage{Role: "assistant", Content: Answer(request.question())},
			FinishReason: "stop",
		}},
		Usage:             call.Usage,
		ServiceTier:       "default",
		SystemFingerprint: "fp_chatserver",
	})
	if err != nil {
		return []byte("{}") // plain structs always marshal
	}
	return body
}

// send writes a body whole, pushes it out, and reports whether the socket took all of it.
func send(w http.ResponseWriter, body []byte) bool {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if _, err := w.Write(body); err != nil {
		return false
	}
	return http.NewResponseController(w).Flush() == nil
}

// window limits requests in each calendar minute since the first.
type window struct {
	limit int

	mu    sync.Mutex
	until time.Time
	taken int
}

// take spends one request, or says how long until the next minute begins.
func (w *window) take(now time.Time) (time.Duration, bool) {
	if w.limit == 0 {
		return 0, true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.After(w.until) {
		w.until, w.taken = now.Add(time.Minute), 0
	}
	if w.taken >= w.limit {
		return w.until.Sub(now), false
	}
	w.taken++
	return 0, true
}
