"""Training a small model from blocks of tokens: ``python -m evident_core.moe.train --help``.

Matrices are stepped by Muon, the rest by AdamW. Training ends at a number of steps or after a time; the learning rate
rises over the first steps, stays, and falls to 0 over the last part, whichever of the two is the measure.

Shapes: B rows, L tokens of a row, V vocabulary, E experts.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from evident_core.moe.config import GQAConfig, ModelConfig, MoEConfig
from evident_core.moe.feed import Feed
from evident_core.moe.model import CausalLM
from evident_core.moe.muon import Muon
from evident_core.moe.rope import RopeConfig
from evident_core.moe.rows import Load, Rows
from evident_core.moe.weights import save_model

MARK = 0x8000
PAD = 0


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        steps: Steps in all; None goes by ``seconds``.
        seconds: Time in all, from ``started`` on; None goes by ``steps``. One of the two is given.
        blocks: Blocks of a step, each a forward and a backward pass.
        muon_lr: Step of the matrices.
        adam_lr: Step of embedding, norms and router gates.
        weight_decay: Of matrices, decoupled.
        warmup: Steps over which the learning rate rises.
        falling: Share of the whole over which it falls to 0 in the end.
        prompt_weight: Weight of tokens that are not marked, against 1 of those that are.
        clip: Largest norm of AdamW's gradients.
        log_every: Steps between two lines of the log.
        compiled: Whether layers are compiled; None tries it on a GPU and takes the faster.
        seed: Of the initial weights.
    """

    steps: int | None = None
    seconds: float | None = None
    blocks: int = 2
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    weight_decay: float = 0.05
    warmup: int = 100
    falling: float = 0.5
    prompt_weight: float = 0.1
    clip: float = 1.0
    log_every: int = 100
    compiled: bool | None = None
    seed: int = 0


def loss_of(rows: Rows, block_BL: Tensor, prompt_weight: float) -> tuple[Tensor, Tensor, list[Load]]:
    """The weighted mean loss of a block, the plain mean over its marked tokens, and the routers' loads."""
    tokens_BL = block_BL & ~MARK
    targets = tokens_BL[:, 1:].flatten()
    marked = (block_BL[:, 1:].flatten() & MARK) > 0
    weights = torch.where(marked, 1.0, prompt_weight) * (targets != PAD)
    with torch.autocast(block_BL.device.type, dtype=torch.bfloat16, enabled=block_BL.is_cuda):
        hidden, loads = rows.hidden(tokens_BL[:, :-1])
        logits = rows.model.logits(hidden.flatten(0, 1))
    each = functional.cross_entropy(logits, targets, reduction="none")
    answers = (each.detach() * marked).sum() / marked.sum().clamp(min=1)
    return (each * weights).sum() / weights.sum().clamp(min=1), answers, loads


def optimisers(model: CausalLM, recipe: Recipe) -> tuple[Muon, torch.optim.AdamW]:
    """Muon for every matrix inside the layers but the routers' gates, AdamW for everything else."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.layers.named_parameters():
        (matrices if parameter.ndim > 1 and "gate.weight" not in name else others).append(parameter)
    others += [each for name, each in model.named_parameters() if not name.startswith("layers.")]
    fused = next(model.parameters()).is_cuda
    adam = torch.optim.AdamW(others, lr=recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=fused)
    return Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay), adam


def train(
    model: CausalLM, take: Callable[[], Tensor], recipe: Recipe, log: Callable[[dict[str, float]], None], started: float
) -> None:
    """Train a model in place.

    Args:
        model: On its device, in float32.
        take: Gives the next block, int32 [B, L], marks included (``feed.Feed.take``).
        recipe: How.
        log: Is given each line of the log.
        started: ``time.monotonic()`` from which ``recipe.seconds`` count.
    """
    device = next(model.parameters()).device
    torch.set_float32_matmul_precision("high")
    model.train()
    with torch.no_grad():  # what is added to the residual stream starts small, the smaller the more layers add to it
        for name, parameter in model.layers.named_parameters():
            if "wo.weight" in name or "w2" in name:
                parameter.mul_((2 * model.config.num_layers) ** -0.5)
    rows = _choose(model, take, recipe, device, log)
    muon, adam = optimisers(model, recipe)
    moe = model.config.moe
    step, seen, last, waited = 0, 0, time.monotonic(), 0.0
    kept = torch.zeros(3, device=device)
    while True:
        progress = step / recipe.steps if recipe.steps else (time.monotonic() - started) / (recipe.seconds or 1.0)
        if progress >= 1:
            break
        rate = min(1.0, (step + 1) / recipe.warmup, (1 - progress) / recipe.falling)
        muon.param_groups[0]["lr"], adam.param_groups[0]["lr"] = rate * recipe.muon_lr, rate * recipe.adam_lr
        counts = []
        for _ in range(recipe.blocks):
            before = time.monotonic()
            block_BL = _onto(take(), device)
            waited += time.monotonic() - before
            loss, answers, loads = loss_of(rows, block_BL, recipe.prompt_weight)
            total = loss
            if moe is not None and loads:
                balance = torch.stack([load.balance for load in loads]).mean()
                total = total + moe.balance_loss * balance
                total = total + moe.z_loss * torch.stack([load.z for load in loads]).mean()
                counts.append(torch.stack([load.counts_E for load in loads]))
            torch.autograd.backward(total / recipe.blocks)
            kept += torch.stack((loss.detach(), answers, torch.ones_like(answers)))
            seen += block_BL.numel()
        nn.utils.clip_grad_norm_(adam.param_groups[0]["params"], recipe.clip)
        muon.step()
        adam.step()
        model.zero_grad(set_to_none=True)
        step += 1
        if step % recipe.log_every == 0 or step == recipe.steps:
            now, values = time.monotonic(), kept.tolist()
            line = {"step": step, "tokens": seen, "loss": values[0] / values[2], "answer_loss": values[1] / values[2]}
            line |= {"rate": rate, "seconds": now - started, "step_ms": 1000 * (now - last) / recipe.log_every}
            line |= {"waiting_ms": 1000 * waited / recipe.log_every}
            if counts:
                shares = torch.stack(counts).sum(0)
                line["busiest_expert"] = (shares.amax(1) / shares.mean(1)).max().item()
            log({name: round(value, 4) for name, value in line.items()})
            last, waited = now, 0.0
            kept.zero_()
    model.eval()


def _onto(block: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        block = block.pin_memory()
    return block.to(device, non_blocking=True).long()


def _choose(
    model: CausalLM,
    take: Callable[[], Tensor],
    recipe: Recipe,
    device: torch.device,
    log: Callable[[dict[str, float]], None],
) -> Rows:
    """The layers compiled or not: as the recipe says, else the faster of the two, on a few blocks."""
    if recipe.compiled is not None or device.type != "cuda":
        return Rows(model, compiled=bool(recipe.compiled))
    blocks = [_onto(take(), device) for _ in range(8)]
    times: dict[bool, float] = {}
    for compiled in (False, True):
        rows = Rows(model, compiled=compiled)
        try:
            for block in blocks:
                torch.autograd.backward(loss_of(rows, block, recipe.prompt_weight)[0])
            torch.cuda.synchronize()
            start = time.monotonic()
            for block in blocks:
                torch.autograd.backward(loss_of(rows, block, recipe.prompt_weight)[0])
            torch.cuda.synchronize()
        except Exception as error:  # a compiler may fail in any way; the plain layers are left
            sys.stderr.write(f"layers run uncompiled: {type(error).__name__}: {error}\n")
            continue
        times[compiled] = (time.monotonic() - start) / len(blocks)
    model.zero_grad(set_to_none=True)
    log({f"block_ms_{'compiled' if each else 'plain'}": round(1000 * taken, 2) for each, taken in times.items()})
    return Rows(model, compiled=times.get(True, float("inf")) < times.get(False, float("inf")))


def small_config(arguments: argparse.Namespace) -> ModelConfig:
    """The shape that the command line asks for."""
    attention = GQAConfig(arguments.heads, arguments.kv_heads, arguments.hidden // arguments.heads, qk_norm="head")
    moe = MoEConfig(arguments.experts, arguments.top_k, arguments.expert_width, balance_loss=0.01, z_loss=0.001)
    return ModelConfig(
        family="evident",
        vocab_size=arguments.vocabulary,
        hidden_size=arguments.hidden,
        intermediate_size=0,
        num_layers=arguments.layers,
        attention=attention,
        rope=RopeConfig(theta=10_000.0, dim=attention.head_dim, scaling=None, interleaved=False),
        moe=moe,
        tie_word_embeddings=True,
        max_position_embeddings=arguments.context,
        eos_token_ids=(arguments.eos,),
    )


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; its defaults are those of the default model."""
    parser = argparse.ArgumentParser(prog="python -m evident_core.moe.train", description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the model and train.jsonl")
    parser.add_argument("--corpus", required=True, help="command that writes blocks; {worker} is a worker's number")
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--minutes", type=float, help="time in all, from the start of the program")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for name, default in (("layers", 8), ("hidden", 256), ("heads", 4), ("kv-heads", 2), ("experts", 8), ("top-k", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--expert-width", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=6144)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--eos", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=Recipe.blocks, help="blocks of a step")
    for field, text in (
        ("muon-lr", "step of the matrices"),
        ("adam-lr", "step of embedding, norms and router gates"),
        ("weight-decay", "of matrices, decoupled"),
        ("falling", "share of the whole over which the learning rate falls to 0"),
        ("prompt-weight", "weight of tokens that are not marked"),
    ):
        default = getattr(Recipe, field.replace("-", "_"))
        parser.add_argument(f"--{field}", type=float, default=default, help=f"{text}; {default} if not given")
    parser.add_argument("--warmup", type=int, default=Recipe.warmup, help="steps over which the learning rate rises")
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    if (arguments.minutes is None) == (arguments.steps is None):
        parser.error("give one of --minutes and --steps")
    return arguments


def main(words: Sequence[str] | None = None) -> None:
    """Train as the command line says and save the model."""
    started = time.monotonic()
    arguments = read_arguments(words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    model = CausalLM(small_config(arguments)).to(arguments.device)
    seconds = None if arguments.minutes is None else 60 * arguments.minutes
    recipe = Recipe(
        steps=arguments.steps,
        seconds=seconds,
        blocks=arguments.blocks,
        muon_lr=arguments.muon_lr,
        adam_lr=arguments.adam_lr,
        weight_decay=arguments.weight_decay,
        warmup=arguments.warmup,
        falling=arguments.falling,
        prompt_weight=arguments.prompt_weight,
        log_every=arguments.log_every,
        seed=arguments.seed,
    )
    commands = [shlex.split(arguments.corpus.replace("{worker}", str(i))) for i in range(arguments.workers)]
    with (arguments.out / "train.jsonl").open("w", encoding="utf-8") as lines, Feed(commands) as feed:

        def log(line: dict[str, float]) -> None:
            for stream in (lines, sys.stdout):
                stream.write(json.dumps(line) + "\n")
                stream.flush()

        log({"parameters": model.config.num_parameters, "active": model.config.num_active_parameters})
        train(model, feed.take, recipe, log, started)
    save_model(model, arguments.out)


if __name__ == "__main__":
    main()
