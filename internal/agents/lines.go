package agents

import (
	"strings"
	"sync"
)

// Limits of what a program's output may put into the log. Ours.
const (
	// lineBytes is the longest line; the rest of a longer one is dropped.
	lineBytes = 2048
	// lineCount is how many lines of one run are taken.
	lineCount = 1000
)

// LineWriter hands what is written to it to Line, line by line: without the
// line end, control characters as blanks, lines of blanks left out. Safe for
// concurrent use; Line is called by one goroutine at a time.
type LineWriter struct {
	Line func(string)

	mu      sync.Mutex
	part    []byte
	long    bool
	lines   int
	dropped int
	closed  bool
}

// Write takes the bytes in. It never fails.
func (w *LineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return len(p), nil
	}
	for _, b := range p {
		switch {
		case b == '\n':
			w.flush()
		case len(w.part) < lineBytes:
			w.part = append(w.part, b)
		default:
			w.long = true
		}
	}
	return len(p), nil
}

// Close hands over a last line without an end, and drops what a process left
// behind may write from now on. It returns how many lines were too many.
func (w *LineWriter) Close() (dropped int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.flush()
		w.closed = true
	}
	return w.dropped
}

func (w *LineWriter) flush() {
	text := strings.TrimSpace(strings.Map(printable, string(w.part)))
	if w.long {
		text += " ..."
	}
	w.part, w.long = w.part[:0], false
	if text == "" {
		return
	}
	if w.lines++; w.lines > lineCount {
		w.dropped++
		return
	}
	w.Line(text)
}

// printable replaces control characters, which could forge lines of a log or
// talk to a terminal.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
		return ' '
	}
	return r
}
