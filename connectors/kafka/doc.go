// Package kafka reads topics into batches and writes records to topics.
//
// It owns the wire: connections, which broker leads what, fetching, producing, offsets and groups. What keys and values
// mean is the matter of package serde. Nothing is committed here but offsets: progress is in the sink's marks, and the
// offsets of a group are advice for those who look there.
//
// It refuses to skip: an offset that the log no longer has, or does not have yet, is an error unless data loss was
// accepted. See DESIGN.md.
package kafka
