package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxThriftDepth bounds nested values in a footer; Parquet's own need about six.
const maxThriftDepth = 32

// checkThrift walks a structure in Thrift's compact protocol and decodes nothing. It makes sure that no list
// says to be longer than the bytes that follow could hold: the decoder allocates by what a list says.
func checkThrift(data []byte) error {
	w := thriftWalk{data: data}
	return w.value(thriftStruct, 0)
}

// The compact protocol's types (Thrift, doc/specs/thrift-compact-protocol.md).
const (
	thriftStop   = 0
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

type thriftWalk struct {
	data []byte
	at   int
}

var errCut = errors.New("it is cut off")

func (w *thriftWalk) skip(count uint64) error {
	if count > uint64(len(w.data)-w.at) { //nolint:gosec // at never passes the end
		return errCut
	}
	w.at += int(count) //nolint:gosec // at most the data's length
	return nil
}

func (w *thriftWalk) byte() (byte, error) {
	if w.at == len(w.data) {
		return 0, errCut
	}
	w.at++
	return w.data[w.at-1], nil
}

func (w *thriftWalk) varint() (uint64, error) {
	value, size := binary.Uvarint(w.data[w.at:])
	if size <= 0 {
		return 0, errCut
	}
	w.at += size
	return value, nil
}

func (w *thriftWalk) value(kind byte, depth int) error {
	if depth > maxThriftDepth {
		return fmt.Errorf("values are nested deeper than %d levels", maxThriftDepth)
	}
	switch kind {
	case thriftTrue, thriftFalse, thriftByte:
		return w.skip(1)
	case thriftI16, thriftI32, thriftI64:
		_, err := w.varint()
		return err
	case thriftDouble:
		return w.skip(8)
	case thriftBinary:
		length, err := w.varint()
		if err != nil {
			return err
		}
		return w.skip(length)
	case thriftList, thriftSet:
		return w.list(depth)
	case thriftMap:
		return w.pairs(depth)
	case thriftStruct:
		return w.structure(depth)
	}
	return fmt.Errorf("type %d is not known", kind)
}

func (w *thriftWalk) structure(depth int) error {
	for {
		header, err := w.byte()
		if err != nil {
			return err
		}
		kind := header & 0x0f
		if kind == thriftStop {
			return nil
		}
		if header>>4 == 0 { // the field's number follows
			if _, err := w.varint(); err != nil {
				return err
			}
		}
		if kind == thriftTrue || kind == thriftFalse {
			continue // the type is the value
		}
		if err := w.value(kind, depth+1); err != nil {
			return err
		}
	}
}

func (w *thriftWalk) list(depth int) error {
	header, err := w.byte()
	if err != nil {
		return err
	}
	count := uint64(header >> 4)
	if count == 15 {
		if count, err = w.varint(); err != nil {
			return err
		}
	}
	return w.elements(count, depth, header&0x0f)
}

func (w *thriftWalk) pairs(depth int) error {
	count, err := w.varint()
	if err != nil || count == 0 {
		return err
	}
	kinds, err := w.byte()
	if err != nil {
		return err
	}
	return w.elements(count, depth, kinds>>4, kinds&0x0f)
}

func (w *thriftWalk) elements(count uint64, depth int, kinds ...byte) error {
	// The smallest element is one byte.
	if count > uint64(len(w.data)-w.at) { //nolint:gosec // at never passes the end
		return fmt.Errorf("a list at its byte %d says to have %d elements, more than follow", w.at, count)
	}
	for range count {
		for _, kind := range kinds {
			if err := w.value(kind, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}
