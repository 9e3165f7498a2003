"""Refusals in Chinese, where an error tells by its ``reason`` what is wrong and has the values to say it with.

The English sentence stays the one that is complete; what is not in this table is told by it alone.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

_WAYS: Final = {
    "turned by 90 degrees": "旋转 90 度",
    "turned by 180 degrees": "旋转 180 度",
    "turned by 270 degrees": "旋转 270 度",
    "mirrored left to right": "左右镜像",
    "mirrored top to bottom": "上下镜像",
    "mirrored left to right and turned by 90 degrees": "左右镜像并旋转 90 度",
    "mirrored top to bottom and turned by 90 degrees": "上下镜像并旋转 90 度",
    "as a negative (dark and bright exchanged)": "明暗反转",
}
"""How a template would fit, which is then the reason."""
_SENTENCES: Final[dict[str, tuple[str, ...]]] = {
    # an image
    "empty": ("{name} 是空文件（0 字节）；请重新发送图像。",),
    "kind": ("{name} 不是可读取的图像；请发送 JPEG、PNG、BMP、TIFF 或 WebP。",),
    "damaged": ("{name} 是 {kind} 文件，但无法读到末尾：已截断、损坏，或属少见格式；请重新发送，或存为 PNG。",),
    "blank": (
        "{name} 是空白图像：灰度几乎处处相同，没有可检测的内容；请检查光源、镜头盖和触发。",
        "模板没有内容：其灰度几乎处处相同，而电路板并非如此；请重新拍摄模板，或另选模板。",
    ),
    "pixels": (
        "{name} 为 {width} × {height} 像素，超过可读取的 {most} 像素；"
        "请将图像与模板切成相同的几部分，分别作为单独的板发送。",
    ),
    "small": ("{name} 只有 {width} × {height} 像素；每边至少需要 {least} 像素才能看出缺陷。",),
    "frames": ("{name} 含 {frames} 帧，而一次检测只针对一幅图像；请将各帧存为单独的文件发送。",),
    # its template
    "size": (
        "模板为 {template[1]} × {template[0]} 像素，而电路板为 {test[1]} × {test[0]} 像素；"
        "请使用以本相机拍摄的本产品模板。",
    ),
    "scale": ("模板只有缩放到 {scale} 倍才吻合；请用本相机、镜头和距离重新拍摄模板。",),
    "foreign": ("模板不属于此板：在最佳位置仍有过多不同（置信度 {confidence}）；请选择本产品、本面的模板。",),
    "product": ("工件属于产品“{product}”，而规格属于另一产品；请用其自身产品的规格判定。",),
    # a specification
    "zone_outside": ("区域 {zone} 在电路板之外：其范围为 {where}，而电路板为 {board}；请更正其数值、单位或原点。",),
    "kept": ("{name} 已经保存，且内容不同；判定所引用的版本不再更改，请换一个版本号或编号。",),
    "yaml": ("此处不是有效的 YAML。",),
    "needed": ("规格必须有 {key}。",),
    "twice": ("“{key}”出现两次（前一次在第 {before} 行）；请只保留一个。",),
    "choice": ("{key} 只能是 {known} 之一，而不是“{value}”。",),
    "key_like": ("“{key}”不是此处的键；是否应为 {meant}？",),
    "key": ("“{key}”不是此处的键；可用的键：{meant}。",),
    "comma_apart": ("“{key}”不是此处的键；若它是数字的后半部分，请用小数点（如 0.2），不要用逗号。",),
    "comma": ("{key} 的“{value}”含有逗号；请用小数点，如 {point}，且不分隔千位。",),
    "amount": ("{key} 应为数字加单位，如 0.2 {unit}，而不是“{value}”。",),
    "count": ("{key} 应为不小于 0 的整数，不带单位，如 3，而不是“{value}”。",),
    "other_unit": ("{key} 的“{value}”请写为 {right}。",),
    "unknown_unit": ("{key} 的单位是 {given}；请换算为 {unit}，先写数字，再写 {unit}。",),
    "no_unit": ("{key} 没有单位；请以 {unit} 给出，先写数字，再写 {unit}。",),
} | {reason: (f"模板只有{way}后才吻合；请调转电路板或相机，或选用此面的模板。",) for reason, way in _WAYS.items()}
"""By reason; of several the first of which all values are known."""
_LAID: Final = "{transparent} 的透明像素按黑色处理；请存为不带透明度的图像。"


def in_chinese(details: Mapping[str, object]) -> str:
    """What was refused and what to do about it, in Chinese; empty where that cannot be said from the details."""
    for sentence in _SENTENCES.get(str(details.get("reason")), ()):
        with suppress(KeyError, IndexError, TypeError):
            return sentence.format_map(details) + (_LAID.format_map(details) if "transparent" in details else "")
    return ""
