"""``python -m benchmarks`` is ``clipfed-bench bench``."""

import sys

from clipfed_bench.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "bench")
    main()
