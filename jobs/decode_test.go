package jobs

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/inflowhq/inflow/catalog/document"
	"github.com/inflowhq/inflow/connectors/kafka/serde"
	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/schemas"
)

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
			_, err = Parse(filepath.Base(path), data)
			if err == nil {
				t.Fatal("parsed, and should not have")
			}
			if !errors.Is(err, schemas.ErrInvalid) {
				t.Errorf("%v is not schemas.ErrInvalid", err)
			}
			if _, ok := errors.AsType[*Faults](err); !ok {
				t.Errorf("%T is not *Faults", err)
			}
			want, readErr := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".txt")
			if got := err.Error() + "\n"; readErr != nil || got != string(want) {
				t.Errorf("got\n%s\nwant\n%s%v", got, want, readErr)
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got := load(t, "testdata/good/least.yaml")
	folder := absolute(t, "testdata/good")
	want := &File{
		Path:    "testdata/good/least.yaml",
		Job:     "triage",
		State:   folder + "/.inflow",
		Catalog: CatalogRef{Local: folder + "/catalog.yaml"},
		Source:  Source{Delta: TableRef{Name: "main.support.tickets"}, FailOnDataLoss: true},
		Request: Request{
			Endpoint: "triage", Messages: []Message{{Role: "user", Content: "{{ subject }}"}},
			Reuse: pipeline.ReuseRow, Timeout: 2 * time.Minute,
		},
		Limits:  Limits{Concurrency: 64},
		OnError: OnError{Retries: 5, FailAbove: 0.1},
		Sink:    Sink{Delta: TableRef{Name: "main.support.triaged"}},
		Commit:  Commit{Rows: 50_000, Interval: 30 * time.Second},
	}
	compare(t, got, want)
}

func TestEveryKey(t *testing.T) {
	t.Parallel()
	got := load(t, "testdata/good/every_key.yaml")
	folder := absolute(t, "testdata/good")
	if text := got.Limits.Budget.String(); text != "25.100000000000000000" {
		t.Errorf("the budget is %s", text)
	}
	want := &File{
		Path:    "testdata/good/every_key.yaml",
		Job:     "triage_tickets",
		State:   folder + "/state/triage",
		Catalog: CatalogRef{Local: filepath.Dir(folder) + "/catalog.yaml"},
		Source: Source{
			Files: []string{folder + "/data/*.jsonl", "/srv/more/*.jsonl"}, Format: "jsonl",
			Columns: []string{"ticket_id", "subject", "body"}, Where: "status == 'open'", FailOnDataLoss: true,
		},
		Request: Request{
			Endpoint: "main.ai.triage", Key: []string{"ticket_id"},
			Messages: []Message{
				{Role: "system", Content: "You triage support tickets."},
				{Role: "user", Content: "{{ subject }}\n\n{{ body }}"},
			},
			Parameters: map[string]any{
				"temperature": 0, "max_tokens": 200, "top_p": 0.5, "stop": []any{"END", "2024-01-01"},
				"logit_bias": map[string]any{"50256": -100}, "user": nil,
			},
			Reuse: pipeline.ReuseRequest, Timeout: 90 * time.Second,
		},
		Limits:  Limits{RequestsPerMinute: 600, TokensPerMinute: 200_000, Concurrency: 8, Budget: got.Limits.Budget},
		OnError: OnError{Retries: 0, FailAbove: 0.05},
		Sink:    Sink{Files: folder + "/out"},
		Audit:   Audit{Usage: TableRef{Location: "/srv/usage rows"}},
		Commit:  Commit{Rows: 100, Interval: 250 * time.Millisecond},
	}
	compare(t, got, want)
}

func TestKafkaKeys(t *testing.T) {
	t.Parallel()
	got := load(t, "testdata/good/kafka.yaml")
	folder := absolute(t, "testdata/good")
	want := Source{
		Follow: true, Columns: []string{"body", "_key", "_timestamp"},
		Kafka: &Kafka{
			Brokers: []string{"a:9092", "b:9092"}, Topics: []string{"tickets"}, Group: "triage_stream", Start: "latest",
			Value:      KafkaFormat{Format: serde.Avro, Subject: "tickets", Version: 3},
			Key:        KafkaFormat{Format: serde.Text},
			Tombstones: "row",
			Registry:   &SchemaRegistry{URL: "http://127.0.0.1:8081", Username: "u", Password: "{{secrets/kafka/registry}}"},
			TLS:        &KafkaTLS{CA: folder + "/ca.pem"},
			SASL:       &KafkaSASL{Mechanism: "SCRAM-SHA-512", Username: "inflow", Password: "{{secrets/kafka/password}}"},
		},
	}
	if !reflect.DeepEqual(got.Source, want) {
		t.Errorf("got\n%+v %+v\nwant\n%+v %+v", got.Source, got.Source.Kafka, want, want.Kafka)
	}
	if got.Commit.Interval != 0 || !got.Request.OrderByKey || got.OnError.DeadLetters.Name != "main.support.dead" {
		t.Errorf("got %+v", got)
	}
}

func TestPathsStartAtTheFile(t *testing.T) {
	t.Parallel()
	got := load(t, "testdata/good/paths.yaml")
	folder := absolute(t, "testdata/good")
	if want := (TableRef{Location: folder + "/data/tickets"}); got.Source.Delta != want {
		t.Errorf("the source is %v", got.Source.Delta)
	}
	if want := (TableRef{Location: filepath.Dir(folder) + "/triaged"}); got.Sink.Delta != want {
		t.Errorf("the sink is %v", got.Sink.Delta)
	}
	if got.Catalog.Local != "/etc/inflow/catalog.yaml" || got.OnError.FailAbove != 0.25 {
		t.Errorf("got %+v", got)
	}
}

// TestLaterFaults shows what a check does that needs more than the file.
func TestLaterFaults(t *testing.T) {
	t.Parallel()
	file := load(t, "testdata/good/every_key.yaml")
	err := file.Join(
		file.Fault("there is no column `body`", "did you mean `text`?", "request", "messages", "1", "content"),
		file.Fault("there is no column `ticket_id`", "", "request", "key", "0"),
		file.Fault("no such thing", "", "request", "nowhere", "at", "all"),
	)
	want := `testdata/good/every_key.yaml:11:3: no such thing
testdata/good/every_key.yaml:12:9: there is no column ` + "`ticket_id`" + `
testdata/good/every_key.yaml:15:29: there is no column ` + "`body`" + `, did you mean ` + "`text`?"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	faults, ok := errors.AsType[*Faults](err)
	if !ok || faults.List[2].Path != "request.messages[1].content" {
		t.Errorf("got %+v", faults)
	}
	if err := file.Join(); err != nil {
		t.Errorf("no faults are an error: %v", err)
	}
	made := &File{Path: "made"}
	if err := made.Join(made.Fault("wrong", "mend", "job")); err.Error() != "made: wrong, mend" {
		t.Errorf("without a document: %v", err)
	}
}

func TestFaultsAsJSON(t *testing.T) {
	t.Parallel()
	_, err := Parse("a.yaml", []byte("job: 5\n"))
	faults, ok := errors.AsType[*Faults](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	text, err := json.Marshal(faults.List[len(faults.List)-1])
	want := `{"line":1,"column":6,"path":"job","message":"` + "`job` is 5, expected a name of letters, digits, _, . and -, at most 128 characters" +
		`","mend":"for example ` + "`job: triage_tickets`" + `"}`
	if err != nil || string(text) != want {
		t.Errorf("got %s, %v\nwant %s", text, err, want)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	large := filepath.Join(folder, "large.yaml")
	if err := os.WriteFile(large, make([]byte, document.MaxBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(folder, "none.yaml"): "none.yaml: no such file, check the path",
		folder:                             "cannot be read: is a directory",
		large:                              "large.yaml: is larger than 1048576 bytes",
	} {
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, schemas.ErrInvalid) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestManyFaultsAreCheap feeds a file that is as large and as wrong as can be.
func TestManyFaultsAreCheap(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := 0; text.Len() < document.MaxBytes-20; i++ {
		text.WriteString("k" + strings.Repeat("x", i%5) + time.Duration(i).String() + ": {a: b}\n")
	}
	started := time.Now()
	_, err := Parse("a.yaml", []byte(text.String()))
	faults, ok := errors.AsType[*Faults](err)
	if !ok || len(faults.List) != 100 || faults.More == 0 {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "more") {
		t.Error("the rest is not mentioned")
	}
	if took := time.Since(started); took > 30*time.Second {
		t.Errorf("took %s", took)
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
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml"} {
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
		file, err := parse(schema, "/jobs/a.yaml", data)
		if err != nil {
			if !errors.Is(err, schemas.ErrInvalid) || err.Error() == "" {
				t.Fatalf("an error that is no fault: %v", err)
			}
			return
		}
		if file.Job == "" || file.Request.Endpoint == "" || len(file.Request.Messages) == 0 ||
			file.Source.Delta.IsZero() == (len(file.Source.Files) == 0 && file.Source.Kafka == nil) ||
			file.Sink.Delta.IsZero() == (file.Sink.Files == "") ||
			file.Limits.Concurrency < 1 || file.Request.Timeout <= 0 || file.Commit.Interval <= 0 && !file.Source.Follow || file.Commit.Rows < 1 ||
			file.OnError.FailAbove < 0 || file.OnError.FailAbove > 1 || file.Limits.Budget.Cmp(schemas.USD{}) < 0 {
			t.Fatalf("an incomplete file: %+v", file)
		}
		if _, err := json.Marshal(file.Request.Parameters); err != nil {
			t.Fatalf("the parameters are no JSON: %v", err)
		}
	})
}

func load(t *testing.T, path string) *File {
	t.Helper()
	file, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	found, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func compare(t *testing.T, got, want *File) {
	t.Helper()
	shown := *got
	shown.document = nil
	if !reflect.DeepEqual(&shown, want) {
		t.Errorf("got\n%+v\nwant\n%+v", &shown, want)
	}
}

func TestMessageParts(t *testing.T) {
	t.Parallel()
	file, err := Parse("job.yaml", []byte(`
job: look
catalog: {local: catalog.yaml}
source: {delta: ./photos}
request:
  endpoint: look
  messages:
    - role: user
      content: [{text: "What is on it? {{ note }}"}, {image: photo, mime_type: image/png}, {file: report}]
sink: {delta: ./out}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Part{{Text: "What is on it? {{ note }}"}, {Image: "photo", MIMEType: "image/png"}, {File: "report"}}
	if got := file.Request.Messages[0]; got.Role != "user" || got.Content != "" || !reflect.DeepEqual(got.Parts, want) {
		t.Errorf("got %+v", got)
	}
}
