"""A fleet on one machine: real hosts, a record and a broker, each in a network namespace of its own.

`layout` says which nodes there are and what their names mean. `network` makes and cuts the network between
them, `template` makes the installed tree that hosts are copied from, and `bed` boots and installs them. `cli`
is the command `tests/fleet/host/fleet`. The hosts are those of `tests/host`; `inside/` is executed in them.
"""
