package clustat

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/haobox/haobox/applets/applet"
	"github.com/haobox/haobox/internal/rgmctl"
)

// home puts the cursor into the first column of the first line; toEnd and
// below erase the rest of a line and of the screen (ECMA-48, CUP, EL, ED).
const home, toEnd, below = "\x1b[H", "\x1b[K", "\x1b[J"

// size is that of the terminal in columns and lines, 0 if there is none.
func size(w io.Writer) (columns, lines int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	s, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return int(s.Col), int(s.Row)
}

// fit cuts a text to a terminal, so that nothing wraps or scrolls: it leaves
// the last line to the cursor and says how many lines are missing.
func fit(text string, columns, lines int) string {
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if room := max(lines-1, 2); lines > 0 && len(all) > room {
		all = append(all[:room-1:room-1], fmt.Sprintf("(%d more lines)", len(all)-room+1))
	}
	for i, l := range all {
		if columns > 0 && len(l) > columns {
			all[i] = l[:columns]
		}
	}
	return strings.Join(all, "\n") + "\n"
}

// again is -i. On a terminal each picture is drawn over the one before, line by
// line, so that nothing flickers, and at once when the terminal changes its
// size. No mode of the terminal is changed, so that nothing is to be undone.
func (t *tool) again() error {
	resized := make(chan os.Signal, 1)
	columns, _ := size(t.env.Stdout)
	terminal := columns > 0
	if terminal {
		signal.Notify(resized, unix.SIGWINCH)
		defer signal.Stop(resized)
	}
	for clear := true; ; clear = false {
		st, err := t.status()
		if t.ctx.Err() != nil {
			return nil
		}
		if err == nil && (t.own || t.quorum) {
			return t.once(st, t.env.Stdout)
		}
		if err := t.draw(st, err, terminal, clear); err != nil {
			return err
		}
		next, stop := t.env.Clock.After(t.every)
		for waiting := true; waiting; {
			select {
			case <-next:
				waiting = false
			case <-resized:
				if err := t.draw(st, err, terminal, true); err != nil {
					stop()
					return err
				}
			case <-t.ctx.Done():
				stop()
				return nil
			}
		}
		stop()
	}
}

// draw draws the picture of a status, or why there is none.
func (t *tool) draw(st *rgmctl.Status, fault error, terminal, clear bool) error {
	text := ""
	switch {
	case fault != nil:
		text = fault.Error() + "\n"
	default:
		text, _ = t.render(st)
		if st.Error != "" && t.view.Member == "" {
			text += st.Error + "\n"
		}
	}
	if terminal {
		columns, lines := size(t.env.Stdout)
		text = fit(text, columns, lines)
		if clear {
			text = home + below + text
		} else {
			text = home + strings.ReplaceAll(text, "\n", toEnd+"\n") + below
		}
	}
	if _, err := io.WriteString(t.env.Stdout, text); err != nil {
		return applet.Exitf(exitError, "clustat: write the output: %v", err)
	}
	return nil
}
