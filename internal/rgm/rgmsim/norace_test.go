//go:build !race

package rgmsim

const raceDetector = false
