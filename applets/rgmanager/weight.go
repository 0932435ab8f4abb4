//go:build linux

package rgmanager

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/haobox/haobox/internal/ctl"
	"github.com/haobox/haobox/internal/rgmctl"
)

// maxWeightWait bounds "wait" of a question for the weight, ours: whoever asks
// wants to know some day that this daemon hangs.
const maxWeightWait = time.Minute

// weight answers GET /v1/weight at once, and GET /v1/weight?not=N&wait=SECONDS
// when the weight is another than N, at the latest after that time.
func (s *shell) weight(w http.ResponseWriter, r *http.Request) {
	not, wait, err := weightWait(r.URL.Query())
	if err != nil {
		ctl.Fail(w, http.StatusBadRequest, err)
		return
	}
	over, stop := s.d.Env.Clock.After(wait)
	defer stop()
	for late := wait == 0; ; {
		var out rgmctl.Weight
		var changed <-chan struct{}
		err := s.in(r.Context(), func() error { out.Weight, changed = s.core.Weight(), s.weighed; return nil })
		switch {
		case errors.Is(err, errStarting):
			late = true
		case err != nil:
			ctl.Fail(w, http.StatusServiceUnavailable, err)
			return
		}
		if late || out.Weight != not {
			ctl.Reply(w, out)
			return
		}
		select {
		case <-changed:
		case <-over:
			late = true
		case <-r.Context().Done():
			return
		}
	}
}

// weightWait reads the parameters of a question for the weight.
func weightWait(q url.Values) (not int, wait time.Duration, err error) {
	if q.Get("not") == "" && q.Get("wait") == "" {
		return 0, 0, nil
	}
	if not, err = strconv.Atoi(q.Get("not")); err != nil {
		return 0, 0, fmt.Errorf("not=%.20q: it must be a weight", q.Get("not"))
	}
	seconds, err := strconv.Atoi(q.Get("wait"))
	if most := int(maxWeightWait / time.Second); err != nil || seconds < 0 || seconds > most {
		return 0, 0, fmt.Errorf("wait=%.20q: it must be a number of seconds, at most %d", q.Get("wait"), most)
	}
	return not, time.Duration(seconds) * time.Second, nil
}

// reweigh lets those look again who wait for another weight. It is called in
// the loop.
func (s *shell) reweigh() {
	close(s.weighed)
	s.weighed = make(chan struct{})
}
