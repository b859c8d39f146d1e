"""From a TOML file to backends that are ready to be made, with every mistake told at once."""
