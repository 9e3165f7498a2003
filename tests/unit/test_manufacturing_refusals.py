"""Refusals in Chinese: a sentence for each reason that a real refusal gives, with its values."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from evident_core.errors import EvidentError
from evident_manufacturing.inspection.assess import Specification
from evident_manufacturing.inspection.ingest import Limits, ingest
from evident_manufacturing.inspection.perceive.align import align
from evident_manufacturing.refusals import in_chinese

HEAD = "product: p\nversion: 1\n"
LIMIT = HEAD + "classes:\n  short:\n    reject:\n      "


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    image = np.full((height, width), 230, np.uint8)
    image[8:20, 6:50] = 20
    return image


def encoded(image: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


def of(text: str) -> Callable[[], object]:
    return lambda: Specification.load(text)


REFUSED = [
    (lambda: ingest(b"", name="板.png"), "板.png 是空文件"),
    (lambda: ingest(b"GIF89a" + bytes(9), name="a.gif"), "a.gif 不是可读取的图像"),
    (lambda: ingest(encoded(scene())[:60], name="a"), "a 是 PNG 文件，但无法读到末尾"),
    (lambda: ingest(encoded(np.full((48, 64), 9, np.uint8)), name="a"), "a 是空白图像"),
    (lambda: ingest(encoded(scene(8, 8)), name="a"), "a 只有 8 × 8 像素；每边至少需要 32 像素"),
    (
        lambda: ingest(encoded(scene()), name="a", limits=Limits(max_pixels=99)),
        "a 为 64 × 48 像素，超过可读取的 99 像素",
    ),
    (lambda: align(scene(), scene(48, 80)), "模板为 80 × 48 像素，而电路板为 64 × 48 像素"),
    (lambda: align(scene(64, 48), scene(48, 64)), "模板只有旋转 90 度后才吻合"),
    (of(HEAD + "prodct: x\n"), "“prodct”不是此处的键；是否应为 product？"),
    (of(HEAD + "default: maybe\n"), "default 只能是 accept, rework, reject 之一，而不是“maybe”"),
    (of("product: p\n"), "规格必须有 version。"),
    (of(HEAD + "version: 2\n"), "“version”出现两次（前一次在第 2 行）"),
    (of(HEAD + "score: [1\n"), "此处不是有效的 YAML。"),
    (of(LIMIT + "length_max: 200 µm\n"), "length_max 的“200 µm”请写为 0.200 mm。"),
    (of(LIMIT + "length_max: 8 px\n"), "length_max 的单位是 px；请换算为 mm"),
    (of(LIMIT + "length_max: 8\n"), "length_max 没有单位；请以 mm 给出"),
    (of(LIMIT + "area_max: 0,2 mm2\n"), "请用小数点，如 0.2 mm2"),
    (of(LIMIT + "count_max: -1\n"), "count_max 应为不小于 0 的整数"),
    (of(LIMIT + "length_max: much\n"), "length_max 应为数字加单位，如 0.2 mm，而不是“much”"),
]


@pytest.mark.parametrize(("refused", "said"), REFUSED)
def test_a_refusal_is_said_in_chinese_with_its_values(refused: Callable[[], object], said: str) -> None:
    with pytest.raises(EvidentError) as error:
        refused()
    assert said in in_chinese(error.value.details)


def test_more_than_all_of_the_conductor_is_not_told_as_a_share_above_one() -> None:
    spot, field = np.full((200, 200), 230, np.uint8), np.full((200, 200), 230, np.uint8)
    spot[90:96, 90:96], field[20:180, 20:180] = 20, 20
    with pytest.raises(EvidentError, match="more than all of the conductor differs") as error:
        align(spot, field)
    assert in_chinese(error.value.details).startswith("模板不属于此板：在最佳位置仍有过多不同（置信度 0.0")


def test_what_lacks_a_reason_or_a_value_is_left_to_the_english_sentence() -> None:
    assert in_chinese({}) == ""
    assert in_chinese({"reason": "small", "name": "a"}) == ""
    assert in_chinese({"reason": "blank"}).startswith("模板没有内容")
    assert in_chinese({"reason": "blank", "transparent": "a.png"}).endswith("请存为不带透明度的图像。")
