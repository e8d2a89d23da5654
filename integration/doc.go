// Package integration holds what only the built binary and real peers can show: other writers' and readers'
// view of the tables, real models, kills, faults, two runs at once. Its tests need the build tag integration; nothing
// imports it.
package integration
