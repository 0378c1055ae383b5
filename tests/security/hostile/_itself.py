"""Attempts to be more than user 1000 without privileges, and to see or signal others' processes."""

import errno
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

from _attempts import TARGETS, attempt, each


def status():
    return dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )


@each("hold a capability ({})", ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
def capabilities(which):
    if int(status()[which], 16):
        return f"{which} is {status()[which]}"
    raise OSError(errno.EPERM, f"{which} is empty")


@attempt("run without a filter of system calls")
def seccomp():
    if status()["Seccomp"] != "2":
        return f"Seccomp is {status()['Seccomp']}"
    raise OSError(errno.EPERM, "Seccomp is 2, a filter")


@attempt("gain privileges by execve")
def no_new_privileges():
    if status()["NoNewPrivs"] != "1":
        return f"NoNewPrivs is {status()['NoNewPrivs']}"
    raise OSError(errno.EPERM, "NoNewPrivs is 1")


@attempt("become root by setuid")
def setuid():
    os.setuid(0)
    return "uid 0"


@attempt("become another user of the mapping by setresuid")
def setresuid():
    os.setresuid(999, 999, 999)
    return "uid 999"


@attempt("become root by a set-user-id program")
def set_user_id():
    programs = [
        str(path)
        for directory in ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
        for path in Path(directory).glob("*")
        if path.is_file() and path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    ]
    for program in programs:
        ran = subprocess.run([program, "--help"], capture_output=True, check=False)
        if ran.returncode == 0 and os.geteuid() == 0:
            return f"{program} made it root"
    copy = Path("/tmp/set-user-id")
    copy.write_bytes(Path(os.path.realpath(sys.executable)).read_bytes())
    copy.chmod(0o4755)
    ran = subprocess.run(
        [copy, "-c", "import os; print(os.geteuid())"], capture_output=True, text=True, check=False
    )
    copy.unlink()
    if ran.stdout.strip() == "0":
        return "a copy of its own made it root"
    raise OSError(errno.EPERM, f"{len(programs)} programs in the image, none made it root")


@attempt("belong to one of the host's groups")
def groups():
    if extra := [group for group in os.getgroups() if group not in (1000, 65534)]:
        return f"groups {extra}"
    raise OSError(errno.EPERM, "its only group is its own")


@attempt("raise a limit above what it was given")
def raise_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if hard == resource.RLIM_INFINITY:
        return "files may be of any size"
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard + 1, hard + 1))
    except ValueError as error:  # what Python makes of EPERM
        raise OSError(errno.EPERM, str(error)) from error
    return "the limit on files is above its own"


@attempt("leave a core dump")
def core_dump():
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        return "RLIMIT_CORE is not 0"
    raise OSError(errno.EPERM, "RLIMIT_CORE is 0")


@attempt("be favoured by the out-of-memory killer")
def oom_score():
    Path("/proc/self/oom_score_adj").write_text("-1000")
    return "it would be killed last"


@attempt("get a real-time schedule")
def real_time():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    return "SCHED_FIFO"


@attempt("raise its priority")
def priority():
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return "nice -10"


@attempt("see a process that is not its own")
def processes():
    mine = {os.getpid(), 1}
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        if pid not in mine and not name.startswith(("python", "catatonit", "podman-init", "sleep")):
            found.append(f"{pid} {name}")
    if found:
        return f"sees {found}"
    raise OSError(errno.ESRCH, "a process namespace of its own")


@each("signal the host's process {}", TARGETS["pids"])
def signal_host(pid):
    if os.path.exists(f"/proc/{pid}/comm"):
        raise OSError(errno.ESRCH, "that number is one of its own")
    os.kill(pid, 0)
    return "it can be signalled"


@attempt("find the host in its environment")
def environment():
    known = [
        "PATH",
        "LANG",
        "HOME",
        "HOSTNAME",
        "MPLCONFIGDIR",
        "MPLBACKEND",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "JOB_ID",
        "JOB_OWNER",
        "JOB_COMMIT",
        "container",
        "TERM",
        "LC_CTYPE",
        "PWD",
        "HTTPS_PROXY",
        "https_proxy",
        "NO_PROXY",
        "no_proxy",
    ]
    # The job's own CPU limit, in whole threads.
    threads = [
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "POLARS_MAX_THREADS",
        "RAYON_NUM_THREADS",
        "LOKY_MAX_CPU_COUNT",
        "PYTHON_CPU_COUNT",
    ]
    known += [name for name in threads if os.environ.get(name, "").isdigit()]
    if found := [name for name in os.environ if name not in known and not name.startswith("HP_")]:
        return f"has {found}"
    raise OSError(errno.ENOENT, "nothing of the host's: no NOTIFY_SOCKET, GOGC, XDG_RUNTIME_DIR, proxy")


@each("find {} in /etc/hosts", TARGETS["names"])
def hosts(name):
    if name in Path("/etc/hosts").read_text().split():
        return "it is there"
    raise OSError(errno.ENOENT, "the container's own names alone")
