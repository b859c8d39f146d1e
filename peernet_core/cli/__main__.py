"""`python -m peernet_core.cli`: the command line, where the script is not on the path."""

from __future__ import annotations

from peernet_core.cli import main

if __name__ == "__main__":
    main()
