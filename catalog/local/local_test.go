package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/schemas"
)

// sensitive stands in every secret of the test files.
const sensitive = "SENSITIVE"

func environment(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func noEnvironment(string) (string, bool) { return "", false }

// TestBadFiles holds every fault's message beside a file that has it.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/bad/*.bad.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no bad files: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = read(t, filepath.Base(path), string(data))
			if err == nil {
				t.Fatal("opened, and should not have been")
			}
			if !errors.Is(err, schemas.ErrInvalid) {
				t.Errorf("%v is not schemas.ErrInvalid", err)
			}
			if strings.Contains(err.Error(), sensitive) {
				t.Errorf("a secret is shown: %v", err)
			}
			want, readErr := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".txt")
			if got := err.Error() + "\n"; readErr != nil || got != string(want) {
				t.Errorf("got\n%s\nwant\n%s%v", got, want, readErr)
			}
		})
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	catalog := open(t, noEnvironment)
	folder, err := filepath.Abs("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	for name, location := range map[string]string{
		"main.support.tickets": folder + "/data/tickets",
		"main.support.triaged": "/srv/triaged",
		"main.ops.usage":       "/srv/usage rows",
	} {
		table, err := catalog.Table(t.Context(), name)
		if want := (schemas.Table{Name: name, Location: location}); err != nil || table != want {
			t.Errorf("got %+v, %v, want %+v", table, err, want)
		}
	}
	if catalog.Principal() != "etl@example.com" {
		t.Errorf("the principal is %s", catalog.Principal())
	}
	for name, want := range map[string]string{
		"main.support.tickts": "catalog testdata/good/workspace.yaml: there is no table `main.support.tickts`\n" +
			"  did you mean `main.support.tickets`?",
		"x.y.z": "catalog testdata/good/workspace.yaml: there is no table `x.y.z`\n" +
			"  known: `main.ops.usage`, `main.support.tickets`, `main.support.triaged`; " +
			"or add under `tables:` `x.y.z: {location: ./path}`",
	} {
		if _, err := catalog.Table(t.Context(), name); err == nil || err.Error() != want || !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("got\n%v\nwant\n%s", err, want)
		}
	}
	if _, err := catalog.Endpoint(t.Context(), "shrt"); err == nil || !strings.HasSuffix(err.Error(), "did you mean `short`?") {
		t.Errorf("got %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	catalog := open(t, environment(map[string]string{"OPENAI_API_KEY": "sk-SENSITIVE-env"}))
	short, err := catalog.Endpoint(t.Context(), "short")
	want := schemas.Endpoint{Name: "short", Destinations: []schemas.Destination{{
		Name: "sentiment", Type: "CUSTOM_MODEL", Provider: "embedded", Model: "sentiment", Task: "llm/v1/chat",
		TrafficPercentage: 100, Secrets: map[string]schemas.Secret{},
	}}}
	if err != nil || !reflect.DeepEqual(short, want) {
		t.Errorf("got %+v, %v\nwant %+v", short, err, want)
	}
	triage, err := catalog.Endpoint(t.Context(), "main.ai.triage")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, destination := range triage.Destinations {
		secret := destination.Secrets["openai_api_key"]
		text := ""
		if !secret.IsZero() {
			text = secret.Reveal()
		}
		got = append(got, fmt.Sprintf("%s %s %s %d %s", destination.Name, destination.Provider, destination.Model,
			destination.TrafficPercentage, text))
	}
	if want := []string{
		"words embedded language 70 ",
		"mini openai gpt-4o-mini 30 sk-SENSITIVE-env",
		"literal openai gpt-4o 0 sk-SENSITIVE-literal",
		"filed openai gpt-4o 0 sk-SENSITIVE-file",
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if want := []schemas.RateLimit{{Key: "endpoint", Calls: 10, Period: time.Minute}}; !reflect.DeepEqual(triage.RateLimits, want) {
		t.Errorf("got %+v", triage.RateLimits)
	}

	// What a caller changes is its own.
	triage.Destinations[1].Settings["openai_api_base"] = "http://elsewhere"
	triage.Destinations[0].TrafficPercentage = 0
	again, err := catalog.Endpoint(t.Context(), "main.ai.triage")
	if err != nil || again.Destinations[0].TrafficPercentage != 70 || len(again.Destinations[1].Settings) != 0 {
		t.Errorf("the catalog changed: %+v, %v", again, err)
	}
}

// TestPastedEndpoint opens what `databricks serving-endpoints get` prints, tabs and all, as an entry of the
// list.
func TestPastedEndpoint(t *testing.T) {
	t.Parallel()
	pasted, err := os.ReadFile("testdata/serving_endpoint.json")
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := read(t, "catalog.yaml", "principal: a\nsecrets: {llm/openai: {env: KEY}}\nendpoints:\n- "+
		strings.ReplaceAll(string(pasted), "\n", "\n  "))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalog.Endpoint(t.Context(), "triage"); err == nil {
		t.Fatal("resolved without its secret")
	}
	found := catalog.endpoints["triage"].Endpoint
	want := schemas.Endpoint{
		Name: "triage", ID: "0123456789abcdef0123456789abcdef", Creator: "admin@example.com",
		Created:     time.Date(2024, 6, 24, 17, 20, 0, 0, time.UTC),
		LastUpdated: time.Date(2024, 6, 25, 17, 20, 0, 123_000_000, time.UTC),
		Tags:        map[string]string{"team": "support", "pilot": ""},
		Fallback:    true,
		RateLimits: []schemas.RateLimit{
			{Key: "endpoint", Calls: 600, Period: time.Minute}, {Key: "user", Tokens: 20_000, Period: time.Minute},
		},
		Destinations: []schemas.Destination{
			{
				Name: "mini", Type: "EXTERNAL_MODEL", Provider: "openai", Model: "gpt-4o-mini", Task: "llm/v1/chat",
				TrafficPercentage: 100,
				Settings:          map[string]string{"openai_api_base": "https://api.openai.com/v1", "openai_api_type": "openai", "openai_organization": "org-support"},
			},
			{
				Name: "spare", Type: "EXTERNAL_MODEL", Provider: "openai", Model: "local-model", Task: "llm/v1/chat",
				Settings: map[string]string{"openai_api_base": "http://127.0.0.1:9000/v1"},
			},
		},
	}
	if !reflect.DeepEqual(found, want) {
		t.Errorf("got\n%+v\nwant\n%+v", found, want)
	}
}

func TestSecretsThatAreMissing(t *testing.T) {
	t.Parallel()
	const entity = `- {name: %s, external_model: {name: m, provider: openai, openai_config: {openai_api_key: "{{secrets/%s}}"}}}`
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("empty", "\n")
	write("lines", "SENSITIVE\nSENSITIVE\n")
	write("large", strings.Repeat("S", maxSecretBytes+1))
	var entities, routes []string
	for i, name := range []string{"l/unset", "l/blank", "l/none", "l/empty", "l/lines", "l/large", "l/unset"} {
		entities = append(entities, fmt.Sprintf(entity, string(rune('a'+i)), name))
	}
	routes = append(routes, "{served_entity_name: a, traffic_percentage: 100}")
	text := "principal: p\nendpoints:\n- name: e\n  config:\n    served_entities:\n    " + strings.Join(entities, "\n    ") +
		"\n    traffic_config: {routes: [" + strings.Join(routes, ", ") + "]}\n" + `
secrets:
  l/unset: {env: OPENAI_API_KEY}
  l/blank: {env: BLANK}
  l/none: {file: none}
  l/empty: {file: empty}
  l/lines: {file: lines}
  l/large: {file: large}
`
	write("catalog.yaml", text)
	catalog, err := Open(filepath.Join(folder, "catalog.yaml"), environment(map[string]string{"BLANK": ""}))
	if err != nil {
		t.Fatalf("secrets are not needed to open: %v", err)
	}
	_, err = catalog.Endpoint(t.Context(), "e")
	want := strings.ReplaceAll(`endpoint e: secret l/unset: environment variable OPENAI_API_KEY is not set; export OPENAI_API_KEY=...
secret l/blank: environment variable BLANK is empty; export BLANK=...
secret l/none: file DIR/none cannot be read: no such file or directory; write the secret there
secret l/empty: file DIR/empty is empty; write the secret there
secret l/lines: file DIR/lines holds a line break or a control character; keep the secret alone
secret l/large: file DIR/large is larger than 65536 bytes; it should hold the secret and nothing else`, "DIR", folder)
	if err == nil || err.Error() != want || !errors.Is(err, schemas.ErrInvalid) {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestSecretsAreNotShown prints the catalog and its endpoint in every way there is.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	catalog := open(t, environment(map[string]string{"OPENAI_API_KEY": "sk-SENSITIVE-env"}))
	endpoint, err := catalog.Endpoint(t.Context(), "main.ai.triage")
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []any{catalog, *catalog, endpoint, &endpoint, endpoint.Destinations} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, sensitive) || strings.Contains(text, fmt.Sprintf("%x", sensitive)) {
				t.Errorf("%s of %T shows a secret: %s", verb, value, text)
			}
		}
		for name, marshal := range map[string]func(any) ([]byte, error){"JSON": json.Marshal, "YAML": yaml.Marshal} {
			if text, err := marshal(value); err != nil || strings.Contains(string(text), sensitive) {
				t.Errorf("%s of %T shows a secret: %s, %v", name, value, text, err)
			}
		}
	}
}

func TestSchemaIsACopy(t *testing.T) {
	t.Parallel()
	Schema()[0] = 'x'
	if !json.Valid(Schema()) {
		t.Error("a caller changed the schema")
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml", "testdata/*.json"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	schema, err := document.Compile(schemaJSON)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		catalog, err := parse(schema, "/workspace/catalog.yaml", data, noEnvironment)
		if err != nil {
			if !errors.Is(err, schemas.ErrInvalid) || err.Error() == "" {
				t.Fatalf("an error that is no fault: %v", err)
			}
			return
		}
		if catalog.Principal() == "" {
			t.Fatal("nobody's catalog")
		}
		for name, found := range catalog.endpoints {
			total := 0
			for i := range found.Destinations {
				total += found.Destinations[i].TrafficPercentage
				if found.Destinations[i].Provider == "" || len(found.secrets) != len(found.Destinations) {
					t.Fatalf("an incomplete endpoint: %+v", found.Endpoint)
				}
				for field, find := range found.secrets[i] {
					if find == nil {
						t.Fatalf("no way to find %s", field)
					}
				}
			}
			if name == "" || total != 100 {
				t.Fatalf("endpoint %q shares out %d %%", name, total)
			}
		}
		for name, table := range catalog.tables {
			if strings.Count(name, ".") != 2 || !filepath.IsAbs(table.Location) {
				t.Fatalf("table %q at %q", name, table.Location)
			}
		}
	})
}

func open(t *testing.T, lookupEnv func(string) (string, bool)) *Catalog {
	t.Helper()
	catalog, err := Open("testdata/good/workspace.yaml", lookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

func read(t *testing.T, name, text string) (*Catalog, error) {
	t.Helper()
	schema, err := document.Compile(schemaJSON)
	if err != nil {
		t.Fatal(err)
	}
	return parse(schema, name, []byte(text), noEnvironment)
}
