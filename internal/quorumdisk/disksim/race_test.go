//go:build race

package disksim

func init() { slowdown = 100 }
