package delta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/store/parquet"
)

const (
	defaultCheckpointInterval = 10
	// defaultTombstoneRetention is how long a removed file's tombstone stays where the table does not say.
	defaultTombstoneRetention = 7 * 24 * time.Hour
)

// Checkpoint writes a classic checkpoint of the newest version, so that readers need not replay the log before it.
func (t *Table) Checkpoint(ctx context.Context) error {
	snapshot, err := t.Snapshot(ctx)
	if err != nil {
		return err
	}
	return t.writeCheckpoint(ctx, snapshot.state)
}

func (t *Table) checkpointAt(ctx context.Context, version int64) error {
	s, err := load(ctx, t.store, t.location, version, true)
	if err != nil {
		return fmt.Errorf("delta: checkpoint of version %d: %w", version, err)
	}
	return t.writeCheckpoint(ctx, s)
}

func (t *Table) writeCheckpoint(ctx context.Context, s *state) error {
	if err := t.writeCheckpointFile(ctx, s); err != nil {
		return fmt.Errorf("delta: checkpoint of version %d: %w", s.version, err)
	}
	return nil
}

func (t *Table) writeCheckpointFile(ctx context.Context, s *state) error {
	// Whoever reads a table's log may rewrite it only if able to write the table.
	if err := checkWritable(s.protocol, s.metadata, s.schema); err != nil {
		return err
	}
	if s.metadata.Configuration["delta.checkpoint.writeStatsAsStruct"] == "true" {
		return &UnsupportedError{Feature: "delta.checkpoint.writeStatsAsStruct", Writing: true}
	}
	object, err := t.store.Create(ctx, checkpointName(s.version))
	if err != nil {
		return err
	}
	var size int64
	rows, err := t.fillCheckpoint(ctx, s, &countingWriter{to: object, count: &size})
	if err != nil {
		return errors.Join(err, object.Abort())
	}
	if err := object.Commit(ctx); err != nil {
		return errors.Join(err, object.Abort())
	}
	return t.writeHint(ctx, hint{Version: s.version, Size: rows, SizeInBytes: size, NumOfAddFiles: int64(len(s.files))})
}

// writeHint moves _last_checkpoint forward. Two writers may race; what the slower one leaves is still true.
func (t *Table) writeHint(ctx context.Context, written hint) error {
	newest, err := readHint(ctx, t.store)
	if err != nil || newest > written.Version {
		return err
	}
	data, err := json.Marshal(written)
	if err != nil {
		return err
	}
	object, err := t.store.Create(ctx, checkpointHint)
	if err != nil {
		return err
	}
	if _, err := object.Write(data); err != nil {
		return errors.Join(err, object.Abort())
	}
	if err := object.Commit(ctx); err != nil {
		return errors.Join(err, object.Abort())
	}
	return nil
}

// fillCheckpoint writes the rows, checkpointRows at a time, and returns how many there are.
func (t *Table) fillCheckpoint(ctx context.Context, s *state, to *countingWriter) (int64, error) {
	schema := checkpointSchema()
	// Statistics of the log's own fields help nobody and would hold paths and properties.
	writer, err := parquet.NewWriter(to, schema, parquet.WriterOptions{NoStatistics: func(string) bool { return true }})
	if err != nil {
		return 0, err
	}
	builder := &checkpointBuilder{
		record:   array.NewRecordBuilder(memory.DefaultAllocator, schema),
		withJSON: s.metadata.Configuration["delta.checkpoint.writeStatsAsJson"] != "false",
	}
	defer builder.record.Release()
	var rows int64
	flush := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		record := builder.record.NewRecord()
		defer record.Release()
		rows += record.NumRows()
		builder.rows = 0
		return writer.Write(record)
	}
	for action := range s.checkpointActions(t.now()) {
		builder.append(&action)
		if builder.rows >= checkpointRows {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	if err := flush(); err != nil {
		return 0, err
	}
	_, err = writer.Close()
	return rows, err
}

// checkpointActions yields what a checkpoint holds, in a fixed order so that two writers write the same.
func (s *state) checkpointActions(now time.Time) func(yield func(Action) bool) {
	return func(yield func(Action) bool) {
		if !yield(Action{Protocol: s.protocol}) || !yield(Action{Metadata: s.metadata}) {
			return
		}
		for _, id := range slices.Sorted(maps.Keys(s.txns)) {
			txn := s.txns[id]
			if !yield(Action{Txn: &txn}) {
				return
			}
		}
		for _, name := range slices.Sorted(maps.Keys(s.domains)) {
			domain := s.domains[name]
			if !yield(Action{DomainMetadata: &domain}) {
				return
			}
		}
		expired := now.Add(-tombstoneRetention(s.metadata.Configuration["delta.deletedFileRetentionDuration"])).UnixMilli()
		removed := slices.SortedFunc(maps.Keys(s.removed), compareKeys)
		for _, key := range removed {
			remove := s.removed[key]
			// One without a time counts as removed at the beginning of time, as Spark has it.
			if remove.DeletionTimestamp == nil || *remove.DeletionTimestamp <= expired {
				continue
			}
			remove.DataChange = false
			if !yield(Action{Remove: &remove}) {
				return
			}
		}
		for _, key := range slices.SortedFunc(maps.Keys(s.files), compareKeys) {
			add := s.files[key].Add
			add.DataChange = false
			if !yield(Action{Add: &add}) {
				return
			}
		}
	}
}

func compareKeys(a, b fileKey) int {
	if order := strings.Compare(a.name, b.name); order != 0 {
		return order
	}
	return strings.Compare(a.vector, b.vector)
}

// tombstoneRetention reads "interval 7 days". What it cannot read keeps tombstones for long: too many do no harm.
func tombstoneRetention(interval string) time.Duration {
	if interval == "" {
		return defaultTombstoneRetention
	}
	const forever = 100 * 365 * 24 * time.Hour
	fields := strings.Fields(strings.ToLower(strings.TrimPrefix(strings.ToLower(interval), "interval ")))
	if len(fields) == 0 || len(fields)%2 != 0 {
		return forever
	}
	var total time.Duration
	for i := 0; i < len(fields); i += 2 {
		count, err := strconv.ParseInt(fields[i], 10, 32)
		units := map[string]time.Duration{
			"week": 7 * 24 * time.Hour, "day": 24 * time.Hour, "hour": time.Hour, "minute": time.Minute,
			"second": time.Second, "millisecond": time.Millisecond, "microsecond": time.Microsecond,
		}
		unit, known := units[strings.TrimSuffix(fields[i+1], "s")]
		if err != nil || !known || count < 0 || time.Duration(count) > forever/unit {
			return forever
		}
		total = min(total+time.Duration(count)*unit, forever)
	}
	return total
}

func checkpointSchema() *arrow.Schema {
	text := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true}
	}
	long := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64, Nullable: true}
	}
	integer := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int32, Nullable: true}
	}
	boolean := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.FixedWidthTypes.Boolean, Nullable: true}
	}
	texts := func(name string) arrow.Field {
		element := arrow.Field{Name: "element", Type: arrow.BinaryTypes.String, Nullable: true}
		return arrow.Field{Name: name, Type: arrow.ListOfField(element), Nullable: true}
	}
	mapping := func(name string) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String), Nullable: true}
	}
	structure := func(name string, fields ...arrow.Field) arrow.Field {
		return arrow.Field{Name: name, Type: arrow.StructOf(fields...), Nullable: true}
	}
	vector := structure("deletionVector",
		text("storageType"), text("pathOrInlineDv"), integer("offset"), integer("sizeInBytes"), long("cardinality"))
	return arrow.NewSchema([]arrow.Field{
		structure("txn", text("appId"), long("version"), long("lastUpdated")),
		structure("add", text("path"), mapping("partitionValues"), long("size"), long("modificationTime"), boolean("dataChange"),
			text("stats"), mapping("tags"), vector, long("baseRowId"), long("defaultRowCommitVersion"), text("clusteringProvider")),
		structure("remove", text("path"), long("deletionTimestamp"), boolean("dataChange"), boolean("extendedFileMetadata"),
			mapping("partitionValues"), long("size"), vector, long("baseRowId"), long("defaultRowCommitVersion")),
		structure("metaData", text("id"), text("name"), text("description"),
			structure("format", text("provider"), mapping("options")), text("schemaString"), texts("partitionColumns"),
			long("createdTime"), mapping("configuration")),
		structure("protocol", integer("minReaderVersion"), integer("minWriterVersion"), texts("readerFeatures"), texts("writerFeatures")),
		structure("domainMetadata", text("domain"), text("configuration"), boolean("removed")),
	}, nil)
}

// checkpointBuilder turns actions into rows of checkpointSchema.
type checkpointBuilder struct {
	record   *array.RecordBuilder
	withJSON bool // statistics
	rows     int
}

func (b *checkpointBuilder) append(action *Action) {
	b.rows++
	fields := b.record.Schema().Fields()
	for i := range fields {
		builder, _ := b.record.Field(i).(*array.StructBuilder)
		values := b.values(fields[i].Name, action)
		appendStruct(builder, values)
	}
}

// values returns the fields of one action in the order of the schema; nil where it is another kind of action.
func (b *checkpointBuilder) values(kind string, action *Action) []any {
	switch {
	case kind == "txn" && action.Txn != nil:
		return []any{action.Txn.AppID, action.Txn.Version, action.Txn.LastUpdated}
	case kind == "add" && action.Add != nil:
		add := action.Add
		stats := optionalText(add.Stats)
		if !b.withJSON {
			stats = nil
		}
		partitionValues := add.PartitionValues
		if partitionValues == nil {
			partitionValues = map[string]*string{}
		}
		return []any{
			add.Path, partitionValues, add.Size, add.ModificationTime, add.DataChange, stats, add.Tags,
			vectorValues(add.DeletionVector), add.BaseRowID, add.DefaultRowCommitVersion, add.ClusteringProvider,
		}
	case kind == "remove" && action.Remove != nil:
		remove := action.Remove
		return []any{
			remove.Path, remove.DeletionTimestamp, remove.DataChange, remove.ExtendedFileMetadata, remove.PartitionValues,
			remove.Size, vectorValues(remove.DeletionVector), remove.BaseRowID, remove.DefaultRowCommitVersion,
		}
	case kind == "metaData" && action.Metadata != nil:
		metadata := action.Metadata
		format := []any{metadata.Format.Provider, pointers(metadata.Format.Options)}
		return []any{
			metadata.ID, optionalText(metadata.Name), optionalText(metadata.Description), format, metadata.SchemaString,
			append([]string{}, metadata.PartitionColumns...), metadata.CreatedTime, pointers(metadata.Configuration),
		}
	case kind == "protocol" && action.Protocol != nil:
		protocol := *action.Protocol
		if protocol.MinReaderVersion < 3 { // the lists must be NULL then, though some writers have them empty
			protocol.ReaderFeatures = nil
		}
		if protocol.MinWriterVersion < 7 {
			protocol.WriterFeatures = nil
		}
		return []any{int64(protocol.MinReaderVersion), int64(protocol.MinWriterVersion), protocol.ReaderFeatures, protocol.WriterFeatures}
	case kind == "domainMetadata" && action.DomainMetadata != nil:
		return []any{action.DomainMetadata.Domain, action.DomainMetadata.Configuration, action.DomainMetadata.Removed}
	}
	return nil
}

func vectorValues(vector *DeletionVector) []any {
	if vector == nil {
		return nil
	}
	var offset *int64
	if vector.Offset != nil {
		wide := int64(*vector.Offset)
		offset = &wide
	}
	return []any{vector.StorageType, vector.PathOrInlineDV, offset, int64(vector.SizeInBytes), vector.Cardinality}
}

func optionalText(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func pointers(values map[string]string) map[string]*string {
	out := make(map[string]*string, len(values))
	for key, value := range values {
		out[key] = &value
	}
	return out
}

// appendStruct appends one struct, NULL where values is nil.
func appendStruct(builder *array.StructBuilder, values []any) {
	if values == nil {
		builder.AppendNull() // the fields too
		return
	}
	builder.Append(true)
	for i, value := range values {
		appendValue(builder.FieldBuilder(i), value)
	}
}

// appendValue appends a value of one of the few types that actions are made of; nil pointers, maps and slices are NULL.
func appendValue(builder array.Builder, value any) {
	switch typed := builder.(type) {
	case *array.StructBuilder:
		values, _ := value.([]any)
		appendStruct(typed, values)
		return
	case *array.StringBuilder:
		switch text := value.(type) {
		case string:
			typed.Append(text)
			return
		case *string:
			if text != nil {
				typed.Append(*text)
				return
			}
		}
	case *array.BooleanBuilder:
		switch flag := value.(type) {
		case bool:
			typed.Append(flag)
			return
		case *bool:
			if flag != nil {
				typed.Append(*flag)
				return
			}
		}
	case *array.Int64Builder:
		if number, ok := integerValue(value); ok {
			typed.Append(number)
			return
		}
	case *array.Int32Builder:
		if number, ok := integerValue(value); ok {
			typed.Append(int32(number)) //nolint:gosec // versions and offsets are 32 bits wide by their types
			return
		}
	case *array.MapBuilder: // before the list, which it also is
		if values, ok := value.(map[string]*string); ok && values != nil {
			typed.Append(true)
			for _, key := range slices.Sorted(maps.Keys(values)) {
				appendValue(typed.KeyBuilder(), key)
				appendValue(typed.ItemBuilder(), values[key])
			}
			return
		}
	case *array.ListBuilder:
		if values, ok := value.([]string); ok && values != nil {
			typed.Append(true)
			for _, text := range values {
				appendValue(typed.ValueBuilder(), text)
			}
			return
		}
	}
	builder.AppendNull()
}

func integerValue(value any) (int64, bool) {
	switch number := value.(type) {
	case int64:
		return number, true
	case *int64:
		if number != nil {
			return *number, true
		}
	}
	return 0, false
}
