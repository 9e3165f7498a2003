"""Evident for analysts: an annual report PDF in, a risk report with SWOT out, every number opening its page."""

from evident_core.services import Vertical

vertical = Vertical(
    name="finance",
    title={"en": "Annual report to risk report", "zh": "年报风险分析"},
    summary={
        "en": "Drop an annual report and get a risk report with SWOT in which every number opens its page.",
        "zh": "上传年报（10-K 或中文年报），得到带 SWOT 的风险报告；每个数字都能打开它所在的页面。",
    },
    app="evident_finance.app:create_app",
    cli="evident_finance.cli:finance",
    requires=("pdfplumber", "pypdfium2", "pikepdf", "openpyxl", "docx", "weasyprint", "lark"),
    preload=("evident_finance.desk", "evident_finance.risk_report.tables"),
)
