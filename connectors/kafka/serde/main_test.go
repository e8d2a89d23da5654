package serde

import (
	"fmt"
	"os"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(bufferLeaks{m}) }

// bufferLeaks runs the tests and fails where an Arrow buffer was not released.
type bufferLeaks struct{ *testing.M }

func (b bufferLeaks) Run() int {
	checked := memory.NewCheckedAllocator(memory.DefaultAllocator)
	memory.DefaultAllocator = checked
	code := b.M.Run()
	if code == 0 && checked.CurrentAlloc() != 0 {
		checked.AssertSize(stderr{}, 0)
		code = 1
	}
	return code
}

type stderr struct{}

func (stderr) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (stderr) Helper() {}
