"""Which algorithm answers a question, and what is kept for the next one."""

import json
from typing import TYPE_CHECKING

from talweg.search.question import Question
from talweg.spec.sweeps.space import Setting
from talweg.spec.sweeps.space_json import space_to_json

if TYPE_CHECKING:
    from talweg.search.sobol import SobolSequence
    from talweg.search.tpe import TpeStudy

_MOST_SEQUENCES = 32
_MOST_TRIALS = 20_000


class Answering:
    """Answers questions, and keeps sequences and studies, the latest last."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._sequences: dict[str, SobolSequence] = {}
        self._studies: list[tuple[str, TpeStudy]] = []

    def settings(self, question: Question) -> list[Setting]:
        """Return the settings that a question wants.

        Raises:
            ValueError: The algorithm is none, or a trial's setting is not of the space.
        """
        match question.algorithm:
            case "qmc":
                return self._quasi_random(question)
            case "tpe":
                return self._tree_parzen(question)
        raise ValueError(f"the algorithm must be qmc or tpe, but is {question.algorithm!r}")

    def _quasi_random(self, question: Question) -> list[Setting]:
        # Scipy takes about a second to import, Optuna as long, and a sweep needs one of them.
        from talweg.search.sobol import SobolSequence  # noqa: PLC0415

        key = json.dumps([space_to_json(question.space), question.seed])
        sequence = self._sequences.pop(key, None) or SobolSequence(question.space, question.seed)
        self._sequences[key] = sequence
        if len(self._sequences) > _MOST_SEQUENCES:
            del self._sequences[next(iter(self._sequences))]
        return [sequence.at(number) for number in question.numbers]

    def _tree_parzen(self, question: Question) -> list[Setting]:
        from talweg.search.tpe import TpeStudy  # noqa: PLC0415

        key = json.dumps([space_to_json(question.space), question.goal])
        study = self._followed(key, question)
        if study is None:
            study = TpeStudy(question.space, question.goal)
        # Only a study that has answered to the end is kept.
        study.follow(question.trials)
        settings = [
            study.suggest(number, seed=question.seed, num_startup=question.num_startup)
            for number in question.numbers
        ]
        self._studies.append((key, study))
        num_trials = sum(len(each) for _, each in self._studies)
        while num_trials > _MOST_TRIALS and len(self._studies) > 1:
            num_trials -= len(self._studies.pop(0)[1])
        return settings

    def _followed(self, key: str, question: Question) -> "TpeStudy | None":
        """Take out the study that holds most of the trials, if any holds nothing but some."""
        lengths = [
            len(study) if known == key and study.precedes(question.trials) else -1
            for known, study in self._studies
        ]
        longest = max(lengths, default=-1)
        return self._studies.pop(lengths.index(longest))[1] if longest >= 0 else None
