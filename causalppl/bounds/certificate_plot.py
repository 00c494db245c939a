"""The picture of a certificate."""

from typing import TYPE_CHECKING, Any

from causalppl.estimation.estimate_plot import Row, draw_rows

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
    rows = [Row(x.name, x.estimate, x.interval, x.bounds) for x in certificate.layers]
    color = "C2" if certificate.is_certified else "0.5"
    ax = draw_rows([*rows, Row("decision", thick=certificate.interval, color=color)], ax)
    first, second = certificate.actions
    ax.set_xlabel(f"mean outcome under {first} less that under {second}")
    ax.set_title(certificate.decision)
    return ax
