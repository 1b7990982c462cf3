"""Plots as SVG that stands in a page: its colors are the page's, and what is pointed at says what it is."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

WIDTH, HEIGHT = 4.6, 3.1  # inches of 72 units: two beside each other on a screen, one on a phone
SERIES = 8
"""Colors that there are; the page's style defines them as ``--series-1`` and so on."""

_INK, _GRID = "#010203", "#010204"  # placeholders, replaced by colors of the page
_COLORS = [f"#0a0b{number:02x}" for number in range(1, SERIES + 1)]
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # a dollar sign in a name is one
    "font.size": 10,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "grid.alpha": 0.6,
    "text.color": _INK,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
}
_MARGINS = {"left": 0.145, "right": 0.985, "bottom": 0.155, "top": 0.97}
"""The same for all, so that axes beside each other are in line."""

_HIDDEN = ("metadata", "style")
_LINKS = re.compile(r"url\(#([^)]+)\)")


@dataclass(frozen=True)
class Dot:
    """A point that says what it is when it is pointed at.

    Args:
        x: place along the horizontal axis.
        y: place along the vertical axis.
        says: what it is.
        kind: a class of the page's style.
        radius: in units of the picture.
    """

    x: float
    y: float
    says: str
    kind: str = "other"
    radius: float = 3.0


@dataclass(frozen=True)
class Key:
    """An entry of a legend.

    Args:
        kind: class of the page's style: ``series-1`` and so on for lines, or that of dots.
        label: what it stands for.
        dashed: whether the line is dashed.
    """

    kind: str
    label: str
    dashed: bool = False

    @property
    def is_line(self) -> bool:
        """Whether it stands for a line, and not for dots."""
        return re.fullmatch(r"series-\d", self.kind) is not None


@dataclass(frozen=True)
class Figure:
    """A plot with what stands below it.

    Args:
        title: what it shows.
        caption: the same where it is known whose it is.
        svg: the picture.
        keys: the legend.
        note: a remark.
    """

    title: str
    caption: str
    svg: str
    keys: tuple[Key, ...] = ()
    note: str = ""


def in_thousands(most: float) -> tuple[float, str]:
    """Return what counts up to ``most`` are divided by on an axis, and its name."""
    return (1e6, "millions") if most >= 1e6 else (1e3, "thousands")


def color(number: int) -> str:
    """Return the color of a series, counted from 0, as plots take it."""
    return _COLORS[number % SERIES]


def line_keys(axes: Any) -> tuple[Key, ...]:
    """Return the legend of the lines that have a label."""
    lines = [line for line in axes.lines if not line.get_label().startswith("_")]
    return tuple(
        Key(f"series-{_COLORS.index(line.get_color()) + 1}", line.get_label(), line.get_linestyle() == "--")
        for line in lines
        if line.get_color() in _COLORS
    )


def plot(
    name: str,
    title: str,
    paint: Callable[[Any], Sequence[Dot] | None],
    *,
    caption: str = "",
    keys: Sequence[Key] = (),
    note: str = "",
) -> Figure:
    """Draw a plot.

    Args:
        name: name of the picture, other than that of any other in the page.
        title: what it shows, said in full.
        paint: draws on matplotlib's axes with :func:`color`, and returns dots; lines with a label say it.
        caption: the title as it stands above the picture; the whole of it if left out.
        keys: legend of the dots.
        note: a remark.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        canvas, file = Canvas(figsize=(WIDTH, HEIGHT)), io.BytesIO()
        axes = canvas.subplots(gridspec_kw=_MARGINS)
        dots = paint(axes) or ()
        axes.locator_params(axis="x", nbins=6)
        says = {f"line-{number}": str(line.get_label()) for number, line in enumerate(axes.lines)}
        for gid, line in zip(says, axes.lines):
            line.set_gid(gid)
        canvas.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator")))
        root = _clean(ElementTree.fromstring(file.getvalue()))
        root.append(_dots(canvas, axes, dots))
    _tell(root, {gid: label for gid, label in says.items() if not label.startswith("_")})
    _name(root, name, title)
    svg = _colored(ElementTree.tostring(root, "unicode"))
    return Figure(title, caption or title, svg, (*line_keys(axes), *keys), note)


def _clean(root: ElementTree.Element) -> ElementTree.Element:
    """Return a picture as it stands in HTML: without namespaces, metadata, and a style that would be the page's."""
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    for parent in list(root.iter()):
        for child in [each for each in parent if each.tag in _HIDDEN]:
            parent.remove(child)
    root.attrib = {"viewBox": root.attrib["viewBox"]}
    return root


def _dots(canvas: Any, axes: Any, dots: Sequence[Dot]) -> ElementTree.Element:
    group = ElementTree.Element("g", {"class": "dots"})
    if not dots:
        return group
    to_page = axes.transData + canvas.transFigure.inverted()
    places = to_page.transform([(dot.x, dot.y) for dot in dots])
    for dot, (x, y) in zip(dots, places):
        place = {"cx": f"{72 * WIDTH * x:.1f}", "cy": f"{72 * HEIGHT * (1 - y):.1f}", "r": f"{dot.radius:g}"}
        circle = ElementTree.SubElement(group, "circle", {"class": dot.kind, **place})
        ElementTree.SubElement(circle, "title").text = dot.says
    return group


def _tell(root: ElementTree.Element, says: dict[str, str]) -> None:
    """Let lines say their labels."""
    for element in root.iter("g"):
        label = says.get(element.attrib.get("id", ""))
        if label is not None:
            title = ElementTree.Element("title")
            title.text = label
            element.insert(0, title)


def _name(root: ElementTree.Element, name: str, title: str) -> None:
    """Give a picture its title, and all parts names that no other picture in the page has."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.attrib[key] = f"{name}-{value}"
            elif key == "href":
                element.attrib[key] = value.replace("#", f"#{name}-")
            else:
                element.attrib[key] = _LINKS.sub(rf"url(#{name}-\1)", value)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title"}
    said = ElementTree.Element("title", {"id": f"{name}-title"})
    said.text = title
    root.insert(0, said)


def _colored(svg: str) -> str:
    colors = {_INK: "currentColor", _GRID: "var(--line)"}
    colors |= {each: f"var(--series-{number})" for number, each in enumerate(_COLORS, start=1)}
    for placeholder, of_page in colors.items():
        svg = svg.replace(placeholder, of_page)
    return svg
