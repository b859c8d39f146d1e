"""Programs that run on the hosts of a bench: each prints JSON lines and is started by its contender."""
