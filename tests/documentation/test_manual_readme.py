"""What the README of peernet-manual shows an application works."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, load, modules

from peernet_core import Node
from peernet_core.keys import Identity


@pytest.fixture
def anyio_backend() -> str:
    """Real time: a node listens."""
    return "asyncio"


async def test_an_application_tells_where_a_peer_is_and_takes_it_back(tmp_path: Path) -> None:
    """Afterwards nothing is known of it."""
    readme = ROOT / "plugins/peernet_manual/README.md"
    (name,) = [name for name, block in modules().items() if block.page == readme]
    config = tmp_path / "peernet.toml"
    config.write_text('[node]\nlisten = ["127.0.0.1:0"]\ndata_dir = "data"\n[discovery.manual]\n')
    async with Node.from_config(config) as node:
        load(name).tell(node, Identity.generate().key)
        assert node.peers() == ()
