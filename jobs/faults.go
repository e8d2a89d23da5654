package jobs

import "github.com/inflowhq/inflow/catalog/document"

// Fault is one thing wrong with a job file: where, what, and the mend.
type Fault = document.Fault

// Faults is everything wrong with a job file. As an error it is schemas.ErrInvalid.
type Faults = document.Faults //nolint:errname // the plural of Fault; the list is read, not only returned

// Fault builds a fault at the value at path, for checks that need more than the file: a column that the
// source lacks, a condition that does not compile. Steps of path are keys and the numbers of list items:
//
//	file.Fault("there is no column `tiket_id`", "did you mean `ticket_id`?", "request", "key", "0")
func (f *File) Fault(message, mend string, path ...string) Fault {
	if f.document == nil {
		return Fault{Message: message, Mend: mend}
	}
	return f.document.Fault(message, mend, path...)
}

// has reports whether the file says something at path.
func (f *File) has(path ...string) bool { return f.document != nil && f.document.Has(path...) }

// Position returns the line and column of the value at path, or of what would hold it; 0, 0 in a File that
// was not parsed.
func (f *File) Position(path ...string) (line, column int) {
	if f.document == nil {
		return 0, 0
	}
	return f.document.Position(path...)
}

// Join returns the faults as one *Faults about this file, nil where there are none.
func (f *File) Join(faults ...Fault) error { return document.Join(f.Path, faults...) }
