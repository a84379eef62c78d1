"""``make audit``: known vulnerabilities of the installed packages, or a note that nobody could be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

MALICIOUS = {"lightning": ("2.6.2", "2.6.3")}
UNREACHABLE = ("ConnectionError", "ServiceError", "Max retries exceeded", "ProxyError", "timed out", "ReadTimeout")
SECONDS = 300


def ask() -> tuple[int, str, str]:
    """Status, output and messages of pip-audit."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return 1, "", f"timed out after {SECONDS} s"
    return done.returncode, done.stdout, done.stderr


def judge(status: int, output: str, messages: str) -> tuple[int, str]:
    """Exit status and what to print, of what pip-audit answered."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if status and any(word in messages for word in UNREACHABLE):
            return 0, "audit: SKIPPED, nothing was audited: the database of vulnerabilities cannot be reached from here"
        return 1, f"audit: pip-audit failed: {messages.strip()}"
    # A mirror without the database makes pip-audit skip every package and call that clean.
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        return 0, f"audit: SKIPPED, nothing was audited: the database knows none of {len(packages)} packages from here"
    bad = [(package["name"], package["version"], flaw) for package in asked for flaw in package["vulns"]]
    lines = [f"audit: {n} {v}: {f['id']}, mended in {', '.join(f['fix_versions']) or 'no release'}" for n, v, f in bad]
    lines += [f"audit: {len(asked)} packages audited, {len(packages) - len(asked)} skipped, {len(bad)} vulnerabilities"]
    return int(bool(bad)), "\n".join(lines)


def main(ask: Callable[[], tuple[int, str, str]] = ask) -> int:
    """Audit; 0 if nothing is known or the database cannot be reached, 1 if something is."""
    for name, releases in MALICIOUS.items():
        if version(name) in releases:
            print(f"audit: {name} {version(name)} is malicious: uninstall it, and change every password and token")
            return 1
    status, told = judge(*ask())
    print(told)
    return status


if __name__ == "__main__":
    sys.exit(main())
