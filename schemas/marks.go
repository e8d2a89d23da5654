package schemas

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Marks are named, monotonic counters that say how far a source has been consumed. A source turns marks
// into "start here"; a sink stores them in the transaction that holds the rows. Nil means "from the start".
type Marks map[string]int64

// Clone returns an independent copy.
func (m Marks) Clone() Marks { return maps.Clone(m) }

// Equal reports whether both hold the same counters.
func (m Marks) Equal(other Marks) bool { return maps.Equal(m, other) }

// String lists the marks by name: "row=12 version=3".
func (m Marks) String() string {
	if len(m) == 0 {
		return "the start"
	}
	parts := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, m[name]))
	}
	return strings.Join(parts, " ")
}
