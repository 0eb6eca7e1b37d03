"""What a result depends on beside its config: versions."""

import sys
from importlib.metadata import version


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of the packages that a result depends on."""
    return {"python": sys.version.split()[0], **{name: version(name) for name in packages}}
