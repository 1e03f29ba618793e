"""Genre classifiers on a backbone. Axes: B batch, N tracks, F mel band, T frame, D features, C genres."""

import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

INVERSE_PENALTIES = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)


class Classifier(nn.Module):
    """A backbone (trained too, or frozen) and a head: (B, 1, F, T) → logits (B, C)."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x):
        return self.head(self.backbone(x))


def fit_linear_probe(head, features, labels, validation_features, validation_labels):
    """Logistic regression on standardised features, its L2 penalty chosen on validation; fills ``head`` in place.

    features (N, D), labels (N,). Returns {"C": chosen inverse penalty, "validation_accuracy": …}.
    """
    standardise, linear = head[0], head[-1]
    standardise.measure(features)
    x, validation_x = (standardise(part).cpu().numpy() for part in (features, validation_features))
    y, validation_y = labels.cpu().numpy(), validation_labels.cpu().numpy()
    fits = []
    for inverse_penalty in INVERSE_PENALTIES:
        fit = LogisticRegression(C=inverse_penalty, max_iter=1000, tol=1e-3).fit(x, y)
        fits.append((fit.score(validation_x, validation_y), fit))
    accuracy, best = max(fits, key=lambda pair: pair[0])  # of equals, the strongest penalty
    weight, bias = torch.as_tensor(best.coef_), torch.as_tensor(best.intercept_)
    if len(best.classes_) == 2:  # scikit-learn keeps one row for two classes
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return {"C": best.C, "validation_accuracy": float(accuracy)}
