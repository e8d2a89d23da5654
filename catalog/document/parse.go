package document

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parseYAML returns the one mapping that a file holds, or the first fault that leaves nothing to go on with.
func parseYAML(data []byte) (*yaml.Node, *Fault) {
	if len(data) > MaxBytes {
		return nil, &Fault{
			Message: fmt.Sprintf("is larger than %d bytes", MaxBytes),
			Mend:    "this is the file that describes the work, not the data",
		}
	}
	if fault := encodingFault(data); fault != nil {
		return nil, fault
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var first, second yaml.Node
	if err := decoder.Decode(&first); errors.Is(err, io.EOF) {
		return nil, &Fault{Line: 1, Column: 1, Message: "the file is empty"}
	} else if err != nil {
		return nil, syntaxFault(data, err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, &Fault{
			Line: second.Line, Column: max(second.Column, 1), Message: "a second YAML document begins here",
			Mend: "keep one document a file",
		}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxFault(data, err)
	}
	root := first.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, &Fault{Line: 1, Column: 1, Message: "the file is empty"}
	}
	if root.Kind != yaml.MappingNode {
		return nil, &Fault{
			Line: root.Line, Column: root.Column, Message: "the file is " + kindOf(root),
			Mend: "write keys and values, one `key: value` a line",
		}
	}
	return root, nil
}

// encodingFault points at the first byte that is no text.
func encodingFault(data []byte) *Fault {
	message := "this byte is not UTF-8 text"
	offset := 0
	for offset < len(data) {
		char, size := utf8.DecodeRune(data[offset:])
		if char == utf8.RuneError && size <= 1 {
			break
		}
		if char == 0 {
			message = "this byte is NUL, not text"
			break
		}
		offset += size
	}
	if offset == len(data) {
		return nil
	}
	before := data[:offset]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return &Fault{Line: line, Column: column, Message: message, Mend: "save the file as UTF-8"}
}

// syntaxFault turns the parser's text into a position. The parser gives a line at most, and nothing else.
func syntaxFault(data []byte, err error) *Fault {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if match := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(text); match != nil {
		text = text[len(match[0]):]
		if number, err := strconv.Atoi(match[1]); err == nil {
			line = max(number, 1)
		}
	}
	if match := regexp.MustCompile(`^unknown anchor '(.+)' referenced$`).FindStringSubmatch(text); match != nil {
		return aliasFault(data, match[1])
	}
	fault := &Fault{
		Line: line, Column: 1, Message: "not YAML: " + text,
		Mend: "check the indentation, the colons and the quotes here and on the line before",
	}
	if strings.Contains(text, "escape character") {
		fault.Mend = "in double quotes write `\\\\` for a backslash and `/` for `\\/`, or use single quotes"
		return fault
	}
	lines := strings.Split(string(data), "\n")
	aboutTabs := strings.Contains(text, "tab character") || strings.Contains(text, "start any token")
	for number := max(line-1, 1); number <= min(line+1, len(lines)) && aboutTabs; number++ {
		content := lines[number-1]
		indent := content[:len(content)-len(strings.TrimLeft(content, " \t"))]
		if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
			fault.Line, fault.Column = number, tab+1
			fault.Message, fault.Mend = "a tab in the indentation", "indent with spaces"
			return fault
		}
	}
	// The parser names the line where the mapping around the braces begins.
	braces := regexp.MustCompile(`(?:: +|^ *- +)(\{\{)`)
	for number := max(line-1, 1); number <= len(lines); number++ {
		content := lines[number-1]
		if match := braces.FindStringSubmatchIndex(content); match != nil {
			fault.Line, fault.Column = number, utf8.RuneCountInString(content[:match[2]])+1
			fault.Message, fault.Mend = bracesMessage, bracesMend
			return fault
		}
	}
	return fault
}

// aliasFault points at the alias, and does not name it: it may be a secret that should be quoted.
func aliasFault(data []byte, name string) *Fault {
	before := data[:max(bytes.Index(data, []byte("*"+name)), 0)]
	return &Fault{
		Line:    bytes.Count(before, []byte("\n")) + 1,
		Column:  utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1,
		Message: aliasMessage, Mend: aliasMend,
	}
}

const (
	aliasMessage  = "aliases (`*`) are not supported"
	aliasMend     = "write the value out, or quote it if it is text"
	bracesMessage = "a value that begins with `{{` is read as a YAML mapping"
	bracesMend    = "put the whole value in double quotes"
)

// plain returns the node as the values that JSON has, and reports what has no place in such a file. It takes
// dropped pairs out of the tree and makes dates the text that they are written as, so that whoever decodes
// the tree later sees what was checked.
func (d *Document) plain(node *yaml.Node, path []string) any {
	if node.Anchor != "" {
		d.addAt(node, path, "anchors (`&`) are not supported", "write the value out, or quote it if it is text")
	}
	if node.Style&yaml.TaggedStyle != 0 {
		d.addAt(node, path, "tags (`!`) are not supported", "write a plain value, or quote it if it is text")
	}
	switch node.Kind {
	case yaml.MappingNode:
		return d.plainMapping(node, path)
	case yaml.SequenceNode:
		list := make([]any, 0, len(node.Content))
		for i, item := range node.Content {
			list = append(list, d.plain(item, step(path, strconv.Itoa(i))))
		}
		return list
	case yaml.ScalarNode:
		return d.plainScalar(node, path)
	case yaml.AliasNode:
		d.addAt(node, path, aliasMessage, aliasMend)
	case yaml.DocumentNode:
	}
	return nil
}

func (d *Document) plainMapping(node *yaml.Node, path []string) any {
	values := make(map[string]any, len(node.Content)/2)
	lines := make(map[string]int, len(node.Content)/2)
	kept := make([]*yaml.Node, 0, len(node.Content))
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind == yaml.MappingNode {
			d.addAt(node, path, bracesMessage, bracesMend)
			return nil
		}
		name, mend := key.Value, ""
		message := ""
		switch {
		case key.Kind != yaml.ScalarNode:
			message, mend = "a key must be text", "write `key: value`"
		case key.ShortTag() == "!!merge":
			message, mend = "merges (`<<`) are not supported", "write the keys out"
		case key.ShortTag() != "!!str":
			message, mend = "the key `"+shorten(name)+"` is not text", "quote it"
		case key.Anchor != "" || key.Style&yaml.TaggedStyle != 0:
			message, mend = "anchors and tags are not supported", "write the plain key"
		case lines[name] > 0:
			message = fmt.Sprintf("the key `%s` stands twice", shorten(name))
			mend = fmt.Sprintf("keep this one or the one on line %d", lines[name])
		}
		if message != "" {
			d.addAt(key, step(path, name), message, mend)
			continue
		}
		lines[name] = key.Line
		kept = append(kept, key, value)
		values[name] = nil
	}
	node.Content = kept // before the values are read: their paths are looked up in the tree
	for i := 0; i+1 < len(kept); i += 2 {
		values[kept[i].Value] = d.plain(kept[i+1], step(path, kept[i].Value))
	}
	return values
}

func (d *Document) plainScalar(node *yaml.Node, path []string) any {
	switch node.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		var value bool
		if node.Decode(&value) == nil {
			return value
		}
	case "!!int":
		var value int64
		if node.Decode(&value) == nil {
			return value
		}
		d.addAt(node, path, "the number is out of range", "quote it if it is text")
		return nil
	case "!!float":
		var value float64
		whole := strings.Trim(node.Value, "+-_0123456789") == "" // an integer that no integer type holds
		if node.Decode(&value) == nil && !whole && !math.IsInf(value, 0) && !math.IsNaN(value) {
			return value
		}
		d.addAt(node, path, "the number is out of range", "quote it if it is text")
		return nil
	case "!!merge": // a plain << that is no key
	}
	node.Tag = "!!str"
	return node.Value
}

func kindOf(node *yaml.Node) string {
	if node.Kind == yaml.SequenceNode {
		return "a list"
	}
	return "a single value"
}

// step extends a path without sharing its memory with a sibling's.
func step(path []string, name string) []string { return append(slices.Clip(path), name) }

// shorten keeps a message readable, whatever the file holds.
func shorten(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}
