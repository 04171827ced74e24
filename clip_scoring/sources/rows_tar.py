"""WebDataset tar: members of one name are a sample; nothing is ever written to a disk."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, ClassVar, Self

from clip_scoring.display import one_line
from clip_scoring.errors import ObjectUnreadable
from clip_scoring.records import CAPTION_LIMIT_BYTES, Reason, Rejection
from clip_scoring.sources.lines import LIMIT_BYTES
from clip_scoring.sources.rows_json import text_field
from clip_scoring.sources.stored_objects import Mark, ObjectStore, Row, StoredObject, Survey

IMAGE_LIMIT_BYTES = 20 * 1024 * 1024
_IMAGES = frozenset({"jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"})
_READ = _IMAGES | {"txt", "json"}
_NAME = re.compile(r"(^|/)[^./][^/]*\.[^/]*$")
"""A file with an extension that is not hidden."""
_SAMPLE_MEMBERS = 1000
_HEADER_BYTES = 1024 * 1024
_MARK_BYTES = 8 * 1024 * 1024
_BLOCK = 64 * 1024
_EXTENSIONS = frozenset({
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
})  # fmt: skip
_GLOBAL = frozenset({"path", "size", "hdrcharset"})
"""What would be lost on a reader that begins behind a global header that sets it."""
_BREAKS = (tarfile.TarError, ValueError, EOFError, OverflowError)
"""Errors of tarfile on files that are not archives."""


@dataclass(frozen=True, slots=True)
class TarRows:
    """Samples of a tar; `caption` names the field of a `.json` member where there is no `.txt`.

    A sample is consecutive members whose names are equal up to the first dot after the last
    slash. The image travels inside, so that `image` names nothing here.
    """

    image: str
    caption: str
    suffixes: ClassVar[tuple[str, ...]] = (".tar",)
    names_rows: ClassVar[bool] = False

    def survey(self, store: ObjectStore, stored: StoredObject) -> Survey:
        """Count the samples; raises ObjectUnreadable when there is no tar to begin with."""
        first = Mark(0, 0)
        starts = (start for start, _ in _found(store, stored, first, bodies=False))
        return Survey.of(starts, first=first, bytes_apart=_MARK_BYTES)

    def rows(
        self, store: ObjectStore, stored: StoredObject, survey: Survey, first: int
    ) -> Iterator[Row]:
        """Rows from number `first` on; all that follows a break is one row with a parse error."""
        mark = survey.nearest(first)
        for start, sample in _found(store, stored, mark, bodies=True):
            if start.row < first:
                continue
            if isinstance(sample, _Break):
                yield Row.unparsable(start.row, str(sample))
            else:
                yield self._row(start.row, sample, stored.uri)

    def _row(self, number: int, sample: list[_Member], uri: str) -> Row:
        image = next((member for member in sample if member.kind in _IMAGES), None)
        if image is None:
            return Row.unparsable(number, f"sample {sample[0].sample}: no image member")
        caption, parse_error = self._read_caption(_first(sample, "txt") or _first(sample, "json"))
        parse_error = image.parse_error or parse_error
        return Row(
            number, f"{uri}#{image.name}", caption, None if parse_error else image.body, parse_error
        )

    def _read_caption(self, member: _Member | None) -> tuple[str, Rejection | None]:
        """The caption, empty where there is none, or why it cannot be read."""
        if member is None:
            return "", None
        if member.parse_error:
            return "", member.parse_error
        try:
            return self._caption(member), None
        except (ValueError, RecursionError) as broken:
            return "", Rejection(Reason.RECORD_INVALID, one_line(f"{member.name}: {broken}"))

    def _caption(self, member: _Member) -> str:
        content = (member.body or b"").decode("utf-8-sig")
        if member.kind == "txt":
            return content
        fields = json.loads(content)
        if not isinstance(fields, dict):
            raise ValueError("not a JSON object")
        return "" if fields.get(self.caption) is None else text_field(fields, self.caption)


@dataclass(frozen=True, slots=True)
class _Member:
    """A file in the tar; `body` None was not read, being unwanted or over its limit."""

    name: str
    offset: int
    size: int
    body: bytes | None

    @property
    def sample(self) -> str:
        return self.name.removesuffix(f".{self._extension}")

    @property
    def kind(self) -> str:
        return self._extension.lower()

    @property
    def parse_error(self) -> Rejection | None:
        reason, limit = _limit(self.kind)
        if self.size <= limit:
            return None
        return Rejection(reason, f"{self.kind} of {self.size} bytes, limit {limit}")

    @property
    def _extension(self) -> str:
        return self.name.rpartition("/")[2].partition(".")[2]


@dataclass(frozen=True, slots=True)
class _Break:
    """Where the tar stops being one; `start` is where the sample begins that it breaks."""

    start: int
    byte: int
    why: str

    def __str__(self) -> str:
        return f"the tar breaks at byte {self.byte}: {self.why}"


class _CheckedHeader(tarfile.TarInfo):
    """Headers of which a broken one is an error; tarfile itself takes it for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as broken:
            if bytes(buf) == tarfile.NUL * tarfile.BLOCKSIZE:
                raise
            why = str(broken) if buf else "it ends without its end mark"
            raise tarfile.ReadError(why) from broken
        if header.size < 0 or (header.type in _EXTENSIONS and header.size > _HEADER_BYTES):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _found(
    store: ObjectStore, stored: StoredObject, mark: Mark, *, bodies: bool
) -> Iterator[tuple[Mark, list[_Member] | _Break]]:
    """The samples from the mark on, and the break that ends them if there is one."""
    with store.open(stored, mark.byte) as stream:
        members = _members(stream, stored, mark, bodies=bodies)
        for number, sample in enumerate(_samples(members), mark.row):
            if number == 0 and isinstance(sample, _Break):
                raise ObjectUnreadable(f"{stored.shown}: {sample}")
            start = sample.start if isinstance(sample, _Break) else sample[0].offset
            yield Mark(number, start), sample


def _samples(members: Iterator[_Member | _Break | None]) -> Iterator[list[_Member] | _Break]:
    sample: list[_Member] = []
    for member in members:
        if isinstance(member, _Break):
            yield replace(member, start=sample[0].offset) if sample else member
            return
        if sample and (member is None or not _belongs(member, sample)):
            yield sample
            sample = []
        if member:
            sample.append(member)


def _belongs(member: _Member, sample: list[_Member]) -> bool:
    """A kind that comes twice begins the next sample, whatever its name."""
    known = {member.kind for member in sample}
    return (
        member.sample == sample[0].sample
        and member.kind not in known
        and len(known) < _SAMPLE_MEMBERS
    )


def _members(
    stream: BinaryIO, stored: StoredObject, mark: Mark, *, bodies: bool
) -> Iterator[_Member | _Break | None]:
    """The files of samples, None at the end mark, and the break if there is one.

    Links, devices and hidden files belong to no sample.
    """
    tar = None
    try:
        tar = tarfile.open(  # noqa: SIM115  # there is nothing to close but the stream
            fileobj=stream, mode="r|", bufsize=_BLOCK, tarinfo=_CheckedHeader, encoding="utf-8"
        )
        while header := tar.next():
            tar.members.clear()  # type: ignore[attr-defined]  # else it remembers them all
            if _GLOBAL & tar.pax_headers.keys():
                raise tarfile.ReadError("a global header renames or resizes all that follow")
            # Looked at before tarfile goes there, which takes ages when a broken header says so.
            whole = mark.byte + tar.offset <= stored.size
            if header.isreg() and not header.issparse() and _NAME.search(header.name):
                yield _member(tar, header, mark.byte, bodies and whole)
            if not whole:
                raise tarfile.ReadError("it ends in the middle of a member")
        yield None
        _check_end(tar)
    except _BREAKS as broken:
        reached = mark.byte + (min(tar.offset, tar.fileobj.tell()) if tar else 0)
        yield _Break(reached, reached, one_line(str(broken)))


def _member(tar: tarfile.TarFile, header: tarfile.TarInfo, at: int, body: bool) -> _Member:
    member = _Member(header.name, at + header.offset, header.size, None)
    if not body or member.kind not in _READ or member.parse_error:
        return member
    file = tar.extractfile(header)
    return replace(member, body=file.read() if file else None)


def _check_end(tar: tarfile.TarFile) -> None:
    """Raises ReadError when anything but padding follows the end mark."""
    while rest := tar.fileobj.read(_BLOCK):
        if rest.strip(tarfile.NUL):
            raise tarfile.ReadError("more follows its end mark")


def _first(sample: list[_Member], kind: str) -> _Member | None:
    return next((member for member in sample if member.kind == kind), None)


def _limit(kind: str) -> tuple[Reason, int]:
    match kind:
        case "txt":
            return Reason.CAPTION_TOO_LONG, 4 * CAPTION_LIMIT_BYTES
        case "json":
            return Reason.RECORD_INVALID, LIMIT_BYTES
        case _:
            return Reason.IMAGE_TOO_LARGE, IMAGE_LIMIT_BYTES
