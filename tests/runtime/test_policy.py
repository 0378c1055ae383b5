"""What a drop-in may add to a job's container, option by option; `test_quadlet` has the generator."""

import json
from pathlib import Path

import pytest

from agent.config import shipped
from agent.runtime.policy import Terms, configuration_objections, objections
from agent.runtime.quadlet import CONTAINERS_CONF, SECCOMP

TERMS = Terms(
    image="localhost/ml-runner@sha256:" + "d" * 64,
    network="none",
    seccomp=Path("/usr/lib/ml/ml-job.seccomp.json"),
    volumes=["/var/lib/ml/a:/scripts:ro", "/var/lib/ml/b:/artifacts:rw"],
    secrets=["ml-agent.snowflake"],
    state=Path("/home/ml/state"),
    home=Path("/home/ml"),
)
COMMAND = (
    "/usr/bin/podman --events-backend=none --default-mounts-file=/dev/null"
    " run --name x --rm --cgroups=split --network none --sdnotify=conmon"
    " -d --security-opt=no-new-privileges --security-opt seccomp=/usr/lib/ml/ml-job.seccomp.json"
    " --cap-drop all"
    " --read-only --read-only-tmpfs=false --user 1000:1000 --userns keep-id:uid=1000,gid=1000"
    " -v /var/lib/ml/a:/scripts:ro -v /var/lib/ml/b:/artifacts:rw"
    " --secret ml-agent.snowflake,type=mount,mode=0400 --http-proxy=false --hosts-file=none {} " + TERMS.image
)


def wrong(added: str) -> list[str]:
    return objections(COMMAND.format(added), TERMS)


@pytest.mark.parametrize(
    "added",
    [
        "",
        "--env NAME=value",
        '--env "NAME=a value"',
        "--tmpfs /scratch:size=1g",
        "--ulimit nofile=1024:1024",
        "--label a=b",
        "--annotation org.example.owner=alice",
        '--annotation "org.example.why=a\nb"',
        "--tz local",
        "--device nvidia.com/gpu=all",
        "--device nvidia.com/gpu=GPU-1a2b",
        "-v /srv/data:/data:ro",
        "-v /srv/data:/data:ro,z",
        "-v data:/data:ro",
        "--volume=/srv/data:/data:ro",
        "-v /home/data:/data:ro",
        "-v /home/ml/data:/data:ro",
        "--security-opt mask=/proc/cpuinfo",
        "--security-opt label=type:ml_job_t",
        "--secret site.license,type=mount",
    ],
)
def test_a_site_may_add_options_that_do_not_weaken_isolation(added: str) -> None:
    assert wrong(added) == []


@pytest.mark.parametrize(
    ("added", "named"),
    [
        ("--privileged", "--privileged"),
        ("--cap-add=SYS_ADMIN", "--cap-add SYS_ADMIN"),
        ("--network=host", "--network host"),
        ("--network none", "more than one --network"),
        ("--net=host", "--net host"),
        ("--tmpfs /tmp:size=1g --tmpfs /tmp:size=4g", "it mounts /tmp twice"),
        ("--tmpfs /scripts/:size=1g", "it mounts /scripts twice"),
        ("-v /srv/data:/artifacts:ro", "it mounts /artifacts twice"),
        ("--pid=host", "--pid host"),
        ("--ipc host", "--ipc host"),
        ("--uts=host", "--uts host"),
        ("--cgroupns=host", "--cgroupns host"),
        ("--cgroups=no-conmon", "--cgroups no-conmon"),
        ("--cgroup-parent=/", "--cgroup-parent /"),
        ("--userns=host", "--userns host"),
        ("--userns=auto", "--userns auto"),
        ("--uidmap=0:0:1", "--uidmap 0:0:1"),
        ("--user 0", "--user 0"),
        ("--user root", "--user root"),
        ("--group-add keep-groups", "--group-add keep-groups"),
        ("--read-only=false", "--read-only false"),
        ("--read-only-tmpfs", "--read-only-tmpfs"),
        ("--http-proxy", "--http-proxy"),
        ("--hosts-file=/etc/hosts", "--hosts-file /etc/hosts"),
        ("--security-opt seccomp=unconfined", "--security-opt seccomp=unconfined"),
        ("--security-opt seccomp=/srv/other.json", "--security-opt seccomp=/srv/other.json"),
        ("--security-opt unmask=ALL", "--security-opt unmask=ALL"),
        ("--security-opt apparmor=unconfined", "--security-opt apparmor=unconfined"),
        ("--security-opt no-new-privileges:false", "--security-opt no-new-privileges:false"),
        ("--security-opt=no-new-privileges=false", "--security-opt no-new-privileges=false"),
        ("--device /dev/mem", "--device /dev/mem"),
        ("--device=/dev/kvm:/dev/kvm:rwm", "--device /dev/kvm:/dev/kvm:rwm"),
        ("--mount type=bind,src=/,dst=/host", "--mount type=bind,src=/,dst=/host"),
        ("--volumes-from other", "--volumes-from"),
        ("--env NOTIFY_SOCKET", "--env NOTIFY_SOCKET"),
        ("--env-host", "--env-host"),
        ("--env-file /etc/environment", "--env-file"),
        ("--secret key,type=env,target=KEY", "--secret key,type=env,target=KEY"),
        ("--sdnotify=container", "--sdnotify container"),
        ("--preserve-fds=3", "--preserve-fds 3"),
        ("--annotation run.oci.seccomp_bpf_data=AAAA", "--annotation run.oci.seccomp_bpf_data=AAAA"),
        ("--annotation=run.oci.keep_original_groups=1", "--annotation run.oci.keep_original_groups=1"),
        ("--annotation org.systemd.property.MemoryMax=1", "--annotation org.systemd.property.MemoryMax=1"),
        ("--annotation io.podman.annotations.privileged=TRUE", "--annotation io.podman.annotations"),
        ("--pod other", "--pod"),
        ("--rootfs /", "--rootfs"),
        ("--pull=always", "--pull always"),
        ("-v/:/host", "-v/:/host"),
        ("-v /srv/data:/data", "-v /srv/data:/data"),
        ("-v /srv/data:/data:rw", "-v /srv/data:/data:rw"),
        ("-v /:/host:ro", "-v /:/host:ro"),
        ("-v /run/user/1000:/x:ro", "-v /run/user/1000:/x:ro"),
        ("-v /srv/../run:/x:ro", "-v /srv/../run:/x:ro"),
        ("-v %t/podman:/x:ro", "-v %t/podman:/x:ro"),
        ("-v /proc:/x:ro", "-v /proc:/x:ro"),
        ("-v /var:/x:ro", "-v /var:/x:ro"),
        ("-v /home:/x:ro", "-v /home:/x:ro"),
        ("-v /home/ml:/x:ro", "-v /home/ml:/x:ro"),
        ("-v /home/ml/.ssh:/x:ro", "-v /home/ml/.ssh:/x:ro"),
        ("-v /home/ml/state/jobs:/x:ro", "-v /home/ml/state/jobs:/x:ro"),
        ("other:latest", f"it does not run {TERMS.image}"),
        ("--not-known-yet", "--not-known-yet"),
    ],
)
def test_options_that_weaken_isolation_are_named(added: str, named: str) -> None:
    assert any(named in clause for clause in wrong(added)), wrong(added)


@pytest.mark.parametrize(
    "part",
    [
        "--read-only ",
        "--read-only-tmpfs=false",
        "--cap-drop all",
        "--security-opt=no-new-privileges",
        "--security-opt seccomp=/usr/lib/ml/ml-job.seccomp.json",
        "--cgroups=split",
        "--network none",
        "--userns keep-id:uid=1000,gid=1000",
        "--sdnotify=conmon",
        "--http-proxy=false",
        "--hosts-file=none",
        "--secret ml-agent.snowflake,type=mount,mode=0400",
        "-v /var/lib/ml/b:/artifacts:rw",
    ],
)
def test_missing_options_are_named(part: str) -> None:
    assert part in COMMAND
    found = objections(COMMAND.format("").replace(part, "", 1), TERMS)
    assert len(found) == 1
    assert found[0].startswith("it lacks --" if part.startswith("--") else "it lacks -v")


@pytest.mark.parametrize(
    "command",
    [
        "",
        "/bin/true",
        "/usr/bin/podman start x",
        '/usr/bin/podman run "',
        COMMAND.format("").partition(" -d ")[0],
    ],
)
def test_an_incomplete_podman_run_is_refused(command: str) -> None:
    assert objections(command, TERMS) != []


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        ("--events-backend=none", "--events-backend=none --runtime=/srv/crun", ["it has --runtime"]),
        ("--events-backend=none", "--module=/srv/more.conf", ["it has --module"]),
        ("--default-mounts-file=/dev/null", "", ["it lacks --default-mounts-file /dev/null"]),
        (
            "--default-mounts-file=/dev/null",
            "--default-mounts-file=/dev/null --default-mounts-file=/srv/mounts",
            ["it has --default-mounts-file"],
        ),
    ],
)
def test_global_options_are_checked(before: str, after: str, wrong: list[str]) -> None:
    assert objections(COMMAND.format("").replace(before, after), TERMS) == wrong


def test_the_packaged_configuration_of_podman_may_be_used() -> None:
    assert configuration_objections((shipped("quadlets") / CONTAINERS_CONF).read_text("utf-8")) == []


HOOKS = "[engine]\nhooks_dir = []\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (HOOKS + 'conmon_path = ["/opt/conmon"]\nruntime = "runc"', []),
        (HOOKS + '[engine.runtimes]\nrunc = ["/opt/runc"]', []),
        (HOOKS + '[network]\ndefault_rootless_network_cmd = "slirp4netns"', []),
        ("", ["it lacks engine.hooks_dir = []"]),
        ('[engine]\nhooks_dir = ["/srv/hooks"]', ["it lacks engine.hooks_dir = []"]),
        (HOOKS + '[containers]\nvolumes = ["/:/host"]', ["it has containers.volumes"]),
        (HOOKS + 'remote = true\nenv = ["A=1"]', ["it has engine.remote", "it has engine.env"]),
        (HOOKS + '[network]\npasta_options = ["-T", "auto"]', ["it has network.pasta_options"]),
        ("volumes = []\n" + HOOKS, ["it has volumes"]),
        (HOOKS + "[machine]\ncpus = 1", ["it has machine.cpus"]),
    ],
)
def test_a_configuration_of_podman_may_name_its_programs_only(text: str, wrong: list[str]) -> None:
    assert configuration_objections(text) == wrong


def test_the_filter_allows_no_call_that_it_also_refuses() -> None:
    rules = json.loads((shipped("quadlets") / SECCOMP).read_text("utf-8"))["syscalls"]
    by_action = {
        action: {name for rule in rules if rule["action"] == action for name in rule["names"]}
        for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO")
    }
    assert not by_action["SCMP_ACT_ALLOW"] & by_action["SCMP_ACT_ERRNO"]
    unconditional = {name for rule in rules if "args" not in rule for name in rule["names"]}
    assert not unconditional & {"clone", "clone3", "socket", "personality"}
    for name in ("unshare", "mount", "ptrace", "bpf", "keyctl", "io_uring_setup", "open_by_handle_at"):
        assert name in by_action["SCMP_ACT_ERRNO"]
