package document

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxBytes is the largest file that is read.
const MaxBytes = 1 << 20

// Document is one parsed file and the faults found in it so far. A path names a value from the root down:
// keys, and numbers for the items of a list.
//
// It is not safe for concurrent use while faults are added; reading positions is.
type Document struct {
	name   string
	root   *yaml.Node
	faults []Fault // at most maxFaults
	more   int     // faults beyond those
	// wrong holds the nodes that have a fault already, so that no consequence of it is reported as another.
	wrong map[*yaml.Node]bool
}

// Read returns a file's bytes, or why it is none that can be read. It blocks on I/O.
func Read(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the file that the user named
	if err != nil {
		return nil, unreadable(path, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, MaxBytes+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, unreadable(path, err)
	}
	return data, nil
}

func unreadable(path string, err error) error {
	fault := Fault{Message: "cannot be read: " + err.Error()}
	if inner, ok := errors.AsType[*fs.PathError](err); ok {
		fault.Message = "cannot be read: " + inner.Err.Error()
	}
	if errors.Is(err, fs.ErrNotExist) {
		fault.Message, fault.Mend = "no such file", "check the path or write the file"
	}
	return Join(path, fault)
}

// Parse decodes data strictly and checks it against the schema. An error means that there is nothing to go
// on with; a Document may have faults all the same: go on checking, then ask Err.
func Parse(name string, data []byte, schema *Schema) (*Document, error) {
	root, fault := parseYAML(data)
	if fault != nil {
		return nil, Join(name, *fault)
	}
	doc := &Document{name: name, root: root, wrong: map[*yaml.Node]bool{}}
	schema.check(doc, doc.plain(root, nil))
	return doc, nil
}

// Err returns all faults as one *Faults, nil where there are none.
func (d *Document) Err() error {
	err := Join(d.name, d.faults...)
	if faults, ok := errors.AsType[*Faults](err); ok {
		faults.More = d.more
	}
	return err
}

// Decode fills a struct by its yaml tags. Where the document has faults, what they spoil keeps its value.
func (d *Document) Decode(into any) error {
	if len(d.faults) >= maxFaults {
		return nil // no later fault is kept either, and decoding costs the square of the keys
	}
	if err := d.root.Decode(into); err != nil && len(d.faults) == 0 {
		return fmt.Errorf("decoding %s: %w", d.name, err)
	}
	return nil
}

// Position returns the line and column where the value at path begins, or of what holds it where there is
// no such value.
func (d *Document) Position(path ...string) (line, column int) {
	node := d.root
	for _, step := range path {
		next := child(node, step)
		if next == nil {
			break
		}
		node = next
	}
	return node.Line, node.Column
}

// KeyPosition is Position of the last step's key instead of its value.
func (d *Document) KeyPosition(path ...string) (line, column int) {
	if len(path) > 0 {
		last := len(path) - 1
		if parent := d.node(path[:last]); parent != nil {
			if key := keyNode(parent, path[last]); key != nil {
				return key.Line, key.Column
			}
		}
	}
	return d.Position(path...)
}

// Has reports whether there is a value at path.
func (d *Document) Has(path ...string) bool { return d.node(path) != nil }

// Text returns the scalar at path as it is written, unquoted. null is no text.
func (d *Document) Text(path ...string) (text string, ok bool) {
	node := d.node(path)
	if node == nil || node.Kind != yaml.ScalarNode || node.ShortTag() == "!!null" {
		return "", false
	}
	return node.Value, true
}

// Texts returns the scalars of the list at path, or the one scalar that stands there instead of a list.
func (d *Document) Texts(path ...string) []string {
	node := d.node(path)
	if node == nil {
		return nil
	}
	if node.Kind == yaml.ScalarNode {
		return []string{node.Value}
	}
	var texts []string
	for _, item := range node.Content {
		if item.Kind == yaml.ScalarNode {
			texts = append(texts, item.Value)
		}
	}
	return texts
}

// Fault builds a fault at the value at path without adding it.
func (d *Document) Fault(message, mend string, path ...string) Fault {
	line, column := d.Position(path...)
	return Fault{Line: line, Column: column, Path: d.label(path), Message: message, Mend: mend}
}

// Add records a fault at the value at path, unless that value or one that holds it has a fault already.
func (d *Document) Add(message, mend string, path ...string) {
	if d.spoilt(path) || d.full() {
		return
	}
	if found := d.node(path); found != nil {
		d.wrong[found] = true
	}
	d.faults = append(d.faults, d.Fault(message, mend, path...))
}

// addAbsent records a fault about a key that the mapping at path should have.
func (d *Document) addAbsent(path []string, name, message, mend string) {
	if d.spoilt(path) || d.full() {
		return
	}
	line, column := d.KeyPosition(path...)
	if name != "" {
		path = step(path, name)
	}
	d.faults = append(d.faults, Fault{Line: line, Column: column, Path: d.label(path), Message: message, Mend: mend})
}

// addAt records a fault at a node that is no value: a key, or a value that is being read.
func (d *Document) addAt(node *yaml.Node, path []string, message, mend string) {
	if d.wrong[node] || d.full() {
		return
	}
	d.wrong[node] = true
	d.faults = append(d.faults, Fault{
		Line: node.Line, Column: node.Column, Path: d.label(path), Message: message, Mend: mend,
	})
}

// full counts one more fault than are kept, and says so. It keeps a file that is wrong in every line from
// costing more than a glance.
func (d *Document) full() bool {
	if len(d.faults) < maxFaults {
		return false
	}
	d.more++
	return true
}

// spoilt reports whether the value at path, or one that holds it, has a fault already.
func (d *Document) spoilt(path []string) bool {
	node := d.root
	for _, name := range path {
		if d.wrong[node] {
			return true
		}
		next := child(node, name)
		if next == nil {
			return false
		}
		node = next
	}
	return d.wrong[node]
}

func (d *Document) node(path []string) *yaml.Node {
	node := d.root
	for _, step := range path {
		if node = child(node, step); node == nil {
			return nil
		}
	}
	return node
}

// label prints a path as people write it: request.messages[0].role.
func (d *Document) label(path []string) string {
	var text strings.Builder
	node := d.root
	for _, name := range path {
		step := shorten(name)
		switch {
		case node != nil && node.Kind == yaml.SequenceNode:
			text.WriteString("[" + step + "]")
		case strings.ContainsAny(step, ".[] "):
			text.WriteString("[" + strconv.Quote(step) + "]")
		case text.Len() > 0:
			text.WriteString("." + step)
		default:
			text.WriteString(step)
		}
		if node != nil {
			node = child(node, name)
		}
	}
	return text.String()
}

func child(node *yaml.Node, step string) *yaml.Node {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				return node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if index, err := strconv.Atoi(step); err == nil && index >= 0 && index < len(node.Content) {
			return node.Content[index]
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return nil
}

func keyNode(node *yaml.Node, key string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i]
		}
	}
	return nil
}
