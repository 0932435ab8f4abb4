package main

import (
	"fmt"
	"testing"
)

// TestBenchRows reads what go test prints.
func TestBenchRows(t *testing.T) {
	const text = `goos: linux
cpu: AMD EPYC
BenchmarkBesideC/nodes=1-2         	       1	      3325 call-ns	         0.3183 call/C	    115972 trip-ns
BenchmarkMemory/cpg-2              	1000000000	        50.00 KiB/conn	      3120 shm-KiB/conn
PASS
`
	const want = "[{BesideC/nodes=1 [3325 call-ns 0.3183 call/C 115972 trip-ns]} {Memory/cpg [50.00 KiB/conn 3120 shm-KiB/conn]}]"
	if got := fmt.Sprint(benchRows(text)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := benchRows("PASS\nBenchmarkOdd 1 2\n"); got != nil {
		t.Errorf("no figures: %v", got)
	}
}
