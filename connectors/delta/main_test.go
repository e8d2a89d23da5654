package delta

import (
	"context"
	"os"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/connectors/store"
	"github.com/inflowhq/inflow/connectors/store/storetest"
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
	goleak.VerifyTestMain(storetest.Buffers{M: m})
}
