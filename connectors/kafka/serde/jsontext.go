package serde

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// maxJSONDepth bounds how deep JSON text nests.
const maxJSONDepth = 512

// jsonText walks over one JSON text that is UTF-8. It is strict: what it passes over, encoding/json takes too.
type jsonText struct {
	data []byte
	at   int
	// plain refuses numbers that cost more to calculate with than to write: 1e999999999.
	plain bool
}

const maxPlainNumber = 1000 // characters; exponents have three digits

func errNotJSON(at int) error { return fmt.Errorf("not JSON at byte %d", at+1) }

func (t *jsonText) fault() error {
	if t.at >= len(t.data) {
		return errors.New("not JSON: it ends too early")
	}
	return errNotJSON(t.at)
}

// next is the first byte of the next token, 0 at the end.
func (t *jsonText) next() byte {
	for t.at < len(t.data) {
		switch c := t.data[t.at]; c {
		case ' ', '\t', '\r', '\n':
			t.at++
		default:
			return c
		}
	}
	return 0
}

// take consumes a mark.
func (t *jsonText) take(mark byte) bool {
	if t.next() != mark || t.at >= len(t.data) {
		return false
	}
	t.at++
	return true
}

// end fails where anything follows the value.
func (t *jsonText) end() error {
	if t.next(); t.at < len(t.data) {
		return errNotJSON(t.at)
	}
	return nil
}

// more says whether another member or element follows, count of which were there. It consumes the comma or the closing mark.
func (t *jsonText) more(closing byte, count int) (bool, error) {
	switch c := t.next(); {
	case c == closing:
		t.at++
		return false, nil
	case count == 0:
		return true, nil
	case c == ',':
		t.at++
		return true, nil
	}
	return false, t.fault()
}

// skip passes over a value and returns its text.
func (t *jsonText) skip(depth int) ([]byte, error) {
	c := t.next()
	start := t.at
	var err error
	switch c {
	case '{', '[':
		err = t.skipNested(c, depth)
	case '"':
		_, _, err = t.quoted()
	case 't':
		err = t.literal("true")
	case 'f':
		err = t.literal("false")
	case 'n':
		err = t.literal("null")
	default:
		_, err = t.number()
	}
	return t.data[start:t.at], err
}

func (t *jsonText) skipNested(opening byte, depth int) error {
	if depth >= maxJSONDepth {
		return errTooDeep()
	}
	t.at++
	for count := 0; ; count++ {
		more, err := t.more(opening+2, count) // the closing marks stand two behind
		if err != nil || !more {
			return err
		}
		if opening == '{' {
			if _, _, err := t.key(); err != nil {
				return err
			}
		}
		if _, err := t.skip(depth + 1); err != nil {
			return err
		}
	}
}

func errTooDeep() error { return errors.New("it is nested too deep") }

// key consumes a member's key and the colon, as quoted does.
func (t *jsonText) key() (raw []byte, escaped bool, err error) {
	if t.next() != '"' {
		return nil, false, t.fault()
	}
	if raw, escaped, err = t.quoted(); err != nil {
		return nil, false, err
	}
	if !t.take(':') {
		return nil, false, t.fault()
	}
	return raw, escaped, nil
}

func (t *jsonText) literal(word string) error {
	if !bytes.HasPrefix(t.data[t.at:], []byte(word)) {
		return errNotJSON(t.at)
	}
	t.at += len(word)
	return nil
}

// quoted consumes a string and returns what stands between the quotes, and whether there are escapes in it.
func (t *jsonText) quoted() (raw []byte, escaped bool, err error) {
	t.at++
	start := t.at
	for t.at < len(t.data) {
		switch c := t.data[t.at]; {
		case c == '"':
			t.at++
			return t.data[start : t.at-1], escaped, nil
		case c == '\\':
			escaped = true
			if err := t.escape(); err != nil {
				return nil, false, err
			}
		case c < ' ':
			return nil, false, errNotJSON(t.at)
		default:
			t.at++
		}
	}
	return nil, false, t.fault()
}

func (t *jsonText) escape() error {
	t.at++
	if t.at >= len(t.data) {
		return t.fault()
	}
	switch t.data[t.at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		t.at++
		return nil
	case 'u':
		for i := 1; i <= 4; i++ {
			if t.at+i >= len(t.data) || hexDigit(t.data[t.at+i]) < 0 {
				return errNotJSON(t.at)
			}
		}
		t.at += 5
		return nil
	}
	return errNotJSON(t.at)
}

func hexDigit(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

// unescape adds to buf what a string with escapes, that quoted has passed over, stands for.
func unescape(buf, raw []byte) []byte {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			buf = append(buf, raw[i])
			i++
			continue
		}
		switch c := raw[i+1]; c {
		case 'b':
			buf = append(buf, '\b')
		case 'f':
			buf = append(buf, '\f')
		case 'n':
			buf = append(buf, '\n')
		case 'r':
			buf = append(buf, '\r')
		case 't':
			buf = append(buf, '\t')
		case 'u':
			char := codeUnit(raw[i:])
			if utf16.IsSurrogate(char) {
				// Half a pair stands for nothing; DecodeRune makes it the replacement character.
				pair := utf16.DecodeRune(char, codeUnit(raw[i+6:]))
				if pair != utf8.RuneError {
					i += 6
				}
				char = pair
			}
			buf = utf8.AppendRune(buf, char)
			i += 4
		default:
			buf = append(buf, c)
		}
		i += 2
	}
	return buf
}

// codeUnit reads \uXXXX, -1 where there is none.
func codeUnit(raw []byte) rune {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return -1
	}
	unit := rune(0)
	for _, c := range raw[2:6] {
		unit = unit<<4 | hexDigit(c)
	}
	return unit
}

// number consumes a number and returns its text.
func (t *jsonText) number() ([]byte, error) {
	start := t.at
	if t.at < len(t.data) && t.data[t.at] == '-' {
		t.at++
	}
	if t.at < len(t.data) && t.data[t.at] == '0' {
		t.at++
	} else if !t.digits() {
		return nil, t.fault()
	}
	if t.at < len(t.data) && t.data[t.at] == '.' {
		t.at++
		if !t.digits() {
			return nil, t.fault()
		}
	}
	if t.at < len(t.data) && (t.data[t.at] == 'e' || t.data[t.at] == 'E') {
		t.at++
		if t.at < len(t.data) && (t.data[t.at] == '+' || t.data[t.at] == '-') {
			t.at++
		}
		exponent := t.at
		if !t.digits() {
			return nil, t.fault()
		}
		if t.plain && t.at-exponent > 3 {
			return nil, errHugeNumber()
		}
	}
	if t.plain && t.at-start > maxPlainNumber {
		return nil, errHugeNumber()
	}
	return t.data[start:t.at], nil
}

func errHugeNumber() error { return errors.New("a number in it is out of all bounds") }

func (t *jsonText) digits() bool {
	start := t.at
	for t.at < len(t.data) && t.data[t.at] >= '0' && t.data[t.at] <= '9' {
		t.at++
	}
	return t.at > start
}

// checkJSON fails where data is not one JSON text in UTF-8.
func checkJSON(data []byte) error { return (&jsonText{data: data}).check() }

func (t *jsonText) check() error {
	if !utf8.Valid(t.data) {
		return errNotUTF8()
	}
	if _, err := t.skip(0); err != nil {
		return err
	}
	return t.end()
}
