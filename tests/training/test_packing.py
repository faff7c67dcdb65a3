"""A finished run leaves a release: weights, manifest entry, model card, curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from sr_cli.networks.dan import DAN
from sr_cli.temporary import claimed
from sr_cli.zoo import card, manifest, store, weights
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import ZooError
from sr_cli.zoo.schema import SCHEMA_VERSION
from tests.conftest import Outcome, scene
from training import curves, packing, record, release
from training.corpus import read_corpus
from training.options import Options
from training.packing import pack, run_facts
from training.recipe import Recipe, load_recipe
from training.trainer import Trainer

CPU = torch.device("cpu")


def test_a_finished_run_is_ready_to_be_handed_on(
    program: Callable[..., Outcome], small_file: Path, tmp_path: Path
) -> None:
    assets = Path(__file__).parents[1] / "assets"
    run = tmp_path / "run"
    arguments = [small_file, "--data", assets, "--val", assets, "--out", run, "--precision", "fp32"]
    ended = program("train", *arguments)
    assert ended.status == 0, ended.err
    assert "finished after 19 steps" in ended.out
    release = run / "release"
    names = {"README.md", "curves.png", "entry.json", "small.safetensors"}
    assert {path.name for path in release.iterdir()} == names
    assert load(str(release / "small.safetensors")).network.iterations == 3
    entry = json.loads((release / "entry.json").read_text())
    (model,) = manifest.parse(json.dumps({"version": SCHEMA_VERSION, "models": [entry]})).values()
    assert model.weights is not None and model.weights.bundled == "small.safetensors"
    assert model.training["steps"] == 19 and "CPU" in model.training["device"]
    assert model.figures == () and model.licence == "unknown"
    text = (release / "README.md").read_text()
    assert "license: unknown" in text and "small" in text
    with Image.open(release / "curves.png") as picture:
        assert picture.width == 3 * 450  # loss, picture, estimate
    # What `models publish` makes of the weights says the same.
    (tmp_path / "hub").mkdir()
    files = card.write_folder(str(release / "small.safetensors"), tmp_path / "hub", "OWNER/small")
    assert files[0].read_text() == text


def test_weights_of_no_known_network_are_not_packed(tmp_path: Path) -> None:
    numbers = {"a": torch.zeros(1)}
    for header in ({}, {"network": "DAN"}, {"options": "{}"}):
        save_file(numbers, tmp_path / "ema.safetensors", {"recipe": "dan-real-x4", **header})
        with pytest.raises(ZooError, match=r"ema\.safetensors does not say which network it is of"):
            packing.write_weights(tmp_path, load_recipe("dan-real-x4"), tmp_path)
    said = {"network": "DAN", "options": "{}"}
    save_file(numbers, tmp_path / "ema.safetensors", said)
    for licence in (None, "CC0-1.0"):
        file = packing.write_weights(tmp_path, load_recipe("dan-real-x4"), tmp_path, licence)
        header = weights.read(file)[1]
        assert (header["network"], header.get("licence")) == ("DAN", licence)


def test_curves_are_promised_only_where_there_are_some(
    program: Callable[..., Outcome],
    small_file: Path,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = [part for n in range(3) for part in ("--set", f"phase.{n}.steps=1")]
    run = ("train", small_file, *short, "--set", "decay_steps=1", "--data", photographs)
    assert "manifest entry and curves" in program(*run, "--out", tmp_path / "a").out
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    told = program(*run, "--out", tmp_path / "b")
    assert "model card and manifest entry" in told.out.replace("\n", " ")
    assert "and curves" not in told.out and "no curves" in told.err


def test_without_matplotlib_all_but_the_curves_is_there(
    trainer: Callable[..., Trainer], small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    assert trainer(out).run()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (told,) = pack(out, small, "two cores")
    assert "sr-cli[plot]" in told
    assert {p.suffix for p in (out / "release").iterdir()} == {".md", ".json", ".safetensors"}


def test_a_run_that_ended_early_is_packed_anew_as_its_weights_are_now(
    trainer: Callable[..., Trainer],
    small: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Resuming it would go on from before its decay, and write over what was calibrated."""
    out = tmp_path / "run"
    run = trainer(out)
    run.position.decay()  # as --finish does
    assert run.run()
    record.write(out, small)
    list(pack(out, small, "two cores"))
    file = out / "release" / "small.safetensors"
    state, header = weights.read(out / "ema.safetensors")
    state["degradation_tail.bias"] += 0.5
    weights.write_with(out / "ema.safetensors", state, weights.own_header(header))
    calibrated, before = (out / "ema.safetensors").read_bytes(), weights.read(file)[0]
    packing.main([str(out)])
    assert (out / "ema.safetensors").read_bytes() == calibrated
    after, said = weights.read(file)
    moved = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert moved == {"degradation_tail.bias"} and said["device"] == "two cores"
    packing.main([str(out), "--device", "one core"])
    assert json.loads((out / "release" / "entry.json").read_text())["training"] == {
        "steps": 4,
        "seconds": pytest.approx(run.totals.seconds, abs=1),
        "device": "one core",
    }
    capsys.readouterr()
    (out / "ema.safetensors").unlink()
    for folder, complaint in ((out, "ema.safetensors"), (tmp_path / "none", "recipe.toml")):
        with pytest.raises(SystemExit) as stop:
            packing.main([str(folder)])
        assert stop.value.code == 2 and complaint in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="folders are not claimed there")
def test_a_run_under_way_is_not_packed(
    small: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write(tmp_path, small)
    with claimed(tmp_path), pytest.raises(SystemExit):
        packing.main([str(tmp_path)])
    assert "another process is training" in capsys.readouterr().err


def test_a_dan_of_a_learned_degradation_says_what_its_vector_is_worth(
    photographs: Path, pairs: Path, tmp_path: Path
) -> None:
    """Its Estimator's weights stay, but not the features that it reads."""
    dan = "network={family = 'DAN', features = 8, blocks = 1}"
    changes = [dan, "phase.0.steps=1", "phase.0.batch=2", "phase.0.lr_crop=24"]
    changes += ["pdm.features=8", "pdm.noise_features=8", "pdm.discriminator_features=8"]
    recipe = load_recipe("pdm-sr-x4", [*changes, "validation.crop=96"])
    low = read_corpus([pairs / "LR"], 24)
    options = Options(half=False)
    run = Trainer(recipe, read_corpus([photographs], 96), None, tmp_path, CPU, options, low)
    assert run.run()
    list(pack(tmp_path, recipe, "two cores"))
    release = tmp_path / "release"
    for name in ("README.md", "entry.json"):
        assert "not to be relied on" in (release / name).read_text()
    header = weights.read(release / "pdm-sr-x4.safetensors")[1]
    assert "not to be relied on" in header["vector"]
    assert "vector" not in run_facts(tmp_path, load_recipe("pdm-sr-x4"))


def test_steps_that_were_taken_back_are_not_drawn() -> None:
    steps = [{"step": n} for n in (50, 100, 150, 50, 100)]
    assert [line["step"] for line in curves.surviving(steps)] == [50, 50, 100]
    # A validation and a report of one step stand beside each other.
    both = [{"step": 50, "loss": 1.0}, {"step": 50, "validation": {}}]
    assert curves.surviving(both) == both
    told = [{"step": 50, "total_seconds": 9.0}, {"step": 50, "validation": {}}]
    assert curves.surviving(told) == told
    # The first line after going on may be of the step of the last before.
    assert curves.surviving([*told[:1], {"step": 50, "total_seconds": 6.0}]) == [
        {"step": 50, "total_seconds": 6.0}
    ]


def test_a_run_that_ends_early_is_released_as_what_it_is(
    trainer: Callable[..., Trainer], small: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run = trainer(out, last_step=8)  # within the phase of T = 1; the recipe ends with 3
    run.run()
    list(pack(out, small, "two cores"))
    assert load(str(out / "release" / "small.safetensors")).network.iterations == 1
    assert json.loads((out / "release" / "entry.json").read_text())["options"]["iterations"] == 1


BY = ("--licence", "CC0-1.0", "--authors", "A. Person")


def released_to(place: Path, small_file: Path, *changes: str) -> list[str]:
    """Arguments of a release, behind the run; makes the folder and the manifest it goes to."""
    folder, file = place / "weights", place / "manifest.json"
    folder.mkdir()
    file.write_bytes((Path(__file__).parents[2] / "weights_manifest.json").read_bytes())
    settings = [word for change in changes for word in ("--set", change)]
    places = ["--weights", str(folder), "--manifest", str(file)]
    return ["--recipe", str(small_file), *settings, *BY, *places]


def test_weights_take_their_place_only_with_an_entry(
    trainer: Callable[..., Trainer],
    small_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, folder, file = tmp_path / "run", tmp_path / "weights", tmp_path / "manifest.json"
    recipe = load_recipe(str(small_file), ["model=dan-real-x4"])
    trainer(out, recipe, last_step=8).run()
    of = [str(out), *released_to(tmp_path, small_file, "model=dan-real-x4")]
    before, places = file.read_text(encoding="utf-8"), of[-4:]
    figures = tmp_path / "figures.json"
    facts = {"protocol": "real", "data": "val", "seed": 0, "cases": 1, "date": "2026-01-01"}
    figures.write_text(json.dumps({**facts, "methods": {"bicubic": {}}}))
    nothing, other, odd = (tmp_path / f"{name}.json" for name in ("nothing", "other", "odd"))
    nothing.write_text("{}")
    larger = {"bicubic": {}, "dan-real-x4-large": {"psnr_y": 99.0}}
    named = {"weights": {"dan-real-x4-large": "0" * 64}, "skill": {"dan-real-x4-large": {}}}
    other.write_text(json.dumps({**facts, "methods": larger, **named}))
    odd.write_text("[]")
    for wrong, complaint in (
        ([str(tmp_path / "none"), *of[1:]], "none"),
        ([*of, "--figures", str(tmp_path / "none.json")], "none.json"),
        ([*of, "--figures", str(figures)], "does not say of which weights"),
        ([*of, "--figures", str(nothing)], "does not say of which weights"),
        ([*of, "--skill", str(nothing)], "lacks 'skill'"),
        ([*of, "--figures", str(other)], "other.json are not of dan-real-x4"),
        ([*of, "--skill", str(other)], "the skills are not of dan-real-x4"),
        ([*of, "--figures", str(odd)], "nothing that `sr-cli evaluate --json` wrote"),
        (
            [str(out), "--recipe", "dan-real-x4", *BY, *places],
            "a run of 'small', not of 'dan-real-x4'",
        ),
        ([*of, "--set", "model=kerneldan-x4"], "which models['dan-blur-x4'] is called already"),
        ([*of, "--weights", str(tmp_path / "nowhere")], "nowhere is not a folder"),
        ([word for word in of if word not in BY[:2]], "--licence"),
        ([word for word in of if word not in BY[2:]], "--authors"),
    ):
        with pytest.raises(SystemExit) as stop:
            release.main(wrong)
        assert stop.value.code == 2 and complaint in capsys.readouterr().err
        assert list(folder.iterdir()) == [] and file.read_text(encoding="utf-8") == before
    release.main(of)
    (written,) = folder.iterdir()
    model = manifest.parse(file.read_text(encoding="utf-8"))["dan-real-x4"]
    assert (model.figures, model.estimate) == ((), {})
    assert model.weights is not None and model.options["iterations"] == 1
    assert model.weights.sha256 == store.sha256(written)
    assert int(model.training["steps"]) == 8
    assert (model.licence, model.authors) == ("CC0-1.0", "A. Person")
    assert weights.read(written)[1]["licence"] == "CC0-1.0"
    release.main([*of, "--eight-bits"])
    with safe_open(str(written), "pt") as raw:
        assert raw.metadata()["eight_bits"] == "1"
    again = manifest.parse(file.read_text(encoding="utf-8"))["dan-real-x4"].weights
    assert again is not None and again.sha256 == store.sha256(written) != model.weights.sha256


def test_figures_are_released_with_the_weights_that_were_measured(
    trainer: Callable[..., Trainer],
    program: Callable[..., Outcome],
    small_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, folder, file = tmp_path / "run", tmp_path / "weights", tmp_path / "manifest.json"
    changes = ["model=dan-real-x4", "data.preset=published"]
    recipe = load_recipe(str(small_file), changes)
    trainer(out, recipe, last_step=8).run()
    of = [str(out), *released_to(tmp_path, small_file, *changes)]
    # The run's own release has another header, but the same weights.
    list(pack(out, recipe, "two cores"))
    assert json.loads((out / "release" / "entry.json").read_text())["preset"] == "published"
    weights = out / "release" / "dan-real-x4.safetensors"
    data = tmp_path / "val"
    data.mkdir()
    Image.fromarray(scene(128, 96)).save(data / "a.png")
    answer = json.loads(program("evaluate", "--model", weights, "--data", data, "--json").out)
    measured, other, older = (tmp_path / f"{name}.json" for name in ("measured", "other", "older"))
    measured.write_text(json.dumps(answer))
    other.write_text(json.dumps(answer | {"weights": {str(weights): "0" * 64}}))
    older.write_text(json.dumps({key: answer[key] for key in answer if key != "weights"}))
    for wrong, complaint in (
        (["--figures", str(other)], "other.json is of other weights than these"),
        (["--figures", str(measured), "--skill", str(other)], "is of other weights than these"),
        (["--skill", str(older)], "older.json does not say of which weights it is"),
    ):
        with pytest.raises(SystemExit):
            release.main([*of, *wrong])
        assert complaint in capsys.readouterr().err and list(folder.iterdir()) == []
    release.main([*of, "--figures", str(measured), "--skill", str(measured)])
    model = manifest.parse(file.read_text(encoding="utf-8"))["dan-real-x4"]
    (figure,) = model.figures
    ours, bicubic = (answer["methods"][name] for name in (str(weights), "bicubic"))
    assert figure["psnr_y"] == pytest.approx(ours["psnr_y"], abs=1e-4)
    assert figure["bicubic_psnr_y"] == pytest.approx(bicubic["psnr_y"], abs=1e-4)
    assert figure["psnr_y"] != figure["bicubic_psnr_y"]
    assert (figure["protocol"], figure["data"], figure["cases"]) == ("real", "val", 1)
    assert model.estimate == answer["skill"][str(weights)]
    assert model.preset == "published"


def test_a_model_of_ones_own_is_released_behind_the_others(
    trainer: Callable[..., Trainer],
    small: Recipe,
    small_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, folder, file = tmp_path / "run", tmp_path / "weights", tmp_path / "manifest.json"
    trainer(out, last_step=8).run()
    assert list(pack(out, small, "two cores")) == []
    entry = json.loads((out / "release" / "entry.json").read_text())
    of = [str(out), *released_to(tmp_path, small_file)]
    before = list(manifest.parse(file.read_text(encoding="utf-8")))
    for told in ("'small' is a new model", ""):  # the second time it is there
        release.main(of)
        said = capsys.readouterr().out
        assert str(folder / "small.safetensors") in said and told in said
        assert ("new model" in said) == bool(told)
        found = manifest.parse(file.read_text(encoding="utf-8"))
        assert list(found) == [*before, "small"]
    model = found["small"]
    assert (model.licence, model.authors, model.aliases) == ("CC0-1.0", "A. Person", ())
    assert model.weights is not None
    assert model.weights.sha256 == store.sha256(folder / "small.safetensors")
    for key in ("purpose", "network", "options", "tiling", "degradation", "preset", "recipe"):
        assert getattr(model, key) == entry[key]


def test_an_entry_can_be_put_beside_the_others(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    """Aliases are the model's own: none for a new one, and kept where it takes the old's place."""
    whole = json.loads((Path(__file__).parents[2] / "weights_manifest.json").read_text("utf-8"))
    for model, aliases in (("small", []), ("dan-real-x4", ["realdan-x4"])):
        out, recipe = tmp_path / model, load_recipe(str(small_file), [f"model={model}"])
        trainer(out, recipe, last_step=2).run()
        assert list(pack(out, recipe, "two cores")) == []
        entry = json.loads((out / "release" / "entry.json").read_text())
        assert entry["aliases"] == aliases
        beside = packing.placed(whole["models"], entry)
        assert len(beside) == len(whole["models"]) + (model == "small")
        assert (
            manifest.parse(json.dumps(whole | {"models": beside}))[model].options["features"] == 8
        )
    taken = load_recipe(str(small_file), ["model=kerneldan-x4"])
    trainer(tmp_path / "taken", taken, last_step=2).run()
    (told,) = pack(tmp_path / "taken", taken, "two cores")
    assert "entry.json is not yet one for the manifest" in told
    assert "which models['dan-blur-x4'] is called already" in told


SHA = "start_numbers_sha256"


def test_what_a_run_went_on_from_stays_known(
    trainer: Callable[..., Trainer], small: Recipe, small_file: Path, tmp_path: Path
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    fitting = load_recipe(str(small_file), ["start.fitting=true"])
    trainer(first, fitting, last_step=3, weights="dan-blur-x4").run()
    told = {
        "start": "dan-blur-x4",
        "start_numbers_sha256": load("dan-blur-x4").digest,
        "start_licence": "Apache-2.0",
    }
    assert json.loads((first / "start.json").read_text()) == told
    resumed = trainer(first, fitting, last_step=6)
    assert resumed.resume()
    resumed.run()
    # Calibrating writes the header so.
    state, header = weights.read(first / "ema.safetensors")
    assert header["step"] == "6" and told.items() <= header.items()
    weights.write_with(first / "ema.safetensors", state, weights.own_header(header))
    list(pack(first, fitting, "two cores"))
    file = first / "release" / "small.safetensors"
    assert told.items() <= weights.read(file)[1].items()
    entry = json.loads((first / "release" / "entry.json").read_text())
    assert told.items() <= entry["training"].items()
    text = (first / "release" / "README.md").read_text()
    assert (
        f"| Went on from | `dan-blur-x4`, Apache-2.0, sha256 of its numbers `{told[SHA]}` |" in text
    )
    assert "Start" not in text
    # What goes on from these tells of both.
    trainer(second, small, last_step=2, weights=first / "ema.safetensors").run()
    after = weights.read(second / "ema.safetensors")[1]
    assert after["start"] == "ema.safetensors of small" and "start_licence" not in after
    assert after["start_before"] == "dan-blur-x4, Apache-2.0"
    list(pack(second, small, "two cores"))
    assert "that from dan-blur-x4, Apache-2.0 |" in (second / "release" / "README.md").read_text()
    # Another run's note in the folder of one with fresh weights.
    third.mkdir()
    (third / "start.json").write_text(json.dumps(told))
    trainer(third, last_step=1).run()
    assert not (third / "start.json").exists()
    assert "start" not in weights.read(third / "ema.safetensors")[1]


def test_where_the_start_cannot_be_kept_training_goes_on(
    trainer: Callable[..., Trainer], small: Recipe, tmp_path: Path
) -> None:
    out, told = tmp_path / "run", []
    start = tmp_path / "mine.safetensors"
    network = trainer(tmp_path / "other").network
    weights.write_exact(start, network.state_dict(), "DAN", {}, licence="MIT", model="mine")
    (out / "start.json").mkdir(parents=True)
    run = trainer(out, last_step=1, weights=start)
    run.run(warn=told.append)
    assert len(told) == 1 and "start.json" in told[0] and "Training goes on" in told[0]
    header = weights.read(out / "ema.safetensors")[1]
    assert (header["start"], header["start_licence"]) == ("mine.safetensors", "MIT")


def test_a_release_is_told_what_its_weights_went_on_from(
    trainer: Callable[..., Trainer], small_file: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(str(small_file), ["start.fitting=true"])
    trainer(tmp_path / "run", recipe, last_step=2, weights="dan-blur-x4").run()
    release.main([str(tmp_path / "run"), *released_to(tmp_path, small_file, "start.fitting=true")])
    found = manifest.parse((tmp_path / "manifest.json").read_text(encoding="utf-8"))["small"]
    assert found.training["start"] == "dan-blur-x4" and found.training["steps"] == 2


def test_a_card_sends_to_the_list_only_for_what_is_listed(small_file: Path, tmp_path: Path) -> None:
    """A changed recipe has the bundled one's name, and one of one's own is in no list."""
    listed = load_recipe("dan-blur-x4-cpu")
    same = load_recipe("dan-blur-x4-cpu", ["model=mine", "data.memory=2.0", "validation.every=7"])
    changed = load_recipe("dan-blur-x4-cpu", ["seed=1"])
    own = load_recipe(str(small_file))
    for number, (recipe, kept, said) in enumerate(
        (
            (listed, None, "`dan-blur-x4-cpu` (see `sr-cli train --list`)"),
            (same, same, "`dan-blur-x4-cpu` (see `sr-cli train --list`)"),
            (changed, None, "`dan-blur-x4-cpu`, changed: not as `sr-cli train --list` has it"),
            (listed, changed, "`dan-blur-x4-cpu`, changed: not as `sr-cli train --list` has it"),
            (own, own, "`small` (not one of `sr-cli train --list`)"),
        )
    ):
        run = tmp_path / str(number)
        options = {"features": 8, "blocks": 2, "iterations": 1, "degradation_size": 8}
        state = DAN(**options).state_dict()
        run.mkdir()
        weights.write(run / "ema.safetensors", state, "DAN", options, recipe=recipe.name)
        if kept:
            record.write(run, kept)
        list(pack(run, recipe, "two cores"))
        assert f"| Recipe | {said} |" in (run / "release" / "README.md").read_text()
        training = json.loads((run / "release" / "entry.json").read_text())["training"]
        assert training.get("recipe_changed") == ("yes" if "changed" in said else None)
