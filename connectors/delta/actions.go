package delta

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Action is one line of a commit. One field is set; an action of a kind that this package does not know has none.
type Action struct {
	CommitInfo     *CommitInfo     `json:"commitInfo,omitempty"`
	Protocol       *Protocol       `json:"protocol,omitempty"`
	Metadata       *Metadata       `json:"metaData,omitempty"`
	Txn            *Txn            `json:"txn,omitempty"`
	DomainMetadata *DomainMetadata `json:"domainMetadata,omitempty"`
	Add            *Add            `json:"add,omitempty"`
	Remove         *Remove         `json:"remove,omitempty"`
	CDC            *CDC            `json:"cdc,omitempty"`
}

// Protocol says what a client must implement to read and to write the table.
type Protocol struct {
	MinReaderVersion int `json:"minReaderVersion"`
	MinWriterVersion int `json:"minWriterVersion"`
	// The features are nil below reader version 3 and writer version 7.
	ReaderFeatures []string `json:"readerFeatures,omitzero"`
	WriterFeatures []string `json:"writerFeatures,omitzero"`
}

// Metadata describes the table: its columns, partitioning and properties.
type Metadata struct {
	ID               string            `json:"id"`
	Name             string            `json:"name,omitempty"`
	Description      string            `json:"description,omitempty"`
	Format           Format            `json:"format"`
	SchemaString     string            `json:"schemaString"`
	PartitionColumns []string          `json:"partitionColumns"`
	CreatedTime      *int64            `json:"createdTime,omitempty"` // ms since the epoch
	Configuration    map[string]string `json:"configuration"`
}

// Format is the encoding of the data files. Options is written even when empty: some readers insist on it.
type Format struct {
	Provider string            `json:"provider"`
	Options  map[string]string `json:"options"`
}

// Txn records how far an application has come, in the commit that brought the rows.
type Txn struct {
	AppID       string `json:"appId"`
	Version     int64  `json:"version"`
	LastUpdated *int64 `json:"lastUpdated,omitempty"` // ms since the epoch
}

// DomainMetadata is a named configuration that others keep in the log; it is preserved.
type DomainMetadata struct {
	Domain        string `json:"domain"`
	Configuration string `json:"configuration"`
	Removed       bool   `json:"removed"`
}

// Add brings a data file into the table, or replaces what is known of it.
type Add struct {
	// Path is the URI of the file as it stands in the log, relative to the table or absolute.
	Path                    string             `json:"path"`
	PartitionValues         map[string]*string `json:"partitionValues"` // nil is NULL
	Size                    int64              `json:"size"`
	ModificationTime        int64              `json:"modificationTime"` // ms since the epoch
	DataChange              bool               `json:"dataChange"`
	Stats                   string             `json:"stats,omitempty"` // JSON
	Tags                    map[string]*string `json:"tags,omitempty"`
	DeletionVector          *DeletionVector    `json:"deletionVector,omitempty"`
	BaseRowID               *int64             `json:"baseRowId,omitempty"`
	DefaultRowCommitVersion *int64             `json:"defaultRowCommitVersion,omitempty"`
	ClusteringProvider      *string            `json:"clusteringProvider,omitempty"`
}

// Remove takes a data file out of the table. It stays in the log as a tombstone until it expires.
type Remove struct {
	Path                    string             `json:"path"`
	DeletionTimestamp       *int64             `json:"deletionTimestamp,omitempty"` // ms since the epoch
	DataChange              bool               `json:"dataChange"`
	ExtendedFileMetadata    *bool              `json:"extendedFileMetadata,omitempty"`
	PartitionValues         map[string]*string `json:"partitionValues,omitempty"`
	Size                    *int64             `json:"size,omitempty"`
	DeletionVector          *DeletionVector    `json:"deletionVector,omitempty"`
	BaseRowID               *int64             `json:"baseRowId,omitempty"`
	DefaultRowCommitVersion *int64             `json:"defaultRowCommitVersion,omitempty"`
}

// CDC brings a file with the rows that a commit changed, and how. It is no part of the table.
type CDC struct {
	Path            string             `json:"path"`
	PartitionValues map[string]*string `json:"partitionValues"`
	Size            int64              `json:"size"`
	DataChange      bool               `json:"dataChange"` // false
	Tags            map[string]*string `json:"tags,omitempty"`
}

// DeletionVector names the rows of a data file that are no longer in the table.
type DeletionVector struct {
	StorageType    string `json:"storageType"` // u: UUID-named file, i: inline, p: absolute path
	PathOrInlineDV string `json:"pathOrInlineDv"`
	Offset         *int32 `json:"offset,omitempty"`
	SizeInBytes    int32  `json:"sizeInBytes"`
	Cardinality    int64  `json:"cardinality"`
}

// ID is unique to the vector among those of one data file.
func (d *DeletionVector) ID() string {
	if d == nil {
		return ""
	}
	if d.Offset == nil {
		return d.StorageType + d.PathOrInlineDV
	}
	return fmt.Sprintf("%s%s@%d", d.StorageType, d.PathOrInlineDV, *d.Offset)
}

// CommitInfo tells who made a commit and why. The protocol leaves its contents to the writer, so what has another
// shape than expected here is left out instead of failing the commit.
type CommitInfo struct {
	Timestamp           int64             `json:"timestamp"` // ms since the epoch; 0 where unknown
	InCommitTimestamp   int64             `json:"inCommitTimestamp,omitempty"`
	Operation           string            `json:"operation"`
	OperationParameters map[string]string `json:"operationParameters,omitempty"`
	OperationMetrics    map[string]string `json:"operationMetrics,omitempty"`
	IsBlindAppend       bool              `json:"isBlindAppend"`
	EngineInfo          string            `json:"engineInfo,omitempty"`
	TxnID               string            `json:"txnId,omitempty"`
	UserMetadata        string            `json:"userMetadata,omitempty"`
}

// Time is when the commit was made, zero where it does not say. A commit has the time that Delta vouches for only where
// the table has inCommitTimestamp.
func (c *CommitInfo) Time() time.Time {
	ms := c.Timestamp
	if c.InCommitTimestamp > 0 {
		ms = c.InCommitTimestamp
	}
	if ms <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *CommitInfo) UnmarshalJSON(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	_ = json.Unmarshal(fields["timestamp"], &c.Timestamp)                 // absent or of another shape: left out
	_ = json.Unmarshal(fields["inCommitTimestamp"], &c.InCommitTimestamp) // likewise, all of these
	_ = json.Unmarshal(fields["operation"], &c.Operation)
	_ = json.Unmarshal(fields["isBlindAppend"], &c.IsBlindAppend)
	_ = json.Unmarshal(fields["engineInfo"], &c.EngineInfo)
	_ = json.Unmarshal(fields["txnId"], &c.TxnID)
	_ = json.Unmarshal(fields["userMetadata"], &c.UserMetadata)
	c.OperationParameters = looseStrings(fields["operationParameters"])
	c.OperationMetrics = looseStrings(fields["operationMetrics"])
	return nil
}

// looseStrings decodes an object whose values are strings with some writers and numbers or objects with others.
func looseStrings(data json.RawMessage) map[string]string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil || fields == nil {
		return nil
	}
	out := make(map[string]string, len(fields))
	for name, value := range fields {
		var text string
		if json.Unmarshal(value, &text) != nil {
			text = string(value)
		}
		out[name] = text
	}
	return out
}

// decodeAction decodes one line of a commit.
func decodeAction(line []byte) (Action, error) {
	var action Action
	if err := json.Unmarshal(line, &action); err != nil {
		return Action{}, err
	}
	return action, action.validate()
}

func (a *Action) validate() error {
	kinds := 0
	for _, there := range []bool{
		a.CommitInfo != nil, a.Protocol != nil, a.Metadata != nil, a.Txn != nil, a.DomainMetadata != nil, a.Add != nil, a.Remove != nil,
		a.CDC != nil,
	} {
		if there {
			kinds++
		}
	}
	if kinds > 1 {
		return fmt.Errorf("%d actions on one line", kinds)
	}
	switch {
	case a.Protocol != nil:
		if a.Protocol.MinReaderVersion < 1 || a.Protocol.MinWriterVersion < 1 {
			return errors.New("protocol without minReaderVersion or minWriterVersion")
		}
	case a.Metadata != nil:
		if a.Metadata.SchemaString == "" {
			return errors.New("metaData without schemaString")
		}
	case a.Txn != nil:
		if a.Txn.AppID == "" {
			return errors.New("txn without appId")
		}
	case a.DomainMetadata != nil:
		if a.DomainMetadata.Domain == "" {
			return errors.New("domainMetadata without domain")
		}
	case a.Add != nil:
		if a.Add.Path == "" {
			return errors.New("add without path")
		}
		if a.Add.Size < 0 {
			return errors.New("add with a negative size")
		}
	case a.Remove != nil:
		if a.Remove.Path == "" {
			return errors.New("remove without path")
		}
	case a.CDC != nil:
		if a.CDC.Path == "" {
			return errors.New("cdc without path")
		}
	}
	return nil
}

// encodeActions writes a commit.
func encodeActions(actions []Action) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	for i := range actions {
		if err := encoder.Encode(&actions[i]); err != nil {
			return nil, fmt.Errorf("delta: encode a commit: %w", err)
		}
	}
	return out.Bytes(), nil
}

func milliseconds(t time.Time) *int64 {
	ms := t.UnixMilli()
	return &ms
}
