"""Default generator if no key is given (the newest post-trained one, else the generator), and checks of free keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scperturbrl._core import keys

if TYPE_CHECKING:
    from anndata import AnnData

_PARTS = {"params", "fitted", "weights", "space"}
_RESERVED = {
    keys.SETUP,
    keys.EVALUATION,
    keys.SCREEN,
    keys.PATHWAY_NETWORK,
    keys.PATHWAY_RESPONSE,
    keys.TF_NETWORK,
    keys.TF_RESPONSE,
}


def default_key(adata: AnnData, key: str | None = None) -> str:
    """Return `key`; if None, the newest post-trained generator, else ``"generator"``, else the newest generator."""
    if key is not None:
        return key
    found = _params(adata)
    trained = {name: params for name, params in found.items() if params.get("method") == "rl_finetune"}
    if not trained and (keys.GENERATOR in found or not found):
        return keys.GENERATOR
    chosen = trained or found
    # files do not keep the order of slots, so it is recorded
    return max(chosen, key=lambda name: int(chosen[name].get("number", 0)))


def next_number(adata: AnnData) -> int:
    """One more than the number of any generator of `adata`: the order in which they were written."""
    return 1 + max((int(params.get("number", 0)) for params in _params(adata).values()), default=0)


def check_key(adata: AnnData, key: str, kind: str) -> None:
    """Raise if results of a `kind` (``"generator"``, ``"evaluation"`` or ``"layer"``) under `key` would replace something else.

    Raises
    ------
    ValueError
        The message names the existing object.
    """
    if kind == "layer":
        place, held = f"layers[{key!r}]", key in adata.layers
        own = key in adata.uns.get(keys.SETUP, {}).get(keys.LAYERS, {}) or keys.source(key) in adata.obs
    else:
        place, found = f"uns[{key!r}]", adata.uns.get(key)
        held = found is not None or key in _RESERVED - {kind}
        is_table = hasattr(found, "columns") and {"model", "metric"} <= set(found.columns)
        own = key in _params(adata) if kind == keys.GENERATOR else is_table
    if held and not own:
        msg = (
            f"`key_added` is {key!r}, but `{place}` is not a {kind} of this package and would be overwritten. Choose "
            "another name."
        )
        raise ValueError(msg)


def _params(adata: AnnData) -> dict[str, dict[str, Any]]:
    return {
        name: dict(record["params"])
        for name, record in adata.uns.items()
        if isinstance(record, dict) and set(record) >= _PARTS
    }
