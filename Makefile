# haobox: "make help" lists the targets. It needs only Go, make and git; what
# the tests need of Debian, "make setup" (a part of "make test") installs.

MODULE  := github.com/haobox/haobox
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PREFIX  ?= /usr
DESTDIR ?=

# Without the tag urfave/cli brings a Markdown renderer: 244 KiB and up to
# 1.5 ms of every start.
# Without HTTP/2, which no control socket speaks, it is 640 KiB smaller.
TAGS    := urfave_cli_no_docs,nethttpomithttp2
LDFLAGS := -s -w -X $(MODULE)/internal/version.version=$(VERSION)

# Targets other than this machine's: make dist builds them all.
DIST := linux/amd64 linux/s390x linux/ppc64le aix/ppc64

export GOFLAGS := $(strip $(shell go env GOFLAGS) -tags=$(TAGS))
export CGO_ENABLED ?= 0

BUILD := go build -trimpath -ldflags "$(LDFLAGS)"
# The test programs are a module of their own: tools/go.mod.
TOOLS := CGO_ENABLED=0 GOFLAGS=-trimpath go build -C tools -o $(CURDIR)/bin/tools/
GATE  := bin/tools/testgate
# Time limit of one package's tests; the emulator is about nine times slower.
TEST_TIMEOUT          ?= 10m
TEST_TIMEOUT_EMULATED ?= 20m
FUZZTIME              ?= 10s
# make soak: how many stories, and the seed of the first.
SEEDS                 ?= 1000000
FIRST                 ?= 1
# What the stages test: make test-kernel PACKAGES=./platform/...
PACKAGES              ?= ./...
# Options of tools/bench: -n ROUNDS, and names of benches.
BENCHFLAGS            ?=
# Options of tools/labbench: make lab-bench LABFLAGS='-rounds 1 -only haobox,pacemaker -cases kill,move'.
LABFLAGS              ?=

.NOTPARALLEL:
.PHONY: help build dist rpm aix install uninstall setup tools test test-unit test-tools test-race \
	test-s390x test-kernel test-fresh report check bench lab-bench fuzz soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/haobox for this machine, and bin/links with a symlink per applet
	$(BUILD) -o bin/haobox .
	@rm -rf bin/links && mkdir -p bin/links
	@for name in $$(bin/haobox --list-full | cut -f 1,4 | tr '\t,' '  '); do ln -s ../haobox bin/links/$$name; done

dist: ## static binaries for every target in dist/
	@mkdir -p dist
	@set -e; for target in $(DIST); do \
		echo "build dist/haobox-$${target%/*}-$${target#*/}"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(BUILD) -o dist/haobox-$${target%/*}-$${target#*/} .; \
	done

rpm: build dist ## RPM packages of the Linux binaries in dist/rpm
	rm -rf dist/rpm
	tools/rpm '$(VERSION)' dist/rpm s390x=dist/haobox-linux-s390x ppc64le=dist/haobox-linux-ppc64le x86_64=dist/haobox-linux-amd64

aix: ## build and vet for AIX what builds there
	@mkdir -p dist
	GOOS=aix GOARCH=ppc64 $(BUILD) -o dist/haobox-aix-ppc64 .
	tools/check vet-aix

# Resource agents are no commands: their short names (ip, named) belong to
# other programs, which keep their completion.
AGENTS   = $(shell bin/haobox --list-full | awk -F '\t' '$$5 ~ /share\/cluster/ {gsub(",", " ", $$4); print $$1, $$4}')
MANDIR  := $(DESTDIR)$(PREFIX)/share/man
COMPDIR := $(DESTDIR)$(PREFIX)/share/bash-completion/completions

install: build ## install below DESTDIR and PREFIX (/usr): binary, symlinks, manual pages, completion
	bin/haobox install --root '$(or $(DESTDIR),/)' --prefix '$(PREFIX)'
	@set -e; for page in man/*.[158]; do \
		install -D -m 644 $$page '$(MANDIR)'/man$${page##*.}/$${page##*/}; \
	done
	install -D -m 644 packaging/completion/haobox.bash '$(COMPDIR)/haobox'
	@set -e; for name in $$(ls bin/links); do \
		case " haobox $(AGENTS) " in *" $$name "*) ;; *) ln -sf haobox '$(COMPDIR)'/$$name ;; esac; \
	done

uninstall: build ## remove what install put there
	bin/haobox uninstall --root '$(or $(DESTDIR),/)' --prefix '$(PREFIX)'
	@set -e; for page in man/*.[158]; do \
		rm -f '$(MANDIR)'/man$${page##*.}/$${page##*/}; \
	done
	@set -e; for name in $$(ls bin/links); do \
		case " $(AGENTS) " in *" $$name "*) ;; *) rm -f '$(COMPDIR)'/$$name ;; esac; \
	done

demo: build ## move a web service between two nodes, through everything that happens to it
	@bin/haobox demo service

setup: ## install the Debian packages that the tests need, if missing
	tools/setup

tools: ## bin/tools: the programs that run tests and benches
	@mkdir -p bin/tools
	@$(TOOLS) ./...

test: setup build tools test-fresh test-tools test-race test-kernel report ## all tests: unit, script, kernel, real clients

test-fresh:
	@rm -rf bin/test

test-unit: ## unit and script tests of this machine, without setup and race detector
	go test ./...

test-tools: tools ## the tests of the programs in tools
	GOFLAGS= $(GATE) run -stage tools -out bin/test/tools.json -- go -C tools test -json ./...

# The race detector needs cgo; everything else is built without. By default it
# makes every process sleep for a second at its end.
test-race: tools
	CGO_ENABLED=1 GORACE=atexit_sleep_ms=10 $(GATE) run -stage race -out bin/test/race.json -- \
		go test -json -race -timeout $(TEST_TIMEOUT) $(PACKAGES)

test-s390x: tools ## the unit tests as s390x (big-endian) under user-mode emulation
	HAOBOX_EMULATED=1 HAOBOX_EMULATOR=$$(command -v qemu-s390x-static) GOARCH=s390x \
		$(GATE) run -stage s390x -out bin/test/s390x.json -- \
		go test -json -short -exec $$(command -v qemu-s390x-static) -timeout $(TEST_TIMEOUT_EMULATED) $(PACKAGES)

# A real s390x kernel below the same tests, as root. -short, because its
# processor is emulated.
KERNEL_MODULES := af_iucv vsock_loopback loop softdog veth bridge macvlan bonding 8021q dm_mod nfsd nfsv3 nfsv4
# What the tests run in the guest. Others of theirs skip there.
KERNEL_PACKAGES := busybox-static lvm2 nfs-kernel-server mount iproute2 util-linux coreutils
comma := ,
empty :=
space := $(empty) $(empty)
test-kernel: tools ## the tests as s390x on Debian's s390x kernel, booted under emulation
	$(GATE) run -stage kernel -out bin/test/kernel.json -- \
		bin/tools/vm test -arch s390x -short -packages $(subst $(space),$(comma),$(KERNEL_PACKAGES)) \
		-modules $(subst $(space),$(comma),$(KERNEL_MODULES)) -limit $(TEST_TIMEOUT_EMULATED) $(PACKAGES)

# Lists the skips of the stages so far; with HAOBOX_CI=1 the last one,
# tools/check, judges them.
report: tools
	$(GATE) report bin/test/*.json

check: setup tools ## gofmt, vet, staticcheck, lints, sizes, layering, start cost, s390x unit tests
	tools/check

bench: build dist tools ## ours and the commands it replaces, in turn: medians and ratios, no judgement
	tools/setup corosync fence-agents gcc libc6-dev libcfg-dev libcmap-dev libcpg-dev libquorum-dev libvotequorum-dev
	bin/tools/bench $(BENCHFLAGS)
	go test -run '^$$' -bench 'NodeLoss|Snapshot|Check' ./internal/rgm
	go test -run '^$$' -bench 'IP_1000Checks|ThousandServices' -benchtime 20x ./internal/agents ./internal/clusterconf | grep '^Benchmark'
	go test -run '^$$' -bench Cycle ./applets/qdiskd # a cycle of 16 nodes on a loop device, and the memory of the daemon

lab-bench: build tools ## ours, Pacemaker and keepalived on the same nodes, in turn: outages, processor time, memory
	tools/setup corosync pacemaker pacemaker-cli-utils resource-agents fence-agents keepalived "nginx-light|nginx" iproute2 util-linux
	bin/tools/labbench $(LABFLAGS)

fuzz: ## every fuzz target for FUZZTIME
	tools/fuzz $(FUZZTIME)

soak: ## SEEDS random stories of whole clusters in virtual time, on all processors
	go test -count=1 -timeout 0 -run TestStories -v ./internal/whatif -seeds $(SEEDS) -first $(FIRST)
	go test -count=1 -timeout 0 -run TestDisks -v ./internal/whatif -seeds $(SEEDS) -first $(FIRST)
	go test -count=1 -timeout 0 -run TestSeeds -v ./internal/quorumdisk/disksim -seeds $(SEEDS)
	go test -count=1 -timeout 0 -run TestSeeds -v ./internal/rgm/rgmsim -rgm.seeds $(SEEDS) -rgm.from $(FIRST)

clean: ## remove bin and dist
	rm -rf bin dist
