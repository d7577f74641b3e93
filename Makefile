# What a newcomer types. Everything else is `cargo xtask`.
PREFIX ?= /usr/local
CARGO ?= $(shell command -v cargo || echo $(HOME)/.cargo/bin/cargo)

.PHONY: setup demo test test-vm bench install

# Installs the packages that are missing.
setup:
	@scripts/setup

# A one-node cluster, a stack, and what becomes of it when the daemon is killed.
demo: setup
	$(CARGO) xtask build
	$(CARGO) xtask image
	scripts/demo

# Everything that must hold before a change lands.
test: setup
	$(CARGO) xtask ci

# The smoke test on Debian's kernel with cgroup v2 alone, in an emulated machine. It installs that emulator.
test-vm:
	@scripts/setup qemu-system-x86 cpio binutils
	$(CARGO) xtask vm

# Beside runc, which nothing else needs.
bench:
	@scripts/setup runc
	$(CARGO) xtask bench

# shoald finds its helpers beside itself, or below libexec.
install: setup
	$(CARGO) xtask build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/shoal
	install target/dist/release/shoal target/dist/release/shoald $(DESTDIR)$(PREFIX)/bin/
	install target/dist/release/shoal-shim target/dist/release/shoal-spawn target/dist/release/shoal-net $(DESTDIR)$(PREFIX)/libexec/shoal/
