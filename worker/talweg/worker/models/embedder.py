"""Networks whose outputs are vectors to be compared."""

from torch import Tensor, nn
from torch.nn import functional as F


class Normalise(nn.Module):
    """Divides each vector (N, D) by its norm.

    Reference: Schroff et al. 2015 (FaceNet), https://arxiv.org/abs/1503.03832
    """

    def forward(self, vectors: Tensor) -> Tensor:
        """Return vectors (N, D) of norm 1; zeros stay zeros."""
        return F.normalize(vectors, dim=1)
