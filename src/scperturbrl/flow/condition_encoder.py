"""Encode a set of perturbations, a dose and covariates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class ConditionBatch:
    """C conditions as tensors.

    Attributes
    ----------
    tokens
        ``(C, L)`` learned embedding of each part; 0 for a part without one and for padding.
    features
        ``(C, L, F)`` features of each part, such as the loadings of its gene.
    present
        ``(C, L)`` which parts are real; a control condition has none.
    dose
        ``(C,)`` dose, 0 for none.
    covariates
        ``(C, K)`` index of each covariate value; 0 for an unseen value.
    shift
        ``(C, d)``, or ``(C, 1)`` zeros: what is added to the latent cells of a condition before they become counts, see
        :mod:`scperturbrl.flow.linear_part`; 0 for conditions that use the cells of the flow unchanged.
    own_genes
        ``(C, L)`` 1 + the gene that a part targets, if its rate is to be changed by the usual effect on a targeted
        gene; else 0. None means no gene.
    translated
        ``(C,)`` whether the latent cells of a condition are its control cells moved by `shift` instead of cells of the
        flow. None means for no condition.
    gene_shift
        ``(C, G)`` what is added to the log rates of the genes. None means nothing.
    """

    tokens: Tensor
    features: Tensor
    present: Tensor
    dose: Tensor
    covariates: Tensor
    shift: Tensor
    own_genes: Tensor | None = None
    translated: Tensor | None = None
    gene_shift: Tensor | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def select(self, index: Tensor) -> ConditionBatch:
        """The conditions at `index`."""
        return self._each(lambda value: value[index])

    def to(self, device: torch.device | str) -> ConditionBatch:
        """The same on `device`."""
        return self._each(lambda value: value.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> ConditionBatch:
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return replace(self, **{name: change(value) for name, value in values.items() if value is not None})

    def of_flow(self) -> ConditionBatch:
        """The same, but cells of translated conditions come from the flow too."""
        if self.translated is None:
            return self
        return replace(self, shift=self.shift * ~self.translated[:, None], translated=None, gene_shift=None)

    def forgetting(self, keep_tokens: Tensor, keep_covariates: Tensor) -> ConditionBatch:
        """Replace learned embeddings of parts ``(C, L)`` and covariate values ``(C, K)`` by "unknown" where `keep` is false."""
        return replace(self, tokens=self.tokens * keep_tokens, covariates=self.covariates * keep_covariates)


class ConditionEncoder(nn.Module):
    """Set encoder: one code per part, summed, then mixed with the covariates.

    The code of a combination is the sum of the codes of its parts plus the output of the mixing, so that additivity is
    the default and departures from it are learnt.

    Parameters
    ----------
    n_tokens
        Number of perturbations with a learned embedding.
    n_features
        Length F of the features; may be 0.
    n_covariate_values
        Number of known values of each covariate.
    width
        Length of the code.
    """

    def __init__(self, n_tokens: int, n_features: int, n_covariate_values: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_tokens + 1, width, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=0.1)
        with torch.no_grad():
            self.embedding.weight[0] = 0
        self.part = nn.Sequential(nn.Linear(n_features + width + 1, width), nn.SiLU(), nn.Linear(width, width))
        self.covariates = nn.ModuleList(nn.Embedding(n + 1, width, padding_idx=0) for n in n_covariate_values)
        self.mix = nn.Sequential(nn.SiLU(), nn.Linear(width, width))

    def forward(self, batch: ConditionBatch) -> tuple[Tensor, Tensor]:
        """Return the code ``(C, width)`` and the plain sum of the parts ``(C, width)``."""
        dose = torch.log1p(batch.dose)[:, None, None].expand(*batch.tokens.shape, 1)
        parts = self.part(torch.cat([batch.features, self.embedding(batch.tokens), dose], dim=-1))
        total = (parts * batch.present[..., None]).sum(1)
        context = sum(
            (table(batch.covariates[:, k]) for k, table in enumerate(self.covariates)), torch.zeros_like(total)
        )
        return total + context + self.mix(total + context), total
