"""P×K sampling: an order in which samples of one class stand together, a few at a time."""

import torch
from torch import Tensor


def p_by_k_order(labels: Tensor, together: int, generator: torch.Generator) -> Tensor:
    """Draw an order in groups of one class, as many classes as there are one after another.

    Cut into batches of P·K, K samples stand together: P groups, of P classes where there are so
    many. What is left of the classes, fewer than K, comes last.

    Args:
        labels: Class indices (N,), on the CPU.
        together: Samples of one class in a group K.
        generator: Random numbers are drawn from it.

    Returns:
        Each index below N once (N,).
    """
    rounds: list[list[Tensor]] = []
    rest: list[Tensor] = []
    for label in torch.unique(labels).tolist():
        members = torch.nonzero(labels == label)[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        whole = len(members) // together * together
        rest.append(members[whole:])
        for number, group in enumerate(torch.split(members[:whole], together) if whole else ()):
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(group)
    order = [
        groups[index]
        for groups in rounds
        for index in torch.randperm(len(groups), generator=generator).tolist()
    ]
    return torch.cat([*order, *rest])
