package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/inflowhq/inflow/schemas"
)

// What formats share beside the calls: reading and writing JSON, base URLs, and names that are nearly right.

const (
	usageLimit = 8 << 10 // bytes of a usage object that are kept verbatim
	// TokenLimit is more than any call has counted; a count beyond is noise that would become a bill.
	TokenLimit = 1 << 40
)

// Plain is the text of a string, and nothing of null; anything else is not ok. The text does not hold on to the
// body, and is UTF-8 whatever the server sent, for a column of texts takes nothing else.
func Plain(value gjson.Result, ok *bool) string {
	switch value.Type { //nolint:exhaustive // the others are no text
	case gjson.String:
		return strings.Clone(strings.ToValidUTF8(value.Str, "\uFFFD"))
	case gjson.Null:
		return ""
	}
	*ok = false
	return ""
}

// Count is a number of tokens, nil where there is none; what no call can have counted is not ok.
func Count(value gjson.Result, ok *bool) *int64 {
	if value.Type == gjson.Null { // absent as well
		return nil
	}
	tokens, err := strconv.ParseInt(value.Raw, 10, 64)
	if err != nil && value.Type == gjson.Number && value.Num == math.Trunc(value.Num) && math.Abs(value.Num) <= TokenLimit {
		tokens, err = int64(value.Num), nil // 20.0, as some count
	}
	if err != nil || tokens < 0 || tokens > TokenLimit {
		*ok = false
		return nil
	}
	return &tokens
}

// Verbatim is a usage object as it is kept: a copy, in UTF-8; nothing where it is too long to be one.
func Verbatim(raw string) string {
	if len(raw) > usageLimit {
		return ""
	}
	return strings.Clone(strings.ToValidUTF8(raw, "\uFFFD"))
}

// IsObject reports whether a text is a JSON object.
func IsObject(text []byte) bool {
	text = bytes.TrimSpace(text)
	return len(text) > 0 && text[0] == '{' && json.Valid(text)
}

// BaseURL reads the base URL of a setting, whose name is field; keyField is where the key belongs. Its errors do not show it: it may hold a secret.
func BaseURL(base, field, example, keyField string) (*url.URL, error) {
	parsed, err := url.Parse(base)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" {
		return &url.URL{}, fmt.Errorf("%w: %s is no http or https URL; write it like %s", schemas.ErrInvalid, field, example)
	}
	if parsed.User != nil || parsed.Fragment != "" {
		return &url.URL{}, fmt.Errorf("%w: %s holds a user, a password or a fragment; put the key under %s", schemas.ErrInvalid, field, keyField)
	}
	if parsed.Path == "" { // what is joined to an empty path would not begin with a slash
		parsed.Path = "/"
	}
	return parsed, nil
}

// Nearest is the known name that takes the fewest edits.
func Nearest(name string, known []string) string {
	const longest = 64 // an absurd name must not cost a quadratic table
	name = name[:min(len(name), longest)]
	return slices.MinFunc(known, func(a, b string) int { return edits(name, a) - edits(name, b) })
}

// edits is the Levenshtein distance.
func edits(from, to string) int {
	row := make([]int, len(to)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(from) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(to) {
			cost := diagonal
			if from[i] != to[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(to)]
}

// AppendString appends text as a JSON string (RFC 8259 §7). What is not UTF-8 becomes U+FFFD, one a byte, as
// encoding/json has it: a provider rejects the whole body for a single bad byte.
func AppendString(body []byte, text string) []byte {
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
