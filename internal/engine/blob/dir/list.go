package dir

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"log/slog"
	"slices"
	"strings"

	"dunlin/internal/engine/blob"
)

// List implements blob.Reader. It reads the directories that the page needs,
// and each of them whole: a page of a container with a million names directly
// below one prefix costs as much as reading a million entries.
func (s *Store) List(ctx context.Context, container string, o blob.ListOptions) (blob.Page, error) {
	if err := s.hasContainer(container); err != nil {
		return blob.Page{}, err
	}
	w := &walk{s: s, ctx: ctx, prefix: o.Prefix, after: o.After}
	if group := w.group(o.After, o.Delimiter); group != "" && group == o.After {
		w.skip = group
	}
	var p blob.Page
	for f := range w.below(blobsDir+container+"/", "") {
		group := w.group(f.key, o.Delimiter)
		if w.skip != "" && strings.HasPrefix(f.key, w.skip) {
			continue
		}
		e := blob.Entry{Name: group, IsPrefix: true}
		if group == "" {
			m, err := s.readMeta(f.file)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue // deleted meanwhile
			case errors.Is(err, blob.ErrDamaged), err == nil && m.Name != f.key:
				s.cfg.Logger.Warn("a blob is left out of a list because its description is damaged", slog.String("file", s.path(f.file)))
				continue
			case err != nil:
				return blob.Page{}, s.failed(err)
			}
			e = blob.Entry{Name: f.key, Properties: m.properties()}
		} else {
			w.skip = group
		}
		if len(p.Entries) == max(1, o.Max) {
			p.Next = p.Entries[len(p.Entries)-1].Name
			break
		}
		p.Entries = append(p.Entries, e)
	}
	return p, s.failed(w.err)
}

// walk goes through the names of a container in order.
type walk struct {
	s      *Store
	ctx    context.Context //nolint:containedctx // lives as long as one list
	prefix string          // of all names that are wanted
	after  string          // the last name that is not wanted
	skip   string          // prefix of names that are not wanted any more
	err    error
}

// group gives what a delimiter makes of a name; empty when it stands alone.
func (w *walk) group(name, delimiter string) string {
	rest, ok := strings.CutPrefix(name, w.prefix)
	if delimiter == "" || !ok {
		return ""
	}
	head, _, ok := strings.Cut(rest, delimiter)
	if !ok {
		return ""
	}
	return w.prefix + head + delimiter
}

// wanted reports whether a blob, or one of those below, can be in the list.
func (w *walk) wanted(k *entry) bool {
	if w.skip != "" && strings.HasPrefix(k.key, w.skip) {
		return false
	}
	if k.mark == blobMark {
		return strings.HasPrefix(k.key, w.prefix) && k.key > w.after
	}
	if !strings.HasPrefix(k.key, w.prefix) && !strings.HasPrefix(w.prefix, k.key) {
		return false
	}
	return k.key > w.after || strings.HasPrefix(w.after, k.key)
}

// below gives the blobs in a directory of the names that begin with base; the
// files of the entries are whole paths.
func (w *walk) below(path, base string) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		if w.err = w.ctx.Err(); w.err != nil {
			return
		}
		list, err := w.s.entries(path)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				w.err = err
			}
			return
		}
		found := make([]entry, 0, len(list))
		for _, e := range list {
			if k, ok := parseEntry(e.Name(), base); ok && w.wanted(&k) {
				found = append(found, k)
			}
		}
		slices.SortFunc(found, func(a, b entry) int {
			if a.key != b.key {
				return strings.Compare(a.key, b.key)
			}
			return strings.Compare(a.mark, b.mark) // a blob before those below it
		})
		for i := 0; i < len(found); i++ {
			k := &found[i]
			if !w.wanted(k) {
				continue
			}
			file := path + k.file
			if k.mark == blobMark {
				if !yield(entry{k.mark, k.key, file}) {
					return
				}
				continue
			}
			names := w.below(file+"/", k.key)
			if k.mark == longMark && i+1 < len(found) && found[i+1].key == k.key+"/" {
				// A name that was cut just before a slash: what follows the
				// slash stands between what follows without one.
				i++
				names = merge(names, w.below(path+found[i].file+"/", found[i].key))
			}
			for n := range names {
				if !yield(n) {
					return
				}
			}
			if w.err != nil {
				return
			}
		}
	}
}

// merge puts two sequences in order together.
func merge(a, b iter.Seq[entry]) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		next, stop := iter.Pull(b)
		defer stop()
		other, more := next()
		for n := range a {
			for ; more && other.key < n.key; other, more = next() {
				if !yield(other) {
					return
				}
			}
			if !yield(n) {
				return
			}
		}
		for ; more; other, more = next() {
			if !yield(other) {
				return
			}
		}
	}
}
