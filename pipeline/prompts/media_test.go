package prompts_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

func TestMedia(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "note", Type: arrow.BinaryTypes.String},
		{Name: "photo", Type: arrow.BinaryTypes.Binary, Nullable: true},
		{Name: "link", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "size", Type: arrow.PrimitiveTypes.Int64},
	}, nil)
	template, problems := prompts.Parse([]prompts.Message{
		{Role: "system", Content: "Be brief."},
		{Role: "user", Parts: []prompts.Part{
			{Text: "What is on it? {{ note }}"},
			{Kind: schemas.MediaImage, Column: "photo"},
			{Kind: schemas.MediaFile, Column: "link"},
			{Kind: schemas.MediaAudio, Column: "link", MIMEType: "audio/flac"},
		}},
	}, schema)
	if len(problems) > 0 || strings.Join(template.Columns(), " ") != "note photo link" {
		t.Fatalf("%v, columns %v", problems, template.Columns())
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues([]string{"a", "b"}, nil)                                        //nolint:errcheck,forcetypeassert // the schema says so
	b.Field(1).(*array.BinaryBuilder).AppendValues([][]byte{[]byte("\xff\xd8\xff\xe0"), nil}, []bool{true, false}) //nolint:errcheck,forcetypeassert // the schema says so
	b.Field(2).(*array.StringBuilder).AppendValues([]string{"https://example.com/a.pdf?x=1", "scans/b.PDF"}, nil)  //nolint:errcheck,forcetypeassert // the schema says so
	b.Field(3).(*array.Int64Builder).AppendValues([]int64{1, 2}, nil)                                              //nolint:errcheck,forcetypeassert // the schema says so
	record := b.NewRecord()
	defer record.Release()

	got := template.Render(record, 0)[1].Parts
	if len(got) != 4 || got[0].Text != "What is on it? a" || got[1].Media.MIMEType != "image/jpeg" || len(got[1].Media.Data) != 4 {
		t.Fatalf("got %+v", got)
	}
	if file := got[2].Media; file.URL != "https://example.com/a.pdf?x=1" || file.MIMEType != "application/pdf" || file.Name != "a.pdf" || file.Path != "" {
		t.Errorf("got %+v", file)
	}
	if got[3].Media.MIMEType != "audio/flac" {
		t.Errorf("what the job says does not go first: %+v", got[3].Media)
	}
	got = template.Render(record, 1)[1].Parts
	if len(got) != 3 || got[1].Media.Path != "scans/b.PDF" || got[1].Media.URL != "" || got[1].Media.MIMEType != "" {
		t.Errorf("a NULL is not left out, or a path is no path: %+v", got)
	}

	_, problems = prompts.Parse([]prompts.Message{{Role: "user", Parts: []prompts.Part{
		{Text: "{{ nope }}"}, {Kind: schemas.MediaImage, Column: "size"}, {Kind: schemas.MediaImage, Column: "fhoto"},
	}}}, schema)
	if len(problems) != 3 || problems[0].Part != 0 || !strings.Contains(problems[1].Text, "int64") || problems[2].Column != "fhoto" {
		t.Errorf("got %+v", problems)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"\x89PNG\r\n\x1a\n...": "image/png", "GIF89a": "image/gif", "RIFF....WEBPVP8 ": "image/webp", "RIFF....WAVEfmt ": "audio/wav",
		"%PDF-1.7": "application/pdf", "ID3\x04": "audio/mpeg", "\xff\xfb\x90": "audio/mpeg", "\xff": "", "": "", "text": "",
	} {
		media := &schemas.Media{Data: []byte(data)}
		if prompts.Describe(media); media.MIMEType != want {
			t.Errorf("%q: got %q, want %q", data, media.MIMEType, want)
		}
	}
	// The bytes go before the name, what the job says before both, and a data URL says it itself.
	for want, media := range map[string]*schemas.Media{
		"image/png":  {Data: []byte("\x89PNG\r\n\x1a\n"), Path: "a/x.jpg"},
		"image/jpeg": {Data: []byte("?"), Path: "a/x.jpg"},
		"audio/flac": {Data: []byte("\x89PNG\r\n\x1a\n"), MIMEType: "audio/flac"},
		"image/tiff": {URL: "data:image/tiff;base64,AAAA/BBBB.png"},
	} {
		if prompts.Describe(media); media.MIMEType != want {
			t.Errorf("got %+v, want %s", media, want)
		}
	}
}
