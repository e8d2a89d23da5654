package pipeline

import (
	"context"

	"github.com/inflowhq/inflow/pipeline/prompts"
	"github.com/inflowhq/inflow/schemas"
)

// mediaBytes bounds the files that calls hold at once, in bytes. A larger file goes alone.
const mediaBytes = 256 << 20

func unreadable(err error) error {
	return &schemas.Error{Class: schemas.Rejected, Code: "media_unreadable", Err: err}
}

// withFiles makes a call with the files that the question names, and lets go of them afterwards.
func (c *chain) withFiles(admit context.Context, q *question, call func() sent) sent {
	if q.files == 0 {
		return call()
	}
	weight := min(q.files, mediaBytes)
	if err := c.media.Acquire(admit, weight); err != nil {
		return sent{err: err}
	}
	defer c.media.Release(weight)
	return call()
}

// load reads the files of a question. forget lets go of them.
func (c *chain) load(q *question) (forget func(), err error) {
	var loaded []*schemas.Media
	forget = func() {
		for _, media := range loaded {
			media.Data = nil
		}
	}
	if q.files == 0 {
		return forget, nil
	}
	for i := range q.request.Messages {
		for _, part := range q.request.Messages[i].Parts {
			if part.Media == nil || part.Media.Path == "" {
				continue
			}
			data, err := c.files.ReadFile(part.Media.Path)
			if err != nil {
				forget()
				return nil, unreadable(err)
			}
			part.Media.Data = data
			prompts.Describe(part.Media)
			loaded = append(loaded, part.Media)
		}
	}
	return forget, nil
}
