"""Draw the picture of the landing page: one unit in two worlds.

python docs/draw_pictures.py
"""

from pathlib import Path

from causalppl.graphs import ADMG, to_svg, twin_network

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write `_static/twin_network.svg`."""
    worlds = twin_network(ADMG.parse("Z -> X -> Y; Z -> Y"), {"x0": ["X"]})
    drawn = to_svg(worlds, highlight=["X@x0"])
    (HERE / "_static" / "twin_network.svg").write_text(drawn + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
