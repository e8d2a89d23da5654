package storetest

import (
	"fmt"
	"os"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Buffers runs the tests of a package, and fails where an Arrow buffer of theirs was not released. It is given to
// goleak.VerifyTestMain, in the place of the M.
type Buffers struct{ *testing.M }

// Run implements goleak.TestingM.
func (b Buffers) Run() int {
	checked := memory.NewCheckedAllocator(memory.DefaultAllocator)
	memory.DefaultAllocator = checked
	code := b.M.Run()
	if code == 0 && checked.CurrentAlloc() != 0 {
		checked.AssertSize(stderr{}, 0)
		code = 1
	}
	return code
}

// stderr is where the allocator tells what leaked.
type stderr struct{}

func (stderr) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (stderr) Helper() {}
