"""``evident manufacturing retrain``: from a label set to a model beside the one in use."""

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from evident_core.errors import MissingExtra
from evident_manufacturing.inspection.perceive.detector import FOLDER
from evident_manufacturing.training.comparison import Stage


@click.command()
@click.argument("labels", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--current", type=click.Path(path_type=Path), help="Folder of the model in use; by default what ships.")
@click.option("--base", type=click.Path(path_type=Path), help="Further pairs in DeepPCB's layout to train on.")
@click.option("--weights", type=click.Path(path_type=Path), help="A .pt to go on from; by default the model in use.")
@click.option("--epochs", default=20, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu, or the number of a CUDA device.")
@click.option("--boards", default=150, show_default=True, help="Generated ones that the arbiter is fitted on as well.")
@click.option("--version", default="", help="What results name the new model by.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
def retrain(
    labels: Path,
    output: Path,
    current: Path | None,
    base: Path | None,
    weights: Path | None,
    epochs: int,
    device: str,
    boards: int,
    version: str,
    as_json: bool,
) -> None:
    """Train on LABELS (the review page's ZIP) into OUTPUT, and compare the new model with the one in use."""
    try:
        from evident_manufacturing.training.retrain import retrain as train_on
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"Training needs {error.name}, which is not installed: pip install 'evident[training]'", extra="training"
        ) from error
    console = Console(stderr=True)
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console)
    with bar if not as_json else nullcontext(), redirect_stdout(sys.stderr):  # Ultralytics prints its progress
        task = bar.add_task("data", total=None)

        def told(stage: Stage, done: int, of: int) -> None:
            bar.update(task, description=stage, completed=done, total=of)

        made = train_on(
            labels,
            current or FOLDER / "fused",
            output,
            base=base,
            weights=weights,
            epochs=epochs,
            device=device,
            version=version,
            boards=boards,
            on_stage=told,
        )
    if as_json:
        click.echo(made.model_dump_json(indent=1))
        return
    from evident_manufacturing.terminal_figures import print_comparison

    print_comparison(Console(), made.comparison)
    click.echo(f"To take it into use: evident manufacturing models install {made.folder}")
