package delta

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/parquet"
)

// checkpointRows are decoded at a time.
const checkpointRows = 4096

// readCheckpoint fills s from a checkpoint, row by row.
func readCheckpoint(ctx context.Context, st store.Store, s *state, from checkpoint) error {
	for _, name := range from.names() {
		if err := readCheckpointFile(ctx, st, s, name); err != nil {
			return fmt.Errorf("delta: checkpoint %s: %w", name, err)
		}
	}
	s.version = from.version
	if err := s.settle(); err != nil {
		return fmt.Errorf("delta: checkpoint of version %d: %w", from.version, err)
	}
	return nil
}

func readCheckpointFile(ctx context.Context, st store.Store, s *state, name string) error {
	reader, err := st.Open(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // only read
	file, err := parquet.Open(reader)
	if err != nil {
		return err
	}
	wanted := []string{"protocol", "metaData", "txn", "domainMetadata"}
	if s.files != nil {
		wanted = append(wanted, "add", "remove")
	}
	var columns []string
	for _, column := range wanted {
		if len(file.Schema().FieldIndices(column)) > 0 {
			columns = append(columns, column)
		}
	}
	if len(columns) == 0 {
		return nil // one part of several, with other kinds of actions
	}
	for record, err := range file.Read(ctx, columns, 0, checkpointRows) {
		if err != nil {
			return err
		}
		err = applyCheckpointRows(s, record)
		record.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func applyCheckpointRows(s *state, record arrow.Record) error {
	for c, field := range record.Schema().Fields() {
		column, ok := record.Column(c).(*array.Struct)
		if !ok {
			return fmt.Errorf("column %s is no struct", field.Name)
		}
		fields := newCheckpointFields(column)
		for row := range column.Len() {
			if column.IsNull(row) {
				continue
			}
			action := fields.action(field.Name, row)
			if fields.err != nil {
				return fmt.Errorf("column %s: %w", field.Name, fields.err)
			}
			if err := action.validate(); err != nil {
				// Some writers fill the structs of other rows' actions with empty values instead of NULL.
				continue
			}
			if err := s.apply(&action); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkpointFields reads the fields of one action's struct. The first value of an unexpected type is kept in err.
type checkpointFields struct {
	columns map[string]arrow.Array
	err     error
}

func newCheckpointFields(column *array.Struct) *checkpointFields {
	out := &checkpointFields{columns: map[string]arrow.Array{}}
	structType, _ := column.DataType().(*arrow.StructType)
	for i, field := range structType.Fields() {
		out.columns[field.Name] = column.Field(i)
	}
	return out
}

func (f *checkpointFields) action(kind string, row int) Action {
	switch kind {
	case "protocol":
		return Action{Protocol: &Protocol{
			MinReaderVersion: int(f.integer("minReaderVersion", row)), MinWriterVersion: int(f.integer("minWriterVersion", row)),
			ReaderFeatures: f.list("readerFeatures", row), WriterFeatures: f.list("writerFeatures", row),
		}}
	case "metaData":
		format := f.structure("format")
		metadata := &Metadata{
			ID: f.text("id", row), Name: f.text("name", row), Description: f.text("description", row),
			Format:       Format{Provider: format.text("provider", row), Options: format.strings("options", row)},
			SchemaString: f.text("schemaString", row), PartitionColumns: f.list("partitionColumns", row),
			CreatedTime: f.optional("createdTime", row), Configuration: f.strings("configuration", row),
		}
		f.err = firstError(f.err, format.err)
		return Action{Metadata: metadata}
	case "txn":
		return Action{Txn: &Txn{
			AppID: f.text("appId", row), Version: f.integer("version", row), LastUpdated: f.optional("lastUpdated", row),
		}}
	case "domainMetadata":
		return Action{DomainMetadata: &DomainMetadata{
			Domain: f.text("domain", row), Configuration: f.text("configuration", row), Removed: f.boolean("removed", row),
		}}
	case "add":
		return Action{Add: &Add{
			Path: f.text("path", row), PartitionValues: f.values("partitionValues", row),
			Size: f.integer("size", row), ModificationTime: f.integer("modificationTime", row), DataChange: f.boolean("dataChange", row),
			Stats: f.stats(row), Tags: f.values("tags", row), DeletionVector: f.deletionVector(row),
			BaseRowID: f.optional("baseRowId", row), DefaultRowCommitVersion: f.optional("defaultRowCommitVersion", row),
			ClusteringProvider: f.optionalText("clusteringProvider", row),
		}}
	case "remove":
		return Action{Remove: &Remove{
			Path: f.text("path", row), DeletionTimestamp: f.optional("deletionTimestamp", row), DataChange: f.boolean("dataChange", row),
			PartitionValues: f.values("partitionValues", row), Size: f.optional("size", row), DeletionVector: f.deletionVector(row),
			ExtendedFileMetadata: f.optionalBoolean("extendedFileMetadata", row),
			BaseRowID:            f.optional("baseRowId", row), DefaultRowCommitVersion: f.optional("defaultRowCommitVersion", row),
		}}
	}
	return Action{}
}

// stats returns the JSON string, and where a table keeps its statistics as a struct only, the number of rows.
func (f *checkpointFields) stats(row int) string {
	if text := f.text("stats", row); text != "" {
		return text
	}
	parsed := f.structure("stats_parsed")
	rows := parsed.optional("numRecords", row)
	if parsed.err != nil || rows == nil {
		return ""
	}
	text, err := json.Marshal(map[string]int64{"numRecords": *rows})
	if err != nil {
		return ""
	}
	return string(text)
}

func (f *checkpointFields) deletionVector(row int) *DeletionVector {
	column, ok := f.columns["deletionVector"]
	if !ok || column.IsNull(row) {
		return nil
	}
	fields := f.structure("deletionVector")
	vector := &DeletionVector{
		StorageType: fields.text("storageType", row), PathOrInlineDV: fields.text("pathOrInlineDv", row),
		SizeInBytes: int32(fields.integer("sizeInBytes", row)), //nolint:gosec // the column is an int
		Cardinality: fields.integer("cardinality", row),
	}
	if offset := fields.optional("offset", row); offset != nil {
		narrow := int32(*offset) //nolint:gosec // the column is an int
		vector.Offset = &narrow
	}
	f.err = firstError(f.err, fields.err)
	if vector.StorageType == "" {
		return nil
	}
	return vector
}

func (f *checkpointFields) structure(name string) *checkpointFields {
	column, ok := f.columns[name].(*array.Struct)
	if !ok {
		return &checkpointFields{}
	}
	return newCheckpointFields(column)
}

// column returns the named field where row has a value in it.
func (f *checkpointFields) column(name string, row int) (arrow.Array, bool) {
	column, ok := f.columns[name]
	if !ok || column.IsNull(row) {
		return nil, false
	}
	return column, true
}

func (f *checkpointFields) unexpected(name string, column arrow.Array) {
	f.err = firstError(f.err, fmt.Errorf("field %s has the unexpected type %s", name, column.DataType()))
}

func (f *checkpointFields) optionalText(name string, row int) *string {
	column, ok := f.column(name, row)
	if !ok {
		return nil
	}
	text, ok := textAt(column, row)
	if !ok {
		f.unexpected(name, column)
	}
	return &text
}

func (f *checkpointFields) text(name string, row int) string {
	if text := f.optionalText(name, row); text != nil {
		return *text
	}
	return ""
}

func (f *checkpointFields) optional(name string, row int) *int64 {
	column, ok := f.column(name, row)
	if !ok {
		return nil
	}
	var value int64
	switch typed := column.(type) {
	case *array.Int64:
		value = typed.Value(row)
	case *array.Int32:
		value = int64(typed.Value(row))
	default:
		f.unexpected(name, column)
	}
	return &value
}

func (f *checkpointFields) integer(name string, row int) int64 {
	if value := f.optional(name, row); value != nil {
		return *value
	}
	return 0
}

func (f *checkpointFields) optionalBoolean(name string, row int) *bool {
	column, ok := f.column(name, row)
	if !ok {
		return nil
	}
	typed, ok := column.(*array.Boolean)
	if !ok {
		f.unexpected(name, column)
		return nil
	}
	value := typed.Value(row)
	return &value
}

func (f *checkpointFields) boolean(name string, row int) bool {
	value := f.optionalBoolean(name, row)
	return value != nil && *value
}

func (f *checkpointFields) list(name string, row int) []string {
	column, ok := f.column(name, row)
	if !ok {
		return nil
	}
	list, ok := column.(array.ListLike)
	if !ok {
		f.unexpected(name, column)
		return nil
	}
	from, to := list.ValueOffsets(row)
	out := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		text, ok := textAt(list.ListValues(), int(i))
		if !ok {
			f.unexpected(name, column)
			return nil
		}
		out = append(out, text)
	}
	return out
}

func (f *checkpointFields) values(name string, row int) map[string]*string {
	column, ok := f.column(name, row)
	if !ok {
		return nil
	}
	mapped, ok := column.(*array.Map)
	if !ok {
		f.unexpected(name, column)
		return nil
	}
	from, to := mapped.ValueOffsets(row)
	out := make(map[string]*string, to-from)
	for i := int(from); i < int(to); i++ {
		key, ok := textAt(mapped.Keys(), i)
		if !ok {
			f.unexpected(name, column)
			return nil
		}
		out[key] = nil
		if mapped.Items().IsNull(i) {
			continue
		}
		if value, ok := textAt(mapped.Items(), i); ok {
			out[key] = &value
		}
	}
	return out
}

func (f *checkpointFields) strings(name string, row int) map[string]string {
	out := map[string]string{}
	for key, value := range f.values(name, row) {
		if value != nil {
			out[key] = *value
		}
	}
	return out
}

// textAt copies a string out of a column.
func textAt(column arrow.Array, i int) (string, bool) {
	switch typed := column.(type) {
	case *array.String:
		return strings.Clone(typed.Value(i)), true
	case *array.LargeString:
		return strings.Clone(typed.Value(i)), true
	case *array.Binary: // written without the annotation
		return string(typed.Value(i)), true
	}
	return "", false
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
