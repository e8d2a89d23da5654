package openai

import "unicode/utf8"

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
