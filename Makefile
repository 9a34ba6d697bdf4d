# Medley's build, checks, tests and demo. `make` alone lists them. Each says what it does, step by step;
# how far a step is, cargo shows.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# rustup's dir, for shells that were not told of it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

ARCH := $(shell uname -m)
TRIPLE := $(ARCH)-unknown-linux-gnu
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
SHIM := $(TARGET_DIR)/$(TRIPLE)/release/containerd-shim-wasm-v1
# What is there sooner, for the demo and for work on the shim.
QUICK := $(TARGET_DIR)/$(TRIPLE)/demo

# Programs with another engine go beside the shim: WasmEdge's, which `WASMEDGE=off` leaves out, and
# Wasmer's, which `WASMER=on` builds.
WASMEDGE ?= on
WASMER ?= off
export WASMEDGE WASMER
BESIDE := $(if $(filter-out off,$(WASMEDGE)),wasmedge) $(if $(filter-out off,$(WASMER)),wasmer)
# What makes one of them, and puts it there.
beside = cargo build --profile fast --locked -p medley-shim --no-default-features --features $(1) \
	--bin $(notdir $(SHIM))-$(1)
place = install -m 755 "$(TARGET_DIR)/$(2)fast/$(notdir $(SHIM))-$(1)" "$(SHIM)-$(1)"

# wasi-nn for components: `WASI_NN=on` builds it in.
WASI_NN ?= off
export WASI_NN
FEATURES := $(if $(filter-out off,$(WASI_NN)),--features wasi-nn)

# Where `make release` leaves its archives, and for which architectures.
RELEASE_DIR ?= $(TARGET_DIR)/dist
ARCHES ?= x86_64 aarch64

PREFIX ?= /usr/local
DESTDIR ?=
# End-to-end tests that run at a time, each with a containerd of its own.
TEST_THREADS ?= $(shell nproc)

# One static file for nodes of any libc, at a fixed address: relocation would give each process a
# private copy of its tables. The triple is named so that these flags reach what is
# linked into the shim, and not build scripts and procedural macros.
SECCOMP := LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=/usr/lib/$(ARCH)-linux-gnu
STATIC_FLAGS := -C target-feature=+crt-static -C relocation-model=static
STATIC := RUSTFLAGS="$(STATIC_FLAGS)" $(SECCOMP)
# Wasmer draws random numbers where it compiles, which is where no device is. A static program would
# open one, as it can't look up whether the C library has the call.
STATIC_WASMER := RUSTFLAGS='$(STATIC_FLAGS) --cfg getrandom_backend="linux_getrandom"' $(SECCOMP)

SCRIPTS := test/scripts/* test/suites/lib.sh images/pack images/pack-artifact images/*/build images/sidecar/serve \
	images/sidecar/cgi-bin/* images/installer/installer images/programs release/* test/vm/* test/k8s/kubernetes \
	test/k8s/run test/k8s/node test/k8s/images test/k8s/tests test/k8s/lib.sh test/k8s/cases/* kind/up .ci/run

.PHONY: help setup build check fmt-check clippy rustdoc deny scripts-check test test-vm test-restarts test-podman test-k8s test-controller kind k3d quick demo bench bench-compare bench-http trace soak install release release-try release-twice clean

help: ## list the targets
	@echo "Medley: a containerd shim that runs Wasm and Linux containers in one pod. Targets:"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## install what build, demo and tests need from Debian's packages
	@test/scripts/setup

build: setup ## build the shim, one static file, and beside it WasmEdge's program (not with WASMEDGE=off), Wasmer's (with WASMER=on)
	@echo "build: the static shim, $(SHIM); it is optimised as a whole, so its last crate takes minutes"
	@$(STATIC) cargo build --release --locked --target $(TRIPLE) -p medley-shim $(FEATURES)
	@rm -f "$(SHIM)-wasmedge" "$(SHIM)-wasmer"
ifneq ($(WASMEDGE),off)
	@settings=$$(test/scripts/wasmedge) && eval "$$settings" && \
		echo "build: the program with WasmEdge, $(SHIM)-wasmedge" && \
		$(SECCOMP) $(call beside,wasmedge) && $(call place,wasmedge)
endif
ifneq ($(WASMER),off)
	@echo "build: the program with Wasmer, static as well, $(SHIM)-wasmer"
	@$(STATIC_WASMER) $(call beside,wasmer) --target $(TRIPLE) && $(call place,wasmer,$(TRIPLE)/)
endif

check: setup fmt-check clippy rustdoc deny scripts-check ## format, lints, documentation, dependencies, scripts
	@echo "check: all passed"

fmt-check:
	@echo "check: format"
	@cargo fmt --all --check

clippy:
	@echo "check: clippy, warnings are errors"
	@cargo clippy --workspace --all-targets --locked -- -D warnings
ifneq ($(WASMER),off)
	@echo "check: clippy, of Wasmer's engine and its program"
	@cargo clippy -p medley-engine-wasmer -p medley-shim --no-default-features --all-targets --locked \
		--features medley-engine-wasmer/engine,medley-shim/wasmer -- -D warnings
endif
ifneq ($(FEATURES),)
	@echo "check: clippy, of wasi-nn"
	@cargo clippy -p medley-shim --all-targets --locked $(FEATURES) -- -D warnings
endif

rustdoc:
	@echo "check: documentation, warnings are errors"
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

deny:
	@test/scripts/deny

scripts-check:
	@echo "check: shell scripts"
	@for script in $(SCRIPTS); do bash -n "$$script"; done
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); fi
	@echo "check: what the documentation says: links, paths, error texts, names of tests"
	@test/scripts/docs

test: build ## unit tests without root, then end-to-end tests on a containerd of their own (root)
	@TEST_THREADS=$(TEST_THREADS) MEDLEY_SHIM="$(abspath $(SHIM))" test/scripts/test

test-vm: build ## the CRI tests in a Debian 13 virtual machine: cgroup v2, systemd, AppArmor (root)
	@MEDLEY_SHIM="$(abspath $(SHIM))" test/vm/run

test-restarts: build ## docker restart, 100 times in a row, of Linux and Wasm containers on each storage (root)
	@MEDLEY_RESTARTS=100 MEDLEY_SHIM="$(abspath $(SHIM))" cargo test -p medley-test --test docker --locked -- \
		--test-threads=$(TEST_THREADS) restarted

# Needs Debian's podman, conmon, catatonit, uidmap and iproute2 besides what `make setup` installs.
test-podman: build ## podman and conmon on runc and on Medley's command line (root)
	@MEDLEY_SHIM="$(abspath $(SHIM))" cargo test -p medley-test --test podman --locked -- \
		--test-threads=$(TEST_THREADS)

# The installer's image has what lies beside the shim, the controller too.
test-k8s: build ## a one-node Kubernetes on this machine: install, kind/ and its examples, uninstall (root)
	@$(STATIC) cargo build --release --locked --target $(TRIPLE) -p medley-controller
	@MEDLEY_SHIM="$(abspath $(SHIM))" test/k8s/run

test-controller: setup ## the controller on an API server of Kubernetes and its etcd (root)
	@programs=$$(test/k8s/kubernetes) && MEDLEY_KUBERNETES="$$programs" \
		cargo test -p medley-controller --test api_server --locked -- --test-threads=1

# What is not there is told before anything is built.
kind: ## a cluster of kind (in Docker), Medley on it by the DaemonSet of kind/, and a mixed pod
	@kind/up kind --check
	@$(MAKE) --no-print-directory build
	@MEDLEY_SHIM="$(abspath $(SHIM))" kind/up kind

k3d: ## the same on k3s, by k3d
	@kind/up k3d --check
	@$(MAKE) --no-print-directory build
	@MEDLEY_SHIM="$(abspath $(SHIM))" kind/up k3d

# The shim and the demo in one build, so that what both need is compiled once, and with Wasmtime alone.
quick: setup ## build the shim soon, not optimised: target/<triple>/demo/, for the demo and for work on it
	@echo "quick: the shim, not optimised, and the demo, $(QUICK)"
	@$(STATIC) cargo build --profile demo --locked --target $(TRIPLE) -p medley-shim -p medley-test \
		--bin $(notdir $(SHIM)) --bin demo

demo: quick ## one mixed pod on a private containerd, through the CRI API (root)
	@echo "demo: the pod"
	@MEDLEY_SHIM="$(abspath $(QUICK)/$(notdir $(SHIM)))" "$(QUICK)/demo"

bench: build ## time and memory beside runc, the command line, many containers, what the cache saves, the engines, as tables and JSON=FILE (root)
	@MEDLEY_SHIM="$(abspath $(SHIM))" test/scripts/bench
	@MEDLEY_SHIM="$(abspath $(SHIM))" test/scripts/bench-oci
	@MEDLEY_SHIM="$(abspath $(SHIM))" cargo run --locked -p medley-test --bin scale -- \
		--plots docs $(if $(JSON),--json "$(JSON)")
	@MEDLEY_SHIM="$(abspath $(SHIM))" cargo run --locked -p medley-test --bin cache-bench
ifneq ($(WASMEDGE),off)
	@MEDLEY_SHIM="$(abspath $(SHIM))" cargo run --locked -p medley-test --bin engine-bench
endif

bench-compare: ## two files of make bench JSON=FILE beside each other: make bench-compare OLD=FILE NEW=FILE
	@cargo run --locked -p medley-test --bin scale -- compare "$(OLD)" "$(NEW)"

bench-http: setup ## the HTTP server beside a plain Wasmtime host, both as release builds (root)
	@$(STATIC) cargo build --release --locked --target $(TRIPLE) -p medley-shim -p medley-engine-wasmtime \
		--bins --example plain-host
	@MEDLEY_SHIM="$(abspath $(SHIM))" test/scripts/bench-http

trace: build ## where the milliseconds of a life are, as docs/trace-linux.svg and docs/trace-wasm.svg (root)
	@MEDLEY_SHIM="$(abspath $(SHIM))" cargo run --locked -p medley-test --bin trace

soak: build ## 10,000 execs, the shim's memory as docs/soak.svg; 1,000 kills of shims: nothing left (root)
	@MEDLEY_SHIM="$(abspath $(SHIM))" cargo run --locked -p medley-test --bin soak
	@MEDLEY_SHIM="$(abspath $(SHIM))" cargo run --locked -p medley-test --bin soak kills

install: build ## copy the shim to DESTDIR/PREFIX/bin (/usr/local/bin), where containerd finds it
	@install -D -m 755 "$(SHIM)" "$(DESTDIR)$(PREFIX)/bin/containerd-shim-wasm-v1"
	@echo "install: $(DESTDIR)$(PREFIX)/bin/containerd-shim-wasm-v1"
	@ln -sfn containerd-shim-wasm-v1 "$(DESTDIR)$(PREFIX)/bin/medley"
	@echo "install: $(DESTDIR)$(PREFIX)/bin/medley, a link to it"
	@for engine in $(BESIDE); do \
		install -D -m 755 "$(SHIM)-$$engine" "$(DESTDIR)$(PREFIX)/bin/$(notdir $(SHIM))-$$engine"; \
		echo "install: $(DESTDIR)$(PREFIX)/bin/$(notdir $(SHIM))-$$engine"; \
	done

release: setup ## the archives of a release for x86_64 and aarch64, with what each is made of, and checksums
	@release/build "$(RELEASE_DIR)" $(ARCHES)

release-try: setup ## try the archives: install, uninstall, containers where nothing else is, the images (root)
	@release/try "$(RELEASE_DIR)"

release-twice: setup ## the same from two dirs, compared byte by byte
	@release/reproduce $(ARCHES)

clean: ## remove what was built
	@echo "clean: $(TARGET_DIR)"
	@cargo clean
