"""With which packages a run was made."""

import importlib.metadata

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
    """Package to version, "absent" where it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
