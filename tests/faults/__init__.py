"""Faults, really made, and an auditor that asks nobody whom it audits.

`killing` is the agent with a trap at each of its steps, `site` an agent of the faults' own on the host,
`client` those who submit and follow; `audit` reads the record, systemd's marks and the journal;
`agent_faults`, `host_faults` and `reboot` make the faults, and `tests/faults/faults` all of them;
`machine_faults` and `power` those that need a machine of its own, and `tests/faults/machine` all of these.
"""
