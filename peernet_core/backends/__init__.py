"""The host's side of the contract: contexts, hooks, and keeping backends from harming anybody."""
