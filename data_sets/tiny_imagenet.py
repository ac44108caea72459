"""Tiny-ImageNet: 100,000 training and 10,000 test images of 200 classes, 64×64

Le & Yang, "Tiny ImageNet Visual Recognition Challenge", Stanford CS 231N 2015. Class names are the first words of its
words.txt, in the order of the WordNet ids.

Deviations: its test images have no labels, so its validation images are tested on, as is usual.
"""

from __future__ import annotations

from pathlib import Path

from clipfed_bench.core.data_source import DataSource
from clipfed_bench.core.errors import DamagedFileError
from clipfed_bench.core.untrusted import reading
from clipfed_bench.data.formats import folders, parquet
from clipfed_bench.data.formats.search import Form, Found, Search
from clipfed_bench.data.info import Info

_LIST = "val_annotations.txt"


def wanted(known: Info) -> str:
    """What :func:`find` looks for."""
    return f"its folder as it is unpacked: train/{known.aliases[0]}/images/*.JPEG and so on, val/images and val/{_LIST}"


def find(search: Search) -> list[Found]:
    """Folders with ``train`` and ``val``, in which a list has the classes of the images."""
    found: list[Found] = []
    for table in (path for path in search.files if path.name == _LIST):
        folder = table.parent.parent
        train: folders.ClassFiles = {}
        for path in search.files:
            if path.suffix == ".JPEG" and path.parents[2] == folder / "train":
                train.setdefault(path.parents[1].name, []).append(path)
        try:
            splits = {"train": train, "test": validated(table)}
        except DamagedFileError as error:
            search.broken.append(f"{table}: no list of images and classes ({error})")
        else:
            found += folders.collected(search, folder, splits, [table])
    return found


def validated(table: Path) -> folders.ClassFiles:
    """Validation images by class, as ``table`` has them: a name, a class and a box in each line."""
    content: folders.ClassFiles = {}
    with reading():
        for line in table.read_text(encoding="utf-8").splitlines():
            name, label, *_ = line.split("\t")
            content.setdefault(label, []).append(table.parent / "images" / name)
    return content


class TinyImageNet(DataSource):
    # fmt: off
    classes = (
        "goldfish", "European fire salamander", "bullfrog", "tailed frog", "American alligator", "boa constrictor",
        "trilobite", "scorpion", "black widow", "tarantula", "centipede", "goose", "koala", "jellyfish", "brain coral",
        "snail", "slug", "sea slug", "American lobster", "spiny lobster", "black stork", "king penguin", "albatross",
        "dugong", "Chihuahua", "Yorkshire terrier", "golden retriever", "Labrador retriever", "German shepherd",
        "standard poodle", "tabby", "Persian cat", "Egyptian cat", "cougar", "lion", "brown bear", "ladybug", "fly",
        "bee", "grasshopper", "walking stick", "cockroach", "mantis", "dragonfly", "monarch", "sulphur butterfly",
        "sea cucumber", "guinea pig", "hog", "ox", "bison", "bighorn", "gazelle", "Arabian camel", "orangutan",
        "chimpanzee", "baboon", "African elephant", "lesser panda", "abacus", "academic gown", "altar", "apron",
        "backpack", "bannister", "barbershop", "barn", "barrel", "basketball", "bathtub", "beach wagon", "beacon",
        "beaker", "beer bottle", "bikini", "binoculars", "birdhouse", "bow tie", "brass", "broom", "bucket",
        "bullet train", "butcher shop", "candle", "cannon", "cardigan", "cash machine", "CD player", "chain", "chest",
        "Christmas stocking", "cliff dwelling", "computer keyboard", "confectionery", "convertible", "crane", "dam",
        "desk", "dining table", "drumstick", "dumbbell", "flagpole", "fountain", "freight car", "frying pan",
        "fur coat", "gasmask", "go-kart", "gondola", "hourglass", "iPod", "jinrikisha", "kimono", "lampshade",
        "lawn mower", "lifeboat", "limousine", "magnetic compass", "maypole", "military uniform", "miniskirt",
        "moving van", "nail", "neck brace", "obelisk", "oboe", "organ", "parking meter", "pay-phone", "picket fence",
        "pill bottle", "plunger", "pole", "police van", "poncho", "pop bottle", "potter's wheel", "projectile",
        "punching bag", "reel", "refrigerator", "remote control", "rocking chair", "rugby ball", "sandal",
        "school bus", "scoreboard", "sewing machine", "snorkel", "sock", "sombrero", "space heater", "spider web",
        "sports car", "steel arch bridge", "stopwatch", "sunglasses", "suspension bridge", "swimming trunks",
        "syringe", "teapot", "teddy", "thatch", "torch", "tractor", "triumphal arch", "trolleybus", "turnstile",
        "umbrella", "vestment", "viaduct", "volleyball", "water jug", "water tower", "wok", "wooden spoon",
        "comic book", "plate", "guacamole", "ice cream", "ice lolly", "pretzel", "mashed potato", "cauliflower",
        "bell pepper", "mushroom", "orange", "lemon", "banana", "pomegranate", "meat loaf", "pizza", "potpie",
        "espresso", "alp", "cliff", "coral reef", "lakeside", "seashore", "acorn",
    )
    aliases = (
        "n01443537", "n01629819", "n01641577", "n01644900", "n01698640", "n01742172", "n01768244", "n01770393",
        "n01774384", "n01774750", "n01784675", "n01855672", "n01882714", "n01910747", "n01917289", "n01944390",
        "n01945685", "n01950731", "n01983481", "n01984695", "n02002724", "n02056570", "n02058221", "n02074367",
        "n02085620", "n02094433", "n02099601", "n02099712", "n02106662", "n02113799", "n02123045", "n02123394",
        "n02124075", "n02125311", "n02129165", "n02132136", "n02165456", "n02190166", "n02206856", "n02226429",
        "n02231487", "n02233338", "n02236044", "n02268443", "n02279972", "n02281406", "n02321529", "n02364673",
        "n02395406", "n02403003", "n02410509", "n02415577", "n02423022", "n02437312", "n02480495", "n02481823",
        "n02486410", "n02504458", "n02509815", "n02666196", "n02669723", "n02699494", "n02730930", "n02769748",
        "n02788148", "n02791270", "n02793495", "n02795169", "n02802426", "n02808440", "n02814533", "n02814860",
        "n02815834", "n02823428", "n02837789", "n02841315", "n02843684", "n02883205", "n02892201", "n02906734",
        "n02909870", "n02917067", "n02927161", "n02948072", "n02950826", "n02963159", "n02977058", "n02988304",
        "n02999410", "n03014705", "n03026506", "n03042490", "n03085013", "n03089624", "n03100240", "n03126707",
        "n03160309", "n03179701", "n03201208", "n03250847", "n03255030", "n03355925", "n03388043", "n03393912",
        "n03400231", "n03404251", "n03424325", "n03444034", "n03447447", "n03544143", "n03584254", "n03599486",
        "n03617480", "n03637318", "n03649909", "n03662601", "n03670208", "n03706229", "n03733131", "n03763968",
        "n03770439", "n03796401", "n03804744", "n03814639", "n03837869", "n03838899", "n03854065", "n03891332",
        "n03902125", "n03930313", "n03937543", "n03970156", "n03976657", "n03977966", "n03980874", "n03983396",
        "n03992509", "n04008634", "n04023962", "n04067472", "n04070727", "n04074963", "n04099969", "n04118538",
        "n04133789", "n04146614", "n04149813", "n04179913", "n04251144", "n04254777", "n04259630", "n04265275",
        "n04275548", "n04285008", "n04311004", "n04328186", "n04356056", "n04366367", "n04371430", "n04376876",
        "n04398044", "n04399382", "n04417672", "n04456115", "n04465501", "n04486054", "n04487081", "n04501370",
        "n04507155", "n04532106", "n04532670", "n04540053", "n04560804", "n04562935", "n04596742", "n04597913",
        "n06596364", "n07579787", "n07583066", "n07614500", "n07615774", "n07695742", "n07711569", "n07715103",
        "n07720875", "n07734744", "n07747607", "n07749582", "n07753592", "n07768694", "n07871810", "n07873807",
        "n07875152", "n07920052", "n09193705", "n09246464", "n09256479", "n09332890", "n09428293", "n12267677",
    )
    # fmt: on
    image_shape = (3, 64, 64)
    train_per_class = 500
    test_per_class = 50
    forms = (parquet.form(test="validation"), Form(find, wanted))
    obtain = (
        "Get it from http://cs231n.stanford.edu/tiny-imagenet-200.zip, or as zh-plus/tiny-imagenet from the Hugging "
        "Face hub."
    )
