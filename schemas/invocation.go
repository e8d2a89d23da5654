package schemas

import "time"

// Origin is what the invocations of one run at one destination have in common. They share one Origin, which does
// not change.
//
// A field that cannot be known stays at its zero value and becomes NULL. Here and below, the integer tags are the
// ledger's format on disk: never reuse a number.
type Origin struct {
	Job        string `cbor:"1,keyasint,omitempty"`
	RunID      string `cbor:"2,keyasint,omitempty"`
	TaskKey    string `cbor:"3,keyasint,omitempty"`
	SourceName string `cbor:"4,keyasint,omitempty"`
	Requester  string `cbor:"5,keyasint,omitempty"`

	EndpointID          string            `cbor:"6,keyasint,omitempty"`
	EndpointName        string            `cbor:"7,keyasint,omitempty"`
	EndpointTags        map[string]string `cbor:"8,keyasint,omitempty"`
	EndpointCreator     string            `cbor:"9,keyasint,omitempty"`
	EndpointCreated     time.Time         `cbor:"10,keyasint,omitzero"`
	EndpointLastUpdated time.Time         `cbor:"11,keyasint,omitzero"`
	Destinations        []string          `cbor:"12,keyasint,omitempty"` // of the endpoint

	DestinationType string `cbor:"13,keyasint,omitempty"`
	DestinationName string `cbor:"14,keyasint,omitempty"`
	DestinationID   string `cbor:"15,keyasint,omitempty"`
	URL             string `cbor:"16,keyasint,omitempty"`
	APIType         string `cbor:"17,keyasint,omitempty"`
	PromptName      string `cbor:"18,keyasint,omitempty"`
	PromptVersion   string `cbor:"19,keyasint,omitempty"`
}

// Invocation is one attempt at one destination, and one row of the usage table. The ledger keeps it from the
// moment it is durable until the usage table has it.
type Invocation struct {
	*Origin `cbor:"-"` // never nil

	InvocationID string    `cbor:"1,keyasint"`
	RequestID    string    `cbor:"2,keyasint"`
	EventTime    time.Time `cbor:"3,keyasint"` // when it was sent, UTC
	Model        string    `cbor:"4,keyasint,omitempty"`

	Latency         time.Duration `cbor:"5,keyasint,omitempty"`
	TimeToFirstByte time.Duration `cbor:"6,keyasint,omitempty"` // 0: no byte came
	StatusCode      int           `cbor:"7,keyasint,omitempty"` // 0: no status line came
	ContentType     string        `cbor:"8,keyasint,omitempty"`

	InputTokens              int64         `cbor:"9,keyasint,omitempty"`
	OutputTokens             int64         `cbor:"10,keyasint,omitempty"`
	TotalTokens              int64         `cbor:"11,keyasint,omitempty"`
	CacheReadInputTokens     *int64        `cbor:"12,keyasint,omitempty"`
	CacheCreationInputTokens *int64        `cbor:"13,keyasint,omitempty"`
	OutputReasoningTokens    *int64        `cbor:"14,keyasint,omitempty"`
	BillableBasis            BillableBasis `cbor:"15,keyasint,omitempty"`
	ProviderUsage            string        `cbor:"16,keyasint,omitempty"`
	CostUSD                  *USD          `cbor:"17,keyasint,omitempty"` // nil: no price is known
	PriceVersion             string        `cbor:"18,keyasint,omitempty"`

	Attempt int `cbor:"19,keyasint,omitempty"` // 1 for the first
	// Attempts are this request's attempts up to and including this one.
	Attempts []Attempt `cbor:"20,keyasint,omitempty"`
	Error    *RowError `cbor:"21,keyasint,omitempty"`

	IdempotencyKey  string `cbor:"22,keyasint,omitempty"`
	ReusedFrom      string `cbor:"23,keyasint,omitempty"`
	SourcePartition string `cbor:"24,keyasint,omitempty"`
	SourceOffset    int64  `cbor:"25,keyasint"`
	SourceVersion   int64  `cbor:"26,keyasint"` // -1: the source has no versions
	RowKey          string `cbor:"27,keyasint,omitempty"`
	ServiceTier     string `cbor:"28,keyasint,omitempty"` // that served it; empty: the standard one, or unknown
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

// Answer is what a row's request came to: the last invocation, and either what it brought or the error. It is what
// the ledger keeps so that a restart pays nothing. Of an invocation that answered several rows, each has its share.
type Answer struct {
	Text       string     `cbor:"1,keyasint,omitempty"` // of a prediction: its JSON
	Error      *RowError  `cbor:"2,keyasint,omitempty"`
	Invocation Invocation `cbor:"3,keyasint"`
	Reused     bool       `cbor:"4,keyasint,omitempty"` // another row's answer serves this one
	Vector     []byte     `cbor:"5,keyasint,omitempty"` // of an embedding: float32, little-endian
}
