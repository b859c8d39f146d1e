"""Figures as people read them."""

from __future__ import annotations

__all__ = ["shown"]


def shown(value: float | None) -> str:
    """Three digits that matter; a dash where there is nothing."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"
