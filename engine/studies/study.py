"""A grid with its results: everything that tables and pictures are made of."""

from collections.abc import Sequence
from dataclasses import dataclass

from metaspo.engine.evaluation.test_score import TestScore
from metaspo.engine.studies.grid import Cell, Grid
from metaspo.engine.studies.results import CellResult
from metaspo.engine.tasks import TaskRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A grid with its results: everything that tables and pictures are made of.

    Attributes:
        role: whose test splits are looked at: target tasks where there are any, else source tasks.
    """

    grid: Grid
    results: tuple[CellResult, ...]
    role: TaskRole

    @classmethod
    def of(cls, grid: Grid, results: Sequence[CellResult]) -> "Study":
        """Join a grid and what it came to."""
        targets = any(row.role == "target" for result in results for row in result.tests)
        return cls(grid=grid, results=tuple(results), role="target" if targets else "source")

    @property
    def methods(self) -> list[str]:
        """In the order of the grid."""
        return [method.name for method in self.grid.methods]

    @property
    def domains(self) -> list[str]:
        """In the order of the grid."""
        return list(dict.fromkeys(result.domain for result in self.results))

    @property
    def parts(self) -> list[str]:
        """What is summed up by itself: each domain where there are several, and all of them together, as ""."""
        return [*self.domains, ""] if len(self.domains) > 1 else [""]

    @property
    def seeds(self) -> list[int]:
        """In the order of the grid."""
        return list(self.grid.config.seeds)

    def of_method(self, method: str, domain: str | None = None) -> list[tuple[Cell, CellResult]]:
        """The finished cells of a method, on one domain or on all."""
        return [
            (cell, result)
            for cell, result in zip(self.grid.cells, self.results, strict=True)
            if result.method == method and domain in (None, result.domain) and not result.stopped
        ]

    def searches(self, method: str) -> bool:
        """Whether another seed would find another prompt: the method is not a fixed one."""
        return not next(each.fixed for each in self.grid.methods if each.name == method)

    def rows(self, result: CellResult) -> list[TestScore]:
        """A cell's scores: of each task the best user prompt's."""
        return [row for row in result.tests if row.role == self.role and row.prompt == 0]
