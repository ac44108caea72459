"""GTSRB: 39,209 training and 12,630 test photographs of 43 German traffic signs

Stallkamp et al., "The German Traffic Sign Recognition Benchmark", IJCNN 2011: the final training and test sets.

Deviations: the photographs have 15 to 250 pixels of side; here their central square is resampled (Lanczos) to 32×32
[ours].
"""

from __future__ import annotations

import csv
from pathlib import Path

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.core.errors import DamagedFileError
from clipfed_bench.core.untrusted import reading
from clipfed_bench.data.formats import folders
from clipfed_bench.data.formats.search import IMAGE_SUFFIXES, Form, Found, Search
from clipfed_bench.data.info import Info

_LISTS = ("GT-final_test.csv", "Test.csv")


def wanted(known: Info) -> str:
    """What :func:`find` looks for."""
    return (
        f"folders 00000 to 00042 with {known.rows('train'):,} images, and {' or '.join(_LISTS)} with the classes of "
        f"{known.rows('test'):,} others"
    )


def find(search: Search) -> list[Found]:
    """A folder with one of training images for each class, and a list of the test images, which lie somewhere else."""
    found: list[Found] = []
    lists = [path for path in search.files if path.name in _LISTS]
    for folder, content in folders.by_class(search.files).items():
        train = {str(int(name)): paths for name, paths in content.items() if name.isascii() and name.isdigit()}
        if not train.keys() >= set(search.known.aliases):
            continue
        if not lists:
            search.broken.append(f"{folder}: training images, but nowhere a list {' or '.join(_LISTS)} of test images")
        for path in lists[:1]:
            try:
                splits = {"train": train, "test": tested(path, search.files)}
            except DamagedFileError as error:
                search.broken.append(f"{path}: no list of test images ({error})")
            else:
                found += folders.collected(search, folder, splits, [path], resize=True)
    return found


def tested(table: Path, files: tuple[Path, ...]) -> folders.ClassFiles:
    """Test images by class, as ``table`` has them; they lie in no class folder. Raises DamagedFileError."""
    images = [path for path in files if path.suffix in IMAGE_SUFFIXES and not path.parent.name.isdigit()]
    images.sort(key=lambda path: path.is_relative_to(table.parent))  # those beside the table win
    places = {path.name: path for path in images}
    content: folders.ClassFiles = {}
    with reading(), table.open(newline="", encoding="utf-8-sig") as file:
        mark = ";" if ";" in file.readline() else ","
        file.seek(0)
        for row in csv.DictReader(file, delimiter=mark):
            name = Path(row["Filename" if mark == ";" else "Path"]).name
            if name not in places:
                raise ValueError(f"the image {name} is nowhere")
            content.setdefault(str(int(row["ClassId"])), []).append(places[name])
    return content


class GTSRB(DataSource):
    # fmt: off
    classes = (
        "speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70", "speed limit 80",
        "end of speed limit 80", "speed limit 100", "speed limit 120", "no overtaking", "no overtaking by trucks",
        "right of way at the next crossing", "priority road", "give way", "stop", "no vehicles", "no trucks",
        "no entry", "danger", "bend to the left", "bend to the right", "double bend", "uneven road", "slippery road",
        "narrow road", "roadworks", "traffic lights", "pedestrians", "children", "cyclists", "ice or snow",
        "wild animals", "end of all limits", "turn right ahead", "turn left ahead", "straight ahead",
        "straight ahead or right", "straight ahead or left", "keep right", "keep left", "roundabout",
        "end of no overtaking", "end of no overtaking by trucks",
    )
    train_per_class = (
        210, 2220, 2250, 1410, 1980, 1860, 420, 1440, 1410, 1470, 2010, 1320, 2100, 2160, 780, 630, 420, 1110, 1200,
        210, 360, 330, 390, 510, 270, 1500, 600, 240, 540, 270, 450, 780, 240, 689, 420, 1200, 390, 210, 2070, 300,
        360, 240, 240,
    )
    test_per_class = (
        60, 720, 750, 450, 660, 630, 150, 450, 450, 480, 660, 420, 690, 720, 270, 210, 150, 360, 390, 60, 90, 90, 120,
        150, 90, 480, 180, 60, 150, 90, 150, 270, 60, 210, 120, 390, 120, 60, 690, 90, 90, 60, 90,
    )
    aliases = (
        "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
        "20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31", "32", "33", "34", "35", "36", "37",
        "38", "39", "40", "41", "42",
    )
    # fmt: on
    captions = ("a photo of a {} traffic sign.", "the road sign {}.", "a small photo of the traffic sign {}.")
    forms = (Form(find, wanted),)
    obtain = (
        "Get GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip from "
        "https://benchmark.ini.rub.de. What torchvision downloads has 26,640 of the training images alone."
    )
