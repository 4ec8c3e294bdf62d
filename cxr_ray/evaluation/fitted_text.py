"""Fit a line of text into a given width, measured in the font of the figures."""

ELLIPSIS = "…"
POINTS_PER_INCH = 72


def text_width(text: str, *, size: float, weight: str = "normal") -> float:
    """Measure the width, in inches, of one line of text whose font size is given in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / POINTS_PER_INCH


def fitted(text: str, width: float, *, size: float, weight: str = "normal") -> str:
    """Cut a text to a maximum width in inches, ending it with an ellipsis if it was cut; `size` is in points."""
    if text_width(text, size=size, weight=weight) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        cut = text[:end].rstrip() + ELLIPSIS
        if text_width(cut, size=size, weight=weight) <= width:
            return cut
    return ELLIPSIS


def fitting_size(text: str, width: float, *, largest: float, smallest: float, weight: str = "normal") -> float:
    """Find the font size in points, from `smallest` to `largest`, at which a line is at most `width` inches wide.

    A text that is too wide at `smallest` still gets `smallest`.
    """
    wanted = largest * width / max(text_width(text, size=largest, weight=weight), 1e-9)
    return min(largest, max(smallest, wanted))
