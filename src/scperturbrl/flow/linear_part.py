"""The linear part: effects predicted by an additive model fitted to the training conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from scperturbrl.flow.condition_encoder import ConditionBatch

# share of the linear part in the mean of an unseen condition: prior value and maximum, except for combinations
PRIOR, MOST = 0.25, 0.5


# largest number of stored values of effects by context; with more, a new context gets the mean over all contexts
MOST_VALUES = 20_000_000


class LinearPart(nn.Module):
    """Coefficients of the additive model, and shares by which generated means are shifted towards its predictions.

    Group 0 pools all control groups. It is used for conditions with a perturbation that was not trained on in their own
    group.

    Parameters
    ----------
    n_groups, n_tokens, n_latent
        Control groups with training conditions, known perturbations P, and coordinates d.
    n_features
        Number of features of an unseen perturbation, unless these are responses.
    n_genes, n_responses
        Number of genes G, and of K response features of genes that were never perturbed; 0 with user-provided features.
    n_conditions, n_contexts
        Number of trained conditions, and of control groups with effects that can be transferred to a new one.

    Attributes
    ----------
    coefficients
        ``(n_groups + 1, P + 1, d)`` latent effect of a perturbation at amount 1; token 0 has none.
    covered
        ``(n_groups + 1, P + 1)`` 1 if the group has training conditions with the perturbation.
    weight, weight_unseen, weight_dose
        Share in [0, 1] of the linear part in the mean: for conditions whose perturbations were all trained on, for
        those with an unseen perturbation, and for those at an unmeasured dose of a trained one.
    context_error
        Squared error of a predicted effect in a context without perturbed training cells, as a share of its squared size.
    context_explained
        Share of the squared effects in contexts left out that was predicted, in [0, 1].
    magnitude
        Factor in [0, 1] of the predicted effects of combinations whose perturbations were all trained on.
    additivity
        ``(n_groups + 1,)`` effect of a combination as a share of the sum of its parts, in [0, 1].
    full_dose
        Dose at which the amount is 1.
    responses
        ``(G, K)`` responses of genes to the training conditions; without rows if `n_responses` is 0.
    from_features
        ``(n_groups + 1, 1 + F, d)`` latent effect at amount 1 of an unseen perturbation: the first row plus its
        features times the others.
    mapped
        ``(n_groups + 1,)`` 1 if that map is fitted.
    map_error
        ``(n_groups + 1,)`` squared latent error of the map for a left-out perturbation.
    map_r2
        ``(n_groups + 1,)`` share of the squared effects of such perturbations that the map explains.
    trained_shift
        ``(n_conditions, d)`` shift of the latent cells of each trained condition, in their stored order, to the mean of
        the training cells.
    condition_effect
        ``(n_conditions, d)`` effect of each of them; 0 without doses.
    own_gene
        Usual change of the log rate of the targeted gene by a perturbation at amount 1.
    context_control
        ``(K, G)`` mean control profile of each of K control groups. K is `n_contexts`, or 0 if their effects are too
        large to store.
    context_effect
        ``(K, P + 1, G)`` mean effect of each perturbation in each of them, NaN where it was not measured.
    context_line
        ``(4,)`` width, scale (0 differences, 1 log ratios), share and error of the context line, see
        :class:`~scperturbrl.metrics.ContextLine`.
    """

    coefficients: Tensor
    covered: Tensor
    weight: Tensor
    context_error: Tensor
    context_explained: Tensor
    weight_unseen: Tensor
    weight_dose: Tensor
    magnitude: Tensor
    additivity: Tensor
    full_dose: Tensor
    responses: Tensor
    from_features: Tensor
    mapped: Tensor
    map_error: Tensor
    map_r2: Tensor
    own_gene: Tensor
    trained_shift: Tensor
    condition_effect: Tensor
    context_control: Tensor
    context_effect: Tensor
    context_line: Tensor

    def __init__(
        self,
        n_groups: int,
        n_tokens: int,
        n_latent: int,
        n_features: int = 0,
        *,
        n_genes: int = 0,
        n_responses: int = 0,
        n_conditions: int = 0,
        n_contexts: int = 0,
    ) -> None:
        super().__init__()
        self.n_responses = n_responses
        self.register_buffer("coefficients", torch.zeros(n_groups + 1, n_tokens + 1, n_latent))
        self.register_buffer("covered", torch.zeros(n_groups + 1, n_tokens + 1))
        self.register_buffer("weight", torch.tensor(0.0))
        self.register_buffer("full_dose", torch.tensor(1.0))
        self.register_buffer("context_error", torch.tensor(0.0))
        self.register_buffer("context_explained", torch.tensor(0.0))
        self.register_buffer("weight_unseen", torch.tensor(0.0))
        self.register_buffer("weight_dose", torch.tensor(0.0))
        self.register_buffer("magnitude", torch.tensor(1.0))
        self.register_buffer("additivity", torch.ones(n_groups + 1))
        self.register_buffer("responses", torch.zeros(n_genes if n_responses else 0, n_responses))
        self.register_buffer("from_features", torch.zeros(n_groups + 1, 1 + (n_responses or n_features), n_latent))
        self.register_buffer("mapped", torch.zeros(n_groups + 1))
        self.register_buffer("map_error", torch.zeros(n_groups + 1))
        self.register_buffer("trained_shift", torch.zeros(n_conditions, n_latent))
        self.register_buffer("condition_effect", torch.zeros(n_conditions, n_latent))
        self.register_buffer("map_r2", torch.zeros(n_groups + 1))
        self.register_buffer("own_gene", torch.tensor(0.0))
        n_contexts = n_contexts if n_contexts * (n_tokens + 1) * n_genes <= MOST_VALUES else 0
        self.register_buffer("context_control", torch.zeros(n_contexts, n_genes))
        self.register_buffer("context_effect", torch.zeros(n_contexts, n_tokens + 1, n_genes))
        self.register_buffer("context_line", torch.zeros(4))

    def amount(self, dose: Tensor) -> Tensor:
        """Amount of a perturbation at a dose: ``log1p(dose) / log1p(full_dose)``, or 1 without a dose."""
        return torch.where(dose > 0, torch.log1p(dose) / torch.log1p(self.full_dose), 1.0)

    def forward(self, conditions: ConditionBatch, group: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Predict latent effects.

        Parameters
        ----------
        conditions
            C conditions.
        group
            ``(C,)`` control group of each, 0 for one without training conditions.
        features
            ``(C, L, F)`` features of each part for the map.

        Returns
        -------
        Effects ``(C, d)``, and whether every perturbation of the condition was trained on or has features ``(C,)``.
        Otherwise the effect is 0 and meaningless.
        """
        tokens, present = conditions.tokens, conditions.present.bool()
        new, row = present & (tokens == 0), self.rows(conditions, group)[:, None]
        told = self.covered[row, tokens].bool() | (new & self.mapped[row].bool())
        known = (told | ~present).all(1) & present.any(1)
        parts = self.coefficients[row, tokens] * present[..., None]
        if new.any():
            # skipped otherwise, so that it does not affect the rounding of other conditions
            maps = self.from_features[row[:, 0]]
            parts = torch.where(new[..., None], maps[:, :1] + features @ maps[:, 1:], parts)
        together = torch.where(present.sum(1) > 1, self.additivity[row[:, 0]], 1.0)
        effect = parts.sum(1) * (self.amount(conditions.dose) * together)[:, None]
        return effect * known[:, None], known

    def rows(self, conditions: ConditionBatch, group: Tensor) -> Tensor:
        """Row ``(C,)`` of coefficients of each condition: that of its group if it covers all parts, else the pooled row."""
        tokens, present = conditions.tokens, conditions.present.bool()
        new = present & (tokens == 0)
        own = (self.covered[group[:, None], tokens].bool() | ~present | new).all(1)
        own &= self.mapped[group].bool() | ~new.any(1)
        return torch.where(own, group, 0)

    def with_own_genes(self, log_rates: Tensor, conditions: ConditionBatch) -> Tensor:
        """Log rates ``(C, G)`` with those of the genes in ``conditions.own_genes`` changed."""
        genes = conditions.own_genes
        if genes is None:
            return log_rates
        change = log_rates.new_zeros(len(conditions), log_rates.shape[1] + 1)
        change.scatter_(1, genes, (self.own_gene * self.amount(conditions.dose))[:, None].expand(genes.shape))
        return log_rates + change[:, 1:]


def recentring_weight(
    flow: Tensor, linear: Tensor, real: Tensor, *, prior: float = PRIOR, most: float = MOST, evidence: float = 1.0
) -> float:
    """Weight of the linear means, relative to the flow's means, that fits the real means best.

    Least squares over held-out conditions, ``sum (real - flow) (linear - flow) / sum (linear - flow)^2``, shrunk
    towards `prior` as if by `evidence` further conditions. Held-out conditions are few, so the prior is low and the
    weight never exceeds `most`.

    Parameters
    ----------
    flow, linear, real
        ``(C, d)`` means of C held-out conditions.
    prior
        Weight without held-out conditions.
    most
        Largest weight.
    evidence
        Number of conditions for which the prior counts.
    """
    if not len(flow):
        return prior
    gap = linear - flow
    size = float(gap.square().sum())
    found = float(((real - flow) * gap).sum()) / max(size, 1e-12)
    found = min(max(found, 0.0), 1.0)
    return min((found * len(flow) + evidence * prior) / (len(flow) + evidence), most)


def agreement_weight(flow: Tensor, linear: Tensor, control: Tensor, error: Tensor | float) -> Tensor:
    r"""Weight ``(C,)`` of the linear means in new contexts, from their distance to the flow's means.

    Two estimates with independent errors are combined best with weights in inverse proportion to their squared errors. The squared error
    of the linear effect is `error` times its squared size. That of the flow is not known; the squared distance between the two is taken
    for it, so a flow that is far from the linear part counts little:

    .. math:: w = \frac{\lVert f - l \rVert^2}{\lVert f - l \rVert^2 + e\, \lVert l - c \rVert^2}.

    Parameters
    ----------
    flow, linear, control
        ``(C, d)`` latent means :math:`f`, :math:`l` and :math:`c` of the conditions, and of their control cells.
    error
        Squared error :math:`e` of the linear effects, as a share of their squared size.
    """
    apart, size = (flow - linear).square().sum(1), (linear - control).square().sum(1)
    return apart / (apart + error * size).clamp_min(1e-12)


def effect_magnitude(predicted: Tensor, real: Tensor, *, evidence: float = 8.0) -> float:
    """Factor of predicted effects ``(C, d)`` that fits the real ones best, at most 1.

    Least squares over held-out combinations, ``sum predicted * real / sum predicted^2``, shrunk as if `evidence`
    further conditions showed a factor of 1. It never exceeds 1, because that would also magnify the error.

    Parameters
    ----------
    predicted, real
        ``(C, d)`` effects.
    evidence
        Number of conditions for which the factor 1 counts.
    """
    size = float(predicted.square().sum())
    if not size:
        return 1.0
    more = evidence * size / len(predicted)
    return min(max((float((predicted * real).sum()) + more) / (size + more), 0.0), 1.0)
