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

// folder is the job's own, from which rows may name files. Nothing outside of it is read: where a row's text comes from,
// nobody here knows, and what is read goes to a provider.
type folder struct{ root *os.Root }

// Stat implements pipeline.Files.
func (f folder) Stat(path string) (fs.FileInfo, error) {
	info, err := f.root.Stat(filepath.FromSlash(path))
	switch {
	case err != nil:
		return nil, unreadable(path, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", shown(path))
	case info.Size() > maxMedia:
		return nil, fmt.Errorf("%s is longer than %d MiB", shown(path), maxMedia>>20)
	}
	return info, nil
}

// ReadFile implements pipeline.Files.
func (f folder) ReadFile(path string) ([]byte, error) {
	if _, err := f.Stat(path); err != nil { // it may have changed since
		return nil, err
	}
	file, err := f.root.Open(filepath.FromSlash(path))
	if err != nil {
		return nil, unreadable(path, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxMedia))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s cannot be read to its end", shown(path))
	}
	return data, nil
}

func unreadable(path string, err error) error {
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		err = inner.Err
	}
	return fmt.Errorf("%s cannot be read: %w; paths start from the folder of the job file, and stay in it", shown(path), err)
}

// shown is the beginning of a path: what stands in a column may be no path at all.
func shown(path string) string {
	const longest = 200
	if len(path) > longest {
		return path[:longest] + "…"
	}
	return path
}
