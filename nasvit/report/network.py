"""What can be decided in a network, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from nasvit.any_network.choices import Elastic, space_of
from nasvit.any_network.groups import Fixed, heads_of
from nasvit.any_network.plan import Plan
from nasvit.costs.any_network import ElasticCosts
from nasvit.names import spec_of_name
from nasvit.report.console import open_console, short
from nasvit.specs import elastic_plan
from search_spaces.elastic import ElasticSpace
from search_spaces.ranges import Classes, Pixels, checks

_KINDS = {"width": "channels", "depth": "blocks", "kernel_size": "side of the kernel"}


@checks
def show_network(name: str, image_size: Pixels | None, classes: Classes) -> None:
    """Print what can be decided in a network, what has to stay and why, and what its subnets cost.

    Args:
        name: name of the network; see :mod:`nasvit.registry`.
        image_size: side of its images in pixels; None: the one that it was designed for.
        classes: number of classes.

    Raises:
        ValueError: if there is no such network, or it does not run on such images.
    """
    spec, console = spec_of_name(name), open_console()
    side = image_size or spec.side
    plan = elastic_plan(spec, classes, side)
    space = space_of(plan, Elastic(), name, (spec.channels, side, side))
    console.print(_decisions(space, plan, f"{name}: what can be decided, at {side}x{side} pixels"))
    _print_fixed(console, plan.fixed)
    ends = space.encode([space.smallest, space.largest])
    costs = ElasticCosts(spec.build(classes), plan, space).costs(ends)
    ranges = ", ".join(f"{metric} {short(low)} - {short(high)}" for metric, (low, high) in costs.items())
    console.print(f"{space.size:.3g} subnets of {len(space.genome)} decisions; {ranges}", soft_wrap=True)
    if plan.attributes:
        follows = sorted({f"{each.name} of {each.path}" for each in plan.attributes})
        some = ", ".join(follows[:4]) + (f" and {len(follows) - 4} more" if len(follows) > 4 else "")
        console.print(f"attributes that follow: {some}", soft_wrap=True)


def _decisions(space: ElasticSpace, plan: Plan, title: str) -> Table:
    wide = {group.name: group.channels // group.units for group in plan.groups}
    heads = {group.name for group in heads_of(plan.groups, plan.found)}
    table = Table(title=title, title_justify="left")
    for heading in ("part", "what", "choices", "there with"):
        table.add_column(heading, no_wrap=heading == "part")
    for part in space.parts:
        block = "" if part.block is None else f"block {part.block[1] + 1} of {part.block[0]}"
        several = wide.get(part.name, 1) if part.field == "width" else 1
        unit = "heads" if part.name in heads else "units"
        what = f"{unit} of {several} channels" if several > 1 else _KINDS[part.field]
        table.add_row(part.name, what, " ".join(map(str, part.values)), block)
    return table


def _print_fixed(console: Console, fixed: Sequence[Fixed]) -> None:
    for reason, count in Counter(each.reason for each in fixed).items():
        names = [each.name for each in fixed if each.reason == reason]
        some = ", ".join(names[:3]) + (f" and {count - 3} more" if count > 3 else "")
        console.print(f"stays: {some} ({reason})", soft_wrap=True)
