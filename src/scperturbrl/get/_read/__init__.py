"""What the tables share: slots of the AnnData, labels, populations."""
