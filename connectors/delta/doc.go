// Package delta reads and writes Delta Lake tables on any store.Store.
//
// It owns the transaction log: what a version of a table holds, which features a table may use before a byte of
// its data is touched, and how a commit takes part in the protocol's optimistic concurrency. It also owns the
// two adapters that the engine runs on, Source and Sink, whose marks live in the table's own log.
//
// To read: Open, Table.Snapshot, Snapshot.Scan; Table.History and Table.Changes show the commits. To write: Begin or
// Table.Append, Append.Write, Append.SetTxn, Append.Commit; Create makes an empty table. To follow a table, its rows or
// its changes, and to write one exactly once, with marks: NewSource and NewSink; Epochs tells from the log how such a
// sink is doing. Records are Arrow's and reference-counted: what is yielded is the receiver's to release, what is passed
// in is not retained.
//
// An absent table is fs.ErrNotExist; a feature that is not implemented an UnsupportedError that names it; a commit
// that changed what a transaction was planned on a ConflictError; lost progress schemas.ErrFenced; a commit whose
// outcome is not known of class schemas.Ambiguous.
//
// It refuses by name whatever it does not implement (DESIGN.md lists it), it never overwrites a log entry, and it
// never deletes a file that a commit may refer to. Log cleanup and VACUUM are not its matter.
package delta
