"""Options and values that no command can do anything with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad import Case, cases, refused, run

LONG = "x" * 300
DIGITS = "9" * 400
FIELDS_CASES = cases(
    # numbers: form, range, size
    ("zero", ("--alpha", "0"), ("alpha: 0 is out of range", "from 0.001")),
    ("negative", ("--lr", "-1"), ("lr: -1 is out of range", "at least 0")),
    ("nan", ("--alpha", "nan"), ("--alpha: 'nan' is not a number",)),
    ("infinite", ("--weight-decay", "inf"), ("--weight-decay: 'inf' is not a number",)),
    ("infinite by its size", ("--alpha", "1e999"), ("--alpha: '1e999' is not a number",)),
    ("400 digits", ("--alpha", DIGITS), ("--alpha: '9999", "…' is not a number")),
    ("400 digits of a whole number", ("--seed", DIGITS), ("--seed: '9999", "…' is too large", "9223372036854775807")),
    ("5000 digits", ("--seed", "9" * 5000), ("--seed: '9999", "is not a whole number")),
    ("beyond 64 bits", ("--rounds", "9" * 25), ("--rounds:", "is too large")),
    ("draws that overflow", ("--alpha", "1e308"), ("alpha: 1e+308 is out of range", "1e+09")),
    ("fraction of a whole number", ("--rounds", "1.5"), ("--rounds: '1.5' is not a whole number",)),
    ("exponent of a whole number", ("--seed", "1e3"), ("--seed: '1e3' is not a whole number",)),
    ("complex", ("--alpha", "1+1j"), ("--alpha: '1+1j' is not a number",)),
    ("nearly Python", ("--alpha", "1or 2"), ("--alpha: '1or 2' is not a number",)),
    ("true", ("--clients", "true"), ("--clients: 'true' is not a whole number",)),
    ("none where a value is needed", ("--rounds", "none"), ("--rounds: 'none' is not a whole number",)),
    ("letters", ("--lr", "größer"), ("--lr: 'größer' is not a number",)),
    ("share above 1", ("--malicious", "1.1"), ("malicious: 1.1 is out of range", "from 0 to 1")),
    ("no clients", ("--clients", "0"), ("clients: 0 is out of range", "at least 1")),
    ("no epochs", ("--local-epochs", "0"), ("local_epochs: 0 is out of range", "at least 1")),
    ("never evaluated", ("--eval-every", "0"), ("eval_every: 0 is out of range",)),
    ("nested 5000 times", ("--alpha", "(" * 5000), ("--alpha: brackets do not match", "…")),
    ("20,000 signs", ("--alpha", "-" * 20_000 + "1"), ("--alpha: '----", "is not a number")),
    # lists and brackets
    ("empty value", ("--alpha", ""), ("--alpha: empty item in the list ''",)),
    ("comma alone", ("--alpha", ","), ("--alpha: empty item", "single commas")),
    ("comma at the end", ("--attack", "badnets,"), ("--attack: empty item in the list 'badnets,'",)),
    ("two commas", ("--alpha", "0.1,,0.5"), ("--alpha: empty item in the list '0.1,,0.5'",)),
    ("bracket not closed", ("--attack", "badnets[size=3"), ("--attack: brackets do not match in 'badnets[size=3'",)),
    ("bracket not opened", ("--attack", "badnets]size=3["), ("--attack: brackets do not match",)),
    ("text after the bracket", ("--attack", "badnets[]x"), ("'badnets[]x' is not a name with options",)),
    ("option without value", ("--attack", "badnets[size]"), ("'size' in 'badnets[size]'", "write option=value")),
    ("value without option", ("--attack", "badnets[=3]"), ("'=3' in 'badnets[=3]'", "write option=value")),
    ("option twice", ("--attack", "badnets[size=3,size=4]"), ("option 'size' is given twice",)),
    ("comma at the end of options", ("--attack", "badnets[size=3,]"), ("empty item in the list 'size=3,'",)),
    ("options without a name", ("--defense", "[x=1]"), ("'[x=1]' is not a name with options",)),
    # names
    ("unknown attack", ("--attack", "badnet"), ("unknown attack 'badnet'", "Did you mean 'badnets'?", "blend")),
    ("unknown defense", ("--defense", "krumm"), ("unknown defense 'krumm'", "Did you mean 'krum'?")),
    ("unknown data set", ("--dataset", "cifar11"), ("unknown dataset 'cifar11'", "Did you mean 'cifar10'?")),
    ("data set with a path", ("--dataset", "../digits"), ("unknown dataset '../digits'", "digits-lt")),
    ("unknown model", ("--model", "resnet-18"), ("unknown model 'resnet-18'", "Did you mean 'resnet18'?")),
    ("unknown partition", ("--partition", "iidd"), ("unknown partition 'iidd'", "Did you mean 'iid'?")),
    ("unknown sampling", ("--malicious-sampling", "all"), ("unknown malicious sampling 'all'", "fixed, random")),
    ("control characters", ("--defense", "\x1bc\x07"), ("--defense: '\\x1bc\\x07' holds '\\x1b'",)),
    ("bytes that are no text", ("--dataset", "\udcff"), ("--dataset:", "no Unicode")),
    ("10,000 characters", ("--attack", "x" * 10_000), ("--attack: 'xxxx", "10,000 characters", "4,096")),
    # options of attacks and defenses
    ("unknown option", ("--attack", "badnets[sise=3]"), ("unknown option of attack badnets 'sise'", "mean 'size'?")),
    ("option of one without any", ("--defense", "median[x=1]"), ("defense 'median' has no options", "'x'")),
    ("option of another type", ("--attack", "badnets[size=big]"), ("badnets[size]: 'big' is not a whole number",)),
    ("empty option", ("--attack", "badnets[size=]"), ("badnets[size]: '' is not a whole number",)),
    ("nan as an option", ("--attack", "blend[ratio=nan]"), ("blend[ratio]: 'nan' is not a number",)),
    ("huge option", ("--attack", f"badnets[value={DIGITS}]"), ("badnets[value]: '9999", "is not a number")),
    (
        "not a choice",
        ("--attack", "frequency[variant=x]"),
        ("frequency[variant]: 'x' is not one of ftrojan, amplitude",),
    ),
    ("no tuple", ("--attack", "frequency[positions=5]"), ("frequency[positions]: '5' is not of the form tuple",)),
    (
        "flat tuple",
        ("--attack", "frequency[positions=(1,2)]"),
        ("frequency[positions]: '(1,2)'", "tuple[tuple[int, int]"),
    ),
    ("tuple of text", ("--attack", "frequency[positions=(('a',1),)]"), ("frequency[positions]:", "tuple[int, int]")),
    ("tuple of three", ("--attack", "frequency[positions=((1,2,3),)]"), ("frequency[positions]:", "tuple[int, int]")),
    # teachers, templates, server data
    ("no teacher", ("--defense", "clip-fed", "--teacher", "clip"), ("'clip' is not a teacher", "open_clip:MODEL/TAG")),
    ("no tag", ("--defense", "clip-fed", "--teacher", "open_clip:RN50"), ("lacks a tag, as in open_clip:RN50/openai",)),
    ("no path", ("--defense", "clip-fed", "--teacher", "open_clip:RN50@"), ("lacks its path",)),
    (
        "path in a model",
        ("--defense", "clip-fed", "--teacher", "open_clip:../a@b.pt"),
        ("'../a' is no name of a model",),
    ),
    ("home of nobody", ("--defense", "clip-fed", "--teacher", "open_clip:RN50@~no/x"), ("a user that is not known",)),
    (
        "recipe out of range",
        ("--defense", "clip-fed", "--teacher", "local[crop=99]"),
        ("crop 99 is out of range", "31"),
    ),
    ("recipe of megabytes", ("--defense", "clip-fed", "--teacher", "local[width=4096]"), ("width 4096", "to 256")),
    ("unknown recipe", ("--defense", "clip-fed", "--teacher", "local[epcohs=1]"), ("'epcohs'", "mean 'epochs'?")),
    ("unknown templates", ("--defense", "clip-fed", "--templates", "simpel"), ("'simpel'", "Did you mean 'simple'?")),
    ("holdout of words", ("--server-data", "holdout:few"), ("'few' is no number of images", "holdout:100")),
    ("holdout of none", ("--server-data", "holdout:0"), ("'0' is no number of images",)),
    ("holdout of all", ("--dataset", "digits", "--server-data", "holdout:130"), ("at most holdout:129",)),
    ("glyphs of CIFAR", ("--defense", "clip-fed", "--server-data", "glyphs"), ("'glyphs' shows digits", "cifar10-gen")),
    (
        "others' classes",
        ("--defense", "clip-fed", "--server-data", "cifar100-generated"),
        ("other classes than cifar10",),
    ),
    # impossible together
    ("more a round than there are", ("--clients", "5"), ("clients_per_round: 10 is more than the 5 clients",)),
    ("stop before start", ("--attack-start", "5", "--attack-stop", "3"), ("attack_stop: 3 is before attack_start 5",)),
    ("attack after the end", ("--attack-start", "9", "--rounds", "8"), ("attack_start: 9 is after the last of 8",)),
    ("nothing to poison", ("--poison-ratio", "0"), ("poison_ratio: 0 poisons nothing", "attack none")),
    ("nobody is malicious", ("--malicious", "0.001"), ("malicious: 0.001 of 40 clients is nobody", "attack none")),
    ("class that is not there", ("--target", "10"), ("target: 10 is not a class of cifar10-lt", "0 to 9")),
    (
        "tail of a balanced set",
        ("--dataset", "cifar10", "--imbalance-factor", "9"),
        ("cifar10 is balanced", "cifar10-lt"),
    ),
    ("tail without an end", ("--imbalance-factor", "1e300"), ("imbalance factor 1e+300", "at most 5000")),
    ("more clients than images", ("--clients", "5000"), ("clients: 5,000", "cifar10-lt has 20,431", "at most 2,043")),
    (
        "fewer clients than groups",
        ("--partition", "degree", "--clients", "9", "--clients-per-round", "3"),
        ("at least 10",),
    ),
    ("no alpha", ("--alpha", "none"), ("alpha: the partition dirichlet needs a value",)),
    ("too many cells", ("--seed", ",".join("1" * 400), "--alpha", ",".join("1" * 400)), ("2,560,000 cells", "100,000")),
    # sources and places
    ("unknown preset", ("--preset", "demoo"), ("unknown preset 'demoo'", "Did you mean 'demo'?")),
    ("empty preset", ("--preset", ""), ("unknown preset ''", "demo")),
    ("preset and file", ("--preset", "demo", "--config", "x.toml"), ("--preset and --config are both given",)),
    ("scale without scales", ("--preset", "demo", "--scale", "cpu"), ("demo has no scales",)),
    ("unknown scale", ("--preset", "paper", "--scale", "cup"), ("unknown scale 'cup'", "Did you mean 'cpu'?")),
    ("empty scale", ("--preset", "paper", "--scale", ""), ("unknown scale ''", "cpu")),
    ("no file", ("--config", "none.toml"), ("none.toml: there is no such file",)),
    ("empty file name", ("--config", ""), ("cannot be read as text (Is a directory)",)),
    ("device as a file", ("--config", "/dev/zero"), ("/dev/zero: larger than 1,000,000 bytes",)),
    ("name of 300 characters", ("--config", LONG), ("xxx…: cannot be read as text (File name too long)",)),
    ("folder of 300 characters", ("--out", LONG), ("xxx…: File name too long",)),
    ("cache of 300 characters", ("--cache-dir", LONG), ("xxx…: File name too long",)),
    ("no data folder", ("--data-dir", "none"), ("--data-dir: there is no folder none",)),
    ("unknown device", ("--device", "tpu"), ("'--device'", "cpu", "cuda", "auto")),
    ("no workers", ("--workers", "0"), ("'--workers'", "1")),
    ("unknown option of the command", ("--alhpa", "1"), ("--alhpa", "--alpha")),
    ("argument too many", ("extra",), ("unexpected extra argument", "extra")),
)
GRID_CASES = cases(
    ("no seeds", ("--seeds", "0"), ("--seeds: 0 is not a number of seeds", "1 or more")),
    ("all seeds", ("--seeds", "1000000000"), ("--seeds: 1000000000 is not a number of seeds", "100,000")),
    ("seeds of words", ("--seeds", "three"), ("'--seeds'", "valid integer")),
    ("seed and seeds", ("--seed", "1", "--seeds", "2"), ("--seed and --seeds are both given",)),
)
OTHER_CASES = cases(
    ("unknown command", ("gird",), ("gird", "grid")),
    ("run of several cells", ("run", "--alpha", "0.1,0.5"), ("these settings make 2 cells", "clipfed-bench grid")),
    ("list of nothing", ("list", "atacks"), ("atacks", "attacks")),
    ("data set unknown", ("data", "show", "digit"), ("unknown dataset 'digit'", "Did you mean 'digits'?")),
    ("data set as a path", ("data", "show", "a/../../b"), ("unknown dataset 'a/../../b'",)),
    ("data set of no letters", ("data", "show", ""), ("unknown dataset ''",)),
    (
        "two partitions",
        ("data", "show", "digits", "--alpha", "1", "--degree", "0.5"),
        ("--degree 0.5 belongs to",),
    ),
    ("alpha nan", ("data", "show", "digits", "--alpha", "nan"), ("dirichlet[alpha]: 'nan' is not a number",)),
    ("alpha huge", ("data", "show", "digits", "--alpha", "1e308"), ("alpha is 1e+308", "1e+09")),
    ("degree of 2", ("data", "show", "digits", "--degree", "2"), ("degree is 2.0", "from 0 to 1")),
    ("clients without number", ("data", "show", "digits", "--clients", "-5"), ("partition: -5 clients", "at least 1")),
    (
        "clients without images",
        ("data", "show", "digits", "--clients", "999999999999", "--min-samples", "0"),
        ("999,999,999,999 clients", "1,000,000"),
    ),
    ("images for nobody", ("data", "show", "digits", "--min-samples", "999"), ("need 19,980", "there are 1,347")),
    ("seed below 0", ("data", "show", "digits", "--seed", "-1"), ("--seed: -1 is out of range",)),
    ("no picture", ("data", "show", "digits", "--out", "a.txt"), ("--out a.txt", ".png, .pdf or .svg")),
    ("no folder", ("data", "show", "digits", "--out", "none/a.png"), ("--out none/a.png", "a folder that exists")),
    ("picture of 300 characters", ("data", "show", "digits", "--out", LONG + ".png"), ("xxx…: File name too long",)),
    ("data misspelled", ("data", "show", "cifar10", "--data-dir", "dat"), ("--data-dir: there is no folder dat",)),
    ("data are a file", ("data", "show", "cifar10", "--data-dir", "/dev/null"), ("there is no folder /dev/null",)),
    ("table of nothing", ("table", "none"), ("there is no run folder none",)),
    ("table of no run", ("table", "data"), ("data is not a run folder",)),
    ("table of 300 characters", ("table", LONG), ("xxx…: File name too long",)),
    ("decimals", ("table", "data", "--decimals", "9"), ("'--decimals'", "6")),
    ("format", ("table", "data", "--format", "doc"), ("'--format'", "latex")),
    ("unknown table", ("paper", "tabel1"), ("unknown table or figure 'tabel1'", "Did you mean 'table1'?")),
    ("unknown scale of the paper", ("paper", "table1", "--scale", "cup"), ("unknown scale 'cup'", "cpu, full")),
    ("seeds of the paper", ("paper", "table1", "--seeds", "0"), ("seeds: 0 is not a number of seeds",)),
    ("nothing of the paper", ("paper",), ("Missing argument",)),
    ("teacher nowhere", ("teacher", "train", "--dataset", "digits"), ("Missing option", "--out")),
    ("teacher as a .pt", ("teacher", "train", "--out", "a.pt"), (".safetensors", "'a.pt'")),
    ("teacher over a folder", ("teacher", "train", "--out", "d.safetensors"), ("d.safetensors is in the way",)),
    ("teacher below a file", ("teacher", "train", "--out", "f/t.safetensors"), ("f is in the way",)),
    ("teacher of no epochs", ("teacher", "train", "--out", "a.safetensors", "--epochs", "0"), ("epochs 0", "from 1")),
    (
        "recipe without value",
        ("teacher", "train", "--out", "a.safetensors", "-o", "width"),
        ("'width'", "option=value"),
    ),
    (
        "recipe twice",
        ("teacher", "train", "--out", "a.safetensors", "-o", "width=8", "-o", "width=4"),
        ("'width' is given twice",),
    ),
    ("seed as a recipe", ("teacher", "train", "--out", "a.safetensors", "-o", "seed=5"), ("'seed' is given twice",)),
    ("recipe unknown", ("teacher", "train", "--out", "a.safetensors", "-o", "widht=8"), ("'widht'", "mean 'width'?")),
    ("device of the teacher", ("teacher", "eval", "local", "--device", "cuda:x"), ("--device: 'cuda:x'", "cuda:N")),
    ("meta device", ("teacher", "eval", "local", "--device", "meta"), ("--device: 'meta' is not a device",)),
    ("no such GPU", ("teacher", "eval", "local", "--device", "cuda:99"), ("torch sees", "no cuda:99")),
    ("templates of the teacher", ("teacher", "eval", "local", "--templates", "simpel"), ("'simpel'", "'simple'?")),
)


@FIELDS_CASES
def test_cells(case: Case, place: Path) -> None:
    refused(("grid", "--dry-run", *case.given), case.words, place)


@GRID_CASES
def test_grid(case: Case, place: Path) -> None:
    refused(("grid", "--dry-run", *case.given), case.words, place)


@OTHER_CASES
def test_other_commands(case: Case, place: Path) -> None:
    (place / "d.safetensors").mkdir()
    (place / "f").touch()
    refused(tuple(case.given), case.words, place)


@pytest.mark.parametrize(
    ("name", "value"), [("CLIPFED_BENCH_DATA", "~nobody-here/data"), ("CLIPFED_BENCH_CACHE", "~nobody-here/cache")]
)
def test_homes_of_nobody_in_the_environment(
    name: str, value: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLIPFED_BENCH_DATA")
    monkeypatch.setenv(name, value)
    refused(("data", "show", "cifar10"), (name, value, "a user that is not known here"), place)


def test_what_is_right_is_not_refused(place: Path) -> None:
    """The harness itself: a good command passes it with status 0."""
    assert run("grid", "--dry-run", "--preset", "smoke", "--alpha", "0.5,1").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("grid", "--alpha", "nan"), "--alpha: 'nan' is not a number"),
        (("table", LONG), "File name too long"),
        (("grid", "--dry-run", "--attack", "\udcff"), "no Unicode"),
    ],
)
def test_in_a_process_of_its_own(arguments: tuple[str, ...], words: str, place: Path) -> None:
    root = Path(__file__).parents[2]
    command = [os.fsencode(part) for part in (sys.executable, "-m", "clipfed_bench", *arguments)]
    env = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in place.iterdir()) == ["cache", "data"]
