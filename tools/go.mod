// Module tools holds what builds and tests haobox and is no part of it:
// linters as tool dependencies, and our own small programs. It is a module of
// its own so that their dependencies stay out of the product's go.mod.
module github.com/haobox/haobox/tools

go 1.26.0

tool honnef.co/go/tools/cmd/staticcheck

require (
	github.com/cavaliergopher/cpio v1.0.1
	github.com/haobox/haobox v0.0.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/BurntSushi/toml v1.4.1-0.20240526193622-a339e1f7089c // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	golang.org/x/exp/typeparams v0.0.0-20231108232855-2478ac86f678 // indirect
	golang.org/x/mod v0.41.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/tools v0.51.0 // indirect
	honnef.co/go/tools v0.8.2 // indirect
)

// tools/labbench makes its nodes with platform/sandbox.
replace github.com/haobox/haobox => ../
