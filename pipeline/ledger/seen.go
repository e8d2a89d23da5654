package ledger

import (
	"encoding/binary"
	"sync/atomic"
)

// seenBits is the size of the filter: 8 MiB, which ten million answers fill to one false alarm in ten.
const seenBits = 1 << 26

// seen is a Bloom filter of the keys that were settled. A first run, which asks about every row of a table, looks
// nothing up that is not there. The keys are hashes already.
type seen struct{ words [seenBits / 64]atomic.Uint64 }

// bits calls do with the places that stand for key, until it returns false.
func (*seen) bits(key *Key, do func(word int, mask uint64) bool) bool {
	for i := range 4 {
		bit := binary.LittleEndian.Uint64(key[8*i:]) % seenBits
		if !do(int(bit/64), 1<<(bit%64)) {
			return false
		}
	}
	return true
}

func (s *seen) add(key *Key) {
	s.bits(key, func(word int, mask uint64) bool { s.words[word].Or(mask); return true })
}

// maybe reports whether key can have been added.
func (s *seen) maybe(key *Key) bool {
	return s.bits(key, func(word int, mask uint64) bool { return s.words[word].Load()&mask != 0 })
}
