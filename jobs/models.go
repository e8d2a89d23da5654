package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/inflowhq/inflow/connectors/models/embedded"
	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/pipeline/prices"
	"github.com/inflowhq/inflow/schemas"
)

// models are an endpoint's models, with what they hold open.
type models struct {
	list     []*wire.Model // one for each destination
	client   *wire.Client
	embedded *embedded.Server
}

// open makes a model for every destination. Where it fails, the list is short, and what is open has to be closed.
func (m *models) open(ctx context.Context, endpoint *schemas.Endpoint, concurrency int) error {
	m.client = wire.NewClient(wire.ClientOptions{MaxConns: concurrency})
	var faults []error
	for i := range endpoint.Destinations {
		model, err := m.model(ctx, &endpoint.Destinations[i])
		if err != nil {
			faults = append(faults, fmt.Errorf("endpoint %s: %s: %w", endpoint.Name, endpoint.Destinations[i].Name, err))
			continue
		}
		m.list = append(m.list, model)
	}
	return errors.Join(faults...)
}

// model makes one. This switch is the list of what Inflow can speak.
func (m *models) model(ctx context.Context, to *schemas.Destination) (*wire.Model, error) {
	switch to.Provider {
	case "openai":
		return openai.New(openai.Options{
			BaseURL: to.Settings["openai_api_base"], Organization: to.Settings["openai_organization"],
			APIKey: to.Secrets["openai_api_key"], Model: to.Model, Client: m.client,
		}), nil
	case "embedded":
		if err := m.startEmbedded(ctx); err != nil {
			return nil, err
		}
		if !slices.Contains(m.embedded.Models(), to.Model) {
			return nil, fmt.Errorf("%w: there is no embedded model %q; there are %v", schemas.ErrInvalid, to.Model, m.embedded.Models())
		}
		return openai.New(openai.Options{BaseURL: m.embedded.URL(), Model: to.Model, Client: m.client}), nil
	default:
		return nil, fmt.Errorf("%w: the provider %q is not supported; see: inflow models", schemas.ErrInvalid, to.Provider)
	}
}

func (m *models) startEmbedded(ctx context.Context) (err error) {
	if m.embedded == nil {
		m.embedded, err = embedded.Start(ctx, embedded.Options{})
	}
	return err
}

func (m *models) close(ctx context.Context) error {
	if m.client != nil {
		m.client.CloseIdleConnections()
	}
	if m.embedded == nil {
		return nil
	}
	return m.embedded.Close(ctx)
}

// priceBook is the book that comes with Inflow, and the file's prices before it where one is named.
func priceBook(path string) (*prices.Book, error) {
	book, err := prices.Default()
	if err != nil || path == "" {
		return book, err
	}
	data, err := os.ReadFile(path) //nolint:gosec // the file that the user names
	if err != nil {
		return nil, err
	}
	own, err := prices.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return book.With(own), nil
}
