"""Finished images on disk while a data set is being made, so that an interrupted command goes on where it stopped.

A folder beside the file to come: ``settings.json`` and one Arrow file a batch, each written whole or not at all.
Nothing in it looks like a data set to the search for data.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipfed_bench.core.errors import DamagedFileError, UserError
from clipfed_bench.core.files import write_atomically
from clipfed_bench.core.locks import BusyError, locked
from clipfed_bench.core.untrusted import read_json, reading
from clipfed_bench.generate.settings import check_alike


@dataclass(frozen=True)
class Drawn:
    """One finished image."""

    position: int
    """Place in the file: image ``position // C`` of class ``position % C``."""
    png: bytes
    prompt: str
    seed: int
    redraws: int
    """Results that were thrown away before this one."""


class Parts:
    """The folder of one data set in the making."""

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f"{out.name}.parts")
        self._settings = self.folder / "settings.json"

    @contextlib.contextmanager
    def opened(self, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Make the folder, or go on with the one that is there; no other process gets it meanwhile.

        Yields the settings of what is there, empty for a new folder; ``settings`` may leave open what the pipeline will
        tell. A folder without images is removed at the end. Raises UserError: it cannot be made, is in use, or holds
        images made with other settings.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out: {self.folder} cannot be made: {error.strerror}.") from None
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / ".lock", wait=False))
            except BusyError:
                raise UserError(f"another process is at work on {self.folder}; wait for it or stop it.") from None
            except OSError:
                pass  # what cannot be written is said when an image is
            try:
                yield self._compare(settings)
            finally:
                if not any(self.folder.glob("*.arrow")):
                    self.remove()

    def settle(self, settings: Mapping[str, Any]) -> None:
        """Write down the settings, now that nothing is open; or compare them with those of the images that are there.

        Raises UserError where they differ.
        """
        self._compare(settings)
        if not self._settings.exists():
            write_atomically(self._settings, (json.dumps(settings, indent=2) + "\n").encode())

    def read(self) -> dict[int, Drawn]:
        """The images that are there, by position. A file that is damaged counts as absent: it is drawn again."""
        found: dict[int, Drawn] = {}
        for path in sorted(self.folder.glob("*.arrow")):
            with contextlib.suppress(DamagedFileError), reading(), pa.ipc.open_file(path) as file:
                found |= {row["position"]: Drawn(**row) for row in file.read_all().to_pylist()}
        return found

    def add(self, images: Sequence[Drawn]) -> None:
        """Store a batch. Raises UserError where it cannot be written."""
        table, buffer = pa.Table.from_pylist([asdict(image) for image in images]), io.BytesIO()
        with pa.ipc.new_file(buffer, table.schema) as file:
            file.write_table(table)
        write_atomically(self.folder / f"{images[0].position:08}.arrow", buffer.getvalue())

    def remove(self) -> None:
        """The folder is gone afterwards, as far as the file system lets it go."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _compare(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        try:
            there: dict[str, Any] = read_json(self._settings)
        except FileNotFoundError:
            return {}
        except DamagedFileError as error:
            raise UserError(f"{self._settings} cannot be read ({error}); delete {self.folder} to start anew.") from None
        what = f"{self.folder} holds images of an interrupted command with other settings"
        way_out = "Give the same settings to go on with it, another --out, or delete the folder to start anew."
        check_alike(there, settings, what, way_out)
        return there
