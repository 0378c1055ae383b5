import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import DEFAULT_LIMITS, MAXIMUM_LIMITS, Settings, shipped, user_file
from agent.config_files import load
from agent.errors import AgentError, FieldError, Problem
from agent.model.inputs import Limits
from agent.model.ref import ReviewRules

REQUIRED = '[scripts]\nrepository = "/srv/training"\n'

Load = Callable[..., Settings]


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [*os.environ]:
        if variable.startswith(("ML_AGENT_", "XDG_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def layered(tmp_path: Path) -> Load:
    """Loads a system's and a user's file with the given contents."""

    def call(system: str = REQUIRED, user: str = "") -> Settings:
        files = [tmp_path / "system.toml", tmp_path / "user.toml"]
        for path, content in zip(files, (system, user), strict=True):
            path.write_text(content)
        return load(files)

    return call


def refused(layered: Load, system: str, user: str = "") -> FieldError:
    """The one thing that is wrong with a configuration."""
    with pytest.raises(AgentError) as caught:
        layered(system, user)
    assert caught.value.problem is Problem.CONFIGURATION
    (only,) = caught.value.fields
    return only


def test_only_the_repository_is_required(layered: Load, tmp_path: Path) -> None:
    settings = layered()
    assert settings.scripts.repository == Path("/srv/training")
    assert settings.state_directory == tmp_path / "home/.local/state/ml-agent"
    assert settings.runtime_directory == Path(f"/run/user/{os.getuid()}")
    assert settings.policy_directories == [Path("/etc/ml-agent"), tmp_path / "home/.config/ml-agent"]


def test_a_limit_that_is_not_set_keeps_its_default(layered: Load) -> None:
    jobs = layered(REQUIRED + "[jobs.default_limits]\ncpus = 2\n").jobs
    assert jobs.default_limits == DEFAULT_LIMITS.model_copy(update={"cpus": 2.0})
    assert jobs.maximum_limits == MAXIMUM_LIMITS


def test_limits_are_resolved_over_the_sites_and_then_over_the_packages_defaults(layered: Load) -> None:
    jobs = layered(REQUIRED + "[jobs.default_limits]\ncpus = 2\n").jobs
    resolved = jobs.resolve(Limits(tasks=7))
    assert (resolved.cpus, resolved.tasks) == (2.0, 7)
    assert resolved.memory_bytes == DEFAULT_LIMITS.memory_bytes
    assert resolved.grace_seconds is None
    assert jobs.resolve(Limits(cpus=3, grace_seconds=9)).grace_seconds == 9


def test_a_default_above_the_capacity_is_refused_with_all_digits(layered: Load) -> None:
    text = REQUIRED + "[jobs]\nmemory_bytes = 20221198336\ndefault_limits = { memory_bytes = 20221198337 }\n"
    why = "memory_bytes is 20221198336: no room for default_limits.memory_bytes, 20221198337"
    assert why in refused(layered, text).message


def test_a_misspelt_variable_is_named(layered: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_AGENT_HTPP__PORT", "1")
    assert refused(layered, REQUIRED).field == "environment variable ML_AGENT_HTPP__PORT"


def test_a_variable_that_is_not_json_is_refused(layered: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_AGENT_NETWORKS", "{bad")
    assert "networks" in refused(layered, REQUIRED).message


def test_missing_files_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(REQUIRED)
    assert load([tmp_path / "nothing.toml", file]).scripts.repository == Path("/srv/training")


def test_a_byte_order_mark_before_a_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xef\xbb\xbf" + REQUIRED.encode())
    assert load([file]).scripts.repository == Path("/srv/training")


def test_a_higher_layer_overrides_key_by_key(layered: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_AGENT_HTTP__MAX_FOLLOWERS", "3")
    settings = layered(
        REQUIRED + "[http]\nport = 1\nmax_followers = 1\nidle_exit_seconds = 1\n",
        "[http]\nport = 2\nmax_followers = 2\n",
    )
    http = settings.http
    assert (http.idle_exit_seconds, http.port, http.max_followers) == (1, 2, 3)


def test_connections_leave_room_beside_followers_by_default(layered: Load) -> None:
    http = layered(REQUIRED + "[http]\nmax_followers = 30\nmax_followers_per_user = 20\n").http
    assert (http.connections, http.connections_per_user) == (1030, 70)
    http = layered(REQUIRED + "[http]\nmax_connections = 3\nmax_connections_per_user = 2\n").http
    assert (http.connections, http.connections_per_user) == (3, 2)


def test_a_list_of_a_higher_layer_replaces_the_lower_one(layered: Load) -> None:
    settings = layered('policy_directories = ["/a", "/b"]\n' + REQUIRED, 'policy_directories = ["/c"]\n')
    assert settings.policy_directories == [Path("/c")]


def test_an_egress_network_is_no_podman_network_and_has_a_proxy(layered: Load) -> None:
    settings = layered(REQUIRED + '[egress.db]\nallow = ["db.example.com:443"]\nprivate = ["10.0.0.0/8"]\n')
    assert settings.network("db") == "none"
    assert settings.egress_directory("db") == settings.runtime_directory / "ml-egress/db"


@pytest.mark.parametrize(("total", "floor"), [(2**40, 2**30), (2**30, 2**30 // 20), (0, 0)])
def test_jobs_leave_a_gibibyte_free_or_a_share_of_a_small_disk(layered: Load, total: int, floor: int) -> None:
    assert layered().jobs.free_floor(total) == floor
    assert layered(REQUIRED + "[jobs]\nmin_free_bytes = 7\n").jobs.free_floor(total) == 7


def test_by_default_retention_and_pins_have_parts_of_the_file_system(layered: Load) -> None:
    system = os.statvfs("/")
    size = system.f_blocks * system.f_frsize
    usual = layered().retention
    assert (usual.byte_limit(system), usual.pin_limit(system)) == (size // 2, size // 10)
    assert usual.file_limit(system) == (system.f_files // 2 or sys.maxsize)
    assert usual.record_limit_per_user == 2 * usual.max_record_bytes
    table = "[retention]\nmax_bytes = 1\nmax_files = 2\nmax_pinned_bytes_per_user = 3\n"
    given = layered(REQUIRED + table).retention
    assert (given.byte_limit(system), given.file_limit(system), given.pin_limit(system)) == (1, 2, 3)


@pytest.mark.parametrize(("total", "floor"), [(10**9, 200_000), (10**6, 50_000), (0, 0)])
def test_jobs_leave_inodes_free_where_their_number_is_fixed(layered: Load, total: int, floor: int) -> None:
    assert layered().jobs.free_inode_floor(total) == floor
    given = layered(REQUIRED + "[jobs]\nmin_free_inodes = 7\n").jobs
    assert given.free_inode_floor(total) == (7 if total else 0)


def test_networks_of_all_layers_are_known_and_none_always_exists(layered: Load) -> None:
    settings = layered(
        REQUIRED + '[networks]\nwarehouse = "pasta:-T,8085"\n', '[networks]\nlan = "lan.network"\n'
    )
    names = ("warehouse", "lan", "none", "other")
    assert [settings.network(name) for name in names] == ["pasta:-T,8085", "lan.network", "none", None]


def test_what_is_checked_out_may_run_by_default(layered: Load) -> None:
    assert layered().scripts.review_rules == ReviewRules()


def test_signers_count_only_where_signatures_are_required(layered: Load) -> None:
    signers = (
        'allowed_signers = "/etc/signers"\nrefs = ["main", "refs/tags/v*"]\ndevelopment_refs = ["dev/**"]\n'
    )
    rules = ReviewRules(("main", "refs/tags/v*"), ("dev/**",))
    assert layered(REQUIRED + signers).scripts.review_rules == rules
    signed = replace(rules, allowed_signers=Path("/etc/signers"))
    assert layered(REQUIRED + signers + "require_signed = true\n").scripts.review_rules == signed


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ML_AGENT_SCRIPTS__REPOSITORY", "~/training")
    assert load([]).scripts.repository == tmp_path / "home/training"


def test_base_directories_follow_the_xdg_specification(
    monkeypatch: pytest.MonkeyPatch, layered: Load
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative/is/ignored")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    settings = layered()
    assert settings.database == Path("/state/ml-agent/jobs.db")
    assert settings.podman_socket == Path(f"/run/user/{os.getuid()}/podman/podman.sock")
    assert user_file() == Path("/config/ml-agent/config.toml")


def test_a_variable_can_name_another_users_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_AGENT_CONFIG", "/demo/config.toml")
    assert user_file() == Path("/demo/config.toml")


@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (REQUIRED + "[http]\nprot = 1\n", "http.prot", "is no setting; did you mean port?"),
        ("htpp = 1\n" + REQUIRED, "htpp", "is no setting; did you mean http?"),
        (REQUIRED + "[http]\nport = 99999\n", "http.port", "less than or equal to 65535"),
        (
            REQUIRED + "[http]\nidle_exit_seconds = 0\n",
            "http.idle_exit_seconds",
            "greater than or equal to 1",
        ),
        (
            REQUIRED + "[retention]\nmax_pinned_per_user = -1\n",
            "retention.max_pinned_per_user",
            "greater than",
        ),
        (
            REQUIRED + "[retention]\nrecord_days = 30\n",
            "retention",
            "files_days is 90 and record_days 30",
        ),
        ('[scripts]\nrepository = "training"\n', "scripts.repository", "must be an absolute path, or start"),
        (REQUIRED + 'directory = "../x"\n', "scripts.directory", "must match pattern"),
        (REQUIRED + "refs = []\n", "scripts.refs", "must not be empty"),
        (REQUIRED + 'refs = ["main", "a b"]\n', "scripts.refs.1", "must be a branch or a tag"),
        (REQUIRED + 'development_refs = ["/x"]\n', "scripts.development_refs.0", "must be a branch or a tag"),
        (REQUIRED + "require_signed = true\n", "scripts", "require_signed needs allowed_signers"),
        (REQUIRED + 'allowed_signers = "signers"\n', "scripts.allowed_signers", "must be an absolute path"),
        (REQUIRED + '[jobs]\nimage = "a b"\n', "jobs.image", "must match pattern"),
        (REQUIRED + "[egress.db]\nallow = []\n", "egress.db.allow", "must not be empty"),
        (
            REQUIRED + '[egress.db]\nallow = ["*"]\n',
            "egress.db.allow.0",
            "must be NAME:PORT, such as db.example.com",
        ),
        (REQUIRED + '[egress.db]\nallow = ["a.b"]\n', "egress.db.allow.0", "must be NAME:PORT"),
        (
            REQUIRED + '[egress.db]\nallow = ["a.example.com:65535", "b.example.com:65536"]\n',
            "egress.db.allow.1",
            "the port must be from 1 to 65535",
        ),
        (
            REQUIRED + '[networks]\ndb = "pasta"\n[egress.db]\nallow = ["db.example.com:443"]\n',
            "egress",
            "another network already has the name db",
        ),
        (REQUIRED + '[networks]\n"A B" = "none"\n', "networks.A B", "must match pattern"),
        (
            REQUIRED + '[networks]\nlan = "a\\nPodmanArgs=--privileged"\n',
            "networks.lan",
            "must match pattern",
        ),
    ],
)
def test_a_refused_value_is_named_with_its_file_and_key(
    layered: Load, tmp_path: Path, content: str, key: str, message: str
) -> None:
    error = refused(layered, content)
    assert error.field == f"{tmp_path}/system.toml: {key}"
    assert message in error.message


def test_a_refused_value_is_named_with_the_file_that_set_it(layered: Load, tmp_path: Path) -> None:
    error = refused(layered, REQUIRED + "[http]\nport = 1\n", "[http]\nport = 0\n")
    assert error.field == f"{tmp_path}/user.toml: http.port"


def test_without_a_configuration_the_hint_is_how_to_create_it(tmp_path: Path) -> None:
    system, user = tmp_path / "system.toml", tmp_path / "user.toml"
    system.write_text("[http]\nport = 9000\n")
    with pytest.raises(AgentError) as caught:
        load([system, user])
    assert caught.value.message == f"There is no {user}."
    assert "ml-agent init --scripts" in caught.value.hint
    assert caught.value.fields == ()


def test_a_missing_value_is_named_with_the_file_it_belongs_in(layered: Load, tmp_path: Path) -> None:
    assert refused(layered, "") == FieldError(f"{tmp_path}/user.toml: scripts", "is missing")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ML_AGENT_HTTP__PORT", "many", "must be an integer"),
        ("ML_AGENT_HTTP__PROT", "1", "is no setting; did you mean port?"),
        ("ML_AGENT_STATE_DIRECTORY", "relative", "must be an absolute path"),
        ("ML_AGENT_NETWORKS", '{"lan": "a b"}', "must match pattern"),
    ],
)
def test_a_refused_value_is_named_with_its_environment_variable(
    layered: Load, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    error = refused(layered, REQUIRED)
    assert error.field == f"environment variable {variable}"
    assert message in error.message


@pytest.mark.parametrize(
    ("content", "near"),
    [
        ("[jobs]\nmax_runing = 3\n", "max_running"),
        ("[jobs.default_limits]\nmemory_byte = 1\n", "memory_bytes"),
        ('[egress.db]\nallow = ["a.example.com:443"]\nprivat = []\n', "private"),
        ("[retension]\nmax_jobs = 1\n", "retention"),
        ("[jobs]\nzzz = 3\n", None),
    ],
)
def test_an_unknown_key_suggests_a_near_one(layered: Load, content: str, near: str | None) -> None:
    message = refused(layered, REQUIRED, content).message
    assert message == ("is no setting" if near is None else f"is no setting; did you mean {near}?")


def test_an_unknown_variable_suggests_a_near_setting(layered: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ML_AGENT_SCRIPT__REPOSITORY", "/x")
    assert refused(layered, REQUIRED).message == "is no setting; did you mean scripts?"


def test_all_errors_are_reported_at_once(layered: Load) -> None:
    with pytest.raises(AgentError) as caught:
        layered("state_directory = 1\n[http]\nport = 0\nmax_followers = 0\n")
    assert len(caught.value.fields) == 4


@pytest.mark.parametrize("content", [b"port = ", b"a = 1\na = 2\n", b"\xff"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(content)
    with pytest.raises(AgentError, match=f"{file} cannot be read") as caught:
        load([file])
    assert caught.value.problem is Problem.CONFIGURATION


def test_settings_are_frozen(layered: Load) -> None:
    settings = layered()
    with pytest.raises(ValueError, match="frozen"):
        settings.http.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("directory", ["units", "quadlets", "images"])
def test_shipped_files_are_found_in_a_checkout(directory: str) -> None:
    assert shipped(directory).is_dir()
