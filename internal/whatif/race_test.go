//go:build race

package whatif_test

// raced: a story is a single goroutine, and ten times as slow now.
const raced = true
