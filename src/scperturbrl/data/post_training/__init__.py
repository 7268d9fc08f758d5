"""Post-train the generator of an AnnData: its reward, and the run."""
