package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/inflowhq/inflow/catalog/local"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/pipeline/routing"
	"github.com/inflowhq/inflow/schemas"
)

// Ask is one question to an endpoint, outside of any job: nothing is written down, and nothing is tried again.
type Ask struct {
	Catalog    string // the path of a local catalog file
	Prices     string // the path of a price book; empty: only Inflow's own
	Endpoint   string
	System     string // the system message; empty: none
	Question   string // of a model that predicts: the JSON of a row, or of a list of rows, as objects
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
	Embedding     []float32     `json:"embedding,omitempty"`
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
	request, err := a.request(&endpoint)
	if err != nil {
		return nil, err
	}
	request.ID, request.InvocationID = id.String(), id.String()
	call, cancel := context.WithTimeoutCause(ctx, a.Timeout, fmt.Errorf("no answer within %s", a.Timeout))
	defer cancel()

	var failures []error
	for _, i := range routing.Order(&endpoint, rand.Uint64()) { //nolint:gosec // a traffic split, no secret
		model, to := opened.list[i], &endpoint.Destinations[i]
		if err := model.Check(request); err != nil {
			return nil, err
		}
		came, started := false, time.Now()
		response, err := put(call, model, request, func(text string) {
			came = true
			emit(text)
		})
		if err == nil {
			asked := &Asked{
				Endpoint: endpoint.Name, Destination: to.Name, Provider: to.Provider, Model: response.Model, RequestID: request.ID,
				Answer: response.Text, Embedding: slices.Concat(response.Embeddings...), Stop: string(response.Stop),
				InputTokens: response.Usage.InputTokens, OutputTokens: response.Usage.OutputTokens,
				Cached: response.Usage.CacheReadInputTokens, Reasoning: response.Usage.OutputReasoningTokens,
				BillableBasis: string(response.Usage.Basis), FirstToken: response.FirstByte, Latency: time.Since(started),
			}
			for _, each := range response.Predictions {
				asked.Answer += string(each) + "\n"
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

// request is the question in the form of the endpoint's task.
func (a *Ask) request(endpoint *schemas.Endpoint) (*schemas.Request, error) {
	request := &schemas.Request{Parameters: a.Parameters}
	if len(endpoint.Destinations) > 0 {
		request.Task = schemas.Task(endpoint.Destinations[0].Task)
	}
	if a.System != "" && request.Task != schemas.TaskChat {
		return nil, fmt.Errorf("%w: a system message is for chats; the task of the endpoint %s is %s", schemas.ErrInvalid, endpoint.Name, request.Task)
	}
	switch request.Task {
	case schemas.TaskEmbeddings:
		request.Inputs = []string{a.Question}
	case schemas.TaskCompletions:
		request.Prompt = a.Question
	case schemas.TaskPredictions:
		frame, err := readFrame(a.Question)
		if err != nil {
			return nil, err
		}
		request.Frame = frame
	case schemas.TaskChat:
		if a.System != "" {
			request.Messages = append(request.Messages, schemas.Message{Role: schemas.RoleSystem, Content: a.System})
		}
		request.Messages = append(request.Messages, schemas.Message{Role: schemas.RoleUser, Content: a.Question})
	}
	return request, nil
}

// readFrame takes rows apart that are written as objects, whose features are those of the first one.
func readFrame(text string) (*schemas.Frame, error) {
	var rows []map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		var row map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &row) != nil {
			return nil, fmt.Errorf("%w: a question to a model that predicts is JSON: {\"age\": 41, \"income\": 1200.5}, or a list of such rows", schemas.ErrInvalid)
		}
		rows = append(rows, row)
	}
	frame := &schemas.Frame{}
	for i, row := range rows {
		if i == 0 {
			frame.Columns = slices.Sorted(maps.Keys(row))
		}
		values := make([]json.RawMessage, 0, len(row))
		for _, name := range frame.Columns {
			values = append(values, row[name])
		}
		if len(row) != len(frame.Columns) || slices.ContainsFunc(values, func(value json.RawMessage) bool { return value == nil }) {
			return nil, fmt.Errorf("%w: row %d has not the features of the first one: %s", schemas.ErrInvalid, i+1, strings.Join(frame.Columns, ", "))
		}
		line, err := json.Marshal(values)
		if err != nil {
			return nil, err
		}
		frame.Rows = append(frame.Rows, line)
	}
	return frame, nil
}

// put asks one model. What does not come in pieces is emitted when it has come.
func put(ctx context.Context, model *wire.Model, request *schemas.Request, emit func(text string)) (*schemas.Response, error) {
	switch request.Task { //nolint:exhaustive // the others come in pieces
	case schemas.TaskEmbeddings, schemas.TaskPredictions:
		response, err := model.Invoke(ctx, request)
		if err != nil {
			return response, err
		}
		for _, vector := range response.Embeddings {
			emit(fmt.Sprintf("%d numbers: %s\n", len(vector), strings.Trim(fmt.Sprint(vector), "[]")))
		}
		for _, each := range response.Predictions {
			emit(string(each) + "\n")
		}
		return response, nil
	}
	return model.Stream(ctx, request, func(event *schemas.Event) error {
		if event.Text != "" {
			emit(event.Text)
		}
		return nil
	})
}
