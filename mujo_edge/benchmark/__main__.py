"""`python -m mujo_edge.benchmark`: the process in which `mujo_edge.benchmark` measures one model file."""

import sys

from mujo_edge.benchmark import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
