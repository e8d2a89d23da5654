package openai

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// azure makes the dialect Azure's (learn.microsoft.com/azure/ai-foundry/openai/reference): the URL names the deployment,
// and with it the model.
func (d *Dialect) azure(base *url.URL, options *Options) {
	d.Model, d.IDHeader = "", "X-Ms-Client-Request-Id"
	d.ModelField = "openai_deployment_name"
	d.Rules, d.Problem = azureRules(), azureProblem
	if options.AzureAPIVersion == "" {
		d.Fault = errors.Join(d.Fault, fmt.Errorf("%w: Azure wants openai_api_version; set it, for example to 2024-10-21", schemas.ErrInvalid))
	}
	if name := options.AzureDeployment; name == "." || name == ".." { // it would name another path
		d.Fault = errors.Join(d.Fault, fmt.Errorf("%w: openai_deployment_name is no deployment's name", schemas.ErrInvalid))
	}
	at := func(path string) *url.URL {
		to := base.JoinPath("openai/deployments", url.PathEscape(options.AzureDeployment), path)
		return withVersion(to, options.AzureAPIVersion)
	}
	d.Chat, d.Completions, d.Embeddings = at("chat/completions"), at("completions"), at("embeddings")
}

func withVersion(to *url.URL, version string) *url.URL {
	query := to.Query()
	query.Set("api-version", version)
	to.RawQuery = query.Encode()
	return to
}

// azureRules are Azure's own words (learn.microsoft.com/azure/ai-foundry/openai/how-to/content-filters and .../faq).
func azureRules() []wire.Rule {
	return []wire.Rule{
		// The prompt, or what a jailbreak shield makes of it, is against the deployment's filter: the row never works.
		{Word: "ResponsibleAIPolicyViolation", Class: schemas.Rejected, Code: "content_filter"},
		{Word: "content_filter", Class: schemas.Rejected, Code: "content_filter"},
		// The deployment's model has no such operation, as an embedding model has no chat.
		{Word: "OperationNotSupported", Class: schemas.Fatal, Code: "operation_not_supported"},
		// No such deployment in the resource, or not yet.
		{Word: "DeploymentNotFound", Class: schemas.Fatal, Code: "DeploymentNotFound"},
		// The resource is blocked, or not reached from this network.
		{Word: "AccessDenied", Class: schemas.Fatal, Code: "forbidden"},
		// The deployment's tokens or calls a minute are used up.
		{Word: "RateLimitReached", Class: schemas.Throttled, Code: "rate_limit_exceeded"},
		{Word: "NoCapacity", Class: schemas.Throttled, Code: "no_capacity"}, // Azure's own machines are all in use
	}
}

// azureProblem adds the inner error's word, and leaves out codes that only repeat the status.
func azureProblem(_ http.Header, body []byte) wire.Problem {
	problem := wire.ParseProblem(body)
	if code := gjson.GetBytes(body, "error.innererror.code"); code.Type == gjson.String && wordLike(code.Str) {
		problem.Words = append([]string{strings.Clone(code.Str)}, problem.Words...)
	}
	problem.Words = slices.DeleteFunc(problem.Words, func(word string) bool { return strings.Trim(word, "0123456789") == "" })
	return problem
}

func wordLike(text string) bool {
	return len(text) <= 64 && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_'
	})
}
