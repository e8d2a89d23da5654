package local

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/schemas"
)

const (
	embeddedPrefix = "embedded/"
	wholeTraffic   = 100
)

// endpoint is an endpoint without its secrets, and where they come from: one map a destination, by the
// field of the serving API that holds the secret.
type endpoint struct {
	schemas.Endpoint
	secrets []map[string]secret
}

// resolve returns the endpoint with its secrets, or everything that keeps them from being known.
func (e endpoint) resolve() (schemas.Endpoint, error) {
	resolved := e.Endpoint
	resolved.Tags = maps.Clone(e.Tags)
	resolved.RateLimits = slices.Clone(e.RateLimits)
	resolved.Destinations = slices.Clone(e.Destinations)
	var faults []error
	seen := map[string]bool{}
	for i := range resolved.Destinations {
		destination := &resolved.Destinations[i]
		destination.Settings = maps.Clone(destination.Settings)
		destination.Secrets = make(map[string]schemas.Secret, len(e.secrets[i]))
		for field, find := range e.secrets[i] {
			value, err := find()
			if err == nil {
				destination.Secrets[field] = value
			} else if !seen[err.Error()] {
				seen[err.Error()] = true
				faults = append(faults, err)
			}
		}
	}
	if err := errors.Join(faults...); err != nil {
		return schemas.Endpoint{}, &schemas.Error{Op: "endpoint " + e.Name, Code: "secret_unavailable", Err: err}
	}
	return resolved, nil
}

// endpointEntry is an endpoint by the serving API's own field names.
type endpointEntry struct {
	Name        string           `yaml:"name"`
	Embedded    string           `yaml:"embedded"` // ours: short for one served entity
	ID          string           `yaml:"id"`
	Creator     string           `yaml:"creator"`
	Created     int64            `yaml:"creation_timestamp"`     // milliseconds since 1970
	LastUpdated int64            `yaml:"last_updated_timestamp"` // milliseconds since 1970
	Task        string           `yaml:"task"`
	RateLimits  []rateLimitEntry `yaml:"rate_limits"` // where endpoints had them before ai_gateway
	Tags        []struct {
		Key   string `yaml:"key"`
		Value string `yaml:"value"`
	} `yaml:"tags"`
	Config struct {
		ServedEntities []servedEntity `yaml:"served_entities"`
		TrafficConfig  struct {
			Routes []route `yaml:"routes"`
		} `yaml:"traffic_config"`
	} `yaml:"config"`
	AIGateway struct {
		RateLimits     []rateLimitEntry `yaml:"rate_limits"`
		FallbackConfig struct {
			Enabled bool `yaml:"enabled"`
		} `yaml:"fallback_config"`
		Guardrails yaml.Node `yaml:"guardrails"`
	} `yaml:"ai_gateway"`
}

type servedEntity struct {
	Name          string `yaml:"name"`
	ID            string `yaml:"id"`
	EntityName    string `yaml:"entity_name"`
	ExternalModel struct {
		Name     string `yaml:"name"`
		Provider string `yaml:"provider"`
		Task     string `yaml:"task"`
	} `yaml:"external_model"`
}

type route struct {
	ServedEntityName string `yaml:"served_entity_name"`
	ServedModelName  string `yaml:"served_model_name"`
	Percentage       int    `yaml:"traffic_percentage"`
}

func (r route) entity() string {
	if r.ServedEntityName != "" {
		return r.ServedEntityName
	}
	return r.ServedModelName
}

type rateLimitEntry struct {
	Key       string `yaml:"key"`
	Principal string `yaml:"principal"` // whom alone it limits; empty: everybody
	Calls     int64  `yaml:"calls"`
	Tokens    int64  `yaml:"tokens"`
}

func (b *builder) endpoints() map[string]endpoint {
	endpoints := make(map[string]endpoint, len(b.file.Endpoints))
	for i := range b.file.Endpoints {
		entry, path := &b.file.Endpoints[i], []string{"endpoints", strconv.Itoa(i)}
		if _, twice := endpoints[entry.Name]; twice && entry.Name != "" {
			b.doc.Add("there is another endpoint `"+entry.Name+"` above", "rename one", append(path, "name")...)
			continue
		}
		endpoints[entry.Name] = b.endpoint(entry, path)
	}
	return endpoints
}

func (b *builder) endpoint(entry *endpointEntry, path []string) endpoint {
	built := endpoint{Endpoint: schemas.Endpoint{
		Name: entry.Name, ID: entry.ID, Creator: entry.Creator,
		Created: millis(entry.Created), LastUpdated: millis(entry.LastUpdated),
		Fallback: entry.AIGateway.FallbackConfig.Enabled,
	}}
	for _, tag := range entry.Tags {
		if built.Tags == nil {
			built.Tags = make(map[string]string, len(entry.Tags))
		}
		built.Tags[tag.Key] = tag.Value
	}
	built.RateLimits = append(b.rateLimits(entry.AIGateway.RateLimits, join(path, "ai_gateway", "rate_limits")),
		b.rateLimits(entry.RateLimits, join(path, "rate_limits"))...)
	if guards(&entry.AIGateway.Guardrails) {
		b.doc.Add("guardrails are not enforced here, and what they should keep back would be sent",
			"remove `guardrails` to run without them", join(path, "ai_gateway", "guardrails")...)
	}
	if entry.Task != "" {
		b.task(entry.Task, join(path, "task"))
	}
	if entry.Embedded != "" {
		if entry.Task != "" && entry.Task != string(schemas.TaskChat) {
			b.doc.Add("an embedded model has no task but `"+string(schemas.TaskChat)+"`", "remove `task`", join(path, "task")...)
		}
		built.Destinations = []schemas.Destination{embedded(entry.Embedded, entry.Embedded)}
		built.Destinations[0].TrafficPercentage = wholeTraffic
		built.secrets = make([]map[string]secret, 1)
		return built
	}
	names := map[string]int{}
	for i := range entry.Config.ServedEntities {
		where := join(path, "config", "served_entities", strconv.Itoa(i))
		destination, secrets := b.destination(&entry.Config.ServedEntities[i], entry.Task, where)
		if first, twice := names[destination.Name]; twice && destination.Name != "" {
			b.doc.Add(fmt.Sprintf("the name `%s` is taken by served entity %d", destination.Name, first+1),
				"give each its own `name`", where...)
		}
		names[destination.Name] = i
		built.Destinations = append(built.Destinations, destination)
		built.secrets = append(built.secrets, secrets)
	}
	b.traffic(built.Destinations, entry.Config.TrafficConfig.Routes, join(path, "config", "traffic_config"))
	return built
}

// destination reads one served entity. task is what the endpoint says for all of them, or empty.
func (b *builder) destination(entity *servedEntity, task string, path []string) (schemas.Destination, map[string]secret) {
	if !b.doc.Has(join(path, "external_model")...) {
		model, ok := strings.CutPrefix(entity.EntityName, embeddedPrefix)
		if entity.EntityName != "" && (!ok || model == "") {
			b.doc.Add("the model `"+entity.EntityName+"` is served by Databricks, which this catalog cannot call",
				"use an `external_model` with provider `openai`, or `entity_name: embedded/sentiment`", join(path, "entity_name")...)
		}
		name := entity.Name
		if name == "" {
			name = model
		}
		destination := embedded(name, model)
		destination.ID = entity.ID
		return destination, nil
	}
	model := &entity.ExternalModel
	destination := schemas.Destination{
		Name: entity.Name, ID: entity.ID, Type: "EXTERNAL_MODEL",
		Provider: model.Provider, Model: model.Name, Task: model.Task,
	}
	if destination.Name == "" {
		destination.Name = model.Name
	}
	if destination.Task == "" {
		destination.Task = task
	}
	path = join(path, "external_model")
	if model.Provider == "" {
		return destination, nil // a fault already
	}
	return b.external(destination, path)
}

func embedded(name, model string) schemas.Destination {
	return schemas.Destination{Name: name, Type: "CUSTOM_MODEL", Provider: "embedded", Model: model, Task: string(schemas.TaskChat)}
}

// task refuses what is no task.
func (b *builder) task(task string, path []string) {
	known := []string{
		string(schemas.TaskChat), string(schemas.TaskCompletions), string(schemas.TaskEmbeddings), string(schemas.TaskPredictions),
	}
	if !slices.Contains(known, task) {
		b.doc.Add("the task `"+task+"` is not supported", "supported: `"+strings.Join(known, "`, `")+"`", path...)
	}
}

// traffic sets the share of each destination. One that no route names is there for fallback only.
func (b *builder) traffic(destinations []schemas.Destination, routes []route, path []string) {
	if len(routes) == 0 {
		if len(destinations) == 1 {
			destinations[0].TrafficPercentage = wholeTraffic
		} else if len(destinations) > 1 {
			b.doc.Add(fmt.Sprintf("%d served entities, and no `traffic_config` that shares the requests out", len(destinations)),
				fmt.Sprintf("add `traffic_config: {routes: [{served_entity_name: %s, traffic_percentage: 100}]}`", destinations[0].Name),
				path...)
		}
		return
	}
	names := make([]string, len(destinations))
	for i := range destinations {
		names[i] = destinations[i].Name
	}
	total := 0
	named := map[string]bool{}
	for i, route := range routes {
		total += route.Percentage
		where := join(path, "routes", strconv.Itoa(i))
		index := slices.Index(names, route.entity())
		switch {
		case route.entity() == "":
			continue // a fault already
		case index < 0:
			b.doc.Add("there is no served entity `"+route.entity()+"`", document.DidYouMean(route.entity(), names), where...)
			continue
		case named[route.entity()]:
			b.doc.Add("there is another route to `"+route.entity()+"`", "keep one", where...)
			continue
		}
		named[route.entity()] = true
		destinations[index].TrafficPercentage = route.Percentage
	}
	if total != wholeTraffic {
		b.doc.Add(fmt.Sprintf("the routes share out %d %% of the requests", total), "make them sum to 100", join(path, "routes")...)
	}
}

func (b *builder) rateLimits(entries []rateLimitEntry, path []string) []schemas.RateLimit {
	var limits []schemas.RateLimit
	for i, entry := range entries {
		where := join(path, strconv.Itoa(i))
		if entry.Calls == 0 && entry.Tokens == 0 && !b.doc.Has(join(where, "calls")...) && !b.doc.Has(join(where, "tokens")...) {
			b.doc.Add("the limit limits nothing", "add `calls: 600` or `tokens: 200000`", where...)
		}
		if mine := b.file.Principal; entry.Principal != "" && entry.Principal != mine && !slices.Contains(b.file.Groups[entry.Principal], mine) {
			continue // another's limit
		}
		key := entry.Key
		if key == "" {
			key = "endpoint"
		}
		limits = append(limits, schemas.RateLimit{Key: key, Calls: entry.Calls, Tokens: entry.Tokens, Period: time.Minute})
	}
	return limits
}

// guards reports whether guardrails ask for anything: a behaviour other than NONE, a check that is on, a
// list that is not empty.
func guards(node *yaml.Node) bool {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			if guards(node.Content[i]) {
				return true
			}
		}
		return false
	case yaml.SequenceNode:
		return len(node.Content) > 0
	case yaml.ScalarNode:
		return !slices.Contains([]string{"", "NONE", "false", "null", "~"}, node.Value)
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return false
}

func millis(since1970 int64) time.Time {
	if since1970 <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(since1970).UTC()
}

// join extends a path without sharing its memory with a sibling's.
func join(path []string, steps ...string) []string { return append(slices.Clip(path), steps...) }
