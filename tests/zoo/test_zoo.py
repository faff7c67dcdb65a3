"""Models are found, verified and loaded, and what is wrong is said in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from sr_cli import networks
from sr_cli.degradation.layout import TWO_STAGE, blur_layout
from sr_cli.networks import registry
from sr_cli.networks.dan import DAN
from sr_cli.zoo import compact, manifest, store, weights
from sr_cli.zoo.hub import parse_reference
from sr_cli.zoo.loading import load
from sr_cli.zoo.manifest import DEFAULT_MODEL, HubFile, ZooError
from tests.conftest import TINY, Outcome, scene


def test_bundled_weights_are_what_the_manifest_says() -> None:
    for model in manifest.manifest().values():
        if model.weights is None or model.weights.bundled is None:
            continue
        path = Path(str(resources.files("sr_cli") / "weights" / model.weights.bundled))
        assert path.stat().st_size == model.weights.bytes
        assert store.sha256(path) == model.weights.sha256
        _, header = weights.read(path)
        assert json.loads(header["options"]) == dict(model.options)


def test_the_default_model_has_measured_skill_for_every_number() -> None:
    loaded = load(DEFAULT_MODEL)
    assert set(loaded.estimate) == {p.key for p in TWO_STAGE.parameters}
    for key, skill in loaded.estimate.items():
        assert -1 <= skill["correlation"] <= 1 and skill["error"] >= 0, key
    assert sum(p.numel() for p in loaded.network.parameters()) == 1_954_007


def test_loading_returns_what_was_saved(tiny_weights: Path) -> None:
    torch.manual_seed(0)
    saved = DAN(**TINY).state_dict()  # type: ignore[arg-type]
    loaded = load(str(tiny_weights)).network.state_dict()
    assert saved.keys() == loaded.keys()
    for key, value in saved.items():
        large = value.numel() >= compact.SMALLEST
        assert torch.equal(value.half().float() if large else value, loaded[key])


def test_what_filters_make_of_flat_ground_is_kept(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"features": 32, "blocks": 1}
    network = DAN(**options).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        head = network.image_head.weight
        head.mul_(64).sub_(head.mean((1, 2, 3), keepdim=True))
    sums = head.detach().double().sum((1, 2, 3))
    assert (head.detach().half().double().sum((1, 2, 3)) - sums).abs().max() > 1e-3
    for write in (weights.write, weights.write_compact):
        write(tmp_path / "w.safetensors", network.state_dict(), "DAN", options)
        loaded = load(str(tmp_path / "w.safetensors")).network.state_dict()
        assert torch.equal(loaded["image_head.weight"].double().sum((1, 2, 3)), sums)
        half = torch.float16 if write is weights.write else torch.int8
        with safe_open(tmp_path / "w.safetensors", "pt") as file:
            kinds = {str(file.get_tensor(name).dtype) for name in file.keys()}  # noqa: SIM118
        assert kinds == {"torch.float32", str(half)}


def test_a_header_tells_the_iterations_that_shapes_cannot(tmp_path: Path) -> None:
    options = TINY | {"iterations": 2}
    path = tmp_path / "two.safetensors"
    weights.write(path, DAN(**options).state_dict(), "DAN", options)  # type: ignore[arg-type]
    assert load(str(path)).network.iterations == 2


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(ZooError, match="Did you mean dan-real-x4"):
        load("dan-reel-x4")
    with pytest.raises(ZooError, match="See `sr-cli models list`"):
        load("qqqqqqqq")


def test_the_same_weights_are_written_as_the_same_bytes(tmp_path: Path) -> None:
    network = DAN(**TINY)  # type: ignore[arg-type]
    facts = {f"fact{n}": "as long as any other" for n in range(6)}
    for name in ("a", "b"):
        weights.write(tmp_path / name, network.state_dict(), "DAN", TINY, **facts)
    written = (tmp_path / "a").read_bytes()
    assert (tmp_path / "b").read_bytes() == written
    start = 8 + int.from_bytes(written[:8], "little")
    assert start % 8 == 0 and len(written) > start
    (tmp_path / "a.safetensors").write_bytes(written)
    _, header = weights.read(tmp_path / "a.safetensors")
    assert list(header) and header == {**facts, "network": "DAN", "options": json.dumps(TINY)}


def test_a_changed_weights_file_is_refused_with_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = manifest.find(DEFAULT_MODEL)
    assert model.weights is not None and model.weights.bundled is not None
    original = Path(str(resources.files("sr_cli") / "weights" / model.weights.bundled))
    broken = tmp_path / "weights" / model.weights.bundled
    broken.parent.mkdir()
    broken.write_bytes(original.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(store.resources, "files", lambda _: tmp_path)
    with pytest.raises(ZooError, match=store.sha256(broken)):
        store.locate(model)


def test_files_that_are_no_weights_are_named(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(ZooError, match="is no safetensors file"):
        load(str(text))
    with pytest.raises(ZooError, match="no weights file"):
        load(str(tmp_path / "missing.safetensors"))
    other = tmp_path / "other.safetensors"
    from safetensors.torch import save_file

    save_file({"conv_first.weight": torch.zeros(3)}, other)
    with pytest.raises(ZooError, match="RRDB is the nearest"):
        load(str(other))


def test_a_reference_to_the_hub_must_be_whole() -> None:
    with pytest.raises(ZooError, match="hf:owner/repo/file"):
        load("hf:owner/file.pth")


def test_a_reference_names_repository_file_and_revision() -> None:
    whole = parse_reference("hf:some-1/repo.v2/dir/net_g.pth@refs/pr/1")
    assert whole == HubFile("some-1/repo.v2", "dir/net_g.pth", "refs/pr/1")
    assert str(whole) == "hf:some-1/repo.v2/dir/net_g.pth@refs/pr/1"
    branch = parse_reference("hf:some/repo/net.pth")
    assert branch == HubFile("some/repo", "net.pth", None) and str(branch) == "hf:some/repo/net.pth"
    for text in ("net.pth@", "net.pth@a@b", "../net.pth", "a/./net.pth", "a//net.pth", "a/", ""):
        with pytest.raises(ZooError, match="is not of the form"):
            parse_reference(f"hf:some/repo/{text}")


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("DAN", {"features": 8, "blocks": 2, "block": "rrdb", "estimator": "large"}),
        ("DAN", {"features": 8, "blocks": 2, "scale": 3}),
        ("DAN", {"features": 8, "blocks": 2, "scale": 2, "degradation_size": 8}),
        ("DANv1", {"features": 32, "blocks": 2, "estimator_blocks": 1, "iterations": 2}),
        ("DANv2", {"features": 8, "groups": 1, "group_blocks": 2, "iterations": 1}),
        ("DMSR", {"features": 16, "groups": 1, "blocks": 1, "scale": 3}),
        ("DSSR", {"features": 8, "blocks": 1, "refine_blocks": 1, "iterations": 3}),
        ("EDSR", {"features": 8, "blocks": 1, "residual_scale": 0.5, "style": "published"}),
        ("RRDB", {"features": 8, "blocks": 1, "growth": 4, "scale": 2, "unshuffle": 2}),
    ],
)
def test_every_family_returns_as_it_was_saved(
    tmp_path: Path, network: str, options: dict[str, object]
) -> None:
    family = registry.family(network)
    saved = family.build(**options).eval()
    path = tmp_path / "net.safetensors"
    weights.write_exact(path, saved.state_dict(), network, options)
    loaded = load(str(path))
    assert (loaded.scale, loaded.estimate) == (saved.scale, {})
    assert (loaded.layout is None) == (family.estimates != "vector")
    assert not loaded.network.training
    picture = torch.rand(1, 3, 12, 16)
    with torch.inference_mode():
        assert torch.equal(loaded.network(picture)[0], saved(picture)[0])


def test_loaded_networks_are_their_own(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    network = registry.family("EDSR").build(features=8, blocks=1)
    weights.write_exact(path, network.state_dict(), "EDSR", {"features": 8, "blocks": 1})
    loaded = load(str(path)).network
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded.state_dict()["head.weight"], network.state_dict()["head.weight"])


def test_other_kinds_of_files_are_told_apart_from_names(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"x")
    with pytest.raises(ZooError, match=r"not a kind of weights file .*\.safetensors"):
        load(str(path))


def test_models_without_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = next(m for m in manifest.manifest().values() if m.weights is None)
    monkeypatch.setattr(store, "has_recipe", lambda name: True)
    with pytest.raises(ZooError, match=f"no released weights yet.*sr-cli train {model.recipe}"):
        load(model.name)
    # Of these two only the former learns from low-quality pictures of the user's own.
    learned, plain = (store.how_to_get(manifest.find(name)) for name in ("pdm-sr-x4", "dmsr-x2"))
    assert "--data DIR --low DIR`" in learned and "--data DIR`" in plain
    monkeypatch.setattr(store, "has_recipe", lambda name: False)
    with pytest.raises(ZooError, match=r"no recipe for it yet either.*--model FILE"):
        load(model.name)


def test_recipes_are_found_without_reading_them() -> None:
    from training.recipe import recipe_names

    assert all(store.has_recipe(name) for name in recipe_names())
    assert not store.has_recipe("dan-real-x5")


TOY = """
from torch import nn
from torch.nn import functional as F

from sr_cli.networks.family import Family
from sr_cli.networks.stages import SuperResolver


class Toy(SuperResolver):
    def __init__(self, scale=2):
        super().__init__()
        self.scale = scale
        self.tint = nn.Conv2d(3, 3, 1)

    def forward(self, lr):
        return F.interpolate(self.tint(lr), scale_factor=self.scale), None


def detect(state):
    return {"scale": 2} if set(state) == {"tint.weight", "tint.bias"} else None


FAMILY = Family("Toy", Toy, detect, dict, ("tint.weight", "tint.bias"))
"""


def test_a_new_network_needs_one_file_and_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Callable[..., Outcome]
) -> None:
    # The file ...
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(networks, "__path__", [*networks.__path__, str(tmp_path)])
    monkeypatch.setattr(registry, "FAMILIES", tuple(registry._families()))
    path = tmp_path / "weights" / "toy-x2.safetensors"
    path.parent.mkdir()
    toy = registry.family("Toy").build()
    weights.write(path, toy.state_dict(), "Toy", {"scale": 2})
    # ... and the entry.
    document = json.loads(manifest._text())
    document["models"].append(
        document["models"][0]
        | {"name": "toy-x2", "aliases": [], "network": "Toy", "options": {"scale": 2}, "scale": 2}
        | {"tiling": "blended", "degradation": None, "ranges": {}, "figures": [], "estimate": {}}
        | {
            "weights": {
                "bundled": path.name,
                "hub": None,
                "sha256": store.sha256(path),
                "bytes": path.stat().st_size,
                "numbers_sha256": weights.digest(toy.state_dict()),
            }
        }
    )
    everything = manifest.parse(json.dumps(document))
    monkeypatch.setattr(manifest, "manifest", lambda: everything)
    monkeypatch.setattr(store.resources, "files", lambda _: tmp_path)

    assert "toy-x2" in program("models", "list", "toy*").out
    Image.fromarray(scene(9, 11)).save(tmp_path / "photo.png")
    done = program("upscale", tmp_path / "photo.png", "--model", "toy-x2")
    assert done.status == 0, done.err
    assert Image.open(tmp_path / "photo_x2.png").size == (22, 18)
    assert load(str(path)).network.scale == 2


@pytest.mark.parametrize(("scale", "radius"), [(2, 5), (3, None), (4, 15)])
def test_a_blurs_numbers_are_known_at_the_scales_that_kernels_are_published_for(
    scale: int, radius: int | None, tmp_path: Path
) -> None:
    options = {"features": 8, "blocks": 2, "scale": scale, "degradation_size": 8}
    state = registry.family("DAN").build(**options).state_dict()
    weights.write_exact(path := tmp_path / "net.safetensors", state, "DAN", options)
    layout = load(str(path)).layout
    if radius is None:
        assert layout is None
    else:
        assert layout == blur_layout(radius)


@pytest.mark.parametrize("model", [m for m in manifest.manifest().values() if m.weights])
def test_the_manifest_knows_the_numbers_of_bundled_files(model: manifest.Model) -> None:
    assert model.weights is not None
    loaded = load(model.name)
    assert loaded.digest == model.weights.numbers_sha256
    if model.degradation == "blur":  # whose numbers depend on how large the kernels are
        assert loaded.layout is not None
        radius = next(p.low for p in loaded.layout.parameters if p.key == "stage1.radius")
        assert (2 * radius + 1,) * 2 == model.ranges["kernel"]
