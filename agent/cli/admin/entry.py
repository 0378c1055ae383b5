"""Where the program `ml-agent` begins: also on a machine that has only what `ml-job` needs."""

from ..program import needs_host


def main() -> None:
    """The `ml-agent` command."""
    with needs_host():
        from .main import main as run
    run()
