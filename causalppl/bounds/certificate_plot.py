"""The picture of a certificate."""

from typing import TYPE_CHECKING, Any

from causalppl.estimation.estimate_plot import pyplot

if TYPE_CHECKING:
    from causalppl.bounds.certificate import Certificate

__all__ = ["draw_certificate"]


def draw_certificate(certificate: "Certificate", ax: Any) -> Any:
    """Draw a bar for each layer, thin with sampling error, and the interval of the decision.

    Args:
        certificate: What to draw.
        ax: The axes to draw on; None makes a figure.

    Returns:
        The axes.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    layers = certificate.layers
    if ax is None:
        _, ax = pyplot().subplots(figsize=(6, 1.4 + 0.4 * len(layers)))
    for place, layer in enumerate(layers):
        ax.hlines(place, *layer.interval, color="C0", linewidth=1.2)
        ax.hlines(place, *layer.bounds, color="C0", linewidth=6)
        ax.plot(layer.estimate, place, "o", color="white", markeredgecolor="C0")
    color = "C2" if certificate.is_certified else "0.5"
    ax.hlines(len(layers), *certificate.interval, color=color, linewidth=3)
    ax.set_yticks(range(len(layers) + 1), [*(layer.name for layer in layers), "decision"])
    ax.set_ylim(len(layers) + 0.5, -0.5)
    ax.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    first, second = certificate.actions
    ax.set_xlabel(f"mean outcome under {first} less that under {second}")
    ax.set_title(certificate.decision)
    return ax
