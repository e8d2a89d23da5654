package schemas

import "time"

// Endpoint is a name that answers inference, resolved from the catalog.
type Endpoint struct {
	Name         string
	ID           string // empty where the catalog gives none
	Creator      string
	Created      time.Time // zero where unknown
	LastUpdated  time.Time
	Tags         map[string]string
	Destinations []Destination // in the order of the catalog
	// Fallback sends a request that got a 429 or a 5xx on to the next destination.
	Fallback   bool
	RateLimits []RateLimit
}

// Destination is one served entity behind an endpoint: a model at a provider.
type Destination struct {
	Name     string // served_entity_name
	ID       string
	Type     string // EXTERNAL_MODEL | FOUNDATION_MODEL | CUSTOM_MODEL
	Provider string // the wire format: "openai", "embedded"
	Model    string // the provider's name for it
	Task     string // "llm/v1/chat"
	// TrafficPercentage is the share of requests that start here, 0 to 100. Shares over an endpoint sum to 100.
	TrafficPercentage int
	// Settings and Secrets hold the provider's configuration under the serving API's own field names,
	// "openai_api_base" and "openai_api_key".
	Settings map[string]string
	Secrets  map[string]Secret
	// Signature is what a model that predicts takes and gives; nil where it is not known.
	Signature *Signature
}

// Signature is a model's, as it was logged with it.
type Signature struct {
	Inputs []Feature // nil: not known
	// Output is the type of one prediction as a job file writes it: "DOUBLE", "STRUCT<label: STRING, score: DOUBLE>".
	// Empty: not known.
	Output string
}

// Feature is an input of a model.
type Feature struct {
	Name     string // empty: it is the only one, and has no name
	Type     string // by MLflow's names: "double", "array(long)", "tensor(float32)"
	Optional bool
}

// RateLimit is a limit of the endpoint's gateway.
type RateLimit struct {
	Key       string // endpoint | user
	Principal string
	Calls     int64 // 0: not limited
	Tokens    int64 // 0: not limited
	Period    time.Duration
}
