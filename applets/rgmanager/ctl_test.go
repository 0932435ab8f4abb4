//go:build linux

package rgmanager

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAtMost: while one client is served the next one is told to try again, and
// then there is room again.
func TestAtMost(t *testing.T) {
	t.Parallel()
	inside, leave := make(chan bool), make(chan bool)
	limit := 1
	h := atMost(func() int { return limit }, func(http.ResponseWriter, *http.Request) {
		inside <- true
		<-leave
	})
	ask := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h(w, httptest.NewRequest(http.MethodGet, "/v1/status", nil))
		return w
	}
	done := make(chan int)
	begin := func() {
		go func() { done <- ask().Code }()
		<-inside
	}
	begin()
	if w := ask(); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Temporary failure; try again") {
		t.Errorf("a second client got %d, %s", w.Code, w.Body)
	}
	leave <- true
	if code := <-done; code != http.StatusOK {
		t.Errorf("the first client got %d", code)
	}
	begin()
	limit = 0 // any number
	begin()
	for range 2 {
		leave <- true
		if code := <-done; code != http.StatusOK {
			t.Errorf("one of any number got %d", code)
		}
	}
}
