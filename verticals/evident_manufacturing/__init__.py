"""Evident for line engineers: an image in; defects in mm, a verdict by the product's rules, and MES events out."""

from evident_core.services import Vertical

vertical = Vertical(
    name="manufacturing",
    title={"en": "Optical inspection of boards and parts", "zh": "电路板与零件光学检测"},
    summary={
        "en": "A board's image in; each defect with its class, its size in mm and its evidence, and a verdict by the "
        "product's own specification.",
        "zh": "输入电路板图像，得到每个缺陷的类别、毫米尺寸和证据，并按产品规范给出判定。",
    },
    app="evident_manufacturing.app:create_app",
    cli="evident_manufacturing.commands:manufacturing",
    settings="evident_manufacturing.settings:ManufacturingSettings",
    requires=("cv2", "numpy", "onnxruntime", "PIL", "yaml"),
    preload=("evident_manufacturing.desk",),
    long_runs=("evident_manufacturing.retraining:retrain", "evident_manufacturing.retraining:compare"),
)
