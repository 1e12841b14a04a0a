package main

import (
	"math/bits"
	"time"
)

// histogram counts durations with an error of at most 3 %. One goroutine adds.
type histogram struct {
	buckets [32 * 40]int64
	n       int64
}

func (h *histogram) add(d time.Duration) {
	us := max(int64(d/time.Microsecond), 0)
	i := int(us)
	if us >= 32 {
		shift := bits.Len64(uint64(us)) - 6
		i = min(32*(shift+1)+int(us>>shift)-32, len(h.buckets)-1)
	}
	h.buckets[i]++
	h.n++
}

// quantile gives milliseconds.
func (h *histogram) quantile(q float64) float64 {
	rank := int64(q * float64(h.n))
	for i, c := range h.buckets {
		if rank -= c; rank < 0 {
			if i < 32 {
				return float64(i) / 1000
			}
			shift := i/32 - 1
			return float64((int64(i%32+32)<<shift)+(1<<shift)/2) / 1000
		}
	}
	return 0
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.buckets {
		h.buckets[i] += c
	}
	h.n += o.n
}
