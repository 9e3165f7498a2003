"""int8 and int4 weights of experts and linears: rounding, calibration, checkpoints, and what it cost."""

from evident_core.quant.account import Report, report
from evident_core.quant.calibration import Calibration, Coverage
from evident_core.quant.checkpoint import load, save_quantized
from evident_core.quant.config import Int4Config, Int8Config, QuantConfig, config_of
from evident_core.quant.conversion import is_quantized, quantize_
from evident_core.quant.experts import QuantExperts
from evident_core.quant.folder import quantize_folder
from evident_core.quant.linear import QuantEmbedding, QuantLinear, TiedHead
from evident_core.quant.quality import perplexity

__all__ = [
    "Calibration",
    "Coverage",
    "Int4Config",
    "Int8Config",
    "QuantConfig",
    "QuantEmbedding",
    "QuantExperts",
    "QuantLinear",
    "Report",
    "TiedHead",
    "config_of",
    "is_quantized",
    "load",
    "perplexity",
    "quantize_",
    "quantize_folder",
    "report",
    "save_quantized",
]
