"""Recipes are read strictly, extend each other, and are shown whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from sr_cli.zoo.manifest import manifest
from sr_cli.zoo.schema import PRESETS
from tests.conftest import Outcome
from training.degradations import degrader
from training.initial import build_network
from training.recipe import Recipe, RecipeError, load_recipe, recipe_names, shown
from training.schema import Data, Degradation


@pytest.mark.parametrize("name", recipe_names())
def test_bundled_recipes_are_valid(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.description
    assert degrader(recipe).scale == recipe.network.scale
    assert not recipe.start.after or recipe.start.after in recipe_names()
    assert recipe.start.after or "--weights" not in recipe.description


def test_every_model_of_the_zoo_has_a_published_recipe() -> None:
    wanted = {
        *("dan-real-x4", "dan-real-gan-x4", "dan-blur-x2", "dan-blur-x4"),
        *(f"{f}-iso-x{s}" for f in ("danv1", "danv2", "dssr") for s in (2, 3, 4)),
        *(f"{f}-aniso-x{s}" for f in ("danv1", "danv2", "dssr") for s in (2, 4)),
        *(f"{f}-x{s}" for f in ("dmsr", "dmsr-nf") for s in (2, 3, 4)),
        *("edsr-blur-x2", "edsr-blur-x4", "pdm-sr-x4", "pdm-srgan-x4"),
    }
    assert wanted <= set(recipe_names())
    assert all(load_recipe(name).model == name for name in wanted)
    for model in manifest().values():
        if model.recipe in recipe_names():
            assert load_recipe(model.recipe).data.trained_for == model.preset, model.name
    made = {load_recipe(name).model for name in recipe_names()}
    assert {model.name for model in manifest().values()} <= made


@pytest.mark.parametrize("kind", ["real-x4", "blur-x4", "blur-x2"])
def test_twins_learn_from_the_same_batches_at_the_same_rate(kind: str) -> None:
    dan, twin = (load_recipe(f"{body}-{kind}-continue-gpu") for body in ("dan", "edsr"))
    assert [replace(phase, iterations=None) for phase in dan.phase] == list(twin.phase)
    for part in ("data", "optimiser", "validation", "decay_steps", "seed"):
        assert getattr(dan, part) == getattr(twin, part), part
    assert (dan.loss.l1, dan.loss.rmse) == (twin.loss.l1, twin.loss.rmse)
    assert dan.start.after == twin.start.after and twin.start.fitting


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("dan-real-x4", 1.954), ("danv1-iso-x4", 4.33), ("danv2-iso-x4", 4.71), ("dmsr-x2", 8.38)],
)
def test_published_recipes_build_the_published_networks(name: str, parameters: float) -> None:
    network = build_network(load_recipe(name))
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert count == pytest.approx(parameters, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimiser.emma=0.9", "unknown key 'optimiser.emma'.*'optimiser.ema'"),
        ("qqqqqqqqq=1", r"unknown key 'qqqqqqqqq'\.$"),  # nothing is near
        ("network.feature=8", "unknown key 'network.feature'.*'network.features'"),
        ("network.block='unet'", "'network.block' must be 'edsr' or 'rrdb'"),
        ("network.features='many'", "'network.features' must be a whole number"),
        ("network.family='DNA'", "'network.family' must be one of DAN, "),
        ("network.family=[1]", "'network.family' must be one of DAN, "),
        ("phase.0.lr_crop=9223372036854775808", "'phase.0.lr_crop' must be at most 2147483647"),
        ("network=3", "'network' must be a table"),
        ("seed='x'", "'seed' must be a whole number"),
        ("loss.emphasised='final.omega'", "'loss.emphasised' must be a list, not 'final.omega'"),
        ("data.preset='real'", "'data.preset' must be 'published' or 'physical'"),
        ("data.sigma=[1.0]", "'data.sigma' must be a list of two numbers"),
        (
            "data.sigma=[0.0, 1.0]",
            "from a small number to a larger one, above 0, not",
        ),
        ("data.sigma=[2.0, 1.0]", "'data.sigma' must be from a small number"),
        ("data.noise=[15.0, 0.0]", "'data.noise' must be from a small number"),
        ("data.noise=[0.0, inf]", "'data.noise' must be from a small number"),
        ("data.kernel=20", "must be odd"),
        ("model='a/b'", "'model' names files"),
        ("seed=9223372036854775807", "'seed' must be"),
        ("start.high_pass_filters=1.5", "'start.high_pass_filters' must be"),
        ("phase.0.lr_crop=16", "'phase.0.lr_crop' makes crops of 64 pixels.*needs 76"),
        ("validation.crop=2", "'validation.crop' makes crops of 2 pixels.*needs 76"),
        ("data.shrunk=[1.5]", "between 0 and 1"),
        ("data.mild=1.5", "'data.mild' must be from 0 to 1, not 1.5"),
        ("phase.0.steps=true", "must be a whole number"),
        ("phase.0.batch=0", "'phase.0.batch' must be positive"),
        ("phase.0.accumulate=3", "must be a multiple of its 'accumulate'"),
        ("phase.0.margin=-1", "'phase.0.margin' must not be negative, but is -1"),
        ("phase.0.shift=1", "'phase.0.shift' must be from 0 to the margin, not 1"),
        ("validation.margin=-4", "'validation.margin' must not be negative, but is -4"),
        ("phase.0.steps=-1", "'phase.0.steps' must not be negative, but is -1"),
        ("phase.0.learning_rate=-1.0", "'phase.0.learning_rate' must not be negative"),
        ("phase.0.warmup=-1", "'phase.0.warmup' must not be negative"),
        ("decay_steps=-5", "'decay_steps' must not be negative"),
        ("save_minutes=nan", "'save_minutes' must be a number, not nan"),
        ("data.reuse=0", "'data.reuse' must be positive"),
        ("data.kernel=-3", "'data.kernel' must be positive"),
        ("data.memory=-1.0", "'data.memory' must not be negative"),
        ("loss.l1=inf", "'loss.l1' must be a number, not inf"),
        ("loss.gan=-1.0", "'loss.gan' must not be negative"),
        ("optimiser.ema=2.0", "'optimiser.ema' must be from 0 to below 1, not 2.0"),
        ("optimiser.beta1=1.0", "'optimiser.beta1' must be from 0 to below 1, not 1.0"),
        ("validation.every=0", "'validation.every' must be positive"),
        ("optimiser.clip=0.5", "'optimiser.clip' must be 0 or from 1 on, not 0.5"),
        ("optimiser.clip=nan", "'optimiser.clip' must be 0 or from 1 on, not nan"),
        ("phase.0.halve_at=[0]", "'phase.0.halve_at' must be steps from 1 on"),
        ("network.features=0", "'network.features' must be positive, not 0"),
        ("network.iterations=0", "'network.iterations' must be positive, not 0"),
        ("phase.9.steps=1", "leads nowhere"),
        ("phase", "not of the form key=value"),
    ],
)
def test_mistakes_in_a_recipe_are_explained(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("dan-real-x4", [change])


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        ("danv2-iso-x4", "data.mild=0.1", "'data.mild' is of .* 'two-stage' and 'blur' only"),
        ("dan-blur-x4", "data.sigma=[0.2, 1.0]", "'data.sigma' is not of .* 'blur'"),
        ("dan-real-x4", "data.noise=[0.0, 50.0]", "'data.noise' is not of .* 'two-stage'"),
        ("dan-real-x4", "data.kernel=15", "'data.kernel' is not of .* 'two-stage'"),
        ("pdm-sr-x4", "data.sigma=[0.2, 1.0]", "'data.sigma' is not of .*, which is learned"),
        ("dan-real-x4", "pdm.centre=0.1", "'pdm' is of the degradation 'learned' only"),
        ("pdm-srgan-x4", "loss.features='squeezenet'", "'loss.feature_weights' are VGG19's"),
        ("dan-real-x4", "loss.emphasis=4.0", "'loss.emphasis' needs to be told of which"),
    ],
)
def test_what_would_be_ignored_is_refused(recipe: str, change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe, [change])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("network={family = 'DANv2'}", "DANv2 learns from true kernels.*DAN, EDSR, RRDB, DSSR"),
        ("network={family = 'DMSR'}", "DMSR learns from true kernels"),
        ("phase.0.margin=4", "'phase.0.margin': the degradation 'learned' knows no margin"),
        ("pdm.kernel_size=10", "'pdm.kernel_size' must be odd, not 10"),
        ("pdm.noise_outputs=2", "'pdm.noise_outputs' must be 1 or 3"),
        ("pdm.discriminator_stride=6", "'pdm.discriminator_stride' of 6 .* 32 pixels; at most 5"),
        ("pdm.noise_penalty=-1", "'pdm.noise_penalty' must not be negative"),
        ("pdm.kernel_size=601", "'phase.0.lr_crop' makes crops of 128 pixels.*needs 301"),
        ("loss.standardised=true", "no vectors to be standardised"),
        ("loss.feature_weights=[1.0]", "must be a list of 5 numbers"),
    ],
)
def test_what_cannot_be_with_a_learned_degradation_is_refused(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("pdm-sr-x4", [change])


def test_a_dan_learns_without_a_truth_only_if_nothing_asks_for_it() -> None:
    dan = "network={family = 'DAN'}"
    assert load_recipe("pdm-sr-x4", [dan]).network.family == "DAN"
    with pytest.raises(RecipeError, match=r"'loss\.vector' must be 0"):
        load_recipe("pdm-sr-x4", [dan, "loss.vector=0.1"])
    with pytest.raises(RecipeError, match="a part alone learns from true vectors"):
        load_recipe("pdm-sr-x4", [dan, "phase.0.trains='restorer'"])
    with pytest.raises(RecipeError, match="only the degradation 'learned' is trained"):
        load_recipe("dan-real-x4", ["phase.0.trains='degradation'"])


def test_another_family_takes_nothing_of_the_networks_table_it_extends(tmp_path: Path) -> None:
    child = tmp_path / "child.toml"
    child.write_text("extends = 'pdm-sr-x4'\nname = 'mine'\n[network]\nfamily = 'RRDB'\n")
    options = load_recipe(str(child)).network.options
    assert "residual_scale" not in options and options["growth"] == 32
    child.write_text("extends = 'pdm-sr-x4'\nname = 'mine'\n[network]\nfamily = 'EDSR'\n")
    assert load_recipe(str(child)).network.options["style"] == "published"


def test_what_a_network_cannot_do_is_refused() -> None:
    with pytest.raises(RecipeError, match="EDSR has no iterations"):
        load_recipe("edsr-blur-x4", ["phase.0.iterations=2"])
    with pytest.raises(RecipeError, match="only DAN's Estimator"):
        load_recipe("danv1-iso-x4", ["phase.0.trains='estimator'"])
    with pytest.raises(RecipeError, match="only DAN's Restorer"):
        load_recipe("edsr-blur-x4", ["phase.0.trains='restorer'"])
    with pytest.raises(RecipeError, match="scales 2 and 4 only"):
        load_recipe("dan-blur-x4", ["network.scale=3"])
    with pytest.raises(RecipeError, match="DMSR's losses need whole crops, without a margin"):
        load_recipe("dmsr-x4", ["phase.0.margin=4"])
    with pytest.raises(RecipeError, match=r"crops of 256 pixels.*needs 301"):
        load_recipe("danv1-iso-x4", ["data.kernel=601"])
    with pytest.raises(RecipeError, match="DANv1: channel attention needs at least 16 features"):
        build_network(load_recipe("danv1-iso-x4", ["network.features=16"]))
    wide = load_recipe("danv1-iso-x4", ["network.code_size=26", "data.kernel=5"])
    with pytest.raises(RecipeError, match="kernels of 25 numbers have no 26 principal"):
        build_network(wide, degrader(wide))
    with pytest.raises(RecipeError, match="are for the family DAN"):
        build_network(load_recipe("edsr-blur-x4", ["start.high_pass_filters=0.5"]))
    with pytest.raises(RecipeError, match="scale must be 2, 3 or 4"):
        build_network(load_recipe("dssr-iso-x4", ["network.scale=5"]))


def test_an_unknown_recipe_is_answered_with_near_ones() -> None:
    with pytest.raises(RecipeError, match="dan-real-x4"):
        load_recipe("dan-reel-x4")


def test_what_is_no_recipe_may_be_something_else(tmp_path: Path) -> None:
    (tmp_path / "mine.TOML").touch()
    for name, hint in (
        (str(tmp_path), r"photographs are named by --data"),
        (str(tmp_path / "mine.TOML"), r"Files of recipes end in \.toml"),
        ("zzz", r"`sr-cli train --list` names them all"),
    ):
        with pytest.raises(RecipeError, match=f"There is no recipe.*{hint}"):
            load_recipe(name)


def test_a_recipe_that_extends_another_says_only_what_differs(tmp_path: Path) -> None:
    base, child = tmp_path / "base.toml", tmp_path / "child.toml"
    base.write_text(shown(load_recipe("dan-blur-x4")))
    child.write_text("extends = 'base.toml'\nname = 'mine'\n[network]\nfeatures = 8\n")
    recipe = load_recipe(str(child))
    assert (recipe.name, recipe.model) == ("mine", "dan-blur-x4")
    assert (recipe.network.options["features"], recipe.network.options["blocks"]) == (8, 16)
    assert recipe.phase == load_recipe("dan-blur-x4").phase
    child.write_text("extends = 'dan-blur-x2'\nname = 'mine'\n")
    assert load_recipe(str(child)).network == load_recipe("dan-blur-x2").network
    child.write_text("extends = 'dan-blur-x2'\n")
    assert load_recipe(str(child)).name == "child"  # not that of another, whose runs it would share
    child.write_text("extends = 'child.toml'\n")
    with pytest.raises(RecipeError, match="in a circle"):
        load_recipe(str(child))
    child.write_text("extends = 3\n")
    with pytest.raises(RecipeError, match="'extends' must be a text"):
        load_recipe(str(child))


def test_a_recipe_without_any_loss_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"all weights of \[loss\] are 0"):
        load_recipe("dan-real-x4", ["loss.l1=0", "loss.vector=0"])
    with pytest.raises(RecipeError, match=r"all weights of \[loss\] are 0"):
        load_recipe("edsr-blur-x4", ["loss.l1=0"])  # which estimates nothing
    assert load_recipe("dan-real-x4", ["loss.l1=0"]).loss.l1 == 0
    for part, changes in (("restorer", ["loss.l1=0"]), ("estimator", ["loss.vector=0"])):
        with pytest.raises(RecipeError, match=f"that train the {part} are 0"):
            load_recipe("dan-real-x4", [f"phase.0.trains='{part}'", *changes])


@pytest.mark.parametrize(
    "change",
    [
        *("start.high_pass_filters=1.0", "phase.0.halve_at=[1]", "optimiser.clip=1.0"),
        *("data.mild=0.0", "data.mild=1.0", "phase.0.batch=1", "phase.0.steps=0"),
        *("phase.0.margin=0", "validation.margin=0", "optimiser.ema=0.0", "seed=0"),
    ],
)
def test_the_ends_of_every_range_may_be_meant(change: str) -> None:
    key, value = change.split("=")
    found = load_recipe("dan-real-x4", [change])
    for part in key.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    assert found == (1,) if "[" in value else found == float(value)


def test_keys_that_a_recipe_lacks_are_named(tmp_path: Path) -> None:
    whole = shown(load_recipe("dan-real-x4"))
    mine = tmp_path / "mine.toml"
    for line, key in (("model =", "model"), ("steps =", "phase.0.steps"), ("name =", "name")):
        kept = [text for text in whole.splitlines() if not text.startswith(line)]
        mine.write_text("\n".join(kept))
        with pytest.raises(RecipeError, match=f"mine.toml: the key '.*{key}' is missing"):
            load_recipe(str(mine))


def test_files_that_are_no_recipes_are_explained(tmp_path: Path) -> None:
    latin = tmp_path / "latin.toml"
    latin.write_bytes('name = "größer"'.encode("latin-1"))
    with pytest.raises(RecipeError, match="not UTF-8"):
        load_recipe(str(latin))
    (tmp_path / "deep").mkdir()
    one, two = tmp_path / "one.toml", tmp_path / "deep" / "two.toml"
    one.write_text('extends = "deep/two.toml"')
    two.write_text('extends = "../one.toml"')
    with pytest.raises(RecipeError, match="in a circle"):
        load_recipe(str(one))


@pytest.mark.parametrize("name", ["dan-real-x4-cpu", "dmsr-nf-x3", "danv2-aniso-x4"])
def test_a_recipe_that_is_shown_can_be_read_again(name: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.toml"
    path.write_text(shown(load_recipe(name)))
    assert load_recipe(str(path)) == load_recipe(name)


def test_the_program_lists_recipes_beside_a_broken_one(
    program: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, *changes: Sequence[str]) -> Recipe:
        if name == "dan-real-x4":
            raise RecipeError(f"{name} is not valid TOML: line 3.")
        return load_recipe(name, *changes)

    monkeypatch.setattr("training.recipe.load_recipe", load)
    listed = program("train", "--list")
    assert listed.status == 0 and listed.err == "dan-real-x4 is not valid TOML: line 3.\n"
    others = [name for name in recipe_names() if name != "dan-real-x4"]
    assert [line.split(":")[0] for line in listed.out.splitlines()] == others


def test_manifests_know_every_degradation() -> None:
    kinds = [Data(degradation=kind).trained_for for kind in get_args(Degradation)]
    assert set(kinds) <= set(PRESETS) and len(kinds) == len(set(kinds))


def test_the_program_lists_and_shows_recipes(
    program: Callable[..., Outcome], tmp_path: Path
) -> None:
    listed = program("train", "--list")
    assert listed.status == 0 and len(listed.out.splitlines()) == len(recipe_names())
    whole = program("train", "dan-blur-x2", "--show", "--set", "phase.0.batch=7")
    assert whole.status == 0 and "batch = 7" in whole.out and 'family = "DAN"' in whole.out
    wrong = program("train", "dan-blur-x2", "--show", "--set", "phase.0.batches=7")
    told = " ".join(wrong.err.replace("\u2502", " ").split())
    assert wrong.status == 2 and "--set" in told and "Did you mean 'phase.0.batch'?" in told
    # What is not the command line's fault is no misuse of it.
    own = tmp_path / "own.toml"
    own.write_text('extends = "dan-blur-x2"\nname = "own"\nbatches = 7\n', encoding="utf-8")
    for recipe in (own, "dan-blur-x5"):
        wrong = program("train", recipe, "--show", "--set", "phase.0.batch=7")
        assert wrong.status == 1 and wrong.err.startswith("sr-cli: ")


def test_what_toml_takes_only_escaped_is_shown_so(tmp_path: Path) -> None:
    odd = load_recipe("dan-blur-x4", [r'description="a\u007f\u0001\"\\b\u00e9"'])
    assert odd.description == 'a\x7f\x01"\\b\xe9'
    path = tmp_path / "odd.toml"
    path.write_text(shown(odd), encoding="utf-8")
    assert load_recipe(str(path)) == odd
