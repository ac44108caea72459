"""The words of a data set: what it states of itself, and how it is loaded. No torch, and no numpy until it is."""

from __future__ import annotations

from abc import ABC
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from clipfed_bench.core.splits import Split


class DataSource(ABC):
    """A data set. What is stated as fields is read from the source, so it must be literals.

    Images are uint8 (N, C, S, S), labels int64 (N,) from 0, both as numpy arrays. A training split with a long tail,
    ``NAME-lt``, is cut from it like from any other. Other images need another name: cells that are done stay so.

    It either has a method :meth:`load`, or states in which ``forms`` its files may lie in the data folder: then these
    are looked for by content, decoded once, and checked.
    """

    classes: ClassVar[tuple[str, ...]]
    """Names of the classes, by label. Teachers read them: write ``sweet_pepper`` for a sweet pepper."""
    train_per_class: ClassVar[int | tuple[int, ...]]
    """Training images of each class, or of each of the classes."""
    test_per_class: ClassVar[int | tuple[int, ...]]
    image_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)
    """(C, S, S): one channel or three (RGB), and 8 to 1024 pixels of side."""
    captions: ClassVar[tuple[str, ...]] = ()
    """Sentences with ``{}`` for the name of the class, for server images without captions; built-in ones if empty."""
    teacher: ClassVar[str] = "open_clip:ViT-L-14/openai"
    """The teacher used when none is named: CLIP knows photos; ``local`` is trained on the server data."""
    writers: ClassVar[int] = 0
    """How many made the training images, if their split says so: for partitions that keep a writer's together."""
    server_data: ClassVar[str] = ""
    """Server data used when none are named, as for ``--server-data``; ``NAME-generated`` if empty, where there are."""
    embedded: ClassVar[str] = ""
    """File of an installed package that has all images, as ``PACKAGE/FILE``: nothing is looked for or downloaded, and
    the order in which :meth:`load` gives the images, the same everywhere, is kept."""
    source: ClassVar[str] = ""
    """What results say that loaded images are from; the module if empty."""

    forms: ClassVar[tuple[Any, ...]] = ()
    """Each a :class:`clipfed_bench.data.formats.search.Form`; of complete copies the first is taken."""
    obtain: ClassVar[str] = ""
    """Where the files can be had, for the message when there are none."""
    aliases: ClassVar[tuple[str, ...]] = ()
    """What files call the classes, by label, where they do not by their names."""
    mean: ClassVar[tuple[float, ...] | None] = None
    """(C,): of the training pixels in [0, 1], where it tells the data set from others with its classes and sizes."""
    exact: ClassVar[bool] = True
    """Whether files must hold the images stated. False: the numbers are about right, as people take samples of it."""

    def load(self, folder: Path) -> tuple[Split, Split]:
        """Training and test images: the same in every process, and of the numbers stated, or it is an error.

        ``folder`` is that of data sets (``--data-dir``); it need not exist. It is called once in each process that uses
        the data set, after one has done so alone: the place to download something.
        """
        raise NotImplementedError("it has neither load nor forms")

    def generated(self, folder: Path) -> Split:
        """Images that the server may own, called ``NAME-generated``, perhaps with captions.

        None of them may be among those of :meth:`load`. A data set without this method has no server data of its own.
        """
        raise NotImplementedError
