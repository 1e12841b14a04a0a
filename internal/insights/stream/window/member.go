package window

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"

	"dunlin/internal/lang/asa"
)

// member is one window of a set of fixed ones. Its time is cut into slices at
// the beginnings and ends of its windows.
type member struct {
	sink              *sink
	size, hop, offset int64
	rest              int64 // size mod hop: when it is not 0 there are two slices for each hop
	slices            int64 // of a window
	tumbling          bool
	last              int64 // end of the window that was emitted last
	cur               *pane // the slice that is filled; nil: none
	curEnd            int64
	slots             slotter   // of cur
	levels            [][]block // level k: blocks of 2^k slices, in order
	held              int64     // bytes of the blocks
}

// block is the merged groups of 2^k slices from index << k on.
type block struct {
	index int64
	pane  *pane // nil: there are none
	owner bool  // else the pane belongs to a block of a lower level
	bytes int64
}

func newMember(w *asa.Window, s *sink) (*member, error) {
	m := &member{sink: s, size: w.Size.Ticks(), hop: w.Hop.Ticks(), last: -1 << 62}
	if w.Kind == asa.TumblingWindow {
		m.hop, m.tumbling = m.size, true
	}
	if m.size <= 0 || m.hop <= 0 {
		return nil, fmt.Errorf("window: the size and the hop of a window must be above 0")
	}
	if w.Offset != nil {
		m.offset = w.Offset.Ticks() % m.hop
	}
	m.rest = m.size % m.hop
	if m.slices = m.size / m.hop; m.rest != 0 {
		m.slices = 2*m.slices + 1
	}
	levels := 1
	if s.plan.light {
		levels = bits.Len64(uint64(m.slices))
	}
	m.levels = make([][]block, levels)
	return m, nil
}

// floorDiv rounds down, for b > 0.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// ceilTo is the first k*step + offset that is not before t.
func ceilTo(t, step, offset int64) int64 {
	return -floorDiv(-(t-offset), step)*step + offset
}

// windowEnd is the end of the first window that may hold t.
func (m *member) windowEnd(t int64) int64 { return ceilTo(t, m.hop, m.offset) }

// sliceEnd is the end of the slice that holds t.
func (m *member) sliceEnd(t int64) int64 {
	end := m.windowEnd(t)
	if m.rest != 0 {
		end = min(end, ceilTo(t, m.hop, m.offset-m.rest))
	}
	return end
}

// index numbers the slices by their ends.
func (m *member) index(end int64) int64 {
	if m.rest == 0 {
		return floorDiv(end-m.offset, m.hop)
	}
	k := -floorDiv(-(end - m.offset), m.hop)
	if m.offset+k*m.hop == end {
		return 2*k + 1
	}
	return 2 * k
}

// covers reports whether a slice is in any window: with a hop that is longer
// than the size there are gaps.
func (m *member) covers(end int64) bool { return m.windowEnd(end)-m.size < end }

// seal makes a block of the slice that was filled.
func (m *member) seal() {
	b := block{index: m.index(m.curEnd), pane: m.cur, owner: true, bytes: m.cur.bytes()}
	m.held += b.bytes
	m.levels[0] = append(m.levels[0], b)
	m.cur = nil
}

// next is the end of the next window that has rows.
func (m *member) next() (end int64, ok bool) {
	switch {
	case len(m.levels[0]) > 0:
		// The end of the first slice is in the first window that has it.
		end = m.endOf(m.levels[0][0].index)
	case m.cur != nil:
		end = m.curEnd
	default:
		return 0, false
	}
	return max(m.windowEnd(end), m.last+m.hop), true
}

// endOf is the end of the slice of that index.
func (m *member) endOf(index int64) int64 {
	if m.rest == 0 {
		return index*m.hop + m.offset
	}
	if index&1 != 0 {
		return (index-1)/2*m.hop + m.offset
	}
	return index/2*m.hop + m.offset - m.rest
}

// parts gives few panes that make up the slices [from, to), in order.
func (e *panes) parts(m *member, from, to int64) ([]*pane, error) {
	var list []*pane
	if len(m.levels) == 1 {
		level := m.levels[0]
		for i := find(level, from); i < len(level) && level[i].index < to; i++ {
			list = append(list, level[i].pane)
		}
		return list, nil
	}
	for from < to {
		k := min(bits.Len64(uint64(to-from))-1, len(m.levels)-1, bits.TrailingZeros64(uint64(from)))
		p, err := e.block(m, k, from>>k)
		if err != nil {
			return nil, err
		}
		if p != nil {
			list = append(list, p)
		}
		from += 1 << k
	}
	return list, nil
}

// find gives the place of the first block that does not come before index.
func find(level []block, index int64) int {
	return sort.Search(len(level), func(i int) bool { return level[i].index >= index })
}

// block gives the groups of a block, which is made when it is not there yet;
// nil when there are none.
func (e *panes) block(m *member, k int, index int64) (*pane, error) {
	at := find(m.levels[k], index)
	if at < len(m.levels[k]) && m.levels[k][at].index == index {
		return m.levels[k][at].pane, nil
	}
	if k == 0 {
		return nil, nil
	}
	b := block{index: index}
	if first := find(m.levels[0], index<<k); first < len(m.levels[0]) && m.levels[0][first].index < (index+1)<<k {
		x, err := e.block(m, k-1, 2*index)
		if err != nil {
			return nil, err
		}
		y, err := e.block(m, k-1, 2*index+1)
		if err != nil {
			return nil, err
		}
		switch {
		case x == nil:
			b.pane = y
		case y == nil:
			b.pane = x
		default:
			b.pane, b.owner = e.pane(), true
			if err := e.merges.merge(b.pane, x); err != nil {
				return nil, err
			}
			if err := e.merges.merge(b.pane, y); err != nil {
				return nil, err
			}
			b.bytes = b.pane.bytes()
			m.held += b.bytes
		}
	}
	m.levels[k] = slices.Insert(m.levels[k], at, b)
	return b.pane, nil
}

// evict drops the blocks that begin before a slice: no window begins with them
// any more.
func (e *panes) evict(m *member, first int64) {
	for k, level := range m.levels {
		n := 0
		for n < len(level) && level[n].index<<k < first {
			m.held -= level[n].bytes
			if level[n].owner {
				e.release(level[n].pane)
			}
			n++
		}
		if n > 0 {
			m.levels[k] = slices.Delete(level, 0, n)
		}
	}
}
