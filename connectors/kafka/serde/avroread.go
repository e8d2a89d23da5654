package serde

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// avroOp is how a value stands in the data.
type avroOp uint8

const (
	avroNull avroOp = iota
	avroBoolean
	avroInt // 32 bits
	avroLong
	avroFloat
	avroDouble
	avroBytes // with their length before them
	avroFixed
	avroEnum
	avroArray
	avroMap
	avroRecord
	avroUnion
	avroFault // a branch that has no place in the columns
)

// avroForm is what becomes of it.
type avroForm uint8

const (
	formSame    avroForm = iota
	formFloat            // an integer
	formTime             // a number of some unit
	formText             // checked UTF-8
	formDecimal          // two's complement
	formUUID             // 16 bytes
	formThere            // true: a record without fields
	formFloat32          // an integer that becomes a float of 32 bits
)

// avroNode reads one value of the writer's schema, into the cell of the reader's or past it.
type avroNode struct {
	op   avroOp
	form avroForm
	// member is where the value stands in the struct of a reader's union of so many members; of 0 members it is the value.
	member, members  int
	size             int       // of a fixed
	multiply, divide int64     // into the reader's unit of time
	precision        int32     // of a decimal
	symbols          [][]byte  // of an enum, by the writer's number; nil: the reader has no such
	item             *avroNode // of an array, or a map's values
	steps            []avroStep
	columns          int // of a record
	defaults         []avroDefault
	branches         []*avroNode
	fault            error
}

// avroStep is a field, in the writer's order.
type avroStep struct {
	node   *avroNode
	column int // -1: the reader has no such
	name   string
}

// avroDefault is what a field holds that the writer has not.
type avroDefault struct {
	column int
	value  cell
	cost   int // in cells
}

// avroData is what is left of a record.
type avroData struct {
	data  []byte
	arena *arena
}

type truncatedError struct{}

func (truncatedError) Error() string { return "it ends too early" }

func (d *avroData) long() (int64, error) {
	if len(d.data) > 0 && d.data[0] < 0x80 {
		value := int64(d.data[0]>>1) ^ -int64(d.data[0]&1)
		d.data = d.data[1:]
		return value, nil
	}
	value, n := binary.Varint(d.data)
	if n <= 0 {
		if n == 0 {
			return 0, truncatedError{}
		}
		return 0, errors.New("a number has more than 64 bits")
	}
	d.data = d.data[n:]
	return value, nil
}

func (d *avroData) bytes(n int) ([]byte, error) {
	if n < 0 || n > len(d.data) {
		return nil, truncatedError{}
	}
	taken := d.data[:n:n]
	d.data = d.data[n:]
	return taken, nil
}

func (d *avroData) sized() ([]byte, error) {
	n, err := d.long()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > int64(len(d.data)) {
		return nil, truncatedError{}
	}
	return d.bytes(int(n))
}

// read reads a value into c; where that is nil, it only passes over it.
func (d *avroData) read(n *avroNode, c *cell, depth int) error {
	if depth > maxJSONDepth { // what is passed over may hold itself
		return errTooDeep()
	}
	if n.members > 0 && c != nil {
		cells, err := d.arena.take(n.members)
		if err != nil {
			return err
		}
		*c = cell{valid: true, cells: cells}
		c = &cells[n.member]
	}
	switch n.op {
	case avroNull:
		return nil
	case avroBoolean:
		b, err := d.bytes(1)
		if err != nil {
			return err
		}
		if b[0] > 1 {
			return errors.New("a boolean is neither true nor false")
		}
		if c != nil {
			*c = boolean(b[0] == 1)
		}
		return nil
	case avroInt, avroLong:
		return d.integer(n, c)
	case avroFloat:
		b, err := d.bytes(4)
		if err == nil && c != nil {
			*c = float(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		}
		return err
	case avroDouble:
		b, err := d.bytes(8)
		if err == nil && c != nil {
			*c = float(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
		return err
	case avroBytes:
		b, err := d.sized()
		if err != nil || c == nil {
			return err
		}
		return d.text(n, c, b)
	case avroFixed:
		b, err := d.bytes(n.size)
		if err != nil || c == nil {
			return err
		}
		return d.text(n, c, b)
	case avroEnum:
		return d.enum(n, c)
	case avroArray, avroMap:
		return d.blocks(n, c, depth)
	case avroRecord:
		return d.record(n, c, depth)
	case avroUnion:
		at, err := d.long()
		if err != nil {
			return err
		}
		if at < 0 || at >= int64(len(n.branches)) {
			return errors.New("a union has no such branch")
		}
		return d.read(n.branches[at], c, depth+1)
	case avroFault:
	}
	return n.fault
}

func (d *avroData) integer(n *avroNode, c *cell) error {
	value, err := d.long()
	if err != nil {
		return err
	}
	if n.op == avroInt && value != int64(int32(value)) { //nolint:gosec // the check
		return errors.New("a number has more than 32 bits")
	}
	if c == nil {
		return nil
	}
	switch n.form { //nolint:exhaustive // those of numbers
	case formFloat:
		*c = float(float64(value))
	case formFloat32:
		*c = float(float64(float32(value)))
	case formTime:
		if value, err = scaleTime(value, n.multiply, n.divide); err != nil {
			return err
		}
		*c = integer(value)
	default:
		*c = integer(value)
	}
	return nil
}

func (d *avroData) text(n *avroNode, c *cell, b []byte) error {
	switch n.form { //nolint:exhaustive // those of bytes
	case formText:
		if !utf8.Valid(b) {
			return errNotUTF8()
		}
	case formDecimal:
		value, err := decimalOfBytes(b, n.precision)
		*c = decimal(value)
		return err
	case formUUID:
		start := len(d.arena.text)
		d.arena.text = appendUUID(d.arena.text, b)
		b = d.arena.text[start:len(d.arena.text):len(d.arena.text)]
	}
	*c = text(b)
	return nil
}

func appendUUID(buf, b []byte) []byte {
	for i, part := range [][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
		if i > 0 {
			buf = append(buf, '-')
		}
		buf = hex.AppendEncode(buf, part)
	}
	return buf
}

func (d *avroData) enum(n *avroNode, c *cell) error {
	at, err := d.long()
	if err != nil {
		return err
	}
	if at < 0 || at >= int64(len(n.symbols)) {
		return errors.New("an enum has no such symbol")
	}
	if c == nil {
		return nil
	}
	if n.symbols[at] == nil {
		return errors.New("an enum's symbol is not among the reader's, which has no default")
	}
	*c = text(n.symbols[at])
	return nil
}

// blocks reads an array or a map. Every item is paid for: those without a byte could be any number.
func (d *avroData) blocks(n *avroNode, c *cell, depth int) error {
	var cells []cell
	for {
		count, err := d.long()
		if err != nil {
			return err
		}
		if count == 0 {
			break
		}
		if count < 0 { // the block's size follows, for those who pass over it
			count = -count
			if _, err := d.long(); err != nil {
				return err
			}
		}
		for ; count != 0; count-- {
			if cells, err = d.item(n, c != nil, cells, depth); err != nil {
				return err
			}
		}
	}
	if c == nil {
		return nil
	}
	if n.op == avroMap {
		cells = unique(cells)
	}
	*c = cell{valid: true, cells: cells}
	return nil
}

func (d *avroData) item(n *avroNode, kept bool, cells []cell, depth int) ([]cell, error) {
	if n.op == avroMap {
		key, err := d.sized()
		if err != nil {
			return nil, err
		}
		if kept {
			if !utf8.Valid(key) {
				return nil, errNotUTF8()
			}
			if cells, err = d.arena.push(cells); err != nil {
				return nil, err
			}
			cells[len(cells)-1] = text(key)
		}
	}
	if !kept {
		if err := d.arena.spend(1); err != nil {
			return nil, err
		}
		return nil, d.read(n.item, nil, depth+1)
	}
	cells, err := d.arena.push(cells)
	if err != nil {
		return nil, err
	}
	return cells, d.read(n.item, &cells[len(cells)-1], depth+1)
}

func (d *avroData) record(n *avroNode, c *cell, depth int) error {
	var cells []cell
	if c != nil {
		var err error
		if cells, err = d.arena.take(n.columns); err != nil {
			return err
		}
		*c = cell{valid: true, cells: cells}
		if n.form == formThere {
			*c = boolean(true)
		}
	}
	for i := range n.steps {
		step := &n.steps[i]
		var into *cell
		if step.column >= 0 && c != nil {
			into = &cells[step.column]
		}
		if err := d.read(step.node, into, depth+1); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if c == nil {
		return nil
	}
	for i := range n.defaults {
		each := &n.defaults[i]
		if err := d.arena.spend(each.cost); err != nil {
			return err
		}
		cells[each.column] = each.value
	}
	return nil
}
