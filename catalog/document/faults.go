package document

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/schemas"
)

// maxFaults bounds how many faults one file reports; the rest are counted.
const maxFaults = 100

// Fault is one thing wrong with a file.
type Fault struct {
	Line   int    `json:"line"`   // 1 is the first; 0: the file as a whole
	Column int    `json:"column"` // in characters, 1 is the first
	Path   string `json:"path"`   // "request.messages[0].role"; empty for the file itself
	// Message says what is wrong, Mend what to write instead. Mend may be empty.
	Message string `json:"message"`
	Mend    string `json:"mend,omitempty"`
}

// Faults is everything wrong with one file, in the order of its lines. As an error it is
// schemas.ErrInvalid, and prints one line a fault, as compilers do; as JSON it is for editors and scripts.
type Faults struct { //nolint:errname // the plural of Fault; the list is read, not only returned
	File string  `json:"file"`
	List []Fault `json:"faults"`
	// More counts the faults beyond the first hundred.
	More int `json:"more,omitempty"`
}

// Error prints "file:line:column: message, mend", one a line.
func (f *Faults) Error() string {
	lines := make([]string, 0, len(f.List)+1)
	for _, fault := range f.List {
		lines = append(lines, f.File+":"+fault.String())
	}
	if f.More > 0 {
		lines = append(lines, fmt.Sprintf("%s: and %d more", f.File, f.More))
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes every list of faults schemas.ErrInvalid.
func (*Faults) Unwrap() error { return schemas.ErrInvalid }

// String prints "line:column: message, mend".
func (f Fault) String() string {
	text := " " + f.Message
	if f.Line > 0 {
		text = fmt.Sprintf("%d:%d: %s", f.Line, f.Column, f.Message)
	}
	if f.Mend != "" {
		text += ", " + f.Mend
	}
	return text
}

// Join returns the faults of a file as one error, sorted by position, nil where there are none.
func Join(file string, list ...Fault) error {
	if len(list) == 0 {
		return nil
	}
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	return &Faults{File: file, List: slices.Compact(sorted)}
}
