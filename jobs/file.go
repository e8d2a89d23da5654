// Package jobs owns the job file and what is built from it. It is the composition root: the one place where
// adapters are chosen and wired to the engine. It holds no inference logic and no table format of its own.
package jobs

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/answers"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// File is a job file: complete, with every default filled in, and every path absolute. It is not changed
// after Parse; the JSON Schema beside it describes every key.
type File struct {
	Path string `yaml:"-"` // as it was named to Load, for messages

	Job     string     `yaml:"job"`
	State   string     `yaml:"state"` // a folder
	Catalog CatalogRef `yaml:"catalog"`
	Source  Source     `yaml:"source"`
	Request Request    `yaml:"request"`
	Limits  Limits     `yaml:"limits"`
	OnError OnError    `yaml:"on_error"`
	Sink    Sink       `yaml:"sink"`
	Audit   Audit      `yaml:"audit"`
	Commit  Commit     `yaml:"commit"`
	Prices  string     `yaml:"prices"` // a price book; empty: only Inflow's own

	document *document.Document
}

// CatalogRef says where names are looked up.
type CatalogRef struct {
	Local string `yaml:"local"` // the path of a local catalog file
}

// Source is where rows come from. Exactly one of Delta, Files and Kafka is set.
type Source struct {
	Delta TableRef `yaml:"-"`
	Files []string `yaml:"-"` // paths, which may hold wildcards
	Kafka *Kafka   `yaml:"kafka"`
	// Follow goes on with what is appended; ChangeFeed reads how the rows of a Delta table changed.
	Follow         bool     `yaml:"follow"` // default false; of Kafka, true
	ChangeFeed     bool     `yaml:"change_feed"`
	FailOnDataLoss bool     `yaml:"fail_on_data_loss"` // default true
	Format         string   `yaml:"format"`
	Columns        []string `yaml:"columns"` // nil: all
	Where          string   `yaml:"where"`   // CEL; empty: every row
}

// TableRef names a Delta table, by its name in the catalog or by where it lies. At most one field is set;
// the zero value is no table.
type TableRef struct {
	Name     string // catalog.schema.table
	Location string // an absolute path
}

// IsZero reports whether no table is named.
func (t TableRef) IsZero() bool { return t == TableRef{} }

// String returns the name or the location, whichever is set.
func (t TableRef) String() string {
	if t.Name != "" {
		return t.Name
	}
	return t.Location
}

// Request is the question asked for every row. Exactly one of Messages, Input and Features is set.
type Request struct {
	Endpoint string         `yaml:"endpoint"`
	Key      []string       `yaml:"key"` // nil: the row's coordinates in the source
	Messages []Message      `yaml:"messages"`
	Input    string         `yaml:"input"` // a template: the text to embed, or to complete
	Features FeatureList    `yaml:"features"`
	Layout   schemas.Layout `yaml:"layout"` // of the features
	// BatchSize and BatchTokens bound a request of several rows; 0: what suits the task.
	BatchSize   int   `yaml:"batch_size"`
	BatchTokens int64 `yaml:"batch_tokens"`
	// BatchWait is how long a request waits for more rows; 0: until the source has no more at hand.
	BatchWait  time.Duration `yaml:"-"`
	OrderByKey bool          `yaml:"order_by_key"` // rows of one key one after another
	// ResponseFormat is what an answer must look like, in one of the ways of package answers; zero: text.
	ResponseFormat yaml.Node     `yaml:"response_format"`
	Answer         *answers.Type `yaml:"-"` // of it; nil: text
	// Parameters hold JSON values only: nil, bool, int, float64, string, []any, map[string]any.
	Parameters map[string]any `yaml:"parameters"`
	Reuse      pipeline.Reuse `yaml:"reuse"`
	Timeout    time.Duration  `yaml:"-"` // of one attempt; default 120s
}

// Asks is the key that says what is asked: "messages", "input" or "features".
func (r *Request) Asks() string {
	switch {
	case r.Input != "":
		return "input"
	case !r.Features.IsZero():
		return "features"
	}
	return "messages"
}

// FeatureList is what a model predicts from: All that its signature names, or a list.
type FeatureList struct {
	All  bool
	List []prompts.Feature
}

// UnmarshalYAML reads `all`, a list of columns, or a mapping of inputs to columns.
func (f *FeatureList) UnmarshalYAML(node *yaml.Node) error {
	switch node.Kind { //nolint:exhaustive // the schema lets no other through
	case yaml.SequenceNode:
		for _, each := range node.Content {
			f.List = append(f.List, prompts.Feature{Name: each.Value, Column: each.Value})
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			f.List = append(f.List, prompts.Feature{Name: node.Content[i].Value, Column: node.Content[i+1].Value})
		}
	default:
		f.All = true
	}
	return nil
}

// IsZero reports whether there are none.
func (f *FeatureList) IsZero() bool { return !f.All && f.List == nil }

// Message is one turn of the conversation. Content is a template over the columns of a row; Parts stand in its place.
type Message struct {
	Role    string
	Content string
	Parts   []Part
}

// Part is a text, or media from a column: exactly one of the first four is set.
type Part struct {
	Text     string `yaml:"text"`
	Image    string `yaml:"image"` // the name of a column, as the two below
	File     string `yaml:"file"`
	Audio    string `yaml:"audio"`
	MIMEType string `yaml:"mime_type"` // empty: what the bytes or the name say
}

// UnmarshalYAML reads content as a text or as a list of parts.
func (m *Message) UnmarshalYAML(node *yaml.Node) error {
	var written struct {
		Role    string    `yaml:"role"`
		Content yaml.Node `yaml:"content"`
	}
	if err := node.Decode(&written); err != nil {
		return err
	}
	m.Role = written.Role
	if written.Content.Kind == yaml.SequenceNode {
		return written.Content.Decode(&m.Parts)
	}
	return written.Content.Decode(&m.Content)
}

// media is what of a part is no text; kind is empty for a text.
func (p *Part) media() (kind schemas.MediaKind, column string) {
	switch {
	case p.Image != "":
		return schemas.MediaImage, p.Image
	case p.File != "":
		return schemas.MediaFile, p.File
	case p.Audio != "":
		return schemas.MediaAudio, p.Audio
	}
	return "", ""
}

// Limits are the run's own ceilings. Zero is no limit, except for Concurrency.
type Limits struct {
	RequestsPerMinute int64       `yaml:"requests_per_minute"`
	TokensPerMinute   int64       `yaml:"tokens_per_minute"`
	Concurrency       int         `yaml:"concurrency"` // requests in flight; default 64
	Budget            schemas.USD `yaml:"-"`           // budget_usd
}

// OnError says what failures come to.
type OnError struct {
	Retries   int     `yaml:"retries"` // attempts after the first; default 5
	FailAbove float64 `yaml:"-"`       // the share of failed rows, 0 to 1; default 0.1
	// DeadLetters takes the records of Kafka that have no answer; zero: they are rows of the results.
	DeadLetters TableRef `yaml:"-"`
}

// Sink is where answers go. Exactly one of Delta and Files is set.
type Sink struct {
	Delta TableRef `yaml:"-"`
	Files string   `yaml:"files"` // a folder of Parquet files
}

// Audit names what is written beside the answers.
type Audit struct {
	Usage TableRef `yaml:"-"` // zero: no usage table
}

// Commit bounds an epoch: the first bound that is reached commits.
type Commit struct {
	Rows     int           `yaml:"rows"` // default 50000
	Interval time.Duration `yaml:"-"`    // default 30s; 0, where the source is followed: as long as commits suggest
}

// defaults is a File before its own keys are read.
func defaults() *File {
	return &File{
		State:   ".inflow",
		Source:  Source{FailOnDataLoss: true},
		Request: Request{Reuse: pipeline.ReuseRow, Timeout: 120 * time.Second},
		Limits:  Limits{Concurrency: 64},
		OnError: OnError{Retries: 5, FailAbove: 0.1},
		Commit:  Commit{Rows: 50_000, Interval: 30 * time.Second},
	}
}
