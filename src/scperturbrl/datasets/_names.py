"""Names of the columns, slots and tables of the data sets."""

from __future__ import annotations

CONTROL = "control"
SEPARATOR = "+"

PERTURBATION = "perturbation"
CELL_TYPE = "cell_type"
LINEAGE = "lineage"
DOSE = "dose"
BATCH = "batch"
RESPONDER = "responder"
RESPONSE_STRENGTH = "response_strength"
LIBRARY_SIZE = "library_size"
LABEL_PUBLISHED = "perturbation_published"

COUNTS = "counts"
PROGRAM_ACTIVITY = "program_activity"
TRUTH = "truth"

ADDITIVE, BUFFERED, EPISTATIC, NEOMORPHIC = "additive", "buffered", "epistatic", "neomorphic"
SHARED, SCALED, SPECIFIC = "shared", "scaled", "specific"
