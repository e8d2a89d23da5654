package serde

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/inflowhq/inflow/connectors/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(storetest.Buffers{M: m}) }
