"""A degradation is learned from low-quality pictures without their originals (PDM)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sr_cli.degradation import kernels
from sr_cli.degradation.operators import blur
from sr_cli.degradation.repeatable import seed_for
from sr_cli.networks.dan import DAN
from tests.conftest import Outcome, scene
from tests.training.conftest import CPU
from training.corpus import Corpus, CorpusError, read_corpus
from training.degradations import Unpaired, degrader
from training.held_out import paired
from training.initial import build_network
from training.journal import read_log
from training.learner import Learner
from training.losses import Objectives
from training.options import Options
from training.pool import Pairs
from training.processes import Processes
from training.recipe import Recipe, RecipeError, load_recipe
from training.schema import Validation
from training.session import run_session
from training.trainer import Trainer
from training.unpaired import LearnedDegradation, moments, off_centre

TINY = [
    *("network.features=8", "network.blocks=1", "phase.0.batch=4", "phase.0.lr_crop=24"),
    *("pdm.features=8", "pdm.noise_features=8", "pdm.kernel_blocks=1", "pdm.noise_blocks=1"),
    *("pdm.discriminator_features=8", "validation.crop=96"),
]


def tiny(*changes: str) -> Recipe:
    return load_recipe("pdm-sr-x4", [*TINY, *changes])


def some_pairs(count: int = 4, seed: int = 0) -> Pairs:
    generator = torch.Generator().manual_seed(seed)

    def picture(side: int) -> Tensor:
        return torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)

    return Pairs(picture(24), picture(96), torch.zeros(count, 0))


def corpus_of(pictures: Tensor) -> Corpus:
    """Pictures ``(N, 3, H, W)`` uint8."""
    count, _, height, width = pictures.shape
    pixels = pictures.permute(0, 2, 3, 1).reshape(-1, 3)
    offsets = tuple(range(0, count * height * width, height * width))
    return Corpus(pixels, ((height, width),) * count, offsets, ("made",) * count, (), 0)


def test_low_quality_crops_stand_in_for_degraded_ones() -> None:
    low = torch.randint(256, (3, 3, 40, 30), dtype=torch.uint8)
    model = degrader(tiny(), corpus_of(low))
    assert isinstance(model, Unpaired) and model.layout is None and model.scale == 4
    drawn = model.sample(5, torch.Generator().manual_seed(0))
    crops = (model.apply(torch.zeros(5, 3, 64, 64), drawn) * 255).round().byte()
    assert crops.shape == (5, 3, 16, 16)
    windows = low.unfold(2, 16, 1).unfold(3, 16, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 16, 16)
    turned = [windows, windows.transpose(2, 3)]
    every = torch.cat([w.flip(dims) for w in turned for dims in ([], [2], [3], [2, 3])])
    for crop in crops:
        assert bool((every == crop).flatten(1).all(1).any())


def test_a_phase_of_smaller_crops_sees_all_of_a_low_quality_picture() -> None:
    along = torch.arange(40, dtype=torch.uint8)
    rows, columns = torch.meshgrid(along, along, indexing="ij")
    places = torch.stack((rows, columns, 0 * rows))
    two = "phase=[{steps = 1, batch = 4, lr_crop = 32, learning_rate = 0}"
    two += ", {steps = 1, batch = 4, lr_crop = 16, learning_rate = 0}]"
    model, generator = degrader(tiny(two), corpus_of(places[None])), torch.Generator()
    seen = torch.zeros(40, 40, dtype=torch.bool)
    for _ in range(10):
        drawn = model.sample(64, generator)
        crops = (model.apply(torch.zeros(64, 3, 64, 64), drawn) * 255).round().long()
        seen[crops[:, 0], crops[:, 1]] = True
    assert bool(seen[2:-2, 2:-2].all()) and bool(seen[0].any() and seen[-1].any())
    assert bool(seen[:, 0].any() and seen[:, -1].any())


def test_a_step_learns_and_hands_on_what_was_made_on_8_bit_levels() -> None:
    learned = LearnedDegradation(tiny(), Processes(CPU))
    pairs = some_pairs()
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in learned.networks]
    generator = torch.Generator()
    generator.set_state(learned.drawing.get_state())
    hr = pairs.hr.float() / 255
    with torch.no_grad():
        wanted = learned.model(hr, *learned.model.draw(hr, generator))[0]
    made, told = learned.step(pairs, 1e-3)
    assert torch.equal(made.lr, (wanted.clamp(0, 1) * 255).round().byte())
    assert torch.equal(made.hr, pairs.hr) and made.lr.dtype == torch.uint8
    assert told.keys() == {"degradation", "patches"}
    assert all(not term.requires_grad and bool(term.isfinite()) for term in told.values())
    for network, was in zip(learned.networks, before, strict=True):
        moved = [
            float((p.detach() - was[name]).abs().max()) for name, p in network.named_parameters()
        ]
        # Adam's first step is as long as its rate.
        assert max(moved) == pytest.approx(1e-3, rel=0.05)


def test_what_settles_makes_the_pairs_where_it_is_asked_for() -> None:
    learned = LearnedDegradation(tiny("pdm.ema=0.9"), Processes(CPU))
    pairs, generator = some_pairs(), torch.Generator()
    for _ in range(3):
        generator.set_state(learned.drawing.get_state())
        made, _ = learned.step(pairs, 1e-3)
    assert learned.average is not None and learned.settled is learned.average.network
    assert learned.average.steps == 3 and len(learned.networks) == 3
    hr = pairs.hr.float() / 255
    numbers = learned.model.draw(hr, generator)
    with torch.no_grad():
        wanted, raw = (some(hr, *numbers)[0] for some in (learned.settled, learned.model))
    assert torch.equal(made.lr, (wanted.clamp(0, 1) * 255).round().byte())
    assert not torch.equal(wanted, raw)


def test_what_settles_is_normalised_by_what_its_own_pictures_are_like() -> None:
    """Its file is used on single pictures, by these statistics and not by a batch's."""
    learned = LearnedDegradation(tiny("pdm.ema=0.9"), Processes(CPU))
    raw, settled = (model.kernel.generator for model in (learned.model, learned.settled))
    seen: list[Tensor] = []
    settled.norm.register_forward_pre_hook(lambda _, x: seen.append(x[0].mean((0, 2, 3))))
    wanted = torch.zeros(8)
    for step in range(6):
        with torch.no_grad():  # as generators do, but in a few steps
            raw.head.weight.add_(5.0 if step % 2 else -5.0)
        learned.step(some_pairs(seed=step), 1e-3)
        wanted = wanted.lerp(seen[-1], 0.1)
    assert len(seen) == 6
    remembered = [generator.norm.running_mean for generator in (settled, raw)]
    assert remembered[0] is not None and remembered[1] is not None
    torch.testing.assert_close(remembered[0], wanted)
    assert not torch.allclose(remembered[1], wanted, atol=0.05)


def test_a_process_with_a_single_crop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(CPU)
    with pytest.raises(RecipeError, match=r"'phase.0.batch' is 1, but .* at least 2 crops in each"):
        LearnedDegradation(tiny("phase.0.batch=1"), processes)
    monkeypatch.setattr(processes, "count", 4)
    with pytest.raises(RecipeError, match=r"'phase.0.batch' is 4 for 4 processes, but"):
        LearnedDegradation(tiny("phase.0.batch=4"), processes)
    LearnedDegradation(tiny("phase.0.batch=8"), processes)


def test_the_largest_stride_of_the_discriminator_leaves_it_something_to_judge() -> None:
    learned = LearnedDegradation(tiny("pdm.discriminator_stride=4"), Processes(CPU))
    _, told = learned.step(some_pairs(), 1e-3)
    assert bool(told["patches"].isfinite())
    with pytest.raises(RecipeError, match="of 5 leaves nothing to compare of crops of 24 pixels"):
        tiny("pdm.discriminator_stride=5")


def test_processes_share_what_is_drawn_for_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    hr = torch.zeros(2, 3, 96, 96)
    alone = LearnedDegradation(tiny(), Processes(CPU))
    kernel, noise = alone._numbers(torch.zeros(4, 3, 96, 96))
    for index in (0, 1):
        processes = Processes(CPU)
        monkeypatch.setattr(processes, "count", 2)
        monkeypatch.setattr(processes, "index", index)
        one = LearnedDegradation(tiny(), processes)
        mine = slice(2 * index, 2 * index + 2)
        ours = one._numbers(hr)
        assert torch.equal(ours[0], kernel[mine]) and torch.equal(ours[1], noise[mine])


def test_kernels_are_centred_where_a_small_pixel_lies() -> None:
    one = torch.zeros(1, 11, 11)
    one[0, 6, 6] = one[0, 7, 7] = 0.5  # the middle of four pixels from 5 on is 6.5
    assert float(off_centre(one, 4)) == 0
    assert float(off_centre(one.roll(2, 1), 4)) == pytest.approx(4)
    mean, variance = moments(one)
    assert mean.tolist() == [[6.5, 6.5]] and variance.tolist() == [[0.25, 0.25]]


SMALL_MODEL = [
    *("network.scale=2", "phase.0.lr_crop=24", "pdm.kernel_blocks=1", "pdm.features=16"),
    *("pdm.noise_features=16", "pdm.noise_blocks=1", "pdm.discriminator_features=16"),
    *("pdm.discriminator_stride=2", "optimiser.beta1=0.5"),
]
"""Of a second or two for a hundred steps."""


def test_a_blur_is_found_without_originals() -> None:
    # Low-quality pictures are of other scenes: a Gaussian of 1.5 pixels, then every second pixel.
    one, sigma = torch.ones(1), 1.5
    kernel = kernels.blur_kernels(
        *(kernels.GAUSSIAN * one, sigma * one, sigma * one, 0 * one, one, one, 4 * one),
        size=9,
        squared_radius=False,
    )
    scenes = torch.stack([torch.from_numpy(scene(128, 128, n)).permute(2, 0, 1) for n in range(12)])
    low = blur(scenes[6:].float() / 255, kernel.expand(6, -1, -1))[..., ::2, ::2]
    changes = ["pdm.kernel_size=9", "pdm.noise_numbers=0"]
    recipe = load_recipe("pdm-sr-x4", [*SMALL_MODEL, *changes])
    learned = LearnedDegradation(recipe, Processes(CPU))
    spoiled = degrader(recipe, corpus_of((low.clamp(0, 1) * 255).round().byte()))
    sharp = Unpaired(1, corpus_of(scenes[:6]))
    generator = torch.Generator().manual_seed(0)
    widths: list[float] = []
    for _ in range(650):
        hr = sharp.apply(torch.zeros(8, 3, 48, 48), sharp.sample(8, generator))
        real = spoiled.apply(hr, spoiled.sample(8, generator))
        pairs = Pairs((real * 255).round().byte(), (hr * 255).round().byte(), torch.zeros(8, 0))
        learned.step(pairs, 5e-4)
        with torch.no_grad():
            found = learned.model.kernel(hr, learned.model.draw(hr, generator)[0])[1]
        widths.append(float(moments(found)[1].mean().sqrt()))
    # It begins as wide as the kernel can be, goes past the truth, and comes back to stay: between
    # 1.5 and 2, by seed and by processor (two players that learn magnify any last bit).
    assert widths[0] > 2.4 and min(widths) < 0.8
    assert 1.1 < sum(widths[-100:]) / 100 < 2.2


def test_noise_is_found_where_there_is_some() -> None:
    def level(deviation: float) -> float:
        """Mean deviation of what is learned from flat pictures with and without noise."""
        changes = ["pdm.kernel_size=3", "pdm.noise_penalty=10"]
        recipe = load_recipe("pdm-sr-x4", [*SMALL_MODEL, *changes])
        learned = LearnedDegradation(recipe, Processes(CPU))
        generator = torch.Generator().manual_seed(0)

        def flat(side: int) -> Tensor:
            colours = 0.2 + 0.6 * torch.rand(8, 3, 1, 1, generator=generator)
            return colours.expand(8, 3, side, side)

        levels: list[float] = []
        for _ in range(150):
            hr, real = flat(48), flat(24)
            real = real + deviation * torch.randn(real.shape, generator=generator)
            low = (real.clamp(0, 1) * 255).round().byte()
            learned.step(Pairs(low, (hr * 255).round().byte(), torch.zeros(8, 0)), 1e-3)
            with torch.no_grad():
                noise = learned.model(hr, *learned.model.draw(hr, generator))[2]
            assert noise is not None
            levels.append(float(noise.std()))
        assert levels[0] < 0.005
        return sum(levels[-50:]) / 50

    assert 0.02 < level(0.05) < 0.08
    assert level(0.0) < 0.01


def learner_of(recipe: Recipe) -> Learner:
    model = degrader(recipe, corpus_of(some_pairs().lr))
    network = build_network(recipe, model)
    return Learner(
        network, recipe, Objectives(recipe, network, model, CPU), Processes(CPU), half=False
    )


def test_the_network_learns_from_what_was_made_not_from_the_crops_beside() -> None:
    learner = learner_of(tiny("loss.l1=1"))
    learner.begin(learner.recipe.phase[0])
    seen: list[Tensor] = []
    forward = learner.forward
    learner.forward = lambda lr: (seen.append(lr), forward(lr))[1]  # type: ignore[func-returns-value]
    pairs = some_pairs()
    terms = learner.step(pairs, 1e-3)
    assert terms.keys() == {"loss", "l1", "degradation", "patches"}
    assert float(terms["loss"]) == float(terms["l1"])  # the rest is not the network's
    assert not torch.equal((seen[0] * 255).round().byte(), pairs.lr)


def test_the_gradient_of_every_network_is_limited() -> None:
    """The published limit; how far Adam goes does not depend on it, so moments tell."""
    gan = ["loss.gan=0.5", "loss.discriminator='patch'", "loss.discriminator_features=8"]
    learner = learner_of(tiny("pdm.clip=1e-3", *gan))
    learner.begin(learner.recipe.phase[0])
    learner.step(some_pairs(), 1e-3)
    degradation, adversary = learner.degradation, learner.adversary
    assert degradation is not None and adversary is not None
    for optimiser, limit in (
        (learner.optimiser.adam, 1e-3),
        (adversary.optimiser, 2e-3),  # as if its loss were weighted, by 0.5
        (degradation.optimiser, 1e-3),
        (degradation.adversary.optimiser, 1e-3),
    ):
        moments = [state["exp_avg"] for state in optimiser.state.values()]
        assert float(nn.utils.get_total_norm(moments)) == pytest.approx(0.1 * limit, rel=1e-2)
    free = learner_of(tiny("pdm.clip=0", *gan))
    free.begin(free.recipe.phase[0])
    free.step(some_pairs(), 1e-3)
    moments = [state["exp_avg"] for state in free.optimiser.adam.state.values()]
    assert float(nn.utils.get_total_norm(moments)) > 0.1 * 2e-3


def test_a_degradation_that_learns_alone_leaves_the_network_alone() -> None:
    learner = learner_of(tiny("phase.0.trains='degradation'"))
    learner.begin(learner.recipe.phase[0])
    networks = learner.network, learner.average.network
    before = [{k: v.clone() for k, v in n.state_dict().items()} for n in networks]
    terms = learner.step(some_pairs(), 1e-3)
    assert terms.keys() == {"loss", "degradation", "patches"}
    for network, was in zip(networks, before, strict=True):
        assert all(torch.equal(v, was[k]) for k, v in network.state_dict().items())


def test_weights_of_a_degradation_that_are_no_numbers_are_noticed() -> None:
    learner = learner_of(tiny("pdm.ema=0.9"))
    assert learner.degradation is not None and len(learner.degradation.networks) == 3
    for network in learner.degradation.networks:
        assert learner.finite
        weight = next(network.parameters()).detach()
        kept = weight.clone()
        weight[0] = float("nan")
        assert not learner.finite
        weight.copy_(kept)


def test_a_dan_is_adapted_and_its_estimator_kept() -> None:
    learner = learner_of(tiny("network={family = 'DAN', features = 8, blocks = 1}"))
    assert isinstance(learner.network, DAN)
    learner.begin(learner.recipe.phase[0])
    before = {k: v.clone() for k, v in learner.network.state_dict().items()}
    learner.step(some_pairs(), 1e-3)
    moved = {k for k, v in learner.network.state_dict().items() if not torch.equal(v, before[k])}
    assert any(key.startswith("restorer.") for key in moved)
    assert not any(key.startswith(("estimator.", "degradation_")) for key in moved)


def trainer(recipe: Recipe, out: Path, photographs: Path, pairs: Path, **how: object) -> Trainer:
    held_out = paired(pairs, 4, recipe.validation)
    options = Options(half=False, **how)  # type: ignore[arg-type]
    low = read_corpus([pairs / "LR"], 24)
    return Trainer(recipe, read_corpus([photographs], 96), held_out, out, CPU, options, low)


def test_a_learned_degradation_is_resumed_to_the_bit(
    photographs: Path, pairs: Path, tmp_path: Path
) -> None:
    two = "phase=[{steps = 3, batch = 4, lr_crop = 24, learning_rate = 1e-3, trains = 'degradation'"
    two += "}, {steps = 3, batch = 2, lr_crop = 24, learning_rate = 1e-3}]"
    recipe = tiny(two, "validation.every=3", "pdm.ema=0.9")
    whole = trainer(recipe, tmp_path / "whole", photographs, pairs)
    whole.run()
    for stop in (2, 4):
        part = trainer(recipe, tmp_path / "parts", photographs, pairs, last_step=stop)
        assert part.resume() == (stop == 4)
        part.run()
    part = trainer(recipe, tmp_path / "parts", photographs, pairs)
    assert part.resume() and part.run()
    ours, theirs = part.learner.degradation, whole.learner.degradation
    assert ours is not None and theirs is not None
    for mine, other in zip(
        (part.network, *ours.networks), (whole.network, *theirs.networks), strict=True
    ):
        state = other.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in mine.state_dict().items())
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").open()]
    looks = {line["step"]: line["learned"] for line in lines if "learned" in line}
    assert looks.keys() == {3, 6}
    assert looks[3].keys() == {"blur_sigma", "noise_sigma"} and 2 < looks[3]["blur_sigma"] < 4
    # Measured from the second phase on, on the pairs that were given.
    measured = [line for line in lines if "validation" in line]
    assert [line["step"] for line in measured] == [6]
    for step, columns in ((3, 4), (6, 5)):
        with Image.open(tmp_path / "whole" / "degradation" / f"{step:08d}.png") as sheet:
            assert sheet.size == (columns * 96, 4 * 96)


def test_what_was_learned_is_told_though_the_sheet_cannot_be_written(
    photographs: Path, pairs: Path, tmp_path: Path
) -> None:
    recipe = tiny("phase.0.steps=2", "validation.every=1")
    run = trainer(recipe, tmp_path, photographs, pairs)
    (tmp_path / "degradation").touch()  # where the folder of the sheets is to be
    warnings: list[str] = []
    assert run.run(warn=warnings.append)
    assert len(warnings) == 1 and warnings[0].startswith("The sheets could not be written: ")
    told = [line["learned"] for line in read_log(tmp_path) if "learned" in line]
    assert len(told) == 2 and all(look.keys() == {"blur_sigma", "noise_sigma"} for look in told)


def test_low_quality_pictures_and_pairs_are_told(
    photographs: Path, pairs: Path, tmp_path: Path
) -> None:
    begun = "training: 4 pictures, 0.2 megapixels; low quality: 2 pictures, 0.0 megapixels"
    for val, measured in ((pairs, "; validation: 2 pairs"), (None, "")):
        said: list[str] = []
        run_session(
            *(tiny(), [photographs], val, tmp_path / str(val is None), CPU),
            options=Options(half=False, last_step=0),
            resume=False,
            tell=said.append,
            bar=lambda *_: None,
            low=[pairs / "LR"],
        )
        assert said[0] == begun + measured


def test_pairs_are_measured_as_they_are(pairs: Path) -> None:
    held_out = paired(pairs, 4, Validation(crop=96))
    assert held_out.lr.shape == (2, 3, 24, 24) and held_out.hr.shape == (2, 3, 96, 96)
    with Image.open(pairs / "HR" / "1.png") as hr, Image.open(pairs / "LR" / "1.png") as lr:
        for picture, found, scale in ((hr, held_out.hr, 4), (lr, held_out.lr * 255, 1)):
            left, top = (picture.width - 24 * scale) // 2, (picture.height - 24 * scale) // 2
            box = (left, top, left + 24 * scale, top + 24 * scale)
            wanted = torch.frombuffer(bytearray(picture.crop(box).tobytes()), dtype=torch.uint8)
            shown = found[1].round().byte().permute(1, 2, 0).flatten()
            assert torch.equal(shown, wanted)


def test_folders_without_pairs_are_explained(pairs: Path, photographs: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no pairs at x4.*HR and LR"):
        paired(photographs, 4, Validation())
    with pytest.raises(CorpusError, match="holds no pairs at x4"):
        paired(photographs / "nowhere", 4, Validation())
    with pytest.raises(CorpusError, match=r"is 40x36, which makes 80x72 at x2, but .* is 160x144"):
        paired(pairs, 2, Validation())
    with pytest.raises(CorpusError, match=r"No pair in .* has 64 low-resolution pixels"):
        paired(pairs, 4, Validation(crop=256))


def test_the_command_line_says_what_is_missing(
    program: Callable[..., Outcome], photographs: Path, tmp_path: Path
) -> None:
    alone = program("train", "pdm-sr-x4", "--data", photographs, "--out", tmp_path / "run")
    assert alone.status == 1 and "name one or more folders of them with --low DIR" in alone.err
    other = program("train", "dan-blur-x4", "--data", photographs, "--low", photographs)
    assert other.status == 2 and "--low" in other.err and "pdm-*" in other.err
    assert not (tmp_path / "run").exists()


def test_what_was_learned_degrades_pictures(
    program: Callable[..., Outcome], photographs: Path, pairs: Path, tmp_path: Path
) -> None:
    recipe = tiny("phase.0.steps=2", "phase.0.batch=2", "pdm.kernel_size=9", "network.scale=2")
    low = read_corpus([pairs / "LR"], 24)
    options = Options(half=False)
    corpus = read_corpus([photographs], 96)
    run = Trainer(recipe, corpus, None, tmp_path / "run", CPU, options, low)
    assert run.run() and run.learner.degradation is not None
    file = tmp_path / "run" / "degradation.safetensors"
    for folder in ("a", "b"):
        done = program("degrade", photographs, "-o", tmp_path / folder, "--degradation", file)
        assert done.status == 0, done.err
    with Image.open(tmp_path / "a" / "0.png") as first, Image.open(tmp_path / "b" / "0.png") as b:
        assert first.size == (110, 100) and first.tobytes() == b.tobytes()
        shown = torch.frombuffer(bytearray(first.tobytes()), dtype=torch.uint8)
    facts = json.loads((tmp_path / "a" / "0.json").read_text())
    assert facts["learned"] == file.name and facts["layout"] is None and facts["seed"] == 0
    # By hand: the network as it was trained, told the numbers that the seed draws.
    model = run.learner.degradation.model.eval()
    with Image.open(photographs / "0.png") as picture:
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    hr = pixels.view(200, 220, 3).permute(2, 0, 1)[None].float() / 255
    generator = torch.Generator().manual_seed(seed_for("0.png", 0))
    with torch.no_grad():
        lr, kernel, _ = model(hr, *model.draw(hr, generator))
    wanted = (lr[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).flatten()
    assert torch.equal(shown, wanted)
    torch.testing.assert_close(torch.tensor(facts["kernel"]), kernel[0], atol=1e-6, rtol=0)
    replayed = program(
        *("degrade", photographs / "0.png", "-o", tmp_path / "c"),
        *("--degradation", tmp_path / "a" / "0.json"),
    )
    assert replayed.status == 1 and "holds no degradation vector" in replayed.err
    other = program(
        *("degrade", photographs / "0.png", "-o", tmp_path / "d"),
        *("--degradation", tmp_path / "run" / "ema.safetensors"),
    )
    assert other.status == 1 and "holds no learned degradation" in other.err
