//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// askEvery is the time between two requests.
	askEvery = 10 * time.Millisecond
	// askLimit is when a request counts as lost: shorter than the second after
	// which TCP asks again.
	askLimit = 300 * time.Millisecond
	// calmAnswers in a row end an outage.
	calmAnswers = 50
)

// probe is one request; node is who answered, or "".
type probe struct {
	sent, done time.Time
	node       string
}

// client asks again and again, each time over a new connection. A request is
// added when it is over, at its place in the order of asking.
type client struct {
	url  string
	http http.Client
	mu   sync.Mutex
	all  []probe
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func newClient(ctx context.Context, url string) *client {
	ctx, stop := context.WithCancel(ctx)
	c := &client{url: url, stop: stop, http: http.Client{Timeout: askLimit, Transport: &http.Transport{DisableKeepAlives: true}}}
	c.wg.Go(func() {
		tick := time.NewTicker(askEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			c.mu.Lock()
			i := len(c.all)
			c.all = append(c.all, probe{sent: time.Now()})
			c.mu.Unlock()
			c.wg.Go(func() {
				node := c.ask(ctx)
				c.mu.Lock()
				defer c.mu.Unlock()
				c.all[i].done, c.all[i].node = time.Now(), node
			})
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return c
}

func (c *client) close() { c.stop(); c.wg.Wait() }

// ask returns the name of the node that answers.
func (c *client) ask(ctx context.Context) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return ""
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64))
	if err != nil || answer.StatusCode != http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// over is what is over, in the order of asking, without what is behind the
// first request that is not.
func (c *client) over() []probe {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range c.all {
		if p.done.IsZero() {
			return append([]probe(nil), c.all[:i]...)
		}
	}
	return append([]probe(nil), c.all...)
}

// calm returns who has answered the last requests, all made after from, or "".
func calm(all []probe, from time.Time) string {
	if len(all) < calmAnswers {
		return ""
	}
	last := all[len(all)-calmAnswers:]
	for _, p := range last {
		if p.node == "" || p.node != last[0].node || p.sent.Before(from) {
			return ""
		}
	}
	return last[0].node
}

// served waits until a node answers calmly; any if want is "", and only after a
// loss if lossy.
func (c *client) served(ctx context.Context, from time.Time, want string, lossy bool) (node string, err error) {
	var all []probe
	err = eventually(ctx, "the client is answered by "+want, func() error {
		all = c.over()
		if node = calm(all, from); node == "" || want != "" && node != want {
			return fmt.Errorf("it is answered by %q", node)
		}
		if lossy {
			if _, ok := outage(all, from); !ok {
				return fmt.Errorf("no request was lost")
			}
		}
		return nil
	})
	return node, err
}

// outage is the time from the last answer before the first loss to the first
// answer after the last one, of requests made from a time on.
// Without a loss it is the gap between two
// nodes' answers. ok is false if there was neither, or it is not over.
func outage(all []probe, from time.Time) (d time.Duration, ok bool) {
	first, last := -1, -1
	for i, p := range all {
		if p.node == "" && !p.sent.Before(from) {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first < 0 {
		for i := 1; i < len(all); i++ {
			if !all[i].sent.Before(from) && all[i].node != all[i-1].node {
				return all[i].done.Sub(all[i-1].done), true
			}
		}
		return 0, false
	}
	var before, after time.Time
	for i, p := range all {
		switch {
		case p.node == "":
		case i < first && p.done.After(before):
			before = p.done
		case i > last && (after.IsZero() || p.done.Before(after)):
			after = p.done
		}
	}
	if before.IsZero() || after.IsZero() {
		return 0, false
	}
	return after.Sub(before), true
}
