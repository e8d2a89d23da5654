// Package delta reads and writes Delta Lake tables on any store.Store.
//
// It owns the transaction log: what a version of a table holds, which features a table may use before a byte of
// its data is touched, and how a commit takes part in the protocol's optimistic concurrency. It also owns the
// two adapters that the engine runs on, Source and Sink, whose marks live in the table's own log.
//
// It refuses by name whatever it does not implement (DESIGN.md lists it), it never overwrites a log entry, and it
// never deletes a file that a commit may refer to. Log cleanup and VACUUM are not its matter.
package delta
