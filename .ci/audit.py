"""``make audit``: known vulnerabilities of the installed packages, or a note that nobody could be asked."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

MALICIOUS = {"lightning": ("2.6.2", "2.6.3")}
UNREACHABLE = ("ConnectionError", "ServiceError", "Max retries exceeded", "ProxyError", "timed out", "ReadTimeout")
SECONDS = 300


def main() -> int:
    """Audit; 0 if nothing is known or the database cannot be reached, 1 if something is."""
    for name, releases in MALICIOUS.items():
        if version(name) in releases:
            print(f"audit: {name} {version(name)} is malicious: uninstall it, and change every password and token")
            return 1
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--timeout", "15"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        print(f"audit: skipped, the database of vulnerabilities did not answer within {SECONDS} s")
        return 0
    told = done.stdout + done.stderr
    if done.returncode and "No module named pip_audit" in told:
        print("audit: pip-audit is not installed: make install")
        return 1
    if done.returncode and "Found" not in told and any(word in told for word in UNREACHABLE):
        print("audit: skipped, the database of vulnerabilities cannot be reached from here")
        return 0
    print(told.strip())
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
