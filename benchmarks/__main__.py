"""Run every benchmark and print its table."""

from rich.console import Console

from benchmarks import edges, prediction

CONSOLE = Console()

for benchmark in (prediction, edges):
    CONSOLE.print(benchmark.table())
