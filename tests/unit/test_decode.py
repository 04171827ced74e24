"""Pixels against the reference processor, bit for bit, and images that are refused."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, ImageFile
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_scoring.geometry import Fit, Geometry
from clip_scoring.images.decode import decode
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.ports import Pixels
from clip_scoring.records import Reason, Rejection

pytestmark = [  # as the loader sets them in production, where a warning is no error
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]
STRETCH = Geometry(Fit.STRETCH, 48, 40, 3, None)
SIZES = [(1, 1), (1, 50), (50, 1), (2, 3), (31, 33), (32, 32), (33, 31), (64, 48), (47, 113),
         (200, 7), (500, 333)]  # fmt: skip


def shortest(edge: int = 32, crop: tuple[int, int] = (32, 32), resample: int = 3) -> Geometry:
    return Geometry(Fit.SHORTEST_EDGE, edge, edge, resample, crop)


def same(width: int, height: int) -> Geometry:
    """A geometry that leaves an image of this size as it is."""
    return Geometry(Fit.STRETCH, height, width, 3, None)


def reference(image: Image.Image, geometry: Geometry) -> Pixels:
    """What the processor of transformers makes of the image."""
    size = {"height": geometry.height, "width": geometry.width}
    crop = geometry.crop or (0, 0)
    processor = CLIPImageProcessorPil(
        do_rescale=False,
        do_normalize=False,
        resample=geometry.resample,
        size=size if geometry.fit is Fit.STRETCH else {"shortest_edge": geometry.height},
        do_center_crop=geometry.crop is not None,
        crop_size={"height": crop[0], "width": crop[1]},
    )
    found = processor(image, return_tensors="np")["pixel_values"][0]
    return np.moveaxis(found, 0, -1)


def noise(width: int, height: int, seed: int = 7, channels: int = 3) -> np.ndarray:
    shape = (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(noise(width, height))


def refusal(body: bytes) -> Rejection:
    with pytest.raises(ImageRejected) as raised:
        decode(body, shortest())
    return raised.value.rejection


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG made by hand; `rows` are compressed as they are, filter bytes included."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# Sizes and crops.


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    "geometry",
    [
        STRETCH,
        shortest(),
        shortest(33, (33, 33)),
        shortest(40, (32, 32)),
        shortest(40, (31, 33)),
        shortest(24, (32, 32)),
        shortest(24, (33, 31)),
        shortest(25, (32, 40)),
        shortest(resample=2),
        shortest(resample=1),
        Geometry(Fit.STRETCH, 40, 40, 2, (32, 32)),
        Geometry(Fit.STRETCH, 20, 31, 3, (32, 32)),
    ],
    ids=lambda each: f"{each.fit}-{each.height}x{each.width}-{each.crop}-{each.resample}",
)
def test_pixels_equal_those_of_the_reference_bit_for_bit(
    size: tuple[int, int], geometry: Geometry
) -> None:
    image = picture(*size)
    pixels = decode(encoded(image), geometry)
    assert pixels.dtype == np.uint8
    assert pixels.shape == geometry.shape
    np.testing.assert_array_equal(pixels, reference(image, geometry))


def test_the_size_of_the_first_clip_equals_the_reference() -> None:
    image, geometry = picture(641, 427), shortest(224, (224, 224))
    np.testing.assert_array_equal(decode(encoded(image), geometry), reference(image, geometry))


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    np.testing.assert_array_equal(decode(encoded(picture(5, 4)), same(5, 4)), noise(5, 4))


def test_the_pixels_lie_in_one_piece_of_memory() -> None:
    assert decode(encoded(picture(90, 40)), shortest()).flags.c_contiguous


# Orientation. The turns are written out by hand: what a viewer has to do to the stored pixels.

TURNS = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = TURNS[orientation](noise(6, 4))
    height, width, _ = expected.shape
    body = encoded(picture(6, 4), kind, exif=exif)
    np.testing.assert_array_equal(decode(body, same(width, height)), expected)


@pytest.mark.parametrize("orientation", TURNS)
def test_the_exif_orientation_of_a_jpeg_decides_which_edge_is_the_shorter(
    orientation: int,
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(picture(90, 40), "JPEG", exif=exif)
    turned = TURNS[orientation](np.asarray(Image.open(io.BytesIO(body)).convert("RGB")))
    expected = reference(Image.fromarray(np.ascontiguousarray(turned)), shortest())
    np.testing.assert_array_equal(decode(body, shortest()), expected)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(picture(6, 4), exif=exif)
    np.testing.assert_array_equal(decode(body, same(6, 4)), noise(6, 4))


@pytest.mark.parametrize("exif", [b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\xff\xff\xff\xff", b"junk"])
def test_broken_exif_turns_nothing(exif: bytes) -> None:
    body = encoded(picture(6, 4), exif=exif)
    np.testing.assert_array_equal(decode(body, same(6, 4)), noise(6, 4))


# Transparency is over white.


def test_what_is_fully_transparent_is_white_whatever_colour_it_hides() -> None:
    hidden = noise(8, 8, channels=4)
    hidden[..., 3] = 0
    pixels = decode(encoded(Image.fromarray(hidden)), same(8, 8))
    assert (pixels == 255).all()


def test_what_is_opaque_keeps_its_colour() -> None:
    opaque = noise(8, 8, channels=4)
    opaque[..., 3] = 255
    pixels = decode(encoded(Image.fromarray(opaque)), same(8, 8))
    np.testing.assert_array_equal(pixels, opaque[..., :3])


def test_what_is_half_transparent_is_mixed_with_white_within_one_step() -> None:
    given = noise(16, 16, channels=4)
    alpha = given[..., 3:].astype(float) / 255
    expected = given[..., :3] * alpha + 255 * (1 - alpha)
    pixels = decode(encoded(Image.fromarray(given)), same(16, 16))
    assert np.abs(pixels - expected).max() <= 1.0


def test_hidden_colours_do_not_bleed_into_their_neighbours_when_resized() -> None:
    given = np.full((8, 8, 4), 255, np.uint8)
    given[::2] = (255, 0, 0, 0)
    assert (decode(encoded(Image.fromarray(given)), same(3, 3)) == 255).all()


def test_grey_with_alpha_is_mixed_with_white() -> None:
    given = np.array([[[0, 255], [0, 0], [200, 255], [100, 0]]], np.uint8)
    pixels = decode(encoded(Image.fromarray(given, "LA")), same(4, 1))
    assert pixels[0, :, 0].tolist() == [0, 255, 200, 255]


def test_the_transparent_entry_of_a_palette_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    pixels = decode(encoded(image, transparency=0), same(2, 1))
    assert pixels.tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_palette_entries_with_alpha_of_their_own_are_mixed_with_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 0, 255, 0, 0, 0])
    image.putdata([0, 1, 2])
    pixels = decode(encoded(image, transparency=bytes([0, 255, 51])), same(3, 1))
    assert pixels.tolist() == [[[255, 255, 255], [0, 0, 255], [204, 204, 204]]]


def test_the_transparent_colour_of_an_rgb_png_is_white() -> None:
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    pixels = decode(encoded(image, transparency=(1, 2, 3)), same(2, 1))
    assert pixels.tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_the_transparent_level_of_a_grey_png_is_white() -> None:
    image = Image.fromarray(np.array([[7, 8]], np.uint8))
    pixels = decode(encoded(image, transparency=7), same(2, 1))
    assert pixels[0, :, 0].tolist() == [255, 8]


# Depths, colours and formats.


def test_16_bit_grey_keeps_its_upper_byte() -> None:
    levels = [0x0000, 0x00FF, 0x0100, 0x80FF, 0xFFFF]
    rows = b"\x00" + struct.pack(">5H", *levels)
    pixels = decode(png(5, 1, depth=16, colour=0, rows=rows), same(5, 1))
    assert pixels.tolist() == [[[0] * 3, [0] * 3, [1] * 3, [128] * 3, [255] * 3]]


def test_16_bit_colour_keeps_its_upper_byte() -> None:
    rows = b"\x00" + struct.pack(">6H", 0x01FF, 0x0200, 0x03FF, 0xFF00, 0x0000, 0x7FFF)
    pixels = decode(png(2, 1, depth=16, colour=2, rows=rows), same(2, 1))
    assert pixels.tolist() == [[[1, 2, 3], [255, 0, 127]]]


def test_16_bit_grey_in_tiff_keeps_its_upper_byte() -> None:
    image = Image.fromarray(np.array([[0x12FF, 0xFE00]], np.uint16))
    assert decode(encoded(image, "TIFF"), same(2, 1))[0, :, 0].tolist() == [0x12, 0xFE]


def test_one_bit_is_black_and_white() -> None:
    pixels = decode(png(8, 1, depth=1, colour=0, rows=b"\x00\xa5"), same(8, 1))
    assert pixels[0, :, 0].tolist() == [255, 0, 255, 0, 0, 255, 0, 255]


def test_cmyk_without_ink_is_white_and_with_all_of_it_black() -> None:
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 255, 255, 255]]], np.uint8)
    image = Image.fromarray(inks, "CMYK")
    assert decode(encoded(image, "TIFF"), same(3, 1))[0, :, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("ink", "colour"),
    [((255, 0, 0, 0), (0, 255, 255)), ((0, 255, 0, 0), (255, 0, 255)),
     ((0, 0, 255, 0), (255, 255, 0))],
)  # fmt: skip
def test_a_cmyk_jpeg_has_the_colours_of_its_inks(
    ink: tuple[int, ...], colour: tuple[int, ...]
) -> None:
    body = encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95)
    pixels = decode(body, same(16, 16)).astype(int)
    assert np.abs(pixels - colour).max() <= 4


def test_of_an_animated_gif_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime", "blue")]
    body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decode(body, same(4, 4)) == (255, 0, 0)).all()


@pytest.mark.parametrize("kind", ["WEBP", "PNG"])
def test_of_an_animation_in_another_format_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    body = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert (decode(body, same(16, 16)) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("kind", "options"), [("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("PNG", {})]
)
def test_a_lossless_format_keeps_its_pixels(kind: str, options: dict[str, bool]) -> None:
    body = encoded(picture(9, 7), kind, **options)
    np.testing.assert_array_equal(decode(body, same(9, 7)), noise(9, 7))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_lossy_format_equals_the_reference_on_what_pillow_decodes(kind: str) -> None:
    body = encoded(picture(90, 61), kind)
    image = Image.open(io.BytesIO(body))
    np.testing.assert_array_equal(decode(body, shortest()), reference(image, shortest()))


def test_a_transparent_webp_is_over_white() -> None:
    body = encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0)), "WEBP", lossless=True, exact=True)
    assert (decode(body, same(4, 4)) == 255).all()


# Refusals.


@pytest.mark.parametrize(
    "body",
    [b"", b"\x00", b"a red circle", b"<!doctype html><html><body>404</body></html>", b"<svg/>",
     b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP", b"BM",
     b"II*\x00", b"PK\x03\x04", b"\x7fELF", b"\x1f\x8b\x08", b"\x00" * 10_000],
)  # fmt: skip
def test_what_is_no_image_is_undecodable(body: bytes) -> None:
    assert refusal(body).reason is Reason.IMAGE_UNDECODABLE


def test_zero_bytes_are_named_as_such() -> None:
    assert refusal(b"") == Rejection(Reason.IMAGE_UNDECODABLE, "zero bytes")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_half_an_image_is_undecodable(kind: str) -> None:
    body = encoded(picture(90, 61), kind)
    assert refusal(body[: len(body) // 2]).reason is Reason.IMAGE_UNDECODABLE


def test_a_png_of_few_bytes_and_many_pixels_is_refused_unread() -> None:
    body = png(10_000, 5001, depth=1, colour=0, rows=b"")
    assert len(body) < 100
    assert refusal(body) == Rejection(Reason.IMAGE_TOO_MANY_PIXELS, "10000x5001, limit 50000000")


@pytest.mark.parametrize(
    ("width", "height"), [(10_000, 9000), (10_000, 18_000), (2**31 - 1, 2**31 - 1)]
)
def test_a_bomb_of_any_size_has_too_many_pixels(width: int, height: int) -> None:
    body = png(width, height, depth=1, colour=0, rows=b"")
    assert refusal(body).reason is Reason.IMAGE_TOO_MANY_PIXELS


def test_exactly_50_million_pixels_are_decoded() -> None:
    rows = (b"\x00" + b"\xff" * 1250) * 5000
    body = png(10_000, 5000, depth=1, colour=0, rows=rows)
    assert (decode(body, shortest()) == 255).all()


@pytest.mark.parametrize(("width", "height"), [(1, 5000), (5000, 1), (1, 51), (2, 101), (101, 2)])
def test_an_image_over_fifty_times_as_long_as_wide_is_refused(width: int, height: int) -> None:
    found = refusal(encoded(Image.new("L", (width, height))))
    assert found == Rejection(Reason.IMAGE_BAD_DIMENSIONS, f"{width}x{height}, ratio over 50")


@pytest.mark.parametrize(("width", "height"), [(1, 50), (100, 2)])
def test_an_image_exactly_fifty_times_as_long_as_wide_is_decoded(width: int, height: int) -> None:
    body = encoded(Image.new("L", (width, height), 255))
    assert (decode(body, shortest()) == 255).all()


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"P6\n1 1\n255\n\x00\x00\x00", "PPM"),
        (b"P5\n1 1\n255\n\x00", "PGM"),
        (b"P4\n8 1\n\x00", "PBM"),
        (b"P3\n1 1\n255\n0 0 0", "PPM"),
        (b"\x00\x00\x01\x00\x01\x00" + bytes(40), "ICO"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\x00\x01" + bytes(40), "Photoshop"),
        (b"qoif" + bytes(20), "QOI"),
        (b"icns" + bytes(20), "ICNS"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
        (b"\x00\x00\x00\x1cftypavif" + bytes(20), "avif"),
        (b"\x00\x00\x00\x1cftypheic" + bytes(20), "heic"),
    ],
)
def test_an_image_in_another_format_is_forbidden_by_name(body: bytes, name: str) -> None:
    assert refusal(body) == Rejection(Reason.IMAGE_FORMAT_FORBIDDEN, name)


@pytest.mark.parametrize("kind", ["PPM", "ICO", "EPS", "AVIF", "JPEG2000", "ICNS", "QOI", "PDF"])
def test_a_good_image_in_another_format_is_forbidden(kind: str) -> None:
    body = encoded(picture(64, 64), kind)
    assert refusal(body).reason is Reason.IMAGE_FORMAT_FORBIDDEN


# Bombs that are small as files.


def test_of_a_gif_with_10_000_frames_only_the_first_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = b"\x2c" + struct.pack("<4H", 0, 0, 1, 1) + b"\x00\x02\x02\x4c\x01\x00"
    head = b"GIF89a" + struct.pack("<2H", 1, 1) + b"\x80\x00\x00" + b"\xff\x00\x00\x00\x00\xff"
    body = head + frame * 10_000 + b";"
    assert Image.open(io.BytesIO(body)).n_frames == 10_000
    read: list[int] = []
    seek = GifImagePlugin.GifImageFile._seek
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile,
        "_seek",
        lambda self, frame, *more: (read.append(frame), seek(self, frame, *more))[1],
    )
    assert decode(body, same(1, 1)).tolist() == [[[0, 0, 255]]]
    assert read == [0]


@pytest.mark.parametrize(
    ("kind", "head"), [(b"zTXt", b"Comment\x00\x00"), (b"iCCP", b"profile\x00\x00")]
)
def test_a_png_whose_text_or_profile_explodes_is_refused_or_decoded_without_it(
    kind: bytes, head: bytes
) -> None:
    bomb = head + zlib.compress(bytes(300_000_000), 9)
    chunk = struct.pack(">I", len(bomb)) + kind + bomb + struct.pack(">I", zlib.crc32(kind + bomb))
    body = encoded(picture(5, 4))
    body = body[:33] + chunk + body[33:]
    found = outcome(body)
    assert isinstance(found, np.ndarray) or found.reason is Reason.IMAGE_UNDECODABLE


def test_nothing_lets_pillow_make_up_what_is_missing_of_an_image() -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


# Anything at all is either pixels or a ImageRejected.


def outcome(body: bytes) -> Pixels | Rejection:
    """Pixels of the right shape, or the rejection; anything else raised ends the test."""
    try:
        pixels = decode(body, shortest())
    except ImageRejected as refused:
        return refused.rejection
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)
    return pixels


HEADS = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\x00\x00\x00WEBPVP8 ",
         b"BM", b"II*\x00\x08\x00\x00\x00", b"MM\x00*\x00\x00\x00\x08"]  # fmt: skip


def test_200_random_bodies_are_refused() -> None:
    chance = random.Random(1)
    for number in range(200):
        body = HEADS[number % len(HEADS)] + chance.randbytes(chance.randrange(2000))
        assert isinstance(outcome(body), Rejection), (number, body[:40])


def mutated(body: bytes, chance: random.Random) -> bytes:
    """The body with one of: some bytes changed, a piece cut, a piece doubled, the end cut."""
    start, stop = sorted(chance.randrange(len(body)) for _ in range(2))
    match chance.randrange(4):
        case 0:
            changed = bytearray(body)
            for _ in range(chance.randint(1, 12)):
                changed[chance.randrange(len(body))] = chance.randrange(256)
            return bytes(changed)
        case 1:
            return body[:start] + body[stop:]
        case 2:
            return body[:stop] + body[start:]
        case _:
            return body[:stop]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_75_mutations_of_an_image_are_pixels_or_refused(kind: str) -> None:
    chance = random.Random(kind)
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if kind in {"GIF", "BMP"} else {"exif": exif}
    body = encoded(picture(48, 40), kind, **options)
    assert isinstance(outcome(body), np.ndarray)
    for _ in range(75):
        outcome(mutated(body, chance))


def test_a_detail_never_repeats_the_body() -> None:
    chance = random.Random(3)
    body = encoded(picture(48, 40), "PNG")
    for _ in range(75):
        found = outcome(mutated(body, chance))
        if isinstance(found, Rejection):
            assert len(found.detail) <= 200
            assert found.detail.isprintable()
