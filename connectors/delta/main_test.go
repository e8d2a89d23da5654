package delta

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/connectors/store"
)

// racerArgument makes the test binary one of the writers of TestProcessesRace: "racer FOLDER NUMBER".
const racerArgument = "racer"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == racerArgument {
		number, err := strconv.Atoi(os.Args[3])
		if err == nil {
			err = appendMany(context.Background(), store.NewLocal(os.Args[2]), number, racerCommits)
		}
		if err != nil {
			panic(err)
		}
		return
	}
	// Most of the time would go into fsync. What it is worth is the matter of the store's own tests.
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if err := os.Setenv("TMPDIR", "/dev/shm"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(bufferLeaks{m})
}

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

// stderr is where the allocator tells what leaked.
type stderr struct{}

func (stderr) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (stderr) Helper() {}
