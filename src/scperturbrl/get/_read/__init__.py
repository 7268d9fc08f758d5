"""Shared by the tables: slots of the AnnData, labels, populations."""
