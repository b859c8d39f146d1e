"""Peers on the local network, by multicast DNS (RFC 6762) and DNS-SD (RFC 6763)."""
