"""The data directory and its files. Everything here blocks: on a loop, call it in a thread."""
