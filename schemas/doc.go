// Package schemas owns the nouns of Inflow, the failure classes and the columns of every table it writes.
//
// It performs no I/O, keeps no state and imports nothing but the standard library and Arrow types, so that
// every other package can speak through it. Anything that calls, decides or waits belongs one floor up.
package schemas
