//go:build !race

package whatif_test

const raced = false
