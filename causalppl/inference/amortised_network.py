"""The network behind `Amortised`: from a unit's evidence to the law of its latents."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_MAX_CATEGORIES = 16  # distinct whole numbers that are one-hot coded


@dataclass(frozen=True)
class Spec:
    """What a network was built for.

    Attributes:
        flow: Whether its density is a flow.
        hidden: Widths of its layers.
        evidence: Keys of the evidence.
        latents: Name, unconstrained size and discreteness of each latent.
        parameters: Parameters whose draws are inputs.
        widths: Numbers that each input takes.
        size: Unconstrained numbers of a unit's continuous latents.
        num_classes: Combinations of the discrete latents; 1 where there are none.
    """

    flow: bool
    hidden: tuple[int, ...]
    evidence: tuple[str, ...]
    latents: tuple[tuple[str, int, bool], ...]
    parameters: tuple[str, ...]
    widths: tuple[tuple[str, int], ...]
    size: int
    num_classes: int

    def to_plain(self) -> dict[str, Any]:
        """Return the fields in plain types."""
        return {
            **vars(self),
            "latents": [list(latent) for latent in self.latents],
            "widths": [list(width) for width in self.widths],
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Spec":
        """Invert `to_plain`."""
        return cls(
            bool(plain["flow"]),
            tuple(plain["hidden"]),
            tuple(plain["evidence"]),
            tuple((str(a), int(b), bool(c)) for a, b, c in plain["latents"]),
            tuple(plain["parameters"]),
            tuple((str(a), int(b)) for a, b in plain["widths"]),
            int(plain["size"]),
            int(plain["num_classes"]),
        )


class Network(nn.Module):
    """From a unit's evidence to the law of its latents.

    Args:
        spec: What it is for.

    Attributes:
        tables: Discrete latent to its values.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.tables: dict[str, Tensor] = {}
        numbers = sum(width for _, width in spec.widths)
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("spread", torch.ones(numbers))
        self.register_buffer("is_heavy", torch.zeros(numbers, dtype=torch.bool))
        self.register_buffer("categories", torch.zeros(0))
        self.register_buffer("owner", torch.zeros(0, dtype=torch.long))
        self.register_buffer("regression", torch.zeros(0))
        self.register_buffer("residual", torch.eye(spec.size))
        self.head: nn.Module | None = None
        self.classifier: nn.Module | None = None

    def prepare(
        self, numbers: Tensor, unit: Tensor, classes: Tensor, tables: Mapping[str, Tensor]
    ) -> None:
        """Fit what needs no gradient: scales, categories, and the linear regression.

        Args:
            numbers: Inputs of simulated units, shape ``(simulations, numbers)``.
            unit: Their unconstrained continuous latents, ``(simulations, size)``.
            classes: Combination of their discrete latents, ``(simulations,)``.
            tables: Discrete latent to its values.
        """
        spec = self.spec
        self.tables = dict(tables)
        middle = numbers.median(0).values
        self.centre = middle
        self.spread = _robust_spread(numbers)
        self.is_heavy = ((numbers - middle).abs() / self.spread).amax(0) > 10
        owner, categories = [], []
        for column in range(numbers.shape[1]):
            values = numbers[:4096, column].unique()
            if 2 < len(values) <= _MAX_CATEGORIES and bool((values == values.round()).all()):
                levels = numbers[:, column].unique()
                if len(levels) <= _MAX_CATEGORIES:
                    owner += [column] * len(levels)
                    categories.append(levels)
        self.owner = torch.tensor(owner, dtype=torch.long, device=numbers.device)
        self.categories = torch.cat(categories) if categories else numbers.new_zeros(0)
        self._build()
        self.to(unit)
        if not spec.size:
            return
        design = self._design(self.features(numbers), classes)
        some = slice(0, 65_536)
        x, y = design[some].double(), unit[some].double()
        ridge = 1e-6 * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        beta = torch.linalg.solve(x.mT @ x + ridge, x.mT @ y)
        left = y - x @ beta
        covariance = left.mT @ left / len(left)
        jitter = 1e-10 + 1e-8 * covariance.diagonal().mean()
        eye = torch.eye(spec.size, dtype=x.dtype, device=x.device)
        self.regression = beta.to(unit.dtype)
        self.residual = torch.linalg.cholesky(covariance + jitter * eye).to(unit.dtype)

    def shape_like(self, state: Mapping[str, Tensor]) -> None:
        """Give buffers and layers the shapes of a saved state."""
        for name, value in state.items():
            if "." not in name:
                setattr(self, name, torch.empty_like(value))
        self._build()
        self.to(state["centre"])

    def _build(self) -> None:
        spec = self.spec
        width = len(self.centre) + len(self.categories)
        if spec.num_classes > 1:
            self.classifier = _layers(width, spec.hidden, spec.num_classes)
        context = width + (spec.num_classes if spec.num_classes > 1 else 0)
        if spec.size and spec.flow:
            zuko = _zuko()
            self.head = zuko.flows.NSF(
                features=spec.size, context=context, transforms=3, hidden_features=spec.hidden
            )
        elif spec.size:
            self.head = _layers(context, spec.hidden, spec.size * (spec.size + 3) // 2)

    def features(self, numbers: Tensor) -> Tensor:
        """Standardise numbers, tame heavy tails, and add one-hot codes of categories."""
        scaled = (numbers - self.centre) / self.spread
        scaled = torch.where(self.is_heavy, torch.asinh(scaled), scaled)
        if not len(self.categories):
            return scaled
        codes = (numbers[..., self.owner] == self.categories).to(scaled.dtype)
        return torch.cat([scaled, codes], -1)

    def log_prob(self, features: Tensor, unit: Tensor, classes: Tensor) -> Tensor:
        """Log density of latents: ``(batch, size)`` and ``(batch,)`` to ``(batch,)``."""
        total = features.new_zeros(features.shape[:-1])
        if self.classifier is not None:
            logits = self.classifier(features)
            total = total + logits.log_softmax(-1).gather(-1, classes[..., None]).squeeze(-1)
        if self.head is None:
            return total
        white = self._whiten(unit, features, classes)
        log_scale = self.residual.diagonal().log().sum()
        return total + self._log_white(white, self._context(features, classes)) - log_scale

    def sample(self, features: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw latents.

        Args:
            features: Shape ``(units, features)``.
            count: Draws for each unit.

        Returns:
            Continuous latents ``(count, units, size)``, combinations of the discrete ones and log
            densities, ``(count, units)``.
        """
        units = len(features)
        classes = torch.zeros(count, units, dtype=torch.long, device=features.device)
        log_q = features.new_zeros(count, units)
        if self.classifier is not None:
            log_classes = self.classifier(features).log_softmax(-1)
            classes = torch.multinomial(log_classes.exp(), count, replacement=True).mT
            log_q = log_classes.gather(1, classes.mT).mT
        if self.head is None:
            return features.new_zeros(count, units, 0), classes, log_q
        if self.classifier is None:  # one pass of the network serves all draws
            white, log_white = self._sample_white(self._context(features, classes[0]), (count,))
        else:
            context = self._context(features.expand(count, *features.shape), classes)
            white, log_white = self._sample_white(context, ())
        design = self._design(features.expand(count, *features.shape), classes)
        unit = design @ self.regression + white @ self.residual.mT
        return unit, classes, log_q + log_white - self.residual.diagonal().log().sum()

    def _context(self, features: Tensor, classes: Tensor) -> Tensor:
        if self.classifier is None:
            return features
        codes = nn.functional.one_hot(classes, self.spec.num_classes).to(features.dtype)
        return torch.cat([features, codes], -1)

    def _design(self, features: Tensor, classes: Tensor) -> Tensor:
        ones = torch.ones_like(features[..., :1])
        return torch.cat([self._context(features, classes), ones], -1)

    def _whiten(self, unit: Tensor, features: Tensor, classes: Tensor) -> Tensor:
        left = unit - self._design(features, classes) @ self.regression
        return torch.linalg.solve_triangular(self.residual, left.mT, upper=False).mT

    def _gaussian(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Location and factor, in the coordinates of the regression's residuals."""
        assert self.head is not None
        size = self.spec.size
        out = self.head(context)
        loc, log_diagonal, below = out.split([size, size, size * (size - 1) // 2], -1)
        factor = torch.diag_embed(log_diagonal.clamp(-12, 12).exp())
        rows, columns = torch.tril_indices(size, size, -1)
        factor[..., rows, columns] = below
        return loc, factor

    def _log_white(self, white: Tensor, context: Tensor) -> Tensor:
        if self.spec.flow:
            assert self.head is not None
            log_prob: Tensor = self.head(context).log_prob(white)
            return log_prob
        loc, factor = self._gaussian(context)
        noise = torch.linalg.solve_triangular(
            factor, (white - loc).unsqueeze(-1), upper=False
        ).squeeze(-1)
        return _log_standard(noise) - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def _sample_white(self, context: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        if self.spec.flow:
            assert self.head is not None
            white, log_white = self.head(context).rsample_and_log_prob(shape)
            return white, log_white
        loc, factor = self._gaussian(context)
        noise = torch.randn(shape + loc.shape, dtype=loc.dtype, device=loc.device)
        white = loc + (factor @ noise.unsqueeze(-1)).squeeze(-1)
        log_scale = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return white, _log_standard(noise) - log_scale


def _layers(width: int, hidden: Sequence[int], out: int) -> nn.Sequential:
    """A perceptron whose output starts at zero."""
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [nn.Linear(width, size), nn.SiLU()]
        width = size
    last = nn.Linear(width, out)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def _log_standard(noise: Tensor) -> Tensor:
    return -0.5 * (noise**2).sum(-1) - 0.5 * noise.shape[-1] * math.log(2 * math.pi)


def _robust_spread(numbers: Tensor) -> Tensor:
    """Scale of each column that outliers do not move; the plain one where most values tie."""
    some = numbers[:65_536]
    levels = torch.tensor([0.16, 0.84], dtype=some.dtype, device=some.device)
    low, high = torch.quantile(some, levels, 0)
    spread = (high - low) / 2
    spread = torch.where(spread > 0, spread, some.std(0).nan_to_num())
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _zuko() -> Any:
    try:
        import zuko
    except ImportError as error:
        raise ImportError(
            "Amortised(flow=True) needs zuko; install it with pip install 'causalppl[deep]'"
        ) from error
    return zuko
