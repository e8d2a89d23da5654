package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/connectors/models/anthropic"
	"github.com/inflowhq/inflow/connectors/models/bedrock"
	"github.com/inflowhq/inflow/connectors/models/cohere"
	"github.com/inflowhq/inflow/connectors/models/databricks"
	"github.com/inflowhq/inflow/connectors/models/embedded"
	"github.com/inflowhq/inflow/connectors/models/gemini"
	"github.com/inflowhq/inflow/connectors/models/mlflow"
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
	set, secret := to.Settings, to.Secrets
	switch to.Provider {
	case "openai":
		options := openai.Options{
			BaseURL: set["openai_api_base"], Organization: set["openai_organization"],
			APIKey: secret["openai_api_key"], Model: to.Model, Client: m.client,
		}
		if kind := set["openai_api_type"]; kind == "azure" || kind == "azuread" {
			options.AzureDeployment, options.AzureAPIVersion = set["openai_deployment_name"], set["openai_api_version"]
			options.EntraTenantID, options.EntraClientID = set["microsoft_entra_tenant_id"], set["microsoft_entra_client_id"]
			options.EntraClientSecret = secret["microsoft_entra_client_secret"]
		}
		if set["openai_api"] == "responses" {
			return openai.NewResponses(options), nil
		}
		return openai.New(options), nil
	case "anthropic":
		return anthropic.New(anthropic.Options{
			BaseURL: set["anthropic_api_base"], APIKey: secret["anthropic_api_key"], Model: to.Model, Client: m.client,
		}), nil
	case "gemini":
		return gemini.New(gemini.Options{
			BaseURL: set["gemini_api_base"], APIKey: secret["gemini_api_key"], Model: to.Model, Client: m.client,
		}), nil
	case "google-cloud-vertex-ai":
		return gemini.New(gemini.Options{
			BaseURL: set["vertex_api_base"], ProjectID: set["project_id"], Region: set["region"],
			PrivateKey: secret["private_key"], Model: to.Model, Client: m.client,
		}), nil
	case "amazon-bedrock":
		return bedrock.New(bedrock.Options{
			BaseURL: set["bedrock_api_base"], Region: set["aws_region"], AccessKeyID: secret["aws_access_key_id"],
			SecretAccessKey: secret["aws_secret_access_key"], SessionToken: secret["aws_session_token"], Model: to.Model, Client: m.client,
		}), nil
	case "cohere":
		return cohere.New(cohere.Options{
			BaseURL: set["cohere_api_base"], APIKey: secret["cohere_api_key"], Model: to.Model, Client: m.client,
		}), nil
	case "databricks-model-serving":
		// A serving endpoint's name has no dots; a model service's is catalog.schema.name, and the gateway serves it.
		return databricks.New(databricks.Options{
			Gateway:      strings.Contains(to.Model, "."),
			WorkspaceURL: set["databricks_workspace_url"], Token: secret["databricks_api_token"], Endpoint: to.Model,
			Task: schemas.Task(to.Task), Client: m.client,
		}), nil
	case "mlflow-model-serving":
		return mlflow.New(mlflow.Options{
			BaseURL: set["model_server_url"], Token: secret["model_server_token"], Model: to.Model, Client: m.client,
		}), nil
	case "custom":
		options := openai.Options{
			Server: set["custom_provider_name"], BaseURL: set["custom_provider_url"],
			APIKey: secret["bearer_token_auth.token"], Model: to.Model, Client: m.client,
		}
		if header := set["api_key_auth.key"]; header != "" {
			options.KeyHeader, options.APIKey = header, secret["api_key_auth.value"]
		}
		return openai.New(options), nil
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
