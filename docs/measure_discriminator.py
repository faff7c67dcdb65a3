"""How fast the GAN's discriminator learns to tell a network's pictures from photographs.

    python docs/measure_discriminator.py --data photos/ [--mean 0.5] [--precision fp32]

The network stays as it is; only the discriminator of `dan-real-gan-x4-gpu` learns, on small crops
and with half its channels.  Prints a line of JSON for every 20 steps: its mean loss over them,
which is 2 ln 2 = 1.386 as long as it cannot tell.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch

from sr_cli.networks.unet_discriminator import UNetDiscriminator
from sr_cli.zoo.loading import load
from training.corpus import read_corpus
from training.degradations import degrader
from training.feeder import Feeder
from training.initial import channels_last
from training.losses.adversary import Adversary
from training.processes import Processes
from training.recipe import load_recipe

CHANGES = (
    *("phase.0.batch=8", "phase.0.lr_crop=24"),
    *("data.batches=1", "data.pool=64", "data.shrunk=[]"),
)
FEATURES = 32
EVERY = 20


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--model", default="dan-real-x4")
    parser.add_argument("--mean", type=float, default=0.0, help="subtracted from all pictures")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--steps", type=int, default=220)
    options = parser.parse_args()
    torch.manual_seed(0)
    recipe = load_recipe("dan-real-gan-x4-gpu", CHANGES)
    phase, optimiser = recipe.phase[0], recipe.optimiser
    corpus = read_corpus([options.data], recipe.crop(phase))
    feeder = Feeder(corpus, degrader(recipe), recipe.data, 1, Processes(torch.device("cpu")))
    feeder.begin(phase, "nothing")
    network = load(options.model).network.eval()
    betas = (optimiser.beta1, optimiser.beta2)
    discriminator = channels_last(UNetDiscriminator(FEATURES))
    adversary = Adversary(discriminator, 1.0, options.rate, betas, options.mean)
    losses: list[float] = []
    for step in range(1, options.steps + 1):
        pairs = feeder.next()
        hr = pairs.hr.float() / 255
        lr = (pairs.lr.float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            sr = network(lr)[0].float()
        adversary.forget()
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            found = adversary.passes([(sr, hr)])
        adversary.step(options.rate, lambda _: None)
        losses.append(float(found))
        if step % EVERY == 0:
            row = {"step": step, "loss": round(statistics.fmean(losses[-EVERY:]), 4)}
            facts = {key: getattr(options, key) for key in ("mean", "precision", "rate")}
            sys.stdout.write(json.dumps({**facts, **row}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
