"""What a file says of itself, and files that are not what they should be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.export import making
from sr_cli.inference.errors import InferenceError
from sr_cli.inference.onnx_file import OnnxFile, read
from sr_cli.networks.dan import DAN
from sr_cli.zoo import store, weights
from sr_cli.zoo.manifest import find
from tests.conftest import Outcome
from tests.export.conftest import SKILL, source


def test_a_file_tells_everything(file: OnnxFile, path: Path) -> None:
    facts = read(path).facts
    assert facts == file.facts
    assert (facts.model, facts.scale, facts.precision) == ("made-here", 4, "fp32")
    assert (facts.weights_sha256, facts.licence) == ("5" * 64, "Apache-2.0")
    assert facts.layout is not None
    assert facts.layout.decode([0.3] * 42) == TWO_STAGE.decode([0.3] * 42)
    assert facts.layout.applicable([1.0] * 42) == TWO_STAGE.applicable([1.0] * 42)
    assert facts.estimate == SKILL
    assert facts.steps[-1].output == "sr"


def foreign(model: ModelProto) -> None:
    model.producer_name = "somebody else"


def without_metadata(model: ModelProto) -> None:
    del model.metadata_props[:]


def saying(**changed: str) -> Callable[[ModelProto], None]:
    """A file whose metadata say something else."""

    def change(model: ModelProto) -> None:
        helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | changed)

    return change


def with_step(**changed: object) -> Callable[[ModelProto], None]:
    """A file that says something else of its last step."""

    def change(model: ModelProto) -> None:
        steps = json.loads(next(p.value for p in model.metadata_props if p.key == "stages"))
        steps[-1] |= changed
        saying(stages=json.dumps(steps))(model)

    return change


def with_number(**changed: object) -> Callable[[ModelProto], None]:
    """A file that says something else of the first number that it estimates."""

    def change(model: ModelProto) -> None:
        told = json.loads(next(p.value for p in model.metadata_props if p.key == "degradation"))
        told["numbers"][0] |= changed
        saying(degradation=json.dumps(told))(model)

    return change


def old_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 11


def future_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 99


def future_ir(model: ModelProto) -> None:
    model.ir_version = 99


def outside_weights(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def broken_graph(model: ModelProto) -> None:
    del model.graph.node[3:]


SPOILT: dict[str, tuple[Callable[[ModelProto], None], str]] = {
    "foreign": (foreign, "not an ONNX file of this program"),
    "newer": (saying(format="2"), "made by a newer sr-cli"),
    "without metadata": (without_metadata, "is damaged"),
    "format": (saying(format="first"), "is damaged"),
    "precision": (saying(precision="fp8"), "is damaged"),
    "scale of no number": (saying(scale="four"), "is damaged"),
    "scale 0": (saying(scale="0"), "is damaged"),
    "other scale": (saying(scale="2"), "is damaged"),
    "stages of no JSON": (saying(stages="{]"), "is damaged"),
    "stages of other JSON": (saying(stages="7"), "is damaged"),
    "deep JSON": (saying(stages="[" * 100_000), "is damaged"),
    "stride 0": (with_step(stride=0), "is damaged"),
    "half a halo": (with_step(halo=0.5), "is damaged"),
    "kind": (with_step(kind="sum"), "is damaged"),
    "scale of a step": (with_step(scale=3), "is damaged"),
    "vector of other JSON": (saying(degradation="[1]"), "is damaged"),
    "short vector": (saying(degradation='{"layout": "x", "numbers": []}'), "is damaged"),
    "name of a number": (with_number(name="blur"), "is damaged"),
    "range of a number": (with_number(low="wide"), "is damaged"),
    "condition of a number": (with_number(applies={"sunny": True}), "is damaged"),
    "skill of a number": (with_number(skill={"correlation": 1.0}), "is damaged"),
    "old opset": (old_opset, "is of opset 11"),
    "future opset": (future_opset, "cannot run"),
    "future ir": (future_ir, "cannot run"),
    "outside weights": (outside_weights, "keeps weights in other files"),
    "broken graph": (broken_graph, "is damaged"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_file_gives_one_sentence(
    name: str, path: Path, tmp_path: Path, program: Callable[..., Outcome]
) -> None:
    spoil, words = SPOILT[name]
    model = onnx.load(path)
    spoil(model)
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(model.SerializeToString())
    _complains(program, wrong, words)


@pytest.mark.parametrize("name", [b"degradation_vector", b"lr", b"Conv", b"LeakyRelu"])
@pytest.mark.parametrize("other", [b"z", b"\xff"])
def test_names_that_lead_nowhere_or_are_no_text_give_one_sentence(
    name: bytes, other: bytes, path: Path, tmp_path: Path, program: Callable[..., Outcome]
) -> None:
    content = path.read_bytes()
    field = bytes([len(name)]) + name  # as protobuf writes it
    wrong = tmp_path / "wrong.onnx"
    place = content.index(field) + len(field) - 1
    wrong.write_bytes(content[:place] + other + content[place + 1 :])
    _complains(program, wrong, "")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_file_gives_one_sentence(
    share: float, path: Path, tmp_path: Path, program: Callable[..., Outcome]
) -> None:
    content = path.read_bytes()
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(content[: int(share * len(content))])
    _complains(program, wrong, "")


def test_a_picture_called_onnx_gives_one_sentence(
    tmp_path: Path, program: Callable[..., Outcome]
) -> None:
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    _complains(program, wrong, "")


def _complains(program: Callable[..., Outcome], wrong: Path, words: str) -> None:
    picture = Path(__file__).parents[2] / "docs" / "images" / "kitten.png"
    outcome = program("estimate-degradation", picture, "--model", wrong)
    assert outcome.status == 1
    assert outcome.out == ""
    # Some of a graph is looked at only when a picture comes to it.
    assert outcome.err.startswith(("sr-cli: ", f"{picture}: ")) and words in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert "internal error" not in outcome.err


def test_a_missing_file_and_other_wishes_give_one_sentence(
    path: Path, program: Callable[..., Outcome]
) -> None:
    for arguments, words in (
        (("--model", "nowhere.onnx"), "There is no file nowhere.onnx"),
        (("--model", path, "--precision", "int8"), "computes in fp32"),
        (("--model", path, "--backend", "torch"), "torch does not run ONNX files"),
        (("--model", path, "--device", "mps"), "not on 'mps'"),
        (("--model", path, "--device", "cuda:77"), "not usable here"),
    ):
        outcome = program("upscale", "any.png", *arguments)
        assert (outcome.status in (1, 2) and words in outcome.err) or "any.png" in outcome.err


def test_an_opset_out_of_range_is_refused(network: DAN, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def unrolled(_: object, opset: int) -> None:
        asked.append(opset)
        raise InferenceError("asked")

    monkeypatch.setattr(making, "unrolled", unrolled)
    for opset in (17, 18, 23, 24):
        with pytest.raises(InferenceError, match="asked" if 18 <= opset <= 23 else "from 18 to 23"):
            making.made(source(network), opset=opset)
    assert asked == [18, 23]


def test_another_precision_is_refused(file: OnnxFile) -> None:
    with pytest.raises(InferenceError, match="not in bf16"):
        making.converted(file, "bf16")


def test_weights_are_told_by_their_file_and_their_licence_by_their_numbers(
    tiny_weights: Path, tmp_path: Path
) -> None:
    model = find("dan-blur-x4")
    assert model.weights is not None
    named = making.source("dan-blur-x4")
    assert (named.sha256, named.licence) == (model.weights.sha256, model.licence)
    plain = tmp_path / "plain.safetensors"
    weights.write_exact(plain, named.loaded.network.state_dict(), "DAN", model.options)
    same, other = making.source(str(plain)), making.source(str(tiny_weights))
    assert (same.sha256, same.licence) == (store.sha256(plain), model.licence)
    assert (other.sha256, other.licence) == (store.sha256(tiny_weights), None)
