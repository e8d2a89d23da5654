package embedded

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// textColumn is the column that the models read; a table of one column need not name it so.
const textColumn = "text"

// scoringRequest is MLflow's scoring protocol: exactly one of the four holds the rows.
type scoringRequest struct {
	Split     *splitTable                   `json:"dataframe_split"`
	Records   *[]map[string]json.RawMessage `json:"dataframe_records"`
	Inputs    json.RawMessage               `json:"inputs"`
	Instances json.RawMessage               `json:"instances"`
}

type splitTable struct {
	Columns []string            `json:"columns"`
	Data    [][]json.RawMessage `json:"data"`
}

// score answers the scoring routes; without a name it is the first model.
func (h *handler) score(r *http.Request, body []byte) (any, error) {
	name := r.PathValue("model")
	if name == "" {
		name = modelSentiment
	}
	m, ok := h.models[name]
	if !ok {
		return nil, unknownModel(name)
	}
	texts, err := decodeScoring(body)
	if err != nil {
		return nil, err
	}
	predictions := make([]map[string]any, len(texts))
	for i, text := range texts {
		if err := r.Context().Err(); err != nil {
			return nil, err //nolint:wrapcheck // the client has gone; nobody reads it
		}
		_, predictions[i] = m.score(text)
	}
	return map[string]any{"predictions": predictions}, nil
}

// decodeScoring returns the texts of a scoring request, one a row.
func decodeScoring(body []byte) ([]string, error) {
	var request scoringRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, invalid("the body is not the JSON of a scoring request")
	}
	given := 0
	for _, present := range []bool{request.Split != nil, request.Records != nil, isGiven(request.Inputs), isGiven(request.Instances)} {
		if present {
			given++
		}
	}
	if given != 1 {
		return nil, invalid("give exactly one of dataframe_split, dataframe_records, inputs and instances; there are %d", given)
	}
	var texts []string
	var err error
	switch {
	case request.Split != nil:
		texts, err = request.Split.texts()
	case request.Records != nil:
		texts, err = recordTexts(*request.Records)
	case isGiven(request.Inputs):
		texts, err = tensorTexts(request.Inputs)
	default:
		texts, err = tensorTexts(request.Instances)
	}
	if err == nil && len(texts) > rowLimit {
		err = &fault{http.StatusRequestEntityTooLarge, "request_too_large", fmt.Sprintf("there are %d rows; send at most %d", len(texts), rowLimit)}
	}
	return texts, err
}

func isGiven(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func (t *splitTable) texts() ([]string, error) {
	at := -1
	for i, column := range t.Columns {
		if column == textColumn || len(t.Columns) == 1 {
			at = i
		}
	}
	if at < 0 {
		return nil, noColumn()
	}
	texts := make([]string, len(t.Data))
	for i, row := range t.Data {
		if len(row) != len(t.Columns) {
			return nil, invalid("row %d has %d values for %d columns", i, len(row), len(t.Columns))
		}
		var err error
		if texts[i], err = cell(row[at], i); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

func recordTexts(records []map[string]json.RawMessage) ([]string, error) {
	texts := make([]string, len(records))
	for i, record := range records {
		value, ok := record[textColumn]
		if !ok && len(record) == 1 {
			for _, value = range record { // the only one
				ok = true
			}
		}
		if !ok {
			return nil, noColumn()
		}
		var err error
		if texts[i], err = cell(value, i); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// tensorTexts reads a list of texts, of lists of one text or of records, or a column of texts by its name.
func tensorTexts(raw json.RawMessage) ([]string, error) {
	if raw[0] == '{' {
		var columns map[string]json.RawMessage
		if err := json.Unmarshal(raw, &columns); err != nil {
			return nil, invalid("the named inputs are not readable")
		}
		column, ok := columns[textColumn]
		if !ok && len(columns) == 1 {
			for _, column = range columns { // the only one
				ok = true
			}
		}
		if !ok || len(column) == 0 || column[0] == '{' {
			return nil, noColumn()
		}
		raw = column
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(raw, &rows); err != nil {
		return nil, invalid("the rows are not a list")
	}
	texts := make([]string, len(rows))
	for i, row := range rows {
		var err error
		if row[0] == '{' {
			var record map[string]json.RawMessage
			if json.Unmarshal(row, &record) != nil {
				return nil, invalid("row %d is not readable", i)
			}
			one, failure := recordTexts([]map[string]json.RawMessage{record})
			if failure != nil {
				return nil, failure
			}
			texts[i] = one[0]
		} else if texts[i], err = cell(row, i); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// cell reads one text; a list of one, as a column vector has it, will do.
func cell(raw json.RawMessage, row int) (string, error) {
	var text string
	if len(raw) > 0 && raw[0] == '[' {
		var one []json.RawMessage
		if json.Unmarshal(raw, &one) == nil && len(one) == 1 {
			raw = one[0]
		}
	}
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", invalid("row %d holds no text", row)
	}
	return text, nil
}

func noColumn() error {
	return invalid("name the column to read %q, or send one column only", textColumn)
}

// mlflowError writes a fault in MLflow's shape.
func mlflowError(w http.ResponseWriter, f *fault) {
	code := "BAD_REQUEST"
	switch {
	case f.status == http.StatusNotFound:
		code = "RESOURCE_DOES_NOT_EXIST"
	case f.status >= http.StatusInternalServerError:
		code = "INTERNAL_ERROR"
	case f.status != http.StatusBadRequest:
		code = strings.ToUpper(f.code)
	}
	write(w, f.status, map[string]string{"error_code": code, "message": f.message})
}
