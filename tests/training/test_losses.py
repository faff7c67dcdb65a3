"""Every loss falls on one batch, and the fixed networks in them measure what they should."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.blur_only import BlurModel
from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.degradation.operators import blur
from sr_cli.degradation.two_stage import TwoStageModel
from sr_cli.metrics.perceptual import PerceptualDistance
from sr_cli.metrics.squeezenet import HEADS_FILE, layers
from sr_cli.networks.dan import DAN
from sr_cli.networks.unet_discriminator import UNetDiscriminator
from tests.conftest import scene
from tests.training.conftest import CPU, learner_of, one_picture
from training.crops import Cropper
from training.degradations import BlurDegrader, degrader
from training.feeder import Feeder
from training.initial import build_network
from training.losses import Objectives
from training.losses.adversary import Adversary, squares
from training.losses.estimate import EstimateLoss, Weighing
from training.losses.features import (
    VGG19,
    VGG19_COMPARED,
    VGG19_LAYERS,
    FeaturesError,
    Staggered,
    load_features,
)
from training.losses.objective import MetaRestoration, Restoration, root_mean_square
from training.losses.shape import ShapeLoss
from training.pool import Pairs
from training.recipe import RecipeError, load_recipe
from training.schema import Loss

NARROW = {
    "DAN": ["network.features=16", "network.blocks=2", "phase.0.iterations=2"],
    "EDSR": ["network.features=16", "network.blocks=2"],
    "DANv1": ["network.features=32", "network.blocks=2", "network.estimator_blocks=1"],
    "DANv2": ["network.features=16", "network.groups=1", "network.group_blocks=2"],
    "DSSR": ["network.features=16", "network.blocks=1", "network.refine_blocks=1"],
    "DMSR": ["network.features=16", "network.groups=1", "network.blocks=1"],
}


def overfit(name: str, changes: list[str], steps: int) -> list[dict[str, Tensor]]:
    """The terms at every step of learning one batch by heart."""
    family = load_recipe(name).network.family
    recipe = load_recipe(
        name, [*NARROW[family], "data.pool=0", "phase.0.batch=2", "phase.0.lr_crop=24", *changes]
    )
    learner, model = learner_of(recipe, CPU)
    learner.begin(recipe.phase[0])
    feeder = Feeder(one_picture(), model, recipe.data, 0, learner.processes)
    feeder.begin(recipe.phase[0], learner.objective.truth)
    pairs = feeder.next()
    return [learner.step(pairs, 2e-3) for _ in range(steps)]


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("dan-real-x4", ["loss.standardised=true"], {"l1", "vector"}),
        ("dan-blur-x4", [], {"l1", "vector"}),
        ("dan-blur-x4", ["loss.shape=0.1", "loss.standardised=true"], {"l1", "vector", "shape"}),
        ("edsr-blur-x4", [], {"l1"}),
        ("dan-real-x4", ["loss.l1=0", "loss.rmse=1", "loss.vector=0"], {"rmse"}),
        ("dan-real-x4", ["phase.0.trains='restorer'"], {"l1"}),
        ("edsr-blur-x4", ["optimiser.muon=1.0"], {"l1"}),
        ("danv1-iso-x4", ["network.kernel_size=11", "data.kernel=11"], {"l1", "vector"}),
        ("danv2-aniso-x2", [], {"l1", "vector"}),
        ("dssr-iso-x2", [], {"l1", "detail"}),
        ("dmsr-x2", [], {"l1", "reconstruction", "consistency"}),
    ],
)
def test_every_term_falls_on_one_batch(name: str, changes: list[str], expected: set[str]) -> None:
    history = overfit(name, changes, 40)
    assert history[0].keys() == expected | {"loss"}
    for term in expected | {"loss"}:
        first, last = history[0][term], history[-1][term]
        assert last < 0.6 * first, f"{term}: {first:.4f} to {last:.4f}"


def two_stage_vectors(count: int) -> Tensor:
    model = TwoStageModel(4)
    generator = torch.Generator().manual_seed(5)
    return torch.cat([model.sample(1, generator).vector() for _ in range(count)])


def test_numbers_count_only_where_they_apply() -> None:
    vectors = two_stage_vectors(200)
    weighing = Weighing(Loss(applying=True), TWO_STAGE, vectors)
    expected = torch.tensor([TWO_STAGE.applicable(row) for row in vectors.tolist()])
    assert torch.equal(weighing.applies(vectors).bool(), expected)
    assert not expected.all() and expected.any(0).all()
    assert Weighing(Loss(), TWO_STAGE, vectors).applies(vectors).all()


def test_every_number_counts_alike_over_the_degradation_model() -> None:
    vectors = two_stage_vectors(400)
    loss = Loss(standardised=True, applying=True)
    weighing = Weighing(loss, TWO_STAGE, vectors)
    applies = weighing.applies(vectors)
    means = (applies * vectors).sum(0) / applies.sum(0)
    assert (weighing.deviation != 1).all()
    estimate = EstimateLoss(loss, weighing)
    for index in range(42):
        guess = vectors.clone()
        guess[:, index] = means[index]  # what can be said without looking
        assert float(estimate(guess, vectors)) == pytest.approx(1 / 42, rel=1e-3)
    wrong = vectors + (1 - applies) * 7  # where nothing applies, anything may be said
    assert float(estimate(wrong, vectors)) == 0


def test_a_number_that_never_varies_is_left_as_it_is() -> None:
    vectors = two_stage_vectors(20)
    vectors[:, 3] = 0.5
    loss = Loss(standardised=True)
    weighing = Weighing(loss, TWO_STAGE, vectors)
    assert weighing.deviation[3] == 1
    guess = vectors.clone()
    guess[:, 3] += 0.2
    assert float(EstimateLoss(loss, weighing)(guess, vectors)) == pytest.approx(0.04 / 42)


def test_emphasised_numbers_count_as_often_as_is_said() -> None:
    vectors = two_stage_vectors(100)
    key = "stage2.jpeg_quality"
    index = next(p.index for p in TWO_STAGE.parameters if p.key == key)
    losses = []
    for options in (Loss(standardised=True), Loss(emphasised=(key,), emphasis=4.0)):
        guess = vectors.clone()
        guess[:, index] += 0.1
        losses.append(EstimateLoss(options, Weighing(options, TWO_STAGE, vectors))(guess, vectors))
    assert float(losses[1] / losses[0]) == pytest.approx(4.0, rel=1e-5)


def test_the_root_mean_square_weighs_crops_alike_and_halves_with_the_error() -> None:
    hr = torch.rand(2, 3, 16, 16)
    off = torch.tensor([0.1, 0.3]).view(2, 1, 1, 1)
    assert float(root_mean_square(hr + off, hr)) == pytest.approx(0.2, abs=1e-5)
    exact = hr.clone().requires_grad_()
    root_mean_square(exact, hr).backward()
    assert exact.grad is not None and not exact.grad.any()  # and no number that is none


@pytest.mark.parametrize("key", ["l1", "rmse"])
def test_a_term_of_the_picture_counts_as_much_as_is_said(key: str) -> None:
    hr = torch.rand(2, 3, 16, 16)
    for weight in (1.0, 4.0):
        changes = ["loss.l1=0", "loss.rmse=0", f"loss.{key}={weight}"]
        recipe = load_recipe("edsr-blur-x4", [*NARROW["EDSR"], *changes])
        model = degrader(recipe)
        objective = Objectives(recipe, build_network(recipe, model), model, CPU).of(recipe.phase[0])
        assert isinstance(objective, Restoration)
        (term,) = objective.picture(hr + 0.1, hr).items()
        assert term[0] == key and float(term[1]) == pytest.approx(0.1 * weight, rel=1e-4)


def test_the_perceptual_term_counts_as_much_as_is_said(features_folder: Path) -> None:
    features = load_features(Loss(features="squeezenet", features_folder=str(features_folder)))
    sr, hr = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    terms = Restoration(0.0, perceptual=4.0, features=features).picture(sr, hr)
    assert terms == {"perceptual": pytest.approx(4 * float(features.distance(sr, hr)))}


def test_the_shape_of_a_blur_is_the_root_of_its_kernels_second_moments() -> None:
    model = BlurModel(4)
    drawn = model.sample(20, torch.Generator().manual_seed(0))
    even = torch.full_like(drawn.unevenness, 0.5)
    drawn = replace(drawn, sigma_x=drawn.sigma_x.clamp(1, 3), unevenness=even)
    drawn = replace(drawn, sigma_y=drawn.sigma_y.clamp(1, 3))
    shape = ShapeLoss(1.0, BlurDegrader(model), 16, CPU)
    down, across, between = shape.of(model.vector(drawn)).double().unbind(1)
    kernels = model.kernels(drawn).double()
    place = torch.arange(31, dtype=torch.float64) - 15
    moments = {
        "down": (kernels.sum(2) * place**2).sum(1),
        "across": (kernels.sum(1) * place**2).sum(1),
        "between": (kernels * place.view(-1, 1) * place).sum((1, 2)),
    }
    torch.testing.assert_close(down**2 + between**2, moments["down"], rtol=1e-4, atol=0)
    torch.testing.assert_close(across**2 + between**2, moments["across"], rtol=1e-4, atol=0)
    torch.testing.assert_close(between * (down + across), moments["between"], rtol=0, atol=1e-3)


def test_who_knows_no_shape_is_off_by_its_deviation_and_who_knows_it_by_nothing() -> None:
    model = BlurModel(4)
    truth = model.vector(model.sample(4000, torch.Generator().manual_seed(1)))
    shape = ShapeLoss(3.0, BlurDegrader(model), 16, CPU)
    nothing = torch.zeros(len(truth), 16, 1, 1)
    assert float(shape([nothing], truth)) == pytest.approx(3.0, rel=0.1)
    numbers = shape.of(truth)
    known = (numbers - numbers.mean(0)) / numbers.std(0) @ shape.readout.T
    assert float(shape([known.view(-1, 16, 1, 1)], truth)) < 0.01
    both = shape([nothing, known.view(-1, 16, 1, 1)], truth)
    assert float(both) == pytest.approx(1.5, rel=0.1)


def test_the_shape_of_a_blur_cannot_be_read_from_two_numbers() -> None:
    with pytest.raises(ValueError, match=r"'loss.shape' needs .* 3 features"):
        ShapeLoss(1.0, BlurDegrader(BlurModel(4)), 2, CPU)


def test_the_shape_is_asked_for_after_every_iteration_and_of_the_estimator_alone() -> None:
    recipe = load_recipe("dan-blur-x4", [*NARROW["DAN"], "loss.shape=0.5", "loss.vector=0"])
    model = degrader(recipe)
    network = build_network(recipe, model)
    assert isinstance(network, DAN) and network.iterations == 2
    objective = Objectives(recipe, network, model, CPU).of(recipe.phase[0])
    truth = model.vector(model.sample(2, torch.Generator().manual_seed(0)))
    lr, hr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64)
    terms = objective(network, objective.forward(network), lr, hr, truth).terms
    terms["shape"].backward()
    first = network.describe(lr)
    last = network.unrolled(lr)[-1]
    shape = ShapeLoss(0.5, model, 16, CPU)
    expected = (shape([first], truth) + shape([last], truth)) / 2
    torch.testing.assert_close(terms["shape"], expected, rtol=1e-4, atol=0)
    reached = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
    assert "estimator" in reached and "restorer" not in reached and "image_tail" not in reached


def test_an_estimator_alone_is_asked_for_vector_and_shape() -> None:
    changes = ["loss.shape=0.5", "loss.vector=2.0", "phase.0.trains='estimator'"]
    recipe = load_recipe("dan-blur-x4", [*NARROW["DAN"], "phase.0.iterations=1", *changes])
    model = degrader(recipe)
    network = build_network(recipe, model)
    assert isinstance(network, DAN)
    objective = Objectives(recipe, network, model, CPU).of(recipe.phase[0])
    truth = model.vector(model.sample(2, torch.Generator().manual_seed(0)))
    lr, hr = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64)
    found = objective(network, objective.forward(network), lr, hr, truth)
    assert found.sr is None and found.terms.keys() == {"vector", "shape"}
    shape = ShapeLoss(0.5, model, 16, CPU)
    torch.testing.assert_close(found.terms["shape"], shape([network.describe(lr)], truth))
    error = 2.0 * F.mse_loss(network.estimate(lr), truth)
    torch.testing.assert_close(found.terms["vector"], error)


def test_a_shape_that_the_vector_does_not_tell_is_refused() -> None:
    for name in ("dan-real-x4", "edsr-blur-x4"):
        recipe = load_recipe(name, ["loss.shape=0.1"])
        model = degrader(recipe)
        with pytest.raises(RecipeError, match=r"loss\.shape"):
            Objectives(recipe, build_network(recipe, model), model, CPU)


def test_the_perceptual_term_falls_on_one_batch(features_folder: Path) -> None:
    changes = ["loss.features=squeezenet", f"loss.features_folder={features_folder}", "loss.gan=0"]
    history = overfit("dan-real-gan-x4", changes, 30)
    assert history[-1]["perceptual"] < 0.9 * history[0]["perceptual"]


def test_the_adversary_learns_to_tell_and_a_picture_learns_to_fool_it() -> None:
    torch.manual_seed(0)
    adversary = Adversary(UNetDiscriminator(8), 0.1, 1e-3, (0.9, 0.999))
    hr = torch.from_numpy(scene(32, 32)).permute(2, 0, 1).float().unsqueeze(0) / 255
    sr = F.avg_pool2d(hr, 9, 1, 4).requires_grad_()
    history: list[Tensor] = []
    for _ in range(60):
        adversary.forget()
        history.append(adversary.passes([(sr.detach(), hr)]))
        adversary.step(1e-3, lambda _: None)
    assert history[-1] < 0.7 * history[0]
    optimiser = torch.optim.Adam([sr], 1e-2)
    before = adversary.opinion(sr)
    for _ in range(30):
        optimiser.zero_grad()
        adversary.opinion(sr).backward()
        optimiser.step()
    assert adversary.opinion(sr) < 0.7 * before
    assert all(p.grad is None or not p.requires_grad for p in adversary.discriminator.parameters())


def test_the_adversary_sees_pictures_less_their_mean() -> None:
    torch.manual_seed(0)
    network = UNetDiscriminator(4).eval()
    sr, hr = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    plain, centred = (Adversary(network, 0.1, 1e-3, (0.9, 0.999), mean) for mean in (0.0, 0.5))
    assert torch.equal(centred.opinion(sr), plain.opinion(sr - 0.5))
    ours, theirs = centred.passes([(sr, hr)]), plain.passes([(sr - 0.5, hr - 0.5)])
    assert torch.equal(ours, theirs)
    assert not torch.equal(centred.opinion(sr), plain.opinion(sr))


def test_squared_errors_are_halved_and_zero_for_who_is_sure() -> None:
    class Sure(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.doubt = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2, 3)) + self.doubt

    made, real = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8)
    adversary = Adversary(Sure(), 0.5, 1e-3, (0.9, 0.999), measure=squares, halved=True)
    assert float(adversary.passes([(made, real)])) == 0
    assert float(adversary.opinion(made)) == 0.5  # as far from real as can be, half counted
    assert float(adversary.opinion(real)) == 0
    # Taken for each other: (1 + 1) / 2.
    assert float(adversary.passes([(real, made)])) == 1


def test_a_gan_recipe_trains_both_networks(features_folder: Path) -> None:
    narrow = ["loss.perceptual=0", "loss.discriminator_features=8"]
    history = overfit("dan-real-gan-x4", narrow, 30)
    assert history[0].keys() == {"loss", "l1", "vector", "gan", "discriminator"}
    assert history[-1]["l1"] < 0.6 * history[0]["l1"]
    # Twice the entropy of a coin: nobody can tell at first.
    assert history[0]["discriminator"] == pytest.approx(1.386, abs=0.05)


def test_the_squeezenet_loss_is_what_evaluate_measures(features_folder: Path) -> None:
    loss = load_features(Loss(features="squeezenet", features_folder=str(features_folder)))
    # Sides that no pooling divides without a rest.
    sr, hr = torch.rand(2, 3, 66, 61), torch.rand(2, 3, 66, 61)
    measured = PerceptualDistance(features_folder)(sr, hr).mean()
    assert loss.distance(sr, hr) == pytest.approx(float(measured), rel=1e-4)
    assert loss.distance(hr, hr) == 0


def test_squeezenets_layers_are_of_the_published_sizes() -> None:
    assert sum(p.numel() for p in layers().parameters()) == 722_496


def test_features_can_begin_their_grid_at_another_pixel_of_every_crop(
    features_folder: Path,
) -> None:
    options = Loss(features="squeezenet", features_folder=str(features_folder))
    plain, staggered = load_features(options), load_features(replace(options, feature_positions=2))
    assert isinstance(staggered, Staggered)
    sr, hr = torch.rand(6, 3, 49, 65), torch.rand(6, 3, 49, 65)
    cut = staggered.cut(sr)
    assert cut.shape == (6, 3, 48, 64)
    for number, (top, left) in enumerate([(0, 0), (1, 1), (1, 0), (0, 1), (0, 0), (1, 1)]):
        assert torch.equal(cut[number], sr[number, :, top : top + 48, left : left + 64])
    # Already as many crops as positions in a direction see the grid begin at every row and column.
    rows, columns = torch.meshgrid(torch.arange(52), torch.arange(52), indexing="ij")
    places = torch.stack([rows, columns]).expand(4, 2, 52, 52)
    four = Staggered(staggered.features, 4).cut(places)
    assert sorted(four[:, 0, 0, 0].tolist()) == sorted(four[:, 1, 0, 0].tolist()) == [0, 1, 2, 3]
    wanted = plain.distance(cut, staggered.cut(hr))
    assert staggered.distance(sr, hr) == pytest.approx(float(wanted), rel=1e-6)
    # A pattern of two pixels' period has a phase that the plain loss prefers; this one does not.
    flat = torch.full((4, 3, 65, 65), 0.5)
    stripes = flat + 0.05 * torch.tensor([1.0, -1.0]).repeat(33)[:65]
    there, moved = (
        [float(f.distance(pictures, flat)) for pictures in (stripes, 1 - stripes)]
        for f in (plain, staggered)
    )
    assert abs(moved[0] - moved[1]) < 0.1 * abs(there[0] - there[1])


def test_vgg19_takes_torchvisions_keys_and_gradients_reach_the_picture_only() -> None:
    widths = iter([64, 64, 128, 128, *[256] * 4, *[512] * 8])
    state, channels = {}, 3
    for number in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34):
        width = next(widths)
        state[f"features.{number}.weight"] = torch.randn(width, channels, 3, 3) * 0.02
        state[f"features.{number}.bias"] = torch.zeros(width)
        channels = width
    vgg = VGG19({**state, "classifier.0.weight": torch.zeros(1)})
    sr, hr = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32)
    vgg.distance(sr, hr).backward()
    assert sr.grad is not None and sr.grad.abs().sum() > 0
    assert all(p.grad is None for p in vgg.parameters())
    # By hand: the first compared feature, before its ReLU.
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)

    def conv1_2(x: Tensor) -> Tensor:
        x = F.conv2d((x - mean) / deviation, state["features.0.weight"], padding=1)
        return F.conv2d(F.relu(x), state["features.2.weight"], padding=1)

    found = VGG19(state, (0.1, 0.0, 0.0, 0.0, 0.0)).distance(sr, hr)
    by_hand = 0.1 * (conv1_2(sr.detach()) - conv1_2(hr)).abs().mean()
    assert torch.allclose(found, by_hand, rtol=1e-4)
    del state["features.34.bias"]
    with pytest.raises(FeaturesError, match=r"features\.34\.bias is missing"):
        VGG19(state)


def test_missing_features_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(FeaturesError, match="Install torchvision"):
        load_features(Loss())
    with pytest.raises(FeaturesError, match="needs the folder"):
        load_features(Loss(features="squeezenet"))
    with pytest.raises(FeaturesError, match=r"squeezenet1_1\.safetensors is not there"):
        load_features(Loss(features="squeezenet", features_folder=str(tmp_path)))
    with pytest.raises(FeaturesError, match="which is not there"):
        load_features(Loss(features_folder=str(tmp_path)))


def test_features_of_another_network_are_explained(features_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(features_folder, tmp_path, dirs_exist_ok=True)
    save_file({"lin0.model.1.weight": torch.zeros(1, 7, 1, 1)}, tmp_path / HEADS_FILE)
    with pytest.raises(FeaturesError, match=r"lin0\.model\.1\.weight is 1x7x1x1, not 1x64x1x1"):
        load_features(Loss(features="squeezenet", features_folder=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("dan-blur-x4", ["network.degradation_size=42"], "does not describe the degradation"),
        ("dan-blur-x4", ["data.degradation='isotropic'"], "does not describe the degradation"),
        ("danv2-iso-x4", ["data.kernel=11"], "estimates a kernel of 21x21"),
        ("danv2-iso-x4", ["data.degradation='blur'"], "estimates a kernel of 21x21"),
        ("danv2-iso-x4", ["data.degradation='two-stage'"], "estimates a kernel of 21x21"),
        (
            "danv1-iso-x4",
            ["loss.standardised=true"],
            "only vectors, as a DAN.s, can be standardised",
        ),
        ("edsr-blur-x4", ["loss.applying=true"], "only vectors, as a DAN.s, can be standardised"),
        (
            "edsr-blur-x4",
            ['loss.emphasised=["stage1.sigma_x"]'],
            "only vectors, as a DAN.s, can be standardised",
        ),
        ("dan-real-x4", ["loss.applying=true"], "need 'loss.standardised'"),
        ("dan-real-x4", ['loss.emphasised=["stage1.sigma_x"]'], "need 'loss.standardised'"),
        (
            "dan-real-x4",
            ["loss.standardised=true", 'loss.emphasised=["stage2.jpeg_qualty"]'],
            "no number 'stage2.jpeg_qualty'. Did you mean 'stage2.jpeg_quality'",
        ),
        ("edsr-blur-x4", ["loss.detail=1.0"], "'loss.detail' is for DSSR, not EDSR"),
    ],
)
def test_losses_that_do_not_fit_are_refused(name: str, changes: list[str], message: str) -> None:
    recipe = load_recipe(name, changes)
    network = build_network(recipe)
    with pytest.raises(RecipeError, match=message):
        Objectives(recipe, network, degrader(recipe), CPU)


def first_terms(name: str, *changes: str) -> tuple[Any, Pairs, dict[str, Tensor]]:
    """A network, a batch, and the terms of its loss before anything was learned."""
    family = load_recipe(name).network.family
    plain = ["data.pool=0", "phase.0.batch=2", "phase.0.lr_crop=24"]
    recipe = load_recipe(name, [*NARROW[family], *plain, *changes])
    learner, model = learner_of(recipe, CPU)
    learner.begin(recipe.phase[0])
    feeder = Feeder(one_picture(), model, recipe.data, 0, learner.processes)
    feeder.begin(recipe.phase[0], learner.objective.truth)
    pairs = feeder.next()
    hr, lr = pairs.hr.float() / 255, pairs.lr.float() / 255
    with torch.no_grad():
        found = learner.objective(learner.network, learner.forward, lr, hr, pairs.truth)
    return learner.network, pairs, found.terms


@pytest.mark.parametrize(
    ("name", "trains", "capturable"),
    [
        ("dan-real-x4", "all", True),
        ("dan-real-x4", "estimator", True),
        ("dan-real-x4", "restorer", True),
        ("dssr-iso-x2", "all", False),
    ],
)
def test_what_sends_something_to_the_device_is_in_no_graph(
    name: str, trains: str, capturable: bool
) -> None:
    changes = NARROW[load_recipe(name).network.family]
    recipe = load_recipe(name, [*changes, f"phase.0.trains={trains!r}"])
    model = degrader(recipe)
    objectives = Objectives(recipe, build_network(recipe, model), model, CPU)
    assert objectives.of(recipe.phase[0]).capturable is capturable


def test_dssr_learns_at_every_step() -> None:
    network, pairs, terms = first_terms("dssr-iso-x2", "loss.l1=2.0", "loss.detail=0.5")
    hr, lr = pairs.hr.float() / 255, pairs.lr.float() / 255
    with torch.no_grad():
        steps = list(network.iterate(lr))
        missing = hr - F.interpolate(lr, scale_factor=2, mode="bicubic", align_corners=False)
    assert len(steps) == 4
    pictures = sum(float((s - hr).abs().mean()) for _, s in steps)
    assert float(terms["l1"]) == pytest.approx(2.0 * pictures, rel=1e-5)
    details = sum(float((d - missing).abs().mean()) for d, _ in steps)
    assert float(terms["detail"]) == pytest.approx(0.5 * details, rel=1e-5)


def test_dmsr_is_told_kernel_and_noise_and_must_find_its_own_again() -> None:
    weights = {"l1": 2.0, "reconstruction": 3.0, "consistency": 0.5}
    changes = [f"loss.{key}={weight}" for key, weight in weights.items()]
    network, pairs, terms = first_terms("dmsr-x2", *changes)
    hr, lr = pairs.hr.float() / 255, pairs.lr.float() / 255

    def shrunk(kernel: Tensor) -> Tensor:
        return imresize(blur(hr, kernel.view(-1, 15, 15)), Fraction(1, 2))

    def apart(kernel: Tensor, other: Tensor) -> float:
        return float((kernel - other).square().sum()) / len(lr)  # a sum a kernel

    objective = MetaRestoration(**weights)
    for gain in (1.0, 8.0):  # with the greater one, another picture has another kernel
        with torch.no_grad():
            for parameter in network.extractor.blur.parameters():
                parameter *= gain
            noise, kernel = network.extractor(lr)
            simulated = shrunk(kernel) + noise
            noise_again, kernel_again = network.extractor(simulated)
            picture = float((network(lr)[0] - hr).abs().mean())
            found = objective(network, network, lr, hr, pairs.truth).terms
        known = float((noise - (lr - shrunk(pairs.truth))).square().mean())
        known += apart(kernel, pairs.truth)
        agreement = float((simulated - lr).square().mean() + (noise_again - noise).square().mean())
        agreement += apart(kernel_again, kernel)
        expected = {"l1": picture, "reconstruction": known, "consistency": agreement}
        for key, value in expected.items():
            assert float(found[key]) == pytest.approx(weights[key] * value, rel=1e-4)
            if gain == 1:
                assert float(terms[key]) == pytest.approx(float(found[key]), rel=1e-5)


def test_danv1_is_told_the_code_and_danv2_the_kernel() -> None:
    network, pairs, terms = first_terms("danv1-iso-x2", "network.kernel_size=11", "data.kernel=11")
    with torch.no_grad():
        code = network(pairs.lr.float() / 255)[1]
    wanted = pairs.truth @ network.encoder[0]
    assert wanted.abs().max() > 0.1
    assert float(terms["vector"]) == pytest.approx(float((code - wanted).abs().mean()), rel=1e-5)
    network, pairs, terms = first_terms("danv2-iso-x2")
    with torch.no_grad():
        kernel = network(pairs.lr.float() / 255)[1]
    error = float((kernel - pairs.truth).abs().mean())
    assert float(terms["vector"]) == pytest.approx(error, rel=1e-5)


def test_danv1s_codes_are_not_rounded_by_autocast() -> None:
    recipe = load_recipe("danv1-iso-x2", [*NARROW["DANv1"], "data.pool=0", "phase.0.batch=2"])
    learner, _ = learner_of(recipe, CPU)
    learner.begin(recipe.phase[0])
    kernel = torch.rand(2, 21 * 21, generator=torch.Generator().manual_seed(0))
    kernel /= kernel.sum(1, keepdim=True)
    seen: list[Tensor] = []
    objective = replace(learner.objective, estimate=lambda _, wanted: seen.append(wanted) or 0)
    hr = torch.zeros(2, 3, 48, 48)
    for half in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            objective(learner.network, learner.forward, hr[..., ::2, ::2], hr, kernel)
    assert seen[1].dtype is torch.float32 and torch.equal(*seen)


def test_vgg19_is_compared_where_and_as_much_as_published() -> None:
    names, block, number = {}, 1, 1
    layer = 0
    for width in VGG19_LAYERS:
        if width:
            names[layer] = f"conv{block}_{number}"
            layer, number = layer + 2, number + 1
        else:
            layer, block, number = layer + 1, block + 1, 1
    weights = dict(zip(VGG19_COMPARED, Loss().feature_weights, strict=True))
    compared = {names[layer]: weight for layer, weight in weights.items()}
    assert compared == {
        **{"conv1_2": 0.1, "conv2_2": 0.1},
        **{"conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0},
    }


def test_crops_of_one_picture_are_found_in_it() -> None:
    corpus = one_picture()
    cropper = Cropper(corpus, torch.Generator().manual_seed(0))
    windows = cropper.draw(4, 16)
    windows.turn.zero_()
    picture = torch.from_numpy(corpus.pictures[0])
    for crop, start in zip(cropper.cut(windows, 16), windows.start.tolist(), strict=True):
        top, left = divmod(start, 96)
        assert torch.equal(crop, picture[top : top + 16, left : left + 16].permute(2, 0, 1))
