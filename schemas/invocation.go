package schemas

import "time"

// Invocation is one attempt at one destination, and one row of the usage table. The ledger keeps it from the
// moment it is durable until the usage table has it.
//
// A field that cannot be known stays at its zero value and becomes NULL. The integer tags are the ledger's
// format on disk: never reuse a number.
type Invocation struct {
	InvocationID string    `cbor:"1,keyasint"`
	RequestID    string    `cbor:"2,keyasint"`
	EventTime    time.Time `cbor:"3,keyasint"` // when it was sent, UTC

	EndpointID      string            `cbor:"4,keyasint,omitempty"`
	EndpointName    string            `cbor:"5,keyasint,omitempty"`
	EndpointTags    map[string]string `cbor:"6,keyasint,omitempty"`
	DestinationType string            `cbor:"7,keyasint,omitempty"`
	DestinationName string            `cbor:"8,keyasint,omitempty"`
	DestinationID   string            `cbor:"9,keyasint,omitempty"`
	Model           string            `cbor:"10,keyasint,omitempty"`
	Requester       string            `cbor:"11,keyasint,omitempty"`
	URL             string            `cbor:"12,keyasint,omitempty"`
	APIType         string            `cbor:"13,keyasint,omitempty"`

	Latency         time.Duration `cbor:"14,keyasint,omitempty"`
	TimeToFirstByte time.Duration `cbor:"15,keyasint,omitempty"` // 0: no byte came
	StatusCode      int           `cbor:"16,keyasint,omitempty"` // 0: no status line came
	ContentType     string        `cbor:"17,keyasint,omitempty"`

	InputTokens              int64         `cbor:"18,keyasint,omitempty"`
	OutputTokens             int64         `cbor:"19,keyasint,omitempty"`
	TotalTokens              int64         `cbor:"20,keyasint,omitempty"`
	CacheReadInputTokens     *int64        `cbor:"21,keyasint,omitempty"`
	CacheCreationInputTokens *int64        `cbor:"22,keyasint,omitempty"`
	OutputReasoningTokens    *int64        `cbor:"23,keyasint,omitempty"`
	BillableBasis            BillableBasis `cbor:"24,keyasint,omitempty"`
	ProviderUsage            string        `cbor:"25,keyasint,omitempty"`
	CostUSD                  *USD          `cbor:"26,keyasint,omitempty"` // nil: no price is known
	PriceVersion             string        `cbor:"27,keyasint,omitempty"`

	// Attempts are this request's attempts up to and including this one.
	Attempts []Attempt `cbor:"28,keyasint,omitempty"`

	IdempotencyKey string `cbor:"29,keyasint,omitempty"`
	ReusedFrom     string `cbor:"30,keyasint,omitempty"`

	Job             string `cbor:"31,keyasint,omitempty"`
	RunID           string `cbor:"32,keyasint,omitempty"`
	TaskKey         string `cbor:"33,keyasint,omitempty"`
	Attempt         int    `cbor:"34,keyasint,omitempty"` // 1 for the first
	SourceName      string `cbor:"35,keyasint,omitempty"`
	SourcePartition string `cbor:"36,keyasint,omitempty"`
	SourceOffset    int64  `cbor:"37,keyasint"`
	SourceVersion   int64  `cbor:"38,keyasint"` // -1: the source has no versions
	RowKey          string `cbor:"39,keyasint,omitempty"`

	Error *RowError `cbor:"40,keyasint,omitempty"`

	EndpointCreator     string    `cbor:"41,keyasint,omitempty"`
	EndpointCreated     time.Time `cbor:"42,keyasint,omitzero"`
	EndpointLastUpdated time.Time `cbor:"43,keyasint,omitzero"`
	Destinations        []string  `cbor:"44,keyasint,omitempty"` // of the endpoint
	PromptName          string    `cbor:"45,keyasint,omitempty"`
	PromptVersion       string    `cbor:"46,keyasint,omitempty"`
}

// Attempt is one line of routing_information.
type Attempt struct {
	Action      string        `cbor:"1,keyasint"` // PRIMARY | RETRY | FALLBACK
	Destination string        `cbor:"2,keyasint"`
	StatusCode  int           `cbor:"3,keyasint,omitempty"`
	Latency     time.Duration `cbor:"4,keyasint,omitempty"`
}

// RowError is a failure as data: the error column of results and usage.
type RowError struct {
	Code       string `cbor:"1,keyasint"`
	Class      Class  `cbor:"2,keyasint"`
	Message    string `cbor:"3,keyasint"`
	HTTPStatus int    `cbor:"4,keyasint,omitempty"`
	Attempts   int    `cbor:"5,keyasint,omitempty"`
}

// Answer is what a row's request came to: the last invocation, and either its text or the error. It is what
// the ledger keeps so that a restart pays nothing.
type Answer struct {
	Text       string     `cbor:"1,keyasint,omitempty"`
	Error      *RowError  `cbor:"2,keyasint,omitempty"`
	Invocation Invocation `cbor:"3,keyasint"`
	Reused     bool       `cbor:"4,keyasint,omitempty"` // another row's answer serves this one
}
