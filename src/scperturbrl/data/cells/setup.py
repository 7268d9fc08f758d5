"""The record of :func:`scperturbrl.pp.setup_anndata`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scperturbrl._core import keys
from scperturbrl._core.validate import name_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData


@dataclass(frozen=True)
class Setup:
    """The declared columns and labels, and a hash of the genes."""

    perturbation_key: str
    control: str
    covariate_keys: tuple[str, ...]
    dose_key: str | None
    batch_key: str | None
    layer: str | None
    perturbation_sep: str
    log_state: str
    gene_hash: str
    version: str

    @classmethod
    def of(cls, adata: AnnData) -> Setup:
        """Read the record from ``uns["scperturbrl"]``.

        Raises
        ------
        ValueError
            If `adata` was not set up, or if its genes changed since.
        """
        record = adata.uns.get(keys.SETUP, {}).get("setup")
        if record is None:
            msg = (
                "`adata` is not set up. Call `scperturbrl.pp.setup_anndata(adata, perturbation_key=..., control=...)` first"
                " (`anndata.concat` drops `uns` unless `uns_merge='same'`)."
            )
            raise ValueError(msg)
        setup = cls.read(record)
        if setup.gene_hash != name_hash(adata.var_names):
            msg = "The genes of `adata` changed since `pp.setup_anndata`. Call it again, then `pp.split` and `pp.reference`."
            raise ValueError(msg)
        return setup

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Setup:
        """Build it from the result of :meth:`to_uns`."""
        values = {name: _plain(record.get(name)) for name in cls.__dataclass_fields__}
        return cls(**values | {"covariate_keys": tuple(str(key) for key in record["covariate_keys"])})

    def to_uns(self) -> dict[str, Any]:
        """Return the record as plain values that AnnData can write."""
        return {**asdict(self), "covariate_keys": list(self.covariate_keys)}


def _plain(value: Any) -> Any:
    return None if value is None else str(value)


def expression(adata: AnnData, layer: str | None) -> Any:
    """Return ``X`` or a layer.

    Raises
    ------
    KeyError
        If there is no such layer.
    """
    if layer is None:
        return adata.X
    if layer not in adata.layers:
        from scperturbrl._core.validate import near_matches

        # newer versions of AnnData list X among the layers, under None
        names = [name for name in adata.layers if name is not None]
        msg = f"`layers` has no {layer!r}.{near_matches(layer, names)}"
        raise KeyError(msg)
    return adata.layers[layer]
