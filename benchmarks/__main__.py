"""Run every benchmark and print its table."""

from rich.console import Console

from benchmarks import prediction

CONSOLE = Console()

for benchmark in (prediction,):
    CONSOLE.print(benchmark.table())
