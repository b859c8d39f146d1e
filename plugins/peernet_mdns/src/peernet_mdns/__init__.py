"""Peers on the local network, by multicast DNS (RFC 6762) and DNS-SD (RFC 6763)."""

from __future__ import annotations

from peernet_mdns.discovery import MdnsDiscovery

__all__ = ["MdnsDiscovery"]
