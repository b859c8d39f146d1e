"""The command line.

Only the standard library is imported here at first: without the extra `cli` it still says what to install.
"""

from __future__ import annotations

import sys

__all__ = ["EXTRA", "main"]

EXTRA = frozenset({"click", "rich", "segno"})
"""What the extra `cli` installs."""


def main() -> None:
    """Run the command line of this process, and exit: 0 done, 1 failed, 2 bad usage or configuration."""
    try:
        from peernet_core.cli.app import invoke  # noqa: PLC0415 - needs what may not be installed

        status = invoke(sys.argv[1:])
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        sys.stderr.write("peernet: the command line is an extra: pip install 'peernet-core[cli]'\n")
        status = 2
    sys.exit(status)
