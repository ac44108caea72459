"""``python -m clipfed_bench`` is ``clipfed-bench``."""

from clipfed_bench.cli.main import main

if __name__ == "__main__":
    main()
