"""The images as Podman runs them: the jobs' image in a job's sandbox, and training on the warehouse."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

RUNNER = "localhost/ml-runner:latest"
WAREHOUSE = "localhost/ml-warehouse:latest"
SCRIPTS = Path(__file__).parents[2] / "scripts"
PATIENCE = 180  # seconds

# How a job runs (quadlets/ml-job@.container), without what systemd does.
SANDBOX = (
    *("--rm", "--init", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all"),
    *("--security-opt=no-new-privileges", "--userns=keep-id:uid=1000,gid=1000"),
    *("--tmpfs", "/tmp:rw,nosuid,nodev,size=1g,mode=1777"),
    *("--tmpfs", "/dev/shm:rw,nosuid,nodev,noexec,size=256m,mode=1777"),
)

# The site's network for jobs that read the demo's warehouse (docs/warehouse.md), with another port.
WAREHOUSE_NETWORK = (
    "pasta:-4,-T,{port},--no-map-gw,--map-guest-addr,none,--outbound-if4,lo,-I,warehouse,--no-udp,--no-icmp"
)

CONNECTION = """
[default]
account = "demo"
user = "tester"
password = "{password}"
host = "127.0.0.1"
port = 8085
protocol = "http"
database = "ML_DEMO"
schema = "TELECOM"
platform_detection_timeout_seconds = 0.0
"""

SCORE = """
import joblib, json, pandas, sys
from sklearn import metrics
folder, (model_file, target) = "/artifacts/", sys.argv[1:]
model, holdout = joblib.load(folder + model_file), pandas.read_parquet(folder + "holdout.parquet")
true, predicted = holdout[target], model.predict(holdout)
classifier = hasattr(model, "predict_proba")
print(json.dumps(
    {"accuracy": metrics.accuracy_score(true, predicted),
     "roc_auc": metrics.roc_auc_score(true, model.predict_proba(holdout)[:, 1])} if classifier else
    {"mae": metrics.mean_absolute_error(true, predicted), "r2": metrics.r2_score(true, predicted)}
))
"""

REACH = """
import json, pathlib, socket, sys
def lines(file):
    return [line.split() for line in pathlib.Path(file).read_text().splitlines()]
def outcome(address, port):
    try:
        socket.create_connection((address, port), timeout=5).close()
        return "connected"
    except OSError as error:
        return error.strerror
print(json.dumps({
    "targets": {f"{a} {p}": outcome(a, p) for a, p in json.loads(sys.argv[1])},
    "routes": [fields[1] for fields in lines("/proc/net/route")][1:],
    "global_ipv6": [fields[0] for fields in lines("/proc/net/if_inet6") if fields[3] == "00"],
}))
"""


def missing(image: str) -> bool:
    command = ("podman", "image", "exists", image)
    return shutil.which("podman") is None or subprocess.run(command, check=False).returncode != 0


pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(
        missing(RUNNER), reason=f"there is no image {RUNNER} (ml-runner-build.service makes it)"
    ),
]


def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["podman", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def python(code: str, *arguments: str, options: tuple[str, ...] = ("--network=none",)) -> str:
    """What a snippet prints in a job's sandbox; warnings are errors."""
    ran = podman(
        "run", *SANDBOX, *options, "--entrypoint=python3", RUNNER, "-W", "error", "-c", code, *arguments
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The container of a warehouse without network access; jobs join its network."""
    if missing(WAREHOUSE):
        pytest.skip(f"there is no image {WAREHOUSE} (ml-warehouse-build.service makes it)")
    logins = tmp_path_factory.mktemp("warehouse") / "connections.toml"
    logins.write_text(CONNECTION.format(password="right"))
    name = f"test-warehouse-{uuid4().hex[:8]}"
    started = podman(
        *("run", "--detach", "--rm", "--read-only", "--network=none", "--cap-drop=all"),
        *("--userns=keep-id:uid=1000,gid=1000", "--name", name),
        *("--volume", f"{logins}:/run/secrets/ml-warehouse:ro", WAREHOUSE),
    )
    assert started.returncode == 0, started.stderr
    try:
        deadline = time.monotonic() + PATIENCE
        while "running on" not in podman("logs", name).stderr:
            assert time.monotonic() < deadline, podman("logs", name).stderr
            time.sleep(0.1)
        yield name
    finally:
        podman("rm", "--force", "--time=2", name)


def train(
    tmp_path: Path, warehouse: str, script_name: str, *, password: str = "right", **hyperparameters: str
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Runs a script of `scripts/` as a job, but without systemd; returns the process and the artifacts."""
    for directory in ("job", "artifacts", "secret"):
        (tmp_path / directory).mkdir(exist_ok=True)
    known = {"job_id": "abcdefghij23", "owner": "alice", "commit": "c" * 40}
    job = {**known, "script_name": script_name, "hyperparameters": hyperparameters}
    (tmp_path / "job/job.json").write_text(json.dumps(job))
    secret = tmp_path / "secret/connections.toml"
    secret.unlink(missing_ok=True)
    secret.write_text(CONNECTION.format(password=password))
    secret.chmod(0o400)
    ran = podman(
        *("run", *SANDBOX, f"--network=container:{warehouse}"),
        *("--volume", f"{SCRIPTS}:/scripts:ro", "--volume", f"{tmp_path}/job:/run/ml-job:ro"),
        *(
            "--volume",
            f"{tmp_path}/artifacts:/artifacts:rw",
            "--volume",
            f"{tmp_path}/secret:/run/secrets/snowflake:ro",
        ),
        *("--env", "SNOWFLAKE_HOME=/run/secrets/snowflake", RUNNER),
    )
    return ran, tmp_path / "artifacts"


def test_what_scripts_import_works_without_a_writable_root_or_a_network() -> None:
    packages = (
        "joblib, matplotlib.pyplot, numpy, pandas, pyarrow.parquet, sklearn.ensemble, snowflake.connector"
    )
    assert python(f"import {packages}; print('fine')") == "fine\n"


@pytest.mark.parametrize(
    ("image", "interpreter", "packages"),
    [
        (RUNNER, "/opt/ml/bin/python3", "pandas, sklearn.ensemble, snowflake.connector"),
        (WAREHOUSE, "/opt/warehouse/bin/python3", "fakesnow.server, uvicorn"),
    ],
)
def test_nothing_is_compiled_when_a_container_starts(image: str, interpreter: str, packages: str) -> None:
    code = f"""
import os, sys, {packages}
specs = [module.__spec__ for module in sys.modules.values() if getattr(module, "__spec__", None)]
files = [spec.cached for spec in specs if spec.has_location and spec.cached]
print(len(files) > 500, [file for file in files if not os.path.exists(file)])
"""
    ran = podman("run", *SANDBOX, "--network=none", f"--entrypoint={interpreter}", image, "-c", code)
    assert (ran.returncode, ran.stdout) == (0, "True []\n"), ran.stderr


def test_matplotlib_finds_its_font_list_ready() -> None:
    code = "import os; print(sum(name.startswith('fontlist-') for name in os.listdir('/tmp/matplotlib')))"
    assert python(code) == "1\n"


def test_a_job_is_unprivileged_and_can_write_only_to_tmp() -> None:
    code = """
import os, pathlib
assert os.getuid() == os.getgid() == 1000
pathlib.Path("/tmp/mine").write_text("fine")
for place in ("/", "/scripts", "/opt/ml", "/var/tmp", "/etc"):
    assert not os.access(place, os.W_OK), place
print("fine")
"""
    assert python(code) == "fine\n"


def test_there_is_no_package_installer_in_the_jobs_environment() -> None:
    assert python("import importlib.util as u; print(u.find_spec('pip'))") == "None\n"


def test_without_a_job_description_a_container_says_so_and_exits_with_78() -> None:
    ran = podman("run", *SANDBOX, "--network=none", RUNNER)
    assert (ran.returncode, ran.stderr) == (
        78,
        "ml-runner: /run/ml-job/job.json: No such file or directory\n",
    )


def test_the_churn_model_reproduces_its_metrics(tmp_path: Path, warehouse: str) -> None:
    ran, artifacts = train(tmp_path, warehouse, "train_churn_model.py", n_estimators="40")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert '::progress {"done": 40, "total": 40}' in ran.stdout
    metrics = json.loads((artifacts / "metrics.json").read_text())
    assert 0.8 < metrics["accuracy"] < 0.95
    assert metrics["hyperparameters"]["n_estimators"] == 40
    assert (artifacts / "churn_model.png").read_bytes().startswith(b"\x89PNG")
    mount = ("--network=none", "--volume", f"{artifacts}:/artifacts:ro")
    again = json.loads(python(SCORE, "churn_model.joblib", "CHURNED", options=mount))
    assert again == {name: metrics[name] for name in again}


def test_a_query_carries_the_job_as_its_tag(tmp_path: Path, warehouse: str) -> None:
    ran, _ = train(tmp_path, warehouse, "train_churn_model.py", n_estimators="1")
    assert ran.returncode == 0, ran.stderr
    told = [line for line in podman("logs", warehouse).stderr.splitlines() if "QUERY_TAG" in line]
    assert json.loads(json.loads(told[-1].partition("QUERY_TAG ")[2])) == {
        "ml_job": "abcdefghij23",
        "owner": "alice",
        "commit": "c" * 40,
        "script": "train_churn_model.py",
    }


def test_the_same_seed_trains_the_same_model(tmp_path: Path, warehouse: str) -> None:
    seen = []
    for attempt in ("first", "second"):
        (tmp_path / attempt).mkdir()
        _, artifacts = train(tmp_path / attempt, warehouse, "train_churn_model.py", n_estimators="10")
        seen.append([(artifacts / name).read_bytes() for name in ("metrics.json", "holdout.parquet")])
    assert seen[0] == seen[1]


def test_the_regression_reproduces_its_metrics(tmp_path: Path, warehouse: str) -> None:
    ran, artifacts = train(tmp_path, warehouse, "train_lifetime_value.py", n_estimators="40")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    metrics = json.loads((artifacts / "metrics.json").read_text())
    assert metrics["mae"] < 0.5 * metrics["mae_of_the_mean"]
    mount = ("--network=none", "--volume", f"{artifacts}:/artifacts:ro")
    again = json.loads(python(SCORE, "lifetime_value.joblib", "LIFETIME_VALUE", options=mount))
    assert again == {name: metrics[name] for name in again}


def test_a_wrong_hyperparameter_ends_the_job_before_training(tmp_path: Path, warehouse: str) -> None:
    ran, artifacts = train(tmp_path, warehouse, "train_churn_model.py", n_estimators="none")
    assert ran.returncode == 2
    assert ran.stderr == "wrong hyperparameter: n_estimators must be of type integer, not 'none'\n"
    assert list(artifacts.iterdir()) == []


def test_a_wrong_password_is_one_line_that_does_not_show_it(tmp_path: Path, warehouse: str) -> None:
    ran, _ = train(tmp_path, warehouse, "train_churn_model.py", password="wrong-canary")
    assert ran.returncode == 1
    assert "Snowflake: " in ran.stderr.splitlines()[-1]
    assert "Incorrect username or password" in ran.stderr
    assert "canary" not in ran.stdout + ran.stderr


def test_the_warehouses_network_reaches_one_port_of_the_host_and_nothing_else() -> None:
    with socket.create_server(("127.0.0.1", 0)) as allowed, socket.create_server(("127.0.0.1", 0)) as other:
        port, closed = allowed.getsockname()[1], other.getsockname()[1]
        # The last address is Podman's own for the host, which would reach its loopback.
        targets = [("127.0.0.1", port), ("127.0.0.1", closed), ("::1", port), ("169.254.1.2", closed)]
        network = f"--network={WAREHOUSE_NETWORK.format(port=port)}"
        seen = json.loads(python(REACH, json.dumps(targets), options=(network,)))
    assert seen["targets"] == {
        f"127.0.0.1 {port}": "connected",
        f"127.0.0.1 {closed}": "Connection refused",
        f"::1 {port}": "Connection refused",
        f"169.254.1.2 {closed}": "Network is unreachable",
    }
    assert seen["routes"] == ["0000007F"]  # 127.0.0.0/8, little-endian: no default route
    assert seen["global_ipv6"] == []
