package jobs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/inflowhq/inflow/catalog/local"
	"github.com/inflowhq/inflow/pipeline/routing"
	"github.com/inflowhq/inflow/schemas"
)

// Ask is one question to an endpoint, outside of any job: nothing is written down, and nothing is tried again.
type Ask struct {
	Catalog    string // the path of a local catalog file
	Prices     string // the path of a price book; empty: only Inflow's own
	Endpoint   string
	System     string // the system message; empty: none
	Question   string
	Parameters map[string]any
	Timeout    time.Duration
}

// Asked is what came of it.
type Asked struct {
	Endpoint      string        `json:"endpoint"`
	Destination   string        `json:"destination"`
	Provider      string        `json:"provider"`
	Model         string        `json:"model"`
	RequestID     string        `json:"request_id"`
	Answer        string        `json:"answer"`
	Stop          string        `json:"stop_reason,omitempty"`
	InputTokens   int64         `json:"input_tokens"`
	OutputTokens  int64         `json:"output_tokens"`
	Cached        *int64        `json:"cache_read_input_tokens,omitempty"`
	Reasoning     *int64        `json:"output_reasoning_tokens,omitempty"`
	BillableBasis string        `json:"billable_basis"`
	CostUSD       *schemas.USD  `json:"cost_usd"` // nil: no price is known
	PriceVersion  string        `json:"price_version,omitempty"`
	FirstToken    time.Duration `json:"-"`
	Latency       time.Duration `json:"-"`
}

// Put asks, under the privileges and with the traffic split and the fallback of the endpoint. emit gets the answer's
// text as it comes; once a part of it came, no other destination is asked.
func (a *Ask) Put(ctx context.Context, lookupEnv func(string) (string, bool), emit func(text string)) (asked *Asked, err error) {
	book, err := priceBook(a.Prices)
	if err != nil {
		return nil, err
	}
	names, err := local.Open(a.Catalog, lookupEnv)
	if err != nil {
		return nil, err
	}
	err = names.Authorize(ctx, []schemas.Need{{Privilege: schemas.PrivilegeQuery, Kind: schemas.SecurableEndpoint, Name: a.Endpoint}})
	if err != nil {
		return nil, err
	}
	endpoint, err := names.Endpoint(ctx, a.Endpoint)
	if err != nil {
		return nil, err
	}
	var opened models
	defer func() { err = errors.Join(err, opened.close(context.WithoutCancel(ctx))) }()
	if err := opened.open(ctx, &endpoint, 1); err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	request := &schemas.Request{ID: id.String(), InvocationID: id.String(), Parameters: a.Parameters}
	if a.System != "" {
		request.Messages = append(request.Messages, schemas.Message{Role: schemas.RoleSystem, Content: a.System})
	}
	request.Messages = append(request.Messages, schemas.Message{Role: schemas.RoleUser, Content: a.Question})
	call, cancel := context.WithTimeoutCause(ctx, a.Timeout, fmt.Errorf("no answer within %s", a.Timeout))
	defer cancel()

	var failures []error
	for _, i := range routing.Order(&endpoint, rand.Uint64()) { //nolint:gosec // a traffic split, no secret
		model, to := opened.list[i], &endpoint.Destinations[i]
		if err := model.Check(request); err != nil {
			return nil, err
		}
		came, started := false, time.Now()
		response, err := model.Stream(call, request, func(event *schemas.Event) error {
			if event.Text != "" {
				came = true
				emit(event.Text)
			}
			return nil
		})
		if err == nil {
			asked := &Asked{
				Endpoint: endpoint.Name, Destination: to.Name, Provider: to.Provider, Model: response.Model, RequestID: request.ID,
				Answer: response.Text, Stop: string(response.Stop),
				InputTokens: response.Usage.InputTokens, OutputTokens: response.Usage.OutputTokens,
				Cached: response.Usage.CacheReadInputTokens, Reasoning: response.Usage.OutputReasoningTokens,
				BillableBasis: string(response.Usage.Basis), FirstToken: response.FirstByte, Latency: time.Since(started),
			}
			if cost, ok := book.Cost(to.Provider, to.Model, &response.Usage); ok {
				asked.CostUSD, asked.PriceVersion = &cost, book.Version()
			}
			return asked, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", to.Name, err))
		if failure, ok := errors.AsType[*schemas.Error](err); !ok || came || failure.Class == schemas.Fatal ||
			failure.Class == schemas.Rejected || !routing.Falls(failure) {
			break
		}
	}
	return nil, errors.Join(failures...)
}
