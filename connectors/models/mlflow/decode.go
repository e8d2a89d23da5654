package mlflow

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/connectors/models/wire"
	"github.com/inflowhq/inflow/schemas"
)

// zipLimit bounds what columns become as rows, each of which repeats their names.
const zipLimit = 4 * wire.BodyLimit

// Decode reads predictions: a list with one a row, or columns, which become one object a row. A DataFrame comes as a list
// of objects, a dictionary of arrays as columns (mlflow/utils/proto_json_utils.py, _get_jsonable_obj).
func (f *format) Decode(body []byte, response *schemas.Response) error {
	var predictions gjson.Result
	failed := false
	gjson.Parse(strings.ToValidUTF8(string(body), "\uFFFD")).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "predictions":
			predictions = value
		case "usage":
			response.Usage = readUsage(value)
		case "error_code", "error":
			failed = failed || value.Type != gjson.Null
		}
		return true // the usage is paid, whatever is wrong with the rest
	})
	switch {
	case !predictions.Exists() && failed:
		problem := f.problem(nil, body)
		return &problem
	case predictions.IsArray():
		response.Predictions = readRows(predictions)
		return nil
	case predictions.IsObject():
		names, columns := readColumns(predictions)
		response.Predictions = zip(names, columns)
		if response.Predictions == nil {
			return wire.Shape("the columns of the predictions are not lists of equal length")
		}
		return nil
	}
	return wire.Shape("there are no predictions")
}

// arena holds the predictions of an answer in one piece of memory of their own.
type arena struct {
	memory []byte
	out    []json.RawMessage
}

// cut makes what was written since start a prediction.
func (a *arena) cut(start int) {
	a.out = append(a.out, a.memory[start:len(a.memory):len(a.memory)])
}

func readRows(list gjson.Result) []json.RawMessage {
	rows := arena{memory: make([]byte, 0, len(list.Raw)), out: []json.RawMessage{}}
	list.ForEach(func(_, row gjson.Result) bool {
		start := len(rows.memory)
		rows.memory = append(rows.memory, nameless(row)...)
		rows.cut(start)
		return true
	})
	return rows.out
}

// nameless takes the value out of a pandas Series without a name, which comes as a frame whose only column is called 0. Its
// signature is that of a plain list.
func nameless(row gjson.Result) string {
	raw := row.Raw
	if row.IsObject() {
		fields := 0
		row.ForEach(func(key, value gjson.Result) bool {
			if fields++; fields == 1 && key.Str == "0" {
				raw = value.Raw
				return true
			}
			raw = row.Raw
			return false
		})
	}
	return raw
}

// readColumns takes columns by their names, or a frame in pandas' split orientation, of which it takes the rows apart.
// The names are JSON. A column that is no list is nil.
func readColumns(object gjson.Result) (names []string, columns [][]string) {
	if names, columns = readSplit(object); names != nil {
		return names, columns
	}
	object.ForEach(func(key, value gjson.Result) bool {
		names = append(names, key.Raw)
		columns = append(columns, values(value))
		return true
	})
	return names, columns
}

// values are a list's, as they are written; nil where it is none.
func values(list gjson.Result) []string {
	if !list.IsArray() {
		return nil
	}
	out := []string{}
	list.ForEach(func(_, value gjson.Result) bool {
		out = append(out, value.Raw)
		return true
	})
	return out
}

// readSplit returns nil where the object is no frame.
func readSplit(object gjson.Result) (names []string, columns [][]string) {
	var head, data gjson.Result
	frame := true
	object.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "columns":
			head = value
		case "data":
			data = value
		default:
			frame = frame && key.Str == "index"
		}
		return frame
	})
	if !frame || !head.IsArray() || !data.IsArray() {
		return nil, nil
	}
	head.ForEach(func(_, name gjson.Result) bool {
		names, frame = append(names, name.Raw), name.Type == gjson.String
		return frame
	})
	columns = make([][]string, len(names))
	for i := range columns {
		columns[i] = []string{}
	}
	data.ForEach(func(_, row gjson.Result) bool {
		count := 0
		row.ForEach(func(_, value gjson.Result) bool {
			if count < len(columns) {
				columns[count] = append(columns[count], value.Raw)
			}
			count++
			return true
		})
		frame = frame && row.IsArray() && count == len(columns)
		return frame
	})
	if !frame {
		return nil, nil
	}
	return names, columns
}

// zip makes objects of columns; nil where that cannot be done.
func zip(names []string, columns [][]string) []json.RawMessage {
	if len(columns) == 0 || columns[0] == nil {
		return nil
	}
	rows, size := len(columns[0]), 0
	for i, column := range columns {
		if column == nil || len(column) != rows {
			return nil
		}
		size += rows * (len(names[i]) + len(`,:`))
		for _, value := range column {
			size += len(value)
		}
		if size > zipLimit {
			return nil
		}
	}
	objects := arena{memory: make([]byte, 0, size+rows), out: make([]json.RawMessage, 0, rows)}
	for row := range rows {
		start := len(objects.memory)
		for i, column := range columns {
			objects.memory = append(objects.memory, "{,"[min(i, 1)])
			objects.memory = append(append(objects.memory, names[i]...), ':')
			objects.memory = append(objects.memory, column[row]...)
		}
		objects.memory = append(objects.memory, '}')
		objects.cut(start)
	}
	return objects.out
}

// readUsage takes the counts that a model reports which itself asks a language model, by OpenAI's names; BasisNone where
// they are absent or cannot be true.
func readUsage(raw gjson.Result) schemas.Usage {
	ok := true
	input, output := wire.Count(raw.Get("prompt_tokens"), &ok), wire.Count(raw.Get("completion_tokens"), &ok)
	if !ok || input == nil || output == nil {
		return schemas.Usage{Basis: schemas.BasisNone}
	}
	return schemas.Usage{
		InputTokens: *input, OutputTokens: *output, TotalTokens: *input + *output,
		Basis: schemas.BasisProvider, Raw: wire.Verbatim(raw.Raw),
	}
}

// JSON makes JSON of what Python's json module writes for floats that are no numbers, and the server lets pass: NaN becomes
// null, which is how pandas has it, and an infinity a string, as in protobuf's JSON: it is no missing value.
func (*format) JSON(body []byte) []byte {
	words := []struct{ word, instead string }{
		{"NaN", `null`}, {"-Infinity", `"-Infinity"`}, {"Infinity", `"Infinity"`},
	}
	var out []byte
	quoted, done := false, 0 // up to done, body stands in out
	for i := 0; i < len(body); i++ {
		switch char := body[i]; {
		case char == '\\': // only in a string
			i++
		case char == '"':
			quoted = !quoted
		case quoted || char != 'N' && char != '-' && char != 'I':
		default:
			for _, each := range words {
				if bytes.HasPrefix(body[i:], []byte(each.word)) {
					out = append(append(out, body[done:i]...), each.instead...)
					i += len(each.word) - 1
					done = i + 1
					break
				}
			}
		}
	}
	if done == 0 {
		return body
	}
	return append(out, body[done:]...)
}
