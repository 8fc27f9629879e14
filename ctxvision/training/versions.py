"""The package versions and the commit that a run was made with."""

import importlib.metadata
import subprocess
from pathlib import Path

PACKAGES = (
    "ctxvision",
    "tensorflow",
    "tf_keras",
    "tensorflow-text",
    "tensorflow-recommenders",
    "scann",
    "numpy",
)


def installed_versions() -> dict[str, str]:
    """Returns the version of each package, "absent" for a package that is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def source_commit() -> str | None:
    """Returns the commit of the source tree that ctxvision is imported from; None if that tree is not a git clone."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
