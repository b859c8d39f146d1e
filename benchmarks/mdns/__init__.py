"""Peers found by `peernet-mdns` beside stock python-zeroconf, between network namespaces."""
