package parquet

import (
	"errors"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/bitutil"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// The levels of a leaf, one pair a value or gap, tell of every column above it where it has a place: at the
// pairs that begin a new place of the surrounding list (rep at most that list's) and find an element there (def
// at least that list's). Of a place, def tells whether the column is NULL.

// place reports whether a pair of levels is a place of the column.
func (c *readColumn) place(def, rep int16) bool {
	return int(rep) <= c.slotRep && int(def) >= c.slotDef
}

// validity collects which places are not NULL.
type validity struct {
	bits  []byte
	count int
	nulls int
}

func (v *validity) append(valid bool) {
	if v.count%8 == 0 {
		v.bits = append(v.bits, 0)
	}
	if valid {
		bitutil.SetBit(v.bits, v.count)
	} else {
		v.nulls++
	}
	v.count++
}

func (v *validity) buffer() *memory.Buffer {
	if v.nulls == 0 {
		return nil
	}
	return memory.NewBufferBytes(v.bits)
}

func (c *readColumn) assembleStruct(defs, reps []int16, fields []arrow.ArrayData) (arrow.Array, error) {
	var valid validity
	for i, def := range defs {
		if c.place(def, reps[i]) {
			valid.append(int(def) >= c.def)
		}
	}
	if fields[0].Len() != valid.count {
		return nil, errors.New("the fields disagree about the number of values")
	}
	data := array.NewData(c.field.Type, valid.count, []*memory.Buffer{valid.buffer()}, fields, valid.nulls, 0)
	defer data.Release()
	return array.NewStructData(data), nil
}

func (c *readColumn) assembleList(defs, reps []int16, children []arrow.ArrayData) (arrow.Array, error) {
	var valid validity
	offsets := make([]int32, 0, len(defs)+1)
	elements := int32(0)
	for i, def := range defs {
		if c.place(def, reps[i]) {
			// c.def is the level of an element, one less that of a list without any.
			valid.append(int(def) >= c.def-1)
			offsets = append(offsets, elements)
		}
		if int(reps[i]) <= c.rep && int(def) >= c.def {
			if len(offsets) == 0 {
				return nil, errors.New("an element stands before the first list")
			}
			elements++
		}
	}
	offsets = append(offsets, elements)
	if children[0].Len() != int(elements) {
		return nil, errors.New("the elements disagree with their lists")
	}
	buffers := []*memory.Buffer{valid.buffer(), memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offsets))}
	if c.kind == listColumn {
		data := array.NewData(c.field.Type, valid.count, buffers, children, valid.nulls, 0)
		defer data.Release()
		return array.NewListData(data), nil
	}
	mapType, ok := c.field.Type.(*arrow.MapType)
	if !ok {
		return nil, errType
	}
	pairs := array.NewData(mapType.Elem(), int(elements), []*memory.Buffer{nil}, children, 0, 0)
	defer pairs.Release()
	data := array.NewData(c.field.Type, valid.count, buffers, []arrow.ArrayData{pairs}, valid.nulls, 0)
	defer data.Release()
	return array.NewMapData(data), nil
}
