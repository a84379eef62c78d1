"""Earlier place of the scores of node maps against masks, under which other code imports them."""

from resgat_pl.evaluation.localisation import COVERED, FPR_LIMIT, aupro, mass_accuracy, node_auroc, pointing_game

__all__ = ["COVERED", "FPR_LIMIT", "aupro", "mass_accuracy", "node_auroc", "pointing_game"]
