"""What each finding means and what to do, in two or three sentences.

The page of a code, docs/findings/<code>.md, begins with the same words and says more.
"""

from __future__ import annotations

EXPLANATIONS = {
    "preprocessing-mismatch": (
        "The features were made with another preprocessing than the backbone was trained with, so "
        "that it saw pixels in the wrong range or order of colours. Its accuracy is far below what "
        "it can reach. Extract again with this version of featx."
    ),
    "preprocessing-unknown": (
        "The features were not made by featx, or by a backbone that it does not know, so it cannot "
        "check that the images were prepared as the backbone wants them. Read these rows with that "
        "in mind, or extract with featx to compare."
    ),
    "random-weights": (
        "The backbone was never trained: its features are random projections of the pixels. "
        "Useful to see that everything runs, and as a floor for other rows; extract with "
        "--weights imagenet or a weights file for a real comparison."
    ),
    "collapsed-embedding": (
        "All images have nearly the same features, compared with the features' length. Usually the "
        "weights do not belong to the backbone, or the images are all but identical. Check the "
        "weights file and look at a few images."
    ),
    "train-test-duplicates": (
        "The very same image file is on both sides of the data set's own split, so that "
        "remembering it counts as recognising it. Remove it from one side, or let featx split: it "
        "keeps copies together."
    ),
    "fewer-than-shots": (
        "Some class has fewer training images than were asked for, and gave all it has. The "
        "figures are real, but the number of images a class is smaller there than the row says. "
        "Take fewer shots or a smaller --test-fraction."
    ),
    "too-few-test-rows": (
        "With so few test images one image more or less right moves the accuracy visibly, and "
        "differences between rows are mostly luck. Read the intervals; a larger --test-fraction "
        "or more images make them narrower."
    ),
    "unbalanced-classes": (
        "Accuracy is mostly that of the large classes: always naming the largest would score well. "
        "Look at macro F1 and at the classes one by one, and try class_weight='balanced' in the "
        "head."
    ),
    "not-converged": (
        "A solver stopped at its limit of iterations before it met its tolerance. The row is of an "
        "unfinished fit, usually a little worse than the finished one. A smaller C converges "
        "sooner, and is often as accurate."
    ),
    "c-at-grid-edge": (
        "The best value of the searched parameter was the first or last that was tried, and still "
        "better than its neighbour: the optimum may lie beyond. Name a value there yourself, for "
        "example --head 'linear_svc(C=100)', and compare."
    ),
    "other-classes": (
        "The data set that is tested on has not the same classes as the one that was learnt from. "
        "Images of classes that only it has were left out; classes that it lacks can still be "
        "predicted, wrongly. Compare with that in mind, or rename folders that mean the same."
    ),
    "imagenet-overlap": (
        "A classifier trained on ImageNet names ImageNet's classes and no others. A class of the "
        "data set that is among them, by name or by your mapping, can be recognised without any "
        "training; images of the other classes count as wrong in the row. Write the mapping down "
        "with featx zeroshot --write-mapping, edit it, and give it back with --mapping."
    ),
    "runs-not-comparable": (
        "Runs on different test images cannot be put side by side: another seed, test fraction, "
        "label column or set of images makes other test rows, and harder ones at that, perhaps. "
        "Run all with the same options, or report the other set with --test-rows."
    ),
    "run-unreadable": (
        "The file of a run is damaged or of a newer featx, and was left out; the rest is complete "
        "without it. Delete it and its .npz, or run it again."
    ),
}
"""Code to text."""


def explain(code: str) -> str:
    """Return what a finding of this code means; empty for a code that is not known."""
    return EXPLANATIONS.get(code, "")
