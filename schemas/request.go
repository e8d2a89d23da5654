package schemas

import (
	"time"
	"unicode/utf8"
)

// Request is one logical question. Retries and fallbacks ask the same Request again.
type Request struct {
	ID           string    // request_id
	InvocationID string    // of the attempt being made
	Messages     []Message // in order
	// Parameters are the sampling parameters by the OpenAI chat completion names: temperature, max_tokens, ...
	Parameters map[string]any
}

// Message is one turn of a chat.
type Message struct {
	Role    string `cbor:"1,keyasint"`
	Content string `cbor:"2,keyasint"`
}

// TextLength is the number of characters of all messages, the basis of a token estimate.
func (r *Request) TextLength() int {
	total := 0
	for i := range r.Messages {
		total += utf8.RuneCountInString(r.Messages[i].Content)
	}
	return total
}

// EstimateTokens is Databricks' own estimate for a text of that many characters. It stands in only where a
// model reports no count, and for reservations.
func EstimateTokens(characters int) int64 { return int64(characters+1) / 4 }

// Response is a model's answer to a Request.
type Response struct {
	Text        string
	Model       string // as the provider names it
	ContentType string
	HTTPStatus  int
	FirstByte   time.Duration // from sending to the first byte of the answer
	Usage       Usage
}

// Usage is what a call consumed. InputTokens include cached tokens, whatever the provider's own convention.
type Usage struct {
	InputTokens              int64
	OutputTokens             int64
	TotalTokens              int64
	CacheReadInputTokens     *int64 // nil where the provider does not report it
	CacheCreationInputTokens *int64
	OutputReasoningTokens    *int64
	Basis                    BillableBasis
	Raw                      string // the provider's usage object, verbatim JSON; empty where it sent none
}

// BillableBasis says where an invocation's token counts come from.
type BillableBasis string

// The bases.
const (
	BasisProvider  BillableBasis = "provider_usage" // counted by the provider
	BasisEstimated BillableBasis = "estimated"      // sent, but not counted by the provider
	BasisNone      BillableBasis = "none"           // nothing to pay
)
