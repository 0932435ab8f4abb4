package haobox

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/haobox/haobox/platform"
)

const (
	// askEvery is the time between two requests of the client.
	askEvery = 10 * time.Millisecond
	// askLimit is when an answer counts as lost. Ours: longer than an answer of
	// a busy machine, and shorter than the second after which TCP asks again.
	askLimit = 500 * time.Millisecond
	// demoPage is what the web server of the story shows.
	demoPage = "Cluster Test Page"
)

// probe is one request; done is zero while it is under way.
type probe struct {
	sent, done time.Time
	ok         bool
}

// client asks a web server again and again, each time over a new connection,
// and remembers what came of it.
type client struct {
	url   string
	clock platform.Clock
	http  http.Client

	mu     sync.Mutex
	probes []probe
}

// newClient makes a client; dial is nil for the network of this process.
func newClient(url string, clock platform.Clock, dial func(context.Context, string, string) (net.Conn, error)) *client {
	return &client{url: url, clock: clock, http: http.Client{Timeout: askLimit, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}}
}

// run asks until ctx ends, and waits for the answers.
func (c *client) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for next := c.clock.Now(); ; {
		c.mu.Lock()
		i := len(c.probes)
		c.probes = append(c.probes, probe{sent: c.clock.Now()})
		c.mu.Unlock()
		all.Go(func() {
			ok := c.ask(ctx)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.probes[i].done, c.probes[i].ok = c.clock.Now(), ok
		})
		// A machine that is late does not ask twice as often afterwards.
		next = next.Add(askEvery)
		if now := c.clock.Now(); next.Before(now) {
			next = now
		}
		if c.clock.Sleep(ctx, next.Sub(c.clock.Now())) != nil {
			return
		}
	}
}

// ask makes one request, and reports whether the page came.
func (c *client) ask(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return false
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(io.LimitReader(answer.Body, 4096))
	return err == nil && answer.StatusCode == http.StatusOK && strings.Contains(string(page), demoPage)
}

// settled reports whether a request that was made after a time was answered,
// and none before it is under way.
func (c *client) settled(after time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.probes {
		switch {
		case p.done.IsZero():
			return false
		case p.ok && p.sent.After(after):
			return true
		}
	}
	return false
}

// since sums up the requests made from a time on: how many were lost, and when
// the first answer after the last loss came, or the first one if none was lost.
func (c *client) since(from time.Time) (lost int, back time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.probes {
		switch {
		case p.sent.Before(from) || p.done.IsZero():
		case !p.ok:
			lost++
			back = time.Time{}
		case back.IsZero():
			back = p.done
		}
	}
	return lost, back
}

// act is a row of the table; a zero time is one that there is not.
type act struct {
	name                          string
	start, detected, fenced, back time.Time
	lost                          int
	counted                       bool
}

// table is the end of the story.
func (s *story) table(acts []act) {
	const form = "  %-34s %14s  %12s  %10s  %13s\n"
	fmt.Fprintf(s.out, form, "act", "detected after", "fenced after", "back after", "requests lost")
	for _, a := range acts {
		after := func(when time.Time) string {
			if when.IsZero() {
				return "-"
			}
			return fmt.Sprintf("%.3f s", when.Sub(a.start).Seconds())
		}
		lost := "-"
		if a.counted {
			lost = fmt.Sprint(a.lost)
		}
		fmt.Fprintf(s.out, form, a.name, after(a.detected), after(a.fenced), after(a.back), lost)
	}
	fmt.Fprint(s.out, "\n  All from the start of the act. Detected: rgmanager of CNODE2, asked every 10 ms, shows the fault.\n"+
		"  Fenced: the agent has seen CNODE1 off. Back: the first answer after the last lost request.\n")
}
