"""How long a job takes to speak and how many fit into a second, beside `podman run` (`make bench`).

No test: nothing here passes or fails by a time. A job that does not end as it should ends the run.
"""
