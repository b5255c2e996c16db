"""Checks of the machine and the environment: Python, packages, disk, memory, GPU."""

import platform
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

import psutil
from packaging.markers import Marker
from packaging.requirements import Requirement

from bbqrec_core.home import PROJECT, home_folder
from tasks.doctor.finding import Finding

GB = 1e9
DISK_NEEDED, DISK_WANTED = 1 * GB, 10 * GB
MEMORY_NEEDED, MEMORY_WANTED = 1 * GB, 4 * GB
REINSTALL = "Reinstall from the lock: rm -f .venv/.installed && make install"


def check_python() -> Finding:
    """The interpreter is the project's own. An older one than Python 3.11 never comes this far: the Makefile refuses it."""
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.prefix == sys.base_prefix:
        return Finding("Python", "warning", f"{found}, no environment of its own", "Use .venv/bin/bbqrec, which `make install` makes.")
    return Finding("Python", "ok", found)


def check_packages(lock: Path = PROJECT / "requirements.lock") -> Finding:
    """Installed packages against the lock; those that the project names itself must agree."""
    try:
        locked = read_lock(lock)
    except OSError:
        return Finding("Packages", "warning", f"{lock.name} cannot be read", "Restore it from the repository.")
    installed = {_plain(package.name): package.version for package in metadata.distributions()}
    other = {name: version for name, version in locked.items() if installed.get(name) != version}
    if not other:
        return Finding("Packages", "ok", f"all {len(locked)} as locked")
    told = ", ".join(f"{name} {installed.get(name, 'missing')} (locked {version})" for name, version in sorted(other.items())[:5])
    more = f" and {len(other) - 5} more" if len(other) > 5 else ""
    named = {_plain(Requirement(text).name) for text in metadata.requires("bbqrec") or [] if "extra ==" not in text}
    return Finding("Packages", "problem" if named & other.keys() else "warning", f"not as locked: {told}{more}", REINSTALL)


def read_lock(path: Path) -> dict[str, str]:
    """Versions by name of what a lock file wants on this machine.

    Raises:
        OSError: It cannot be read.
    """
    versions = {}
    for name, version, marker in re.findall(
        r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", path.read_text(encoding="utf-8"), re.MULTILINE
    ):
        if not marker or Marker(marker.strip()).evaluate():
            versions[_plain(name)] = version
    return versions


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def check_disk() -> Finding:
    """Space where artifacts are written."""
    folder = home_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    found = f"{free / GB:.1f} GB free at {home_folder()}"
    way_out = "Free some: `bbqrec gc` tells what no profile needs; or set BBQREC_HOME to a larger disk."
    if free < DISK_NEEDED:
        return Finding("Disk", "problem", found, way_out)
    return Finding("Disk", "warning", found, way_out) if free < DISK_WANTED else Finding("Disk", "ok", found)


def check_memory() -> Finding:
    """Memory that programs can have now."""
    free = psutil.virtual_memory().available
    found = f"{free / GB:.1f} of {psutil.virtual_memory().total / GB:.1f} GB available, {psutil.cpu_count()} CPU threads"
    way_out = "Close other programs; lower ingest.memory_limit and the batch sizes."
    if free < MEMORY_NEEDED:
        return Finding("Memory", "problem", found, way_out)
    return Finding("Memory", "warning", found, way_out) if free < MEMORY_WANTED else Finding("Memory", "ok", found)


def check_gpu() -> Finding:
    """GPUs of the driver, and whether torch can use them."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return Finding("GPU", "ok", "no NVIDIA GPU: everything runs on the CPU")
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        names = [
            f"{pynvml.nvmlDeviceGetName(handle)} ({pynvml.nvmlDeviceGetMemoryInfo(handle).free / GB:.0f} GB free)" for handle in handles
        ]
    except pynvml.NVMLError as error:
        return Finding("GPU", "warning", f"the driver does not answer: {error}", "See nvidia-smi; compute.device: cpu goes without.")
    finally:
        pynvml.nvmlShutdown()
    import torch

    if names and not torch.cuda.is_available():
        return Finding(
            "GPU", "warning", f"{', '.join(names)}, which torch cannot use", "The driver is too old for this torch: see nvidia-smi."
        )
    return Finding("GPU", "ok", ", ".join(names) or "none")
