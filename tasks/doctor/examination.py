"""All checks, in the order they are shown. A check that crashes is a finding too."""

from collections.abc import Callable, Iterator
from functools import partial

from tasks.doctor.finding import Finding
from tasks.doctor.machine import check_disk, check_gpu, check_memory, check_packages, check_python
from tasks.doctor.servers import check_servers
from tasks.doctor.state import check_databases, check_home, check_profiles, check_store


def examine(thorough: bool = False) -> Iterator[Finding]:
    """Run every check.

    Args:
        thorough: See `check_store`.
    """
    checks: list[tuple[str, Callable[[], Finding | list[Finding]]]] = [
        ("Python", check_python),
        ("Packages", check_packages),
        ("Disk", check_disk),
        ("Memory", check_memory),
        ("GPU", check_gpu),
        ("Home", check_home),
        ("Databases", check_databases),
        ("Artifacts", partial(check_store, thorough)),
        ("Profiles", check_profiles),
        ("Servers", check_servers),
    ]
    for about, check in checks:
        try:
            found = check()
        except Exception as error:  # one broken check must not hide the others
            yield Finding(about, "problem", f"the check itself failed: {error!r}", "This is a bug in `bbqrec doctor`.")
            continue
        yield from [found] if isinstance(found, Finding) else found
