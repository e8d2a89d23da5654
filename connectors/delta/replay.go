package delta

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// state is what the actions up to a version come to. It is built forwards: a checkpoint, then commits in order.
type state struct {
	version  int64
	seen     time.Time // when it was known that no later commit was cleaned away unread
	location string    // of the table, to resolve absolute paths; may be empty
	protocol *Protocol
	metadata *Metadata
	schema   *DataType // of metadata
	txns     map[string]Txn
	domains  map[string]DomainMetadata
	// The files and tombstones are nil where only the table's description is wanted.
	files   map[fileKey]File
	removed map[fileKey]Remove
}

// fileKey identifies a logical file: the same data file with another deletion vector is another one.
type fileKey struct{ name, vector string }

// File is a data file that is live in a version of a table.
type File struct {
	// Name is that of the object in the table's store.
	Name string
	Add
}

// newState returns the state before version 0.
func newState(location string, files bool) *state {
	s := &state{version: -1, location: location, txns: map[string]Txn{}, domains: map[string]DomainMetadata{}}
	if files {
		s.files, s.removed = map[fileKey]File{}, map[fileKey]Remove{}
	}
	return s
}

// clone is deep enough that neither copy sees what is applied to the other.
func (s *state) clone() *state {
	copied := *s
	copied.txns, copied.domains = maps.Clone(s.txns), maps.Clone(s.domains)
	copied.files, copied.removed = maps.Clone(s.files), maps.Clone(s.removed)
	return &copied
}

// apply takes one action in. Within a commit the order does not matter: the protocol allows at most one action
// that reconciles with another.
func (s *state) apply(action *Action) error {
	switch {
	case action.Protocol != nil:
		s.protocol = action.Protocol
	case action.Metadata != nil:
		s.metadata, s.schema = action.Metadata, nil
	case action.Txn != nil:
		s.txns[action.Txn.AppID] = *action.Txn
	case action.DomainMetadata != nil:
		if action.DomainMetadata.Removed {
			delete(s.domains, action.DomainMetadata.Domain)
		} else {
			s.domains[action.DomainMetadata.Domain] = *action.DomainMetadata
		}
	case action.Add != nil && s.files != nil:
		name, err := resolvePath(action.Add.Path, s.location)
		if err != nil {
			return err
		}
		key := fileKey{name, action.Add.DeletionVector.ID()}
		s.files[key] = File{Name: name, Add: *action.Add}
		delete(s.removed, key)
	case action.Remove != nil && s.files != nil:
		name, err := resolvePath(action.Remove.Path, s.location)
		if err != nil {
			name = action.Remove.Path // a foreign file can have been no file of ours; its tombstone is kept
		}
		key := fileKey{name, action.Remove.DeletionVector.ID()}
		delete(s.files, key)
		s.removed[key] = *action.Remove
	}
	return nil
}

// settle ends the replay of a version: the required actions are there and this package may read the table.
func (s *state) settle() error {
	if s.protocol == nil {
		return errors.New("the log holds no protocol action")
	}
	if s.metadata == nil {
		return errors.New("the log holds no metaData action")
	}
	if err := checkReadable(s.protocol, s.metadata); err != nil {
		return err
	}
	if s.schema != nil {
		return nil
	}
	schema, err := ParseSchema(s.metadata.SchemaString)
	if err != nil {
		return err
	}
	for _, column := range s.metadata.PartitionColumns {
		if _, found := schema.field(column); !found {
			return fmt.Errorf("the partition column %q is not in the table's schema", column)
		}
	}
	s.schema = schema
	return nil
}

// sortedFiles returns the live files in the order in which they are read.
func (s *state) sortedFiles() []File {
	return sortFiles(slices.Collect(maps.Values(s.files)))
}

func sortFiles(files []File) []File {
	slices.SortFunc(files, func(a, b File) int {
		return strings.Compare(a.Name, b.Name)
	})
	return files
}
