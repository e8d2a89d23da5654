package wire

import (
	"bytes"
	"encoding/json"
	"math"
)

// What formats share in reading request.parameters, which hold JSON values only.

// Reserved says why a parameter can be set in no format, whatever the provider has; empty where it may be.
func Reserved(name string) string {
	switch name {
	case "model":
		return "the endpoint's destination names the model; remove it"
	case "messages", "input", "prompt":
		return "the job's request says what is asked; remove it"
	case "stream", "stream_options":
		return "an answer is kept whole, so streaming gains nothing; remove it"
	case "n", "best_of":
		return "a row has one answer, and every further choice is paid; remove it"
	case "tools", "tool_choice", "functions", "function_call":
		return "a row's answer is text, and nobody would run the tool; remove it, or ask for a response_format"
	case "audio", "modalities":
		return "a row's answer is text; remove it"
	case "encoding_format":
		return "vectors are read as numbers; remove it"
	}
	return ""
}

// Number is a parameter's value as a number.
func Number(value any) (float64, bool) {
	switch number := value.(type) {
	case int:
		return float64(number), true
	case int64:
		return float64(number), true
	case float64:
		return number, !math.IsNaN(number) && !math.IsInf(number, 0)
	}
	return 0, false
}

// Whole is a parameter's value as a whole number within bounds.
func Whole(value any, least, most int64) (int64, bool) {
	number, ok := Number(value)
	if !ok || number != math.Trunc(number) || number < float64(least) || number > float64(most) {
		return 0, false
	}
	return int64(number), true
}

// Texts is a text, or a list of them, as a list. It shares no memory with the value.
func Texts(value any) ([]string, bool) {
	switch given := value.(type) {
	case string:
		return []string{given}, true
	case []string:
		return append([]string{}, given...), true
	case []any:
		texts := make([]string, 0, len(given))
		for _, entry := range given {
			text, ok := entry.(string)
			if !ok {
				return nil, false
			}
			texts = append(texts, text)
		}
		return texts, true
	}
	return nil, false
}

// Marshal is a value as JSON, without what encoding/json does for the sake of HTML: a prompt with markup must not grow to
// six times its length.
func Marshal(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err //nolint:wrapcheck // the caller says what was to be written
	}
	return bytes.TrimSpace(buffer.Bytes()), nil
}
