"""Whether an environment is one that agents can be described for and played in."""

from typing import Any

from causalppl.data.column import shortened
from causalppl.exceptions import DataError

__all__ = ["check_env"]


def check_env(env: Any, kind: type, instead: str = "") -> None:
    """Refuse wrappers, vectors, and environments of another kind.

    Args:
        env: The environment.
        kind: What it has to be.
        instead: What there is for the other kind.

    Raises:
        DataError: It is none.

    Example:
        >>> from causalppl.envs import SCMEnv, make_env
        >>> check_env(make_env("SCMMAB2"), SCMEnv)
    """
    if not isinstance(env, kind):
        raise DataError(
            f"env is {shortened(env, 200)}; expected a {kind.__name__} itself: neither a vector of "
            "them nor a wrapper (of a wrapper give env.unwrapped)" + (instead and f"; {instead}")
        )
