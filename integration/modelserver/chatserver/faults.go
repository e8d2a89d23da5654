package chatserver

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is one way in which a call goes wrong.
type Fault string

// The faults. All but the refusals strike after the server has done and billed the work, as they do in life.
const (
	Throttle       Fault = "429"            // with Retry-After: 1
	ThrottleSilent Fault = "429-silent"     // without Retry-After
	ServerError    Fault = "500"            // in OpenAI's error shape
	Unavailable    Fault = "503"            // with an HTML page, as a load balancer sends it
	Unauthorised   Fault = "401"            // the key is not accepted
	ContextLength  Fault = "context-length" // 400, code context_length_exceeded
	ContentFilter  Fault = "content-filter" // 400, code content_filter
	ResetHeaders   Fault = "reset-headers"  // the connection is reset before a status line
	ResetBody      Fault = "reset-body"     // the connection is reset in the middle of the body
	TruncatedJSON  Fault = "truncated-json" // a whole HTTP response that holds half a JSON object
	HTML           Fault = "html"           // status 200, a login page
	EmptyBody      Fault = "empty-body"     // status 200, no byte
	NoChoices      Fault = "no-choices"     // status 200, an empty list of choices
	Hang           Fault = "hang"           // no answer until the client goes away
	Huge           Fault = "huge"           // an answer of 10 GB
)

const (
	hugeBytes       = 10 << 30
	hugeChunk       = 64 << 10
	rawWriteTimeout = 5 * time.Second
)

// Faults lists every fault.
func Faults() []Fault {
	return []Fault{
		Throttle, ThrottleSilent, ServerError, Unavailable, Unauthorised, ContextLength, ContentFilter, ResetHeaders,
		ResetBody, TruncatedJSON, HTML, EmptyBody, NoChoices, Hang, Huge,
	}
}

// status is the status line that a call with this fault is given, 0 for none.
func (f Fault) status() int {
	switch f {
	case Throttle, ThrottleSilent:
		return http.StatusTooManyRequests
	case ServerError:
		return http.StatusInternalServerError
	case Unavailable:
		return http.StatusServiceUnavailable
	case Unauthorised:
		return http.StatusUnauthorized
	case ContextLength, ContentFilter:
		return http.StatusBadRequest
	case ResetHeaders, ResetBody, TruncatedJSON, HTML, EmptyBody, NoChoices, Hang, Huge:
	}
	return http.StatusOK
}

// Schedule decides which calls go wrong. It looks at nothing but the seed, the row's key and the number of the
// attempt, so that it strikes the same rows however the calls are ordered.
type Schedule struct {
	rules    []rule
	attempts int
}

type rule struct {
	fault Fault
	share float64
}

// ParseSchedule reads "429:0.1,reset-body:0.05": faults with the share of calls that they strike. Only the
// first attempts calls for a row may be struck; 0 means all of them.
func ParseSchedule(text string, attempts int) (Schedule, error) {
	schedule := Schedule{attempts: attempts}
	if text == "" {
		return schedule, nil
	}
	total := 0.0
	for part := range strings.SplitSeq(text, ",") {
		name, share, found := strings.Cut(part, ":")
		if !found || !slices.Contains(Faults(), Fault(name)) {
			return Schedule{}, fmt.Errorf("fault %q: want FAULT:SHARE with one of %v", part, Faults())
		}
		value, err := strconv.ParseFloat(share, 64)
		if err != nil || value < 0 || value > 1 {
			return Schedule{}, fmt.Errorf("fault %q: the share is a number from 0 to 1", part)
		}
		total += value
		schedule.rules = append(schedule.rules, rule{Fault(name), value})
	}
	if total > 1+1e-9 {
		return Schedule{}, errors.New("the shares of all faults come to more than 1")
	}
	return schedule, nil
}

// Strikes tells which fault a call will meet, "" for none.
func (s Schedule) Strikes(seed uint64, key string, attempt int) Fault {
	if len(s.rules) == 0 || (s.attempts > 0 && attempt > s.attempts) {
		return ""
	}
	digest := fnv.New64a()
	_, _ = fmt.Fprintf(digest, "%d\x00%s\x00%d", seed, key, attempt) // never fails
	// FNV's low bits mix poorly over short inputs: fold the high ones in.
	sum := digest.Sum64()
	sum ^= sum >> 33
	sum *= 0xff51afd7ed558ccd
	sum ^= sum >> 33
	draw := float64(sum>>11) / (1 << 53)
	for _, rule := range s.rules {
		if draw < rule.share {
			return rule.fault
		}
		draw -= rule.share
	}
	return ""
}

// fail answers a call with its fault and reports whether a well-formed response was written completely.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, fault Fault, call *Entry, request *chatRequest) bool {
	whole := completion(call, request)
	switch fault {
	case Throttle:
		return throttled(time.Second).write(w)
	case ThrottleSilent:
		return throttled(0).write(w)
	case ServerError:
		refusal := refused{
			status: http.StatusInternalServerError, kind: "server_error",
			message: "The server had an error while processing your request. Sorry about that!",
		}
		return refusal.write(w)
	case Unavailable:
		return page(w, http.StatusServiceUnavailable, "503 Service Temporarily Unavailable")
	case Unauthorised:
		refusal := refused{
			status: http.StatusUnauthorized, kind: "invalid_request_error", code: "invalid_api_key",
			message: "Incorrect API key provided.",
		}
		return refusal.write(w)
	case ContextLength:
		refusal := invalid("messages", "This model's maximum context length is 128000 tokens. Please reduce the length of the messages.")
		refusal.code = "context_length_exceeded"
		return refusal.write(w)
	case ContentFilter:
		refusal := invalid("prompt", "The response was filtered due to the prompt triggering the content management policy.")
		refusal.code = "content_filter"
		return refusal.write(w)
	case ResetHeaders:
		reset(w, nil)
	case ResetBody:
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(whole))
		reset(w, append([]byte(head), whole[:len(whole)/2]...))
	case TruncatedJSON:
		w.Header().Set("Content-Type", "application/json")
		send(w, whole[:len(whole)/2])
	case HTML:
		page(w, http.StatusOK, "Please log in")
	case EmptyBody:
		w.Header().Set("Content-Type", "application/json")
		send(w, nil)
	case NoChoices:
		w.Header().Set("Content-Type", "application/json")
		send(w, []byte(`{"id":"`+call.ID+`","object":"chat.completion","created":1,"model":"`+request.Model+`","choices":[]}`))
	case Hang:
		<-r.Context().Done()
	case Huge:
		huge(r.Context(), w, call.ID)
	}
	return false
}

func throttled(wait time.Duration) *refused {
	return &refused{
		status: http.StatusTooManyRequests, kind: "requests", code: "rate_limit_exceeded",
		message: "Rate limit reached for requests per min (RPM)", retryAfter: wait,
	}
}

func page(w http.ResponseWriter, status int, title string) bool {
	body := "<!DOCTYPE html><html><head><title>" + title + "</title></head><body><h1>" + title + "</h1></body></html>"
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err := w.Write([]byte(body))
	return err == nil
}

// reset writes raw bytes past the HTTP layer and then resets the connection.
func reset(w http.ResponseWriter, raw []byte) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close() //nolint:errcheck // the connection is being broken on purpose
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	_ = tcp.SetWriteDeadline(time.Now().Add(rawWriteTimeout)) // a client that never reads gets its reset all the same
	_, _ = tcp.Write(raw)
	_ = tcp.SetLinger(0) // close sends RST, not FIN
}

// huge streams an answer of 10 GB that would be valid JSON if anybody read it to the end.
func huge(ctx context.Context, w http.ResponseWriter, id string) {
	w.Header().Set("Content-Type", "application/json")
	head := `{"id":"` + id + `","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"`
	if _, err := w.Write([]byte(head)); err != nil {
		return
	}
	chunk := slices.Repeat([]byte("inflow! "), hugeChunk/8)
	for sent := 0; sent < hugeBytes && ctx.Err() == nil; sent += len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
	_, _ = w.Write([]byte(`"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)) // whether it arrives is the client's business
}
