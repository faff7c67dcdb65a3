"""Pictures become crops, crops become pairs, and pairs are mixed."""

from __future__ import annotations

import errno
import itertools
import os
import struct
import tracemalloc
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sr_cli.degradation.bicubic import imresize
from sr_cli.degradation.kernels import disturb
from sr_cli.degradation.layout import TWO_STAGE
from sr_cli.images import read
from tests.conftest import Outcome, scene
from training.corpus import Corpus, CorpusError, _batches, read_corpus
from training.crops import Cropper
from training.degradations import (
    NARROWEST,
    UPWARDS,
    GaussianDegrader,
    degrader,
    principal_components,
)
from training.feeder import Feeder, window
from training.pool import Pairs, Pool
from training.processes import Processes
from training.recipe import load_recipe
from training.tensors import part


def test_unusable_pictures_are_counted_and_empty_folders_refused(tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    Image.fromarray(scene(100, 120)).save(tmp_path / "deep" / "deeper" / "good.png")
    Image.fromarray(scene(50, 100)).save(tmp_path / "small.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    whole = (tmp_path / "deep" / "deeper" / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    corpus = read_corpus([tmp_path], 64)
    assert (corpus.names, corpus.unreadable, corpus.too_small) == (("good.png",), 2, 1)
    assert np.array_equal(corpus.pictures[0], scene(100, 120))
    with pytest.raises(CorpusError, match="1 unreadable, 3 smaller than 256"):
        read_corpus([tmp_path], 256)
    with pytest.raises(CorpusError, match="not a folder"):
        read_corpus([tmp_path / "missing"], 64)


def test_what_runs_draw_is_not_learned_from(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a" / "strips").mkdir(parents=True)
    (tmp_path / "strips").mkdir()
    for place in (tmp_path, tmp_path / "strips", tmp_path / "runs" / "a" / "strips"):
        Image.fromarray(scene(100, 120)).save(place / f"{place.name}.png")
    assert read_corpus([tmp_path], 64).files == 3
    (tmp_path / "runs" / "a" / "log.jsonl").touch()
    assert read_corpus([tmp_path], 64).files == 2


def test_what_memory_does_not_hold_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(scene(100, 120)).save(tmp_path / "a.png")
    assert not read_corpus([tmp_path], 64).mapped
    monkeypatch.setattr("training.corpus.free_memory", lambda _: 50_000)
    corpus = read_corpus([tmp_path], 64, memory=16.0)
    assert corpus.mapped and np.array_equal(corpus.pictures[0], scene(100, 120))


def test_what_is_no_photograph_is_not_decoded_whatever_its_name_is(tmp_path: Path) -> None:
    """PostScript is a program, and its decoder runs it."""
    Image.fromarray(scene(100, 120)).save(tmp_path / "good.png")
    Image.fromarray(scene(100, 120)).save(tmp_path / "program.png", "EPS")
    corpus = read_corpus([tmp_path], 64)
    assert (corpus.names, corpus.unreadable) == (("good.png",), 1)


def test_a_picture_that_makes_its_decoder_stumble_is_counted(tmp_path: Path) -> None:
    Image.fromarray(scene(100, 120)).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    end = whole.index(b"IEND") - 4
    empty = struct.pack(">I4sI", 0, b"iCCP", zlib.crc32(b"iCCP"))
    (tmp_path / "odd.png").write_bytes(whole[:end] + empty + whole[end:])
    Image.fromarray(np.full((100, 120), 0.5, np.float32)).save(tmp_path / "fractions.tif")
    corpus = read_corpus([tmp_path], 64)
    assert (corpus.names, corpus.unreadable) == (("good.png",), 2)


def test_what_transparency_hides_is_not_learned_from(tmp_path: Path) -> None:
    rgba = np.full((40, 48, 4), (10, 20, 30, 255), np.uint8)
    rgba[8:24, 8:24] = (255, 0, 255, 0)
    Image.fromarray(rgba).save(tmp_path / "cut.png")
    palette = Image.fromarray(rgba[..., :3]).quantize(2)
    hidden = palette.getpixel((10, 10))
    palette.save(tmp_path / "palette.png", transparency=hidden)
    found = read_corpus([tmp_path], 40)
    assert found.files == 2
    for picture in found.pictures:
        assert (picture == np.array((10, 20, 30))).all()


def test_a_full_disk_under_a_mapped_corpus_is_said(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with pytest.raises(CorpusError, match=r"cannot hold them \(No space left"):
        read_corpus([photographs], 64, memory=1e-4)


def test_few_large_pictures_are_decoded_side_by_side() -> None:
    sizes = {Path(str(number)): size for number, size in enumerate((150, 150, 150, 900, 1, 1))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.corpus.BYTES_AT_ONCE", 400)
        patch.setattr("training.corpus.AT_ONCE", 2)
        found = [[path.name for path in some] for some in _batches(sizes)]
    assert found == [["0", "1"], ["2"], ["3"], ["4", "5"]]


def test_the_program_says_what_is_wrong_with_a_folder(
    program: Callable[..., Outcome], tmp_path: Path
) -> None:
    empty = program("train", "dan-blur-x4", "--data", tmp_path)
    assert empty.status == 1 and "No usable picture" in empty.err
    assert "kinds" not in empty.err
    (tmp_path / "raw.NEF").touch()
    raws = program("train", "dan-blur-x4", "--data", tmp_path)
    assert raws.status == 1 and ", 1 of kinds that are not read)" in raws.err
    Image.fromarray(scene(100, 120)).save(tmp_path / "small.png")
    small = program("train", "dan-blur-x4", "--data", tmp_path)
    assert small.status == 1 and "1 smaller than 192 pixels" in small.err
    nothing = program("train", "dan-blur-x4")
    assert nothing.status == 1 and "--data DIR" in nothing.err


def test_a_corpus_larger_than_memory_is_mapped_and_the_same(photographs: Path) -> None:
    inside, outside = read_corpus([photographs], 64), read_corpus([photographs], 64, memory=1e-4)
    assert outside.mapped and not inside.mapped
    assert torch.equal(inside.pixels, outside.pixels)
    crops = [
        (c := Cropper(corpus, torch.Generator().manual_seed(0))).cut(c.draw(4, 32), 32)
        for corpus in (inside, outside)
    ]
    assert torch.equal(*crops)


def test_pictures_are_there_shrunk_too_where_a_crop_still_fits(tmp_path: Path) -> None:
    whole = scene(128, 160)
    Image.fromarray(whole).save(tmp_path / "large.png")
    Image.fromarray(scene(70, 90)).save(tmp_path / "small.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    corpus = read_corpus([tmp_path], 60, shrunk=(0.75, 0.5))
    assert corpus.names == ("large.png", "large.png", "large.png", "small.png")
    assert corpus.shapes == ((128, 160), (96, 120), (64, 80), (70, 90))
    assert corpus.sizes == (1.0, 0.75, 0.5, 1.0) and corpus.files == 2
    assert (corpus.unreadable, corpus.too_small) == (1, 0)
    half = np.asarray(Image.fromarray(whole).resize((80, 64), Image.Resampling.LANCZOS))
    assert np.array_equal(corpus.pictures[0], whole) and np.array_equal(corpus.pictures[2], half)


def test_a_picture_is_drawn_as_often_shrunk_as_whole() -> None:
    values = torch.cat([torch.full((20 * 20, 3), 10), torch.full((10 * 10, 3), 200)])
    shapes, offsets = ((20, 20), (10, 10)), (0, 400)
    corpus = Corpus(
        values.byte(), shapes, offsets, ("a.png", "a.png"), (), 0, False, sizes=(1.0, 0.5)
    )
    cropper = Cropper(corpus, torch.Generator().manual_seed(0))
    crops = cropper.cut(cropper.draw(2000, 8), 8)
    assert (crops == 200).float().mean() == pytest.approx(0.5, abs=0.05)


def test_a_file_is_drawn_as_often_as_it_has_pixels_however_many_sizes_fit() -> None:
    sides = (20, 10, 20)
    values = torch.cat([torch.full((side * side, 3), 10 + i) for i, side in enumerate(sides)])
    shapes, offsets = tuple((side, side) for side in sides), (0, 400, 500)
    corpus = Corpus(
        values.byte(), shapes, offsets, ("a", "a", "b"), (), 0, False, sizes=(1.0, 0.5, 1.0)
    )
    cropper = Cropper(corpus, torch.Generator().manual_seed(0))
    crops = cropper.cut(cropper.draw(2000, 8), 8)[:, 0, 0, 0]
    shares = [(crops == 10 + number).float().mean() for number in range(3)]
    assert shares == [pytest.approx(share, abs=0.05) for share in (0.25, 0.25, 0.5)]


def test_no_room_for_the_mapped_file_is_explained(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(CorpusError, match="Point TMPDIR to a larger disk"):
        read_corpus([photographs], 64, memory=0)


def test_crops_come_from_all_pictures_in_all_eight_positions() -> None:
    marks = torch.zeros(40, 40, 3, dtype=torch.uint8)
    marks[:20, :30] = 255  # no symmetry at all
    marks[:10, :10] = 80
    corpus = Corpus(marks.view(-1, 3), ((40, 40),), (0,), ("marks",), (), 0)
    cropper = Cropper(corpus, torch.Generator().manual_seed(0))
    crops = cropper.cut(cropper.draw(200, 40), 40)
    assert crops.shape == (200, 3, 40, 40) and crops.dtype == torch.uint8
    found = {crop.numpy().tobytes() for crop in crops}
    upright = marks.permute(2, 0, 1)
    eight = {
        turned.contiguous().numpy().tobytes()
        for k in range(4)
        for turned in (torch.rot90(upright, k, (1, 2)), torch.rot90(upright, k, (1, 2)).flip(2))
    }
    assert found == eight


def test_pixels_are_numbered_however_many_there_are() -> None:
    for count in (2**31 // 3, 2**31 // 3 + 1):  # three bytes each
        pixels = torch.zeros(1, 3, dtype=torch.uint8).expand(count, 3)
        cropper = Cropper(Corpus(pixels, ((1, count),), (0,), ("a",), (), 0), torch.Generator())
        assert torch.iinfo(cropper.numbers).max >= pixels.numel()


def test_every_place_of_a_picture_is_as_likely_and_none_beyond_it() -> None:
    height, width, size = 5, 9, 4
    corpus = Corpus(
        torch.zeros(height * width, 3, dtype=torch.uint8), ((height, width),), (0,), ("a",), (), 0
    )
    start = Cropper(corpus, torch.Generator().manual_seed(0)).draw(6000, size).start
    places, counts = torch.stack((start // width, start % width), 1).unique(
        dim=0, return_counts=True
    )
    assert places.tolist() == [[top, left] for top in range(2) for left in range(6)]
    assert counts.min() > 400 and counts.max() < 600  # 500 on average, 21 their deviation


def test_grey_of_16_bits_keeps_its_levels(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    Image.fromarray(grey.astype(np.uint16)).save(tmp_path / "a.png")
    (picture,) = read_corpus([tmp_path], 64).pictures
    assert np.abs(picture - grey[..., None] / 257).max() <= 0.51


def gray_tiff(strip: bytes, side: int, bits: int, photometric: int) -> bytes:
    """A square TIFF of one channel."""
    tags = (256, side), (257, side), (258, bits), (259, 1), (262, photometric), (273, 8)
    tags += (277, 1), (278, side), (279, len(strip))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"".join(
        (
            struct.pack("<2sHI", b"II", 42, 8 + len(strip)),
            strip,
            struct.pack("<H", len(tags)) + entries + bytes(4),
        )
    )


def test_gray_of_12_bits_and_gray_with_a_white_zero_are_what_they_are(tmp_path: Path) -> None:
    gray = np.linspace(0, 4095, 64 * 64).round().astype(np.uint32)
    pairs = (gray[0::2] << 12) | gray[1::2]
    twelve = np.stack([pairs >> 16, pairs >> 8 & 255, pairs & 255], 1).astype(np.uint8)
    (tmp_path / "a.tif").write_bytes(gray_tiff(twelve.tobytes(), 64, 12, 1))
    inverted = (65535 - gray * 65535 // 4095).astype("<u2")
    (tmp_path / "b.tif").write_bytes(gray_tiff(inverted.tobytes(), 64, 16, 0))
    for picture in read_corpus([tmp_path], 64).pictures:
        assert np.abs(picture - gray.reshape(64, 64, 1) / 4095 * 255).max() < 0.6
    assert np.abs(read(tmp_path / "a.tif").rgb - gray.reshape(64, 64, 1) / 4095).max() < 1e-4


def test_whatever_a_decoder_raises_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, width in (("a.png", 64), ("b.png", 72)):
        Image.fromarray(scene(64, width)).save(tmp_path / name)
    convert = Image.Image.convert

    def damaged(image: Image.Image, *rest: object) -> Image.Image:
        if image.width == 72:
            raise RuntimeError("Failed to decode frame 0")
        return convert(image, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Image.Image, "convert", damaged)
    corpus = read_corpus([tmp_path], 64)
    assert (corpus.names, corpus.unreadable) == (("a.png",), 1)


def test_pictures_are_as_large_as_they_are_anywhere_in_this_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(scene(64, 64)).save(tmp_path / "a.png")
    Image.fromarray(scene(100, 120)).save(tmp_path / "b.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # Pillow warns from here, refuses twice it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_corpus([tmp_path], 64).names == ("a.png", "b.jpg")
        monkeypatch.setattr("training.corpus.MAX_PIXELS", 5000)
        corpus = read_corpus([tmp_path], 64)
    assert (corpus.names, corpus.unreadable) == (("a.png",), 1)
    assert Image.MAX_IMAGE_PIXELS == 3000


def test_what_a_header_cannot_claim_is_not_made_room_for(tmp_path: Path) -> None:
    Image.fromarray(scene(64, 64)).save(tmp_path / "a.png")
    header = struct.pack(">4sIIBBBBB", b"IHDR", 9000, 9000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + data)
    tracemalloc.start()
    corpus = read_corpus([tmp_path], 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (corpus.names, corpus.unreadable) == (("a.png",), 1)
    assert peak < 10_000_000  # of 243 MB


def test_every_pixel_is_as_likely_as_any_other() -> None:
    flat = torch.zeros(300, 3, dtype=torch.uint8)
    flat[:200] = 1
    corpus = Corpus(flat, ((10, 20), (10, 10)), (0, 200), ("large", "small"), (), 0)
    cropper = Cropper(corpus, torch.Generator().manual_seed(0))
    crops = cropper.cut(cropper.draw(2000, 5), 5)
    assert all(len(crop.unique()) == 1 for crop in crops)  # no crop reaches over two pictures
    assert float(crops.float().mean()) == pytest.approx(2 / 3, abs=0.04)


def numbered(batch: int) -> Callable[[], Pairs]:
    """Makes pairs that hold their own number, from 0 on."""
    numbers = itertools.count()

    def make() -> Pairs:
        some = torch.tensor(list(itertools.islice(numbers, batch)), dtype=torch.float32)
        flat = some.view(-1, 1, 1, 1).expand(-1, 3, 2, 2) % 256
        return Pairs(flat.byte(), flat.byte(), some[:, None])

    return make


@pytest.mark.parametrize(("size", "batches"), [(64, 1), (64, 4), (16, 4), (0, 1)])
def test_the_pool_gives_every_pair_out_once(size: int, batches: int) -> None:
    pool = Pool(
        numbered(4 * batches), size, 4, 1, torch.Generator().manual_seed(0), batches=batches
    )
    rounds = 400 // batches
    given: list[float] = []
    for _ in range(rounds * batches):
        pairs = pool.next()
        assert len(pairs) == 4
        assert torch.equal(pairs.lr[:, 0, 0, 0].float(), pairs.truth[:, 0] % 256)
        assert torch.equal(pairs.hr[:, 0, 0, 0].float(), pairs.truth[:, 0] % 256)
        given += pairs.truth[:, 0].tolist()
    assert pool.pairs is not None and pool.order is not None
    assert len(set(given)) == len(given)
    # What was made and not given out is in the pool still, beside the last round's.
    waiting = set(pool.pairs.truth[:, 0].tolist()) - set(given)
    assert len(waiting) == pool.size - 4 * batches
    assert set(given) | waiting == set(range(4 * batches * (rounds - 1) + pool.size))


def test_the_pool_gives_a_pair_out_as_often_as_asked_on_average() -> None:
    pool = Pool(numbered(4), 64, 4, 3, torch.Generator().manual_seed(0))
    given = Counter(number for _ in range(3000) for number in set(pool.next().truth[:, 0].tolist()))
    settled = [given[number] for number in range(1000, 3000)]
    assert given.total() == 12_000  # no pair twice in a batch
    assert sum(settled) / len(settled) == pytest.approx(3, rel=0.05)


def test_a_pool_goes_on_as_if_nothing_had_happened() -> None:
    whole = Pool(numbered(8), 32, 4, 1, torch.Generator().manual_seed(0), batches=2)
    for _ in range(5):
        whole.next()
    assert whole.pairs is not None and whole.order is not None
    kept = Pairs(whole.pairs.lr.clone(), whole.pairs.hr.clone(), whole.pairs.truth.clone())
    generator = torch.Generator()
    generator.set_state(whole.generator.get_state())
    part = Pool(whole.make, 32, 4, 1, generator, batches=2)
    part.load(kept, whole.order.clone(), whole.given)
    assert torch.equal(part.next().truth, whole.next().truth)  # the second half of a round
    part.make = whole.make = numbered(8)
    ours = part.next().truth
    part.make = whole.make = numbered(8)
    assert torch.equal(ours, whole.next().truth)
    assert part.pairs is not None and torch.equal(part.pairs.truth, whole.pairs.truth)


@pytest.mark.parametrize("order", [None, torch.arange(4)])
def test_a_pool_begins_a_round_where_the_one_under_way_is_of_no_use(order: Tensor | None) -> None:
    before = Pool(numbered(8), 32, 4, 1, torch.Generator(), batches=2)
    before.next()
    assert before.pairs is not None
    pool = Pool(numbered(8), 32, 4, 1, torch.Generator(), batches=2)
    pool.load(before.pairs, order, 1)
    assert pool.order is not None and len(pool.order.unique()) == 8
    assert len(pool.next()) == 4


@pytest.mark.parametrize(
    "name", ["dan-real-x4", "dan-blur-x2", "danv1-iso-x3", "danv2-aniso-x4", "dmsr-x4"]
)
def test_part_of_a_batch_is_degraded_like_the_whole(name: str) -> None:
    model = degrader(load_recipe(name, ["data.noise=[0.0, 0.0]"]))
    generator = torch.Generator().manual_seed(0)
    drawn = model.sample(4, generator)
    hr = torch.rand(4, 3, 96, 96)
    if name != "dan-real-x4":  # which always adds noise
        whole, some = model.apply(hr, drawn), model.apply(hr[1:3], part(drawn, slice(1, 3)))
        assert torch.allclose(whole[1:3], some, atol=1 / 254)
        assert torch.allclose(model.kernels(drawn).sum(1), torch.ones(4), atol=1e-5)
    if model.layout is not None:
        wanted = model.vector(drawn)[1:3]
        assert torch.equal(model.vector(part(drawn, slice(1, 3))), wanted)


def test_noise_is_as_strong_as_drawn() -> None:
    model = GaussianDegrader(2, 15, (0.2, 0.2), (40.0, 40.0), isotropic=True)
    generator = torch.Generator().manual_seed(0)
    drawn = model.sample(2, generator)
    lr = model.apply(torch.full((2, 3, 128, 128), 0.5), drawn, generator)
    assert 255 * float(lr.std()) == pytest.approx(40, rel=0.02)


def test_isotropic_kernels_are_round_and_anisotropic_ones_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    for isotropic in (True, False):
        model = GaussianDegrader(4, 21, (0.6, 5.0), isotropic=isotropic)
        kernels = model.kernels(model.sample(8, generator)).view(8, 21, 21)
        turned = kernels.transpose(1, 2).flip(1)
        assert torch.allclose(kernels, turned, atol=1e-6) == isotropic


def test_principal_components_rebuild_the_kernels_they_come_from() -> None:
    model = GaussianDegrader(4, 11, (0.2, 4.0), isotropic=True)
    encoder = principal_components(model, 10, draws=2000)
    assert torch.allclose(encoder.T @ encoder, torch.eye(10), atol=1e-5)
    kernels = model.kernels(model.sample(50, torch.Generator().manual_seed(5)))
    centred = kernels - kernels.mean(0)
    left = centred - centred @ encoder @ encoder.T
    assert left.square().sum() < 1e-4 * centred.square().sum()


def test_principal_components_are_those_of_centred_kernels() -> None:
    model = GaussianDegrader(4, 11, (0.2, 4.0), isotropic=True)
    encoder = principal_components(model, 3, draws=2000).double().numpy()
    kernels = model.kernels(model.sample(2000, torch.Generator().manual_seed(0))).double().numpy()
    left, _, _ = np.linalg.svd((kernels - kernels.mean(0)).T, full_matrices=False)
    # The same lines; uncentred, the first would be that of the mean.
    assert np.abs((encoder * left[:, :3]).sum(0)) == pytest.approx([1, 1, 1], abs=1e-6)


def test_dans_kernels_are_uneven_upwards_as_published() -> None:
    """Weights times 1 + 0.25 u, made to sum to one again; it is one factor up to a constant."""
    with np.load(Path(__file__).parents[1] / "reference" / "degradation.npz") as reference:
        for stem in ("dan/aniso11", "dan/aniso31"):
            plain, uniform, wanted = (
                torch.from_numpy(reference[f"{stem}/{name}"])
                for name in ("values", "disturb_u", "disturbed")
            )
            plain = plain[: len(wanted)]
            assert (disturb(plain, uniform, UPWARDS) - wanted).abs().max() < 1e-6


@pytest.mark.parametrize("same", [True, False])
def test_noise_and_mixing_are_every_processs_own(photographs: Path, same: bool) -> None:
    changes = ["phase.0.batch=4", "phase.0.lr_crop=24", "data.pool=8"]
    recipe = load_recipe("dmsr-x2", changes)
    corpus, found = read_corpus([photographs], 48), []
    for index in (0, 0) if same else (0, 1):
        processes = Processes(torch.device("cpu"))
        processes.index = index
        feeder = Feeder(corpus, degrader(recipe), recipe.data, 0, processes)
        processes.index = 0  # so that its share of a batch is the same
        feeder.begin(recipe.phase[0], "kernel")
        feeder.next()
        pairs = feeder.pool.pairs
        assert pairs is not None and feeder.pool.order is not None
        found.append((pairs.hr, pairs.lr, feeder.pool.order))
    (hr, lr, order), (other_hr, other_lr, other_order) = found
    assert torch.equal(hr, other_hr)  # what is drawn is drawn alike
    assert torch.equal(lr, other_lr) == torch.equal(order, other_order) == same


def test_a_margin_is_degraded_and_cut_off_again() -> None:
    """What is left is the middle of the degraded photograph, and no mirrored edge."""
    size, margin = 24, 4
    side = 4 * (size + 2 * margin)
    pixels = torch.from_numpy(scene(side, side)).view(-1, 3)
    corpus = Corpus(pixels, ((side, side),), (0,), ("a",), (), 0)
    recipe = load_recipe(
        "dan-blur-x4",
        [f"phase.0.margin={margin}", f"phase.0.lr_crop={size}", "phase.0.batch=2", "data.pool=2"],
    )
    assert recipe.crop(recipe.phase[0]) == side
    model = degrader(recipe)
    feeder = Feeder(corpus, model, recipe.data, 0, Processes(torch.device("cpu")))
    again = torch.Generator().manual_seed(1)
    windows = Cropper(corpus, again).draw(2, side)
    drawn = model.sample(2, again)
    feeder.begin(recipe.phase[0], "vector")
    pairs = feeder.next()
    order = [0, 1] if torch.equal(pairs.truth, model.vector(drawn)) else [1, 0]
    whole = Cropper(corpus, again).cut(windows, side)[order]
    assert torch.equal(pairs.truth, model.vector(drawn)[order])
    assert torch.equal(pairs.hr, whole[:, :, 16:-16, 16:-16])
    degraded = model.apply(whole.float() / 255, part(drawn, torch.tensor(order)))
    difference = degraded[:, :, 4:-4, 4:-4] * 255 - pairs.lr
    assert difference.abs().max() < 1.01 and difference.abs().mean() < 0.01
    mirrored = model.apply(pairs.hr.float() / 255, part(drawn, torch.tensor(order)))
    assert (mirrored * 255 - pairs.lr)[:, :, 0].abs().mean() > 1


def test_crops_lie_off_their_margins_middle_by_at_most_the_shift(photographs: Path) -> None:
    changes = ["phase.0.batch=8", "phase.0.lr_crop=16", "phase.0.margin=4", "data.pool=8"]
    places = torch.arange(24 * 24).view(1, 1, 24, 24).expand(8, 3, 24, 24)
    for shift in (0, 4):
        recipe = load_recipe("dan-blur-x4", [*changes, f"phase.0.shift={shift}"])
        processes = Processes(torch.device("cpu"))
        corpus = read_corpus([photographs], 96)
        feeder = Feeder(corpus, degrader(recipe), recipe.data, 0, processes)
        feeder.begin(recipe.phase[0], "vector")
        pairs = feeder.next()
        assert pairs.lr.shape == (8, 3, 16, 16) and pairs.hr.shape == (8, 3, 64, 64)
        # A blur and bicubic interpolation leave a picture where it was.
        shrunk = torch.nn.functional.avg_pool2d(pairs.hr.float(), 4)
        assert float((shrunk - pairs.lr).abs().mean()) < 20
        corner = 4 + feeder._shifts(400, shift)
        assert corner.min() == 4 - shift and corner.max() == 4 + shift
        found = window(places, corner[:8], 16)
        wanted = [
            p[:, y : y + 16, x : x + 16] for p, (y, x) in zip(places, corner.tolist(), strict=False)
        ]
        assert torch.equal(found, torch.stack(wanted))
        assert torch.equal(window(places[:1], corner[:1], 16), found[:1])


def test_few_pairs_share_a_draw_of_the_resize_factors(photographs: Path) -> None:
    changes = ["phase.0.batch=8", "phase.0.lr_crop=24", "data.pool=16"]
    scale = [p.key for p in TWO_STAGE.parameters].index("stage1.scale")
    for alike, draws in ((0, 2), (2, 8), (3, 6)):
        recipe = load_recipe("dan-real-x4", [*changes, f"data.alike={alike}"])
        processes = Processes(torch.device("cpu"))
        corpus = read_corpus([photographs], 96)
        feeder = Feeder(corpus, degrader(recipe), recipe.data, 0, processes)
        feeder.begin(recipe.phase[0], "vector")
        feeder.next()
        assert feeder.pool.pairs is not None
        found = feeder.pool.pairs.truth[:, scale].tolist()
        # A third of the draws leaves the size alone.
        assert draws // 3 <= len(set(found)) <= draws
        shared = min(alike or 8, 8)
        assert all(len(set(found[i : min(i + shared, 8)])) == 1 for i in range(0, 8, shared))


def test_processes_take_their_shares_of_the_same_draws(photographs: Path) -> None:
    changes = ["phase.0.batch=8", "phase.0.lr_crop=24", "data.pool=8", "data.alike=3"]
    recipe = load_recipe("dan-real-x4", changes)
    corpus = read_corpus([photographs], 96)
    truth: dict[int, list[Tensor]] = {1: [], 2: []}
    for count, index in ((1, 0), (2, 0), (2, 1)):
        processes = Processes(torch.device("cpu"))
        processes.index, processes.count = index, count
        feeder = Feeder(corpus, degrader(recipe), recipe.data, 0, processes)
        feeder.begin(recipe.phase[0], "vector")
        feeder.next()
        assert feeder.pool.pairs is not None
        truth[count].append(feeder.pool.pairs.truth)
    assert torch.equal(torch.cat(truth[1]), torch.cat(truth[2]))


def test_several_batches_may_be_degraded_at_once(photographs: Path) -> None:
    changes = ["phase.0.batch=4", "phase.0.lr_crop=16", "data.batches=3", "data.pool=4"]
    recipe = load_recipe("dan-blur-x4", changes)
    processes = Processes(torch.device("cpu"))
    feeder = Feeder(read_corpus([photographs], 96), degrader(recipe), recipe.data, 0, processes)
    feeder.begin(recipe.phase[0], "vector")
    made: list[int] = []
    make = feeder.pool.make
    feeder.pool.make = lambda: made.append(len(pairs := make())) or pairs  # type: ignore[func-returns-value]
    for _ in range(7):
        assert len(feeder.next()) == 4
    assert made == [12, 12, 12]  # the pool filled, and twice again


@pytest.mark.parametrize("alike", [0, 5])
def test_a_share_of_the_pairs_is_shrunk_and_perhaps_compressed_and_no_more(
    alike: int, photographs: Path
) -> None:
    changes = ["phase.0.batch=16", "data.mild=0.25", "data.pool=16", f"data.alike={alike}"]
    recipe = load_recipe("dan-real-x4", changes)
    model = degrader(recipe)
    corpus = read_corpus([photographs], 96)
    feeder = Feeder(corpus, model, recipe.data, 0, Processes(torch.device("cpu")))
    groups = feeder._drawn(16, slice(0, 16))
    assert [len(group) for group in groups] == ([12, 4] if alike == 0 else [5, 5, 2, 4])
    mild = groups[-1]
    generator = torch.Generator().manual_seed(0)
    hr = torch.rand(4, 3, 192, 192, generator=generator)
    mild.stage2.is_jpeg[:] = torch.tensor([True, False, True, False])
    mild.stage2.jpeg_quality[:] = 95
    lr = model.apply(hr, mild, generator)
    difference = (lr - torch.nn.functional.avg_pool2d(hr, 4)).abs().amax((1, 2, 3)) * 255
    assert (difference[1::2] < 1).all()  # rounded to 8 bits, twice
    assert (difference[::2] > 2).all() and (difference[::2] < 80).all()
    vector = TWO_STAGE.decode(model.vector(mild)[1].tolist())
    assert vector["stage1.gaussian_sigma"] == pytest.approx(0, abs=1e-4)
    assert vector["stage1.sigma_x"] == pytest.approx(NARROWEST)
    assert vector["final.is_sinc"] == 0 and vector["stage1.is_jpeg"] == 0


def test_sharp_pictures_are_reduced_by_means_or_as_blurred_ones_are(photographs: Path) -> None:
    recipe = load_recipe("dan-blur-x2", ["phase.0.batch=16", "data.mild=0.5", "data.pool=16"])
    model = degrader(recipe)
    feeder = Feeder(
        read_corpus([photographs], 96), model, recipe.data, 0, Processes(torch.device("cpu"))
    )
    blurred, sharp = feeder._drawn(16, slice(0, 16))
    by_means = sharp.by_means
    assert len(blurred) == len(sharp) == 8 and 0 < by_means.sum() < 8
    hr = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    lr = model.apply(hr, sharp)
    assert torch.equal(lr, (lr * 255).round() / 255)
    level = 0.51 / 255
    means = torch.nn.functional.avg_pool2d(hr, 2)
    torch.testing.assert_close(lr[by_means], means[by_means], atol=level, rtol=0)
    smooth = imresize(hr, Fraction(1, 2)).clamp(0, 1)
    torch.testing.assert_close(lr[~by_means], smooth[~by_means], atol=level, rtol=0)
    # What is told of them: no width to speak of, and no direction.
    kernels = model.kernels(sharp).view(8, 11, 11)
    assert (kernels[:, 5, 5] > 0.9999).all()
    layout = model.layout
    assert layout is not None
    known = layout.decode(model.vector(sharp)[0].tolist())
    assert known["stage1.sigma_x"] == known["stage1.sigma_y"] == pytest.approx(NARROWEST)
    assert known["stage1.theta"] == pytest.approx(45)
    assert torch.equal(model.vector(sharp), model.vector(sharp)[:1].expand(8, -1))


def test_small_batches_have_their_share_too(photographs: Path) -> None:
    recipe = load_recipe("dan-real-x4", ["phase.0.batch=4", "data.mild=0.3125", "data.pool=16"])
    corpus = read_corpus([photographs], 96)
    one, other = (
        Feeder(corpus, degrader(recipe), recipe.data, 0, Processes(torch.device("cpu")))
        for _ in range(2)
    )
    counts = [one._mild(4) for _ in range(200)]
    assert set(counts) == {1, 2} and sum(counts) == pytest.approx(250, abs=25)
    assert counts == [other._mild(4) for _ in range(200)]  # in every process


def test_the_share_is_drawn_alike_however_many_processes_share_a_batch(
    photographs: Path,
) -> None:
    recipe = load_recipe("dan-real-x4", ["phase.0.batch=16", "data.mild=0.25", "data.pool=16"])
    model = degrader(recipe)
    corpus = read_corpus([photographs], 96)

    def drawn(mine: slice) -> torch.Tensor:
        feeder = Feeder(corpus, model, recipe.data, 0, Processes(torch.device("cpu")))
        return torch.cat([model.vector(group) for group in feeder._drawn(16, mine)])

    halves = drawn(slice(0, 8)), drawn(slice(8, 16))
    assert torch.equal(torch.cat(halves), drawn(slice(0, 16)))


def test_without_a_share_nothing_else_is_drawn(photographs: Path) -> None:
    recipe = load_recipe("dan-real-x4", ["phase.0.batch=16", "data.pool=16"])
    model = degrader(recipe)
    corpus = read_corpus([photographs], 96)
    feeder = Feeder(corpus, model, recipe.data, 0, Processes(torch.device("cpu")))
    again = torch.Generator()
    again.set_state(feeder.drawing.get_state())
    (group,) = feeder._drawn(16, slice(0, 16))
    assert torch.equal(model.vector(group), model.vector(model.sample(16, again)))
    assert torch.equal(feeder.drawing.get_state(), again.get_state())
