package parquet

import (
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	pq "github.com/parquet-go/parquet-go"

	"github.com/inflowhq/inflow/schemas"
)

// entry is one place of a column, as its Parquet levels tell it: rep says which list it continues, def how much
// of the path to it is there. index is its value in the Arrow array, -1 where something above it is NULL or
// empty.
type entry struct {
	index    int32
	rep, def uint8
}

// shredder writes the values of arrays to the leaves' writers.
type shredder struct {
	values []pq.Value // scratch
}

// column writes one column. parents are the places that the column's parent gives it.
func (s *shredder) column(c *column, values arrow.Array, parents []entry) error {
	if c.kind == leafColumn {
		return s.leaf(c, values, parents)
	}
	switch c.kind {
	case structColumn:
		structure, ok := values.(*array.Struct)
		if !ok || structure.NumField() != len(c.children) {
			return fmt.Errorf("parquet: column %s: %w", c.path, errType)
		}
		if err := c.present(structure, parents); err != nil {
			return err
		}
		for i, child := range c.children {
			if err := s.column(child, structure.Field(i), c.entries); err != nil {
				return err
			}
		}
	case listColumn:
		list, ok := values.(*array.List)
		if !ok {
			return fmt.Errorf("parquet: column %s: %w", c.path, errType)
		}
		if err := c.elements(list, parents); err != nil {
			return err
		}
		return s.column(c.children[0], list.ListValues(), c.entries)
	case mapColumn:
		mapped, ok := values.(*array.Map)
		if !ok {
			return fmt.Errorf("parquet: column %s: %w", c.path, errType)
		}
		pairs, ok := mapped.ListValues().(*array.Struct)
		if !ok || pairs.NumField() != 2 {
			return fmt.Errorf("parquet: column %s: %w", c.path, errType)
		}
		if err := c.elements(mapped, parents); err != nil {
			return err
		}
		for i, child := range c.children {
			if err := s.column(child, pairs.Field(i), c.entries); err != nil {
				return err
			}
		}
	case leafColumn:
	}
	return nil
}

// present fills c.entries with the places of a struct's fields.
func (c *column) present(structure *array.Struct, parents []entry) error {
	c.entries = c.entries[:0]
	nulls := structure.NullN() > 0
	for _, at := range parents {
		if at.index >= 0 {
			switch {
			case nulls && structure.IsNull(int(at.index)):
				if !c.nullable {
					return c.required()
				}
				at.index = -1
			case c.nullable:
				at.def++
			}
		}
		c.entries = append(c.entries, at)
	}
	return nil
}

// elements fills c.entries with the places of a list's elements. NULL and empty lists have one place each, with
// nothing in it.
func (c *column) elements(list array.ListLike, parents []entry) error {
	c.entries = c.entries[:0]
	missing := int64(0)
	for _, at := range parents {
		if at.index < 0 {
			missing++
			c.entries = append(c.entries, at)
			continue
		}
		if list.IsNull(int(at.index)) {
			if !c.nullable {
				return c.required()
			}
			missing++
			c.entries = append(c.entries, entry{index: -1, rep: at.rep, def: at.def})
			continue
		}
		start, end := list.ValueOffsets(int(at.index))
		if start == end {
			c.entries = append(c.entries, entry{index: -1, rep: at.rep, def: uint8(c.def - 1)}) //nolint:gosec // levels stay below 2*maxDepth
			continue
		}
		next := entry{rep: at.rep, def: uint8(c.def)} //nolint:gosec // levels stay below 2*maxDepth
		for i := start; i < end; i++ {
			next.index = int32(i) //nolint:gosec // Arrow's own offsets are int32
			c.entries = append(c.entries, next)
			next.rep = uint8(c.rep) //nolint:gosec // levels stay below 2*maxDepth
		}
	}
	if c.stats != nil {
		c.stats.nulls += missing
	}
	return nil
}

func (c *column) required() error {
	return fmt.Errorf("parquet: column %s is required and has a NULL: %w", c.path, schemas.ErrInvalid)
}

// leaf hands values to the leaf's writer, whole rows at a time and about a page at once: the writer looks at
// its page size only between calls.
func (s *shredder) leaf(c *column, values arrow.Array, parents []entry) error {
	if def, ok := absent(values, parents); ok && c.nullable {
		return s.absent(c, def, len(parents))
	}
	get, err := c.leaf.values(values)
	if err != nil {
		return fmt.Errorf("parquet: column %s: %w", c.path, err)
	}
	if decimals, ok := values.(*array.Decimal128); ok {
		if err := fits(decimals, parents); err != nil {
			return fmt.Errorf("parquet: column %s: %w", c.path, err)
		}
	}
	if c.stats != nil {
		c.stats.observe(values, parents)
	}
	nulls, index, textual := values.NullN() > 0, c.leaf.index, isBytes(values)
	pending, size := s.values[:0], 0
	for _, at := range parents {
		if at.rep == 0 && (len(pending) >= maxPending || size >= pageBytes) {
			if _, err := c.leaf.writer.WriteRowValues(pending); err != nil {
				return fmt.Errorf("parquet: column %s: %w", c.path, err)
			}
			pending, size = pending[:0], 0
		}
		i, def := int(at.index), int(at.def)
		if i < 0 || nulls && values.IsNull(i) {
			if i >= 0 && !c.nullable {
				return c.required()
			}
			pending = append(pending, pq.NullValue().Level(int(at.rep), def, index))
			continue
		}
		value := get(i)
		if textual {
			size += len(value.ByteArray())
		}
		pending = append(pending, value.Level(int(at.rep), c.def, index))
	}
	if len(pending) > 0 {
		if _, err := c.leaf.writer.WriteRowValues(pending); err != nil {
			return fmt.Errorf("parquet: column %s: %w", c.path, err)
		}
	}
	s.values = pending
	return nil
}

// absent reports whether there is no value in all of the rows, and at which level all of them end. The columns that
// a table has for others are like that, for whole files.
func absent(values arrow.Array, parents []entry) (def uint8, ok bool) {
	if len(parents) == 0 {
		return 0, false
	}
	all := values.NullN() == values.Len()
	def = parents[0].def
	for _, at := range parents {
		if at.rep != 0 || at.def != def || at.index >= 0 && !all {
			return 0, false
		}
	}
	return def, true
}

// absent writes that many rows without a value.
func (*shredder) absent(c *column, def uint8, rows int) error {
	if c.stats != nil {
		c.stats.nulls += int64(rows)
	}
	nulls := c.leaf.nulls[def]
	if nulls == nil {
		nulls = slices.Repeat([]pq.Value{pq.NullValue().Level(0, int(def), c.leaf.index)}, maxPending)
		c.leaf.nulls[def] = nulls
	}
	for ; rows > 0; rows -= maxPending {
		if _, err := c.leaf.writer.WriteRowValues(nulls[:min(rows, maxPending)]); err != nil {
			return fmt.Errorf("parquet: column %s: %w", c.path, err)
		}
	}
	return nil
}

func isBytes(values arrow.Array) bool {
	id := values.DataType().ID()
	return id == arrow.STRING || id == arrow.BINARY
}

// fits refuses numbers with more digits than the column's type says: they would be cut off silently.
func fits(values *array.Decimal128, parents []entry) error {
	decimal, ok := values.DataType().(*arrow.Decimal128Type)
	if !ok {
		return errType
	}
	limit := decimal128.GetMaxValue(decimal.Precision)
	least := limit.Negate()
	for _, at := range parents {
		if at.index < 0 || values.IsNull(int(at.index)) {
			continue
		}
		if num := values.Value(int(at.index)); num.Greater(limit) || num.Less(least) {
			return fmt.Errorf("a number has more than %d digits: %w", decimal.Precision, schemas.ErrInvalid)
		}
	}
	return nil
}
