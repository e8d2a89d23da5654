package kafka

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/inflowhq/inflow/connectors/kafka/serde"
	"github.com/inflowhq/inflow/schemas"
)

// The columns that every record has, by the names that they have in Spark, behind an underscore.
const (
	ColumnKey       = "_key"
	ColumnTopic     = "_topic"
	ColumnPartition = "_partition"
	ColumnOffset    = "_offset"
	ColumnTimestamp = "_timestamp"
	ColumnHeaders   = "_headers"
)

// The headers of dead letters. HeaderSource stands on every record that has a source: where it was, topic/partition/offset.
const (
	HeaderSource       = "inflow-source"
	HeaderErrorCode    = "inflow-error-code"
	HeaderErrorClass   = "inflow-error-class"
	HeaderErrorMessage = "inflow-error-message"
	HeaderRunID        = "inflow-run-id"
	headerPrefix       = "inflow-"
)

// flushBytes ends a batch before it has its rows.
const flushBytes = 4 << 20

// layout is which columns a source has and where each comes from.
type layout struct {
	schema *arrow.Schema
	// values are the value decoder's fields, keys the key decoder's; both are decoded whole.
	values, keys []arrow.Field
	flatKey      bool // the key is one value and no STRUCT
	pick         []int
	meta         []string // those of the metadata columns that are wanted, in the order of their builders
}

func metadataField(name string) (arrow.Field, bool) {
	var kind arrow.DataType
	switch name {
	case ColumnTopic:
		kind = arrow.BinaryTypes.String
	case ColumnPartition:
		kind = arrow.PrimitiveTypes.Int32
	case ColumnOffset:
		kind = arrow.PrimitiveTypes.Int64
	case ColumnTimestamp:
		kind = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	case ColumnHeaders:
		kind = arrow.ListOf(arrow.StructOf(
			arrow.Field{Name: "key", Type: arrow.BinaryTypes.String, Nullable: true},
			arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true}))
	default:
		return arrow.Field{}, false
	}
	return arrow.Field{Name: name, Type: kind, Nullable: true}, true
}

// newLayout chooses columns: those named, or the value's and then all of the metadata but the headers.
func newLayout(value, key serde.Decoder, columns []string) (*layout, error) {
	l := &layout{values: value.Fields()}
	all := slices.Clone(l.values)
	keyType := arrow.DataType(arrow.BinaryTypes.Binary)
	l.flatKey = true
	if key != nil {
		l.keys = key.Fields()
		// One field of this name is what decoders make of bytes that are no record.
		l.flatKey = len(l.keys) == 1 && (l.keys[0].Name == "key" || l.keys[0].Name == "value")
		if keyType = arrow.StructOf(l.keys...); l.flatKey {
			keyType = l.keys[0].Type
		}
	}
	all = append(all, arrow.Field{Name: ColumnKey, Type: keyType, Nullable: true})
	for _, name := range []string{ColumnTopic, ColumnPartition, ColumnOffset, ColumnTimestamp, ColumnHeaders} {
		field, _ := metadataField(name)
		all = append(all, field)
	}
	known := make([]string, 0, len(all))
	for _, field := range all {
		if slices.Contains(known, field.Name) {
			return nil, fmt.Errorf("kafka: the value has a field %q, which is the name of another column: %w", field.Name, schemas.ErrInvalid)
		}
		known = append(known, field.Name)
	}
	if columns == nil {
		columns = known[:len(known)-1]
	}
	fields := make([]arrow.Field, 0, len(columns))
	for i, name := range columns {
		at := slices.Index(known, name)
		if at < 0 {
			return nil, fmt.Errorf("kafka: there is no column %q, but %s: %w", name, strings.Join(known, ", "), schemas.ErrInvalid)
		}
		if slices.Contains(columns[:i], name) {
			return nil, fmt.Errorf("kafka: the column %q is named twice: %w", name, schemas.ErrInvalid)
		}
		if _, ok := metadataField(name); ok {
			l.meta = append(l.meta, name)
			at = len(l.values) + len(l.meta) // behind the values and the key
		}
		l.pick = append(l.pick, at)
		fields = append(fields, arrow.Field{Name: name, Type: all[slices.Index(known, name)].Type, Nullable: true})
	}
	l.schema = arrow.NewSchema(fields, nil)
	return l, nil
}

// rows builds the batches of one partition. It is not safe for concurrent use.
type rows struct {
	*layout
	place  place
	name   string
	value  serde.Decoder
	key    serde.Decoder // nil: bytes as they are
	retry  func(ctx context.Context, do func(context.Context) error) error
	limit  int
	raw    *array.RecordBuilder // nil: not kept
	letter bool                 // records are dead letters

	values   []array.Builder
	keys     []array.Builder // where the key is a STRUCT those of its fields, else one
	keyOuter array.Builder
	meta     []array.Builder

	headers []header // scratch
	offsets []int64
	marks   []int64 // where dead letters stand in this topic, as offsets says where they come from
	size    int
	first   time.Time
	last    time.Time
	faults  map[int]*schemas.Error
	origin  place // of the rows so far, where they are dead letters
}

func (r *rows) init(mem memory.Allocator) {
	for _, field := range r.layout.values {
		r.values = append(r.values, array.NewBuilder(mem, field.Type))
	}
	switch {
	case r.key == nil:
		r.keyOuter = array.NewBuilder(mem, arrow.BinaryTypes.Binary)
	case r.flatKey:
		r.keyOuter = array.NewBuilder(mem, r.layout.keys[0].Type)
		r.keys = []array.Builder{r.keyOuter}
	default:
		outer := array.NewStructBuilder(mem, arrow.StructOf(r.layout.keys...))
		for i := range r.layout.keys {
			r.keys = append(r.keys, outer.FieldBuilder(i))
		}
		r.keyOuter = outer
	}
	for _, name := range r.layout.meta {
		field, _ := metadataField(name)
		r.meta = append(r.meta, array.NewBuilder(mem, field.Type))
	}
}

func (r *rows) release() {
	for _, each := range r.values {
		each.Release()
	}
	r.keyOuter.Release()
	for _, each := range r.meta {
		each.Release()
	}
	if r.raw != nil {
		r.raw.Release()
	}
}

// full reports whether the batch is to be ended before another record is added.
func (r *rows) full() bool { return len(r.offsets) >= r.limit || r.size >= flushBytes }

// wantsHeaders reports whether somebody looks at headers.
func (r *rows) wantsHeaders() bool {
	return r.letter || r.raw != nil || slices.Contains(r.layout.meta, ColumnHeaders)
}

// where parses the headers of a record, if they are wanted, and returns where it came from: dead letters say so
// themselves.
func (r *rows) where(rec *record) (place, int64, error) {
	r.headers = r.headers[:0]
	if !r.wantsHeaders() {
		return r.place, rec.offset, nil
	}
	var err error
	if r.headers, err = parseHeaders(rec.headers, r.headers); err != nil || !r.letter {
		return r.place, rec.offset, err
	}
	origin, offset := r.place, rec.offset
	r.headers = slices.DeleteFunc(r.headers, func(h header) bool {
		if string(h.key) == HeaderSource {
			if p, at, ok := parseSource(string(h.value)); ok {
				origin, offset = p, at
			}
		}
		// How often a record was sent through again stays with it: the next replay counts on.
		return bytes.HasPrefix(h.key, []byte(headerPrefix)) && string(h.key) != schemas.HeaderReplays
	})
	return origin, offset, nil
}

// parseSource reads topic/partition/offset.
func parseSource(text string) (place, int64, bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 || parts[0] == "" || len(parts[0]) > maxTopicName {
		return place{}, 0, false
	}
	id, err := strconv.ParseUint(parts[1], 10, 31)
	if err != nil {
		return place{}, 0, false
	}
	offset, err := strconv.ParseUint(parts[2], 10, 63)
	if err != nil {
		return place{}, 0, false
	}
	return place{parts[0], int32(id)}, int64(offset), true
}

// maxTopicName is Kafka's own limit.
const maxTopicName = 249

// add appends a record that stands at offset of origin. A value or key that cannot be decoded is a fault of the row.
func (r *rows) add(ctx context.Context, rec *record, origin place, offset int64) error {
	fault, err := r.decode(ctx, r.value, rec.value, r.values, "value", origin, offset)
	if err != nil {
		return err
	}
	if fault != nil || rec.value == nil {
		for _, each := range r.values {
			each.AppendNull()
		}
	}
	keyFault, err := r.addKey(ctx, rec.key, origin, offset)
	if err != nil {
		// The values stand there already; nothing else will be made of this batch.
		return err
	}
	if fault == nil {
		fault = keyFault
	}
	if fault != nil {
		if r.faults == nil {
			r.faults = make(map[int]*schemas.Error)
		}
		r.faults[len(r.offsets)] = fault
	}
	for i := range r.layout.meta {
		r.addMeta(r.meta[i], rec, origin, offset)
	}
	if r.raw != nil {
		r.addRaw(rec, origin, offset)
	}
	r.offsets = append(r.offsets, offset)
	if r.letter {
		r.marks = append(r.marks, rec.offset)
	}
	r.size += len(rec.value) + len(rec.key) + len(rec.headers)
	at := time.UnixMilli(rec.timestamp)
	if rec.timestamp >= 0 {
		if r.first.IsZero() || at.Before(r.first) {
			r.first = at
		}
		if at.After(r.last) {
			r.last = at
		}
	}
	r.origin = origin
	return nil
}

// decode appends a value or a key that is not null. What is at fault about its bytes is returned as a fault; a registry
// that does not answer is asked until it does.
func (r *rows) decode(ctx context.Context, decoder serde.Decoder, data []byte, builders []array.Builder, what string, origin place, offset int64) (*schemas.Error, error) {
	if data == nil {
		return nil, nil //nolint:nilnil // no fault and no error
	}
	err := decoder.Append(ctx, data, builders)
	if err != nil && schemas.ClassOf(err) != schemas.Rejected {
		err = r.retry(ctx, func(ctx context.Context) error { return decoder.Append(ctx, data, builders) })
	}
	if err == nil {
		return nil, nil //nolint:nilnil // no fault and no error
	}
	if schemas.ClassOf(err) != schemas.Rejected {
		return nil, err
	}
	return &schemas.Error{
		Op: "kafka: the " + what + " at " + origin.name() + "/" + strconv.FormatInt(offset, 10), Class: schemas.Rejected, Code: codeUndecodable, Err: err,
	}, nil
}

func (r *rows) addKey(ctx context.Context, key []byte, origin place, offset int64) (*schemas.Error, error) {
	if key == nil {
		r.keyOuter.AppendNull()
		return nil, nil //nolint:nilnil // no fault and no error
	}
	if r.key == nil {
		r.keyOuter.(*array.BinaryBuilder).Append(key) //nolint:errcheck,forcetypeassert // made so
		return nil, nil                               //nolint:nilnil // no fault and no error
	}
	fault, err := r.decode(ctx, r.key, key, r.keys, "key", origin, offset)
	if err != nil {
		return nil, err
	}
	if fault != nil {
		r.keyOuter.AppendNull()
	} else if outer, ok := r.keyOuter.(*array.StructBuilder); ok && !r.flatKey {
		outer.Append(true) // its fields have the row already
	}
	return fault, nil
}

func (r *rows) addMeta(builder array.Builder, rec *record, origin place, offset int64) {
	switch b := builder.(type) { // each column has a type of its own
	case *array.StringBuilder:
		b.Append(origin.topic)
	case *array.Int32Builder:
		b.Append(origin.id)
	case *array.Int64Builder:
		b.Append(offset)
	case *array.TimestampBuilder:
		appendTimestamp(b, rec.timestamp)
	case *array.ListBuilder:
		appendHeaders(b, r.headers)
	}
}

func appendTimestamp(b *array.TimestampBuilder, milliseconds int64) {
	if milliseconds < 0 { // its producer did not say
		b.AppendNull()
		return
	}
	b.Append(arrow.Timestamp(milliseconds * 1000))
}

func appendHeaders(list *array.ListBuilder, headers []header) {
	list.Append(true)
	pair := list.ValueBuilder().(*array.StructBuilder)   //nolint:errcheck,forcetypeassert // the column's type
	key := pair.FieldBuilder(0).(*array.StringBuilder)   //nolint:errcheck,forcetypeassert // the column's type
	value := pair.FieldBuilder(1).(*array.BinaryBuilder) //nolint:errcheck,forcetypeassert // the column's type
	for _, each := range headers {
		pair.Append(true)
		key.Append(strings.ToValidUTF8(string(each.key), "\uFFFD"))
		appendBytes(value, each.value)
	}
}

// appendBytes keeps empty and NULL apart.
func appendBytes(b *array.BinaryBuilder, data []byte) {
	if data == nil {
		b.AppendNull()
		return
	}
	b.Append(data)
}

func (r *rows) addRaw(rec *record, origin place, offset int64) {
	appendBytes(r.raw.Field(0).(*array.BinaryBuilder), rec.key)              //nolint:errcheck,forcetypeassert // schemas.RawSchema
	appendBytes(r.raw.Field(1).(*array.BinaryBuilder), rec.value)            //nolint:errcheck,forcetypeassert // schemas.RawSchema
	r.raw.Field(2).(*array.StringBuilder).Append(origin.topic)               //nolint:errcheck,forcetypeassert // schemas.RawSchema
	r.raw.Field(3).(*array.Int32Builder).Append(origin.id)                   //nolint:errcheck,forcetypeassert // schemas.RawSchema
	r.raw.Field(4).(*array.Int64Builder).Append(offset)                      //nolint:errcheck,forcetypeassert // schemas.RawSchema
	appendTimestamp(r.raw.Field(5).(*array.TimestampBuilder), rec.timestamp) //nolint:errcheck,forcetypeassert // schemas.RawSchema
	appendHeaders(r.raw.Field(6).(*array.ListBuilder), r.headers)            //nolint:errcheck,forcetypeassert // schemas.RawSchema
}

// batch ends the open batch, which may have no rows, with the partition read up to next.
func (r *rows) batch(next int64) schemas.Batch {
	n := len(r.offsets)
	out := schemas.Batch{
		Marks: schemas.Marks{r.name: next}, Partition: r.name, Offset: next, Version: -1,
		Oldest: r.first, Newest: r.last, Faults: r.faults,
	}
	if n > 0 {
		out.Offset = r.offsets[0]
		if r.letter {
			out.Partition = r.origin.name()
		}
		if r.letter || r.offsets[n-1]-r.offsets[0] != int64(n-1) {
			out.Offsets = r.offsets
			r.offsets = nil
		}
	}
	out.Until = r.until(out.Offset, out.Offsets, n, next)
	arrays := make([]arrow.Array, 0, len(r.values)+1+len(r.meta))
	for _, each := range r.values {
		arrays = append(arrays, each.NewArray())
	}
	arrays = append(arrays, r.keyOuter.NewArray())
	for _, each := range r.meta {
		arrays = append(arrays, each.NewArray())
	}
	columns := make([]arrow.Array, 0, len(r.pick))
	for _, at := range r.pick {
		columns = append(columns, arrays[at])
	}
	out.Record = array.NewRecord(r.schema, columns, int64(n))
	for _, each := range arrays {
		each.Release()
	}
	if r.raw != nil {
		out.Raw = r.raw.NewRecord()
	}
	r.reset()
	return out
}

// until is the batch's Until: the mark is the offset of the first row that is not done.
func (r *rows) until(first int64, offsets []int64, n int, next int64) func(int) schemas.Marks {
	if r.letter {
		offsets, r.marks = r.marks, nil
	}
	name := r.name
	return func(row int) schemas.Marks {
		switch {
		case row >= n:
			return schemas.Marks{name: next}
		case offsets != nil:
			return schemas.Marks{name: offsets[row]}
		}
		return schemas.Marks{name: first + int64(row)}
	}
}

func (r *rows) reset() {
	r.marks = r.marks[:0]
	r.offsets, r.size, r.faults, r.first, r.last = r.offsets[:0], 0, nil, time.Time{}, time.Time{}
}

// discard drops the open batch, whose last row may be there in part.
func (r *rows) discard() {
	for _, each := range slices.Concat(r.values, []array.Builder{r.keyOuter}, r.meta) {
		each.NewArray().Release()
	}
	if r.raw != nil {
		for _, each := range r.raw.Fields() {
			each.NewArray().Release()
		}
	}
	r.reset()
}
