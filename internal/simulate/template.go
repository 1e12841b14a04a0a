package simulate

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Template is a compiled payload text. Everything outside {{ }} is copied;
// inside stands one of
//
//	{{device}}              id of the device
//	{{seq}}                 number of the message, counting from 1 for each device
//	{{time}}                time of sending, RFC 3339 UTC with milliseconds
//	{{unixms}}              the same in milliseconds since 1970
//	{{walk MIN MAX STEP}}   random walk: each message moves by at most STEP and stays within MIN..MAX
//	{{uniform MIN MAX}}     independent random number
//	{{int MIN MAX}}         independent random whole number, both ends included
//	{{sine MIN MAX SECONDS}} sine wave with the given period, each device at its own phase
//	{{pick A B C ...}}      one of the words
//
// Numbers are printed with as many decimals as the most exact argument has:
// {{walk 18 26 0.05}} gives two. A Template is immutable and may be shared;
// what a device remembers between messages is in its Generator.
type Template struct {
	ops    []op
	states int
}

type opKind uint8

const (
	opText opKind = iota
	opDevice
	opSeq
	opTime
	opUnixMS
	opWalk
	opUniform
	opInt
	opSine
	opPick
)

type op struct {
	kind     opKind
	text     string
	words    []string
	a, b, c  float64
	decimals int
	state    int // index of this walk's or wave's memory in Generator.state
}

// field is one word that may stand in {{ }}.
type field struct {
	name    string
	kind    opKind
	numbers int // arguments, all numbers; -1: one or more words
	usage   string
}

var fields = []field{
	{"device", opDevice, 0, "{{device}}"},
	{"seq", opSeq, 0, "{{seq}}"},
	{"time", opTime, 0, "{{time}}"},
	{"unixms", opUnixMS, 0, "{{unixms}}"},
	{"walk", opWalk, 3, "{{walk MIN MAX STEP}}"},
	{"uniform", opUniform, 2, "{{uniform MIN MAX}}"},
	{"int", opInt, 2, "{{int MIN MAX}}"},
	{"sine", opSine, 3, "{{sine MIN MAX SECONDS}}"},
	{"pick", opPick, -1, "{{pick A B C}}"},
}

// ParseTemplate compiles text. Errors name the field and show how it is used.
func ParseTemplate(text string) (*Template, error) {
	t := &Template{}
	for text != "" {
		before, rest, found := strings.Cut(text, "{{")
		if before != "" {
			t.ops = append(t.ops, op{kind: opText, text: before})
		}
		if !found {
			break
		}
		inside, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return nil, fmt.Errorf("template: {{%s is not closed by }}", rest)
		}
		o, err := parseField(inside)
		if err != nil {
			return nil, fmt.Errorf("template: {{%s}}: %w", inside, err)
		}
		if o.kind == opWalk || o.kind == opSine {
			o.state = t.states
			t.states++
		}
		t.ops = append(t.ops, o)
		text = after
	}
	return t, nil
}

func parseField(inside string) (op, error) {
	words := strings.Fields(inside)
	if len(words) == 0 {
		return op{}, errors.New("empty field")
	}
	name, args := words[0], words[1:]
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		var known []string
		for _, f := range fields {
			known = append(known, f.usage)
		}
		return op{}, fmt.Errorf("unknown field %q; known are %s", name, strings.Join(known, " "))
	}
	f := fields[i]
	if f.numbers < 0 {
		if len(args) == 0 {
			return op{}, fmt.Errorf("needs at least one word: %s", f.usage)
		}
		return op{kind: f.kind, words: args}, nil
	}
	if len(args) != f.numbers {
		return op{}, fmt.Errorf("takes %d arguments: %s", f.numbers, f.usage)
	}
	o := op{kind: f.kind}
	for j, dst := range []*float64{&o.a, &o.b, &o.c}[:len(args)] {
		v, err := strconv.ParseFloat(args[j], 64)
		if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
			return op{}, fmt.Errorf("%q is not a number: %s", args[j], f.usage)
		}
		*dst = v
		if _, frac, ok := strings.Cut(args[j], "."); ok && f.kind != opInt && (f.kind != opSine || j < 2) {
			o.decimals = max(o.decimals, len(frac))
		}
	}
	switch {
	case len(args) >= 2 && o.a > o.b:
		return op{}, fmt.Errorf("MIN %v is above MAX %v", o.a, o.b)
	case f.kind == opWalk && o.c < 0:
		return op{}, errors.New("STEP is negative")
	case f.kind == opSine && o.c <= 0:
		return op{}, errors.New("SECONDS must be above 0")
	case f.kind == opInt && (o.a != math.Trunc(o.a) || o.b != math.Trunc(o.b) || o.b-o.a > 1<<52):
		return op{}, errors.New("MIN and MAX must be whole numbers")
	}
	return o, nil
}

// Generator renders a Template for one device. It is not safe for concurrent
// use.
type Generator struct {
	t      *Template
	device string
	rng    *rand.Rand
	state  []float64
}

// Generator makes the memory of one device. Equal seeds give equal payloads.
func (t *Template) Generator(device string, seed uint64) *Generator {
	g := &Generator{t: t, device: device, rng: rand.New(rand.NewPCG(seed, 0x64756e6c696e))}
	if t.states > 0 {
		g.state = make([]float64, t.states)
	}
	for i := range t.ops {
		switch o := &t.ops[i]; o.kind {
		case opWalk:
			g.state[o.state] = o.a + g.rng.Float64()*(o.b-o.a)
		case opSine:
			g.state[o.state] = g.rng.Float64() // phase, as a part of the period
		default: // remembers nothing
		}
	}
	return g
}

// Append renders message number seq, sent at now, onto dst.
func (g *Generator) Append(dst []byte, seq int64, now time.Time) []byte {
	for i := range g.t.ops {
		switch o := &g.t.ops[i]; o.kind {
		case opText:
			dst = append(dst, o.text...)
		case opDevice:
			dst = append(dst, g.device...)
		case opSeq:
			dst = strconv.AppendInt(dst, seq, 10)
		case opTime:
			dst = now.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
		case opUnixMS:
			dst = strconv.AppendInt(dst, now.UnixMilli(), 10)
		case opWalk:
			v := g.state[o.state] + (2*g.rng.Float64()-1)*o.c
			// Bounce off the ends instead of sticking to them.
			if v < o.a {
				v = min(2*o.a-v, o.b)
			} else if v > o.b {
				v = max(2*o.b-v, o.a)
			}
			g.state[o.state] = v
			dst = appendDecimal(dst, v, o.decimals)
		case opUniform:
			dst = appendDecimal(dst, o.a+g.rng.Float64()*(o.b-o.a), o.decimals)
		case opInt:
			dst = strconv.AppendInt(dst, int64(o.a)+g.rng.Int64N(int64(o.b-o.a)+1), 10)
		case opSine:
			turn := float64(now.UnixNano())/1e9/o.c + g.state[o.state]
			v := o.a + (o.b-o.a)*(1+math.Sin(2*math.Pi*turn))/2
			dst = appendDecimal(dst, v, o.decimals)
		case opPick:
			dst = append(dst, o.words[g.rng.IntN(len(o.words))]...)
		}
	}
	return dst
}

// appendDecimal prints v rounded; what rounds to nothing has no sign.
func appendDecimal(dst []byte, v float64, decimals int) []byte {
	at := len(dst)
	dst = strconv.AppendFloat(dst, v, 'f', decimals, 64)
	if v < 0 && len(bytes.Trim(dst[at:], "-0.")) == 0 {
		dst = append(dst[:at], dst[at+1:]...)
	}
	return dst
}
