// Package document reads a YAML file that a person wrote, strictly, against a JSON Schema, and reports every
// fault at once: where it stands, what is wrong, and how to mend it.
//
// The schema is the one statement of what a file may hold. Editors complete and check from the same bytes,
// so the phrases of a fault come from its annotations: "title" names what is expected, "examples" holds one
// that works, and "writeOnly" marks a value that is never shown.
//
// It refuses what makes a file mean something other than what it shows: duplicate keys, anchors, aliases and
// merges, custom tags, a second document. It does not know what any key means.
package document
