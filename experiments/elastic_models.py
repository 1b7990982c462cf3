"""What of well-known networks can be decided once they are made elastic, and whether everything holds that should.

    python -m experiments.elastic_models [NAMES] --subnets 20 --json experiments/results/elastic_models.json
    python -m experiments.elastic_models resnet18 vit_tiny_patch16_224 --counted 1000 --json FILE

Every network is made by timm with random weights. Nothing is trained: what is shown is exactness.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from nasvit.any_network import ElasticModel, elasticize
from nasvit.any_network.groups import heads_of
from nasvit.any_network.plan import bare_copy
from nasvit.costs.any_network import ElasticCosts
from nasvit.costs.counting import count

NAMES = """
resnet18 resnet50 resnext50_32x4d regnety_008 mobilenetv2_100 mobilenetv3_small_100 mobilenetv3_large_100
efficientnet_b0 efficientnet_lite0 tf_efficientnetv2_b0 mnasnet_100 fbnetv3_b ghostnet_100 ghostnetv2_100
ghostnetv3_100 convnext_atto convnextv2_atto mobilenetv4_conv_small mobilenetv4_hybrid_medium repvit_m0_9 fastvit_t8
efficientvit_b0 efficientformerv2_s0 edgenext_xx_small mobilevit_xxs mobilevitv2_050 mobileone_s0 repghostnet_050
tinynet_e lcnet_050 hardcorenas_a vit_tiny_patch16_224 deit_tiny_patch16_224 deit3_small_patch16_224 levit_128s
swin_tiny_patch4_window7_224 poolformer_s12 coat_lite_tiny xcit_nano_12_p16_224 densenet121 dla34 hrnet_w18_small
vgg11_bn inception_v3 rexnet_100 starnet_s1 tiny_vit_5m_224 crossvit_tiny_240 pvt_v2_b0 maxvit_tiny_rw_224
""".split()

CLASSES = 10
EXTRACTED = 3  # subnets that are extracted and compared; the others are run and counted only


def main(arguments: Sequence[str] | None = None) -> None:
    """Examine networks, print a table, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="names of timm's networks; the fifty of the table if left out")
    parser.add_argument("--subnets", type=int, default=20, help="random subnets of each that are run and counted")
    parser.add_argument("--counted", type=int, default=0, help="random subnets that are counted, if more than run")
    parser.add_argument("--json", type=Path, help="file of results; networks that it holds are not examined again")
    options = parser.parse_args(arguments)
    done = options.json is not None and options.json.exists()
    results: dict[str, Any] = json.loads(options.json.read_text())["networks"] if done else {}
    for name in [name for name in options.names or NAMES if name not in results]:
        results[name] = examined(name, options.subnets, max(options.subnets, options.counted))
        print(name, json.dumps(results[name] | {"fixed": len(results[name]["fixed"])}), flush=True)
        if options.json:
            results = {each: results[each] for each in sorted(results, key=_order)}
            options.json.write_text(json.dumps({"summary": summary(results), "networks": results}, indent=1) + "\n")
    Console(width=160).print(table(results))
    print(json.dumps(summary(results), indent=1))


def _order(name: str) -> int:
    return NAMES.index(name) if name in NAMES else len(NAMES)


def examined(name: str, subnets: int, counted: int) -> dict[str, Any]:
    """Return what can be decided in one of timm's networks, and what held.

    Args:
        name: its name in timm.
        subnets: random subnets that are run and counted.
        counted: random subnets that are counted, these among them.
    """
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=CLASSES).eval()
    config: Any = network.default_cfg
    shape: tuple[int, ...] = config["input_size"]
    original = copy.deepcopy(network)
    image = torch.randn(1, *shape)
    begin = time.perf_counter()
    elastic = elasticize(network, image).eval()
    seconds = time.perf_counter() - begin
    return {
        "parameters": sum(each.numel() for each in original.parameters()),
        "seconds": round(seconds, 1),
        **decisions(elastic),
        "gradients_are_equal": _gradients_are_equal(elastic, original, image),  # first: some cache what needs none
        "largest_is_bit_equal": _largest_is_equal(elastic, original, image),
        **_subnets(elastic, image, subnets, counted),
        "sorting": _sorting(elastic, original, image),
        "fixed": [f"{each.name}: {each.channels} channels, {each.reason}" for each in elastic.plan.fixed],
    }


def decisions(elastic: ElasticModel) -> dict[str, Any]:
    """Return how many decisions of each kind there are, and whether the network has heads and residual blocks."""
    heads = {f"width.{group.name}" for group in heads_of(elastic.plan.groups, elastic.plan.found)}
    genes = [gene.name for gene in elastic.space.genome.genes]
    kinds = {field: sum(gene.startswith(f"{field}.") for gene in genes) for field in ("depth", "width", "kernel_size")}
    kinds["heads"] = len(heads.intersection(genes))
    return {
        "decisions": len(genes),
        "subnets": f"{float(elastic.space.size):.1e}",
        **kinds,
        "has_attention": any(each.name in ("bmm", "baddbmm") for each in elastic.plan.found.operations),
    }


def _largest_is_equal(elastic: ElasticModel, original: nn.Module, image: Tensor) -> bool:
    """Return whether the largest subnet computes what the network did, with the same tensors after extraction."""
    largest = elastic.space.largest
    extracted = elastic.extract(largest)
    mine, theirs = extracted.state_dict(), original.state_dict()
    same_tensors = mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in theirs)
    with torch.no_grad():
        outputs = [each(image) for each in (original, elastic.at(largest), extracted)]
    same_outputs = all(torch.equal(outputs[0], each) for each in outputs[1:])
    return same_tensors and same_outputs and type(extracted) is type(original)


def _gradients_are_equal(elastic: ElasticModel, original: nn.Module, image: Tensor) -> bool:
    """Return whether every parameter gets the gradient from the largest subnet that it gets in the network itself."""
    elastic.zero_grad()
    elastic.at(elastic.space.largest)(image).square().sum().backward()
    original(image).square().sum().backward()
    shared = dict(elastic.network.named_parameters())
    equal = all(_equal(shared[name].grad, each.grad) for name, each in original.named_parameters())
    elastic.zero_grad()
    return equal


def _equal(mine: Tensor | None, theirs: Tensor | None) -> bool:
    if theirs is None:
        return mine is None or not mine.any()
    return mine is not None and torch.equal(mine, theirs)


def _subnets(elastic: ElasticModel, image: Tensor, subnets: int, counted: int) -> dict[str, Any]:
    """Return what held for random subnets, with the smallest one among them."""
    population = elastic.space.genome.sample(counted - 1, np.random.default_rng(0))
    population = np.concatenate([elastic.space.encode([elastic.space.smallest]), population])
    costs = ElasticCosts(elastic.network, elastic.plan, elastic.space).costs(population)
    bare = ElasticModel(
        bare_copy(elastic.network, elastic.plan.device), elastic.plan, elastic.space, elastic.image
    )  # copied in no time
    equal, ran, extracted, at = dict.fromkeys(costs, 0), 0, 0, []
    for number, architecture in enumerate(elastic.space.decode(population)):
        found = count(bare.at(architecture), *image.shape[1:])
        for metric in costs:
            equal[metric] += int(getattr(found, metric) == costs[metric][number])
        if number >= subnets:
            continue
        begin = time.perf_counter()
        subnet = elastic.at(architecture)
        at.append(time.perf_counter() - begin)
        with torch.no_grad():
            output = subnet(image)
        ran += int(output.isfinite().all())
        if number < EXTRACTED:
            extracted += _is_independent(elastic, elastic.extract(architecture), image, output)
    return {
        "subnets_run": ran,
        "subnets_extracted_bit_equal": extracted,
        "subnets_counted": counted,
        "costs_equal": equal,
        "smallest_share_of_macs": round(int(costs["macs"][0]) / count(bare.network, *image.shape[1:]).macs, 4),
        "milliseconds_of_at": round(1000 * float(np.median(at)), 1),
    }


def _is_independent(elastic: ElasticModel, extracted: nn.Module, image: Tensor, output: Tensor) -> bool:
    """Return whether an extracted subnet computes the same, and shares no memory with the network."""
    shared = {each.untyped_storage().data_ptr() for each in elastic.parameters()}
    own = {each.untyped_storage().data_ptr() for each in extracted.parameters()}
    with torch.no_grad():
        return torch.equal(extracted(image), output) and not shared & own


def _sorting(elastic: ElasticModel, original: nn.Module, image: Tensor) -> float | None:
    """Return by how much sorting channels changes what the largest subnet computes; None: there is no sorting.

    Returns:
        The largest difference of an output, as a share of the largest output.
    """
    if not hasattr(elastic, "sort"):
        return None
    elastic.sort()
    with torch.no_grad():
        before, after = original(image), elastic.at(elastic.space.largest)(image)
    return float((before - after).abs().max() / before.abs().max())


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return how many networks are elastic in every way, and which ones are not."""
    with_attention = [name for name, each in results.items() if each["has_attention"]]
    others = [name for name in results if name not in with_attention]
    kinds = {"convolution": (others, ("width", "depth")), "attention": (with_attention, ("width", "depth", "heads"))}
    found: dict[str, Any] = {}
    for kind, (names, fields) in kinds.items():
        missing = {name: [field for field in fields if not results[name][field]] for name in names}
        missing = {name: fields for name, fields in missing.items() if fields}
        found[kind] = {"networks": len(names), "elastic_in_every_way": len(names) - len(missing), "missing": missing}
    return found


def table(results: dict[str, Any]) -> Table:
    """Return a table with one row a network."""
    shown = Table(title="Networks of timm made elastic")
    titles = ["network", "decisions", "width", "heads", "depth", "kernels", "subnets", "fixed", "largest", "gradients"]
    for title in (*titles, "run", "extracted", "macs", "params", "memory", "seconds"):
        shown.add_column(title, justify="left" if title == "network" else "right")
    for name, each in results.items():
        numbers = [each[field] for field in ("decisions", "width", "heads", "depth", "kernel_size", "subnets")]
        held = ["yes" if each[field] else "NO" for field in ("largest_is_bit_equal", "gradients_are_equal")]
        counts = [each["subnets_run"], each["subnets_extracted_bit_equal"], *each["costs_equal"].values()]
        shown.add_row(name, *map(str, [*numbers, len(each["fixed"]), *held, *counts, each["seconds"]]))
    return shown


if __name__ == "__main__":
    main()
