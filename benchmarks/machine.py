"""What kind of machine the figures are of; no name of its own, nor anything of its user."""

import os
import platform
from importlib import metadata


def machine() -> dict[str, str]:
    """Return what is said with the tables."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "aiohttp": f"aiohttp {metadata.version('aiohttp')}",
        "system": f"{platform.system()} on {platform.machine()}",
        "cores": f"{os.cpu_count()} cores",
    }
