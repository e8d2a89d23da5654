package mlflow

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// plan is how a request is written.
type plan struct {
	frame  *schemas.Frame
	layout schemas.Layout
	bare   bool   // the single column has no name
	params []byte // of the model; nil: none
}

// read takes in a frame and joins what cannot be written of it. The rows are looked at when they are written.
func (p *plan) read(frame *schemas.Frame) error {
	var faults []error
	fault := func(text string, details ...any) {
		faults = append(faults, fmt.Errorf("%w: "+text, append([]any{schemas.ErrInvalid}, details...)...))
	}
	p.frame, p.layout, p.bare = frame, frame.Layout, len(frame.Columns) == 1 && frame.Columns[0] == ""
	seen := make(map[string]bool, len(frame.Columns))
	for i, name := range frame.Columns {
		if name == "" && !p.bare {
			fault("feature %d of %d has no name", i+1, len(frame.Columns))
		} else if seen[name] {
			fault("there are two features %q", name)
		}
		seen[name] = true
	}
	if len(frame.Columns) == 0 {
		fault("a frame without features has nothing to predict from")
	}
	switch p.layout {
	case "":
		if p.layout = schemas.LayoutSplit; p.bare {
			p.layout = schemas.LayoutInputs
		}
	case schemas.LayoutSplit, schemas.LayoutRecords:
		if p.bare {
			fault("the layout %s needs named features; use inputs or instances", p.layout)
		}
	case schemas.LayoutInputs, schemas.LayoutInstances:
	default:
		fault("there is no layout %q, only %s, %s, %s and %s", string(p.layout),
			schemas.LayoutSplit, schemas.LayoutRecords, schemas.LayoutInputs, schemas.LayoutInstances)
	}
	return errors.Join(faults...)
}

// Encode writes one request. Values stand in it as they were given: no digit of a number is lost.
func (f *format) Encode(request *schemas.Request, stream bool) (*wire.Call, error) {
	p, err := f.translate(request)
	if err != nil {
		return nil, err
	}
	if stream {
		return nil, fmt.Errorf("%w: predictions do not come in events", schemas.ErrInvalid)
	}
	body := make([]byte, 0, p.size()+len(request.ID)+len(f.server.IDField)+len(f.server.Tail))
	body = append(append(append(body, `{"`...), p.layout...), `":`...)
	if body, err = p.appendFrame(body); err != nil {
		return nil, err
	}
	if p.params != nil {
		body = append(append(body, `,"params":`...), p.params...)
	}
	if f.server.IDField != "" && request.ID != "" {
		body = wire.AppendString(append(append(append(body, `,"`...), f.server.IDField...), `":`...), request.ID)
	}
	return f.call(append(append(body, f.server.Tail...), '}')), nil
}

// size is about how long the body becomes.
func (p *plan) size() int {
	const frame = 128
	names, rows := 0, 0
	for _, name := range p.frame.Columns {
		names += len(name) + 4
	}
	for _, row := range p.frame.Rows {
		rows += len(row) + 2
	}
	if p.layout == schemas.LayoutRecords || p.layout == schemas.LayoutInstances {
		names *= len(p.frame.Rows) + 1
	}
	return frame + names + rows + len(p.params)
}

func (p *plan) appendFrame(body []byte) ([]byte, error) {
	switch {
	case p.layout == schemas.LayoutSplit:
		return p.appendSplit(body)
	case p.bare:
		return p.appendBare(body)
	case p.layout == schemas.LayoutInputs:
		return p.appendColumns(body)
	}
	return p.appendRecords(body)
}

// appendSplit joins the rows as they are.
func (p *plan) appendSplit(body []byte) ([]byte, error) {
	body = append(body, `{"columns":[`...)
	for i, name := range p.frame.Columns {
		if i > 0 {
			body = append(body, ',')
		}
		body = wire.AppendString(body, name)
	}
	body = append(body, `],"data":[`...)
	for i, row := range p.frame.Rows {
		if i > 0 {
			body = append(body, ',')
		}
		if row = bytes.TrimSpace(row); len(row) < 2 || row[0] != '[' {
			return nil, notARow(i)
		}
		body = append(body, row...)
	}
	return append(body, `]}`...), nil
}

// appendBare writes the values of the only column, for instances and for inputs.
func (p *plan) appendBare(body []byte) ([]byte, error) {
	body = append(body, '[')
	err := p.each(func(row, _ int, value string) {
		if row > 0 {
			body = append(body, ',')
		}
		body = append(body, value...)
	})
	return append(body, ']'), err
}

// appendRecords writes one object a row.
func (p *plan) appendRecords(body []byte) ([]byte, error) {
	keys := make([][]byte, len(p.frame.Columns)) // each with what stands before it
	for i, name := range p.frame.Columns {
		before := `,`
		if i == 0 {
			before = `},{`
		}
		keys[i] = append(wire.AppendString([]byte(before), name), ':')
	}
	body = append(body, '[')
	err := p.each(func(row, column int, value string) {
		key := keys[column]
		if row == 0 && column == 0 {
			key = key[len(`},`):]
		}
		body = append(append(body, key...), value...)
	})
	if len(p.frame.Rows) > 0 {
		body = append(body, '}')
	}
	return append(body, ']'), err
}

// appendColumns writes one list a column.
func (p *plan) appendColumns(body []byte) ([]byte, error) {
	columns := make([][]byte, len(p.frame.Columns))
	err := p.each(func(_, column int, value string) {
		columns[column] = append(append(columns[column], ','), value...)
	})
	for i, name := range p.frame.Columns {
		body = append(body, "{,"[min(i, 1)])
		body = append(wire.AppendString(body, name), `:[`...)
		if len(columns[i]) > 0 {
			body = append(body, columns[i][1:]...)
		}
		body = append(body, ']')
	}
	return append(body, '}'), err
}

// each calls write for every value of every row, as it is written in it.
func (p *plan) each(write func(row, column int, value string)) error {
	width := len(p.frame.Columns)
	for i, row := range p.frame.Rows {
		values, count := gjson.ParseBytes(row), 0
		if !values.IsArray() {
			return notARow(i)
		}
		values.ForEach(func(_, value gjson.Result) bool {
			if count < width {
				write(i, count, value.Raw)
			}
			count++
			return true
		})
		if count != width {
			return fmt.Errorf("%w: row %d of the frame has %d values for %d features", schemas.ErrInvalid, i, count, width)
		}
	}
	return nil
}

func notARow(row int) error {
	return fmt.Errorf("%w: row %d of the frame is no list of values", schemas.ErrInvalid, row)
}
