package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/inflowhq/inflow/schemas"
)

// bodyOverhead is about what a message takes beside its text.
const bodyOverhead = 64

type encodedParameters struct {
	of   map[string]any
	json []byte // `,"temperature":0`, ready to be put behind the messages
}

// parameters returns the encoding of the parameters, from the last call where it is the same map.
func (m *Model) parameters(parameters map[string]any) ([]byte, error) {
	if len(parameters) == 0 {
		return nil, nil
	}
	last := m.encoded.Load()
	if last != nil && len(last.of) == len(parameters) &&
		reflect.ValueOf(last.of).Pointer() == reflect.ValueOf(parameters).Pointer() {
		return last.json, nil
	}
	if err := checkParameters(parameters); err != nil {
		return nil, err
	}
	var buffer bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		value, err := json.Marshal(parameters[name])
		if err != nil {
			return nil, fmt.Errorf("%w: request.parameters.%s cannot be written as JSON: %w", schemas.ErrInvalid, name, err)
		}
		buffer.WriteString(`,"` + name + `":`) // a known name, which needs no escaping
		buffer.Write(value)
	}
	m.encoded.Store(&encodedParameters{of: parameters, json: buffer.Bytes()})
	return buffer.Bytes(), nil
}

// body writes the request by hand: it is done for every row, and reflection would be most of its cost.
func (m *Model) body(request *schemas.Request, parameters []byte) []byte {
	text := 0
	for i := range request.Messages {
		text += len(request.Messages[i].Content)
	}
	body := make([]byte, 0, len(m.prefix)+text+text/8+len(request.Messages)*bodyOverhead+len(parameters)+2)
	body = append(body, m.prefix...)
	for i := range request.Messages {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendString(append(body, `{"role":`...), request.Messages[i].Role)
		body = appendString(append(body, `,"content":`...), request.Messages[i].Content)
		body = append(body, '}')
	}
	body = append(body, ']')
	body = append(body, parameters...)
	return append(body, '}')
}

// appendString appends text as a JSON string (RFC 8259 §7). What is not UTF-8 becomes U+FFFD, one a byte, as
// encoding/json has it: a provider rejects the whole body for a single bad byte.
func appendString(body []byte, text string) []byte {
	const hex = "0123456789abcdef"
	body = append(body, '"')
	start := 0
	for i := 0; i < len(text); {
		char := text[i]
		if char >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(text[i:])
			if r == utf8.RuneError && size == 1 {
				body = append(append(body, text[start:i]...), "\uFFFD"...)
				start = i + size
			}
			i += size
			continue
		}
		if char >= ' ' && char != '"' && char != '\\' {
			i++
			continue
		}
		body = append(body, text[start:i]...)
		switch char {
		case '"', '\\':
			body = append(body, '\\', char)
		case '\n':
			body = append(body, '\\', 'n')
		case '\r':
			body = append(body, '\\', 'r')
		case '\t':
			body = append(body, '\\', 't')
		default:
			body = append(body, '\\', 'u', '0', '0', hex[char>>4], hex[char&15])
		}
		i++
		start = i
	}
	return append(append(body, text[start:]...), '"')
}
