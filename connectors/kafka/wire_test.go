package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/inflowhq/inflow/schemas"
)

// packed makes a batch as it stands on the wire.
func packed(base int64, offsets, count int32, attributes int16, producer int64, records []byte) []byte {
	batch := kmsg.RecordBatch{
		FirstOffset: base, PartitionLeaderEpoch: -1, Magic: 2, Attributes: attributes, LastOffsetDelta: offsets - 1,
		ProducerID: producer, NumRecords: count, Records: records, Length: int32(49 + len(records)), FirstTimestamp: 1000, MaxTimestamp: 2000,
	}
	out := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	return out
}

// packedRecord makes a record of a delta and a value.
func packedRecord(delta int64, value string) []byte {
	body := []byte{0}
	body = binary.AppendVarint(body, 5) // timestamp
	body = binary.AppendVarint(body, delta)
	body = binary.AppendVarint(body, -1) // no key
	body = binary.AppendVarint(body, int64(len(value)))
	body = append(body, value...)
	body = binary.AppendVarint(body, 0) // headers
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

func TestABatchOfWhichNothingIsLeftIsPassed(t *testing.T) {
	t.Parallel()
	data := slices.Concat(packed(10, 5, 0, 0, -1, nil), packed(15, 3, 1, 0, -1, packedRecord(1, "v")), packed(18, 2, 0, 0, -1, nil)[:40])
	next, err := nextOffset(data, 12)
	if err != nil || next != 18 { // the cut one does not count
		t.Errorf("%d, %v", next, err)
	}
	data[len(data)-45] ^= 1 // of the record
	if _, err = nextOffset(data, 12); err == nil {
		t.Error("a wrong checksum was not seen")
	}
}

func TestLogAppendTime(t *testing.T) {
	t.Parallel()
	for attributes, want := range map[int16]int64{0: 1005, attributeLogAppendTime: 2000} {
		b, _, ok, err := nextBatch(packed(0, 1, 1, attributes, -1, packedRecord(0, "v")))
		if !ok || err != nil {
			t.Fatal(err)
		}
		u, r := unpacker{limit: 100}, record{}
		if err := u.open(&b); err != nil {
			t.Fatal(err)
		}
		if err := u.next(&b, &r); err != nil || r.timestamp != want || string(r.value) != "v" {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestDeadTransactions(t *testing.T) {
	t.Parallel()
	const tx, marker = attributeTransactional, attributeTransactional | attributeControl
	d := deadTransactions{aborted: []aborted{{1, 10}, {2, 14}, {1, 20}}}
	steps := []struct {
		base, producer int64
		attributes     int16
		keeps          bool
	}{
		{8, 1, tx, true},       // an earlier transaction, whose end is not in sight
		{10, 1, tx, false},     // the first one
		{11, 2, tx, true},      // not yet
		{12, 1, 0, true},       // not in the transaction
		{14, 2, tx, false},     //
		{15, 1, marker, false}, // ends the first
		{16, 1, tx, true},      // one that was committed
		{17, 1, marker, false}, //
		{20, 1, tx, false},     // again
		{21, 2, tx, false},     // still
		{22, 3, tx, true},      // another's
	}
	for _, step := range steps {
		b := batch{base: step.base, last: step.base, producer: step.producer, attributes: step.attributes}
		if got := d.keeps(&b, true); got != step.keeps {
			t.Errorf("the batch at %d: %v", step.base, got)
		}
	}
}

func TestHostileSizes(t *testing.T) { //nolint:paralleltest // it counts what is allocated
	zeros := make([]byte, 64<<20)
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = encoder.Close() }()
	bomb := encoder.EncodeAll(append(binary.AppendVarint(nil, 1<<30), zeros...), nil)
	snappy := s2.EncodeSnappy(nil, zeros)
	framed := append([]byte(xerialMagic+"\x00\x00\x00\x01\x00\x00\x00\x01"), 0xff, 0xff, 0xff, 0xff)
	for name, data := range map[string][]byte{
		"zstd":         packed(0, 1, 1, codecZstd, -1, bomb),
		"snappy":       packed(0, 1, 1, codecSnappy, -1, snappy),
		"snappy frame": packed(0, 1, 1, codecSnappy, -1, framed),
		"record":       packed(0, 1, 1, 0, -1, binary.AppendVarint(nil, 1<<40)),
		"count":        packed(0, 1, 1<<30, 0, -1, nil),
		"codec":        packed(0, 1, 1, 7, -1, []byte{1}),
	} {
		// Each asks for more than the limit; nothing of that size is made on its word.
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, err := drain(data, 1<<20)
		runtime.ReadMemStats(&after)
		if made := after.TotalAlloc - before.TotalAlloc; err == nil || made > 32<<20 {
			t.Errorf("%s: %d records, %v, %d bytes allocated", name, n, err, made)
		}
	}
}

// drain reads all records of all batches.
func drain(data []byte, limit int) (int, error) {
	u := unpacker{limit: limit}
	defer u.close()
	n := 0
	for {
		b, rest, ok, err := nextBatch(data)
		if err != nil || !ok {
			return n, err
		}
		data = rest
		if err := u.open(&b); err != nil {
			return n, err
		}
		var r record
		for range b.count {
			if err := u.next(&b, &r); err != nil {
				return n, err
			}
			if _, err := parseHeaders(r.headers, nil); err != nil {
				return n, err
			}
			n++
		}
	}
}

func FuzzBatches(f *testing.F) {
	records := append(packedRecord(0, "a"), packedRecord(1, strings.Repeat("b", 300))...)
	f.Add(records, int16(0))
	f.Add(s2.EncodeSnappy(nil, records), int16(codecSnappy))
	encoder, _ := zstd.NewWriter(nil)
	f.Add(encoder.EncodeAll(records, nil), int16(codecZstd))
	f.Add([]byte(xerialMagic+"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00"), int16(codecSnappy))
	f.Add(records, int16(codecGzip))
	f.Add(records, int16(codecLZ4))
	f.Fuzz(func(_ *testing.T, records []byte, attributes int16) {
		_, _ = drain(packed(0, 2, 2, attributes, 1, records), 1<<16)
	})
}

func FuzzFetchResponse(f *testing.F) {
	response := kmsg.NewPtrFetchResponse()
	response.Version = 11
	topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
	partition.AbortedTransactions = append(partition.AbortedTransactions, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: 7, FirstOffset: 9})
	partition.RecordBatches = packed(0, 1, 1, 0, -1, packedRecord(0, "v"))
	partition.HighWatermark, partition.LastStableOffset = 5, 4
	topic.Topic, topic.Partitions = "in", append(topic.Partitions, partition)
	response.Topics = append(response.Topics, topic)
	good := response.AppendTo(nil)
	out, err := parseFetch(good, 11)
	if err != nil || out.high != 5 || out.stable != 4 || !slices.Equal(out.aborted, []aborted{{7, 9}}) || !bytes.Equal(out.records, partition.RecordBatches) {
		f.Fatalf("%+v, %v", out, err)
	}
	f.Add(good, uint8(11))
	f.Fuzz(func(_ *testing.T, data []byte, version uint8) {
		out, err := parseFetch(data, int16(4+version%8))
		if err == nil {
			_, _ = nextOffset(out.records, 0)
			_, _ = drain(out.records, 1<<16)
		}
	})
}

func FuzzSource(f *testing.F) {
	f.Add("in/3/77")
	f.Add("in//")
	f.Add("/1/2")
	f.Add("a/2147483648/1")
	f.Fuzz(func(t *testing.T, text string) {
		p, offset, ok := parseSource(text)
		if ok && (p.id < 0 || offset < 0 || p.topic == "" || strings.Contains(p.topic, "/")) {
			t.Errorf("%q is %v at %d", text, p, offset)
		}
	})
}

func FuzzMarks(f *testing.F) {
	f.Add(`{"in/0":5}`)
	f.Add(`{} x`)
	f.Add("null")
	f.Fuzz(func(t *testing.T, text string) {
		marks, err := decodeMarks(text)
		if err != nil {
			return
		}
		again, err := encodeMarks(marks)
		if failed := schemas.ClassOf(err); err != nil && (failed != schemas.Fatal || len(text) <= maxMarkBytes/2) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil {
			return
		}
		if back, err := decodeMarks(again); err != nil || !maps.Equal(back, marks) {
			t.Errorf("%q came back as %q: %v", text, again, err)
		}
	})
}
