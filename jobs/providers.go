package jobs

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/inflowhq/inflow/catalog/local"
	"github.com/inflowhq/inflow/connectors/models/openai"
	"github.com/inflowhq/inflow/schemas"
)

// Provider is a wire format that Inflow speaks, and what can be asked in it.
type Provider struct {
	Name     string          `json:"provider"`
	Config   string          `json:"config"` // the key of its settings in a served entity
	Settings []string        `json:"settings"`
	Secrets  []string        `json:"secrets"`
	Supports map[string]bool `json:"supports"` // by Feature
}

// Server is one that the provider custom knows by name.
type Server struct {
	Name    string `json:"custom_provider_name"`
	BaseURL string `json:"custom_provider_url"` // where it usually is
}

// Servers are all that the provider custom knows by name.
func Servers() []Server {
	var out []Server
	for _, known := range openai.Known() {
		out = append(out, Server{known.Name, known.BaseURL})
	}
	return out
}

// The features of a provider: its tasks, and what a chat may have.
const (
	FeatureChat        = "chat"
	FeatureCompletions = "completions"
	FeatureEmbeddings  = "embeddings"
	FeaturePredictions = "predictions"
	FeatureTools       = "tools"
	FeatureStructured  = "response_format"
	FeatureImage       = "image"
	FeatureFile        = "pdf"
	FeatureAudio       = "audio"
	FeatureSeed        = "seed"
	FeatureReasoning   = "reasoning_effort"
)

// Features are all of them, in the order of the table.
func Features() []string {
	return []string{
		FeatureChat, FeatureCompletions, FeatureEmbeddings, FeaturePredictions,
		FeatureTools, FeatureStructured, FeatureImage, FeatureFile, FeatureAudio, FeatureSeed, FeatureReasoning,
	}
}

// probes are requests of which each needs one feature. What a format says to them at its check is what `inflow models`
// shows: there is no other list that could be wrong.
func probes() map[string]*schemas.Request {
	media := func(kind schemas.MediaKind, mime string) *schemas.Request {
		return &schemas.Request{Task: schemas.TaskChat, Messages: []schemas.Message{{Role: schemas.RoleUser, Parts: []schemas.Part{
			{Text: "?"}, {Media: &schemas.Media{Kind: kind, MIMEType: mime, Data: []byte("x")}},
		}}}}
	}
	tools, structured := question(nil), question(nil)
	tools.Tools = []schemas.Tool{{Name: "f", Parameters: json.RawMessage(`{"type":"object","properties":{}}`)}}
	structured.Format = &schemas.Format{Name: "answer", Schema: json.RawMessage(`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`)}
	return map[string]*schemas.Request{
		FeatureChat:        question(nil),
		FeatureCompletions: {Task: schemas.TaskCompletions, Prompt: "?"},
		FeatureEmbeddings:  {Task: schemas.TaskEmbeddings, Inputs: []string{"?"}},
		FeaturePredictions: {Task: schemas.TaskPredictions, Frame: &schemas.Frame{Columns: []string{"x"}}},
		FeatureTools:       tools, FeatureStructured: structured,
		FeatureImage: media(schemas.MediaImage, "image/png"), FeatureFile: media(schemas.MediaFile, "application/pdf"),
		FeatureAudio: media(schemas.MediaAudio, "audio/wav"),
		FeatureSeed:  question(map[string]any{"seed": 1}), FeatureReasoning: question(map[string]any{"reasoning_effort": "low"}),
	}
}

func question(parameters map[string]any) *schemas.Request {
	return &schemas.Request{
		Task: schemas.TaskChat, Messages: []schemas.Message{{Role: schemas.RoleUser, Content: "?"}}, Parameters: parameters,
	}
}

// Providers are all providers, in the order of the catalog.
func Providers(ctx context.Context) (out []Provider, err error) {
	var opened models
	if err := opened.open(ctx, &schemas.Endpoint{}, 1); err != nil {
		return nil, err
	}
	defer func() {
		if closed := opened.close(context.WithoutCancel(ctx)); err == nil {
			err = closed
		}
	}()
	asked := probes()
	check := func(known *local.Provider, request *schemas.Request) (string, error) {
		to := known.Example()
		to.Task = string(request.Task)
		model, err := opened.model(ctx, to)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(model.Check(request)), nil
	}
	for _, known := range local.Providers() {
		entry := Provider{
			Name: known.Name, Config: known.Config, Settings: known.Settings, Secrets: known.Secrets, Supports: map[string]bool{},
		}
		// The example's own faults, as a key that is none, are no matter of the feature.
		plain, err := check(&known, asked[own(&known)])
		if err != nil {
			return nil, err
		}
		for feature, request := range asked {
			said, err := check(&known, request)
			if err != nil {
				return nil, err
			}
			entry.Supports[feature] = said == plain
		}
		out = append(out, entry)
	}
	return out, nil
}

// own is the task that a provider is sure to have.
func own(known *local.Provider) string {
	if known.Example().Task == string(schemas.TaskPredictions) {
		return FeaturePredictions
	}
	return FeatureChat
}
