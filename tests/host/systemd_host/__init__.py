"""A disposable Debian host with systemd as PID 1, for tests that need the real thing.

`machine` knows what this machine offers, `rootfs` makes a root file system of it, and `instance` is one host
by its name. It is a container, which `nspawn` boots in its own control groups (`cgroups`) and `enter` enters;
or a virtual machine: `disk` makes its disk, `vm` boots it, and `ssh` enters it. `engine` knows which.
`checkout` is this repository as it is put there, and `cli` the command `tests/host/host`.
"""
