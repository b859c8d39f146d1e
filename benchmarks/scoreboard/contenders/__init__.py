"""Who is measured: each one configured as its own documentation says."""
