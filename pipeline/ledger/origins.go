package ledger

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/inflowhq/inflow/schemas"
)

// originBytes is the length of an origin's hash.
const originBytes = 8

// origin is one that this process has met.
type origin struct {
	shared  *schemas.Origin
	id      []byte      // its hash, which stands for it in records
	data    []byte      // CBOR
	durable atomic.Bool // until it is, every record that names it carries it
}

// origins are few: one a run and destination.
type origins struct {
	mu   sync.Mutex
	met  map[*schemas.Origin]*origin
	byID map[string]*origin
}

// origin returns what is known of an origin.
func (l *Ledger) origin(shared *schemas.Origin) (*origin, error) {
	l.origins.mu.Lock()
	defer l.origins.mu.Unlock()
	if met, ok := l.origins.met[shared]; ok {
		return met, nil
	}
	data, err := l.encoding.Marshal(shared)
	if err != nil {
		return nil, fmt.Errorf("ledger: encode an origin: %w", err)
	}
	sum := sha256.Sum256(data)
	met := &origin{shared: shared, id: sum[:originBytes], data: data}
	l.origins.keep(met)
	return met, nil
}

// originOf returns the origin that a record names.
func (l *Ledger) originOf(id []byte) (*schemas.Origin, error) {
	l.origins.mu.Lock()
	defer l.origins.mu.Unlock()
	if met, ok := l.origins.byID[string(id)]; ok {
		return met.shared, nil
	}
	data, closer, err := l.db.Get(originKey(id))
	if err != nil {
		return nil, fmt.Errorf("ledger: read an origin: %w", err)
	}
	met := &origin{shared: new(schemas.Origin), id: id}
	met.durable.Store(true)
	if err := errors.Join(l.decoding.Unmarshal(data, met.shared), closer.Close()); err != nil {
		return nil, fmt.Errorf("ledger: read an origin: %w", err)
	}
	l.origins.keep(met)
	return met.shared, nil
}

func (o *origins) keep(met *origin) {
	if o.met == nil {
		o.met, o.byID = map[*schemas.Origin]*origin{}, map[string]*origin{}
	}
	o.met[met.shared] = met
	if _, ok := o.byID[string(met.id)]; !ok {
		o.byID[string(met.id)] = met
	}
}

func originKey(id []byte) []byte { return append([]byte("o/"), id...) }
