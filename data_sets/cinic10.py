"""CINIC-10: 90,000 training and 90,000 test images of CIFAR-10's classes, from CIFAR-10 and ImageNet

Darlow et al., "CINIC-10 is not ImageNet or CIFAR-10", 2018.

Deviations: the third of the images that is called valid is left out.
"""

from __future__ import annotations

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.data.formats import folders, parquet


class CINIC10(DataSource):
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    train_per_class = 9000
    test_per_class = 9000
    forms = (parquet.form(), folders.FORM)
    obtain = (
        "Get it from https://datashare.ed.ac.uk/handle/10283/3192, or as flwrlabs/cinic10 from the Hugging Face hub."
    )
