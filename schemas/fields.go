package schemas

import (
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
)

// fields appends one row's values to the builders of a record or of a struct, from left to right. Zero
// values become NULL where zero cannot be meant.
type fields struct {
	next  func(i int) array.Builder
	index int
}

func (f *fields) builder() array.Builder {
	builder := f.next(f.index)
	f.index++
	return builder
}

// skip leaves columns out, which are filled up with NULL in the end.
func (f *fields) skip(count int) { f.index += count }

// fill makes up in the next column for the rows that skipped it.
func (f *fields) fill(rows int) {
	column := f.next(f.index)
	column.AppendNulls(rows - column.Len())
}

func (f *fields) null() { f.builder().AppendNull() }

func (f *fields) text(value string) {
	appendText(f.builder(), value)
}

func appendText(builder array.Builder, value string) {
	if value == "" {
		builder.AppendNull()
		return
	}
	builder.(*array.StringBuilder).Append(value) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
}

func (f *fields) bigint(value int64, known bool) {
	builder := f.builder()
	if !known {
		builder.AppendNull()
		return
	}
	builder.(*array.Int64Builder).Append(value) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
}

func (f *fields) optional(value *int64) {
	if value == nil {
		f.null()
		return
	}
	f.bigint(*value, true)
}

func (f *fields) integer(value int, known bool) {
	builder := f.builder()
	if !known {
		builder.AppendNull()
		return
	}
	builder.(*array.Int32Builder).Append(int32(value)) //nolint:errcheck,forcetypeassert,gosec // the schema beside it fixes the type; counts and codes are small
}

func (f *fields) boolean(value bool) {
	f.builder().(*array.BooleanBuilder).Append(value) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
}

func (f *fields) time(value time.Time) {
	builder := f.builder()
	if value.IsZero() {
		builder.AppendNull()
		return
	}
	builder.(*array.TimestampBuilder).Append(arrow.Timestamp(value.UnixMicro())) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
}

func (f *fields) date(value time.Time) {
	builder := f.builder()
	if value.IsZero() {
		builder.AppendNull()
		return
	}
	builder.(*array.Date32Builder).Append(arrow.Date32FromTime(value.UTC())) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
}

func (f *fields) usd(value *USD) {
	builder := f.builder()
	if value == nil {
		builder.AppendNull()
		return
	}
	builder.(*array.Decimal128Builder).Append(value.Num()) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
}

func (f *fields) texts(values []string) {
	list := f.builder().(*array.ListBuilder) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
	if values == nil {
		list.AppendNull()
		return
	}
	list.Append(true)
	for _, value := range values {
		appendText(list.ValueBuilder(), value)
	}
}

func (f *fields) stringMap(values map[string]string) {
	builder := f.builder().(*array.MapBuilder) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
	if values == nil {
		builder.AppendNull()
		return
	}
	builder.Append(true)
	for key, value := range values {
		builder.KeyBuilder().(*array.StringBuilder).Append(key)    //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
		builder.ItemBuilder().(*array.StringBuilder).Append(value) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
	}
}

func (f *fields) structure(appendFields func(*fields)) {
	builder := f.builder().(*array.StructBuilder) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
	builder.Append(true)
	appendFields(&fields{next: builder.FieldBuilder})
}

func (f *fields) attempts(attempts []Attempt) {
	list := f.builder().(*array.ListBuilder) //nolint:errcheck,forcetypeassert // the schema beside it fixes the type
	list.Append(true)
	inner := fields{next: func(int) array.Builder { return list.ValueBuilder() }}
	for _, attempt := range attempts {
		inner.structure(func(a *fields) {
			a.text(attempt.Action)
			a.text(attempt.Destination)
			a.integer(attempt.StatusCode, attempt.StatusCode != 0)
			a.bigint(attempt.Latency.Milliseconds(), true)
		})
	}
}

func (f *fields) rowError(failure *RowError) {
	f.structure(func(f *fields) {
		f.text(failure.Code)
		f.text(failure.Class.String())
		f.text(failure.Message)
		f.integer(failure.HTTPStatus, failure.HTTPStatus != 0)
		f.integer(failure.Attempts, true)
	})
}
