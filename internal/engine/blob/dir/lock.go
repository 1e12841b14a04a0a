package dir

import (
	"sync"

	"dunlin/internal/engine/blob"
)

// locks let one writer at a time at a blob.
type locks struct {
	mu   sync.Mutex
	held map[blob.Ref]*lock
}

type lock struct {
	sync.Mutex
	users int
}

// lock waits for the blob and gives what lets it go.
func (l *locks) lock(ref blob.Ref) (unlock func()) {
	l.mu.Lock()
	k := l.held[ref]
	if k == nil {
		k = &lock{}
		l.held[ref] = k
	}
	k.users++
	l.mu.Unlock()
	k.Lock()
	return func() {
		k.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, ref)
		}
	}
}

// pins keep the content of blobs for those who read it: content that is to go
// goes with its last reader.
type pins struct {
	mu   sync.Mutex
	held map[string]*pin // by path
}

type pin struct {
	readers int
	doomed  bool
}

func (p *pins) add(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.held[path]
	if k == nil {
		k = &pin{}
		p.held[path] = k
	}
	k.readers++
}

// drop reports whether the content is to be removed now.
func (p *pins) drop(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.held[path]
	if k.readers--; k.readers > 0 {
		return false
	}
	delete(p.held, path)
	return k.doomed
}

// doom reports whether the content can be removed at once; else its last
// reader does it.
func (p *pins) doom(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.held[path]
	if k != nil {
		k.doomed = true
	}
	return k == nil
}
