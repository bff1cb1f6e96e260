"""`python -m mujo_edge` is `mujo-edge`."""

from mujo_edge.cli import main

main()
