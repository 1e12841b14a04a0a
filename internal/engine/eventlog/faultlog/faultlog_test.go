package faultlog_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/eventlogtest"
	"dunlin/internal/engine/eventlog/faultlog"
	"dunlin/internal/engine/eventlog/memlog"
)

// TestSuite: without faults the wrapper changes nothing.
func TestSuite(t *testing.T) {
	eventlogtest.Run(t, func(*testing.T) eventlogtest.Engine {
		s := memlog.NewStore(4)
		return eventlogtest.Engine{
			Open: func(*testing.T) eventlog.Log {
				return faultlog.Wrap(s.Open(memlog.Config{}), func(int, int, int) faultlog.Verdict { return faultlog.Verdict{} })
			},
			Stall: func(_ *testing.T, l eventlog.Log) func() {
				m := l.(*faultlog.Log).Log.(*memlog.Log)
				m.Stall(true)
				return func() { m.Stall(false) }
			},
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		l := faultlog.Wrap(memlog.New(memlog.Config{}), func(number, _, _ int) faultlog.Verdict {
			switch number {
			case 1:
				return faultlog.Verdict{Delay: time.Minute}
			case 2:
				return faultlog.Verdict{Err: broken}
			case 3:
				return faultlog.Verdict{Stall: true}
			}
			return faultlog.Verdict{}
		})
		w := eventlogtest.NewWaiter()
		p := l.Producer(0, w)
		expect := func(settled, failed int) {
			t.Helper()
			synctest.Wait()
			if s, f, err := w.Settled(); s != settled || f != failed || failed > 0 && !errors.Is(err, broken) {
				t.Fatalf("%d settled, %d failed (%v); want %d, %d", s, f, err, settled, failed)
			}
		}
		add := func() {
			p.Append(1, [][]byte{{1}})
			synctest.Wait()
		}
		add()
		expect(1, 0)
		add()
		time.Sleep(59 * time.Second)
		expect(1, 0)
		time.Sleep(2 * time.Second)
		expect(2, 0)
		add()
		expect(3, 1)
		add()
		add()
		time.Sleep(time.Hour)
		expect(3, 1)
		l.Resume()
		expect(5, 1)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
