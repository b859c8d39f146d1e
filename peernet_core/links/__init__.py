"""Connections: certificates, TLS, dialing, accepting, frames and streams; the hands of the decisions."""
