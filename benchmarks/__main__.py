"""Run every benchmark and print its table."""

from rich.console import Console

from benchmarks import edges, prediction, strokes

CONSOLE = Console()

for benchmark in (prediction, edges, strokes):
    CONSOLE.print(benchmark.table())
