package memlog_test

import (
	"testing"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/eventlogtest"
	"dunlin/internal/engine/eventlog/memlog"
)

func TestSuite(t *testing.T) {
	eventlogtest.Run(t, func(*testing.T) eventlogtest.Engine {
		s := memlog.NewStore(4)
		return eventlogtest.Engine{
			Open: func(*testing.T) eventlog.Log { return s.Open(memlog.Config{}) },
			Stall: func(_ *testing.T, l eventlog.Log) func() {
				l.(*memlog.Log).Stall(true)
				return func() { l.(*memlog.Log).Stall(false) }
			},
		}
	})
}
