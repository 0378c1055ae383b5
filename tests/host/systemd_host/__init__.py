"""A disposable Debian host with systemd as PID 1, for tests that need the real thing.

`machine` knows what this machine offers, `rootfs` makes a root file system of it, `nspawn` boots one in
its own control groups (`cgroups`), `enter` runs a command in it, `checkout` puts this repository there,
and `instance` is one host by its name. `cli` is the command `tests/host/host`.
"""
