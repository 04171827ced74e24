"""The tables that the model makes, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from math import ceil

from benchmarks.scaling.model import CONNECTIONS_A_WORKER, MILLION, Model, limits
from benchmarks.scaling.towers import GPUS, TOWERS, gflop_a_pair
from clip_scoring.shards import shard_size

DAYS_A_YEAR = 365
SHARD_WANTED = 10_000
"""The default of a run."""
PICTURES = ("640x480", "mix")
MILLIONS = (1.0, 10.0, 100.0, 300.0)
Row = Sequence[str]


def written(value: float) -> str:
    """Three digits that matter; no more than were measured."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"


def whole(value: float) -> str:
    """What comes in pieces, rounded up."""
    return f"{ceil(value):,}"


def _columns(millions: Sequence[float]) -> Iterator[Row]:
    yield ["pairs a day", *(f"{each:g} M" for each in millions)]
    yield ["---", *["--:"] * len(millions)]


def needs(model: Model, millions: Sequence[float], hours: float) -> Iterator[Row]:
    """A column for each size of a day, worked off within `hours`."""
    all_needed = [each * MILLION / (hours * 3600) for each in millions]

    def row(what: str, form: Callable[[float], str]) -> Row:
        return [what, *map(form, all_needed)]

    yield from _columns(millions)
    yield row("pairs/s", written)
    for what, rate in _workers(model).items():
        yield [what, *(whole(needed / rate) for needed in all_needed)]
    per_pair = model.given.image_kb * 8 / MILLION
    yield row("network for images, Gbit/s", lambda needed: written(needed * per_pair))
    yield row("commits/s", lambda needed: written(needed / model.given.batch_size))
    commit, alone, gpu = model.value("commit"), model.cpu("int8"), model.gpu("ViT-B/32")
    yield row("share of what one writer can do", lambda needed: f"{needed / commit:.1%}")
    yield row("connections of workers without a GPU, int8",
              lambda needed: f"{ceil(needed / alone) * CONNECTIONS_A_WORKER:,}")  # fmt: skip
    yield row("connections of workers with a GPU, ViT-B/32",
              lambda needed: f"{ceil(needed / gpu) * CONNECTIONS_A_WORKER:,}")  # fmt: skip
    yield row("connections from pgbouncer to PostgreSQL", lambda needed: whole(model.pool(needed)))


def _workers(model: Model) -> dict[str, float]:
    """What may be counted in cores or GPUs, and pairs/s of one of them."""
    loading = {
        f"CPU cores, loading alone, tier {tier}, {pictures}": model.loading(tier, pictures)
        for tier in ("fast", "exact")
        for pictures in PICTURES
    }
    alone = {
        f"CPU cores without a GPU, ViT-B/32, {dtype}": model.cpu(dtype)
        for dtype in ("float32", "int8")
    }
    gpus = {
        f"{model.given.gpu} with {model.given.cores_a_gpu} cores each, {weights}: "
        "**calculated, not measured**": model.gpu(weights)
        for weights in TOWERS
    }
    return loading | alone | gpus


def every_day(model: Model, millions: Sequence[float]) -> Iterator[Row]:
    """What depends on the size of a day and not on the window."""
    yield from _columns(millions)
    sizes, batch = [each * MILLION for each in millions], model.given.batch_size
    cut = [shard_size(int(size), wanted=SHARD_WANTED, batch_size=batch) for size in sizes]
    shards = [f"{ceil(size / each):,}" for size, each in zip(sizes, cut, strict=True)]
    yield ["shards", *shards]
    yield ["pairs of a shard", *(f"{each:,}" for each in cut)]
    kept, score = model.given.days_kept, model.value("score bytes") / 1e9
    rows: Mapping[str, Callable[[float], float]] = {
        "planning, nothing but the day in the source, s": model.planning_seconds,
        f"planning, {kept} days in the source, s": lambda n: model.reading_seconds(n * kept),
        "judging the run, s": model.judging_seconds,
        "`clip.score`, GB more a day": lambda n: n * score,
        "`clip.score`, GB more a year": lambda n: n * score * DAYS_A_YEAR,
        "write-ahead log, GB a day": lambda n: n * model.value("log bytes") / 1e9,
    }
    for what, formula in rows.items():
        yield [what, *(written(formula(size)) for size in sizes)]
    yield ["limits that are passed, by number", *(_passed(model, size) for size in sizes)]


def _passed(model: Model, pairs: float) -> str:
    passed = [str(n) for n, each in enumerate(limits(model), 1) if each.pairs < pairs]
    return ", ".join(passed) or "none"


def costs(model: Model, millions: Sequence[float]) -> Iterator[Row]:
    """Prices times quantities; a machine is paid for while it works."""
    yield from _columns(millions)
    given = model.given
    prices = {
        f"a day, CPU cores, ViT-B/32, {dtype}": given.core_price / model.cpu(dtype) / 3600
        for dtype in ("float32", "int8")
    }
    prices |= {
        f"a day, {given.gpu}, {weights}: **calculated, not measured**":
        given.gpu_price / model.gpu(weights) / 3600
        for weights in TOWERS
    }  # fmt: skip
    year = model.value("score bytes") * DAYS_A_YEAR / 1e9
    prices["a month, the disk for a year of `clip.score`"] = year * given.disk_price
    for what, price in prices.items():
        yield [what, *(written(each * MILLION * price) for each in millions)]


def _inputs(model: Model) -> Iterator[Row]:
    yield "figure", "value", "from"
    yield "---", "--:", "---"
    for each in model.found.values():
        yield each.what, f"{each.value:,.6g} {each.unit}", f"`{each.file}`"


def _assumptions(model: Model) -> Iterator[Row]:
    yield "assumption", "value", "option"
    yield "---", "--:", "---"
    for each in fields(model.given):
        value = getattr(model.given, each.name)
        shown = value if isinstance(value, str) else f"{value:g}"
        yield each.metadata["what"], shown, f"`{option_name(each.name)}`"


def _rates(model: Model) -> Iterator[Row]:
    yield "of one CPU core while all are busy", "rate", "formula"
    yield "---", "--:", "---"
    for pictures in PICTURES:
        fast, exact = (model.loading(tier, pictures) for tier in ("fast", "exact"))
        yield f"loading, tier fast, {pictures}", f"{written(fast)} images/s", "2 cores / 2"
        yield (f"loading, tier exact, {pictures}", f"{written(exact)} images/s",
               "tier fast × decode() exact / decode() fast")  # fmt: skip
    yield "ViT-B/32, float32", f"{written(model.cpu('float32'))} pairs/s", "2 processes / 2"
    yield ("ViT-B/32, int8", f"{written(model.cpu('int8'))} pairs/s",
           "the above × int8 / float32 of one core")  # fmt: skip


def _gpus(model: Model) -> Iterator[Row]:
    yield ("GPU, calculated", "weights", "peak, TFLOPS", "GFLOP a pair", "towers, pairs/s",
           "with its cores, pairs/s", "limited by")  # fmt: skip
    yield "---", "---", "--:", "--:", "--:", "--:", "---"
    for name, peak in GPUS.items():
        for weights in TOWERS:
            towers, whole_machine = model.gpu_towers(weights, name), model.gpu(weights, name)
            work = written(gflop_a_pair(weights, model.given.caption_tokens))
            by = "towers" if towers <= model.gpu_loading() else "loading"
            yield name, weights, f"{peak:g}", work, written(towers), written(whole_machine), by


def _limits(model: Model) -> Iterator[Row]:
    yield "", "part, as it is", "suffices up to, pairs a day", "formula", "what then"
    yield "--:", "---", "--:", "---", "---"
    for number, each in enumerate(limits(model), 1):
        yield str(number), each.part, f"{written(each.pairs / MILLION)} M", each.formula, each.then


Maker = Callable[[Model, Sequence[float]], Iterator[Row]]
TABLES: Mapping[str, Maker] = {
    "inputs": lambda model, _: _inputs(model),
    "assumptions": lambda model, _: _assumptions(model),
    "rates": lambda model, _: _rates(model),
    "gpus": lambda model, _: _gpus(model),
    "limits": lambda model, _: _limits(model),
    "night": lambda model, millions: needs(model, millions, model.given.night_hours),
    "day": lambda model, millions: needs(model, millions, 24),
    "every_day": every_day,
    "costs": costs,
}


def table(name: str, model: Model, millions: Sequence[float] = MILLIONS) -> str:
    """One table of the page in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in TABLES[name](model, millions))


def option_name(assumption: str) -> str:
    """The option that changes an assumption."""
    return "--" + assumption.replace("_", "-")
