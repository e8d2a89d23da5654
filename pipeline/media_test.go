package pipeline_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/inflowhq/inflow/pipeline"
	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// TestMediaByPath: what a row names by path is read for its call; where it cannot be, the row has the error, nothing is
// paid, and the others go on.
func TestMediaByPath(t *testing.T) {
	t.Parallel()
	b := newBench(t, 4)
	files := fstest.MapFS{}
	for _, path := range []string{"row 0", "row 1", "row 3"} {
		files[path] = &fstest.MapFile{Data: []byte("\x89PNG\r\n\x1a\n")}
	}
	b.options = func(o *pipeline.Options) {
		template, problems := prompts.Parse([]prompts.Message{{Role: "user", Parts: []prompts.Part{
			{Kind: schemas.MediaImage, Column: "body"},
		}}, {Role: "user", Content: "{{ body }}"}}, b.source.Schema())
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		o.Question.Prompt, o.Question.Files = template, files
	}
	if _, err := b.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.check()
	for i, got := range b.results() {
		if failed := i == 2; got.failed != failed || failed && (got.code != "media_unreadable" || got.class != "REJECTED" || got.invocation != "") {
			t.Errorf("row %d: got %+v", i, got)
		}
	}
	if b.model.paid != 3 || len(b.column("invocation_id")) != 3 {
		t.Errorf("%d calls paid, %d in the usage table", b.model.paid, len(b.column("invocation_id")))
	}
	if strings.Contains(strings.Join(b.column("error"), ""), "row 2") {
		t.Error("the usage table has a row for what was never asked")
	}
	b.model.mu.Lock()
	defer b.model.mu.Unlock()
	for i, seen := range b.model.media {
		if seen != "image/png 8" {
			t.Errorf("call %d had the media %q", i, seen)
		}
	}
	if len(b.model.media) != 3 {
		t.Errorf("%d calls had media", len(b.model.media))
	}
	b.done()
}
