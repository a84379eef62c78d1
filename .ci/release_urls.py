"""Write the address of the repository into pyproject.toml and README.md, where a release is built.

A checkout does not know under which address it is published, and a package index shows the README outside the
repository, where its relative links lead nowhere. ``python .ci/release_urls.py ADDRESS TAG`` changes both files in
place; the workflow ``release`` runs it, and nobody commits the outcome.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = "[project.urls]"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?![a-z]+:|#)([^)\s]+)\)")


def with_urls(pyproject: str, address: str, tag: str) -> str:
    """The text of pyproject.toml with the addresses of the repository before its other ones.

    Raises:
        SystemExit: The tag is not the version.
    """
    version = tomllib.loads(pyproject)["project"]["version"]
    if tag != f"v{version}":
        raise SystemExit(f"The tag is {tag}, and pyproject.toml has version {version}: it must be v{version}.")
    urls = {
        "Repository": address,
        "Documentation": f"{address}/blob/{tag}/docs/index.md",
        "Changelog": f"{address}/blob/{tag}/.github/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }
    head, mark, rest = pyproject.partition(TABLE)
    first, _, others = rest.partition("\n")
    return f"{head}{mark}{first}\n" + "".join(f'{name} = "{url}"\n' for name, url in urls.items()) + others


def with_absolute_links(readme: str, address: str, tag: str) -> str:
    """The text of README.md with links into the repository in place of relative ones."""
    return LINK.sub(
        lambda found: f"{found[1]}[{found[2]}]({address}/{'raw' if found[1] else 'blob'}/{tag}/{found[3]})", readme
    )


def main() -> None:
    """Change both files."""
    address, tag = sys.argv[1].rstrip("/"), sys.argv[2]
    for name, change in (("pyproject.toml", with_urls), ("README.md", with_absolute_links)):
        path = ROOT / name
        path.write_text(change(path.read_text(encoding="utf-8"), address, tag), encoding="utf-8")


if __name__ == "__main__":
    main()
