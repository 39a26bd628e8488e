"""The hidden folder in which a pyramid grows, and what is known of it after a crash.

Beside the store it holds what is being made (`plan.json`) and one line for each cell
that is finished (`finished.jsonl`). A cell without a line is made anew.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import zarr

from e2miseg_core.conversion.pyramid_plan import Cell, PyramidPlan
from e2miseg_core.io import create_store
from e2miseg_core.io.atomic import write_json, writing_to
from e2miseg_core.project.lock import is_of_a_lock

__all__ = ["Finished", "Workplace", "clear", "is_resumable", "workplace_of"]

_PLAN, _FINISHED = "plan.json", "finished.jsonl"


def workplace_of(output: Path) -> Path:
    """Folder in which the store of an output is made."""
    return output.with_name(f".{output.name}.converting")


@dataclass(frozen=True, slots=True)
class Finished:
    """What was written of a cell.

    Attributes
    ----------
    checksum : int
        CRC-32 of its voxels.
    n_bytes : int
        Of its files; cells full of zeros have none.
    """

    checksum: int
    n_bytes: int


class Workplace:
    """A store in the making.

    Parameters
    ----------
    folder : Path
        Given by `workplace_of`; exists.
    plan : PyramidPlan
        What is made.
    arrays : list of zarr.Array
        The levels, finest first.
    finished : dict
        Cells that need not be made again.
    """

    def __init__(
        self,
        folder: Path,
        plan: PyramidPlan,
        arrays: "list[zarr.Array[Any]]",
        finished: dict[Cell, Finished],
    ) -> None:
        self.folder, self.plan = folder, plan
        self.arrays, self.finished = arrays, finished
        self.store = _store(folder)

    @classmethod
    def begin(
        cls, folder: Path, plan: PyramidPlan, identity: Mapping[str, Any]
    ) -> Self:
        """Make an empty store; what was left there goes."""
        clear(folder)
        with writing_to(folder):
            create_store(
                _store(folder),
                plan.geometry,
                plan.dtype,
                chunks=(plan.chunk,) * 3,
                kind=plan.kind,
                channels=plan.channels,
                names=plan.segments.names,
                colors=plan.segments.colors,
                steps=plan.steps,
                shard=plan.shard,
                is_oriented=plan.is_oriented,
            )
            (folder / _FINISHED).touch()
            write_json(folder / _PLAN, identity)  # last: without it nothing is resumed
        return cls(folder, plan, _arrays(folder, plan), {})

    @classmethod
    def resume(
        cls, folder: Path, plan: PyramidPlan, identity: Mapping[str, Any]
    ) -> Self | None:
        """Continue with what was left there, None if it is of something else."""
        try:
            stored = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
            if stored != json.loads(json.dumps(identity)):
                return None
            arrays = _arrays(folder, plan)
            lines = (folder / _FINISHED).read_text(encoding="utf-8")
        except (OSError, ValueError, KeyError):
            return None
        place = cls(folder, plan, arrays, {})
        with writing_to(folder):
            place._take_over(lines)
        return place

    def _take_over(self, lines: str) -> None:
        """Keep the finished cells whose files are there whole; remove all else."""
        for cell, finished in _parsed(lines):
            if self.size_on_disk(cell) == finished.n_bytes:
                self.finished[cell] = finished
        kept = {path for cell in self.finished for path in self.files(cell)}
        for level in range(len(self.arrays)):
            for path in (self.store / str(level)).rglob("*"):
                whole = path in kept or path.name == "zarr.json"
                if path.is_file() and not whole:
                    path.unlink()
        partial = self.folder / f"{_FINISHED}.new"
        partial.write_text(
            "".join(_line(*item) for item in self.finished.items()), encoding="utf-8"
        )
        partial.replace(self.folder / _FINISHED)

    def files(self, cell: Cell) -> Iterator[Path]:
        """Files that hold a cell, whether or not they are there."""
        array = self.arrays[cell[0]]
        stored = (array.shards or array.chunks)[-3:]
        region = self.plan.region(cell)
        places = (
            range(part.start // by, -(-part.stop // by))
            for part, by in zip(region, stored, strict=True)
        )
        lead = (cell[1],) if self.plan.channels else ()
        z_places, y_places, x_places = places
        for z in z_places:
            for y in y_places:
                for x in x_places:
                    key = array.metadata.encode_chunk_key((*lead, z, y, x))
                    yield self.store / str(cell[0]) / key

    def size_on_disk(self, cell: Cell) -> int:
        """Bytes of the files of a cell."""
        return sum(path.stat().st_size for path in self.files(cell) if path.is_file())

    def index(self, cell: Cell) -> tuple[int | slice, ...]:
        """Where a cell lies in its level's array."""
        lead = (cell[1],) if self.plan.channels else ()
        return (*lead, *self.plan.region(cell))

    def note(self, cells: Mapping[Cell, Finished]) -> None:
        """Write down that cells are finished."""
        lines = "".join(_line(*item) for item in cells.items())
        with (
            writing_to(self.folder),
            (self.folder / _FINISHED).open("a", encoding="utf-8") as file,
        ):
            file.write(lines)
        self.finished.update(cells)

    def forget(self) -> None:
        """Keep nothing for a later run: what was written cannot be trusted."""
        (self.folder / _PLAN).unlink(missing_ok=True)


def is_resumable(folder: Path) -> bool:
    """Whether an interrupted conversion has left something to continue."""
    return (folder / _PLAN).is_file()


def clear(folder: Path) -> None:
    """Remove what was made in a workplace, not its lock."""
    (folder / _PLAN).unlink(missing_ok=True)  # first: the rest cannot be resumed
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif not is_of_a_lock(path):
            path.unlink(missing_ok=True)


def _store(folder: Path) -> Path:
    # It bears the output's name from the start, since its metadata hold the name.
    return folder / folder.name.removeprefix(".").removesuffix(".converting")


def _arrays(folder: Path, plan: PyramidPlan) -> "list[zarr.Array[Any]]":
    names = [str(level) for level in range(len(plan.shapes))]
    return [zarr.open_array(_store(folder) / name, mode="r+") for name in names]


def _line(cell: Cell, finished: Finished) -> str:
    return json.dumps([*cell, finished.checksum, finished.n_bytes]) + "\n"


def _parsed(lines: str) -> Iterator[tuple[Cell, Finished]]:
    """Cells and what was written of them; the last line may have been cut short."""
    for line in lines.split("\n")[:-1]:
        level, channel, z, y, x, checksum, n_bytes = json.loads(line)
        yield (level, channel, z, y, x), Finished(checksum, n_bytes)
