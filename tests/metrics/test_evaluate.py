"""`sr-cli evaluate`: several models and data sets, studies, comparisons, and bad input."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sr_cli import __version__
from sr_cli.cli import console
from sr_cli.cli.evaluation_rounds import Settings, _told
from sr_cli.cli.evaluation_tables import _published, _skill
from sr_cli.metrics.evaluation import Measures
from sr_cli.metrics.figures import ALWAYS, FIGURES, formatted
from sr_cli.metrics.gains import differences
from sr_cli.metrics.protocols import PROTOCOLS, Case
from sr_cli.metrics.published import compare, described, published
from sr_cli.networks.dan import DAN
from sr_cli.networks.registry import family
from sr_cli.zoo import weights
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import manifest
from tests.conftest import TINY, Outcome
from tests.metrics.made import make_features, save

Program = Callable[..., Outcome]
DOCS = Path(__file__).parents[2] / "docs"
SMALL_BLUR = {**TINY, "scale": 2, "degradation_size": 8}


@pytest.fixture(scope="module")
def small_blur(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small DAN of the blur-only kind, x2, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("blur") / "small-blur.safetensors"
    weights.write(path, DAN(**SMALL_BLUR).state_dict(), "DAN", SMALL_BLUR)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two small pictures."""
    for number in range(2):
        save(tmp_path / "pictures" / f"{number}.png", 96, 108, number)
    return tmp_path / "pictures"


def answers(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.status == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def sentence(outcome: Outcome, status: int = 1) -> str:
    assert outcome.status == status, outcome.out + outcome.err
    assert "Traceback" not in outcome.err and "internal error" not in outcome.err
    if status == 1:
        assert len(outcome.err.strip().splitlines()) == 1
    return outcome.err


def test_bicubic_alone_takes_every_scale_of_the_protocol(program: Program, data: Path) -> None:
    found = answers(
        program("evaluate", "-m", "bicubic", "--protocol", "gaussian8", "--data", data, "--json")
    )
    assert [(a["scale"], a["border"], a["cases"]) for a in found] == [
        *((2, 2, 16), (3, 3, 16), (4, 4, 16)),
    ]
    assert len(found[0]["conditions"]) == 8
    quality = [a["methods"]["bicubic"]["psnr_y"] for a in found]
    assert quality == sorted(quality, reverse=True)
    one = program(
        *("evaluate", "-m", "bicubic", "--protocol", "gaussian8", "--data", data),
        *("--scale", 3, "--json"),
    )
    assert answers(one)[0]["methods"] == found[1]["methods"]


def test_pictures_of_kinds_that_are_not_read_are_told(
    program: Program, data: Path, tmp_path: Path
) -> None:
    (data / "camera.HEIC").touch()
    run = ("evaluate", "-m", "bicubic", "--protocol", "mild", "--scale", 2, "--data")
    outcome = program(*run, data, "--json")
    (found,) = answers(outcome)
    assert found["cases"] == 8
    assert outcome.err.count("1 file of a kind that is not read (.heic) was left out") == 1
    only = tmp_path / "only"
    only.mkdir()
    (data / "camera.HEIC").rename(only / "a.heic")
    (only / "b.dng").touch()
    told = sentence(program(*run, only))
    assert "are of kinds that are not read (.dng, .heic); convert them first" in told


def test_models_of_different_scales_and_two_data_sets_in_one_go(
    program: Program, data: Path, small_blur: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    options = {**SMALL_BLUR, "scale": 4}
    large = tmp_path / "large-blur.safetensors"
    weights.write(large, DAN(**options).state_dict(), "DAN", options)
    shutil.copytree(data, tmp_path / "others")
    rows = tmp_path / "rows.csv"
    found = answers(
        program(
            *("evaluate", "-m", small_blur, "-m", large, "--protocol", "aniso", "--data", data),
            *("--data", tmp_path / "others", "--per-image", rows, "--json"),
            *("--save-images", tmp_path / "saved"),
        )
    )
    assert [(a["data"], a["scale"]) for a in found] == [
        *(("pictures", 2), ("pictures", 4), ("others", 2), ("others", 4)),
    ]
    assert set(found[0]["methods"]) == {"bicubic", str(small_blur)}
    assert set(found[1]["methods"]) == {"bicubic", str(large)}
    assert {"kernel_mse", "lr_psnr"} <= found[0]["methods"][str(small_blur)].keys()
    assert found[0]["skill"][str(small_blur)]["stage1.sigma_x"]["count"] == 2
    with rows.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == 2 * 2 * 2 * 2
    assert {row["data"] for row in read} == {"pictures", "others"}
    saved = tmp_path / "saved" / "others" / "x4" / "large-blur" / "1.png"
    assert Image.open(saved).size == (108, 96)


def test_data_sets_of_equal_names_are_kept_apart(
    program: Program, data: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "one" / "HR", tmp_path / "two" / "HR"
    for folder, name in ((first, "0.png"), (second, "1.png")):
        folder.mkdir(parents=True)
        shutil.copy(data / name, folder / "p.png")
    rows, saved = tmp_path / "rows.csv", tmp_path / "saved"
    found = answers(
        program(
            *("evaluate", "-m", "bicubic", "--protocol", "mild", "--scale", 2, "--json"),
            *("--data", first, "--data", second, "--data", data),
            *("--per-image", rows, "--save-images", saved),
        )
    )
    assert [a["data"] for a in found] == ["one/HR", "two/HR", "pictures"]
    with rows.open(newline="") as file:
        assert [row["data"] for row in csv.DictReader(file)][::4] == [
            *("one/HR", "two/HR", "pictures", "pictures"),
        ]
    sizes = {
        place: Image.open(saved / place / "HR" / "x2" / "bicubic" / "p_no_JPEG.png").size
        for place in ("one", "two")
    }
    assert sizes == {
        "one": Image.open(first / "p.png").size,
        "two": Image.open(second / "p.png").size,
    }


def test_what_estimates_nothing_has_no_estimate_to_measure(
    program: Program, data: Path, tmp_path: Path
) -> None:
    options = {"scale": 2, "features": 8, "blocks": 1}
    plain = tmp_path / "plain.safetensors"
    weights.write(plain, family("EDSR").build(**options).state_dict(), "EDSR", options)
    run = ("evaluate", "-m", plain, "--data", data, "--protocol", "aniso")
    told = sentence(program(*run, "--estimate-only"))
    assert "does not estimate how a picture was degraded" in told


def test_gains_are_told_with_their_error_and_by_whom_they_were_measured(
    program: Program, data: Path, tiny_weights: Path
) -> None:
    run = ("evaluate", "-m", tiny_weights, "--data", data)
    (found,) = answers(program(*run, "--json"))
    assert (found["version"], found["device"]) == (__version__, "cpu")
    assert set(found["gains"]) == {str(tiny_weights)}
    told = found["gains"][str(tiny_weights)]["psnr_y"]
    means = found["methods"]
    lost = means[str(tiny_weights)]["psnr_y"] - means["bicubic"]["psnr_y"]
    assert told["mean"] == pytest.approx(lost) and told["pictures"] == 2
    each = differences(found["pictures"], str(tiny_weights))
    assert told["standard_error"] == pytest.approx(np.std(list(each.values())), abs=1e-4)
    shown = program(*run).out
    assert f"{told['mean']:+.2f} ± {told['standard_error']:.2f}" in shown
    (alone,) = answers(program("evaluate", "-m", "bicubic", "--data", data, "--json"))
    assert alone["gains"] == {}


def test_models_are_compared_with_the_first_picture_by_picture(
    program: Program, data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    weights.write(other, DAN(**TINY).state_dict(), "DAN", TINY)
    run = ("evaluate", "-m", tiny_weights, "-m", other, "--data", data)
    (found,) = answers(program(*run, "--json"))
    assert found["over_first"]["method"] == str(tiny_weights)
    assert set(found["over_first"]["gains"]) == {str(other)}
    told = found["over_first"]["gains"][str(other)]["psnr_y"]
    each = list(differences(found["pictures"], str(other), str(tiny_weights)).values())
    assert told["mean"] == pytest.approx(np.mean(each), abs=1e-4)
    assert told["standard_error"] == pytest.approx(np.std(each), abs=1e-4)
    assert told["standard_error"] < found["gains"][str(other)]["psnr_y"]["standard_error"]
    assert "over first" in program(*run).out
    (alone,) = answers(program("evaluate", "-m", other, "--data", data, "--json"))
    assert "over_first" not in alone


def test_conditions_are_compared_with_the_first_model_one_by_one(
    program: Program, data: Path, tiny_weights: Path
) -> None:
    study = ("evaluate", "-m", tiny_weights, "--data", data, "--protocol", "mild")
    study = (*study, "--iterations", "1,2")
    (found,) = answers(program(*study, "--json"))
    first, second = (f"{tiny_weights} T={number}" for number in (1, 2))
    assert found["over_first"]["method"] == first
    parts = found["over_first"]["condition_gains"]
    assert parts.keys() == found["conditions"].keys() and len(parts) == 4
    for condition, gains in parts.items():
        means = found["conditions"][condition]
        lost = means[second]["psnr_y"] - means[first]["psnr_y"]
        assert gains[second]["psnr_y"]["mean"] == pytest.approx(lost)
    assert program(*study).out.count("over first") == 4


def test_files_of_long_names_stay_apart_in_a_table(
    program: Program, data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "a-folder-with-a-name-of-some-length" / "and-one-more"
    folder.mkdir(parents=True)
    paths = [folder / f"weights-{number}.safetensors" for number in (1, 2)]
    for path in paths:
        shutil.copyfile(tiny_weights, path)
    run = ("evaluate", *(part for path in paths for part in ("-m", path)), "--data", data)
    table = program(*run).out.splitlines()[2:]
    folded = "".join(line.split(maxsplit=1)[0] for line in table if line[:1].strip())
    assert all(str(path) in folded for path in paths)


def test_where_there_is_nothing_to_compare_with_that_is_told(
    program: Program, tmp_path: Path
) -> None:
    save(tmp_path / "Set5" / "a.png", 96, 108)
    run = ("evaluate", "-m", "bicubic", "--data", tmp_path / "Set5", "--compare", "--scale", 4)
    told = "There are no figures of papers to put beside these."
    assert told in program(*run, "--protocol", "mild").err
    assert told not in program(*run, "--protocol", "gaussian8").err


def test_the_same_pictures_have_the_same_digest_whatever_they_are_called(
    program: Program, data: Path, tmp_path: Path
) -> None:
    run = ("evaluate", "-m", "bicubic", "--protocol", "gaussian8", "--scale", 2, "--json")

    def digest(folder: Path) -> str:
        return str(answers(program(*run, "--data", folder))[0]["data_sha256"])

    first = digest(data)
    (tmp_path / "others").mkdir()
    for path in data.iterdir():
        shutil.copy(path, tmp_path / "others" / f"x{path.name}")
    assert digest(tmp_path / "others") == first and len(first) == 64
    save(tmp_path / "others" / "x1.png", 96, 108, 7)
    assert digest(tmp_path / "others") != first


def test_figures_repeat_to_the_last_digit(program: Program, data: Path, tiny_weights: Path) -> None:
    run = ("evaluate", "-m", tiny_weights, "--data", data, "--niqe", "--rgb", "--json")
    first, again = answers(program(*run)), answers(program(*run))
    assert first == again
    assert {"psnr_rgb", "ssim_rgb", "niqe_own"} <= first[0]["methods"]["bicubic"].keys()


def test_iterations_and_the_truth_are_methods_of_their_own(
    program: Program, data: Path, tiny_weights: Path
) -> None:
    run = ("evaluate", "-m", tiny_weights, "--data", data, "--json")
    plain = answers(program(*run))[0]["methods"]
    study = answers(program(*run, "--iterations", "1..3", "--truth"))[0]["methods"]
    name = str(tiny_weights)
    assert list(study) == [
        *("bicubic", f"{name} T=1", f"{name} T=2", f"{name} T=3"),
        *(f"{name} nothing given", f"{name} truth given"),
    ]
    assert study[f"{name} T=3"] == plain[name]
    assert study[f"{name} truth given"] != plain[name]
    assert study[f"{name} nothing given"] not in (plain[name], study[f"{name} truth given"])


def test_flips_and_turns_are_a_method_of_their_own(
    program: Program, data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    saved, out = tmp_path / "saved", tmp_path / "out.png"
    run = ("evaluate", "-m", tiny_weights, "--data", data, "--tta", "--json")
    methods = answers(program(*run, "--save-images", saved))[0]["methods"]
    assert list(methods) == ["bicubic", str(tiny_weights), f"{tiny_weights} tta"]
    assert methods[f"{tiny_weights} tta"] != methods[str(tiny_weights)]
    # They are those of upscale.
    large = ("upscale", saved / "input" / "0.png", "-m", tiny_weights, "--tta", "-o", out)
    assert program(*large, "--precision", "fp32").status == 0
    (folder,) = saved.glob("*tta")
    pictures = [np.asarray(Image.open(path)).astype(int) for path in (folder / "0.png", out)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1  # of rounding to 8 bits


def test_the_estimate_alone_is_that_beside_the_picture(
    program: Program, data: Path, tiny_weights: Path
) -> None:
    run = ("evaluate", "-m", tiny_weights, "--data", data, "--json")
    beside, alone = (answers(program(*run, *more))[0] for more in ([], ["--estimate-only"]))
    errors = [
        [one["error"] for one in answer["skill"][str(tiny_weights)].values()]
        for answer in (beside, alone)
    ]
    # Two ways through the same network in float32.
    assert len(errors[1]) == 42 and errors[1] == pytest.approx(errors[0], rel=1e-3, abs=1e-5)
    assert alone["methods"] == {} and beside["methods"]


def test_who_is_given_nothing_knows_nothing_of_the_truth(tiny_weights: Path) -> None:
    settings = Settings(
        *(PROTOCOLS["real"], 0, 1, None, Measures(), False, None, torch.device("cpu"), "fp32")
    )
    lr = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(0))
    cases = [Case("a", lr, None, torch.full((42,), value)) for value in (0.1, 0.9)]
    pictures = {}
    for truth in (False, True):
        told = _told(load(str(tiny_weights)), settings, truth=truth)
        pictures[truth] = [told(case)[0] for case in cases]
    assert torch.equal(*pictures[False])
    assert not torch.equal(*pictures[True])


def test_a_csv_that_is_there_is_kept_unless_told_otherwise(
    program: Program, data: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("a diary")
    run = ("evaluate", "-m", "bicubic", "--data", data, "--scale", 4, "--per-image", rows)
    assert "--overwrite" in sentence(program(*run))
    assert rows.read_text() == "a diary"
    assert program(*run, "--overwrite").status == 0
    assert rows.read_text().startswith("data,scale,method")


@pytest.mark.parametrize("text", ["0..2", "4..1", "many", "1..", "-1"])
def test_iterations_that_make_no_sense_are_misuse(
    program: Program, data: Path, tiny_weights: Path, text: str
) -> None:
    run = program("evaluate", "-m", tiny_weights, "--data", data, f"--iterations={text}")
    assert "1..4" in sentence(run, 2)


def test_iterations_can_be_picked(program: Program, data: Path, tiny_weights: Path) -> None:
    run = ("evaluate", "-m", tiny_weights, "--data", data, "--iterations", "1,3", "--json")
    name = str(tiny_weights)
    assert list(answers(program(*run))[0]["methods"]) == ["bicubic", f"{name} T=1", f"{name} T=3"]


def test_what_a_network_cannot_do_is_one_sentence(
    program: Program, data: Path, tmp_path: Path
) -> None:
    path, options = tmp_path / "edsr.safetensors", {"scale": 4, "features": 8, "blocks": 1}
    weights.write(path, family("EDSR").build(**options).state_dict(), "EDSR", options)
    run = ("evaluate", "-m", path, "--data", data)
    assert "does not alternate" in sentence(program(*run, "--iterations", "2"))
    assert "can be given to a DAN" in sentence(program(*run, "--truth"))
    other = program(*run, "--protocol", "aniso", "--scale", 2)
    assert "leave --scale out" in sentence(other)


def test_pictures_are_not_saved_below_a_file(program: Program, data: Path) -> None:
    saved = data / "0.png"
    before = saved.read_bytes()
    run = ("evaluate", "-m", "bicubic", "--data", data, "--save-images", saved)
    assert "names a folder" in sentence(program(*run), 2)
    assert saved.read_bytes() == before


def test_a_scale_that_the_protocol_has_not_is_misuse(program: Program, data: Path) -> None:
    run = ("evaluate", "-m", "bicubic", "--data", data, "--protocol", "aniso", "--scale", 3)
    assert "x2, x4" in sentence(program(*run), 2)


def test_a_model_of_another_scale_is_one_sentence(
    program: Program, data: Path, small_blur: Path
) -> None:
    assert "x2" in sentence(program("evaluate", "-m", small_blur, "--data", data))


def test_the_truth_of_another_kind_is_one_sentence(
    program: Program, data: Path, tiny_weights: Path
) -> None:
    run = ("evaluate", "-m", tiny_weights, "--data", data, "--truth", "--protocol")
    assert "not of the kind" in sentence(program(*run, "aniso"))
    assert "protocols" in sentence(program(*run, "gaussian8"))


@pytest.mark.parametrize("option", [["--estimate-only"], ["--features", "nowhere"]])
def test_what_cannot_be_measured_is_one_sentence(
    program: Program, data: Path, option: list[str]
) -> None:
    sentence(program("evaluate", "-m", "bicubic", "--data", data, *option))


def test_missing_folders_are_one_sentence(program: Program, data: Path, tmp_path: Path) -> None:
    run = ("evaluate", "-m", "bicubic", "--protocol", "paired", "--scale", 4)
    assert "no folder" in sentence(program(*run, "--data", tmp_path / "none"))
    assert "no folder" in sentence(program(*run, "--data", data, "--lr", tmp_path / "none"))
    assert "--lr" in sentence(program(*run, "--data", data))


def test_a_bad_picture_is_named_and_the_others_are_measured(program: Program, data: Path) -> None:
    save(data / "tiny.png", 12, 12)
    (data / "broken.png").write_bytes(b"no picture")
    outcome = program(
        *("evaluate", "-m", "bicubic", "--data", data, "--protocol", "aniso", "--scale", 2),
        "--json",
    )
    assert outcome.status == 1
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 2 and "broken.png" in lines[0] and "tiny.png is 12x12" in lines[1]
    answer = json.loads(outcome.out)
    assert answer["cases"] == 2 and answer["failed"] == ["broken.png", "tiny.png"]


def test_a_picture_too_small_for_a_measure_costs_no_other(program: Program, tmp_path: Path) -> None:
    make_features(tmp_path)
    for name, height in (("large.png", 40), ("small.png", 16)):
        save(tmp_path / "data" / name, height, 60)
    outcome = program(
        *("evaluate", "-m", "bicubic", "--data", tmp_path / "data", "--protocol", "gaussian8"),
        *("--scale", 2, "--features", tmp_path, "--json"),
    )
    assert outcome.status == 1
    assert "small.png: lpips_squeeze needs pictures of 17x17" in sentence(outcome)
    answer = json.loads(outcome.out)
    assert answer["cases"] == 8 and answer["methods"]["bicubic"]["lpips_squeeze"] > 0


def test_results_of_equal_names_are_all_saved(program: Program, tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "b.png", "a_png.png"):
        save(tmp_path / "data" / name, 96, 96)
    models = [tmp_path / run / "w.safetensors" for run in ("one", "two")]
    for model in models:
        model.parent.mkdir()
        weights.write(model, DAN(**TINY).state_dict(), "DAN", TINY)
    out = tmp_path / "saved"
    done = program(
        *("evaluate", "--data", tmp_path / "data", "--save-images", out),
        *(word for model in models for word in ("-m", model)),
    )
    assert done.status == 0, done.err
    folders = sorted(folder.name for folder in out.iterdir())
    assert len(folders) == 4 and folders[:1] == ["bicubic"] and "input" in folders
    for folder in folders:
        assert {p.name for p in (out / folder).iterdir()} == {
            *("a_png.png", "a_png_1.png", "a_bmp.png", "b.png"),
        }


def test_what_fails_altogether_is_an_object_too(program: Program, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    outcome = program("evaluate", "-m", "bicubic", "--data", tmp_path, "--json")
    assert outcome.status == 1
    answer = json.loads(outcome.out)
    assert answer["cases"] == 0 and answer["failed"] == ["a.png"]


def test_a_picture_is_named_once_whatever_the_conditions(program: Program, data: Path) -> None:
    (data / "broken.png").write_bytes(b"no picture")
    run = ("evaluate", "-m", "bicubic", "--data", data, "--protocol", "gaussian8", "--json")
    outcome = program(*run)
    assert outcome.status == 1
    assert len(outcome.err.splitlines()) == 1 and "broken.png" in outcome.err
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [one["failed"] for one in found] == [["broken.png"]] * 3


def test_pairs_are_measured_at_the_scales_there_are(program: Program, tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / "set" / "HR" / f"{number}.png", 96, 120, number)
        save(tmp_path / "set" / "LR_bicubic" / "X4" / f"{number}x4.png", 24, 30, number)
    run = ("evaluate", "-m", "bicubic", "--protocol", "paired", "--data", tmp_path / "set")
    (answer,) = answers(program(*run, "--json"))
    assert answer["scale"] == 4 and answer["cases"] == 3
    assert "psnr_rgb" in answer["methods"]["bicubic"]
    (tmp_path / "set" / "HR" / "2.png").unlink()
    assert "every low-resolution picture" in sentence(program(*run))


def test_two_folders_are_pairs_by_their_names(program: Program, tmp_path: Path) -> None:
    hr, lr = tmp_path / "a", tmp_path / "b"
    save(hr / "x.png", 60, 80)
    save(lr / "x.png", 30, 40)
    run = ("evaluate", "-m", "bicubic", "--protocol", "paired", "--data", hr, "--lr", lr)
    (answer,) = answers(program(*run, "--scale", 2, "--json"))
    assert answer["cases"] == 1
    assert "80x60 at x2" not in program(*run, "--scale", 2).err
    wrong = program(*run, "--scale", 4)
    assert "which makes 160x120 at x4" in sentence(wrong)
    save(lr / "x.png", 50, 70)  # no scale leads from these to those
    unfit = program(*run)
    assert unfit.status == 1 and "which makes" in unfit.err


def test_every_condition_of_blur_and_noise_has_a_table(program: Program, data: Path) -> None:
    outcome = program(
        *("evaluate", "-m", "bicubic", "--protocol", "blur-noise", "--data", data, "--scale", 4)
    )
    assert outcome.out.count("blur-noise x4 on pictures") == 9
    assert "[1.3, 15]" in outcome.out


def test_the_papers_figures_stand_beside_ours_with_the_difference(
    program: Program, tmp_path: Path
) -> None:
    data = tmp_path / "Set5"
    for number in range(5):
        save(data / f"{number}.png", 48, 60, number)
    run = ("evaluate", "-m", "bicubic", "--protocol", "gaussian8", "--data", data, "--scale", 4)
    shown = program(*run, "--compare")
    assert "DANv2, Table 1" in shown.out and "24.57" in shown.out
    assert "another downsampling" in shown.err
    (answer,) = answers(program(*run, "--compare", "--json"))
    first = answer["published"][0]
    ours = answer["methods"]["bicubic"]["psnr_y"]
    assert first["ours"] == ours and first["difference"] == pytest.approx(ours - 24.57)
    assert "other pictures" not in shown.err
    (data / "4.png").write_bytes(b"no picture")
    assert "other pictures: Set5 (5 pictures)." in program(*run, "--compare").err
    (data / "4.png").unlink()
    fewer = program(*run, "--compare")
    assert "other pictures: Set5 (5 pictures)." in fewer.err and "24.57" in fewer.out
    (answer,) = answers(program(*run, "--compare", "--json"))
    assert [one["difference"] for one in answer["published"]] == [None, None]


def test_pairs_of_a_paper_are_not_the_same_when_made_anew() -> None:
    answer = {
        "protocol": "aniso",
        "scale": 4,
        "data": "DIV2KRK",
        "low_resolution": "given",
        "pictures": {str(number): {} for number in range(100)},
        "failed": [],
        "methods": {"bicubic": {"psnr_y": 25.0, "ssim_y": 0.6}},
    }
    (given, _), (made, _) = compare(answer), compare({**answer, "low_resolution": "made"})
    assert given.difference == pytest.approx(25.0 - 25.33)
    assert made.paper == given.paper and made.difference is None


def test_how_many_pictures_a_data_set_has_is_known() -> None:
    known = {one.data for one in published() if described(one.data) != one.data}
    assert {one.data for one in published()} - known == {"DIV2K-Real"}  # which is not public


def test_other_pictures_are_compared_without_a_difference() -> None:
    answer = {
        "protocol": "real",
        "scale": 4,
        "data": "val",
        "pictures": {},
        "failed": [],
        "methods": {"dan-real-x4": {"psnr_y": 23.0, "ssim_y": 0.6}},
    }
    one = compare(answer)[0]
    assert (one.data, one.paper, one.ours, one.difference) == ("DIV2K-Real", 25.47, 23.0, None)
    assert compare({**answer, "protocol": "gaussian8"}) == []


def test_conditions_are_compared_one_by_one() -> None:
    means = {"dmsr-x4": {"psnr_y": 28.0, "ssim_y": 0.8}}
    answer = {
        "protocol": "blur-noise",
        "scale": 4,
        "data": "Set5",
        "pictures": {name: {} for name in "abcde"},
        "failed": [],
        "methods": means,
        "conditions": {"[1.3, 15]": means},
    }
    found = {one.condition: one for one in compare(answer) if one.measure == "psnr_y"}
    assert len(found) == 6
    assert found["[1.3, 15]"].difference == pytest.approx(28.0 - 28.48)
    assert found["[2.6, 15]"].ours is None


def test_figures_have_the_digits_that_papers_give() -> None:
    figures = {"psnr_y": 27.4567, "psnr_rgb": 7.0, "ssim_y": 0.81236, "niqe_own": 4.321}
    shown = {key: formatted(key, value) for key, value in figures.items()}
    assert shown == {"psnr_y": "27.46", "psnr_rgb": "7.00", "ssim_y": "0.8124", "niqe_own": "4.32"}
    assert (formatted("kernel_mse", 0.000123), formatted("psnr_y", None)) == ("1.23e-04", "-")


def test_tables_show_the_sign_of_a_difference_and_the_skill_of_a_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = {"method": "m", "condition": "", "measure": "psnr_y", "source": "paper", "paper": 20.0}
    gaps = (0.25, -0.5, 0.0, None)
    entries = [{**told, "ours": 20 + (gap or 0), "difference": gap} for gap in gaps]
    console.out.print(_published(entries))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[-2] for row in rows] == ["+0.25", "-0.50", "+0.00", "-"]
    number = {"correlation": 0.5, "error": 1.25, "count": 7}
    console.out.print(_skill("m", {"sigma": number, "flag": {**number, "auc": 0.9}}))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [["sigma", "0.50", "1.25", "7"], ["flag", "0.50", "1.25", "0.900", "7"]]
    few = {"one": {**number, "count": 1}, "none": {**number, "count": 0}}
    console.out.print(_skill("m", few))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [["one", "-", "1.25", "1"], ["none", "-", "-", "0"]]


def test_a_distance_that_nothing_would_show_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^unlike: not among sr_cli\.metrics\.figures\.FIGURES"):
        Measures(distances={"unlike": None})  # type: ignore[dict-item]


def test_options_that_figures_name_are_those_of_the_command(program: Program) -> None:
    options = {figure.option.split(" ")[0] for figure in FIGURES.values()} - {""}
    told = program("evaluate", "--help").out
    assert options == {option for option in options if f"{option} " in told}
    assert set(ALWAYS) <= set(PROTOCOLS)
    assert {key for keys in ALWAYS.values() for key in keys} <= set(FIGURES)


def test_published_figures_are_of_models_in_the_manifest() -> None:
    methods = {entry.model.split(" ")[0] for entry in published()} - {"bicubic"}
    assert methods <= set(manifest())
    for entry in published():
        scale = manifest()[entry.model.split(" ")[0]].scale if entry.model != "bicubic" else 0
        assert scale in (0, entry.scale) and entry.source


def test_one_condition_of_a_protocol_that_reports_them_apart(
    program: Program, data: Path, small_blur: Path, tmp_path: Path
) -> None:
    for path in data.iterdir():
        save(tmp_path / "lr" / path.name, 24, 27)
    given = ("--lr", tmp_path / "lr", "-m", "bicubic", "--scale", 4)
    for options in (given, ("-m", small_blur, "--estimate-only")):
        run = program("evaluate", "--protocol", "blur-noise", "--data", data, *options)
        assert run.status == 0, run.err


def test_a_protocol_that_a_model_is_not_for_is_noticed(
    program: Program, data: Path, small_blur: Path
) -> None:
    run = ("evaluate", "-m", small_blur, "--data", data, "--protocol")
    assert "--protocol aniso" in program(*run, "blur-noise").err
    assert program(*run, "aniso").err == ""


def test_repeats_are_told_apart(program: Program, data: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    run = ("evaluate", "-m", "bicubic", "--data", data, "--repeats", 2, "--json")
    saved = ("--save-images", tmp_path / "saved", "--per-image", rows)
    (found,) = answers(program(*run, *saved))
    assert found["cases"] == 4
    names = ["0.png", "0_2.png", "1.png", "1_2.png"]
    assert sorted(path.name for path in (tmp_path / "saved" / "input").iterdir()) == names
    again = ("evaluate", "-m", "bicubic", "--data", data, *saved[:2])
    refused = program(*again)
    assert refused.status == 1 and "holds files already; --overwrite" in refused.err
    assert program(*again, "--overwrite").status == 0
    with rows.open(newline="") as file:
        assert [row["repeat"] for row in csv.DictReader(file)] == ["0", "1", "0", "1"]


def test_a_data_set_of_pairs_is_told_as_one(program: Program, data: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "LR_x4").mkdir(parents=True)
    data.rename(root / "HR")
    for path in (root / "HR").iterdir():
        with Image.open(path) as image:
            image.resize((image.width // 4, image.height // 4)).save(root / "LR_x4" / path.name)
    run = ("evaluate", "-m", "bicubic", "--data")
    for protocol in ("real", "gaussian8"):
        told = sentence(program(*run, root, "--protocol", protocol, "--scale", 4))
        assert "a data set of pairs (LR and HR): measure it with --protocol aniso or paired" in told
    paired = ("--protocol", "paired", "--json")
    (whole,) = answers(program(*run, root, *paired))
    (named,) = answers(program(*run, root / "HR", "--lr", root / "LR_x4", *paired))
    assert whole["scale"] == named["scale"] == 4 and whole["methods"] == named["methods"]


def test_where_nothing_is_drawn_nothing_is_repeated(program: Program, data: Path) -> None:
    def cases(protocol: str) -> int:
        run = ("evaluate", "-m", "bicubic", "--scale", 4, "--data", data, "--repeats", 2, "--json")
        return int(answers(program(*run, "--protocol", protocol))[0]["cases"])

    assert cases("gaussian8") == 2 * 8
    assert cases("blur-noise") == 2 * 3 + 2 * 6 * 2  # three blurs without noise, six with


def test_a_flat_picture_leaves_the_figures_of_the_others(
    program: Program, data: Path, tmp_path: Path
) -> None:
    run = ("evaluate", "-m", "bicubic", "--protocol", "gaussian8", "--scale", 4, "--niqe")
    (alone,) = answers(program(*run, "--data", data, "--json"))
    Image.new("RGB", (108, 96), (90, 90, 90)).save(data / "flat.png")
    outcome = program(*run, "--data", data, "--json")
    (beside,) = answers(outcome)
    for key in ("psnr_y", "niqe_own"):
        assert beside["methods"]["bicubic"][key] == pytest.approx(alone["methods"]["bicubic"][key])
    assert beside["left_out"] == {"bicubic": {"psnr_y": 8, "niqe_own": 8}}
    assert "niqe_own" not in beside["pictures"]["flat.png"]["bicubic"]
    told = program(*run, "--data", data)
    assert "8 of its pictures are equal to the truth; they count in no" in told.err
    assert "8 of its pictures are flat, without a NIQE; they count in no" in told.err


def hiding(path: Path, colour: tuple[int, int, int], height: int, width: int) -> None:
    """A picture with a transparent square, below which there is a colour that nobody sees."""
    pixels = np.asarray(Image.open(save(path, height, width)).convert("RGBA")).copy()
    pixels[8:20, 8:20] = (*colour, 0)
    Image.fromarray(pixels).save(path)


def test_what_transparency_hides_is_not_measured(program: Program, tmp_path: Path) -> None:
    run = ("evaluate", "-m", "bicubic", "--scale", 2, "--json", "--protocol")
    found = []
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        root = tmp_path / name
        hiding(root / "HR" / "a.png", colour, 48, 60)
        hiding(root / "LR_x2" / "a.png", colour, 24, 30)
        made = program(*run, "gaussian8", "--data", root / "HR")
        hidden = f"{root / 'HR' / 'a.png'}: its transparency is left out"
        assert made.err.splitlines() == [hidden]  # once for eight conditions
        paired = program(*run, "paired", "--data", root)
        assert hidden in paired.err and str(root / "LR_x2" / "a.png") in paired.err
        alone = program(*run, "no-reference", "--data", root / "HR")
        assert alone.err.splitlines() == [hidden]
        found.append([answers(one)[0]["methods"] for one in (made, paired, alone)])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "option",
    [
        *(["--lr", "nowhere"], ["--seed", "1"], ["--repeats", "2"], ["--rgb"], ["--lpips"]),
        *(["--features", "nowhere"], ["--truth"], ["--compare"], ["--estimate-only"], ["--skill"]),
    ],
)
def test_without_a_truth_options_that_need_one_are_misuse(
    program: Program, data: Path, option: list[str]
) -> None:
    run = ("evaluate", "-m", "bicubic", "--protocol", "no-reference", "--data", data)
    refused = sentence(program(*run, *option), 2)
    assert option[0] in refused and "no-reference takes" in refused


@pytest.mark.parametrize(("protocol", "told"), [("gaussian8", True), ("aniso", False)])
def test_what_changes_nothing_is_told(
    program: Program, data: Path, protocol: str, told: bool
) -> None:
    run = ("evaluate", "-m", "bicubic", "--protocol", protocol, "--data", data, "--scale", 2)
    seeded = program(*run, "--seed", 3)
    assert seeded.status == 0
    assert ("--seed and --repeats change nothing" in seeded.err) is told
    assert "change nothing" not in program(*run).err


def test_the_page_says_how_every_protocol_is_scored() -> None:
    rows = {}
    for line in (DOCS / "evaluation.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].strip("`") in PROTOCOLS:
            rows[cells[0].strip("`")] = cells[2:]
    assert rows.pop("no-reference") == ["2, 3, 4, 8", "-", "-"]
    assert rows == {
        name: [
            ", ".join(map(str, one.scales)),
            "scale" if one.border is None else str(one.border),
            "rounded" if one.rounded_luma else "not rounded",
        ]
        for name, one in PROTOCOLS.items()
        if name != "no-reference"
    }


def test_every_key_of_an_answer_is_on_the_page(
    program: Program, tmp_path: Path, tiny_weights: Path
) -> None:
    data = tmp_path / "Set5"
    save(data / "a.png", 96, 108)
    Image.new("RGB", (108, 96), (90, 90, 90)).save(data / "flat.png")
    run = ("evaluate", "-m", tiny_weights, "--data", data, "--json")
    (real,) = answers(program(*run))
    bicubic = ("evaluate", "-m", "bicubic", "--scale", 4, "--data", data, "--json", "--compare")
    (blurred,) = answers(program(*bicubic, "--protocol", "gaussian8"))
    name = str(tiny_weights)
    found = {
        *(
            *real,
            *blurred,
            "own_precisions",
            "over_first",
            *real["gains"][name]["psnr_y"],
            *FIGURES,
        ),
        *(key for one in real["skill"][name].values() for key in one),
        *(key for one in blurred["published"] for key in one),
    }
    assert {"left_out", "condition_gains", "weights", "failed", "same_data"} <= found
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    assert {key for key in found if f"`{key}`" not in page} == set()


def test_averaged_over_orientations_a_kernel_is_judged_too(
    program: Program, data: Path, small_blur: Path
) -> None:
    run = ("evaluate", "-m", small_blur, "--protocol", "aniso", "--data", data, "--tta", "--json")
    (found,) = answers(program(*run))
    means = found["methods"]
    kernel = means[str(small_blur)]["kernel_mse"]
    assert means[f"{small_blur} tta"]["kernel_mse"] == kernel
    told = program(*run[:-1], "--skill").out  # an estimate is of the picture as it is: told once
    assert told.count("Estimates of ") == 1
