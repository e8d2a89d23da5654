package local

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/schemas"
)

// TestProviders: every provider can be configured with what it needs, by reference and by text, and says what is
// missing where it is not.
func TestProviders(t *testing.T) {
	t.Parallel()
	schema, err := document.Compile(schemaJSON)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Providers() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			if p.Name == "custom" { // which has one kind of key at a time
				p.Secrets = slices.DeleteFunc(slices.Clone(p.Secrets), func(field string) bool { return field == "bearer_token_auth.token" })
			}
			full := config(p, func(field string) string {
				if slices.Contains(p.Secrets, field) {
					return `"{{secrets/llm/key}}"`
				}
				if strings.HasSuffix(field, "_url") || strings.HasSuffix(field, "_base") {
					return `"http://127.0.0.1:9000/v1"`
				}
				if values := map[string]string{"openai_api_type": "openai", "openai_api": "responses"}; values[field] != "" {
					return values[field]
				}
				return "text-of-" + strings.ReplaceAll(field, ".", "-")
			})
			catalog, err := parse(schema, "catalog.yaml", []byte(full), func(string) (string, bool) { return "SENSITIVE", true })
			if err != nil {
				t.Fatalf("%v\n%s", err, full)
			}
			endpoint, err := catalog.Endpoint(t.Context(), "ask")
			if err != nil {
				t.Fatal(err)
			}
			to := endpoint.Destinations[0]
			if len(to.Settings) != len(p.Settings) || len(to.Secrets) != len(p.Secrets) {
				t.Errorf("of %d settings and %d secrets came %v and %d", len(p.Settings), len(p.Secrets), to.Settings, len(to.Secrets))
			}
			for field, secret := range to.Secrets {
				if secret.Reveal() != "SENSITIVE" {
					t.Errorf("%s is not what the environment says", field)
				}
			}
			empty := p
			empty.Settings, empty.Secrets = nil, nil
			_, err = parse(schema, "catalog.yaml", []byte(config(empty, nil)), nil)
			for _, group := range p.needs {
				if err == nil || !strings.Contains(err.Error(), "no `"+group[0]+"`") {
					t.Errorf("without %s: got %v", group[0], err)
				}
			}
		})
	}
}

func config(p Provider, value func(field string) string) string {
	var fields strings.Builder
	nested := map[string][]string{}
	for _, field := range append(append([]string{}, p.Settings...), p.Secrets...) {
		if outer, inner, ok := strings.Cut(field, "."); ok {
			nested[outer] = append(nested[outer], fmt.Sprintf("%s: %s", inner, value(field)))
			continue
		}
		fmt.Fprintf(&fields, "%s: %s, ", field, value(field))
	}
	for outer, inner := range nested {
		fmt.Fprintf(&fields, "%s: {%s}, ", outer, strings.Join(inner, ", "))
	}
	return fmt.Sprintf(`principal: etl@example.com
endpoints:
  - name: ask
    config:
      served_entities:
        - external_model: {name: m, provider: %s, task: %s, %s: {%s}}
secrets: {llm/key: {env: KEY}}
`, p.Name, schemas.TaskChat, p.Config, strings.TrimSuffix(fields.String(), ", "))
}
