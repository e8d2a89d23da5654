package kafka

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/segmentio/kafka-go/compress/lz4"

	"github.com/inflowhq/inflow/schemas"
)

// responseOverhead is more than what stands around the records of one partition in a fetch response, but for its list
// of aborted transactions.
const responseOverhead = 1 << 20

// tooLarge says that something does not fit into what was set as the limit of a record.
func tooLarge(size int64, limit int) error {
	return &schemas.Error{
		Op: "kafka: fetch", Class: schemas.Fatal, Code: codeTooLarge,
		Err:  fmt.Errorf("a record or a batch of %d bytes is larger than the %d that are allowed", size, limit),
		Mend: "raise kafka.max_record_bytes",
	}
}

// fetched is the answer about one partition.
type fetched struct {
	throttled bool
	code      int16
	high      int64 // the end of what is replicated
	stable    int64 // the end of what is decided
	aborted   []aborted
	records   []byte
}

// aborted is a transaction that came to nothing: the producer's records from offset on, to its next marker.
type aborted struct{ producer, offset int64 }

// cursor reads the protocol's primitives. After the first one that is not there, bad is set and everything is zero.
type cursor struct {
	data []byte
	bad  bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.data) {
		c.bad, c.data = true, nil
		return nil
	}
	out := c.data[:n]
	c.data = c.data[n:]
	return out
}

func (c *cursor) int16() int16 {
	if b := c.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b)) //nolint:gosec // as it is on the wire
	}
	return 0
}

func (c *cursor) int32() int32 {
	if b := c.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b)) //nolint:gosec // as it is on the wire
	}
	return 0
}

func (c *cursor) int64() int64 {
	if b := c.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // as it is on the wire
	}
	return 0
}

// varint reads the zigzag number of records.
func (c *cursor) varint() int64 {
	if len(c.data) > 0 && c.data[0] < 0x80 { // most are of one byte
		b := c.data[0]
		c.data = c.data[1:]
		return int64(b>>1) ^ -int64(b&1)
	}
	v, n := binary.Varint(c.data)
	if n <= 0 {
		c.bad, c.data = true, nil
		return 0
	}
	c.data = c.data[n:]
	return v
}

// bytes reads a length and as many bytes; nil where the length says that there is no value.
func (c *cursor) bytes() []byte {
	n := c.varint()
	if n < 0 {
		return nil
	}
	if n > int64(len(c.data)) {
		c.bad, c.data = true, nil
		return nil
	}
	out := c.data[:n:n]
	c.data = c.data[n:]
	return out
}

// parseFetch reads a response of Fetch, version 4 to 11, about one partition. It copies nothing.
func parseFetch(data []byte, version int16) (*fetched, error) {
	c := cursor{data: data}
	out := &fetched{}
	out.throttled = c.int32() > 0
	if version >= 7 {
		out.code = c.int16()
		c.int32() // session
	}
	topics := c.int32()
	if out.code != 0 && topics == 0 && !c.bad {
		return out, nil
	}
	if topics != 1 {
		return nil, fmt.Errorf("%w: %d topics in the answer about one", errFormat, topics)
	}
	c.take(int(c.int16()))
	if n := c.int32(); n != 1 {
		return nil, fmt.Errorf("%w: %d partitions in the answer about one", errFormat, n)
	}
	c.int32() // partition
	if code := c.int16(); code != 0 {
		out.code = code
	}
	out.high, out.stable = c.int64(), c.int64()
	if version >= 5 {
		c.int64() // start of the log
	}
	n := int(c.int32())
	if n > len(c.data)/16 {
		return nil, fmt.Errorf("%w: %d aborted transactions", errFormat, n)
	}
	for range max(n, 0) {
		out.aborted = append(out.aborted, aborted{producer: c.int64(), offset: c.int64()})
	}
	if version >= 11 {
		c.int32() // preferred replica
	}
	if n := int(c.int32()); n > 0 {
		out.records = c.take(n)
	}
	if c.bad {
		return nil, fmt.Errorf("%w: cut", errFormat)
	}
	slices.SortFunc(out.aborted, func(a, b aborted) int { return cmp.Compare(a.offset, b.offset) })
	return out, nil
}

// The layout of a record batch, magic 2.
const (
	batchPrefix = 12 // base offset and length
	batchHeader = 61
	crcFrom     = 21

	attributeCodec         = 0x07
	attributeLogAppendTime = 0x08
	attributeTransactional = 0x10
	attributeControl       = 0x20
)

// batch is one record batch. Its records may be fewer than its offsets.
type batch struct {
	base       int64
	last       int64 // the offset of its last record, also where that was compacted away
	attributes int16
	first, max int64 // timestamps
	producer   int64
	count      int32
	body       []byte
}

// nextBatch cuts the first batch off data. ok is false at the end, where the last batch may be cut.
func nextBatch(data []byte) (b batch, rest []byte, ok bool, err error) {
	if len(data) < batchPrefix+5 {
		return b, nil, false, nil
	}
	size := int(int32(binary.BigEndian.Uint32(data[8:]))) //nolint:gosec // as it is on the wire
	if magic := data[16]; magic != 2 {
		return b, nil, false, &schemas.Error{
			Op: "kafka: fetch", Class: schemas.Fatal, Code: codeOldFormat,
			Err:  fmt.Errorf("a message of format %d", magic),
			Mend: "rewrite the topic with producers and a log.message.format.version of Kafka 0.11 or later",
		}
	}
	if size < batchHeader-batchPrefix {
		return b, nil, false, fmt.Errorf("%w: a batch of %d bytes", errFormat, size)
	}
	if size > len(data)-batchPrefix {
		return b, nil, false, nil
	}
	c := cursor{data: data[:batchPrefix+size]}
	whole := c.data
	b.base = c.int64()
	c.take(9)                // length, leader epoch, magic
	crc := uint32(c.int32()) //nolint:gosec // as it is on the wire
	b.attributes = c.int16()
	delta := int64(c.int32())
	b.first, b.max = c.int64(), c.int64()
	b.producer = c.int64()
	c.take(6) // producer epoch, base sequence
	b.count = c.int32()
	b.body = c.data
	if delta < 0 || b.base < 0 || b.count < 0 || int64(b.count) > delta+1 {
		return b, nil, false, fmt.Errorf("%w: a batch of %d records and %d offsets", errFormat, b.count, delta+1)
	}
	b.last = b.base + delta
	if crc32.Checksum(whole[crcFrom:], crc32.MakeTable(crc32.Castagnoli)) != crc {
		return b, nil, false, fmt.Errorf("%w: the checksum of the batch at offset %d", errFormat, b.base)
	}
	return b, data[len(whole):], true, nil
}

// record is one of a batch. Its slices are good until the next one is read.
type record struct {
	offset    int64
	timestamp int64 // milliseconds
	key       []byte
	value     []byte
	headers   []byte // as they stand; parsed where somebody wants them
}

// header of a record.
type header struct {
	key   []byte
	value []byte
}

// parseHeaders appends the headers of a record to out.
func parseHeaders(data []byte, out []header) ([]header, error) {
	c := cursor{data: data}
	n := c.varint()
	if n < 0 || n > int64(len(c.data)/2) { // two lengths each
		return out, fmt.Errorf("%w: %d headers", errFormat, n)
	}
	for range n {
		out = append(out, header{key: c.bytes(), value: c.bytes()})
	}
	if c.bad {
		return out, fmt.Errorf("%w: headers", errFormat)
	}
	return out, nil
}

// unpacker reads the records of batches, one batch at a time. It keeps its buffers and decompressors from batch to
// batch and holds no more than one record and what its decompressor needs.
type unpacker struct {
	limit int // of a record

	source io.Reader // nil: everything is in window
	window []byte    // what was unpacked and not yet read
	store  []byte    // whose end window is

	packed gzipSource
	gzip   *gzip.Reader
	zstd   *zstd.Decoder
	lz4    io.ReadCloser
	block  []byte // of snappy
}

// gzipSource is a reader over bytes, by value.
type gzipSource struct{ data []byte }

func (g *gzipSource) Read(p []byte) (int, error) {
	if len(g.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.data)
	g.data = g.data[n:]
	return n, nil
}

func (g *gzipSource) ReadByte() (byte, error) {
	if len(g.data) == 0 {
		return 0, io.EOF
	}
	b := g.data[0]
	g.data = g.data[1:]
	return b, nil
}

// close frees the decompressors.
func (u *unpacker) close() {
	if u.zstd != nil {
		u.zstd.Close()
	}
	u.endBatch()
}

func (u *unpacker) endBatch() {
	if u.lz4 != nil {
		_ = u.lz4.Close() // it goes back to a pool
		u.lz4 = nil
	}
	u.source, u.window, u.packed.data = nil, nil, nil
	if cap(u.store) > 4<<20 {
		u.store = nil
	}
	if cap(u.block) > 4<<20 {
		u.block = nil
	}
}

// The codecs of batches, by number.
const (
	codecNone = iota
	codecGzip
	codecSnappy
	codecLZ4
	codecZstd
)

// open begins with the records of a batch.
func (u *unpacker) open(b *batch) error {
	u.endBatch()
	codec := b.attributes & attributeCodec
	if codec == codecNone {
		u.window = b.body
		return nil
	}
	u.packed.data = b.body
	var err error
	switch codec {
	case codecGzip:
		if u.gzip == nil {
			u.gzip = new(gzip.Reader)
		}
		err = u.gzip.Reset(&u.packed)
		u.source = u.gzip
	case codecSnappy:
		return u.snappy(b.body)
	case codecLZ4:
		u.lz4 = new(lz4.Codec).NewReader(&u.packed)
		u.source = u.lz4
	case codecZstd:
		if u.zstd == nil {
			u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(maxZstdWindow))
			if err != nil {
				return err
			}
		}
		err = u.zstd.Reset(&u.packed)
		u.source = u.zstd
	default:
		err = fmt.Errorf("codec %d", codec)
	}
	if err != nil {
		return fmt.Errorf("%w: the batch at offset %d: %w", errFormat, b.base, err)
	}
	return nil
}

// maxZstdWindow is what the format asks every decoder to support, and Kafka's own writer stays below.
const maxZstdWindow = 8 << 20

// xerialMagic begins the framing that Java's clients put around snappy.
const xerialMagic = "\x82SNAPPY\x00"

// snappy unpacks all blocks of a batch, each of which says how large it is before anything is allocated for it.
func (u *unpacker) snappy(data []byte) error {
	if len(data) < 16 || string(data[:8]) != xerialMagic {
		return u.snappyBlock(data)
	}
	c := cursor{data: data[16:]}
	for len(c.data) > 0 && !c.bad {
		if err := u.snappyBlock(c.take(int(c.int32()))); err != nil {
			return err
		}
	}
	if c.bad {
		return fmt.Errorf("%w: snappy blocks", errFormat)
	}
	return nil
}

func (u *unpacker) snappyBlock(data []byte) error {
	size, err := s2.DecodedLen(data)
	if err != nil {
		return fmt.Errorf("%w: snappy: %w", errFormat, err)
	}
	if len(u.block) == 0 || len(u.window) == 0 {
		u.block = u.block[:0]
	}
	if size > u.limit+responseOverhead-len(u.block) {
		return tooLarge(int64(size)+int64(len(u.block)), u.limit)
	}
	at := len(u.block)
	u.block = slices.Grow(u.block, size)[:at+size]
	if _, err := s2.Decode(u.block[at:], data); err != nil {
		return fmt.Errorf("%w: snappy: %w", errFormat, err)
	}
	u.window = u.block
	return nil
}

// need makes the next n bytes available in window, or fewer where there are no more.
func (u *unpacker) need(n int) error {
	for u.source != nil && len(u.window) < n {
		if cap(u.window) < max(n, 4<<10) { // the rest of the store is too small
			store := u.store[:cap(u.store)]
			if len(store) < max(2*n, 64<<10) {
				store = make([]byte, max(2*n, 64<<10))
			}
			u.window = store[:copy(store, u.window)]
			u.store = store
		}
		have := len(u.window)
		got, err := u.source.Read(u.window[have:cap(u.window)])
		u.window = u.window[:have+got]
		if errors.Is(err, io.EOF) {
			u.source = nil
		} else if err != nil {
			return fmt.Errorf("%w: %w", errFormat, err)
		}
	}
	return nil
}

// next reads the next record of b.
func (u *unpacker) next(b *batch, r *record) error {
	if err := u.need(binary.MaxVarintLen32); err != nil {
		return err
	}
	c := cursor{data: u.window}
	size := c.varint()
	if c.bad || size < 0 {
		return fmt.Errorf("%w: a record of the batch at offset %d", errFormat, b.base)
	}
	if size > int64(u.limit) {
		return tooLarge(size, u.limit)
	}
	u.window = c.data
	if err := u.need(int(size)); err != nil {
		return err
	}
	if len(u.window) < int(size) {
		return fmt.Errorf("%w: a record of the batch at offset %d is cut", errFormat, b.base)
	}
	c = cursor{data: u.window[:size]}
	u.window = u.window[size:]
	c.take(1) // attributes
	r.timestamp = b.first + c.varint()
	r.offset = b.base + c.varint()
	r.key = c.bytes()
	r.value = c.bytes()
	r.headers = c.data
	if c.bad || r.offset < b.base || r.offset > b.last {
		return fmt.Errorf("%w: a record of the batch at offset %d", errFormat, b.base)
	}
	if b.attributes&attributeLogAppendTime != 0 {
		r.timestamp = b.max
	}
	return nil
}
