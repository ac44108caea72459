"""FEMNIST: 814,277 handwritten characters of 62 classes by 3,597 writers, 28×28 gray

Caldas et al., "LEAF: A Benchmark for Federated Settings", 2018, from NIST Special Database 19: digits, capital and
small letters. The writers are the clients of ``--partition natural``.

Deviations: which tenth of a writer's images is tested on follows from their content; LEAF draws it. Pixels are as the
files have them. Numbers of a class are the means of its kind (402,953 digits, 220,304 capital and 190,998 small
letters, Cohen et al., "EMNIST", 2017), since people take samples of writers: a copy may have any.
"""

from __future__ import annotations

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.data.formats import written


class FEMNIST(DataSource):
    # fmt: off
    classes = (
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
        "capital A", "capital B", "capital C", "capital D", "capital E", "capital F", "capital G", "capital H",
        "capital I", "capital J", "capital K", "capital L", "capital M", "capital N", "capital O", "capital P",
        "capital Q", "capital R", "capital S", "capital T", "capital U", "capital V", "capital W", "capital X",
        "capital Y", "capital Z",
        "small a", "small b", "small c", "small d", "small e", "small f", "small g", "small h", "small i", "small j",
        "small k", "small l", "small m", "small n", "small o", "small p", "small q", "small r", "small s", "small t",
        "small u", "small v", "small w", "small x", "small y", "small z",
    )
    train_per_class = (
        36266, 36266, 36266, 36266, 36266, 36266, 36266, 36266, 36266, 36266,
        7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626,
        7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626, 7626,
        6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611,
        6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611, 6611,
    )
    test_per_class = (
        4030, 4030, 4030, 4030, 4030, 4030, 4030, 4030, 4030, 4030,
        847, 847, 847, 847, 847, 847, 847, 847, 847, 847, 847, 847, 847,
        847, 847, 847, 847, 847, 847, 847, 847, 847, 847, 847, 847, 847,
        735, 735, 735, 735, 735, 735, 735, 735, 735, 735, 735, 735, 735,
        735, 735, 735, 735, 735, 735, 735, 735, 735, 735, 735, 735, 735,
    )
    # fmt: on
    image_shape = (1, 28, 28)
    exact = False
    writers = 3597
    captions = ("a handwritten {}.", "the character {}.", "a {} written by hand.")
    teacher = "local[flip=false,image_size=32]"
    forms = (written.FORM,)
    obtain = "Get it as flwrlabs/femnist from the Hugging Face hub, or with https://github.com/TalwalkarLab/leaf."
