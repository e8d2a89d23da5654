// Package local is a Databricks workspace in a file: where tables lie, which endpoints answer, where secrets
// come from, and who may use what.
//
// The file is decoded strictly, except inside endpoints, which have the serving API's own shape: a real
// endpoint's JSON can be pasted in, and what Inflow has no use for is left alone. What would change who is
// asked or what is sent, and cannot be honoured, is refused by name.
//
// It reads its file once, and secrets each time an endpoint is resolved. It never writes, never calls out,
// and never shows a secret.
package local

import (
	"context"
	_ "embed"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/schemas"
)

//go:embed catalog.schema.json
var schemaJSON []byte

// Schema returns the JSON Schema of the catalog file, draft 2020-12, for editors.
func Schema() []byte { return slices.Clone(schemaJSON) }

// Catalog is an open catalog file. It does not change, and is safe for concurrent use. It holds no secret,
// only where each comes from, so that printing it shows none.
type Catalog struct {
	path      string // as it was named to Open, for messages
	principal string
	tables    map[string]schemas.Table
	endpoints map[string]endpoint
	// owner is set where the file has no grants: the principal owns everything in it.
	owner   bool
	grants  []grant
	groups  map[string][]string
	secrets map[string]secret
}

// file is the catalog file as it is written.
type file struct {
	Principal string `yaml:"principal"`
	Tables    map[string]struct {
		Location string `yaml:"location"`
	} `yaml:"tables"`
	Endpoints []endpointEntry        `yaml:"endpoints"`
	Secrets   map[string]secretEntry `yaml:"secrets"`
	Grants    []grant                `yaml:"grants"`
	Groups    map[string][]string    `yaml:"groups"`
}

// Open reads a catalog file. Every fault is reported at once, as one *document.Faults. lookupEnv finds the
// environment variables that secrets come from; it is asked only when an endpoint is resolved. Open blocks
// on I/O.
func Open(path string, lookupEnv func(string) (string, bool)) (*Catalog, error) {
	data, err := document.Read(path)
	if err != nil {
		return nil, err
	}
	schema, err := document.Compile(schemaJSON)
	if err != nil {
		return nil, err
	}
	return parse(schema, path, data, lookupEnv)
}

func parse(
	schema *document.Schema, path string, data []byte, lookupEnv func(string) (string, bool),
) (*Catalog, error) {
	doc, err := document.Parse(path, data, schema)
	if err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("finding the folder of %s: %w", path, err)
	}
	var written file
	if err := doc.Decode(&written); err != nil {
		return nil, err
	}
	b := builder{doc: doc, file: &written, folder: filepath.Dir(absolute), lookupEnv: lookupEnv}
	catalog := &Catalog{
		path: path, principal: written.Principal,
		tables: b.tables(), endpoints: b.endpoints(),
		owner: !doc.Has("grants"), groups: written.Groups,
	}
	catalog.grants, catalog.secrets = b.grants(catalog), make(map[string]secret, len(written.Secrets))
	for name := range written.Secrets {
		catalog.secrets[name] = b.secret(name, []string{"secrets", name})
	}
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return catalog, nil
}

// builder turns what is written into what it means, and adds a fault for what means nothing.
type builder struct {
	doc       *document.Document
	file      *file
	folder    string // that relative paths start from, absolute
	lookupEnv func(string) (string, bool)
}

func (b *builder) tables() map[string]schemas.Table {
	tables := make(map[string]schemas.Table, len(b.file.Tables))
	for name, table := range b.file.Tables {
		location := table.Location
		if strings.Contains(location, "://") {
			parsed, err := url.Parse(location)
			if err != nil || parsed.Scheme != "file" || (parsed.Host != "" && parsed.Host != "localhost") || parsed.Path == "" {
				b.doc.Add("the location is a URL that cannot be opened", "use a path or `file:///absolute/path`",
					"tables", name, "location")
				continue
			}
			location = parsed.Path
		}
		tables[name] = schemas.Table{Name: name, Location: b.path(location)}
	}
	return tables
}

func (b *builder) path(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(b.folder, path)
}

// Principal is who runs the jobs.
func (c *Catalog) Principal() string { return c.principal }

// Table returns where a table lies. It does not look whether anything is there.
func (c *Catalog) Table(_ context.Context, name string) (schemas.Table, error) {
	if table, ok := c.tables[name]; ok {
		return table, nil
	}
	return schemas.Table{}, c.unknown("table", name, slices.Collect(maps.Keys(c.tables)),
		"tables", name+": {location: ./path}")
}

// Secret returns the value of "scope/key". It may block on reading its file.
func (c *Catalog) Secret(_ context.Context, name string) (schemas.Secret, error) {
	if find, ok := c.secrets[name]; ok {
		return find()
	}
	return schemas.Secret{}, c.unknown("secret", name, slices.Collect(maps.Keys(c.secrets)), "secrets", name+": {env: VARIABLE}")
}

// Endpoint resolves an endpoint and its secrets. It may block on reading the files of secrets.
func (c *Catalog) Endpoint(ctx context.Context, name string) (schemas.Endpoint, error) {
	if err := ctx.Err(); err != nil {
		return schemas.Endpoint{}, err
	}
	found, ok := c.endpoints[name]
	if !ok {
		return schemas.Endpoint{}, c.unknown("endpoint", name, slices.Collect(maps.Keys(c.endpoints)),
			"endpoints", "- {name: "+name+", ...}")
	}
	return found.resolve()
}

func (c *Catalog) unknown(kind, name string, known []string, section, line string) error {
	mend := document.DidYouMean(name, known)
	if !strings.HasPrefix(mend, "did you mean") {
		mend = strings.TrimPrefix(mend+"; or add under `"+section+":` `"+line+"`", "; or ")
	}
	return &schemas.Error{
		Op: "catalog " + c.path, Code: kind + "_not_found", Mend: mend,
		Err: failure{text: fmt.Sprintf("there is no %s `%s`", kind, name), kind: schemas.ErrInvalid},
	}
}

// failure is an error of a kind whose text says it all.
type failure struct {
	text string
	kind error
}

func (f failure) Error() string { return f.text }
func (f failure) Unwrap() error { return f.kind }
