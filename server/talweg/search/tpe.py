"""Settings by the tree-structured Parzen estimator, from a study of Optuna's."""

import hashlib
from collections.abc import Iterator, Sequence

import optuna
from optuna.trial import TrialState, create_trial

from talweg.search.parameters import Space, key
from talweg.search.question import DIVERGED, FAILED, RUNNING, Goal, Outcome, Pruned, Tried
from talweg.spec.sweeps.space import Product, Setting, random_setting

# So many suggestions are drawn before one that was tried already is given up.
_MOST_DRAWS = 5
# A diverged trial has no value, and is worse than all that have one, and than those that were
# stopped early. Optuna ranks PRUNED ones without reports so: the estimator leaves their region, as
# it does not that of FAIL, which it does not look at.
_STATES = {RUNNING: TrialState.RUNNING, FAILED: TrialState.FAIL, DIVERGED: TrialState.PRUNED}

optuna.logging.set_verbosity(optuna.logging.WARNING)


class TpeStudy:
    """A study of Optuna's that holds the trials of a search.

    Reference: Bergstra et al. 2011,
    https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization; Watanabe 2023,
    https://arxiv.org/abs/2304.11127.
    """

    def __init__(self, space: Product, goal: Goal) -> None:
        """Begin a study without trials.

        Args:
            space: What is varied.
            goal: minimize or maximize.
        """
        self._space = space
        self._parameters = Space(space)
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(storage=self._storage, direction=goal)
        # By number; each with its number in the study.
        self._trials: list[tuple[Tried, int]] = []
        self._taken: set[str] = set()

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self._trials)

    def precedes(self, trials: Sequence[Tried]) -> bool:
        """Return whether `follow` can bring the study to some trials.

        Args:
            trials: By number.
        """
        return len(self._trials) <= len(trials) and all(
            known == trial
            or (
                known.outcome == RUNNING
                and (known.number, known.setting) == (trial.number, trial.setting)
            )
            for (known, _), trial in zip(self._trials, trials, strict=False)
        )

    def follow(self, trials: Sequence[Tried]) -> None:
        """Take over what has become of trials, and new ones.

        Args:
            trials: All, by number; `precedes` holds.

        Raises:
            ValueError: A setting is not of the space.
        """
        for index, (known, number) in enumerate(self._trials):
            trial = trials[index]
            if known.outcome == RUNNING and trial.outcome != RUNNING:
                self._tell(number, trial.outcome)
                self._trials[index] = trial, number
        for trial in trials[len(self._trials) :]:
            self._add(trial)

    def suggest(self, number: int, *, seed: int, num_startup: int) -> Setting:
        """Return the setting of a trial, which is RUNNING from then on.

        Of finitely many settings one that was not tried.

        Args:
            number: The trial's index in the search; greater than all before.
            seed: Of the search.
            num_startup: Settings are random until so many trials have a value, diverged or were
                pruned.
        """
        candidates = list[Setting]()
        for setting in self._candidates(number, seed, num_startup):
            candidates.append(setting)
            if key(setting) not in self._taken:
                break
        else:
            # All numbers of an interval of integers, say.
            setting = candidates[0]
        self._add(Tried(number, setting, RUNNING))
        return setting

    def _candidates(self, number: int, seed: int, num_startup: int) -> Iterator[Setting]:
        finished = sum(trial.outcome not in (RUNNING, FAILED) for trial, _ in self._trials)
        if finished < num_startup:
            # As random search begins, so that all searches of a comparison begin alike.
            yield random_setting(self._space, str(seed), number)
        for draw in range(_MOST_DRAWS):
            yield self._drawn(f"{seed}/{number}/{draw}", num_startup)
        for index in range(self._space.count or 0):
            yield random_setting(self._space, f"{seed}/{number}", index)

    def _drawn(self, seed: str, num_startup: int) -> Setting:
        """Return a suggestion of Optuna's, which leaves no trace that it looks at."""
        digest = hashlib.blake2b(seed.encode(), digest_size=4).digest()
        # With a sampler of its own, a suggestion does not depend on those before it.
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int.from_bytes(digest, "big"),
            n_startup_trials=num_startup,
            multivariate=True,
            constant_liar=True,
        )
        trial = self._study.ask()
        setting = tuple(self._parameters.suggest(trial))
        self._study.tell(trial, state=TrialState.FAIL)
        return setting

    def _tell(self, number: int, outcome: Outcome) -> None:
        """Have a RUNNING trial end.

        Args:
            number: In the study.
            outcome: Not RUNNING.
        """
        if isinstance(outcome, Pruned):
            study = self._storage.get_study_id_from_name(self._study.study_name)
            trial = self._storage.get_trial_id_from_study_id_trial_number(study, number)
            self._storage.set_trial_intermediate_value(trial, outcome.evaluations, outcome.value)
        value = outcome if isinstance(outcome, float) else None
        self._study.tell(number, value, state=_state(outcome))

    def _add(self, trial: Tried) -> None:
        parameters = self._parameters.parameters(trial.setting)
        outcome = trial.outcome
        reports = {outcome.evaluations: outcome.value} if isinstance(outcome, Pruned) else {}
        self._study.add_trial(
            create_trial(
                state=_state(outcome),
                value=outcome if isinstance(outcome, float) else None,
                intermediate_values=reports,
                params={name: value for name, (value, _) in parameters.items()},
                distributions={name: by for name, (_, by) in parameters.items()},
            )
        )
        number = len(self._study.get_trials(deepcopy=False)) - 1
        self._trials.append((trial, number))
        self._taken.add(key(trial.setting))


def _state(outcome: Outcome) -> TrialState:
    if isinstance(outcome, float):
        return TrialState.COMPLETE
    return TrialState.PRUNED if isinstance(outcome, Pruned) else _STATES[outcome]
