package local

import (
	"slices"
	"strings"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/schemas"
)

// Provider is what an external model's provider is configured with, by the serving API's own field names. A field
// of a mapping within has a dot in its name.
type Provider struct {
	Name     string   // "amazon-bedrock"
	Config   string   // the key of its settings beside the name, "amazon_bedrock_config"
	Settings []string // fields that are no secret
	Secrets  []string // each may also stand in the file itself, under the same name with _plaintext
	// needs are fields of which one must be there, the usual one first; unless says what stands in for all of them.
	needs  [][]string
	unless string
	mend   string // beside the usual one
}

// Example is a destination at the provider with a value in every field that it needs.
func (p *Provider) Example() *schemas.Destination {
	to := &schemas.Destination{
		Name: "example", Provider: p.Name, Model: "example", Task: string(p.task()),
		Settings: map[string]string{}, Secrets: map[string]schemas.Secret{},
	}
	for _, group := range p.needs {
		switch field := group[0]; {
		case slices.Contains(p.Secrets, field):
			to.Secrets[field] = schemas.NewSecret("example")
		case strings.HasSuffix(field, "_url"):
			to.Settings[field] = "https://example.com"
		default:
			to.Settings[field] = "example"
		}
	}
	return to
}

// mlflowProvider has its name from MLflow's own gateway. The scoring server has one task.
const mlflowProvider = "mlflow-model-serving"

// task is that of a destination which names none.
func (p *Provider) task() schemas.Task {
	if p.Name == mlflowProvider {
		return schemas.TaskPredictions
	}
	return schemas.TaskChat
}

// Providers are the providers of external models that can be called. Where the serving API has no field for another
// base URL, `..._api_base` is ours; so are `openai_api` and `custom_provider_name`.
func Providers() []Provider {
	return []Provider{
		{
			Name: "openai", Config: "openai_config",
			Settings: []string{
				"openai_api_base", "openai_organization", "openai_api", "openai_api_type", "openai_api_version", "openai_deployment_name",
				"microsoft_entra_tenant_id", "microsoft_entra_client_id",
			},
			Secrets: []string{"openai_api_key", "microsoft_entra_client_secret"},
			needs:   [][]string{{"openai_api_key", "microsoft_entra_client_secret"}},
			unless:  "openai_api_base", mend: ", or the `openai_api_base` of a server that asks for none",
		},
		{
			Name: "anthropic", Config: "anthropic_config", Settings: []string{"anthropic_api_base"},
			Secrets: []string{"anthropic_api_key"}, needs: [][]string{{"anthropic_api_key"}},
		},
		{
			Name: "gemini", Config: "gemini_config", Settings: []string{"gemini_api_base"},
			Secrets: []string{"gemini_api_key"}, needs: [][]string{{"gemini_api_key"}},
		},
		{
			Name: "google-cloud-vertex-ai", Config: "google_cloud_vertex_ai_config",
			Settings: []string{"project_id", "region", "vertex_api_base"}, Secrets: []string{"private_key"},
			needs: [][]string{{"project_id"}, {"region"}},
		},
		{
			Name: "amazon-bedrock", Config: "amazon_bedrock_config",
			Settings: []string{"aws_region", "bedrock_api_base"},
			Secrets:  []string{"aws_access_key_id", "aws_secret_access_key", "aws_session_token"},
			needs:    [][]string{{"aws_region"}},
		},
		{
			Name: "cohere", Config: "cohere_config", Settings: []string{"cohere_api_base"},
			Secrets: []string{"cohere_api_key"}, needs: [][]string{{"cohere_api_key"}},
		},
		{
			Name: "databricks-model-serving", Config: "databricks_model_serving_config",
			Settings: []string{"databricks_workspace_url"}, Secrets: []string{"databricks_api_token"},
			needs: [][]string{{"databricks_workspace_url"}},
		},
		{
			Name: mlflowProvider, Config: "mlflow_model_serving_config", Settings: []string{"model_server_url"},
			Secrets: []string{"model_server_token"}, needs: [][]string{{"model_server_url"}},
		},
		{
			Name: "custom", Config: "custom_provider_config",
			Settings: []string{"custom_provider_name", "custom_provider_url", "api_key_auth.key"},
			Secrets:  []string{"api_key_auth.value", "bearer_token_auth.token"},
			needs:    [][]string{{"custom_provider_url"}},
			unless:   "custom_provider_name", mend: ", or the `custom_provider_name` of a server that `inflow models` lists",
		},
	}
}

// external reads an external model's configuration.
func (b *builder) external(
	destination schemas.Destination, path []string,
) (schemas.Destination, map[string]secret) {
	all := Providers()
	names := make([]string, 0, len(all))
	for i := range all {
		names = append(names, all[i].Name)
	}
	index := slices.Index(names, destination.Provider)
	if index < 0 {
		mend := "supported: `" + strings.Join(names, "`, `") + "`, and `entity_name: embedded/<model>`"
		if near := document.Nearest(destination.Provider, names); near != "" {
			mend = "did you mean `" + near + "`?"
		}
		b.doc.Add("the provider `"+destination.Provider+"` is not supported", mend, join(path, "provider")...)
		return destination, nil
	}
	p := &all[index]
	if destination.Task == "" {
		destination.Task = string(p.task())
	}
	b.task(destination.Task, join(path, "task"))
	destination.Signature = b.signature(join(path, "signature"))
	path = join(path, p.Config)
	destination.Settings = map[string]string{}
	for _, field := range p.Settings {
		if text, ok := b.doc.Text(join(path, strings.Split(field, ".")...)...); ok && text != "" {
			destination.Settings[field] = text
		}
	}
	secrets := map[string]secret{}
	for _, field := range p.Secrets {
		if find := b.providerSecret(field, path); find != nil {
			secrets[field] = find
		}
	}
	b.needs(p, &destination, secrets, path)
	if p.Name == "custom" {
		b.customKey(destination.Settings, secrets, path)
	}
	return destination, secrets
}

// customKey refuses a key that would be left out in silence.
func (b *builder) customKey(settings map[string]string, secrets map[string]secret, path []string) {
	named, keyed := settings["api_key_auth.key"] != "", secrets["api_key_auth.value"] != nil
	switch {
	case named != keyed:
		b.doc.Add("`api_key_auth` has only one of `key` and `value`", "add the other: the name of the header, and the secret",
			join(path, "api_key_auth")...)
	case named && secrets["bearer_token_auth.token"] != nil:
		b.doc.Add("there are both `api_key_auth` and `bearer_token_auth`", "keep one", join(path, "bearer_token_auth")...)
	}
}

// providerSecret finds the secret of a field: a reference, or the text itself.
func (b *builder) providerSecret(field string, path []string) secret {
	steps := strings.Split(field, ".")
	name := steps[len(steps)-1]
	reference, referred := b.doc.Text(join(path, steps...)...)
	steps[len(steps)-1] = name + "_plaintext"
	literal, written := b.doc.Text(join(path, steps...)...)
	switch {
	case referred && written:
		b.doc.Add("there are both `"+name+"` and `"+name+"_plaintext`", "keep one", join(path, steps...)...)
	case referred:
		return b.secret(reference, join(path, strings.Split(field, ".")...))
	case written:
		value, err := usable(name+"_plaintext", "the catalog", literal)
		if err != nil {
			b.doc.Add(err.Error(), "", join(path, steps...)...)
		}
		return func() (schemas.Secret, error) { return value, nil }
	}
	return nil
}

// needs reports what the provider needs and has not got.
func (b *builder) needs(p *Provider, destination *schemas.Destination, secrets map[string]secret, path []string) {
	if destination.Settings[p.unless] != "" {
		return
	}
	var missing, example []string
	for _, group := range p.needs {
		if slices.ContainsFunc(group, func(field string) bool {
			return destination.Settings[field] != "" || secrets[field] != nil || b.spoilt(field, path)
		}) {
			continue
		}
		value := "..."
		if slices.Contains(p.Secrets, group[0]) {
			value = "{{secrets/llm/" + p.Name + "}}"
		}
		missing = append(missing, "no `"+group[0]+"`")
		example = append(example, group[0]+": \""+value+"\"")
	}
	if len(missing) > 0 {
		b.doc.Add("there is "+strings.Join(missing, ", "), "add `"+p.Config+": {"+strings.Join(example, ", ")+"}`"+p.mend, path...)
	}
}

// spoilt reports whether a field is there and gives nothing. Then it is null, or what is wrong with it is told already.
func (b *builder) spoilt(field string, path []string) bool {
	found := false
	for _, name := range []string{field, field + "_plaintext"} {
		where := join(path, strings.Split(name, ".")...)
		if !b.doc.Has(where...) {
			continue
		}
		found = true
		if _, written := b.doc.Text(where...); !written {
			b.doc.Add("`"+name+"` is null", "write it, or remove the line", where...)
		}
	}
	return found
}
