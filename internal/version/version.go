// Package version holds the version of the binary.
package version

// version is set by the linker: -X .../internal/version.version=v1.2.3.
var version = "unknown"

// String returns the version as "git describe" wrote it at build time, or
// "unknown" for a plain "go build".
func String() string { return version }
