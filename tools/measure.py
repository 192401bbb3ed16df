"""Runs a command and says what it cost: the seconds of CPU it used and the most memory it held."""

import os
import subprocess


def measure(command):
    """(user + system seconds, peak resident bytes) of a command and its children. A failure ends the script."""
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"failed ({process.returncode}): {' '.join(command)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
