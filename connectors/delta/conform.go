package delta

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/compute"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// conform returns column as an array of the wanted type: fields of structs found by name, missing ones NULL,
// narrower numbers widened, other spellings of the same type (large strings, dictionaries, nanoseconds, zones)
// rewritten. Whatever could lose a value is refused. The caller releases the result.
func conform(ctx context.Context, column arrow.Array, want arrow.DataType) (arrow.Array, error) {
	have := column.DataType()
	switch wanted := want.(type) {
	case *arrow.NullType:
		return array.NewNull(column.Len()), nil
	case *arrow.StructType:
		if structs, ok := column.(*array.Struct); ok {
			return conformStruct(ctx, structs, wanted)
		}
	case *arrow.MapType:
		if maps, ok := column.(*array.Map); ok {
			return conformMap(ctx, maps, wanted)
		}
	case *arrow.ListType:
		if list, ok := column.(array.ListLike); ok && have.ID() == arrow.LIST {
			return conformList(ctx, list, wanted)
		}
	default:
		if arrow.TypeEqual(have, want) {
			column.Retain()
			return column, nil
		}
		if widens(have, want) {
			options := compute.SafeCastOptions(want)
			options.AllowTimeTruncate = true // nanoseconds, which Delta does not have
			return compute.CastArray(ctx, column, options)
		}
	}
	return nil, fmt.Errorf("cannot read %s as %s", have, want)
}

func widens(have, want arrow.DataType) bool {
	if dictionary, ok := have.(*arrow.DictionaryType); ok {
		have = dictionary.ValueType
		return have.ID() == want.ID()
	}
	if have.ID() == arrow.NULL {
		return true
	}
	switch want.ID() { //nolint:exhaustive // every other type takes only itself
	case arrow.STRING:
		return have.ID() == arrow.LARGE_STRING || have.ID() == arrow.BINARY
	case arrow.BINARY:
		return have.ID() == arrow.LARGE_BINARY || have.ID() == arrow.FIXED_SIZE_BINARY || have.ID() == arrow.STRING
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		// A narrower or equal integer; a wider one passes where each value fits, as the cast is a checked one.
		return arrow.IsSignedInteger(have.ID())
	case arrow.FLOAT64:
		return have.ID() == arrow.FLOAT32 || have.ID() == arrow.INT8 || have.ID() == arrow.INT16 || have.ID() == arrow.INT32
	case arrow.DECIMAL128:
		return have.ID() == arrow.DECIMAL128 || arrow.IsSignedInteger(have.ID())
	case arrow.TIMESTAMP:
		return have.ID() == arrow.TIMESTAMP || have.ID() == arrow.DATE32
	}
	return false
}

func conformStruct(ctx context.Context, column *array.Struct, want *arrow.StructType) (arrow.Array, error) {
	have, _ := column.DataType().(*arrow.StructType)
	children := make([]arrow.ArrayData, 0, want.NumFields())
	defer func() {
		for _, child := range children {
			child.Release()
		}
	}()
	for _, field := range want.Fields() {
		var child arrow.Array
		if index, found := fieldIndex(have.Fields(), field.Name); found {
			conformed, err := conform(ctx, column.Field(index), field.Type)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", field.Name, err)
			}
			child = conformed
		} else {
			child = array.MakeArrayOfNull(memory.DefaultAllocator, field.Type, column.Len())
		}
		children = append(children, child.Data())
		child.Data().Retain()
		child.Release()
	}
	// Field(i) of a sliced struct is sliced along, so the rebuilt one has no offset of its own.
	validity := column.NullBitmapBytes()
	var buffer *memory.Buffer
	if len(validity) > 0 && column.NullN() > 0 {
		buffer = validityBuffer(column)
		defer buffer.Release()
	}
	data := array.NewData(want, column.Len(), []*memory.Buffer{buffer}, children, column.NullN(), 0)
	defer data.Release()
	return array.NewStructData(data), nil
}

// validityBuffer copies the validity of column to start at bit 0.
func validityBuffer(column arrow.Array) *memory.Buffer {
	buffer := memory.NewResizableBuffer(memory.DefaultAllocator)
	buffer.Resize((column.Len() + 7) / 8)
	bits := buffer.Bytes()
	for i := range bits {
		bits[i] = 0
	}
	for i := range column.Len() {
		if column.IsValid(i) {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return buffer
}

// conformList keeps the offsets and conforms the values behind them.
func conformList(ctx context.Context, column array.ListLike, want *arrow.ListType) (arrow.Array, error) {
	values, err := conform(ctx, column.ListValues(), want.Elem())
	if err != nil {
		return nil, err
	}
	defer values.Release()
	data := rebuilt(column, want, values)
	defer data.Release()
	return array.NewListData(data), nil
}

func conformMap(ctx context.Context, column *array.Map, want *arrow.MapType) (arrow.Array, error) {
	keys, err := conform(ctx, column.Keys(), want.KeyType())
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	defer keys.Release()
	items, err := conform(ctx, column.Items(), want.ItemType())
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	defer items.Release()
	entries := array.NewData(want.Elem(), keys.Len(), []*memory.Buffer{nil}, []arrow.ArrayData{keys.Data(), items.Data()}, 0, 0)
	defer entries.Release()
	entriesArray := array.NewStructData(entries)
	defer entriesArray.Release()
	data := rebuilt(column, want, entriesArray)
	defer data.Release()
	return array.NewMapData(data), nil
}

func rebuilt(column arrow.Array, want arrow.DataType, values arrow.Array) *array.Data {
	old := column.Data()
	return array.NewData(want, old.Len(), old.Buffers(), []arrow.ArrayData{values.Data()}, old.NullN(), old.Offset())
}

// fieldIndex finds a field by its exact name first, then whatever the case of its letters.
func fieldIndex(fields []arrow.Field, name string) (int, bool) {
	for i := range fields {
		if fields[i].Name == name {
			return i, true
		}
	}
	for i := range fields {
		if strings.EqualFold(fields[i].Name, name) {
			return i, true
		}
	}
	return 0, false
}
