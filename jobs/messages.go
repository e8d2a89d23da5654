package jobs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// maxMedia bounds a file of media, in bytes: no provider takes a larger one inside a request.
const maxMedia = 32 << 20

// templates are the messages as package prompts reads them.
func (r *Request) templates() []prompts.Message {
	out := make([]prompts.Message, 0, len(r.Messages))
	for _, message := range r.Messages {
		template := prompts.Message{Role: message.Role, Content: message.Content}
		for i := range message.Parts {
			part := &message.Parts[i]
			kind, column := part.media()
			template.Parts = append(template.Parts, prompts.Part{Text: part.Text, Kind: kind, Column: column, MIMEType: part.MIMEType})
		}
		out = append(out, template)
	}
	return out
}

// example is a conversation of the request's shape, for a provider to say at check whether it takes it.
func (r *Request) example() []schemas.Message {
	out := make([]schemas.Message, 0, len(r.Messages))
	for _, message := range r.Messages {
		shape := schemas.Message{Role: message.Role, Content: "?"}
		for i := range message.Parts {
			kind, _ := message.Parts[i].media()
			if kind == "" {
				shape.Parts = append(shape.Parts, schemas.Part{Text: "?"})
				continue
			}
			usual := map[schemas.MediaKind]string{
				schemas.MediaImage: "image/png", schemas.MediaFile: "application/pdf", schemas.MediaAudio: "audio/wav",
			}[kind]
			if message.Parts[i].MIMEType != "" {
				usual = message.Parts[i].MIMEType
			}
			shape.Parts = append(shape.Parts, schemas.Part{Media: &schemas.Media{Kind: kind, MIMEType: usual, Data: []byte("?")}})
		}
		if shape.Parts != nil {
			shape.Content = ""
		}
		out = append(out, shape)
	}
	return out
}

// readMedia reads a file that a row names, from the job's folder on where the path is relative.
func (j *Job) readMedia(path string) ([]byte, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(j.File.Path), path)
	}
	file, err := os.Open(path) //nolint:gosec // the rows say what is asked about
	if err != nil {
		reason := err
		if inner, ok := errors.AsType[*fs.PathError](err); ok {
			reason = inner.Err
		}
		return nil, fmt.Errorf("%s cannot be read: %w", path, reason)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxMedia+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s cannot be read to its end", path)
	}
	if len(data) > maxMedia {
		return nil, fmt.Errorf("%s is longer than %d MiB", path, maxMedia>>20)
	}
	return data, nil
}
