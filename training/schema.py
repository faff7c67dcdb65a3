"""What a recipe may say: frozen tables, whose documentation is under each key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sr_cli.degradation.two_stage import Preset

Trained = Literal["all", "estimator", "restorer", "degradation"]
Degradation = Literal["two-stage", "blur", "isotropic", "anisotropic", "blur-noise", "learned"]


@dataclass(frozen=True)
class Network:
    """The network: in TOML ``family`` and the constructor's keywords beside it."""

    family: str
    """Its name in `sr_cli.networks.registry`."""
    options: Mapping[str, Any]
    """All of its constructor's keywords, defaults included."""

    @property
    def scale(self) -> int:
        """Enlargement."""
        return int(self.options["scale"])


@dataclass(frozen=True)
class Start:
    """How the network is initialised."""

    after: str = ""
    """The recipe whose weights this one is meant to go on from (``--weights``)."""
    fitting: bool = False
    """Take of ``--weights`` what fits by name and shape, and leave the rest fresh: to begin with
    the features of a network that was trained for another degradation or scale.  DAN's twin, an
    EDSR, takes a DAN's head, Restorer and tail."""
    high_pass_filters: float = 0.0
    """Share of DAN's image head's filters that start with zero mean and `high_pass_gain`: the
    traces the Estimator looks for are high frequencies, its usual input is brightness."""
    high_pass_gain: float = 4.0
    estimator_gain: float = 1.0
    """Factor on the weights of DAN's Estimator's 3x3 convolutions; sqrt(6) makes torch's start
    He's, at which signals keep their size from layer to layer."""
    residual_gain: float = 1.0
    """Factor on the last convolution of every EDSR block or RRDB."""


@dataclass(frozen=True)
class Data:
    """How pairs are drawn."""

    degradation: Degradation = "two-stage"
    """``two-stage``: RealDAN's.  ``blur``: KernelDAN's.  ``learned``: PDM's, learned beside the
    network from low-quality pictures without their originals (``--low``), see `PDM`.  The others
    are the earlier papers': Gaussian kernels, round or not, bicubic downsampling and, in
    ``blur-noise``, white noise."""
    preset: Preset = "physical"
    """Of ``two-stage``."""
    kernel: int = 21
    """Side of the kernels of ``isotropic``, ``anisotropic`` and ``blur-noise``, odd."""
    sigma: tuple[float, ...] = (0.2, 4.0)
    """Range of the same kernels' widths, pixels."""
    noise: tuple[float, ...] = (0.0, 0.0)
    """Range of the noise's deviation on the 0..255 scale, of the same degradations."""
    shrunk: tuple[float, ...] = ()
    """Fractions of their sides at which photographs are learned from, too, by Lanczos, as often as
    at their own size.  Photographs of different sizes differ in how much goes on in a crop."""
    mild: float = 0.0
    """Share of pairs with as little wrong as can be, as hardly any is of the published ranges.
    ``two-stage``: nothing is done to them but a reduction by means and, as often as in any other,
    the last JPEG.  ``blur``: no blur, half of them reduced by means."""
    pool: int = 256
    """Pairs kept to mix batches from (RealDAN's queue); over all processes together."""
    reuse: int = 1
    """Times a pair is used: exactly once as published, or more often on average."""
    batches: int = 1
    """Batches' worth of pairs that are degraded at once, every so many batches.  On a GPU the calls
    cost more than the arithmetic."""
    alike: int = 0
    """Pairs that share a draw of ``two-stage``'s resize factors; 0: all that are degraded at once,
    of which the pool should then hold many times as many.  Fewer take a call for each draw."""
    memory: float = 16.0
    """Gigabytes of decoded pictures to keep in memory; more are mapped from a temporary file."""

    @property
    def trained_for(self) -> str:
        """What manifests call the degradation (`sr_cli.zoo.schema.PRESETS`)."""
        return self.preset if self.degradation == "two-stage" else self.degradation


@dataclass(frozen=True)
class PDM:
    """How the degradation ``learned`` is made, and how it learns: in TOML ``[pdm]``.

    The network's keywords are those of `sr_cli.networks.pdm.PDM`.
    """

    kernel_size: int = 21
    """Side of the blur kernel, high-resolution pixels, odd."""
    kernel_numbers: int = 64
    """Normal numbers that make one kernel."""
    kernel_blocks: int = 16
    features: int = 64
    """Channels of the kernel's generator."""
    noise_numbers: int = 3
    """Normal numbers that make noise; 0 for pictures without any."""
    noise_outputs: int = 3
    """Channels of the noise: 3, or 1 for gray noise."""
    noise_mix: bool = True
    """Whether noise depends on the picture."""
    noise_spatial: bool = True
    """Whether noise is another at every pixel; else it is one colour for a picture."""
    noise_blocks: int = 16
    noise_features: int = 64
    noise_penalty: float = 100.0
    """Weight of the noise's mean square, which keeps it small (Eq. 13's lambda)."""
    centre: float = 0.0
    """Weight of the squared distance, in pixels, of a kernel's centre of mass from the middle of
    the high-resolution pixels that a small one stands for.  Low-quality pictures alone do not tell
    where a kernel lies, and what the network learns to undo with it is a shift."""
    discriminator_features: int = 64
    """Channels of its first convolution."""
    discriminator_stride: int = 1
    """Of its second and third one; 2 costs an eighth and sees twice as far."""
    clip: float = 50.0
    """Largest norm of the gradients of all that learns: the degradation and its discriminator, the
    network and, where there is one, its own (whose loss is weighted by ``gan`` for that)."""
    ema: float = 0.0
    """Decay of the moving average of the generators' weights, which then makes what the network
    learns from.  While they learn, generators swing about what they are to find."""


@dataclass(frozen=True)
class Loss:
    """Weights of the terms; what is 0 is left out."""

    l1: float = 1.0
    """Mean absolute error of the picture."""
    rmse: float = 0.0
    """Root mean square error of every crop, a mean over the crops: of the scale of ``l1``, and what
    PSNR measures, where ``l1`` draws the picture towards the median of what may be true."""
    vector: float = 1.0
    """Error of what the network estimates: vector, code or kernel."""
    error: Literal["l2", "l1"] = "l2"
    """Measure of that error, a mean over all numbers."""
    standardised: bool = False
    """Divide each number's error by its standard deviation over the degradation model."""
    applying: bool = False
    """Count a number only where it applies, as skills are measured, and not the stand-in it has
    elsewhere: a noise level of a picture without that noise, a quality of one without JPEG."""
    emphasised: tuple[str, ...] = ()
    """Numbers (``stage.name``) whose errors count `emphasis` times."""
    emphasis: float = 1.0
    shape: float = 0.0
    """Error of the blur's shape, read from DAN's degradation feature after every iteration
    (`training.losses.shape`): the vector's angle cannot be learned from averages, this can."""
    detail: float = 0.0
    """DSSR's detail maps at every step (its alpha)."""
    reconstruction: float = 0.0
    """DMSR's kernel and noise map against the true ones (Eq. 7)."""
    consistency: float = 0.0
    """DMSR's degrading the truth as estimated (Eq. 8)."""
    perceptual: float = 0.0
    """Distance of deep features."""
    features: Literal["vgg19", "squeezenet"] = "vgg19"
    """Of which network."""
    features_folder: str = ""
    """Where its weights lie; VGG19's come from torchvision if this is empty."""
    feature_weights: tuple[float, ...] = (0.1, 0.1, 1.0, 1.0, 1.0)
    """Of VGG19's conv1_2, 2_2, 3_4, 4_4 and 5_4."""
    feature_positions: int = 1
    """Positions, in each direction, at which the grid of the features begins, a crop of a batch
    after the other (`training.losses.features.Staggered`); 1 as published."""
    gan: float = 0.0
    """The discriminator's opinion."""
    discriminator: Literal["unet", "patch"] = "unet"
    """RealDAN's U-Net with cross-entropy, or PDM's PatchGAN with squared errors (LSGAN)."""
    discriminator_features: int = 64
    """Channels of its first convolution."""
    discriminator_mean: float = 0.0
    """Subtracted from the pictures it sees; 0 as published."""


@dataclass(frozen=True)
class Optimiser:
    """Adam, perhaps Muon beside it, and what follows them."""

    beta1: float = 0.9
    beta2: float = 0.999
    muon: float = 0.0
    """Factor on the rate of Muon, which then takes the convolutions between features over from Adam
    (`training.optimisers`); 0 for Adam alone."""
    clip: float = 0.0
    """Largest norm of the gradient as a multiple of its moving average, from 1 on; 0 for no limit.
    One freak batch, of which the degradation model makes some, can otherwise undo thousands of
    steps."""
    ema: float = 0.999
    """Decay of the weights' moving average; 0 for none."""
    half_moments: bool = False
    """Write the moments as bfloat16: a smaller state, no longer resumed to the bit."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one batch shape and one constant rate."""

    steps: int
    batch: int
    """Of all processes together."""
    lr_crop: int
    """Side of a low-resolution crop; the high-resolution one is ``scale`` times that."""
    learning_rate: float
    margin: int = 0
    """Low-resolution pixels that are degraded around a crop and cut off again.  A blur mirrors what
    lies at its picture's edge: with 31x31 kernels at x4 that reaches two fifths of a 32x32 crop and
    next to nothing of a photograph.  Multiples of 8 leave JPEG's grid of ``two-stage`` in place."""
    shift: int = 0
    """Low-resolution pixels by which a crop may lie off its margin's middle, at most the margin:
    4 lets JPEG's grid begin anywhere, as in a picture that was cropped after its compression."""
    iterations: int | None = None
    """T of the network from here on, if not its constructor's; a DAN that had less is unrolled by
    `training.unroll`."""
    trains: Trained = "all"
    """``"estimator"``: DAN's first estimate alone, without the Restorer.  ``"restorer"``: a DAN
    without its Estimator, given the true vector instead, to learn what exact estimates would be
    worth; what comes of it is measured with ``evaluate --truth``.  ``"degradation"``: the
    ``learned`` one alone, so that a network that knows something already is not misled by a
    degradation that knows nothing yet."""
    warmup: int = 0
    """Steps over which the rate rises from zero."""
    halve_at: tuple[int, ...] = ()
    """Steps within the phase at which the rate is halved (the papers' schedules)."""
    accumulate: int = 1
    """Parts in which a batch is computed, one after the other, to save memory."""


@dataclass(frozen=True)
class Validation:
    """Measuring during the run, on crops of held-out pictures degraded once with a fixed seed."""

    every: int = 5000
    crop: int = 256
    """Side of the high-resolution crop from each picture's centre."""
    margin: int = 0
    """Low-resolution pixels around it that are degraded too and cut off again, as a phase's."""
    degradations: int = 4
    """Different degradations of each crop."""
    strips: int = 4
    """Crops of which a strip (low, bicubic, ours, truth) is drawn each time."""

    def side(self, scale: int) -> int:
        """Side of what is cut from held-out photographs, margin included, pixels."""
        return self.crop + 2 * self.margin * scale


@dataclass(frozen=True)
class Recipe:
    """A whole run."""

    name: str
    model: str
    """Name of the model in the manifest that this recipe makes."""
    network: Network
    phase: tuple[Phase, ...]
    description: str = ""
    seed: int = 0
    decay_steps: int = 0
    """Steps after the last phase over which the rate falls to zero, branched from the state that
    later runs resume."""
    save_minutes: float = 5.0
    """Time between two saved states."""
    start: Start = field(default_factory=Start)
    data: Data = field(default_factory=Data)
    pdm: PDM = field(default_factory=PDM)
    loss: Loss = field(default_factory=Loss)
    optimiser: Optimiser = field(default_factory=Optimiser)
    validation: Validation = field(default_factory=Validation)

    @property
    def stable_steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phase)

    @property
    def begins(self) -> int:
        """Number of the first phase that has any steps; of the last if none has."""
        numbers = range(len(self.phase))
        return next((i for i in numbers if self.phase[i].steps), numbers[-1])

    def crop(self, phase: Phase) -> int:
        """Side of what a phase cuts from photographs, pixels."""
        return (phase.lr_crop + 2 * phase.margin) * self.network.scale
