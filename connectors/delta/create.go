package delta

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/google/uuid"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/schemas"
)

// Definition is what a new table is made of.
type Definition struct {
	Schema      *arrow.Schema
	PartitionBy []string
	Properties  map[string]string // "delta.appendOnly": "true"
	Name        string
	Description string
}

// Create makes an empty table as version 0. Where there is one already the error wraps fs.ErrExist.
//
// To make a table together with its first rows, in one commit, use Begin.
func Create(ctx context.Context, st store.Store, definition Definition, options ...Option) (*Table, error) {
	table := newTable(st, options)
	s, err := definition.state(table.location, table.now())
	if err != nil {
		return nil, err
	}
	// That version 0 is free does not say that there is no table: its log may have been cleaned.
	if _, err := load(ctx, st, table.location, latest, false); !isNotExist(err) {
		if err == nil {
			err = fs.ErrExist
		}
		return nil, fmt.Errorf("delta: create: %w", err)
	}
	info := &CommitInfo{
		Timestamp: table.now().UnixMilli(), Operation: "CREATE TABLE", EngineInfo: table.engine, IsBlindAppend: true,
		TxnID: uuid.NewString(), OperationParameters: map[string]string{"partitionBy": jsonList(definition.PartitionBy)},
	}
	data, err := encodeActions([]Action{{CommitInfo: info}, {Protocol: s.protocol}, {Metadata: s.metadata}})
	if err != nil {
		return nil, err
	}
	committer := committer{store: st, id: info.TxnID}
	outcome, err := committer.put(ctx, 0, data)
	if err != nil {
		return nil, err
	}
	if outcome == taken {
		return nil, fmt.Errorf("delta: create: %w", fs.ErrExist)
	}
	if _, err := table.Snapshot(ctx); err != nil {
		return nil, err
	}
	return table, nil
}

// state returns the table that the definition describes, as it is before its version 0.
func (d *Definition) state(location string, now time.Time) (*state, error) {
	schema, err := SchemaOf(d.Schema)
	if err != nil {
		return nil, fmt.Errorf("delta: new table: %w: %w", err, schemas.ErrInvalid)
	}
	if len(schema.Fields) <= len(d.PartitionBy) {
		return nil, fmt.Errorf("delta: new table: it needs a column that it is not partitioned by: %w", schemas.ErrInvalid)
	}
	partitions := make([]string, 0, len(d.PartitionBy))
	for _, name := range d.PartitionBy {
		index, found := schema.field(name)
		if !found {
			return nil, fmt.Errorf("partition column: %w", unknownColumn(schema, name))
		}
		switch schema.Fields[index].Type.Name {
		case typeStruct, typeArray, typeMap, typeBinary, typeFloat, typeDouble, typeVoid:
			return nil, fmt.Errorf("delta: new table: column %s of type %s cannot partition it: %w", name, schema.Fields[index].Type.SQL(), schemas.ErrInvalid)
		}
		partitions = append(partitions, schema.Fields[index].Name)
	}
	if err := checkProperties(d.Properties); err != nil {
		return nil, err
	}
	schemaString, err := json.Marshal(schema)
	if err != nil {
		return nil, fmt.Errorf("delta: new table: %w", err)
	}
	configuration := maps.Clone(d.Properties)
	if configuration == nil {
		configuration = map[string]string{}
	}
	s := newState(location, false)
	s.seen = time.Now()
	s.protocol = newProtocol(schema)
	s.metadata = &Metadata{
		ID: uuid.NewString(), Name: d.Name, Description: d.Description,
		Format:       Format{Provider: "parquet", Options: map[string]string{}},
		SchemaString: string(schemaString), PartitionColumns: partitions,
		CreatedTime: milliseconds(now), Configuration: configuration,
	}
	if err := s.settle(); err != nil {
		return nil, fmt.Errorf("delta: new table: %w", err)
	}
	return s, checkWritable(s.protocol, s.metadata, s.schema)
}

// checkProperties refuses properties that would switch on what a new table's protocol does not carry.
func checkProperties(properties map[string]string) error {
	known := []string{
		"delta.appendOnly", "delta.checkpointInterval", "delta.deletedFileRetentionDuration", "delta.logRetentionDuration",
		"delta.dataSkippingNumIndexedCols", "delta.dataSkippingStatsColumns", "delta.checkpoint.writeStatsAsJson",
		"delta.targetFileSize", "delta.tuneFileSizesForRewrites", "delta.autoOptimize.autoCompact", "delta.autoOptimize.optimizeWrite",
		"delta.isolationLevel", "delta.setTransactionRetentionDuration", "delta.enableExpiredLogCleanup",
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if strings.HasPrefix(name, "delta.") && !slices.Contains(known, name) {
			return &UnsupportedError{Feature: "the property " + name, Writing: true}
		}
	}
	return nil
}

// differences lists how the columns of a table differ from those that someone wants to write; columns that the
// writer lacks are no difference where they may be NULL.
func differences(table *state, wanted *DataType) []string {
	var out []string
	for i := range wanted.Fields {
		field := &wanted.Fields[i]
		index, found := table.schema.field(field.Name)
		if !found {
			out = append(out, fmt.Sprintf("%s %s is not in the table", field.Name, field.Type.SQL()))
			continue
		}
		if have := table.schema.Fields[index].Type.SQL(); !strings.EqualFold(have, field.Type.SQL()) {
			out = append(out, fmt.Sprintf("%s is %s in the table, %s is to be written", field.Name, have, field.Type.SQL()))
		}
	}
	for i := range table.schema.Fields {
		field := &table.schema.Fields[i]
		if _, found := wanted.field(field.Name); !found && !field.Nullable {
			out = append(out, fmt.Sprintf("%s is NOT NULL in the table and is not written", field.Name))
		}
	}
	return out
}

func sameList(a, b []string) bool {
	return slices.EqualFunc(a, b, strings.EqualFold)
}

func jsonList(values []string) string {
	if values == nil {
		values = []string{}
	}
	text, _ := json.Marshal(values) //nolint:errchkjson // strings always encode
	return string(text)
}
