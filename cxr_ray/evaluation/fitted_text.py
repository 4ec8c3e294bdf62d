"""Text that is as wide as its place allows, measured in the font that figures are written in."""

ELLIPSIS = "…"
POINTS_PER_INCH = 72


def text_width(text: str, *, size: float, weight: str = "normal") -> float:
    """Width in inches of one line of a size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return float(width) / POINTS_PER_INCH


def fitted(text: str, width: float, *, size: float, weight: str = "normal") -> str:
    """The beginning of a text, and an ellipsis where it was cut, so that it is at most `width` inches wide."""
    if text_width(text, size=size, weight=weight) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        cut = text[:end].rstrip() + ELLIPSIS
        if text_width(cut, size=size, weight=weight) <= width:
            return cut
    return ELLIPSIS


def fitting_size(text: str, width: float, *, largest: float, smallest: float, weight: str = "normal") -> float:
    """The size in points, `largest` if possible and never below `smallest`, at which a line is `width` inches wide."""
    wanted = largest * width / max(text_width(text, size=largest, weight=weight), 1e-9)
    return min(largest, max(smallest, wanted))
