//go:build race

package rgmsim

// raceDetector makes everything ten times slower.
const raceDetector = true
