"""Many processes on one log, on a virtual clock, with everything that can go wrong going wrong by the seed.

`world.py` puts one run together, `checker.py` says what must hold after it. By hand:
`python -m tests.simulation --seeds 1000`, and `--seed 17 --verbose` for one that failed.
"""
