package pipeline_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// TestMediaByPath: what a row names by path is read once for its question; where it cannot be, the row has the error,
// nothing is paid, and the others go on.
func TestMediaByPath(t *testing.T) {
	t.Parallel()
	b := newBench(t, 4)
	var mu sync.Mutex
	read := map[string]int{}
	b.options = func(o *pipeline.Options) {
		template, problems := prompts.Parse([]prompts.Message{{Role: "user", Parts: []prompts.Part{
			{Kind: schemas.MediaImage, Column: "body"},
		}}, {Role: "user", Content: "{{ body }}"}}, b.source.Schema())
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		o.Question.Prompt = template
		o.Limits.Concurrency = 1
		o.Question.ReadFile = func(path string) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			if read[path]++; path == "row 2" {
				return nil, errors.New("row 2 cannot be read: no such file")
			}
			return []byte("\x89PNG\r\n\x1a\n"), nil
		}
	}
	if _, err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.check()
	for i, got := range b.results() {
		if failed := i == 2; got.failed != failed || failed && (got.code != "media_unreadable" || got.class != "REJECTED" || got.invocation != "") {
			t.Errorf("row %d: got %+v", i, got)
		}
		if read["row "+string(rune('0'+i))] == 0 {
			t.Errorf("row %d was not read", i)
		}
	}
	if b.model.paid != 3 || len(b.column("invocation_id")) != 3 {
		t.Errorf("%d calls paid, %d in the usage table", b.model.paid, len(b.column("invocation_id")))
	}
	if strings.Contains(strings.Join(b.column("error"), ""), "row 2") {
		t.Error("the usage table has a row for what was never asked")
	}
	b.done()
}
