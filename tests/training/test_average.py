"""Weights are averaged tensor by tensor, and only where they are of one network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sr_cli.networks.dan import DAN
from sr_cli.zoo import weights
from training.average import main, mean

OPTIONS = {"features": 8, "blocks": 1}


def _written(path: Path, seed: int, **options: int) -> DAN:
    torch.manual_seed(seed)
    network = DAN(**{**OPTIONS, **options})
    state = network.state_dict()
    facts = {"recipe": "some", "step": str(seed), "seconds": str(seed)}
    weights.write_exact(path, state, "DAN", {**OPTIONS, **options}, **facts)
    return network


def test_the_mean_of_two_files_is_written_with_the_first_ones_header(tmp_path: Path) -> None:
    a, b, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "out.safetensors"
    one, two = _written(a, 0).state_dict(), _written(b, 1).state_dict()
    main([str(a), str(b), "--out", str(out)])
    found, header = weights.read(out)
    of_one_run = {"step", "seconds"}
    assert header.items() == {(k, v) for k, v in weights.read(a)[1].items() if k not in of_one_run}
    for name, value in found.items():
        assert torch.allclose(value, (one[name] + two[name]) / 2, atol=1e-6), name


def test_half_precision_is_averaged_in_float32() -> None:
    states = [{"w": torch.tensor([1.0, x], dtype=torch.float16)} for x in (1.0, 1.0 + 2**-10)]
    assert mean(states)["w"].tolist() == [1.0, 1.0 + 2**-11]


def test_whole_numbers_stay_what_they_are() -> None:
    assert mean([{"steps": torch.tensor(3)}, {"steps": torch.tensor(4)}])["steps"].item() == 3


@pytest.mark.parametrize("options", [{"features": 16}, {"blocks": 2}])
def test_other_networks_are_refused_by_the_tensor(
    tmp_path: Path, options: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    _written(a, 0)
    _written(b, 1, **options)
    with pytest.raises(SystemExit) as stop:
        main([str(a), str(b), "--out", str(tmp_path / "out.safetensors")])
    assert stop.value.code == 2
    assert "is not in all of them" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_weights_for_other_iterations_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    _written(a, 0, iterations=1)
    _written(b, 1, iterations=3)
    with pytest.raises(SystemExit):
        main([str(a), str(b), "--out", str(tmp_path / "out.safetensors")])
    assert "other iterations" in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none.safetensors"), "--out", str(tmp_path / "out.safetensors")])
    assert "none.safetensors" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _written(tmp_path / "a.safetensors", 0)
    with pytest.raises(SystemExit):
        main([str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "none" / "b.safetensors")])
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"), [("precious.png", "must end in"), ("precious.safetensors", "is there")]
)
def test_no_file_is_lost_to_a_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    a, out = tmp_path / "a.safetensors", tmp_path / name
    _written(a, 0)
    out.write_text("precious")
    with pytest.raises(SystemExit):
        main([str(a), "--out", str(out)])
    assert words in capsys.readouterr().err and out.read_text() == "precious"


def test_a_mean_replaces_what_it_is_told_to(tmp_path: Path) -> None:
    a, out = tmp_path / "a.safetensors", tmp_path / "out.safetensors"
    one = _written(a, 0).state_dict()
    out.write_text("an older one")
    main([str(a), "--out", str(out), "--overwrite"])
    assert weights.read(out)[0].keys() == one.keys()


def test_shares_say_how_much_each_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, out = tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "out.safetensors"
    one, two = _written(a, 0).state_dict(), _written(b, 1).state_dict()
    main([str(a), str(b), "--shares", "1", "3", "--out", str(out)])
    for name, value in weights.read(out)[0].items():
        assert torch.allclose(value, one[name] / 4 + two[name] * 3 / 4, atol=1e-6), name
    for wrong, message in (
        (["1"], "one for each"),
        (["0", "0"], "all be zero"),
        (["1", "nan"], "below zero"),
    ):
        with pytest.raises(SystemExit):
            main([str(a), str(b), "--shares", *wrong, "--out", str(tmp_path / "none.safetensors")])
        assert message in capsys.readouterr().err
