"""The line in every report that says what it was measured on."""

import os
import platform

import psutil


def describe_machine(note: str = "") -> str:
    """System, cores, memory and Python, and what else matters, such as threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 1e9
    used = f", {note}" if note else ""
    return f"{platform.system()} {platform.machine()}, {cores} cores, {memory:.0f} GB memory, Python {platform.python_version()}{used}."


def count_threads(threads: int) -> str:
    """In words: 1 thread, 2 threads."""
    return "1 thread" if threads == 1 else f"{threads} threads"
