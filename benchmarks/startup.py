"""Wall time of `import connector_async` over that of `import aiohttp`, in fresh interpreters that take turns."""

import argparse
import statistics
import subprocess
import sys

_TIMED = "import time; started_at = time.perf_counter(); import {}; print(time.perf_counter() - started_at)"


def _seconds(imports: str) -> float:
    done = subprocess.run([sys.executable, "-c", _TIMED.format(imports)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    differences, alone = [], []
    for _ in range(parser.parse_args().rounds):
        alone.append(_seconds("aiohttp"))
        differences.append(_seconds("aiohttp, connector_async") - alone[-1])
    lower, middle, upper = (quartile * 1e3 for quartile in statistics.quantiles(differences, n=4))
    print(f"import aiohttp: {statistics.median(alone) * 1e3:.1f} ms")
    print(f"import connector_async over it: {middle:.1f} ms (quartiles {lower:.1f} to {upper:.1f})")


if __name__ == "__main__":
    main()
