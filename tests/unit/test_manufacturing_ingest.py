"""Images as factories send them: what is read, how it becomes grey, and what is refused in which words."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from evident_core.errors import InvalidInput, NotFound, TooLarge, UnsupportedMedia
from evident_manufacturing.inspection.ingest import Board, Limits, ingest, quality, read


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    image = np.full((height, width), 230, np.uint8)
    image[8:20, 6:50] = 20
    return image


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def codes(board: Board) -> list[str]:
    return [note.code for note in board.notes]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})],
)
def test_each_kind_is_read_by_its_content(kind: str, options: dict[str, object]) -> None:
    data = encoded(scene(), kind, **options)
    board = ingest(data, name="C:\\camera 1\\board.xyz")
    assert np.array_equal(board.gray, scene())
    assert board.gray.dtype == np.uint8
    assert (board.width, board.height, board.input.name) == (64, 48, "board.xyz")
    assert len(board.input.sha256) == 64


def test_jpeg_in_grey_colour_and_cmyk_is_read() -> None:
    for image in (Image.fromarray(scene()), Image.fromarray(scene()).convert("RGB")):
        assert np.abs(ingest(encoded(image, "JPEG", quality=95), name="a").gray.astype(int) - scene()).mean() < 3
    cmyk = encoded(Image.fromarray(scene()).convert("RGB").convert("CMYK"), "JPEG", quality=95)
    assert np.abs(ingest(cmyk, name="a").gray.astype(int) - scene()).mean() < 3


def test_the_orientation_that_exif_tells_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}), ("TIFF", {})):
        board = ingest(encoded(np.rot90(scene()).copy(), kind, exif=exif, **options), name="a")
        assert (board.width, board.height) == (64, 48)
        assert np.abs(board.gray.astype(int) - scene()).mean() < 3
        assert codes(board) == ["turned"]


@pytest.mark.parametrize(("bits", "kind"), [(10, "PNG"), (12, "TIFF"), (14, "PNG"), (16, "PNG"), (16, "TIFF")])
def test_more_than_eight_bits_are_scaled_by_the_cameras_depth(bits: int, kind: str) -> None:
    deep = (scene().astype(np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
    board = ingest(encoded(deep, kind), name="a")
    assert np.abs(board.gray.astype(int) - scene()).max() <= 1
    assert board.notes[0].code == "scaled"
    assert board.notes[0].value == bits


def test_samples_whose_white_is_not_known_are_refused() -> None:
    with pytest.raises(UnsupportedMedia, match="floating-point"):
        ingest(encoded(scene().astype(np.float32), "TIFF"), name="a")
    with pytest.raises(UnsupportedMedia, match="65535"):
        ingest(encoded(scene().astype(np.int32) * 5000, "TIFF"), name="a")


def test_transparent_pixels_are_laid_on_black() -> None:
    rgba = np.dstack([np.full((48, 64, 3), 200, np.uint8), np.where(scene() > 100, 255, 0).astype(np.uint8)])
    board = ingest(encoded(rgba), name="a")
    assert set(np.unique(board.gray)) == {0, 200}
    assert codes(board) == ["alpha"]
    palette = Image.fromarray(scene()).convert("P")
    assert ingest(encoded(palette, transparency=int(np.asarray(palette)[10, 10])), name="a").gray[10, 10] == 0


def test_palette_two_levels_and_grey_with_alpha_are_read() -> None:
    assert np.array_equal(ingest(encoded(Image.fromarray(scene()).convert("P")), name="a").gray, scene())
    assert set(np.unique(ingest(encoded(Image.fromarray(scene() > 100)), name="a").gray)) == {0, 255}
    assert np.array_equal(ingest(encoded(Image.fromarray(scene()).convert("LA")), name="a").gray, scene())


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_more_than_one_frame_is_refused(kind: str) -> None:
    frames = [Image.fromarray(scene()).convert("RGB"), Image.fromarray(255 - scene()).convert("RGB")]
    with pytest.raises(InvalidInput, match="2 frames"):
        ingest(encoded(frames[0], kind, save_all=True, append_images=frames[1:]), name="a")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(kind: str, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where another library has told Pillow to make up the rest, as ultralytics does."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    data = encoded(noise, kind)
    with pytest.raises(InvalidInput, match="truncated"):
        ingest(data[: int(len(data) * share)], name="a")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GIF89a" + bytes(40), "a GIF"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"PK\x03\x04" + bytes(40), "a ZIP"),
        (b"<html></html>", "HTML"),
        (b"BM", "no image"),
        (bytes(100), "no image"),
    ],
)
def test_what_is_no_image_is_refused_whatever_its_name(data: bytes, what: str) -> None:
    with pytest.raises(UnsupportedMedia, match=what):
        ingest(data, name="board.jpg")


@pytest.mark.parametrize(
    ("data", "name", "otherwise"),
    [
        (b"GIF89a" + bytes(40), "anim.gif", False),
        (b"GIF89a" + bytes(40), "board.png", True),
        (b"II+\0" + bytes(40), "scan.tif", False),
        (bytes(100), "photo.heic", False),
    ],
)
def test_a_name_is_spoken_of_only_where_it_says_otherwise(data: bytes, name: str, otherwise: bool) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        ingest(data, name=name)
    assert ("whatever its name says" in refused.value.message) is otherwise


def test_an_alpha_channel_that_hides_nothing_is_no_remark() -> None:
    solid = np.dstack([np.full((48, 64, 3), 200, np.uint8), np.full((48, 64), 255, np.uint8)])
    solid[8:20, 6:50, :3] = 20
    assert codes(ingest(encoded(solid), name="a")) == []


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InvalidInput, match="0 bytes"):
        ingest(b"", name="board.jpg")


def test_sizes_are_limited_both_ways() -> None:
    with pytest.raises(InvalidInput, match="1 x 1"):
        ingest(encoded(np.zeros((1, 1), np.uint8)), name="a")
    with pytest.raises(TooLarge, match="at most 3,071 are read"):
        ingest(encoded(scene()), name="a", limits=Limits(max_pixels=3_071))
    assert ingest(encoded(scene()), name="a", limits=Limits(max_pixels=3_072)).width == 64


@pytest.mark.parametrize(
    ("width", "height", "refusal", "said"),
    [
        (100_000, 100_000, TooLarge, "100,000 x 100,000"),
        (16_385, 16_384, TooLarge, "16,385 x 16,384 pixels; at most 268,435,456 are read"),
        (16_384, 16_384, InvalidInput, "truncated"),  # of a size that is read, and only then looked into
    ],
)
def test_a_bomb_is_refused_by_its_header(width: int, height: int, refusal: type[Exception], said: str) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    with pytest.raises(refusal, match=said):
        ingest(bomb + chunk(b"IEND", b""), name="a")


def test_a_line_scan_above_pillows_own_limit_is_read() -> None:
    image = np.full((10_000, 10_000), 255, np.uint8)
    image[100:5000, 100:5000] = 0
    assert ingest(cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(), name="a").height == 10_000


def test_a_blank_image_is_refused_but_as_a_template() -> None:
    for level in (0, 128, 255):
        blank = encoded(np.full((64, 64), level, np.uint8))
        with pytest.raises(InvalidInput, match="blank"):
            ingest(blank, name="a")
        assert ingest(blank, name="a", allow_blank=True).gray.mean() == level


def test_files_with_chinese_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "电路板" / "样品 一号.png"
    path.parent.mkdir()
    path.write_bytes(encoded(scene()))
    assert read(path).input.name == "样品 一号.png"
    with pytest.raises(NotFound, match="没有"):
        read(tmp_path / "没有.png")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(path.parent)
    with pytest.raises(TooLarge, match="at most 10"):
        read(path, limits=Limits(max_bytes=10))


def test_control_characters_do_not_reach_the_shown_name() -> None:
    assert ingest(encoded(scene()), name="../../etc/a\x00\x1b[31m\n.png").input.name == "a[31m.png"


def exposed(gray: np.ndarray) -> list[str]:
    return [note.code for note in quality(ingest(encoded(gray), name="a"))]


def test_exposure_and_focus_are_remarked() -> None:
    sharp = np.full((300, 300), 255, np.uint8)
    sharp[50:250, 60:120] = 0
    assert exposed(sharp) == []
    assert exposed(np.clip(sharp.astype(int) + 150, 0, 255).astype(np.uint8)) == ["over_exposed"]
    assert exposed((sharp // 5).astype(np.uint8)) == ["under_exposed"]
    assert exposed(cv2.GaussianBlur(sharp, (0, 0), 1.0)) == []
    assert exposed(cv2.GaussianBlur(sharp, (0, 0), 2.5)) == ["blurred"]
