"""Cases of the commands: what people write, closed descriptors, encodings, the field's own words."""

import contextlib
import json
import shutil
from collections.abc import Iterator

from agent.cli.job.profile import config_directory
from agent.config import user_file

from .look import Look, same, tells
from .place import CONNECTION, Place, outcome, run, text

BOM = b"\xef\xbb\xbf"


def as_people_write(place: Place) -> Iterator[Look]:
    """Sizes, durations and numbers as people write them; no traceback, and no words of a library."""
    yield from _quantities(place)
    yield from _choices(place)
    yield from _descriptors(place)
    yield from _byte_order_marks(place)
    yield from _messages(place)
    yield from _places_of_artifacts(place)


def _quantities(place: Place) -> Iterator[Look]:
    cases = {
        ("--time", "1h30"): ("run_time_seconds", 5400),
        ("--time", "1.5h"): ("run_time_seconds", 5400),
        ("--time", "1h30m"): ("run_time_seconds", 5400),
        ("--memory", "1Gi"): ("memory_bytes", 2**30),
        ("--memory", "1GiB"): ("memory_bytes", 2**30),
        ("--memory", "0.5g"): ("memory_bytes", 2**29),
    }
    for (option, given), (limit, right) in cases.items():
        done = place.ml_job("submit", "waits.py", option, given, "--json")
        seen = json.loads(done.stdout)["limits"][limit] if done.returncode == 0 else text(done.stderr)
        yield same(f"submit {option} {given}", seen, right)
    done = place.ml_job("submit", "waits.py", "--memory", "900000G")
    yield tells("submit --memory 900000G", text(done.stderr), "GiB", never=("Traceback", "966367641600000"))


def _choices(place: Place) -> Iterator[Look]:
    for given in ("0.10", "1e-1", "1.0", ".01"):
        job = place.ran("choices.py", "-p", f"rate={given}")
        seen = f"{outcome(job)}: {text(place.log(job['job_id']))}"
        yield same(f"a choice of [0.1, 0.01, 1] as {given}", seen, f"COMPLETED: rate {given}")
    done = place.ml_job("submit", "choices.py", "-p", "rate=0.2")
    yield tells("a value that is no choice", text(done.stderr), "0.1, 0.01, 1")


def _descriptors(place: Place) -> Iterator[Look]:
    commands = (
        "ml-job --identity alice list",
        "ml-job --identity alice scripts",
        "ml-agent doctor",
        "ml-agent list",
        "ml-agent audit",
    )
    for command in commands:
        for closed in ("<&-", ">&-", "2>&-"):
            done = run("sh", "-c", f"{command} {closed}")
            yield tells(
                f"{command} {closed}",
                f"errors: {text(done.stderr)}",
                "errors",
                never=("Traceback", "Exception ignored"),
            )


def _byte_order_marks(place: Place) -> Iterator[Look]:
    client = place.base / "with-a-mark/ml-job"
    shutil.copytree(config_directory(), client)
    for file, original in (
        (client / "config.toml", config_directory() / "config.toml"),
        (client.parent / "agent.toml", user_file()),
    ):
        file.write_bytes(BOM + original.read_bytes())
    done = place.ml_job("scripts", config_home=client.parent)
    yield same(
        "ml-job's config.toml begins with a mark",
        (done.returncode, text(done.stderr).count("Invalid")),
        (0, 0),
    )
    done = run("ml-agent", "list", variables={"ML_AGENT_CONFIG": str(client.parent / "agent.toml")})
    yield same("ml-agent's config.toml begins with a mark", (done.returncode, text(done.stderr)), (0, ""))
    with contextlib.ExitStack() as stack:
        stack.callback(place.ml_job, "secret", "rm", "snowflake-mark")
        done = place.ml_job("secret", "set", "snowflake-mark", stdin=BOM + CONNECTION)
        yield same("a connections.toml begins with a mark", (done.returncode, text(done.stderr)), (0, ""))


def _messages(place: Place) -> Iterator[Look]:
    foreign = ("Traceback", "items after validation", "Value should have")
    done = place.ml_job("submit", "waits.py", "-p", f"x={'v' * 5000}")
    yield tells("a value of 5000 characters", text(done.stderr), "hyperparameters.x", "4096", never=foreign)
    done = place.ml_job("submit", "waits.py", "--name", "n" * 200)
    yield tells("a name of 200 characters", text(done.stderr), "name", "characters", never=foreign)


def _places_of_artifacts(place: Place) -> Iterator[Look]:
    place.add("scripts/leaves.py", "open('/artifacts/m.pkl', 'w').write('model')\n")
    job_id = place.ran("leaves.py")["job_id"]
    folder = place.base / "got"
    folder.mkdir()
    command = f"cd {folder} && ml-job --identity alice artifacts get {job_id} m.pkl -o"
    run("sh", "-c", f"{command} m.pkl")
    file = folder / "m.pkl"
    yield same("artifacts get m.pkl -o m.pkl", file.read_text() if file.is_file() else "no file", "model")
    done = run("sh", "-c", f"{command} -")
    yield same("artifacts get m.pkl -o -", (text(done.stdout), (folder / "-").exists()), ("model", False))


def lost_secret(place: Place) -> Iterator[Look]:
    """What is told of a job whose secret was removed while it waited is one line."""
    cpus = place.alice.call("/host")[1]["capacity"]["cpus"]
    with place.secret("api-token", b"x"):
        holder = place.ready("waits.py", "-p", "seconds=100", "--cpus", str(cpus))
        waiting = place.submit("holds_secret.py", "--cpus", str(cpus))
    place.ml_job("cancel", holder)
    job = place.wait(waiting)
    yield tells("the job", outcome(job), "FAILED start-failed", "api-token", never=("\n",))
    shown = text(place.ml_job("show", waiting).stdout)
    yield tells("ml-job show", shown, "api-token", never=("^J", "\\n"))


def snowflake_home(place: Place) -> Iterator[Look]:
    """SNOWFLAKE_HOME leads to the Snowflake secret, wherever it stands among those that a script declares."""
    with place.secret("api-token", b"x"), place.secret("snowflake", CONNECTION):
        for script in ("snowflake_first.py", "snowflake_last.py"):
            job_id = place.ran(script)["job_id"]
            lines = text(place.log(job_id)).splitlines()
            home = next((line for line in lines if line.startswith("home ")), "nothing")
            yield same(f"{script}: SNOWFLAKE_HOME", home, "home /run/secrets/snowflake")
            error = next((line for line in lines if line.startswith("error ")), "nothing")
            good = error.startswith("error ") and "Config" not in error
            yield Look(f"{script}: the connector's error", error, "not one of its configuration", good)
