package delta

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/inflowhq/inflow/schemas"
)

// UnsupportedError says which feature of a table stands in the way. Nothing was read or written. It is
// schemas.ErrInvalid.
type UnsupportedError struct {
	// Feature is the protocol's name for it, "columnMapping", or a version, "reader version 4".
	Feature string
	// Writing is set where only writing is refused.
	Writing bool
	// Detail says where the table uses it; may be empty.
	Detail string
}

// Error names the feature.
func (e *UnsupportedError) Error() string {
	verb := "read"
	if e.Writing {
		verb = "write to"
	}
	text := fmt.Sprintf("delta: cannot %s this table: it uses %s, which is not implemented", verb, e.Feature)
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	return text
}

// Unwrap makes it schemas.ErrInvalid: as the table is, it cannot be used here.
func (*UnsupportedError) Unwrap() error { return schemas.ErrInvalid }

// The gate. A table is read or written only when every feature it names is in these lists, and what they allow
// only while unused is looked at in the metadata.
//
// A name below is safe because:
//   - appendOnly, changeDataFeed: an append removes nothing, and readers of the feed take an add as inserts
//   - invariants, checkConstraints, generatedColumns, allowColumnDefaults, identityColumns, columnMapping: refused
//     where the metadata uses them
//   - deletionVectors: an append writes none, replay is keyed by them, checkpoints keep them; reading refuses a
//     snapshot that holds one
//   - timestampNtz: a column type
//   - domainMetadata: kept through replay and checkpoints
//   - vacuumProtocolCheck: binds VACUUM only
//   - typeWidening: files of the narrower type are widened while they are read
func readableFeatures() []string {
	return []string{
		"columnMapping", "deletionVectors", "timestampNtz", "vacuumProtocolCheck", "typeWidening", "typeWidening-preview",
	}
}

func writableFeatures() []string {
	return []string{
		"appendOnly", "invariants", "checkConstraints", "generatedColumns", "allowColumnDefaults", "identityColumns",
		"changeDataFeed", "columnMapping", "deletionVectors", "timestampNtz", "domainMetadata", "vacuumProtocolCheck",
	}
}

// checkReadable refuses a table that needs a reader which this package is not.
func checkReadable(protocol *Protocol, metadata *Metadata) error {
	switch protocol.MinReaderVersion {
	case 1, 2:
	case 3:
		if feature, unknown := firstUnknown(protocol.ReaderFeatures, readableFeatures()); unknown {
			return &UnsupportedError{Feature: feature, Detail: "readerFeatures"}
		}
	default:
		return &UnsupportedError{Feature: fmt.Sprintf("reader version %d", protocol.MinReaderVersion)}
	}
	if provider := metadata.Format.Provider; provider != "" && provider != "parquet" {
		return &UnsupportedError{Feature: "the data format " + provider}
	}
	// Reader version 2 alone does not mean that the columns are mapped.
	if mode := metadata.Configuration["delta.columnMapping.mode"]; mode != "" && mode != "none" {
		return &UnsupportedError{Feature: "columnMapping", Detail: "delta.columnMapping.mode = " + mode}
	}
	return nil
}

// checkWritable refuses a table that asks of a writer what this package does not do.
func checkWritable(protocol *Protocol, metadata *Metadata, schema *DataType) error {
	if err := checkReadable(protocol, metadata); err != nil {
		return err
	}
	switch {
	case protocol.MinWriterVersion < 7:
	case protocol.MinWriterVersion == 7:
		if feature, unknown := firstUnknown(protocol.WriterFeatures, writableFeatures()); unknown {
			return &UnsupportedError{Feature: feature, Writing: true, Detail: "writerFeatures"}
		}
	default:
		return &UnsupportedError{Feature: fmt.Sprintf("writer version %d", protocol.MinWriterVersion), Writing: true}
	}
	for _, property := range slices.Sorted(maps.Keys(metadata.Configuration)) {
		if strings.HasPrefix(property, "delta.constraints.") {
			return &UnsupportedError{Feature: "checkConstraints", Writing: true, Detail: property}
		}
	}
	return checkColumns(schema, "")
}

// checkColumns looks for what a writer would have to compute or enforce.
func checkColumns(dataType *DataType, path string) error {
	for i := range dataType.Fields {
		field := &dataType.Fields[i]
		name := path + field.Name
		for _, key := range slices.Sorted(maps.Keys(field.Metadata)) {
			feature := ""
			switch {
			case key == "delta.invariants":
				feature = "invariants"
			case key == "delta.generationExpression":
				feature = "generatedColumns"
			case key == "CURRENT_DEFAULT":
				feature = "allowColumnDefaults"
			case strings.HasPrefix(key, "delta.identity."):
				feature = "identityColumns"
			}
			if feature != "" {
				return &UnsupportedError{Feature: feature, Writing: true, Detail: "column " + name}
			}
		}
		if err := checkColumns(&field.Type, name+"."); err != nil {
			return err
		}
	}
	if dataType.Name == typeVoid {
		return &UnsupportedError{Feature: "the type void", Writing: true, Detail: "column " + strings.TrimSuffix(path, ".")}
	}
	for _, inner := range []*DataType{dataType.Key, dataType.Element} {
		if inner == nil {
			continue
		}
		if err := checkColumns(inner, path); err != nil {
			return err
		}
	}
	return nil
}

func firstUnknown(features, known []string) (string, bool) {
	for _, feature := range features {
		if !slices.Contains(known, feature) {
			return feature, true
		}
	}
	return "", false
}

// newProtocol returns the lowest protocol that the columns of a new table need.
func newProtocol(schema *DataType) *Protocol {
	if schema.uses(typeTimestampNTZ) {
		return &Protocol{
			MinReaderVersion: 3, MinWriterVersion: 7,
			ReaderFeatures: []string{"timestampNtz"},
			WriterFeatures: []string{"appendOnly", "invariants", "timestampNtz"},
		}
	}
	return &Protocol{MinReaderVersion: 1, MinWriterVersion: 2}
}
