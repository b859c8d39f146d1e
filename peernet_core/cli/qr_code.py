"""A QR code that a terminal can show."""

from __future__ import annotations

import io

import segno

__all__ = ["qr_code"]


def qr_code(text: str) -> str:
    """Draw a text with half blocks, two rows of modules a line.

    Args:
        text: A key; its upper-case form is what the denser alphanumeric mode holds, and a key may be read in
            upper case.
    """
    drawing = io.StringIO()
    segno.make(text.upper(), micro=False, error="m").terminal(drawing, compact=True)
    return drawing.getvalue().rstrip("\n")
