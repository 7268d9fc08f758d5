"""Main functions: fit, post-train, generate, predict, score, evaluate, save."""

from scperturbrl._core.lazy import lazy_exports as _lazy_exports

__getattr__, __dir__, __all__ = _lazy_exports(
    __name__,
    {
        "DamagedFileError": "scperturbrl._core.files.damage",
        "evaluate": "scperturbrl.tl._evaluate",
        "fit_generator": "scperturbrl.tl._fit_generator",
        "generate": "scperturbrl.tl._generate",
        "leakage_canary": "scperturbrl.tl._leakage_canary",
        "load_generator": "scperturbrl.tl._io",
        "predict": "scperturbrl.tl._predict",
        "predict_elsewhere": "scperturbrl.tl._predict_elsewhere",
        "propose": "scperturbrl.tl._propose",
        "rl_finetune": "scperturbrl.tl._rl_finetune",
        "save_generator": "scperturbrl.tl._io",
        "score": "scperturbrl.tl._score",
        "screen": "scperturbrl.tl._screen",
        "select": "scperturbrl.tl._select",
        "to_cell_eval": "scperturbrl.tl._to_cell_eval",
    },
)
