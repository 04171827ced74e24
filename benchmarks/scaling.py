"""`python -m benchmarks.scaling`: what more pairs a day need, from kept figures and stated inputs.

Every input is a figure of `results/*.json`, a constant with its source, or an assumption that an
option changes. `--write` puts the tables, with the assumptions as they are here, into
docs/scaling.md, between `<!-- scaling: NAME -->` and `<!-- end of scaling -->`.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.figures import RESULTS
from benchmarks.long_run import RECORDS as LONG_RUN_RECORDS
from benchmarks.pages import DOCS
from benchmarks.pages import filled as with_figures
from clip_scoring.shards import shard_size

PAGE = DOCS / "scaling.md"
_PLACE = re.compile(r"(<!-- scaling: (\w+) -->\n).*?(<!-- end of scaling -->)", re.DOTALL)
MILLION = 1_000_000
DAYS_A_YEAR = 365
MOST_SHARDS = 1000
"""Of one run, `clip_scoring.shards`; a shard has one worker."""
CONNECTIONS_A_WORKER = 2
"""One commits, one reads ahead: `clip_scoring.nightly`."""
CONNECTIONS_BESIDE = 6
"""Four of the pages (`clip_scoring.nightly.pages`), two of planning or finishing."""
SETTLED_RECORDS = 3 * MILLION
"""In the source of `plan 3,000,000, half of them settled`."""
SHARD_WANTED = 10_000
"""The default of a run."""
RESERVED = 3
"""PostgreSQL keeps so many of `max_connections` for superusers."""
PICTURES = ("640x480", "mix")
CORES_MEASURED = 2
"""Of the rows that say so."""
Row = Sequence[str]


def _asked(default: Any, what: str) -> Any:
    return field(default=default, metadata={"what": what})


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What nobody measured here: each has an option of its name."""

    night_hours: float = _asked(8.0, "hours of the night window")
    batch_size: int = _asked(256, "pairs a commit: 64, 256, 1000 or 4000, as measured")
    pictures: str = _asked("mix", "images as in the loading benchmark: 640x480 or mix")
    image_kb: float = _asked(150.0, "kB of an image file, fetched once")
    caption_tokens: int = _asked(16, "tokens of a caption, trimmed")
    days_kept: int = _asked(30, "days of records that stay in a source")
    planning_minutes: float = _asked(30.0, "minutes that planning, and judging, may take")
    gpu: str = _asked("H200", "the GPU, one of the table of GPUs")
    utilisation: float = _asked(0.3, "share of a GPU's published peak that towers reach")
    cores_a_gpu: int = _asked(16, "CPU cores beside each GPU, for loading")
    max_connections: int = _asked(100, "`max_connections` of PostgreSQL, its default")
    peak_factor: float = _asked(10.0, "busy connections at a peak, as a multiple of the mean")
    gpu_price: float = _asked(2.5, "price of an hour of a GPU with its cores")
    core_price: float = _asked(0.04, "price of an hour of a CPU core")
    disk_price: float = _asked(0.1, "price of a GB of disk for a month")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, str) and not value > 0:
                raise ValueError(f"{each.name}: {value:g} is not above 0")


INPUTS: Mapping[str, tuple[str, str]] = {
    "load 640x480": ("loading", "640x480: isolated processes, 2 cores"),
    "load mix": ("loading", "mix: isolated processes, 2 cores"),
    "fast 640x480": ("loading", "640x480: decode(), tier fast"),
    "fast mix": ("loading", "mix: decode(), tier fast"),
    "exact 640x480": ("loading", "640x480: decode(), tier exact"),
    "exact mix": ("loading", "mix: decode(), tier exact"),
    "float32, 2 cores": ("engine", "end to end, 2 processes of 1 thread"),
    "float32": ("engine", "end to end, ours, float32"),
    "int8": ("engine", "end to end, ours, int8"),
    "commit": ("sink", "commit new outcomes, {batch_size} a batch"),
    "read": ("long_run", "read"),
    "judge": ("long_run", "judging the run"),
    "plan": ("planning", "plan, seconds per million at the largest size"),
    "plan settled": ("planning", "plan 3,000,000, half of them settled"),
    "score bytes": ("row_size", "clip.score, a row"),
    "log bytes": ("row_size", "write-ahead log, a scored pair"),
}
"""Names of this model, and which figure of which benchmark each is."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure as its benchmark kept it."""

    file: str
    what: str
    value: float
    unit: str


def measured(results: Path, batch_size: int) -> dict[str, Measured]:
    """Every input by its name here; raises LookupError where a benchmark has not measured one."""
    found = {}
    for name, (file, form) in INPUTS.items():
        what = form.format(batch_size=batch_size)
        path = results / f"{file}.json"
        figures = json.loads(path.read_text())["figures"] if path.is_file() else []
        mine = next((each for each in figures if each["what"] == what), None)
        if mine is None:
            raise LookupError(f"no figure {what!r} in {path}: run `python -m benchmarks {file}`")
        found[name] = Measured(path.name, what, mine["value"], mine["unit"])
    return found


@dataclass(frozen=True, slots=True)
class Tower:
    """A transformer's shape; an image tower also cuts patches of `patch` pixels."""

    layers: int
    width: int
    tokens: int = 0
    patch: int = 0

    def gflop(self, tokens: int) -> float:
        """One forward pass: 24 width² a token and layer for its matrices, whose inner layer is
        four widths wide, 4 width · tokens for attention; a multiply and an add count as two.
        """
        blocks = self.layers * tokens * (24 * self.width**2 + 4 * self.width * tokens)
        patches = (tokens - 1) * 2 * 3 * self.patch**2 * self.width if self.patch else 0
        return (blocks + patches) / 1e9


TOWERS: Mapping[str, tuple[Tower, Tower]] = {
    "ViT-B/32": (Tower(12, 768, tokens=50, patch=32), Tower(12, 512)),
    "ViT-L/14": (Tower(24, 1024, tokens=257, patch=14), Tower(12, 768)),
}
"""Image and text tower, as OpenAI published them, for images of 224×224."""
GPUS: Mapping[str, float] = {"T4": 65, "L4": 121, "A100": 312, "H100 SXM": 989, "H200": 989}
"""Peak TFLOPS of dense FP16 on tensor cores: NVIDIA's data sheets, halved where they count
sparsity."""


def gflop_a_pair(weights: str, caption_tokens: int) -> float:
    """Both towers on one image and one caption."""
    image, text = TOWERS[weights]
    return image.gflop(image.tokens) + text.gflop(caption_tokens)


@dataclass(frozen=True, slots=True)
class Model:
    """Measured figures and assumptions; every method is one formula of the page."""

    found: Mapping[str, Measured]
    given: Assumptions

    def value(self, name: str) -> float:
        return self.found[name].value

    def loading(self, tier: str, pictures: str) -> float:
        """Images/s of a core while all are busy; `exact` costs as much more as it does alone."""
        fast = self.value(f"load {pictures}") / CORES_MEASURED
        share = self.value(f"exact {pictures}") / self.value(f"fast {pictures}")
        return fast if tier == "fast" else fast * share

    def cpu(self, dtype: str) -> float:
        """Pairs/s of a core that loads and scores ViT-B/32 while all cores are busy."""
        busy = self.value("float32, 2 cores") / CORES_MEASURED
        return busy * self.value(dtype) / self.value("float32")

    def gpu_towers(self, weights: str, gpu: str = "") -> float:
        """Pairs/s by arithmetic: peak × utilisation / work of a pair. Calculated, not measured."""
        work = gflop_a_pair(weights, self.given.caption_tokens)
        return GPUS[gpu or self.given.gpu] * 1000 * self.given.utilisation / work

    def gpu_loading(self) -> float:
        """Images/s of the cores beside one GPU, tier fast."""
        return self.given.cores_a_gpu * self.loading("fast", self.given.pictures)

    def gpu(self, weights: str, gpu: str = "") -> float:
        """Pairs/s of a GPU with its cores: the slower of towers and loading."""
        return min(self.gpu_towers(weights, gpu), self.gpu_loading())

    def busy(self, pace: float) -> float:
        """Connections in use on average: transactions a second × seconds of each."""
        return pace * (1 / self.value("commit") + self.value("read") / LONG_RUN_RECORDS)

    def pool(self, pace: float) -> int:
        """Server connections of pgbouncer."""
        return ceil(self.given.peak_factor * self.busy(pace)) + CONNECTIONS_BESIDE

    def planning_seconds(self, pending: float) -> float:
        """Of a source that holds nothing but what is pending."""
        return pending / MILLION * self.value("plan")

    def judging_seconds(self, pairs: float) -> float:
        """Of one run: recount, histogram, extremes."""
        return pairs / LONG_RUN_RECORDS * self.value("judge")

    def reading_seconds(self, records: float) -> float:
        """Planning over a source that also keeps what is settled, by records in it."""
        return records * self.value("plan settled") / SETTLED_RECORDS


@dataclass(frozen=True, slots=True)
class Limit:
    """Up to how many pairs a day one part suffices as it is."""

    part: str
    pairs: float
    formula: str
    then: str


def limits(model: Model) -> list[Limit]:
    """All parts, the one that gives way first at the top."""
    given, int8 = model.given, model.cpu("int8")
    night, minutes = given.night_hours * 3600, f"{given.planning_minutes:g} min"
    most = given.planning_minutes * 60
    direct = (given.max_connections - RESERVED - CONNECTIONS_BESIDE) // CONNECTIONS_A_WORKER
    parts = [
        Limit("the machine of the figures, ViT-B/32 in float32",
              CORES_MEASURED * model.cpu("float32") * night,
              f"{CORES_MEASURED} cores × pairs/s of a core × window", "more workers, or a GPU"),
        Limit(f"planning, with {given.days_kept} days of records in the source",
              most / model.reading_seconds(1) / given.days_kept,
              f"{minutes} / seconds a record / days", "a view of what is recent as the source"),
        Limit("connections without pgbouncer, CPU workers in int8", direct * int8 * night,
              f"({given.max_connections} - {RESERVED} reserved - {CONNECTIONS_BESIDE}) / "
              f"{CONNECTIONS_A_WORKER} workers × pairs/s of a core × window", "pgbouncer"),
        Limit(f"{MOST_SHARDS:,} shards of a run, on as many CPU cores in int8",
              MOST_SHARDS * int8 * night,
              "shards × pairs/s of a core × window", "GPUs, or several sources"),
        Limit("judging one run", most / model.judging_seconds(1),
              f"{minutes} / seconds a pair", "several sources"),
        Limit("planning, nothing but what is pending in the source",
              most / model.planning_seconds(1), f"{minutes} / seconds a pair", "several sources"),
        Limit(f"one writer, {given.batch_size} pairs a commit", model.value("commit") * night,
              "rows/s × window", "larger batches; several writers were not measured"),
    ]  # fmt: skip
    return sorted(parts, key=lambda each: each.pairs)


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
    paces = [each * MILLION / (hours * 3600) for each in millions]

    def row(what: str, form: Callable[[float], str]) -> Row:
        return [what, *map(form, paces)]

    yield from _columns(millions)
    yield row("pairs/s", written)
    for what, rate in _workers(model).items():
        yield [what, *(whole(pace / rate) for pace in paces)]
    per_pair = model.given.image_kb * 8 / MILLION
    yield row("network for images, Gbit/s", lambda pace: written(pace * per_pair))
    yield row("commits/s", lambda pace: written(pace / model.given.batch_size))
    commit, alone, gpu = model.value("commit"), model.cpu("int8"), model.gpu("ViT-B/32")
    yield row("share of what one writer can do", lambda pace: f"{pace / commit:.1%}")
    yield row("connections of workers without a GPU, int8",
              lambda pace: f"{ceil(pace / alone) * CONNECTIONS_A_WORKER:,}")  # fmt: skip
    yield row("connections of workers with a GPU, ViT-B/32",
              lambda pace: f"{ceil(pace / gpu) * CONNECTIONS_A_WORKER:,}")  # fmt: skip
    yield row("connections from pgbouncer to PostgreSQL", lambda pace: whole(model.pool(pace)))


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
        yield each.metadata["what"], shown, f"`{_option(each.name)}`"


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


MILLIONS = (1.0, 10.0, 100.0, 300.0)
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


def filled(page: str, results: Path = RESULTS) -> str:
    """The page with its tables made anew from the results, under the assumptions as they are."""
    given = Assumptions()
    model = Model(measured(results, given.batch_size), given)

    def place(found: re.Match[str]) -> str:
        return f"{found[1]}\n{table(found[2], model)}\n\n{found[3]}"

    return _PLACE.sub(place, with_figures(page, results))


def write_page(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Renew the tables of docs/scaling.md."""
    page.write_text(filled(page.read_text(), results))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every table, with the assumptions that the options give."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew docs/scaling.md, by defaults")
    parser.add_argument("--millions", type=float, nargs="+", default=list(MILLIONS))
    for each in fields(Assumptions):
        parser.add_argument(
            _option(each.name), type=type(each.default), default=each.default,
            help=f"{each.metadata['what']}; default: %(default)s",
            choices={"gpu": [*GPUS], "pictures": PICTURES}.get(each.name),
        )  # fmt: skip
    asked = vars(parser.parse_args(arguments))
    write, millions = asked.pop("write"), asked.pop("millions")
    try:
        if write:
            return write_page()
        given = Assumptions(**asked)
        model = Model(measured(RESULTS, given.batch_size), given)
    except (LookupError, ValueError) as wrong:
        parser.error(str(wrong.args[0]))
    for name in TABLES:
        print(f"{name}\n\n{table(name, model, millions)}\n")
    return None


if __name__ == "__main__":
    main()
