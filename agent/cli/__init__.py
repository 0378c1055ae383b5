"""The commands: `ml-agent` for who looks after a host, `ml-job` for who runs jobs on it."""
