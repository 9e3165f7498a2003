"""A folder of safetensors: which file holds which tensor, read by memory map, written in small files.

Every way in which a folder can be wrong has its own sentence: no folder, no weights, a missing file, a file that is cut
off, a tensor of another shape.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from evident_core.errors import InvalidInput, ModelNotReady

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
SHARD_BYTES = 16 << 20
# What the file's head needs (about 100 bytes a tensor) is left free.
_PAYLOAD_BYTES = SHARD_BYTES - (256 << 10)
_MAPPED_BYTES = 64 << 20


@dataclass(frozen=True)
class Head:
    """What a file says of a tensor: its shape, and its type in safetensors' own letters ("F32", "BF16", …)."""

    shape: tuple[int, ...]
    dtype: str


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ModelNotReady: There is no such file.
        InvalidInput: It is not JSON, or not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotReady(f"{path} is missing; a model is a folder with {path.name} in it.", path=str(path)) from None
    except (ValueError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read as JSON: {error}.", path=str(path)) from error
    if not isinstance(values, dict):
        raise InvalidInput(f"{path} holds a {type(values).__name__}; it must be an object.", path=str(path))
    return values


class Checkpoint:
    """The tensors of a folder, by name; only their names and shapes are read until they are asked for."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ModelNotReady(f"There is no folder {self.folder} to load a model from.", path=str(self.folder))
        self.files = self._indexed() if (self.folder / INDEX).exists() else self._single()

    def _indexed(self) -> dict[str, str]:
        path = self.folder / INDEX
        listed = read_json(path).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise InvalidInput(f"{path} has no weight_map from tensors to files.", path=str(path))
        for file in set(listed.values()):
            if Path(file).name != file:
                raise InvalidInput(f"{path} names {file!r}, which is not a file of its own folder.", path=str(path))
        shards = sorted(set(listed.values()))
        missing = [file for file in shards if not (self.folder / file).is_file()]
        if missing:
            raise ModelNotReady(
                f"{self.folder / missing[0]} is missing ({len(missing)} of {len(shards)} files of {INDEX} are); "
                "copy the whole checkpoint.",
                missing=missing,
            )
        return {str(name): file for name, file in listed.items()}

    def _single(self) -> dict[str, str]:
        if not (self.folder / SINGLE).is_file():
            others = sorted(each.name for each in self.folder.glob("*.bin"))
            hint = f" {others[0]} is a pickle, which is not read as it can run code." if others else ""
            raise ModelNotReady(
                f"{self.folder} has neither {SINGLE} nor {INDEX}.{hint} Save the weights as safetensors.",
                path=str(self.folder),
            )
        with self._open(SINGLE) as file:
            return dict.fromkeys(file.keys(), SINGLE)

    def _open(self, file: str) -> Any:
        path = self.folder / file
        try:
            return safe_open(path, framework="pt", device="cpu")
        except (SafetensorError, OSError) as error:
            with path.open("rb") as stream:
                pointer = stream.read(40).startswith(b"version https://git-lfs")
            reason = "is a Git LFS pointer, not the weights; run git lfs pull" if pointer else f"is damaged: {error}"
            raise InvalidInput(f"{path} {reason}.", path=str(path)) from error

    def heads(self) -> dict[str, Head]:
        """The shape and type of every tensor, from the files' heads alone.

        Raises:
            InvalidInput: A file is damaged, or lacks a tensor that the index promises.
        """
        heads: dict[str, Head] = {}
        for file, names in self._by_file():
            with self._open(file) as opened:
                there = set(opened.keys())
                for name in names:
                    if name not in there:
                        raise InvalidInput(
                            f"{self.folder / file} has no tensor {name!r}, which {INDEX} promises.", tensor=name
                        )
                    part = opened.get_slice(name)
                    heads[name] = Head(tuple(part.get_shape()), part.get_dtype())
        return heads

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor in the order of the files, on the CPU, as a view of the mapped file.

        A tensor is to be copied and let go before the next one is asked for. Files are mapped anew from time to time,
        so that pages that were read do not stay in memory.
        """
        for file, names in self._by_file():
            waiting = iter(names)
            while names:
                mapped = 0
                with self._open(file) as opened:
                    for name in waiting:
                        mapped += (tensor := opened.get_tensor(name)).nbytes
                        yield name, tensor
                        del tensor
                        if mapped >= _MAPPED_BYTES:
                            break
                    else:
                        break

    def _by_file(self) -> Iterator[tuple[str, list[str]]]:
        for file in sorted(set(self.files.values())):
            yield file, [name for name, holder in self.files.items() if holder == file]


def write_tensors(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as files of at most 16 MiB, with an index where there are several; replaces a model that is there.

    A tensor that is larger than a file is cut into ranges of rows, all dimensions but the last counted as rows; each is
    stored as ``name:first_row``.
    """
    for old in [folder / INDEX, *folder.glob("model*.safetensors")]:
        old.unlink(missing_ok=True)
    shards: list[dict[str, Tensor]] = [{}]
    room = _PAYLOAD_BYTES
    for name, part in _parts(tensors):
        if part.nbytes > room and shards[-1]:
            shards.append({})
            room = _PAYLOAD_BYTES
        shards[-1][name] = part
        room -= part.nbytes
    files = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    if len(shards) == 1:
        files = [SINGLE]
    for file, shard in zip(files, shards, strict=True):
        # A clone, as the format refuses parts that share a tensor's memory.
        copies = {name: part.detach().cpu().contiguous().clone() for name, part in shard.items()}
        save_file(copies, folder / file, metadata={"format": "pt"})
    if len(shards) > 1:
        listed = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
        total = sum(part.nbytes for shard in shards for part in shard.values())
        index = {"metadata": {"total_size": total}, "weight_map": listed}
        (folder / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in tensors.items():
        if tensor.nbytes <= _PAYLOAD_BYTES:
            yield name, tensor
            continue
        rows = tensor.detach().reshape(-1, tensor.shape[-1])
        step = max(1, _PAYLOAD_BYTES // (rows[0].nbytes))
        for start in range(0, rows.shape[0], step):
            yield f"{name}:{start}", rows[start : start + step]
