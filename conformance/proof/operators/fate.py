# SPDX-License-Identifier: GPL-2.0-only
"""What became of operator mutants, in words and for a file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conformance.proof.operators.operators import Known, OperatorMutant


@dataclass(frozen=True)
class Fate:
    """What became of an operator mutant.

    Attributes:
        mutant: The mutant.
        by: What killed it, if anything did.
        image: The image in which it was killed.
        known: Why the suite cannot tell it from the driver, if that is known.
    """

    mutant: OperatorMutant
    by: str
    image: str
    known: Known | None = None

    @property
    def word(self) -> str:
        """The fate in a word."""
        if self.by:
            return "killed"
        if self.known:
            return "beyond the lab" if self.known.beyond else "equivalent"
        return "survived"

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        words = {key: value for key, value in asdict(self.mutant).items() if key != "text"}
        fate: dict[str, Any] = {"killed-by": self.by, "image": self.image}
        if self.known:
            fate["beyond" if self.known.beyond else "equivalent"] = self.known.reason
        return {**words, **fate}


def conclusion(fates: Sequence[Fate], image: str) -> list[str]:
    """Say how many were killed: of all, and of those that are not equivalent.

    Args:
        fates: What became of each.
        image: The image in which all were tried.
    """
    alike = sum(bool(fate.known and not fate.known.beyond) for fate in fates)
    beyond = sum(bool(fate.known and fate.known.beyond) for fate in fates)
    dead = sum(bool(fate.by) for fate in fates)
    others = len(fates) - alike
    within = _percent(dead, others - beyond)
    elsewhere = [fate for fate in fates if fate.by and fate.image != image]
    said = [
        f"{dead} of {len(fates)} operator mutants killed, {_percent(dead, len(fates))}; "
        f"{alike} are equivalent, {_percent(dead, others)} of the others are killed; "
        f"{beyond} of those are beyond the lab, without them it is {within}"
    ]
    if elsewhere:
        stock = dead - len(elsewhere)
        said.append(
            f"{len(elsewhere)} of them only in the image {elsewhere[0].image}; in {image} "
            f"{stock} are killed, {_percent(stock, others)} of those not equivalent"
        )
    said += [f"  only in the image {one.image}, by {one.by}: {one.mutant}" for one in elsewhere]
    said += [f"  survived: {fate.mutant}" for fate in fates if not fate.by and not fate.known]
    return said


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 100:.1f} %"
