"""`compare`: the same image and program on every rung, from a container to a machine whose every part is emulated, measured.

    metrics     what is measured, in which unit, and which way is better
    workload    the program that is measured, and the image that carries it
    rungs       how each rung is called, where its bytes are, which processes it keeps
    measure     runs and figures
    report      the result: figures with their spread, and what they say of containers and virtual machines

Everything goes through command lines, of this engine as of others: what is measured is what a user waits for.
"""

from __future__ import annotations

from estiba.engine.compare.measure import compare
from estiba.engine.compare.report import Claim, Figure, Report, RungReport
from estiba.engine.compare.rungs import NAMES

__all__ = ["NAMES", "Claim", "Figure", "Report", "RungReport", "compare"]
