# What a newcomer types. Everything else is `cargo xtask`.
PREFIX ?= /usr/local
# The folder of the programs that `install` puts in place.
PROGRAMS ?= target/dist/release
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

# What an emulated machine needs.
VM_PACKAGES = qemu-system-x86 cpio

# Everything that must hold before a change lands.
test:
	@scripts/setup $(VM_PACKAGES)
	$(CARGO) xtask ci

# The last part of it: the demo and a smoke test on Debian's kernel with cgroup v2 alone, in an emulated machine.
test-vm:
	@scripts/setup $(VM_PACKAGES)
	$(CARGO) xtask vm

# Beside runc, which nothing else needs.
bench:
	@scripts/setup runc
	$(CARGO) xtask bench

# shoald finds its helpers beside itself, or below libexec.
install: setup
	$(CARGO) xtask build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/shoal
	install $(addprefix $(PROGRAMS)/,shoal shoald) $(DESTDIR)$(PREFIX)/bin/
	install $(addprefix $(PROGRAMS)/,shoal-shim shoal-spawn shoal-net) $(DESTDIR)$(PREFIX)/libexec/shoal/
