package hub_test

import (
	"os"
	"testing"

	"dunlin/internal/engine/state/statetest"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }
